"""Previews of an edition and of every email."""
