"""Sending editions and transactional email, and watching what becomes of them."""
