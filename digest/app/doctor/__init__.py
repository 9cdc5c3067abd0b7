"""`digest doctor`: looks for what would go wrong, before it does. Every check has a name, a meaning and a remedy."""
