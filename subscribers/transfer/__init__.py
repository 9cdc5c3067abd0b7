"""Importing lists, and exporting lists and records."""
