"""Backups: a single file with every row, made during normal operation and restorable to either kind of database."""
