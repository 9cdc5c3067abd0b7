"""The bytes of a message, encoded once for many subscribers, with each subscriber's values spliced in.

A template is encoded once per variant of an edition. Nothing is rendered, encoded, or searched for
individual subscribers: the parts between the slots are joined with the subscriber's address, date,
IDs, and tokens.

Bodies are quoted-printable (RFC 2045, section 6.7). Each slot is on a separate encoded line,
between soft line breaks, and its value is encoded as whole lines. Lines therefore stay within 76
characters, whatever the values.
"""

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from html import escape

from digest.deliver.compose import dkim, headers, unsubscribe_address
from digest.edition.content.slotted_text import LEAVE_SLOT, PREFERENCES_SLOT, SIGNUP_SLOT, Slot, SlottedText
from digest.edition.rendering.text_lines import measure_text_width, wrap_text
from subscribers.crypto import link_tokens

MAX_LINE_LENGTH = 76  # maximum characters, including the "=" of a soft break
SOFT_BREAK = b"=\r\n"
# Bytes to encode: those that are neither printable ASCII nor blanks. "=" is common in HTML, and is
# replaced separately.
_SPECIAL_BYTE = re.compile(rb"[^ \t\n!-~]")
# A line that doesn't need wrapping or encoding at its start or end.
_WHOLE_LINE = re.compile(rb"[^.F].{,%d}(?<![ \t])" % (MAX_LINE_LENGTH - 2))

# Text that fits on a line before a soft break and doesn't end within an escape. If the first byte
# is encoded, it takes two more characters.
_PIECE = re.compile(rb"(?:[.F].{,%d}|.{1,%d})(?<!=)(?<!=.)" % (MAX_LINE_LENGTH - 4, MAX_LINE_LENGTH - 1))


def encode_quoted_printable(text: SlottedText) -> list[bytes | Slot]:
    """Return a text, in UTF-8, as encoded parts and slots, in order. Line breaks become CRLF.

    If the text doesn't end with a line break, a soft one is added.
    """
    *full_lines, last = _split_lines(text)
    encoded: list[bytes | Slot] = []
    for line in full_lines:
        encoded += [*_encode_line(line), b"\r\n"]
    if ending := _encode_line(last):
        encoded += [*ending, SOFT_BREAK]
    return merge_adjacent_literals(encoded)


def _split_lines(text: SlottedText) -> Iterator[list[bytes | Slot]]:
    """Yield the lines, each as a list of slots and of bytes that are encoded but not wrapped."""
    line: list[bytes | Slot] = []
    for part in text.parts():
        if isinstance(part, Slot):
            line.append(part)
            continue
        unix_text = part.replace("\r\n", "\n").replace("\r", "\n")
        first, *other_lines = _encode_bytes(unix_text).split(b"\n")
        line.append(first)
        for other_line in other_lines:
            yield line
            line = [other_line]
    yield line


def _encode_line(line: list[bytes | Slot]) -> list[bytes | Slot]:
    """Split a line at its slots, and wrap it if it's too long."""
    if len(line) == 1 and isinstance(line[0], bytes) and _WHOLE_LINE.fullmatch(line[0]):
        return line
    last = len(line) - 1
    parts: list[bytes | Slot] = []
    for at, part in enumerate(line):
        if encoded := part if isinstance(part, Slot) else _wrap_line(part, ends_line=at == last):
            parts += [SOFT_BREAK, encoded] if parts else [encoded]
    return parts


def merge_adjacent_literals(parts: Iterable[bytes | Slot]) -> list[bytes | Slot]:
    """Join adjacent bytes, so that each slot is preceded and followed by one literal, which may be empty."""
    joined, literals = list[bytes | Slot](), list[bytes]()
    for part in parts:
        if isinstance(part, bytes):
            literals.append(part)
        else:
            joined += [b"".join(literals), part]
            literals = []
    return [*joined, b"".join(literals)]


def encode_slot_value(text: str) -> bytes:
    """Encode a slot's value, in UTF-8, to be placed between soft line breaks."""
    *full_lines, last = _encode_bytes(text).split(b"\n")
    return b"".join(_wrap_line(line, ends_line=True) + b"\r\n" for line in full_lines) + _wrap_line(
        last, ends_line=False
    )


def _encode_bytes(text: str) -> bytes:
    return _SPECIAL_BYTE.sub(_escape_byte, text.encode().replace(b"=", b"=3D"))


def _escape_byte(match: re.Match[bytes]) -> bytes:
    return b"=%02X" % match[0][0]


def _wrap_line(line: bytes, *, ends_line: bool) -> bytes:
    """Wrap a line without slots. `ends_line` is whether a hard line break follows."""
    if ends_line and line.endswith((b" ", b"\t")):
        line = (
            line[:-1] + b"=%02X" % line[-1]
        )  # blanks before a line break must be encoded (RFC 2045, section 6.7, rule 3)
    return SOFT_BREAK.join(_escape_line_start(piece[:1]) + piece[1:] for piece in _PIECE.findall(line))


def _escape_line_start(encoded_byte: bytes) -> bytes:
    """Encode a byte that's special at the start of a line.

    These are SMTP's dot (RFC 5321, section 4.5.2) and the F of mbox's "From ". A message without
    such lines has the same bytes in a file, in transit, and under a signature.
    """
    return b"=%02X" % encoded_byte[0] if encoded_byte in {b".", b"F"} else encoded_byte


_TO_SLOT, _MESSAGE_ID_SLOT, _DATE_SLOT = Slot("to"), Slot("message id"), Slot("date")
_MAILED_LEAVE_SLOT = Slot("leave-token-base32")  # in the unsubscribe address
_SIGNUP_HTML_SLOT = Slot("asked-for-it-html")  # replaces the sign-up slot in HTML parts, where its value is escaped
BODY_SLOTS = (LEAVE_SLOT, PREFERENCES_SLOT, SIGNUP_SLOT, _SIGNUP_HTML_SLOT)
_SLOTS = (_TO_SLOT, _MESSAGE_ID_SLOT, _DATE_SLOT, *BODY_SLOTS, _MAILED_LEAVE_SLOT)


@dataclass(frozen=True, slots=True)
class PlaceholderValues:
    """The slot values for one subscriber's message.

    `date` is the value of the Date field. `signup_text` is plain text in any script. In the text
    part, it's wrapped, starting at its column there.
    """

    to: str
    message_id: str
    date: str
    leave_token: str = ""
    preferences_token: str = ""
    signup_text: str = ""

    def format_body_values(self, signup_column: int) -> tuple[str, str, str, str]:
        """Return the values of `BODY_SLOTS`, for a provider that fills in `MessageTemplate.body_texts` itself."""
        signup = self.signup_text
        return self.leave_token, self.preferences_token, _fold_value(signup, signup_column), _escape_value(signup)

    def encode_slot_values(self, signup_column: int) -> tuple[bytes, ...]:
        """Return the encoded values, in the order of the slots' indexes.

        Raises:
            UnicodeEncodeError: an address, ID, or token isn't ASCII. `subscribers.address`
                rejects such addresses.
            ValueError: one of them contains a control character. A line break in an ID from
                the database would start another header field (RFC 5322, section 2.2) or end
                the message.
        """
        return (
            _encode_field(self.to),
            _encode_field(self.message_id),
            _encode_field(self.date),
            _encode_field(self.leave_token),
            _encode_field(self.preferences_token),
            _encode_plain_value(self.signup_text, signup_column),
            _encode_html_value(self.signup_text),
            _encode_field(link_tokens.convert_to_base32(self.leave_token)),
        )


def _encode_field(value: str) -> bytes:
    if not value.isprintable():
        raise ValueError("a message value contains a control character")
    return value.encode("ascii")


# Subscribers who signed up on the same day and page have the same text.
_fold_value = lru_cache(maxsize=4096)(wrap_text)
_escape_value = lru_cache(maxsize=4096)(escape)


@lru_cache(maxsize=4096)
def _encode_plain_value(text: str, column: int) -> bytes:
    return encode_slot_value(wrap_text(text, column))


@lru_cache(maxsize=4096)
def _encode_html_value(text: str) -> bytes:
    return encode_slot_value(escape(text))


@dataclass(frozen=True)
class MessageTemplate:
    """A message without a subscriber's values. `html` is None in a text-only message.

    `extra_headers` are header fields that are the same for everyone. `unsubscribe_url_prefix`
    precedes the token in List-Unsubscribe ("https://news.example.org/u/"), and is empty in most
    transactional emails. `unsubscribe_mail_domain` adds an address at that domain to the header,
    for email apps that unsubscribe by email (RFC 2369, section 3.2).
    """

    subject: str
    sender_name: str
    sender_address: str
    reply_to: str
    text: SlottedText
    html: SlottedText | None
    extra_headers: Mapping[str, str] = field(default_factory=dict)
    list_id: tuple[str, str] | None = None  # display name and ID
    unsubscribe_url_prefix: str = ""
    unsubscribe_mail_domain: str = ""

    @cached_property
    def parts_and_slots(
        self,
    ) -> tuple[tuple[bytes, ...], tuple[tuple[int, int], ...]]:
        """The parts of the message, and an (index, slot) pair for each part to be filled in."""
        parts = merge_adjacent_literals([*self._head_parts(), *self._encoded_body()])
        slots = tuple((place, _SLOTS.index(p)) for place, p in enumerate(parts) if isinstance(p, Slot))
        return tuple(b"" if isinstance(p, Slot) else p for p in parts), slots

    @cached_property
    def body_texts(self) -> tuple[SlottedText, ...]:
        """The text part and the HTML part, if there is one.

        The sign-up slot of the HTML part takes an escaped value.
        """
        if self.html is None:
            return (self.text,)
        html = (_SIGNUP_HTML_SLOT if part == SIGNUP_SLOT else part for part in self.html.parts())
        return self.text, SlottedText.from_parts(html)

    @cached_property
    def needs_no_dot_stuffing(self) -> bool:
        """True if no line starts with a dot, so that SMTP doesn't have to double any dots (RFC 5321, section 4.5.2).

        Encoded lines never do (`encode_quoted_printable` escapes dots), nor do header fields and slot values.
        """
        return b"\r\n." not in b"".join(part or b"x" for part in self.parts_and_slots[0])

    @cached_property
    def signup_column(self) -> int:
        """The column in the text part where the sign-up text starts."""
        offset = next((offset for offset, slot in self.text.slots if slot == SIGNUP_SLOT), 0)
        return measure_text_width(self.text.text[:offset].rpartition("\n")[2])

    @cached_property
    def canonical_form(self) -> dkim.CanonicalMessage:
        """The canonical form for signing, without the slots' values."""
        return dkim.canonicalize_message(*self.parts_and_slots)

    def _head_parts(self) -> list[bytes | Slot]:
        extra = b"".join(headers.format_header_field(name, value) for name, value in self.extra_headers.items())
        head: list[bytes | Slot] = [
            headers.format_mailbox_field("From", self.sender_name, self.sender_address) + b"To: ",
            _TO_SLOT,
            b"\r\n"
            + (headers.format_mailbox_field("Reply-To", "", self.reply_to) if self.reply_to else b"")
            + headers.format_unstructured_field("Subject", self.subject)
            + b"Date: ",
            _DATE_SLOT,
            b"\r\nMessage-ID: ",
            _MESSAGE_ID_SLOT,
            b"\r\n" + (headers.format_mailbox_field("List-Id", *self.list_id) if self.list_id else b""),
        ]
        if self.unsubscribe_url_prefix:
            head += self._unsubscribe_fields()
        return [*head, extra + b"MIME-Version: 1.0\r\n"]

    def _unsubscribe_fields(self) -> list[bytes | Slot]:
        parts: list[bytes | Slot] = [
            headers.format_header_field("List-Unsubscribe", f"<{self.unsubscribe_url_prefix}").rstrip(b"\r\n"),
            LEAVE_SLOT,
        ]
        if self.unsubscribe_mail_domain:
            before, after = unsubscribe_address.make_prefix_and_suffix(self.unsubscribe_mail_domain)
            parts += [
                f">,\r\n <mailto:{before}".encode("ascii"),
                _MAILED_LEAVE_SLOT,
                f"{after}?subject=unsubscribe".encode("ascii"),
            ]
        return [*parts, b">\r\n" + headers.format_header_field("List-Unsubscribe-Post", "List-Unsubscribe=One-Click")]

    def _encoded_body(self) -> list[bytes | Slot]:
        text, *html_parts = map(_mime_part, ("plain", "html"), self.body_texts)
        if not html_parts:
            return [*text]
        (html,) = html_parts
        # "=_" can't occur in quoted-printable text (RFC 2045, section 6.7), so no line of a part
        # can equal the boundary.
        digest = hashlib.sha256(b"".join(map(_spell_part, (*text, *html))))
        boundary = b"=_" + digest.hexdigest()[:32].encode()
        opening = b'Content-Type: multipart/alternative;\r\n boundary="' + boundary + b'"\r\n\r\n'
        between = b"--" + boundary + b"\r\n"
        return [opening + between, *text, b"\r\n" + between, *html, b"\r\n--" + boundary + b"--\r\n"]


def _spell_part(part: bytes | Slot) -> bytes:
    return b"~%s~" % part.name.encode() if isinstance(part, Slot) else part


@lru_cache(maxsize=8)  # each check of an unchanged edition composes the same message
def _mime_part(subtype: str, text: SlottedText) -> tuple[bytes | Slot, ...]:
    head = b"Content-Type: text/%s; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
    *_, ending = "", *text.parts()
    ends_line = isinstance(ending, str) and ending.endswith("\n")
    ended_text = text if ends_line else SlottedText.from_parts([*text.parts(), "\n"])
    return (head % subtype.encode(), *encode_quoted_printable(ended_text))


def splice_message(template: MessageTemplate, placeholders: PlaceholderValues) -> bytes:
    """Return a subscriber's complete unsigned message (RFC 5322, section 2.1) as ASCII with CRLF line endings.

    Raises:
        UnicodeEncodeError: see `PlaceholderValues.encode_slot_values`.
    """
    return _join_parts(template, placeholders.encode_slot_values(template.signup_column))


def splice_signed_message(template: MessageTemplate, placeholders: PlaceholderValues, signer: dkim.DkimSigner) -> bytes:
    """Return a subscriber's complete message, with its DKIM signatures prepended.

    Raises:
        UnicodeEncodeError: see `PlaceholderValues.encode_slot_values`.
    """
    values = placeholders.encode_slot_values(template.signup_column)
    message = _join_parts(template, values)
    if dkim.are_canonical_values(values):
        return signer.build_signature_fields(template.canonical_form, values) + message
    # A transactional email has empty slots, so it's canonicalized separately.
    return signer.sign_message(message) + message


def _join_parts(template: MessageTemplate, slot_values: tuple[bytes, ...]) -> bytes:
    parts, slots = template.parts_and_slots
    message = list(parts)
    for place, slot in slots:
        message[place] = slot_values[slot]
    return b"".join(message)
