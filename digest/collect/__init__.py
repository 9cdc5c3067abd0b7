"""Sources → articles: visit politely, read what came back, clean it, keep its history."""
