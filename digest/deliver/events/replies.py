"""What mail servers and providers answer, as it may be kept: without addresses, and short."""

import re

MAX_REPLY_LENGTH = 200  # characters of a reply that are kept
# A word between blanks and punctuation. Whether it holds an @ is asked afterwards: a pattern with an @ in it would be tried
# again at every character of a long word, while nothing else runs.
_WORD = re.compile(r"<?[^\s<>()\"',;:]++>?")


def scrub_addresses(reply: str | bytes, address: str = "") -> str:
    """Remove every address from a reply, and the parts of the reader's own wherever else they occur.

    Servers love to quote: "550 <ada@example.org>: unknown", "no mailbox ada at mx.example.org".
    """
    text = reply.decode("utf-8", "replace") if isinstance(reply, bytes) else reply
    if not text.isprintable():
        text = "".join(c if c.isprintable() else " " for c in text)
    text = " ".join(text.split())
    if "@" in text:
        text = _WORD.sub(lambda word: "<address>" if "@" in word[0] else word[0], text)
    local, _, domain = address.partition("@")
    if domain:
        text = _replace_word(text, domain, re.escape(domain), "<domain>")
        text = _replace_word(text, local, rf"(?<!\w){re.escape(local)}(?!\w)", "<reader>")
    return text[:MAX_REPLY_LENGTH]


def _replace_word(text: str, word: str, pattern: str, replacement: str) -> str:
    """Replace a word in any case; a pattern is compiled only for a text that holds the word."""
    if word.casefold() not in text.casefold():
        return text
    return re.sub(pattern, replacement, text, flags=re.IGNORECASE)
