"""Reading texts: words, addresses, dates, and events."""
