"""Content fetching with polite, limited, and guarded GET requests.

Each hop of a redirect is checked by `address_guard`, made by `http_connection`, and evaluated by
`fetch_rules`. This module performs the hops in order, and turns all failures into `FetchError`. For the
sample, responses come from a folder.
"""

import json
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any, Self, Unpack

import httpcore
import httpx

from digest import __version__
from digest.collect.fetch import fetch_rules, http_connection, http_response
from digest.collect.fetch.address_guard import AddressGuard, HostResolver, UnknownHostError, UnreachableHostError
from digest.collect.fetch.http_response import parse_validator
from digest.collect.fetch.keyed_locks import KeyedLocks
from digest.collect.fetch.result import ContentFetcher, FetchError, FetchErrorReason, FetchResult, RequestOptions
from digest.collect.fetch.robots_txt import MAX_ROBOTS_BYTES as ROBOTS_BYTES
from digest.collect.fetch.robots_txt import RobotsRules, is_without_rules
from digest.settings import Settings, UsageLimitSettings
from subscribers.loggers import get_logger

log = get_logger("fetch")

_EXPLAINED_REASONS = frozenset({FetchErrorReason.REFUSING, FetchErrorReason.MISSING})
_EXPLANATION_BYTES = 8192  # number of bytes to read from the body of an error response
PRODUCT_NAME = "hls-digest"
_PERMANENT_REDIRECTS = frozenset({301, 308})


def build_user_agent(contact: str) -> str:
    """Return the user agent: our name, the version, and a URL for contacting the operator."""
    return f"{PRODUCT_NAME}/{__version__} (+{httpx.URL(contact)})"


def open_fetcher(
    settings: Settings, replacement: ContentFetcher | None = None
) -> AbstractContextManager[ContentFetcher]:
    """Return a context manager for a fetcher with the settings' limits.

    If `replacement` is given, use it instead, and leave it open.
    """
    if replacement is not None:
        return nullcontext(replacement)
    return HttpFetcher(settings.file.limits, build_user_agent(settings.file.publication.site))


@dataclass(frozen=True, slots=True)
class _FetchRequest:
    """The parts of a request that are the same on every hop.

    If `truncate` is true, a longer body is cut after `max_bytes` bytes instead of being an error.
    """

    url: str
    headers: dict[str, str]
    max_bytes: int
    truncate: bool = False

    @property
    def conditional(self) -> bool:
        """True if the server may respond "not modified"."""
        return "If-None-Match" in self.headers or "If-Modified-Since" in self.headers


@dataclass(frozen=True, slots=True)
class _HopResponse:
    status: int
    headers: httpx.Headers
    body: bytes = b""


class HttpFetcher:
    """A fetcher of pages, feeds, and images from the public internet.

    It's created once per run, and thread-safe. Each host gets one request at a time. Proxies,
    netrc, and cookies aren't used, and connections aren't kept open. Leaving the context discards
    the cached robots.txt files.
    """

    def __init__(
        self,
        limits: UsageLimitSettings,
        user_agent: str,
        *,
        resolver: HostResolver | None = None,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
    ) -> None:
        """Initialize with `limits` for all requests and a `user_agent` (see `build_user_agent`).

        Raises:
            ValueError: `user_agent` isn't valid in a header.
        """
        if not user_agent.isascii() or not user_agent.isprintable():
            raise ValueError(f"the user agent {user_agent!r} contains characters that aren't printable ASCII")
        self._limits = limits
        self._user_agent = user_agent
        self._clock = clock
        self._guard = AddressGuard(limits.allow_networks, resolver)
        self._tls = httpx.create_ssl_context()  # respects SSL_CERT_FILE, for private certificate authorities
        self._host_locks = KeyedLocks()
        self._robots = RobotsRules(self._fetch_robots_text, user_agent.partition("/")[0])

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._robots = RobotsRules(self._fetch_robots_text, self._user_agent.partition("/")[0])

    def get(self, url: str, **options: Unpack[RequestOptions]) -> FetchResult:
        """Return the response for `url`, following redirects, within the limits.

        `url` must be http or https, without credentials.

        Raises:
            FetchError: the fetch failed; "not modified" isn't a failure.
        """
        headers = {"Accept": options.get("accept") or "*/*"}
        if etag := parse_validator(options.get("etag")):
            headers["If-None-Match"] = etag
        if last_modified := parse_validator(options.get("last_modified")):
            headers["If-Modified-Since"] = last_modified
        max_bytes = options.get("max_bytes") or self._limits.fetch_bytes
        return self._follow_redirects(_FetchRequest(url, headers, max_bytes))

    def may_read(self, url: str) -> bool:
        """Return True if robots.txt allows `url`. The file is cached for an hour.

        Return False for URLs that can't be fetched.
        """
        try:
            return self._robots.allows(fetch_rules.parse_web_address(url))
        except FetchError:
            return False

    def _fetch_robots_text(self, url: str) -> bytes | None:
        request = _FetchRequest(url, {"Accept": "text/plain"}, ROBOTS_BYTES, truncate=True)
        try:
            return self._follow_redirects(request).body
        except FetchError as error:
            return b"" if is_without_rules(error) else None

    def _follow_redirects(self, request: _FetchRequest) -> FetchResult:
        current, moved_to, permanent = fetch_rules.parse_web_address(request.url), None, True
        visited_urls = {str(current)}
        budget = http_connection.TimeBudget(self._limits.fetch_timeout)
        for _ in range(self._limits.fetch_redirects + 1):
            answer = self._fetch_hop(current, request, budget)
            if answer.status not in fetch_rules.REDIRECT_STATUSES:
                return _fetch_result(current, answer, moved_to)
            target = fetch_rules.resolve_redirect(current, answer.headers, request.url)
            if str(target) in visited_urls:
                raise FetchError(request.url, FetchErrorReason.REDIRECT_LOOP, f"the redirects loop back to {target}")
            visited_urls.add(str(target))
            # Only permanent redirects change stored URLs, and one response never downgrades them to http.
            permanent &= answer.status in _PERMANENT_REDIRECTS and (current.scheme, target.scheme) != ("https", "http")
            moved_to = str(target) if permanent else moved_to
            current = target
        raise FetchError(
            request.url,
            FetchErrorReason.TOO_MANY_REDIRECTS,
            f"more than {self._limits.fetch_redirects} redirects, the last to {current}; use the final URL",
        )

    def _fetch_hop(self, url: httpx.URL, request: _FetchRequest, budget: http_connection.TimeBudget) -> _HopResponse:
        """Return the response for one hop, turning all failures into `FetchError`."""
        headers = {"User-Agent": self._user_agent, "Accept-Encoding": "gzip", **request.headers, "Connection": "close"}
        try:
            with (
                self._host_locks.lock_for(url.host.rstrip(".")),
                budget.running(),
                http_connection.open_response(
                    url, headers, guard=self._guard, tls=self._tls, budget=budget
                ) as response,
            ):
                answer_headers = httpx.Headers(response.headers)
                self._raise_for_status(response, answer_headers, request)
                body = _read_body(response, answer_headers, request) if response.status < 300 else b""
                return _HopResponse(response.status, answer_headers, body)
        except fetch_rules.FETCH_EXCEPTIONS as exc:
            if isinstance(exc, UnreachableHostError):
                log.info("couldn't connect to the host", host=url.host, why=exc.detail)
            reason, message = fetch_rules.classify_exception(exc, request.max_bytes, self._limits.fetch_timeout)
            raise FetchError(request.url, reason, message) from exc

    def _raise_for_status(self, response: httpcore.Response, headers: httpx.Headers, request: _FetchRequest) -> None:
        now, status = self._clock(), response.status
        if problem := fetch_rules.classify_status(status, headers, agent=self._user_agent, now=now):
            reason, message, pause = problem
            if explanation := _read_explanation(response, headers, request) if reason in _EXPLAINED_REASONS else "":
                message = f"{message}. The site says: “{explanation}”"
            raise FetchError(request.url, reason, message, retry_after=pause, status=status, explanation=explanation)
        if status == 304 and not request.conditional:
            message = "the server replied “not modified” (304) to a full request; report the problem to the publisher"
            raise FetchError(request.url, FetchErrorReason.BAD_ANSWER, message, status=status)


def _read_body(response: httpcore.Response, headers: httpx.Headers, request: _FetchRequest) -> bytes:
    declared = headers.get("content-length", "")
    size = int(declared[:20]) if declared.isascii() and declared.isdigit() else 0
    if size > request.max_bytes and not request.truncate:
        raise http_response.BodyTooLargeError(f"{size} bytes declared")
    packing = headers.get("content-encoding", "")
    return http_response.decode_body(response.iter_stream(), packing, request.max_bytes, truncate=request.truncate)


def _read_explanation(response: httpcore.Response, headers: httpx.Headers, request: _FetchRequest) -> str:
    """Return WordPress's explanation for rejecting a request, or "" if there's none."""
    if "json" not in headers.get("content-type", ""):
        return ""
    try:
        body = _read_body(response, headers, replace(request, max_bytes=_EXPLANATION_BYTES, truncate=True))
    except fetch_rules.FETCH_EXCEPTIONS:
        return ""
    return fetch_rules.find_wordpress_explanation(body)


def _fetch_result(url: httpx.URL, response: _HopResponse, moved_to: str | None = None) -> FetchResult:
    content_type, charset = http_response.parse_content_type(response.headers.get("content-type", ""))
    return FetchResult(
        url=str(url),
        status=response.status,
        body=response.body,
        content_type=content_type,
        charset=charset,
        etag=parse_validator(response.headers.get("etag")),
        last_modified=parse_validator(response.headers.get("last-modified")),
        not_modified=response.status == 304,
        max_age=http_response.parse_freshness_seconds(response.headers),
        moved_to=moved_to,
    )


INDEX_FILE = "index.json"


class FolderFetcher:
    """A fetcher that returns the responses listed in a folder's `index.json` and never uses the network.

        {"https://agency.example.org/feed.xml": {"file": "agency.xml", "content_type": "application/rss+xml"}}

    An entry may also have `headers`, such as `{"Last-Modified": "…", "Cache-Control":
    "max-age=3600"}`. Unlisted URLs are unreachable. Thread-safe.
    """

    def __init__(self, folder: Path | Traversable) -> None:
        """Read the index of `folder`.

        Raises:
            FileNotFoundError, ValueError: the index is missing or isn't valid JSON.
        """
        self._folder = folder
        index = json.loads((folder / INDEX_FILE).read_text("utf-8"))
        self._index: dict[str, Any] = {}
        for url, entry in index.items():
            self._index[str(fetch_rules.parse_web_address(url))] = entry

    def get(self, url: str, **options: Unpack[RequestOptions]) -> FetchResult:
        """Return the listed response for `url`.

        Raises:
            FetchError: `url` isn't listed (`FetchErrorReason.DNS`, as for an unknown host),
                or its body is too long.
        """
        address = fetch_rules.parse_web_address(url)
        entry = self._index.get(str(address))
        if entry is None:
            raise FetchError(url, FetchErrorReason.DNS, str(UnknownHostError(address.host, "is not in the index")))
        body = (self._folder / entry["file"]).read_bytes()
        max_bytes = options.get("max_bytes")
        if max_bytes is not None and len(body) > max_bytes:
            raise FetchError(
                url, FetchErrorReason.TOO_BIG, f"the response has more than {max_bytes:,} bytes", status=200
            )
        fields = {"Content-Type": entry["content_type"], **entry.get("headers", {})}
        headers = httpx.Headers(fields)
        name = "etag" if options.get("etag") else "last_modified"
        file_name = options.get(name)
        is_known = bool(file_name) and file_name == headers.get(name.replace("_", "-"))
        answer = _HopResponse(304, headers) if is_known else _HopResponse(200, headers, body)
        return _fetch_result(address, answer)

    def may_read(self, url: str) -> bool:
        """Return True if `url` is listed. Listed URLs are always allowed."""
        try:
            return str(fetch_rules.parse_web_address(url)) in self._index
        except FetchError:
            return False
