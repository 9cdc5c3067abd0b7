"""Storage of articles and their images."""
