"""Drafting editions, and reading their pages, status, and web copies."""
