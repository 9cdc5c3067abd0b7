"""Commands that collect articles and manage sources."""
