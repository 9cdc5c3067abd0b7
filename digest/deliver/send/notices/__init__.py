"""Transactional email: queueing, wording, and sending."""
