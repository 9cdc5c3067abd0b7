"""From articles to a stored draft."""
