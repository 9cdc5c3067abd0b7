"""The outbox: a folder of `.eml` files."""
