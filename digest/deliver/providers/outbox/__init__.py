"""A folder of `.eml` files."""
