"""The commands that collect articles and manage sources."""
