"""Webhooks of email providers."""
