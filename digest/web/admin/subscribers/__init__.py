"""The list's pages: subscribers, imports, exports, and growth."""
