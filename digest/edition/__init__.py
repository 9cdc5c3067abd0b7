"""Editions: arranging stories, rendering them once, checking the result, and approving it."""
