"""Who agreed to what: the ledger, its seals, suppression, and who may be mailed."""
