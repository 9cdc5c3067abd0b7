"""Editions as values that templates print. Pure functions only."""
