"""Drafting editions, and reading them: their pages, their status, and their web copies."""
