"""Collection of articles: visit sources politely, clean their items, and store them with their history."""
