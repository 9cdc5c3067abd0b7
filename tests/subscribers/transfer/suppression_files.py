"""Create and change suppression files."""

import io
import json
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

from digest.backups.encrypted_file import EncryptedWriter
from digest.store.engine import Database
from subscribers.address import Address, read_address
from subscribers.consent.suppression import SuppressionReason
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.crypto.keys import KeyRing
from subscribers.crypto.stored_addresses import hash_addresses
from subscribers.store.adopted_keys import SuppressionKeySet
from subscribers.transfer.import_run import ImportContext
from subscribers.transfer.suppressions.suppression_export import export_suppressions
from subscribers.transfer.suppressions.suppression_file import SuppressedHash, SuppressionFileHeader
from tests.moments import AFTER_RELEASE as NOW

THERE = KeyRing.from_seed(b"the exporter")
ADA = read_address("ada@example.org")
PASSPHRASE = "four words that nobody guesses"


def file_of(reason: SuppressionReason = "bounced", address: Address = ADA) -> io.BytesIO:
    """Make another installation's file of one suppressed address."""
    key_set = SuppressionKeySet.of_ring(THERE)
    address_hash, key_id = hash_addresses(THERE, [address], ())[0].suppressions[-1]
    entry = SuppressedHash(key_id, address_hash, reason, NOW - timedelta(days=10))
    return io.BytesIO(SuppressionFileHeader.make([key_set]).as_line() + entry.as_line())


def export_file(database: Database, keys: KeyRing) -> io.BytesIO:
    """Export a suppression list; the file is open at its start."""
    file = io.BytesIO()
    export_suppressions(database, keys, file.write)
    file.seek(0)
    return file


def change_line(file: io.BytesIO, number: int, change: Callable[[Any], Any]) -> io.BytesIO:
    """Return a file in which one line's JSON is changed; the header is line 0."""
    lines = file.getvalue().splitlines(keepends=True)
    lines[number] = json.dumps(change(json.loads(lines[number]))).encode() + b"\n"
    return io.BytesIO(b"".join(lines))


def make_context(database: Database, keys: KeyRing, folder: Path) -> ImportContext:
    """Return the context in which files are adopted, with an unsubscribe log in a folder."""
    return ImportContext(database, keys, UnsubscribeLog(folder / "left.log", keys), "staff 1")


def encrypt_file(file: io.BytesIO, path: Path, passphrase: str = PASSPHRASE) -> Path:
    """Write a suppression file as it's handed on; return its path."""
    with path.open("wb") as encrypted:
        writer = EncryptedWriter(encrypted, passphrase)
        writer.write(file.getvalue())
        writer.close()
    return path
