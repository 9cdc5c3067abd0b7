"""DKIM signatures (RFC 6376, section 5; Ed25519: RFC 8463, section 3), fast enough for one per subscriber.

Canonicalization is relaxed/relaxed. The parts that all messages share are canonicalized once, and
only a subscriber's values are added for each. Fields that could be added in transit are oversigned,
which means that they're listed once more than they occur (RFC 6376, section 8.15).
"""

import hashlib
import os
import re
import stat
import time
from base64 import b64encode
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

from digest.folder_owner import find_user_name
from digest.settings import Settings
from subscribers.english_text import count_with_noun
from subscribers.errors import ApplicationError

OVERSIGNED = (
    *(b"from", b"to", b"subject", b"date", b"reply-to", b"message-id"),
    *(b"list-id", b"list-unsubscribe", b"list-unsubscribe-post"),  # the last two are required by RFC 8058, section 4
    # If one of these were prepended to the message, the signature would stay valid, but the body
    # would be parsed differently.
    *(b"mime-version", b"content-type", b"content-transfer-encoding"),
)
_ALSO_SIGNED = re.compile(rb"feedback-id|(?:list|cfbl)-.*")
_PEM_KEY = re.compile(rb"-----BEGIN [A-Z ]*PRIVATE KEY-----.+?-----END [A-Z ]*PRIVATE KEY-----", re.DOTALL)
# Values that relaxed canonicalization doesn't change. A value in the body may have several lines.
_CANONICAL_VALUE = re.compile(rb"[!-~]+(?: [!-~]+)*(?:\r\n ?[!-~]+(?: [!-~]+)*)*")
_SLOT = re.compile(rb"\0(\d)\0")
_LINE_LENGTH = 76  # maximum characters per line of the field

_MAKE_KEY = "Make a new key: openssl genrsa -out"
_STRING_LENGTH = 255  # maximum characters in a string of a TXT record (RFC 1035, section 3.3)

SlotPlaces = Sequence[tuple[int, int]]  # pairs of a part's index and the slot whose value replaces it


class DkimError(ApplicationError):
    """Raised when a message can't be signed.

    The message names the setting, the reason, and the remedy.
    """


@dataclass(frozen=True, slots=True)
class CanonicalMessage:
    """A message in canonical form, except for the values of its slots.

    `head_pieces` and `body_pieces` consist of constant bytes alternating with slots. `body_hash` is
    the hash of the constant start of the body, which isn't in `body_pieces`.
    """

    signed_names: bytes  # names of the signed fields, folded as in h=
    head_pieces: tuple[bytes | int, ...]
    body_pieces: tuple[bytes | int, ...]
    body_hash: "hashlib._Hash"


def canonicalize_message(parts: Sequence[bytes], slots: SlotPlaces = ()) -> CanonicalMessage:
    """Canonicalize a message whose slots will be filled in later (RFC 6376, section 3.4).

    Lines must end with CRLF. The values must pass `are_canonical_values`, so that they don't affect
    the text around them.
    """
    filled = list(parts)
    for place, slot in slots:
        filled[place] = b"\0%d\0" % slot
    head, _, body = b"".join(filled).partition(b"\r\n\r\n")
    names, signed = _fields_to_sign(_canonical_fields(head))
    first, *later_parts = _split_at_slots(canonicalize_body(body), bool(slots))
    assert isinstance(first, bytes), "constant bytes come first, even if there are none"
    return CanonicalMessage(
        _fold_names(names), _split_at_slots(signed, bool(slots)), tuple(later_parts), hashlib.sha256(first)
    )


def are_canonical_values(values: Iterable[bytes]) -> bool:
    """Return True if canonicalization doesn't change the values: they're printable, with only single spaces inside."""
    return all(map(_CANONICAL_VALUE.fullmatch, values))


def canonicalize_body(body: bytes) -> bytes:
    """Canonicalize a body (RFC 6376, section 3.4.4)."""
    body = re.sub(rb"[ \t]+", b" ", body)
    body = re.sub(rb" (?=\r\n|\Z)", b"", body)
    body = re.sub(rb"(?:\r\n)+\Z", b"", body)
    return body + b"\r\n" if body else b""


def quote_record_text(text: str) -> str:
    """Return a TXT record's text as written in a zone file: quoted strings of at most 255 characters each."""
    return " ".join(f'"{text[at : at + _STRING_LENGTH]}"' for at in range(0, len(text), _STRING_LENGTH))


@dataclass(frozen=True, slots=True)
class SigningKey:
    """A private key and the selector under which DNS publishes its public key."""

    selector: str
    private_key: RSAPrivateKey | Ed25519PrivateKey = field(repr=False)

    @property
    def key_type(self) -> str:
        """The key type, "rsa" or "ed25519", as written in a= and in the DNS record."""
        return "rsa" if isinstance(self.private_key, RSAPrivateKey) else "ed25519"

    def dns_record(self) -> str:
        """Return the TXT record for `<selector>._domainkey.<domain>` (RFC 6376, section 3.6.1)."""
        raw, der = serialization.Encoding.Raw, serialization.Encoding.DER
        if self.key_type == "rsa":
            public = self.private_key.public_key().public_bytes(der, serialization.PublicFormat.SubjectPublicKeyInfo)
        else:
            public = self.private_key.public_key().public_bytes(raw, serialization.PublicFormat.Raw)
        return f"v=DKIM1; k={self.key_type}; p={b64encode(public).decode()}"

    def sign_bytes(self, data: bytes) -> bytes:
        """Return the signature of canonical bytes."""
        if isinstance(self.private_key, RSAPrivateKey):
            return self.private_key.sign(data, PKCS1v15(), hashes.SHA256())
        return self.private_key.sign(hashlib.sha256(data).digest())  # RFC 8463, section 3


@dataclass(frozen=True, slots=True)
class DkimSigner:
    """A signer that signs a domain's messages once with each of its keys. Thread-safe."""

    domain: str
    keys: tuple[SigningKey, ...]
    clock: Callable[[], float] = time.time  # seconds since the epoch, for t=

    def build_signature_fields(self, message: CanonicalMessage, values: Sequence[bytes] = ()) -> bytes:
        """Return the DKIM-Signature fields to prepend to a message with the given values.

        The values must pass `are_canonical_values`.
        """
        body = message.body_hash.copy()
        body.update(_join_pieces(message.body_pieces, values))
        bh = b64encode(body.digest())
        head = _join_pieces(message.head_pieces, values)
        return b"".join(self._signature_field(key, message.signed_names, head, bh) for key in self.keys)

    def sign_message(self, message: bytes) -> bytes:
        """Return the DKIM-Signature fields to prepend to a finished message."""
        return self.build_signature_fields(canonicalize_message((message,)))

    def _signature_field(self, key: SigningKey, names: bytes, head: bytes, bh: bytes) -> bytes:
        field_ = b"v=1; a=%s-sha256; c=relaxed/relaxed; d=%s;\r\n s=%s; t=%d;\r\n h=%s;\r\n bh=%s;\r\n b=" % (
            key.key_type.encode(),
            self.domain.encode(),
            key.selector.encode(),
            int(self.clock()),
            names,
            bh,
        )
        # The field is formatted so that canonicalization only unfolds it.
        b = b64encode(key.sign_bytes(head + b"dkim-signature:" + field_.replace(b"\r\n", b"")))
        width = _LINE_LENGTH - 2
        lines = [b[start : start + width] for start in range(0, len(b), width)]
        return b"DKIM-Signature: " + field_ + b"\r\n ".join(lines) + b"\r\n"


def load_signer(settings: Settings) -> DkimSigner | None:
    """Return a signer that uses the keys in the settings.

    Return None if email isn't signed or the mail server signs it.

    Raises:
        DkimError: the key file is missing, unreadable, or readable by others; or it doesn't
            contain one RSA key of 2,048 to 4,096 bits, optionally followed by Ed25519 keys,
            each with a selector.
    """
    if settings.dkim_key_file is None or settings.file.relay.dkim_record:
        return None
    file, selectors = settings.dkim_key_file, settings.dkim_selectors
    secrets = [_load_private_key(file, pem) for pem in _PEM_KEY.findall(_read_key_file(file))]
    if not 0 < len(secrets) == len(selectors):
        raise _key_file_error(
            file,
            f"the file contains {count_with_noun(len(secrets), 'key')}, but DIGEST_DKIM_SELECTOR names {len(selectors)}",
        )
    rsa, *more = secrets
    # RFC 8463, section 6: few recipients' servers verify Ed25519 yet, so it's only allowed in
    # addition to RSA.
    if not isinstance(rsa, RSAPrivateKey) or not all(isinstance(key, Ed25519PrivateKey) for key in more):
        raise _key_file_error(file, "the first key must be RSA, and any others must be Ed25519")
    if not 2048 <= rsa.key_size <= 4096:
        raise _key_file_error(
            file, f"the RSA key has {rsa.key_size} bits, but RFC 8301, section 3.2, requires 2048 to 4096"
        )
    keys = tuple(SigningKey(name, secret) for name, secret in zip(selectors, secrets, strict=True))
    return DkimSigner(settings.dkim_domain, keys)


def _read_key_file(file: Path) -> bytes:
    try:
        with file.open("rb") as opened:
            if stat.S_IMODE(os.fstat(opened.fileno()).st_mode) & 0o077:
                raise _key_file_error(file, "other users can read the file", f"Run: chmod 600 {file}")
            return opened.read(1_000_000)
    except OSError as exc:
        own = f"Run as root: chown {find_user_name(os.geteuid())} {file} && chmod 600 {file}"
        remedy = own if isinstance(exc, PermissionError) else ""
        raise _key_file_error(file, f"the file can't be read ({exc.strerror})", remedy) from None


def _load_private_key(file: Path, pem: bytes) -> RSAPrivateKey | Ed25519PrivateKey:
    try:
        secret = serialization.load_pem_private_key(pem, password=None)
    except TypeError:
        raise _key_file_error(
            file,
            "the key is protected by a passphrase",
            (
                f"Remove the key's passphrase: openssl pkey -in {file} -out {file}.new; chmod 600 "
                f"{file}.new; mv {file}.new {file}"
            ),
        ) from None
    except ValueError:
        raise _key_file_error(file, "a key in the file can't be read") from None
    if not isinstance(secret, (RSAPrivateKey, Ed25519PrivateKey)):
        raise _key_file_error(file, "only RSA and Ed25519 keys can sign email")
    return secret


def _key_file_error(file: Path, reason: str, remedy: str = "") -> DkimError:
    usual = (
        f"{_MAKE_KEY} {file} 2048 && chown {find_user_name(os.geteuid())} {file}. Then publish the record printed by "
        "'digest doctor --online'."
    )
    return DkimError(f"DIGEST_DKIM_KEY_FILE ({file}) can't be used: {reason}.", remedy=remedy or usual)


def _canonical_fields(head: bytes) -> list[tuple[bytes, bytes]]:
    """Return the fields of a header as pairs of lowercase name and canonical line.

    See RFC 6376, section 3.4.2.
    """
    fields = []
    for raw in re.split(rb"\r\n(?![ \t])", head):
        name, _, value = raw.partition(b":")
        name = name.strip().lower()
        unfolded = re.sub(rb"[ \t]+", b" ", value.replace(b"\r\n", b"")).strip(b" ")
        fields.append((name, name + b":" + unfolded + b"\r\n"))
    return fields


def _fields_to_sign(
    fields: list[tuple[bytes, bytes]],
) -> tuple[list[bytes], bytes]:
    """Choose the fields to sign, and return their names in order and the canonical lines to hash.

    Fields with the same name are taken from last to first. Listing the name once more signs that
    there are no others (RFC 6376, section 5.4.2).
    """
    also_signed = filter(_ALSO_SIGNED.fullmatch, (name for name, _ in fields))
    other_names = [name for name in dict.fromkeys(also_signed) if name not in OVERSIGNED]
    names: list[bytes] = []
    lines: list[bytes] = []
    for name in (*OVERSIGNED, *other_names):
        same_name = [line for field_name, line in reversed(fields) if field_name == name]
        names += [name] * (len(same_name) + (name in OVERSIGNED))
        lines += same_name
    return names, b"".join(lines)


def _fold_names(names: list[bytes]) -> bytes:
    lines = [names[0]]
    for name in names[1:]:
        if len(lines[-1]) + len(name) + 6 > _LINE_LENGTH:  # " h=" before the names, ":" between them, ";" after
            lines.append(name)
        else:
            lines[-1] += b":" + name
    return b":\r\n ".join(lines)


def _split_at_slots(text: bytes, has_slots: bool) -> tuple[bytes | int, ...]:  # noqa: FBT001 - whether slots can be in it
    if not has_slots:
        return (text,)
    pieces = _SLOT.split(text)
    return tuple(int(piece) if at % 2 else piece for at, piece in enumerate(pieces))


def _join_pieces(pieces: tuple[bytes | int, ...], values: Sequence[bytes]) -> bytes:
    return b"".join([values[p] if isinstance(p, int) else p for p in pieces])
