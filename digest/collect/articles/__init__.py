"""Stored articles and their images."""
