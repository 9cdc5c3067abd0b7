"""Measuring selection against labels that somebody made by hand: a change of a weight becomes a number."""
