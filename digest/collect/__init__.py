"""Article collection: visiting sources politely, cleaning their items, and storing them with their history."""
