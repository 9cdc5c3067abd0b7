"""The keys, and addresses at rest: sealed with AES-GCM, found again by a keyed hash.

Every kind of key is independent of the others and has numbered successors, so that each can be rotated alone.
A row names the key that it was made with.
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

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from subscribers import keyfile
from subscribers.addresses import Address, read_address

KeyKind = Literal["vault", "lookup", "token", "return-path", "session", "suppression"]
KINDS: tuple[KeyKind, ...] = get_args(KeyKind)
MOST = 255  # keys of a kind
_Mark = tuple[int, int, int]
_NONCE = 12  # bytes, as NIST SP 800-38D 8.2 wants for AES-GCM


class KeyFileError(Exception):
    """The key file cannot be used; the message says which file, why, and what to do."""


class VaultError(Exception):
    """A sealed address does not open; the message names the person's number and the key, no address."""


@dataclass(frozen=True, slots=True)
class Key:
    """One secret. `number` counts the keys of a kind from 1; `id` also tells apart two keys of equal number."""

    kind: KeyKind
    number: int
    secret: bytes = field(repr=False)

    @property
    def id(self) -> str:
        """What rows store: number and fingerprint, at most 16 characters, saying nothing of the secret."""
        return _key_id(self.kind, self.number, self.secret)


@lru_cache(maxsize=64)
def _key_id(kind: KeyKind, number: int, secret: bytes) -> str:
    digest = hashlib.sha256(b"hls-digest key id\0" + kind.encode() + b"\0" + secret).hexdigest()
    return f"{number}-{digest[:10]}"


@dataclass(frozen=True, slots=True)
class _Ring:
    """The keys as they stand in the file at one time."""

    all: tuple[Key, ...]
    by_id: dict[tuple[KeyKind, str], Key]
    current: dict[KeyKind, Key]

    @classmethod
    def of(cls, keys: Iterable[Key]) -> Self:
        every = tuple(sorted(keys, key=lambda k: (k.kind, k.number)))
        current = {k.kind: k for k in every}  # the last of a kind has the highest number
        missing = [kind for kind in KINDS if kind not in current]
        if missing:
            raise KeyFileError(
                f"no key of kind {', '.join(missing)}: restore the key file from its recovery copy."
            )
        if len({(k.kind, k.number) for k in every}) < len(every):
            raise KeyFileError("two keys of one kind have the same number: restore the key file.")
        return cls(every, {(k.kind, k.id): k for k in every}, current)


class Keys:
    """All keys of an installation. It lives as long as the process.

    Keys are added and never taken away. One that was loaded from a file follows it: a process that runs on
    while another rotates keys reads what the other writes, and finds people by their new hashes.
    """

    __slots__ = ("_file", "_mark", "_ring")

    def __init__(self, keys: Iterable[Key]) -> None:
        """Take the keys.

        Raises:
            KeyFileError: a kind has no key, or two of one number.
        """
        self._ring = _Ring.of(keys)
        self._file: Path | None = None
        self._mark: _Mark | None = None

    @property
    def all(self) -> tuple[Key, ...]:
        """Every key, by kind and number."""
        return self._ring.all

    def __repr__(self) -> str:
        return f"Keys({', '.join(f'{k.kind} {k.id}' for k in self.all)})"

    def current(self, kind: KeyKind) -> Key:
        """Give the key that new things are made with."""
        return self._ring.current[kind]

    def of(self, kind: KeyKind) -> tuple[Key, ...]:
        """Give every key of a kind, the oldest first, as the file has them at this moment."""
        self._follow()
        return tuple(k for k in self._ring.all if k.kind == kind)

    def by_id(self, kind: KeyKind, key_id: str) -> Key:
        """Find the key that a row names.

        Raises:
            KeyFileError: the file does not hold it.
        """
        found = self._ring.by_id.get((kind, key_id))
        if found is None and self._follow():
            found = self._ring.by_id.get((kind, key_id))
        if found is None:
            raise KeyFileError(
                f"the {kind} key {key_id} is not in the key file: this database was written with other keys. "
                "Put the right key file back (see 'digest init', recovery copy)."
            )
        return found

    def _follow(self) -> bool:
        """Read the file again where it was replaced; say whether it was."""
        if self._file is None:
            return False
        try:
            found = self._file.stat()
            if self._mark == (mark := _mark(found)):
                return False
            self._ring, self._mark = _Ring.of(self.load(self._file).all), mark
        except (OSError, KeyFileError):
            return False  # whoever mends the file must not stop readers from leaving meanwhile
        return True

    def with_new(self, kind: KeyKind) -> Self:
        """Give these keys and a fresh one of a kind, which is then the current one; nothing is written.

        Raises:
            KeyFileError: a kind has no more than 255 keys: a token names its key in one byte.
        """
        number = self.current(kind).number + 1
        if number > MOST:
            raise KeyFileError(f"there are {MOST} keys of kind {kind} already, and no number for another.")
        return type(self)([*self.all, Key(kind, number, secrets.token_bytes(32))])

    @classmethod
    def random(cls) -> Self:
        """Make one fresh key of each kind, in memory only."""
        return cls(Key(kind, 1, secrets.token_bytes(32)) for kind in KINDS)

    @classmethod
    def fixed(cls, seed: bytes) -> Self:
        """Derive the keys from `seed`, for the bundled demo alone, whose bytes must be the same everywhere.

        Whoever knows the seed opens every address: an installation with people in it uses `create`.
        """
        return cls(Key(kind, 1, hmac.digest(seed, b"demo key: " + kind.encode(), "sha256")) for kind in KINDS)

    @classmethod
    def create(cls, path: Path) -> Self:
        """Make fresh keys and write them to `path` (0600), which must not exist yet.

        Raises:
            KeyFileError: the file exists: overwriting it would lose every address.
        """
        keys = cls.random()
        try:
            keyfile.write_new(path, keys.to_json())
        except FileExistsError:
            raise KeyFileError(f"{path}: there is a key file already; it was left as it is.") from None
        return keys

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read the key file.

        Raises:
            KeyFileError: it is missing, unreadable, or readable for others than its owner.
        """
        try:
            with path.open("rb") as file:
                found = os.fstat(file.fileno())
                text = file.read()
        except FileNotFoundError:
            raise KeyFileError(f"{path}: no key file. 'digest init' makes one.") from None
        except OSError as exc:
            raise KeyFileError(f"{path}: cannot be read: {exc.strerror}") from exc
        mode = stat.S_IMODE(found.st_mode)
        if mode & 0o077:
            raise KeyFileError(
                f"{path}: other users may read or write it (mode {mode:04o}). Run: chmod 600 {path}; and where "
                "others have used this machine, make new keys ('digest keys rotate')."
            )
        keys = cls(_read_json(path, text))
        keys._file, keys._mark = path, _mark(found)
        return keys

    def to_json(self) -> str:
        """Give the file's text: secrets in base64. It is what a recovery copy holds."""
        rows = [
            {"kind": k.kind, "number": k.number, "id": k.id, "secret": b64encode(k.secret).decode()}
            for k in self.all
        ]
        return json.dumps({"format": 1, "keys": rows}, indent=1) + "\n"


def _read_json(path: Path, text: bytes) -> list[Key]:
    try:
        rows = json.loads(text)["keys"]
        keys = [Key(row["kind"], int(row["number"]), b64decode(row["secret"], validate=True)) for row in rows]
    except (ValueError, KeyError, TypeError):
        raise KeyFileError(
            f"{path}: damaged; put its recovery copy in its place."
        ) from None  # the cause quotes it
    unsound = [k for k in keys if k.kind not in KINDS or len(k.secret) < 32 or not 1 <= k.number <= MOST]
    if unsound or any(k.id != row["id"] for k, row in zip(keys, rows, strict=True)):
        raise KeyFileError(f"{path}: a key in it is damaged; put its recovery copy in its place.")
    return keys


def _mark(found: os.stat_result) -> _Mark:
    """Tell one file from another that took its name."""
    return found.st_ino, found.st_mtime_ns, found.st_size


@lru_cache(maxsize=16)
def _cipher(secret: bytes) -> AESGCM:
    return AESGCM(secret)


def _bound_to(number: int) -> bytes:
    return b"person %d" % number


def seal(keys: Keys, address: Address, number: int) -> tuple[bytes, str]:
    """Encrypt the address of person `number`; give the ciphertext and the id of the key.

    The ciphertext opens for that number only: rows swapped in the database show themselves.
    """
    return _sealed(keys.current("vault"), address.mailbox.encode("ascii"), _bound_to(number))


def _sealed(key: Key, plain: bytes, bound_to: bytes) -> tuple[bytes, str]:
    nonce = secrets.token_bytes(_NONCE)
    return nonce + _cipher(key.secret).encrypt(nonce, plain, bound_to), key.id


def reseal(keys: Keys, sealed: tuple[bytes, str], bound_to: bytes) -> tuple[bytes, str]:
    """Encrypt anew, with the current vault key, what an earlier key sealed; nobody gets to see it.

    Raises:
        VaultError: the ciphertext was changed, or is bound to something else.
        KeyFileError: the key is not in the key file.
    """
    return _sealed(keys.current("vault"), _opened(keys, sealed, bound_to), bound_to)


def open_(keys: Keys, sealed: tuple[bytes, str], number: int) -> str:
    """Give the address (ASCII, as mail goes to it) that `seal` made `sealed` of: ciphertext and key id.

    Raises:
        VaultError: the ciphertext was changed, or belongs to another person.
        KeyFileError: the key is not in the key file.
    """
    return _opened(keys, sealed, _bound_to(number)).decode("ascii")


def _opened(keys: Keys, sealed: tuple[bytes, str], bound_to: bytes) -> bytes:
    ciphertext, key_id = sealed
    cipher = _cipher(keys.by_id("vault", key_id).secret)
    try:
        return cipher.decrypt(ciphertext[:_NONCE], ciphertext[_NONCE:], bound_to)
    except (InvalidTag, ValueError):
        raise VaultError(
            f"the address of {bound_to.decode()} does not open with the vault key {key_id}"
        ) from None


def lookup(keys: Keys, address: Address | str, *, key_id: str | None = None) -> str:
    """Give the keyed hash (64 hex digits) by which a person is found; the current lookup key unless named.

    Raises:
        AddressError: `address` is a text that is no address.
    """
    key = keys.current("lookup") if key_id is None else keys.by_id("lookup", key_id)
    return _hash(key, b"address", _as_address(address).canonical)


def domain_tag(keys: Keys, address: Address) -> str:
    """Give a keyed hash (32 hex digits) of the domain: caps per receiving domain need no more."""
    return _hash(keys.current("lookup"), b"domain", address.domain)[:32]


def suppression_hash(key: Key, address: Address) -> str:
    """Give the keyed hash (64 hex digits) under which an address is suppressed."""
    return _hash(key, b"suppressed", address.canonical)


def left_hash(key: Key, lookup: str) -> str:
    """Give the keyed hash (64 hex digits) under which the journal knows the person of a look-up hash."""
    return hmac.digest(key.secret, b"left\0" + lookup.encode(), "sha256").hex()


def suppression_hashes(keys: Keys, address: Address) -> list[tuple[str, str]]:
    """Give every hash, with its key's id, under which an address may be suppressed: the newest by address comes last.

    After a restore a bar may be known by the journal's hash of the look-up alone (`subscribers.restoring`).
    """
    lookups = [lookup(keys, address, key_id=key.id) for key in keys.of("lookup")]
    made = keys.of("suppression")
    by_journal = [(left_hash(key, one), key.id) for key in made for one in lookups]
    return by_journal + [(suppression_hash(key, address), key.id) for key in made]


def _as_address(address: Address | str) -> Address:
    return read_address(address) if isinstance(address, str) else address


def _hash(key: Key, purpose: bytes, text: str) -> str:
    return hmac.digest(key.secret, purpose + b"\0" + text.encode(), "sha256").hex()
