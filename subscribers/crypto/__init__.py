"""Keys, and the values that they protect: addresses, stored values, and links."""
