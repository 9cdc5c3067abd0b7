"""Inbound reports: stored payloads, the bounce mailbox, and the mail log."""
