"""Rendering of an edition, done once, to finished fragments of an email."""
