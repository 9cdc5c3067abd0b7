"""The only socket for content: guarded, bounded, polite."""
