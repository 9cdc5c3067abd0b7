"""Alerts: what needs somebody is told once, by mail and by a webhook, and once more when it is over."""
