"""The key ring of an installation, and its file.

The kinds of keys are independent and numbered, so that each can be rotated separately. Rows contain
the ID of their key.
"""

import hashlib
import hmac
import json
import os
import secrets
import stat
from base64 import b64decode, b64encode
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Literal, Self, get_args

from subscribers.crypto import key_file
from subscribers.crypto.passphrase import PassphraseError, decrypt_text, encrypt_text, is_encrypted_text
from subscribers.errors import ApplicationError
from subscribers.loggers import get_logger

KeyKind = Literal[
    "vault", "lookup", "token", "return-path", "session", "suppression", "approval", "commitment", "access", "audit"
]
KEY_KINDS: tuple[KeyKind, ...] = get_args(KeyKind)
# The keys of the demo aren't secret, because its subscribers are fictitious.
DEMO_KEY_SEED = b"the bundled sample"
MAX_KEYS_PER_KIND = 255  # per kind
RESTORE_RECOVERY_COPY = (
    "Restore the key file from the recovery copy that 'digest init' printed: digest keys restore FILE --replace"
)
_FileStamp = tuple[int, int, int]

log = get_logger("keys")


class KeyFileError(ApplicationError):
    """Raised when the key file can't be used.

    The message says which file it is, what's wrong, and what to do.
    """


class DecryptionError(ApplicationError):
    """Raised when a value can't be decrypted.

    The message names its row and key, but not the address.
    """


@dataclass(frozen=True, slots=True)
class SecretKey:
    """A secret key.

    `number` counts the keys of a kind from 1. `id` also distinguishes two keys with the same number.
    """

    kind: KeyKind
    number: int
    secret: bytes = field(repr=False)

    @property
    def id(self) -> str:
        """The ID stored in rows: the key's number and fingerprint, at most 16 characters.

        It doesn't reveal the secret.
        """
        return _key_id(self.kind, self.number, self.secret)


@lru_cache(maxsize=64)
def _key_id(kind: KeyKind, number: int, secret: bytes) -> str:
    digest = hashlib.sha256(b"hls-digest key id\0" + kind.encode() + b"\0" + secret).hexdigest()
    return f"{number}-{digest[:10]}"


@dataclass(frozen=True, slots=True)
class _KeySnapshot:
    """The keys that were in the file at a certain time."""

    all: tuple[SecretKey, ...]
    by_id: dict[tuple[KeyKind, str], SecretKey]
    current: dict[KeyKind, SecretKey]

    @classmethod
    def build(cls, keys: Iterable[SecretKey]) -> Self:
        every = tuple(sorted(keys, key=lambda k: (k.kind, k.number)))
        current = {k.kind: k for k in every}  # the last key of a kind has the highest number
        missing = [kind for kind in KEY_KINDS if kind not in current]
        if missing:
            raise KeyFileError(
                f"The key file is missing these kinds of keys: {', '.join(missing)}.", remedy=RESTORE_RECOVERY_COPY
            )
        if len({(k.kind, k.number) for k in every}) < len(every):
            raise KeyFileError(
                "Two keys of the same kind in the key file have the same number.", remedy=RESTORE_RECOVERY_COPY
            )
        return cls(every, {(k.kind, k.id): k for k in every}, current)


class KeyRing:
    """All keys of an installation, for the lifetime of the process.

    Keys are added but never removed. A ring that was loaded from a file follows its changes. If
    another process rotates keys, this one can read rows written with the new ones and find people
    by their new hashes. A file that doesn't contain one of our keys belongs to another installation
    or is an older copy. It's ignored, and the process continues with its own keys.
    """

    __slots__ = ("_file", "_passphrase", "_snapshot", "_stamp", "under_passphrase")

    def __init__(self, keys: Iterable[SecretKey], *, under_passphrase: bool = False) -> None:
        """Create a ring from keys.

        `under_passphrase` says whether they were read from encrypted text.

        Raises:
            KeyFileError: a kind has no key, or two with the same number.
        """
        self._snapshot = _KeySnapshot.build(keys)
        self.under_passphrase = under_passphrase
        self._file: Path | None = None
        self._passphrase: str | None = None
        self._stamp: _FileStamp | None = None

    @property
    def all(self) -> tuple[SecretKey, ...]:
        """All keys, ordered by kind and number."""
        return self._snapshot.all

    def __repr__(self) -> str:
        return f"KeyRing({', '.join(f'{k.kind} {k.id}' for k in self.all)})"

    @property
    def has_demo_keys(self) -> bool:
        """True if any key is one of the public demo keys.

        Rotating the keys wouldn't help, because old keys remain valid.
        """
        return not {k.secret for k in type(self).from_seed(DEMO_KEY_SEED).all}.isdisjoint(k.secret for k in self.all)

    def current(self, kind: KeyKind) -> SecretKey:
        """Return the latest key of a kind, which is used for new values."""
        return self._snapshot.current[kind]

    def of_kind(self, kind: KeyKind) -> tuple[SecretKey, ...]:
        """Return all keys of a kind, oldest first.

        If the file was replaced, it's reloaded before.
        """
        self._reload_if_replaced()
        return tuple(k for k in self._snapshot.all if k.kind == kind)

    def by_id(self, kind: KeyKind, key_id: str) -> SecretKey:
        """Return the key of a kind whose ID is stored in a row.

        Raises:
            KeyFileError: the file doesn't contain it.
        """
        key = self._snapshot.by_id.get((kind, key_id))
        if key is None and self._reload_if_replaced():
            key = self._snapshot.by_id.get((kind, key_id))
        if key is None:
            raise KeyFileError(
                f"The {kind} key {key_id} isn't in the key file, so this database was written with other keys.",
                remedy=RESTORE_RECOVERY_COPY,
            )
        return key

    def _reload_if_replaced(self) -> bool:
        """Reload the file if it was replaced, and return True if the new keys were adopted."""
        if self._file is None:
            return False
        try:
            status = self._file.stat()
            if self._stamp == (stamp := _file_stamp(status)):
                return False
            replaced = _KeySnapshot.build(self.load(self._file, self._passphrase).all)
        except (OSError, KeyFileError):
            return False  # subscribers must be able to unsubscribe while the file is being repaired
        self._stamp = stamp
        if not self._snapshot.by_id.keys() <= replaced.by_id.keys():
            log.error(
                "the new key file lacks keys that are in use, so it was ignored", what_to_do=RESTORE_RECOVERY_COPY
            )
            return False
        self._snapshot = replaced
        return True

    def with_new_key(self, kind: KeyKind) -> Self:
        """Return these keys plus a new one, which becomes the current key of its kind.

        The file isn't written.

        Raises:
            KeyFileError: the kind already has 255 keys, which is the maximum because tokens store
                the key number in one byte.
        """
        number = self.current(kind).number + 1
        if number > MAX_KEYS_PER_KIND:
            raise KeyFileError(f"There are already {MAX_KEYS_PER_KIND} {kind} keys, the maximum.")
        return type(self)([*self.all, SecretKey(kind, number, secrets.token_bytes(32))])

    @classmethod
    def generate(cls) -> Self:
        """Return a ring with one new key of each kind, existing only in memory."""
        return cls(SecretKey(kind, 1, secrets.token_bytes(32)) for kind in KEY_KINDS)

    @classmethod
    def from_seed(cls, seed: bytes) -> Self:
        """Derive the keys from `seed`. This is only for the bundled demo, whose output must be the same everywhere.

        Anyone who knows the seed can decrypt every address. Installations with real people use `create`.
        """
        return cls(SecretKey(kind, 1, hmac.digest(seed, b"demo key: " + kind.encode(), "sha256")) for kind in KEY_KINDS)

    @classmethod
    def create(cls, path: Path, passphrase: str | None = None) -> Self:
        """Create keys and write them to the new file `path` with mode 0600.

        They're encrypted if a passphrase is given.

        Raises:
            KeyFileError: the file exists; overwriting it would make every address unreadable.
        """
        keys = cls.generate()
        try:
            key_file.create_file(path, keys.to_file_text(passphrase))
        except FileExistsError:
            raise KeyFileError(f"{path} already exists and wasn't changed.") from None
        return keys

    @classmethod
    def load(cls, path: Path, passphrase: str | None = None) -> Self:
        """Load a key file into a ring that tracks the file's changes.

        Raises:
            KeyFileError: it's missing, unreadable, or readable by others than its owner, or
                the passphrase is wrong.
        """
        try:
            with path.open("rb") as file:
                status = os.fstat(file.fileno())
                text = file.read()
        except FileNotFoundError:
            raise KeyFileError(
                f"There's no key file {path}.", remedy="Run 'digest init' to create a key file."
            ) from None
        except IsADirectoryError:
            raise KeyFileError(
                f"{path} is a folder, not a key file.",
                remedy="Delete it, and restore the key file from its recovery copy: digest keys restore FILE",
            ) from None
        except OSError as exc:
            raise KeyFileError(
                f"Can't read {path}: {exc.strerror}.",
                remedy=f"Run: chmod 600 {path}. If it belongs to another user, run the command as that user.",
            ) from exc
        mode = stat.S_IMODE(status.st_mode)
        if mode & 0o077:
            raise KeyFileError(
                f"Other users can read or write {path} (mode {mode:04o}).",
                remedy=(
                    f"Run: chmod 600 {path}. If people you don't trust can sign in to this machine, also "
                    "create new keys: for kind in vault lookup session; do digest keys rotate $kind; done"
                ),
            )
        clear_text, under_passphrase = _open_key_text(str(path), text.decode("utf-8", "replace"), passphrase)
        keys = cls(_parse_key_text(str(path), clear_text), under_passphrase=under_passphrase)
        keys._file, keys._passphrase, keys._stamp = path, passphrase, _file_stamp(status)
        return keys

    @classmethod
    def parse(cls, name: str, text: str, passphrase: str | None = None) -> Self:
        """Parse the text of a key file or recovery copy.

        `name` identifies it in errors.

        Raises:
            KeyFileError: it's damaged, or the passphrase is wrong.
        """
        clear_text, under_passphrase = _open_key_text(name, text, passphrase)
        return cls(_parse_key_text(name, clear_text), under_passphrase=under_passphrase)

    def joined_with(self, other: Self) -> Self:
        """Return these keys plus any additional keys in `other`.

        If any keys with the same number differ, return only these keys.
        """
        ours, theirs = ({(k.kind, k.number): k.secret for k in ring.all} for ring in (self, other))
        if any(theirs.get(place, secret) != secret for place, secret in ours.items()):
            return self
        return type(self)({(k.kind, k.number): k for k in (*self.all, *other.all)}.values())

    def to_json(self) -> str:
        """Return the text of a recovery copy, which contains the secrets unencrypted, in base64."""
        rows = [
            {"kind": k.kind, "number": k.number, "id": k.id, "secret": b64encode(k.secret).decode()} for k in self.all
        ]
        return json.dumps({"format": 1, "keys": rows}, indent=1) + "\n"

    def to_file_text(self, passphrase: str | None) -> str:
        """Return the text of the key file, which is the recovery copy's text, encrypted if there's a passphrase."""
        return encrypt_text(self.to_json(), passphrase) if passphrase else self.to_json()


def _open_key_text(name: str, text: str, passphrase: str | None) -> tuple[str, bool]:
    """Return the plaintext of a key file, and whether it was encrypted."""
    if not is_encrypted_text(text):
        return text, False
    try:
        return decrypt_text(text, passphrase), True
    except PassphraseError as exc:
        raise KeyFileError(f"{name} {exc.message}", remedy=exc.remedy) from None


def _parse_key_text(name: str, text: str) -> list[SecretKey]:
    try:
        rows = json.loads(text)["keys"]
        keys = [SecretKey(row["kind"], int(row["number"]), b64decode(row["secret"], validate=True)) for row in rows]
        written_ids = [row["id"] for row in rows]
    except (ValueError, KeyError, TypeError, RecursionError):
        raise KeyFileError(f"{name} is damaged.", remedy=RESTORE_RECOVERY_COPY) from None  # its cause quotes the text
    if not all(map(_is_sound, keys)) or [k.id for k in keys] != written_ids:
        raise KeyFileError(f"{name} contains a damaged key.", remedy=RESTORE_RECOVERY_COPY)
    return keys


def _is_sound(key: SecretKey) -> bool:
    return key.kind in KEY_KINDS and len(key.secret) >= 32 and 1 <= key.number <= MAX_KEYS_PER_KIND


def _file_stamp(file_stat: os.stat_result) -> _FileStamp:
    """Return a stamp that changes when another file replaces this one."""
    return file_stat.st_ino, file_stat.st_mtime_ns, file_stat.st_size
