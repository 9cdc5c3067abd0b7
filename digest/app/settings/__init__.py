"""Changing settings, logos, and templates."""
