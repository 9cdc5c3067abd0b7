"""`digest doctor`: checks that find problems before they do harm. Each has a name, a meaning, and a remedy."""
