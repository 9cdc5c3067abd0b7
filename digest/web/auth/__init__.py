"""Sign-in pages, and the account page of each staff member."""
