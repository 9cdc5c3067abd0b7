"""Deliveries with unknown status, resolved by a log or an admin's decision."""
