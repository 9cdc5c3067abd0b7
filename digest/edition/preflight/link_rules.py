"""Rules over links: whole, safe, and, when online, alive."""

from collections.abc import Iterator
from urllib.parse import urlsplit

from digest.collect.fetch.result import FetchError, FetchErrorReason
from digest.edition.preflight.rule_registry import (
    PreflightFinding,
    PreflightInput,
    error_finding,
    preflight_rule,
    warning_finding,
)

DEAD_LINK_REASONS = frozenset(
    {
        FetchErrorReason.MISSING,
        FetchErrorReason.GONE,
        FetchErrorReason.BAD_URL,
        FetchErrorReason.REFUSED_ADDRESS,
        FetchErrorReason.DNS,
    }
)


@preflight_rule("links", "Every link is a whole https or mailto address; plain http is pointed out.")
def check_link_addresses(examined: PreflightInput) -> Iterator[PreflightFinding]:
    """Look at each address as it is written."""
    for address in examined.links:
        parts = urlsplit(address)
        if address.startswith("#"):
            continue
        if not parts.scheme:
            yield error_finding(f"{address or 'An empty link'} is relative: it leads nowhere from a mail.")
        elif parts.scheme == "http":
            yield warning_finding(f"{address} is plain http: who carries the mail's reader there can read along.")
        elif parts.scheme not in {"https", "mailto"} or (parts.scheme == "https" and not parts.hostname):
            yield error_finding(f"{address} is no web or mail address.")


@preflight_rule("dead-links", "Online only: every link answers, and none leads elsewhere for good.")
def check_dead_links(examined: PreflightInput) -> Iterator[PreflightFinding]:
    """Fetch each outside link once, under the guards of collecting."""
    if examined.fetcher is None:
        return
    for address in examined.links:
        if not address.startswith("http") or address.startswith(examined.base):
            continue
        try:
            answer = examined.fetcher.get(address)
        except FetchError as exc:
            make_finding = error_finding if exc.reason in DEAD_LINK_REASONS else warning_finding
            yield make_finding(f"{address}: {exc}")
            continue
        if answer.moved_to:
            yield warning_finding(f"{address} has moved to {answer.moved_to}.")
