"""Suppression files: hashes of addresses that must not be emailed, and their keys.

The whole file is encrypted by the callers. The first line is a JSON object with format, version,
ID, and keys. Each other line is a JSON array of key ID, hash, cause, and date.
"""

import json
import re
import secrets
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, BinaryIO, NamedTuple

from subscribers.consent.ledger import format_ledger_time
from subscribers.consent.suppression import DEPARTURE_KINDS, SuppressionReason
from subscribers.errors import RefusalError
from subscribers.store.adopted_keys import MAX_ADOPTED_KEYS, SuppressionKeySet, list_suppression_keys, parse_key_sets

FORMAT, VERSION = "hls-digest suppressions", 1
MAX_ENTRIES = 20_000_000
MAX_HEADER_BYTES = 1 << 16
MAX_ENTRY_BYTES = 250
_KEY_ID = re.compile(r"\d{1,3}-[0-9a-f]{10}")
_HASH = re.compile(r"[0-9a-f]{64}")
_FILE_ID = re.compile(r"[0-9a-f]{32}")


class SuppressionFileError(RefusalError):
    """Raised when a file isn't a suppression file or can't be used.

    The message says why, without quoting it.
    """


class SuppressedHash(NamedTuple):
    """An address that must not be emailed: the key's ID, the hash, the cause, and the date."""

    key_id: str
    hash: str
    reason: SuppressionReason
    at: datetime

    def as_line(self) -> bytes:
        """Return the entry as a line of a file."""
        return _format_line([self.key_id, self.hash, self.reason, format_ledger_time(self.at)])


@dataclass(frozen=True, slots=True)
class SuppressionFileHeader:
    """The header of a file: its ID, and the keys for its hashes."""

    file_id: str
    key_sets: Sequence[SuppressionKeySet]

    @classmethod
    def make(cls, key_sets: Sequence[SuppressionKeySet]) -> "SuppressionFileHeader":
        """Create the header of a new file.

        Raises:
            SuppressionFileError: it would have more keys than a file may have.
        """
        if len(list_suppression_keys(key_sets)) > MAX_ADOPTED_KEYS:
            raise SuppressionFileError(
                f"The file would contain more than {MAX_ADOPTED_KEYS} keys, which others can't adopt."
            )
        return cls(secrets.token_hex(16), key_sets)

    def as_line(self) -> bytes:
        """Return the header as the first line of a file."""
        fields = {"format": FORMAT, "version": VERSION, "id": self.file_id}
        return _format_line(fields | {"keys": [each.as_json() for each in self.key_sets]})


def _format_line(value: Any) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode() + b"\n"


def read_header(file: BinaryIO) -> SuppressionFileHeader:
    """Parse the first line of a decrypted file.

    Raises:
        SuppressionFileError: it isn't a suppression file, or it has a newer version.
    """
    try:
        fields = json.loads(file.readline(MAX_HEADER_BYTES))
        is_other_version = fields["format"] == FORMAT and fields["version"] != VERSION
        header = None if is_other_version else _parse_header(fields)
    except (ValueError, KeyError, TypeError, RecursionError):
        raise SuppressionFileError("The file isn't a suppression file.") from None  # its cause quotes the file
    if header is None:
        raise SuppressionFileError(
            "This version of the program can't read suppression files from the version that made this one.",
            remedy="Upgrade this installation, then adopt the file.",
        )
    return header


def _parse_header(fields: Any) -> SuppressionFileHeader:
    if fields["format"] != FORMAT or not _FILE_ID.fullmatch(fields["id"]):
        raise ValueError(FORMAT)
    return SuppressionFileHeader(fields["id"], parse_key_sets(fields["keys"]))


def read_entries(file: BinaryIO) -> Iterator[SuppressedHash]:
    """Yield the entries after the header without holding them all in memory.

    Raises:
        SuppressionFileError: an entry is damaged, or there are too many.
    """
    lines = iter(lambda: file.readline(MAX_ENTRY_BYTES), b"")
    for number, line in enumerate(lines, start=1):
        entry = _parse_entry(line)
        if entry is None:
            raise SuppressionFileError(f"Entry {number:,} of the suppression file is damaged.")
        if number > MAX_ENTRIES:
            raise SuppressionFileError(f"The suppression file has more than {MAX_ENTRIES:,} entries.")
        yield entry


def _parse_entry(line: bytes) -> SuppressedHash | None:
    try:
        key_id, address_hash, reason, moment = json.loads(line)
        at = datetime.fromisoformat(moment)
        if at.tzinfo is None or not (_KEY_ID.fullmatch(key_id) and _HASH.fullmatch(address_hash)):
            return None
        return SuppressedHash(key_id, address_hash, reason, at.astimezone(UTC)) if reason in DEPARTURE_KINDS else None
    except (ValueError, TypeError, OverflowError, RecursionError):
        return None
