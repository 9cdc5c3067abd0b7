"""Keeping the installation sound: nightly work, backups, keys, upgrades, and the audit log."""
