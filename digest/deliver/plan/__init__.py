"""Planning: who is owed an edition, and when."""
