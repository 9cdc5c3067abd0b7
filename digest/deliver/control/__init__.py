"""Pausing, resuming, and canceling an edition, and pausing all sending."""
