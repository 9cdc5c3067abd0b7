"""Approved versions of an edition and the signatures on them."""
