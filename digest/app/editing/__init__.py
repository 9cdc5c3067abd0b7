"""Editing an edition: applying, undoing, and listing editors' actions, and correcting a sent edition."""
