"""The rules of sites' robots.txt files (RFC 9309, section 2), cached for an hour."""

import time
from collections.abc import Callable
from urllib.parse import urljoin

import httpx
from protego import Protego

from digest.collect.fetch.keyed_locks import KeyedLocks
from digest.collect.fetch.result import ContentFetcher, FetchError, FetchErrorReason
from subscribers.english_text import end_sentence

MAX_ROBOTS_BYTES = 500 * 1024  # RFC 9309, section 2.5: the minimum that must be parsed; the rest is ignored
CACHE_SECONDS = 3600.0  # RFC 9309, section 2.4, allows up to a day


class RobotsRules:
    """The robots.txt rules of each origin, fetched on first use. Thread-safe.

    `fetch_text` returns the content of a robots.txt file: empty if the site has none, or None if
    the site couldn't be reached.
    """

    def __init__(
        self,
        fetch_text: Callable[[str], bytes | None],
        product_token: str,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Apply the rules for `product_token`, the first word of the user agent ("hls-digest")."""
        self._fetch_text = fetch_text
        self._product_token = product_token
        self._clock = clock
        self._locks = KeyedLocks()
        self._cache: dict[str, tuple[float, Protego | None]] = {}

    def allows(self, url: httpx.URL) -> bool:
        """Return True if `url` is allowed.

        Return False if robots.txt can't be reached (RFC 9309, section 2.3.1.4).
        """
        rules = self._load_rules(str(url.copy_with(raw_path=b"/robots.txt", fragment=None)))
        return rules is not None and bool(rules.can_fetch(str(url), self._product_token))

    def _load_rules(self, address: str) -> Protego | None:
        with self._locks.lock_for(address):
            until, rules = self._cache.get(address, (float("-inf"), None))
            if self._clock() >= until:
                text = self._fetch_text(address)
                rules = None if text is None else Protego.parse(text.decode("utf-8-sig", "replace"))
                self._cache[address] = (self._clock() + CACHE_SECONDS, rules)
            return rules


def is_without_rules(error: FetchError) -> bool:
    """Return True if a failure to fetch robots.txt means that the site has no rules.

    A 4xx status does (RFC 9309, section 2.3.1.3), except 429, which is temporary.
    """
    is_absent = error.status is not None and 400 <= error.status < 500
    return is_absent and error.reason is not FetchErrorReason.RATE_LIMITED


def explain_robots_refusal(fetcher: ContentFetcher, url: str) -> str:
    """Return a sentence explaining why `may_read` returned False.

    Either the site can't be reached, or its robots.txt disallows the page.
    """
    try:
        fetcher.get(urljoin(url, "/robots.txt"), accept="text/plain")
    except FetchError as error:
        if not is_without_rules(error):
            return end_sentence(f"Couldn't reach the site: {error.message_for_now}")
    return "The site's robots.txt doesn't allow this page."
