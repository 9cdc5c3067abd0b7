"""Deliveries whose status is unknown, which a log or an admin's decision can resolve."""
