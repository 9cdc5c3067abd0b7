"""Approval of editions and correction emails, by editors or by a rule at the deadline."""
