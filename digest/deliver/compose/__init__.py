"""Composing a message's bytes from approved fragments, a subscriber's values, headers, and signatures."""
