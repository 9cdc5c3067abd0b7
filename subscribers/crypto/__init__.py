"""Keys, and what they protect: addresses, stored values, and links."""
