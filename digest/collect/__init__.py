"""Collection: visit sources politely, parse and clean their items, and keep the items' history."""
