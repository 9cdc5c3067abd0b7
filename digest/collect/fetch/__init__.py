"""Network access for content: guarded, limited, and polite."""
