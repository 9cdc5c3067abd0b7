"""Files encrypted with a passphrase in the age format (https://age-encryption.org/v1).

The `age --decrypt` command also reads them. The payload is encrypted in chunks of 64 KiB, so files of any size need
little memory, and any part can be read without the parts before it.
"""

import hashlib
import hmac
import io
import os
from base64 import b64decode, b64encode
from dataclasses import dataclass
from typing import Any, BinaryIO

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

VERSION_LINE = b"age-encryption.org/v1"
WORK_FACTOR = 17  # log2 of scrypt's cost: 128 MB and half a second per passphrase attempt
MAX_WORK_FACTOR = 20  # files that require more are refused, as they could exhaust the machine
CHUNK_BYTES = 64 * 1024
_TAG_BYTES, _NONCE_BYTES, _FILE_KEY_BYTES = 16, 16, 16
_SEALED_CHUNK_BYTES = CHUNK_BYTES + _TAG_BYTES
_MAX_HEADER_BYTES = 1000


class WrongPassphraseError(ValueError):
    """Raised when the passphrase doesn't decrypt the file."""


class DamagedFileError(ValueError):
    """Raised when the file was truncated or changed."""


def is_encrypted(file: BinaryIO) -> bool:
    """Return True if a file, positioned at its start, is in the age format. The position is restored."""
    start = file.read(len(VERSION_LINE))
    file.seek(0)
    return start == VERSION_LINE


def _encode(value: bytes) -> bytes:
    return b64encode(value).rstrip(b"=")


def _decode(text: bytes) -> bytes:
    value = b64decode(text + b"=" * (-len(text) % 4), validate=True)
    if _encode(value) != text:  # unused trailing bits were set
        raise ValueError("not an age-encrypted file")
    return value


def _derive_key(file_key: bytes, salt: bytes, purpose: bytes) -> bytes:
    return HKDF(algorithm=SHA256(), length=32, salt=salt, info=purpose).derive(file_key)


def _wrapping_cipher(passphrase: str, salt: bytes, work_factor: int) -> ChaCha20Poly1305:
    """Return the cipher that wraps a file's key (age, "The scrypt recipient type")."""
    kdf = Scrypt(salt=VERSION_LINE + b"/scrypt" + salt, length=32, n=1 << work_factor, r=8, p=1)
    return ChaCha20Poly1305(kdf.derive(passphrase.encode()))


def _header_mac(file_key: bytes, header: bytes) -> bytes:
    return hmac.new(_derive_key(file_key, b"", b"header"), header, hashlib.sha256).digest()


def _chunk_nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])


_WRAP_NONCE = bytes(12)  # each file key is wrapped once, with a key derived from a unique salt


class EncryptedWriter:
    """A writer that encrypts to an open file. `close` writes the last chunk and leaves the file open."""

    def __init__(self, file: BinaryIO, passphrase: str) -> None:
        """Write the header with a new random key."""
        file_key, salt, nonce = (os.urandom(size) for size in (_FILE_KEY_BYTES, 16, _NONCE_BYTES))
        wrapped = _wrapping_cipher(passphrase, salt, WORK_FACTOR).encrypt(_WRAP_NONCE, file_key, None)
        stanza = b"-> scrypt %s %d\n%s\n" % (_encode(salt), WORK_FACTOR, _encode(wrapped))
        header = VERSION_LINE + b"\n" + stanza + b"---"
        file.write(header + b" " + _encode(_header_mac(file_key, header)) + b"\n" + nonce)
        self._file = file
        self._cipher = ChaCha20Poly1305(_derive_key(file_key, nonce, b"payload"))
        self._pending = bytearray()
        self._number = 0

    def write(self, data: Any) -> int:
        """Buffer bytes, writing each chunk once it's known not to be the last."""
        view = memoryview(data).cast("B")
        self._pending += view
        while len(self._pending) > CHUNK_BYTES:
            self._write_chunk(bytes(self._pending[:CHUNK_BYTES]), last=False)
            del self._pending[:CHUNK_BYTES]
        return len(view)

    def _write_chunk(self, chunk: bytes, *, last: bool) -> None:
        self._file.write(self._cipher.encrypt(_chunk_nonce(self._number, last=last), chunk, None))
        self._number += 1

    def flush(self) -> None:
        """Do nothing, because chunks are written once they're full."""

    def close(self) -> None:
        """Write the last chunk."""
        self._write_chunk(bytes(self._pending), last=True)


@dataclass(frozen=True, slots=True)
class _Header:
    """The parsed header, and its length in bytes."""

    salt: bytes
    work_factor: int
    wrapped: bytes
    signed: bytes
    mac: bytes
    length: int


def _read_header(file: BinaryIO) -> _Header:
    start = file.read(_MAX_HEADER_BYTES)
    lines = start.split(b"\n", 4)
    try:
        version, stanza, wrapped, end, _payload = lines
        arrow, kind, salt, work_factor = stanza.split(b" ")
        dashes, mac = end.split(b" ")
        if (version, arrow, kind, dashes) != (VERSION_LINE, b"->", b"scrypt", b"---"):
            raise DamagedFileError("the file wasn't encrypted with a passphrase")
        length = sum(len(line) + 1 for line in lines[:4])
        signed = start[: length - len(mac) - 2]
        return _Header(_decode(salt), int(work_factor), _decode(wrapped), signed, _decode(mac), length)
    except ValueError as exc:
        raise DamagedFileError("the header can't be read") from exc


class EncryptedReader(io.RawIOBase):
    """A seekable reader of an encrypted file that never returns data from a changed chunk. `close` closes the file."""

    def __init__(self, file: BinaryIO, passphrase: str, *, max_work_factor: int = MAX_WORK_FACTOR) -> None:
        """Decrypt the file's key, unless that requires more work than allowed.

        Raises:
            WrongPassphraseError: the passphrase doesn't decrypt the file.
            DamagedFileError: the file is truncated, has another format, or requires too much work.
        """
        self._file = file
        file.seek(0)
        header = _read_header(file)
        if not 1 <= header.work_factor <= max_work_factor:
            raise DamagedFileError(f"the scrypt work factor 2^{header.work_factor} is too high")
        try:
            wrapping = _wrapping_cipher(passphrase, header.salt, header.work_factor)
            file_key = wrapping.decrypt(_WRAP_NONCE, header.wrapped, None)
        except InvalidTag as exc:
            raise WrongPassphraseError("wrong passphrase") from exc
        if not hmac.compare_digest(_header_mac(file_key, header.signed), header.mac):
            raise DamagedFileError("the header was changed")
        file.seek(header.length)
        nonce = file.read(_NONCE_BYTES)
        self._start = header.length + _NONCE_BYTES
        sealed = file.seek(0, os.SEEK_END) - self._start
        self._chunks = -(-sealed // _SEALED_CHUNK_BYTES)
        self._size = sealed - self._chunks * _TAG_BYTES
        if len(nonce) < _NONCE_BYTES or self._chunks < 1 or self._size < 0:
            raise DamagedFileError("the file is truncated")
        self._cipher = ChaCha20Poly1305(_derive_key(file_key, nonce, b"payload"))
        self._position = 0
        self._opened: tuple[int, bytes] = (-1, b"")
        self._open_chunk(self._chunks - 1)  # only a complete file ends with a chunk marked as the last

    def close(self) -> None:
        """Close the reader and the file."""
        self._file.close()
        super().close()

    def readable(self) -> bool:
        """Return True."""
        return True

    def seekable(self) -> bool:
        """Return True."""
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        """Set and return the position in the decrypted content."""
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = max(0, base + offset)
        return self._position

    def readinto(self, buffer: Any) -> int:
        """Read decrypted bytes into a buffer, but not past the end of a chunk."""
        view = memoryview(buffer).cast("B")
        if self._position >= self._size:
            return 0
        number, offset = divmod(self._position, CHUNK_BYTES)
        part = self._open_chunk(number)[offset : offset + len(view)]
        view[: len(part)] = part
        self._position += len(part)
        return len(part)

    def _open_chunk(self, number: int) -> bytes:
        if self._opened[0] != number:
            self._file.seek(self._start + number * _SEALED_CHUNK_BYTES)
            sealed = self._file.read(_SEALED_CHUNK_BYTES)
            nonce = _chunk_nonce(number, last=number == self._chunks - 1)
            try:
                self._opened = number, self._cipher.decrypt(nonce, sealed, None)
            except InvalidTag as exc:
                raise DamagedFileError("the file is truncated or was changed") from exc
        return self._opened[1]
