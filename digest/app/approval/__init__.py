"""Approval of editions and of correction emails, by an editor or at a deadline."""
