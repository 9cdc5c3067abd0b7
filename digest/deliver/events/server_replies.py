"""Replies from mail servers and providers, shortened and stripped of addresses so that they can be stored."""

import re
from urllib.parse import unquote

import idna

MAX_REPLY_LENGTH = 200  # number of characters of a reply to store
# A word between blanks and punctuation. It's checked for an @ afterward: if the @ were in the
# pattern, the regex would take quadratic time on a long word.
_WORD = re.compile(r"<?[^\s<>()\"',;:]++>?")
# A dot, @, or similar character in quoted-printable (RFC 2045, section 6.7), followed by a letter,
# unlike in "size=4000".
_QUOTED_PRINTABLE = re.compile(r"(?<=\w)=(2B|2D|2E|40|5F)(?=[^\W\d_])", re.IGNORECASE)


def scrub_addresses(reply: str | bytes, address: str = "") -> str:
    """Return a shortened reply without email addresses or parts of the subscriber's `address`.

    Encoded addresses are also removed. Servers often quote addresses: "550 <ada@example.org>:
    unknown", "no mailbox ada at mx.example.org", "see ?who=ada%40example%2Eorg".
    """
    text = _decode_escapes(reply.decode("utf-8", "replace") if isinstance(reply, bytes) else reply)
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " for c in text)
    text = " ".join(text.split())
    if "@" in text:
        text = _WORD.sub(lambda word: "<address>" if "@" in word[0] else word[0], text)
    local, _, domain = address.partition("@")
    for name in _list_domain_forms(domain):
        text = _replace_word(text, name, re.escape(name), "<domain>")
    for name in filter(None, (local, local.partition("+")[0]) if domain else ()):
        text = _replace_word(text, name, rf"(?<![^\W_]){re.escape(name)}(?![^\W_])", "<reader>")
    return text[:MAX_REPLY_LENGTH]


_EVENT_WORD = re.compile(r"(?:bounced|dropped) (?=\S)")  # start of a reply stored for an event


def quote_refusal(reply: str, status: str = "", reason: str = "") -> str:
    """Return a refusal in the server's words, with its codes if there are any.

    `status` and `reason` are from the event that decided the cause. Without them, the delivery's
    `reply` is used.
    """
    if not (status or reason):
        return _EVENT_WORD.sub("", reply, count=1)
    return reason if reason[:1] in {"4", "5"} else f"{status} {reason}".strip()


def _decode_escapes(text: str) -> str:
    return _QUOTED_PRINTABLE.sub(lambda code: chr(int(code[1], 16)), unquote(unquote(text)))


def _list_domain_forms(domain: str) -> set[str]:
    """Return the forms of a domain: as stored, in Unicode, and in ASCII (RFC 5891, section 4).

    The result is empty for an empty domain.
    """
    # This is the usual case. Calling idna takes longer than composing a message.
    if domain.isascii() and "xn--" not in domain.lower():
        return {domain} - {""}
    try:
        return {domain, idna.encode(domain, uts46=True).decode("ascii"), idna.decode(domain)} - {""}
    except UnicodeError:  # for example, an empty domain
        return {domain} - {""}


def _replace_word(text: str, word: str, pattern: str, replacement: str) -> str:
    """Replace a word, ignoring case.

    The pattern is compiled only if the text contains the word.
    """
    if word.casefold() not in text.casefold():
        return text
    return re.sub(pattern, replacement, text, flags=re.IGNORECASE)
