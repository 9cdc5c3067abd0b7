"""Editing editions: applying, undoing, and listing edits, and correcting sent editions."""
