"""The bytes of a message: encoded once for many readers, spliced for each.

A template is encoded once for a variant of an edition. For a reader nothing is rendered or encoded: the parts between
the placeholders are joined with the reader's own address, date, ids and tokens.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from html import escape

from digest.deliver.compose import dkim, headers
from digest.deliver.compose.quoted_printable import encode_quoted_printable, encode_value
from digest.edition import placeholders as edition_placeholders
from digest.edition.rendering.text_lines import text_columns, wrap_text

_PLACEHOLDER = re.compile(b"|".join(re.escape(m.encode()) for m in edition_placeholders.ALL_PLACEHOLDERS))
_TO_SLOT, _MESSAGE_ID_SLOT, _DATE_SLOT = "to", "message id", "date"  # no text of an edition can spell them
_SLOTS = (_TO_SLOT, _MESSAGE_ID_SLOT, _DATE_SLOT, *edition_placeholders.ALL_PLACEHOLDERS)


@dataclass(frozen=True, slots=True)
class PlaceholderValues:
    """The values of the placeholders in one reader's message; `date` is that of its Date field.

    `signup_text` is plain text in any script; in the text part it is folded, beginning at a column of its line.
    """

    to: str
    message_id: str
    date: str
    leave_token: str = ""
    preferences_token: str = ""
    signup_text: str = ""

    def substitutions(self, signup_column: int) -> dict[str, str]:
        """Return placeholder → value, for a provider that substitutes itself."""
        return {
            edition_placeholders.LEAVE_PLACEHOLDER: self.leave_token,
            edition_placeholders.PREFERENCES_PLACEHOLDER: self.preferences_token,
            edition_placeholders.SIGNUP_ORIGIN_PLACEHOLDER: _fold_value(self.signup_text, signup_column),
            edition_placeholders.SIGNUP_HTML_PLACEHOLDER: escape(self.signup_text),
        }

    def slot_values(self, signup_column: int) -> tuple[bytes, ...]:
        """Return the values by slot.

        Raises:
            UnicodeEncodeError: an address, an id or a token is not ASCII; `subscribers.address` reads no such address.
        """
        return (
            self.to.encode("ascii"),
            self.message_id.encode("ascii"),
            self.date.encode("ascii"),
            self.leave_token.encode("ascii"),
            self.preferences_token.encode("ascii"),
            _encode_plain_value(self.signup_text, signup_column),
            _encode_html_value(self.signup_text),
        )


# Readers who asked on one day in one place share the words.
_fold_value = lru_cache(maxsize=4096)(wrap_text)


@lru_cache(maxsize=4096)
def _encode_plain_value(text: str, column: int) -> bytes:
    return encode_value(wrap_text(text, column))


@lru_cache(maxsize=4096)
def _encode_html_value(text: str) -> bytes:
    return encode_value(escape(text))


@dataclass(frozen=True)
class MessageTemplate:
    """A message without what is one reader's own. `html` is None in a text-only message.

    `extra_headers` holds header fields that are the same for everybody. `unsubscribe_url_prefix` precedes the token in
    List-Unsubscribe ("https://news.example.org/u/"); it is empty in most notices.
    """

    subject: str
    sender_name: str
    sender_address: str
    reply_to: str
    text: str
    html: str | None
    extra_headers: Mapping[str, str] = field(default_factory=dict)
    list_id: tuple[str, str] | None = None  # display name and id
    unsubscribe_url_prefix: str = ""

    @cached_property
    def parts_and_slots(self) -> tuple[tuple[bytes, ...], tuple[tuple[int, int], ...]]:
        """The parts of the message, and (index, slot) of each part that is filled in."""
        parts: list[bytes | str] = [*self._head_parts(), *_split_at_placeholders(self._encoded_body())]
        slots = tuple((place, _SLOTS.index(p)) for place, p in enumerate(parts) if isinstance(p, str))
        return tuple(b"" if isinstance(p, str) else p for p in parts), slots

    @cached_property
    def needs_no_dot_stuffing(self) -> bool:
        """Whether no line starts with a dot, so that SMTP need not double any (RFC 5321, 4.5.2).

        No encoded line does (`quoted_printable` escapes it), no header field, and none of the values of a slot.
        """
        return b"\r\n." not in b"".join(part or b"x" for part in self.parts_and_slots[0])

    @cached_property
    def signup_column(self) -> int:
        """The column of the text part at which the reader's sign-up text begins."""
        line = self.text.partition(edition_placeholders.SIGNUP_ORIGIN_PLACEHOLDER)[0].rpartition("\n")[2]
        return text_columns(line)

    @cached_property
    def canonical_form(self) -> dkim.CanonicalMessage:
        """The canonical form for signing, without what is filled in."""
        return dkim.canonicalise_message(*self.parts_and_slots)

    def _head_parts(self) -> list[bytes | str]:
        extra = b"".join(headers.header_field(name, value) for name, value in self.extra_headers.items())
        head: list[bytes | str] = [
            headers.mailbox_field("From", self.sender_name, self.sender_address) + b"To: ",
            _TO_SLOT,
            b"\r\n"
            + (headers.mailbox_field("Reply-To", "", self.reply_to) if self.reply_to else b"")
            + headers.unstructured_field("Subject", self.subject)
            + b"Date: ",
            _DATE_SLOT,
            b"\r\nMessage-ID: ",
            _MESSAGE_ID_SLOT,
            b"\r\n" + (headers.mailbox_field("List-Id", *self.list_id) if self.list_id else b""),
        ]
        if self.unsubscribe_url_prefix:
            link = headers.header_field("List-Unsubscribe", f"<{self.unsubscribe_url_prefix}").rstrip(b"\r\n")
            post = headers.header_field("List-Unsubscribe-Post", "List-Unsubscribe=One-Click")
            head += [link, edition_placeholders.LEAVE_PLACEHOLDER, b">\r\n" + post]
        return [*head, extra + b"MIME-Version: 1.0\r\n"]

    def _encoded_body(self) -> bytes:
        text = _mime_part("plain", self.text)
        if self.html is None:
            return text
        html = _mime_part("html", self.html)
        # "=_" cannot occur in quoted-printable (RFC 2045, 6.7), so no line of a part can be the boundary.
        boundary = b"=_" + hashlib.sha256(text + html).hexdigest()[:32].encode()
        opening = b'Content-Type: multipart/alternative;\r\n boundary="' + boundary + b'"\r\n\r\n'
        between = b"--" + boundary + b"\r\n"
        return opening + between + text + b"\r\n" + between + html + b"\r\n--" + boundary + b"--\r\n"


def _mime_part(subtype: str, text: str) -> bytes:
    return (
        b"Content-Type: text/%s; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
        % subtype.encode()
    ) + encode_quoted_printable(text if text.endswith("\n") else f"{text}\n")


def _split_at_placeholders(body: bytes) -> list[bytes | str]:
    parts: list[bytes | str] = []
    start = 0
    for match in _PLACEHOLDER.finditer(body):
        parts += [body[start : match.start()], match[0].decode()]
        start = match.end()
    return [*parts, body[start:]]


def splice_message(template: MessageTemplate, placeholders: PlaceholderValues) -> bytes:
    """Return a reader's finished message (RFC 5322, CRLF, ASCII), unsigned.

    Raises:
        UnicodeEncodeError: see `PlaceholderValues.slot_values`.
    """
    return _join_parts(template, placeholders.slot_values(template.signup_column))


def splice_signed_message(template: MessageTemplate, placeholders: PlaceholderValues, signer: dkim.DkimSigner) -> bytes:
    """Return the finished message with its DKIM signatures on top.

    Raises:
        UnicodeEncodeError: see `PlaceholderValues.slot_values`.
    """
    values = placeholders.slot_values(template.signup_column)
    message = _join_parts(template, values)
    if dkim.are_canonical_values(values):
        return signer.signature_fields(template.canonical_form, values) + message
    return signer.sign_message(message) + message  # a notice leaves slots empty, so it is canonicalised by itself


def _join_parts(template: MessageTemplate, slot_values: tuple[bytes, ...]) -> bytes:
    parts, slots = template.parts_and_slots
    message = list(parts)
    for place, slot in slots:
        message[place] = slot_values[slot]
    return b"".join(message)
