"""Ways to get on the list: forms, confirmation, permission emails, and admins."""
