"""The rows about people."""
