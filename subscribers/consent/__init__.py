"""Consent: the ledger, its seals, the suppression list, and the audience."""
