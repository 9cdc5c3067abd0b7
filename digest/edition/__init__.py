"""Editions: arrange stories, render once, check, and approve."""
