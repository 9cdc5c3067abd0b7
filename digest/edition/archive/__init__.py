"""Sent editions: searching their stories and correcting them."""
