"""Inbound reports: stored payloads and the bounce mailbox."""
