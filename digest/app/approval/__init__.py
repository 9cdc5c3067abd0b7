"""Approving an edition and the emails of its corrections, by deadline or by hand."""
