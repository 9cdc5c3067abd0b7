"""What the page of a security advisory says of itself: that another one has taken its place."""

import re

from digest.collect.parsers.markup.charset import decode_document
from digest.collect.texts.advisory_numbers import find_numbers_in
from digest.collect.texts.text_cleanup import html_to_text

_NOTICES = (
    re.compile(
        r"\bthis (?:[\w()-]+ ){0,4}(?:advisory|alert|bulletin|notice|document) (?:[\w-]+ ){0,3}"
        r"(?:superseded|replaced|withdrawn|rescinded|retired)\b(?: by\b)?",
        re.IGNORECASE,
    ),
    re.compile(r"\bsuperseded by:?(?= )", re.IGNORECASE),
)
_DENIAL = re.compile(r"\b(?:not|never)\b", re.IGNORECASE)
_NEAR = 160  # characters behind the words, in which the other advisory's number stands


def read_supersession(body: bytes, *, content_type: str | None = None, charset: str | None = None) -> str:
    """Say what has become of the advisory on a page: "superseded by ICSA-26-330-01", "superseded"; empty if it stands.

    "Superseded by" needs a number behind it, or "this advisory" before it: pages speak of versions of software too.
    """
    text = html_to_text(decode_document(body, charset, content_type))
    for notice in _NOTICES:
        for match in notice.finditer(text):
            numbers = find_numbers_in(text[match.end() : match.end() + _NEAR])
            says_this = match.group().lower().startswith("this")
            if _DENIAL.search(match.group()) or not (numbers or says_this):
                continue
            return f"superseded by {numbers[0]}" if numbers else "superseded"
    return ""
