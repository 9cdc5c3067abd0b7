"""Staff accounts: sign-in, sessions, and changes that members make to their own accounts."""
