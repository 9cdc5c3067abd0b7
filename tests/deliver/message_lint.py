"""The requirements for every finished message, checked by its bytes as a strict receiver would."""

import re
from base64 import b32encode, urlsafe_b64decode
from collections import Counter
from collections.abc import Iterator
from email import message_from_bytes, policy
from email.message import EmailMessage

REQUIRED_HEADERS = (
    "from", "to", "date", "message-id", "subject", "mime-version", "reply-to", "list-id", "list-unsubscribe",
    "list-unsubscribe-post",
)  # fmt: skip
OPTIONAL_HEADERS = ("sender", "feedback-id", "cc", "bcc", "precedence", "list-post", "list-help", "list-archive")
GMAIL_CLIP_BYTES = 102 * 1024  # octets of HTML: Gmail shows no more
LINK_PATTERN = re.compile(r"""(?:href|src)="([^"]*)\"""")


def message_faults(raw: bytes) -> list[str]:
    """Say what is wrong with a message of the edition, each with the rule that it breaks."""
    message = message_from_bytes(raw, policy=policy.default)
    assert isinstance(message, EmailMessage)
    return [*_byte_faults(raw), *_header_faults(raw, message), *_part_faults(message)]


def _byte_faults(raw: bytes) -> Iterator[str]:
    if re.search(rb"(?<!\r)\n|\r(?!\n)", raw):
        yield "RFC 5321, 2.3.8: a bare CR or LF"
    if not raw.isascii():
        yield "RFC 5322, 2.2: a byte that is not ASCII"
    if max(map(len, raw.split(b"\r\n"))) > 78:
        yield "RFC 5322, 2.1.1: a line of more than 78 octets"


def _header_faults(raw: bytes, message: EmailMessage) -> Iterator[str]:
    counts = Counter(name.lower() for name in message)
    yield from (f"RFC 5322, 3.6: {name} stands {counts[name]} times" for name in REQUIRED_HEADERS if counts[name] != 1)
    yield from (f"RFC 5322, 3.6: {name} stands twice" for name in OPTIONAL_HEADERS if counts[name] > 1)
    fields = dict(_unfolded_headers(raw))
    for name, value in fields.items():
        words = re.findall(r"=\?\S*", value)
        if any(len(word) > 75 for word in words):
            yield f"RFC 2047, 2: an encoded word of more than 75 characters in {name}"
        if words and name not in {"subject", "from", "reply-to", "to", "list-id"}:
            yield f"RFC 2047, 5: an encoded word in {name}"
    yield from _unsubscribe_faults(fields)
    list_id = fields.get("list-id", "")
    if not re.search(r"<[\w.-]+\.[\w.-]+>$", list_id) or len(list_id) > 255:
        yield "RFC 2919, 3: List-Id"
    if not re.fullmatch(r"<[^<>@\s]+@[^<>@\s]+>", fields.get("message-id", "")):
        yield "RFC 5322, 3.6.4: Message-ID"
    if not re.fullmatch(r"[\w-]+:[\w-]+:[\w-]+:[\w-]{5,15}|", fields.get("feedback-id", "")):
        yield "Gmail's documentation: Feedback-ID"
    if fields.get("list-post") != "NO":
        yield "RFC 2369, 3.4: List-Post"


def _unsubscribe_faults(fields: dict[str, str]) -> Iterator[str]:
    one_click, _, by_mail = fields.get("list-unsubscribe", "").partition(", ")
    if not (link := re.fullmatch(r"<https://[^>\s]+/u/([A-Za-z0-9_-]{22})>", one_click)):
        yield "RFC 8058, 3.1: List-Unsubscribe doesn't begin with an https link"
    elif by_mail and not re.fullmatch(rf"<mailto:bounce\+{_base32(link[1])}@[\w.-]+\?subject=unsubscribe>", by_mail):
        yield "RFC 2369, 3.2: List-Unsubscribe has an address without the link's token"
    if len(one_click) > 77:
        yield "List-Unsubscribe: SendGrid's relay encodes what has more than 77 octets"
    if fields.get("list-unsubscribe-post") != "List-Unsubscribe=One-Click":
        yield "RFC 8058, 3.1: List-Unsubscribe-Post"


def _base32(token: str) -> str:
    return b32encode(urlsafe_b64decode(token + "==")).decode().strip("=").lower()


def _unfolded_headers(raw: bytes) -> Iterator[tuple[str, str]]:
    head = re.sub(rb"\r\n[ \t]+", b" ", raw.partition(b"\r\n\r\n")[0]).decode("ascii", "replace")
    for line in head.split("\r\n"):
        name, _, value = line.partition(":")
        yield name.lower(), value.strip()


def _part_faults(message: EmailMessage) -> Iterator[str]:
    yield from (f"a part that is malformed: {type(defect).__name__}" for defect in message.defects)
    parts = [part for part in message.walk() if not part.is_multipart()]
    kinds = [part.get_content_type() for part in parts]
    if kinds not in (["text/plain", "text/html"], ["text/plain"]):
        yield f"RFC 2046, 5.1.4: the parts are {kinds}"
    if len(kinds) > 1 and message.get_content_type() != "multipart/alternative":
        yield "RFC 2046, 5.1.4: no multipart/alternative"
    for part in parts:
        if part["Content-Transfer-Encoding"] != "quoted-printable":
            yield "RFC 2045, 6.7: not quoted-printable"
        if max(len(line) for line in str(part.get_payload()).splitlines()) > 76:
            yield "RFC 2045, 6.7: a line of more than 76 characters"
    for text in decoded_parts(message, "text/html"):
        if len(text.encode()) > GMAIL_CLIP_BYTES:
            yield "HTML that Gmail clips"
        links = LINK_PATTERN.findall(text)
        yield from ("a link that is not https" for link in links if not re.match(r"https://|mailto:|#", link))


def decoded_parts(message: EmailMessage, content_type: str = "") -> list[str]:
    """Give the decoded text of every part, or of those of a kind."""
    parts = [part for part in message.walk() if not part.is_multipart()]
    matching = [part for part in parts if not content_type or part.get_content_type() == content_type]
    return [str(part.get_content()) for part in matching]
