"""Transactional emails: queuing, wording, and sending them."""
