"""The page of an edition at the desk, and its actions."""
