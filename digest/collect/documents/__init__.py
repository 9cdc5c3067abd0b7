"""What a parser read, as cleaned values."""
