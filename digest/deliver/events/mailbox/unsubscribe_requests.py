"""Replies that ask to unsubscribe, recognized by a short list of words.

The functions are pure, and no text is stored. The sender of an email can be forged, so a request
only triggers an email with the subscriber's unsubscribe link.
"""

import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from email.errors import HeaderParseError
from email.header import decode_header, make_header

from digest.deliver.events.mailbox.mime import HeaderFields, MimePart, parse_header_addresses
from subscribers.address import Address, AddressError, read_address

# By language, without accents. A line is a request if it contains a word from the first list and
# otherwise only words from the second.
_WORD_TABLE = {
    "en": (
        "unsubscribe unsubscribed remove removed off opt optout stop",
        "please pls thanks thank you take out me my email mail mails address from of this your the mailing list newsletter",
    ),
    "de": (
        "abmelden abmeldung abbestellen abbestellung austragen",
        "bitte danke mich meine adresse von vom aus dem der den die diesem dieser ihrem ihrer verteiler liste",
    ),
    "fr": (
        "desabonner desabonnez desabonnement desinscrire desinscrivez desinscription arreter arretez",
        "merci svp s il vous plait me moi mon ma adresse de du la le cette ce votre vos liste",
    ),
    "es": (
        "baja desuscribir desuscribirme",
        "por favor gracias quiero dar darme deme mi direccion correo de del la el esta este su lista boletin",
    ),
}
_ASKING_WORDS = frozenset(word for asking, _ in _WORD_TABLE.values() for word in asking.split())
_WRAPPING_WORDS = frozenset(word for _, wrapping in _WORD_TABLE.values() for word in wrapping.split())
_MAX_LINE_LENGTH = 200
_REPLY_PREFIX = re.compile(r"(?:(?:re|aw|antw|sv|rv|tr|fw|fwd|wg)\s*:\s*)+", re.IGNORECASE)
_WORD = re.compile(r"[a-z]+")
_MACHINE_FIELDS = (
    "list-id",
    "list-unsubscribe",
    "x-autoreply",
    "x-autorespond",
    "x-autoresponder",
    "x-auto-response-suppress",
)


@dataclass(frozen=True, slots=True)
class UnsubscribeRequest:
    """A request to unsubscribe, from a sender address that may be forged."""

    sender: Address


def is_automatic_message(fields: HeaderFields) -> bool:
    """Return True if an email was sent automatically or doesn't want a reply.

    See RFC 3834, sections 2 and 5, and RFC 5321, section 4.5.5.
    """
    submitted = fields.first("auto-submitted").partition(";")[0].strip().lower()
    precedence = fields.first("precedence").lower()
    return (
        submitted not in {"", "no"}
        or precedence in {"bulk", "junk", "list", "auto_reply"}
        or fields.first("return-path") == "<>"
        or any(name in fields for name in _MACHINE_FIELDS)
    )


def read_unsubscribe_request(mail: MimePart) -> UnsubscribeRequest | None:
    """Return the request to unsubscribe in an email, or None.

    Return None if the email doesn't ask to unsubscribe or its sender is unclear.
    """
    if not any(map(asks_to_unsubscribe, _telling_lines(mail))):
        return None
    senders = parse_header_addresses(mail.fields.all("from"))
    try:
        return UnsubscribeRequest(read_address(senders[0])) if len(senders) == 1 else None
    except AddressError:
        return None


def asks_to_unsubscribe(line: str) -> bool:
    """Return True if a line asks to unsubscribe in English, German, French, or Spanish."""
    decomposed = unicodedata.normalize("NFKD", line[:_MAX_LINE_LENGTH].casefold())
    letters = "".join(c for c in decomposed if not unicodedata.combining(c))
    words = set(_WORD.findall(letters))
    return bool(words & _ASKING_WORDS) and words <= _ASKING_WORDS | _WRAPPING_WORDS


def _telling_lines(mail: MimePart) -> Iterator[str]:
    subject = _decode_words(mail.fields.first("subject")[:1000])
    yield _REPLY_PREFIX.sub("", subject, count=1)
    lines = map(str.strip, _text_of(mail).splitlines())
    first_line = next(filter(None, lines), "")
    yield "" if first_line.startswith(">") else first_line


def _decode_words(value: str) -> str:
    """Decode the encoded words in a field (RFC 2047, section 6), or return it unchanged if that fails."""
    try:
        return str(make_header(decode_header(value)))
    except (HeaderParseError, LookupError, ValueError):
        return value


def _text_of(mail: MimePart) -> str:
    """Return the start of the plain text, which may be in a nested part, or "" if there's none."""
    parts = [mail, *mail.parts()]
    parts += [inner for part in parts[1:] for inner in part.parts()]
    plain = next((part for part in parts if part.media_type == "text/plain"), None)
    if plain is None:
        return ""
    try:
        return plain.decoded_body().decode(plain.parameter("charset") or "utf-8", "replace")
    except LookupError:
        return plain.decoded_body().decode("utf-8", "replace")
