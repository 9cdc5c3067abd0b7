"""Rendering of an edition, once, to finished fragments of an email."""
