"""How a person comes onto the list."""
