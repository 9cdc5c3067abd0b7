"""Backups: one file with every row, made while all goes on, restored into either kind of database."""
