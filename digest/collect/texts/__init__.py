"""Text processing: cleanup, URLs, dates, deadlines, and events."""
