"""Retention limits, and passing erasures on."""
