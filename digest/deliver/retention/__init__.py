"""Retention limits, and forwarding erasures to providers."""
