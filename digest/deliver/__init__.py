"""Edition → deliveries: one message owed to one person, spliced from approved bytes and handed over."""
