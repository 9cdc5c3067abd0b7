"""Who is owed an edition, and when."""
