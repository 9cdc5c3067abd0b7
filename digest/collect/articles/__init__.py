"""Articles and their images as they are stored."""
