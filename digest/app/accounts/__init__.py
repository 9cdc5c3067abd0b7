"""Staff accounts: who is signed in, how somebody signs in, and what a member may change about that."""
