"""Alerts: notifications by email and webhook, once when a problem appears and once when it's resolved."""
