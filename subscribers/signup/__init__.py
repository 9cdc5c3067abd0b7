"""Ways to be added to the list: forms, confirmation, permission emails, and admins."""
