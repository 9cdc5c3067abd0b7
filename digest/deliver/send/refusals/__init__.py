"""Refusals, and when they stop a run."""
