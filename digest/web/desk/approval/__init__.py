"""Approval of an edition at the desk."""
