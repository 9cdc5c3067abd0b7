"""Parsed documents as cleaned values."""
