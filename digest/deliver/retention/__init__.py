"""Retention limits, and the forwarding of erasures to providers."""
