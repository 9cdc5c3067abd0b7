"""Alerts by email and webhook, sent once when a problem appears and once when it's resolved."""
