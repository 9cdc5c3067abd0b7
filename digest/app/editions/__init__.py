"""Drafting an edition and reading it: its pages, its status, and its web copies."""
