"""Handing messages over: claim, ask for consent again, send, record."""
