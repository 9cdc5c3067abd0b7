"""List pages: subscribers, imports, exports, and growth."""
