"""Rules over links: whole, safe, and, when online, alive."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from digest.collect.fetched import FetchError, Reason
from digest.edition.preflight.rules import Examined, Finding, error, rule, warning

DEAD = frozenset({Reason.MISSING, Reason.GONE, Reason.BAD_URL, Reason.REFUSED_ADDRESS, Reason.DNS})


@rule("links", "Every link is a whole https or mailto address; plain http is pointed out.")
def links(examined: Examined) -> Iterator[Finding]:
    """Look at each address as it is written."""
    for address in examined.links:
        parts = urlsplit(address)
        if address.startswith("#"):
            continue
        if not parts.scheme:
            yield error("links", f"{address or 'An empty link'} is relative: it leads nowhere from a mail.")
        elif parts.scheme == "http":
            yield warning(
                "links", f"{address} is plain http: who carries the mail's reader there can read along."
            )
        elif parts.scheme not in {"https", "mailto"} or (parts.scheme == "https" and not parts.hostname):
            yield error("links", f"{address} is no web or mail address.")


@rule("dead-links", "Online only: every link answers, and none leads elsewhere for good.")
def dead_links(examined: Examined) -> Iterator[Finding]:
    """Fetch each outside link once, under the guards of collecting."""
    if examined.getter is None:
        return
    for address in examined.links:
        if not address.startswith("http") or address.startswith(examined.base):
            continue
        try:
            answer = examined.getter.get(address)
        except FetchError as exc:
            said = error if exc.reason in DEAD else warning
            yield said("dead-links", f"{address}: {exc}")
            continue
        if answer.moved_to:
            yield warning("dead-links", f"{address} has moved to {answer.moved_to}.")
