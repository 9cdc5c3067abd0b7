"""How fast messages may leave."""
