"""Refusals: what they tell about the message, and when they stop a run."""
