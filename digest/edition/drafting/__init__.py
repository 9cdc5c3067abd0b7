"""Drafting: from articles to a stored draft."""
