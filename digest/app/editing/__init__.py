"""Editing an edition: applying, undoing, and listing edits, and correcting a sent edition."""
