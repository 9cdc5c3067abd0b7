"""Deliveries that a run has claimed, and how far each one is."""
