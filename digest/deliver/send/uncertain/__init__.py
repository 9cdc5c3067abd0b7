"""Deliveries with status unknown, resolved by a log or an admin's decision."""
