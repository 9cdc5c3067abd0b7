"""Importing lists, and exporting lists and individual records."""
