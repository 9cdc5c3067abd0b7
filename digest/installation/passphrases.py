"""Passphrases for files that leave the installation."""

from digest.backups.archive import BackupError

MIN_PASSPHRASE = 12  # characters


def check_new_passphrase(passphrase: str) -> None:
    """Raise `BackupError` if a passphrase is too short to protect a file."""
    if len(passphrase) < MIN_PASSPHRASE:
        raise BackupError(f"That passphrase is too short. Use at least {MIN_PASSPHRASE} characters.")
