"""Visits to sources and pages, which run in parallel but are polite to each host."""
