"""The bytes of a message: written once for many readers, spliced for each.

A letter is written once for a variant of an edition. For a reader nothing is rendered or encoded: the parts
between the marks are joined with the reader's own address, ids and tokens.
"""

import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from functools import cached_property

from digest.deliver import dkim, headers
from digest.deliver.dkim import Canonical, Signer
from digest.deliver.encoding import encode
from digest.edition import marks

_MARK = re.compile(b"|".join(re.escape(m.encode()) for m in marks.ALL))
_TO, _MESSAGE_ID = "to", "message id"  # marks of ours: no text of an edition can spell them
_SLOTS = (_TO, _MESSAGE_ID, *marks.ALL)


@dataclass(frozen=True, slots=True)
class Filled:
    """What stands for the marks in one reader's message."""

    to: str
    message_id: str
    leave: str = ""
    preferences: str = ""
    asked: str = ""

    def substitutions(self) -> dict[str, str]:
        """Give mark → value, for a provider that fills in by itself."""
        return {marks.LEAVE: self.leave, marks.PREFERENCES: self.preferences, marks.ASKED: self.asked}

    def values(self) -> tuple[bytes, ...]:
        """Give the values by slot.

        Raises:
            UnicodeEncodeError: a value is not ASCII; addresses are, since `subscribers.addresses` read them.
        """
        return (
            self.to.encode("ascii"),
            self.message_id.encode("ascii"),
            self.leave.encode("ascii"),
            self.preferences.encode("ascii"),
            self.asked.encode("ascii"),
        )


@dataclass(frozen=True)
class Letter:
    """A message but for what is one reader's own. `html` is None in a text-only letter.

    `extra` holds the header fields that are the same for everybody. `one_click` is what stands before the
    token in List-Unsubscribe ("https://news.example.org/u/"), empty for a notice.
    """

    subject: str
    sender_name: str
    sender_address: str
    reply_to: str
    date: datetime
    text: str
    html: str | None
    extra: Mapping[str, str] = field(default_factory=dict)
    list_id: tuple[str, str] | None = None  # display name and id
    one_click: str = ""

    @cached_property
    def ready(self) -> tuple[tuple[bytes, ...], tuple[tuple[int, int], ...]]:
        """The parts of the message, and (place, slot) for each part that is filled in."""
        parts: list[bytes | str] = [*self._head(), *_cut(self._body())]
        slots = tuple((place, _SLOTS.index(p)) for place, p in enumerate(parts) if isinstance(p, str))
        return tuple(b"" if isinstance(p, str) else p for p in parts), slots

    @cached_property
    def dotless(self) -> bool:
        """Whether no line starts with a dot, so that SMTP need not double any (RFC 5321, 4.5.2).

        No encoded line does (`encoding` sees to it), no header field, and none of the values of a slot.
        """
        return b"\r\n." not in b"".join(part or b"x" for part in self.ready[0])

    @cached_property
    def canonical(self) -> Canonical:
        """The same for signing: what is hashed, but for what is filled in."""
        return dkim.canonical(*self.ready)

    def _head(self) -> list[bytes | str]:
        extra = b"".join(headers.field(name, value) for name, value in self.extra.items())
        head: list[bytes | str] = [
            headers.mailbox("From", self.sender_name, self.sender_address) + b"To: ",
            _TO,
            b"\r\n"
            + (headers.mailbox("Reply-To", "", self.reply_to) if self.reply_to else b"")
            + headers.unstructured("Subject", self.subject)
            + headers.field("Date", headers.moment(self.date))
            + b"Message-ID: ",
            _MESSAGE_ID,
            b"\r\n" + (headers.mailbox("List-Id", *self.list_id) if self.list_id else b""),
        ]
        if self.one_click:
            link = headers.field("List-Unsubscribe", f"<{self.one_click}").rstrip(b"\r\n")
            post = headers.field("List-Unsubscribe-Post", "List-Unsubscribe=One-Click")
            head += [link, marks.LEAVE, b">\r\n" + post]
        return [*head, extra + b"MIME-Version: 1.0\r\n"]

    def _body(self) -> bytes:
        text = _part("plain", self.text)
        if self.html is None:
            return text
        html = _part("html", self.html)
        # "=_" cannot occur in quoted-printable (RFC 2045, 6.7), so no line of a part can be the boundary.
        boundary = b"=_" + hashlib.sha256(text + html).hexdigest()[:32].encode()
        opening = b'Content-Type: multipart/alternative;\r\n boundary="' + boundary + b'"\r\n\r\n'
        between = b"--" + boundary + b"\r\n"
        return opening + between + text + b"\r\n" + between + html + b"\r\n--" + boundary + b"--\r\n"


def _part(kind: str, body: str) -> bytes:
    return (
        b"Content-Type: text/%s; charset=utf-8\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\n"
        % kind.encode()
    ) + encode(body if body.endswith("\n") else f"{body}\n")


def _cut(body: bytes) -> list[bytes | str]:
    parts: list[bytes | str] = []
    start = 0
    for found in _MARK.finditer(body):
        parts += [body[start : found.start()], found[0].decode()]
        start = found.end()
    return [*parts, body[start:]]


def splice(letter: Letter, filled: Filled) -> bytes:
    """Give a reader's finished message (RFC 5322, CRLF, ASCII), unsigned.

    Raises:
        UnicodeEncodeError: see `Filled.values`.
    """
    return _spliced(letter, filled.values())


def signed(letter: Letter, filled: Filled, signer: Signer) -> bytes:
    """Give the finished message with its DKIM signatures on top.

    Raises:
        UnicodeEncodeError: see `Filled.values`.
    """
    values = filled.values()
    message = _spliced(letter, values)
    if dkim.plain(values):
        return signer.fields(letter.canonical, values) + message
    return signer.sign(message) + message  # a notice leaves slots empty: its own form has to be found


def _spliced(letter: Letter, values: tuple[bytes, ...]) -> bytes:
    parts, slots = letter.ready
    message = list(parts)
    for place, slot in slots:
        message[place] = values[slot]
    return b"".join(message)
