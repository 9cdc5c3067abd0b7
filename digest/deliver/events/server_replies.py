"""What mail servers and providers answer, as it may be kept: without addresses, and short."""

import re
from urllib.parse import unquote

import idna

MAX_REPLY_LENGTH = 200  # characters of a reply that are kept
# A word between blanks and punctuation. Whether it holds an @ is asked afterwards: a pattern with an @ in it would be tried
# again at every character of a long word, while nothing else runs.
_WORD = re.compile(r"<?[^\s<>()\"',;:]++>?")
# A dot, @, or the like as quoted-printable has it (RFC 2045, section 6.7); unlike in "size=4000", a letter comes after it.
_QUOTED_PRINTABLE = re.compile(r"(?<=\w)=(2B|2D|2E|40|5F)(?=[^\W\d_])", re.IGNORECASE)


def scrub_addresses(reply: str | bytes, address: str = "") -> str:
    """Remove every address from a reply, and the parts of the subscriber's own wherever else they occur, encoded or not.

    Servers love to quote: "550 <ada@example.org>: unknown", "no mailbox ada at mx.example.org", "see ?who=ada%40example%2Eorg".
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


_EVENT_WORD = re.compile(r"(?:bounced|dropped) (?=\S)")  # begins the reply that an event left


def quote_refusal(reply: str, status: str = "", reason: str = "") -> str:
    """Return a refusal in the server's own words, with its codes if it gave any.

    `status` and `reason` are those of the event that decided the cause. Without them, the `reply` of the delivery counts.
    """
    if not (status or reason):
        return _EVENT_WORD.sub("", reply, count=1)
    return reason if reason[:1] in {"4", "5"} else f"{status} {reason}".strip()


def _decode_escapes(text: str) -> str:
    return _QUOTED_PRINTABLE.sub(lambda code: chr(int(code[1], 16)), unquote(unquote(text)))


def _list_domain_forms(domain: str) -> set[str]:
    """List a domain as it's stored, with letters of any script, and in ASCII (RFC 5891, section 4); none of an empty one."""
    if domain.isascii() and "xn--" not in domain.lower():  # almost every one, and idna takes longer than a message
        return {domain} - {""}
    try:
        return {domain, idna.encode(domain, uts46=True).decode("ascii"), idna.decode(domain)} - {""}
    except UnicodeError:  # such as the empty one
        return {domain} - {""}


def _replace_word(text: str, word: str, pattern: str, replacement: str) -> str:
    """Replace a word in any case; a pattern is compiled only for a text that holds the word."""
    if word.casefold() not in text.casefold():
        return text
    return re.sub(pattern, replacement, text, flags=re.IGNORECASE)
