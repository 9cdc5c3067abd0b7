"""Keys, and what they protect: addresses, stored values, links."""
