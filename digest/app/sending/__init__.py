"""Sending editions and transactional email, and the results."""
