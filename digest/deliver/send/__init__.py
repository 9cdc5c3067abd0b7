"""Sending: claiming deliveries, checking consent again, handing messages over, and recording the results."""
