"""`left.log`: every departure, stored outside the database and synced before it's acknowledged.

A restored copy of the database doesn't contain later departures, but this file does. It has one
JSON line per departure: a keyed hash of the lookup (no address or number), the time, the kind, and
a hash of the previous line.

If a log was lost and a new one was started, join the new one with a copy of the old one by
concatenating them. The chain may restart at a line.
"""

import fcntl
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import IO, Any, Literal, Self

from subscribers.consent.ledger import format_ledger_time
from subscribers.crypto.key_file import sync_folder
from subscribers.crypto.keys import KeyRing
from subscribers.crypto.stored_addresses import make_departure_hash
from subscribers.errors import RefusalError
from subscribers.loggers import get_logger
from subscribers.store.models import Person

IMPORT_UNDONE: Literal["import undone"] = "import undone"
PREFERENCES_CHANGED: Literal["preferences changed"] = "preferences changed"
# "undone" ends an earlier "left". "import undone" is about an import, not a person. "preferences
# changed" is written if an admin changed them or their owner restored them.
UnsubscribeLogEntryKind = Literal[
    "left",
    "bounced",
    "barred",
    "complained",
    "complained by mail",
    "erased",
    "undone",
    "import undone",
    "preferences changed",
]


log = get_logger("unsubscribe log")


class UnsubscribeLogError(RefusalError):
    """Raised when the unsubscribe log is damaged.

    The message names the file and line.
    """


@dataclass(frozen=True, slots=True)
class PendingUnsubscribeLogEntry:
    """An entry to be written for someone who must not be emailed.

    It consists of their lookup hash, the ID of its key, and the kind.
    """

    lookup: str
    lookup_key: str
    kind: UnsubscribeLogEntryKind

    @classmethod
    def of_person(cls, person: Person, kind: UnsubscribeLogEntryKind) -> Self | None:
        """Create an entry for a person, or return None if the person's lookup hash was deleted."""
        return cls(person.lookup, person.lookup_key, kind) if person.lookup and person.lookup_key else None


@dataclass(frozen=True, slots=True)
class UnsubscribeLogEntry:
    """A line in the log: the person's keyed hash, the lookup key used for it, the time, and the kind."""

    person_hash: str
    lookup_key: str
    key_id: str
    kind: UnsubscribeLogEntryKind
    at: datetime


class UnsubscribeLog:
    """The unsubscribe log of an installation, which threads and processes can share."""

    def __init__(self, path: Path, keys: KeyRing) -> None:
        self.path = path
        self._keys = keys

    def hash_lookup(self, lookup: str, key_id: str | None = None) -> str:
        """Return the keyed hash that represents a person's lookup hash in this log.

        By default, the current key is used.
        """
        key = self._keys.current("suppression") if key_id is None else self._keys.by_id("suppression", key_id)
        return make_departure_hash(key, lookup)

    def append(self, departure: PendingUnsubscribeLogEntry | None, *, at: datetime) -> None:
        """Write a departure, if one is given.

        It's on disk when this function returns.

        Raises:
            OSError: it couldn't be written, so the departure must not be confirmed.
        """
        self.append_all([departure] if departure else [], at=at)

    def append_all(self, departures: Sequence[PendingUnsubscribeLogEntry], *, at: datetime) -> None:
        """Write several departures with a single sync.

        If there are none, nothing is written.

        Raises:
            OSError: some or all of them couldn't be written.
        """
        if not departures:
            return
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        new = not self.path.exists()
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o600)
        with os.fdopen(descriptor, "r+b") as file:
            # The chain requires a single writer. Closing the file unlocks it.
            fcntl.flock(file, fcntl.LOCK_EX)
            _drop_torn_line(file)
            previous = _read_last_hash(file)
            for departure in departures:
                fields = {
                    "at": format_ledger_time(at),
                    "key": self._keys.current("suppression").id,
                    "kind": departure.kind,
                    "lookup_key": departure.lookup_key,
                    "who": self.hash_lookup(departure.lookup),
                }
                file.write(_encode_line(fields, previous))
                previous = _hash_line(fields, previous)
            file.flush()
            os.fsync(file.fileno())
        if new:
            sync_folder(self.path.parent)

    def append_after_commit(self, entry: PendingUnsubscribeLogEntry | None, *, problem: str, at: datetime) -> None:
        """Write an entry after a commit, such as one for someone who has resubscribed.

        If writing fails, `problem` is logged. The change stays in effect, but a restored copy of
        the database wouldn't know about it.
        """
        try:
            self.append(entry, at=at)
        except OSError as exc:
            log.error(problem, error=type(exc).__name__)  # noqa: TRY400 - no trace needed

    def read(self) -> Iterator[UnsubscribeLogEntry]:
        """Yield every departure, oldest first.

        An incomplete last line was never answered, so it's skipped.

        Raises:
            UnsubscribeLogError: a line doesn't follow from the previous one and doesn't
                start another part.
        """
        if not self.path.exists():
            return
        previous = ""
        for number, line in enumerate(self.path.read_bytes().splitlines(keepends=True), start=1):
            if not line.endswith(b"\n"):
                return
            fields = _parse_line(line)
            line_hash = fields.pop("hash", None) if fields else None
            if fields is None or line_hash not in (_hash_line(fields, previous), _hash_line(fields, "")):
                raise UnsubscribeLogError(f"Line {number} of {self.path} was changed, or a line before it is missing")
            previous = str(line_hash)
            yield UnsubscribeLogEntry(
                fields["who"], fields["lookup_key"], fields["key"], fields["kind"], datetime.fromisoformat(fields["at"])
            )


def read_whole_lines(file: Path) -> bytes:
    """Return the lines of a log, or of a copy of it, leaving out an incomplete last line.

    If the file doesn't exist, return b"".
    """
    content = file.read_bytes() if file.exists() else b""
    return content[: content.rfind(b"\n") + 1]


def _encode_line(fields: dict[str, Any], previous: str) -> bytes:
    return json.dumps(fields | {"hash": _hash_line(fields, previous)}, sort_keys=True).encode() + b"\n"


def _hash_line(fields: dict[str, Any], previous: str) -> str:
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(f"{previous}\n{text}".encode()).hexdigest()


def _parse_line(line: bytes) -> dict[str, Any] | None:
    try:
        fields = json.loads(line)
    except ValueError:
        return None
    return fields if isinstance(fields, dict) else None


def _read_tail(file: IO[bytes]) -> bytes:
    """Return the end of the file, including its last line.

    Lines have less than 400 bytes.
    """
    end = file.seek(0, os.SEEK_END)
    file.seek(max(0, end - 1000))
    return file.read()


def _drop_torn_line(file: IO[bytes]) -> None:
    """Remove an incomplete line left by a crash.

    Its departure was never confirmed.
    """
    tail = _read_tail(file)
    if tail and not tail.endswith(b"\n"):
        file.seek(0, os.SEEK_END)
        file.truncate(file.tell() - len(tail) + tail.rfind(b"\n") + 1)


def _read_last_hash(file: IO[bytes]) -> str:
    lines = _read_tail(file).splitlines()
    fields = _parse_line(lines[-1]) if lines else None
    file.seek(0, os.SEEK_END)
    return str(fields["hash"]) if fields else ""
