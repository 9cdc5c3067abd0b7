"""Controlling sending: pausing, resuming, and canceling an edition, and pausing all sending."""
