"""Passphrases that files leave the installation under."""

from digest.backups.archive import BackupError

MIN_PASSPHRASE = 12  # characters


def check_new_passphrase(passphrase: str) -> None:
    """Refuse a passphrase that's too short to protect a file.

    Raises:
        BackupError: it has fewer than 12 characters.
    """
    if len(passphrase) < MIN_PASSPHRASE:
        raise BackupError(f"That passphrase is too short. Use at least {MIN_PASSPHRASE} characters.")
