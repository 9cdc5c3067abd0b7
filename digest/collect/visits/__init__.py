"""Visiting sources and pages, many at a time and each host politely."""
