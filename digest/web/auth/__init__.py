"""The pages of signing in, and of each member's own sign-in."""
