"""Sending an edition at the desk."""
