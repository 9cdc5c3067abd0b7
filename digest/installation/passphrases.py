"""Passphrases for files that leave the installation."""

from digest.backups.archive import BackupError

MIN_PASSPHRASE = 12  # characters


def check_new_passphrase(passphrase: str) -> None:
    """Check that a passphrase is long enough to protect a file.

    Raises:
        BackupError: the passphrase has fewer than 12 characters.
    """
    if len(passphrase) < MIN_PASSPHRASE:
        raise BackupError(f"That passphrase is too short. Use at least {MIN_PASSPHRASE} characters.")
