"""Transactional email: queuing, wording, and sending."""
