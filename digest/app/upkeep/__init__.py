"""Maintenance of the installation: nightly work, backups, keys, upgrades, and the audit log."""
