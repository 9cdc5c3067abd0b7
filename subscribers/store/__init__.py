"""Database rows about people."""
