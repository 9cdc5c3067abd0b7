"""Documents as cleaned values, after parsing."""
