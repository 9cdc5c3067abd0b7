"""The commands that draft, show, check, approve, and correct an edition."""
