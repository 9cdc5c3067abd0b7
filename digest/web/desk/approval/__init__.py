"""The approval of an edition at the desk."""
