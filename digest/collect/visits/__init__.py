"""Visits to sources and pages, in parallel and politely for each host."""
