"""Refusals, and the rules by which they stop a run."""
