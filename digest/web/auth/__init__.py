"""Sign-in pages, and each staff member's account page."""
