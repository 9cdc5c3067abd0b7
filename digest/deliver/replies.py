"""What servers and providers answer, made fit to be kept: scrubbed of addresses, short, on one line."""

import re

MOST = 200  # characters of a reply that are kept
_ADDRESS = re.compile(r"<?[^\s<>()\"',;:@]+@[A-Za-z0-9\[\].-]+>?")


def scrub(reply: str | bytes, address: str = "") -> str:
    """Take every address out of a reply, and the parts of the reader's own wherever else they stand.

    Servers love to quote: "550 <ada@example.org>: unknown", "no mailbox ada at mx.example.org".
    """
    text = reply.decode("utf-8", "replace") if isinstance(reply, bytes) else reply
    text = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    text = _ADDRESS.sub("<address>", text)
    local, _, domain = address.partition("@")
    if domain:
        text = re.sub(re.escape(domain), "<domain>", text, flags=re.IGNORECASE)
        text = re.sub(rf"(?<!\w){re.escape(local)}(?!\w)", "<reader>", text, flags=re.IGNORECASE)
    return text[:MOST]
