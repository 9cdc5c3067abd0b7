"""The only socket for content: one polite, bounded, guarded GET.

Every hop of every redirect is checked by `guard`, made by `wire` and judged by `verdicts`; here the hops are
put in order, and everything that can go wrong becomes one `FetchError`.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from types import TracebackType
from typing import Self

import httpcore
import httpx

from digest import __version__
from digest.collect import answers, wire
from digest.collect.fetched import Fetched, FetchError, Getter, Reason
from digest.collect.guard import Guard, LookUp
from digest.collect.robots import MOST_BYTES as ROBOTS_BYTES
from digest.collect.robots import Robots
from digest.collect.turns import Turns
from digest.collect.verdicts import EXPECTED, REDIRECTS, failure, meaning, next_hop, web_address
from digest.settings import Limits, Settings

__all__ = ["FetchError", "Fetched", "Fetcher", "Getter", "Reason", "agent_name", "open_getter"]

PRODUCT = "hls-digest"
_PERMANENT_REDIRECTS = frozenset({301, 308})


def agent_name(contact: str) -> str:
    """Make the honest user agent: who we are, which version, and a web address to reach the operator at."""
    return f"{PRODUCT}/{__version__} (+{httpx.URL(contact)})"


def open_getter(settings: Settings) -> "Fetcher":
    """Open the door to the world for content, under the limits of the settings and an honest name."""
    return Fetcher(settings.file.limits, agent_name(settings.file.publication.site))


@dataclass(frozen=True, slots=True)
class _Ask:
    """One wish, the same on every hop. `cut` gives the first `most` bytes of a longer body."""

    url: str
    headers: dict[str, str]
    most: int
    cut: bool = False

    @property
    def conditional(self) -> bool:
        """Whether "not modified" would be an answer to it."""
        return "If-None-Match" in self.headers or "If-Modified-Since" in self.headers


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: httpx.Headers
    body: bytes = b""


class Fetcher:
    """Gets pages, feeds and pictures from the public internet. Built once a run; any thread may use it.

    A host is asked one thing at a time. Proxies, netrc and cookies are not used. Nothing stays open between
    fetches: leaving the block forgets the robots.txt files and ends its use.
    """

    def __init__(
        self,
        limits: Limits,
        agent: str,
        *,
        look_up: LookUp | None = None,
        now: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Bound everything by `limits` and present ourselves as `agent` (see `agent_name`).

        Raises:
            ValueError: `agent` cannot stand in a header.
        """
        if not agent.isascii() or not agent.isprintable():
            raise ValueError(f"user agent {agent!r}: only printable ASCII can stand in a header")
        self._limits = limits
        self._agent = agent
        self._now = now
        self._guard = Guard(limits.allow_networks, look_up)
        self._tls = httpx.create_ssl_context()  # SSL_CERT_FILE, for an authority of one's own, is honoured
        self._turns = Turns()
        self._robots = Robots(self._robots_text, agent.partition("/")[0])

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._robots = Robots(self._robots_text, self._agent.partition("/")[0])

    def get(
        self,
        url: str,
        *,
        etag: str | None = None,
        last_modified: str | None = None,
        accept: str | None = None,
        max_bytes: int | None = None,
    ) -> Fetched:
        """Get `url`, following redirects, within the limits.

        Args:
            url: http or https, without credentials.
            etag: what the last answer gave; with it, or with `last_modified`, the answer may be "not modified".
            last_modified: as above.
            accept: the Accept header; anything by default.
            max_bytes: a bound on the unpacked body other than `limits.fetch_bytes`.

        Raises:
            FetchError: for whatever reason there is no body (nor a "not modified").
        """
        headers = {"Accept": accept or "*/*"}
        if known := answers.validator(etag):
            headers["If-None-Match"] = known
        if known := answers.validator(last_modified):
            headers["If-Modified-Since"] = known
        return self._follow(_Ask(url, headers, max_bytes or self._limits.fetch_bytes))

    def may_read(self, url: str) -> bool:
        """Say whether robots.txt lets us read `url`; kept for an hour. An address we cannot fetch: no."""
        try:
            return self._robots.allows(web_address(url))
        except FetchError:
            return False

    def _robots_text(self, url: str) -> bytes | None:
        try:
            return self._follow(_Ask(url, {"Accept": "text/plain"}, ROBOTS_BYTES, cut=True)).body
        except FetchError as error:
            # RFC 9309 2.3.1.3: a 4xx means that there are no rules. 429 is no such answer: it says "not now".
            absent = error.status is not None and 400 <= error.status < 500
            return b"" if absent and error.reason is not Reason.RATE_LIMITED else None

    def _follow(self, ask: _Ask) -> Fetched:
        here, moved_to, permanent = web_address(ask.url), None, True
        seen = {str(here)}
        allowance = wire.Allowance(self._limits.fetch_timeout)
        for _ in range(self._limits.fetch_redirects + 1):
            answer = self._visit(here, ask, allowance)
            if answer.status not in REDIRECTS:
                return _fetched(here, answer, moved_to)
            there = next_hop(here, answer.headers, ask.url)
            if str(there) in seen:
                raise FetchError(ask.url, Reason.REDIRECT_LOOP, f"it redirects in a circle, back to {there}")
            seen.add(str(there))
            # A stored address follows permanent redirects only, and never loses its encryption by one answer.
            permanent &= answer.status in _PERMANENT_REDIRECTS and (here.scheme, there.scheme) != (
                "https",
                "http",
            )
            moved_to = str(there) if permanent else moved_to
            here = there
        raise FetchError(
            ask.url,
            Reason.TOO_MANY_REDIRECTS,
            f"more than {self._limits.fetch_redirects} redirects, the last to {here}; use the final address",
        )

    def _visit(self, url: httpx.URL, ask: _Ask, allowance: wire.Allowance) -> _Answer:
        """Make one hop, and turn whatever fails into a `FetchError`."""
        headers = {"User-Agent": self._agent, "Accept-Encoding": "gzip", **ask.headers, "Connection": "close"}
        try:
            with (
                self._turns.at(url.host.rstrip(".")),
                allowance.spending(),
                wire.request(url, headers, guard=self._guard, tls=self._tls, allowance=allowance) as response,
            ):
                said = httpx.Headers(response.headers)
                self._judge(response.status, said, ask)
                body = _body(response, said, ask) if response.status < 300 else b""
                return _Answer(response.status, said, body)
        except EXPECTED as exc:
            reason, message = meaning(exc, ask.most, self._limits.fetch_timeout)
            raise FetchError(ask.url, reason, message) from exc

    def _judge(self, status: int, headers: httpx.Headers, ask: _Ask) -> None:
        if found := failure(status, headers, agent=self._agent, now=self._now()):
            reason, message, pause = found
            raise FetchError(ask.url, reason, message, retry_after=pause, status=status)
        if status == 304 and not ask.conditional:
            message = "it says 'not modified' (304), yet we asked for all of it; tell the publisher"
            raise FetchError(ask.url, Reason.BAD_ANSWER, message, status=status)


def _body(response: httpcore.Response, headers: httpx.Headers, ask: _Ask) -> bytes:
    declared = headers.get("content-length", "")
    if declared.isascii() and declared.isdigit() and int(declared[:20]) > ask.most and not ask.cut:
        raise answers.TooBig(f"{declared[:20]} bytes declared")
    packing = headers.get("content-encoding", "")
    return answers.unpack(response.iter_stream(), packing, ask.most, cut=ask.cut)


def _fetched(url: httpx.URL, answer: _Answer, moved_to: str | None) -> Fetched:
    content_type, charset = answers.media_type(answer.headers.get("content-type", ""))
    return Fetched(
        url=str(url),
        status=answer.status,
        body=answer.body,
        content_type=content_type,
        charset=charset,
        etag=answers.validator(answer.headers.get("etag")),
        last_modified=answers.validator(answer.headers.get("last-modified")),
        not_modified=answer.status == 304,
        max_age=answers.fresh_for(answer.headers),
        moved_to=moved_to,
    )
