"""Sending of editions and transactional email, and the results."""
