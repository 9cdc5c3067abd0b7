"""Rendering an edition, once, as finished fragments of an email."""
