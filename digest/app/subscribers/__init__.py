"""The subscriber list: search, imports, exports, and statistics."""
