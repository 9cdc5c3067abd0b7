"""Guarded, limited, and polite network access for content."""
