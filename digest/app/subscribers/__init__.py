"""The list of subscribers: search, imports, exports, and statistics."""
