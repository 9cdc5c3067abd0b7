"""Results of fetches: a response with its metadata, or an error with a reason."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypedDict, Unpack

from subscribers.errors import ApplicationError


class FetchErrorReason(StrEnum):
    """The reason that a fetch failed."""

    BAD_URL = "bad-url"
    REFUSED_ADDRESS = "refused-address"
    DNS = "dns"
    CONNECT = "connect"
    TLS = "tls"
    TIMEOUT = "timeout"
    TOO_BIG = "too-big"
    TOO_MANY_REDIRECTS = "too-many-redirects"
    REDIRECT_LOOP = "redirect-loop"
    REFUSING = "refusing"  # 401, 403, 407, 451: the publisher rejects us
    MISSING = "missing"  # 404: often a site is being rebuilt, so the fetch is retried
    GONE = "gone"  # 410: the publisher says that the page is permanently gone
    RATE_LIMITED = "rate-limited"  # 429
    SERVER = "server"  # 5xx
    BAD_ANSWER = "bad-answer"  # not HTTP, a broken body, or an unexpected status


TRIED_AGAIN = "; it will be retried"  # end of the message about a temporary failure
_PERMANENT = frozenset(
    {FetchErrorReason.BAD_URL, FetchErrorReason.REFUSED_ADDRESS, FetchErrorReason.REFUSING, FetchErrorReason.GONE}
)


class FetchError(ApplicationError):
    """Raised when a fetch fails.

    `url` is the requested URL, and the message says what to do. `retry_after` is the wait that the
    publisher asks for, in seconds. `status` is the HTTP status, if any. `explanation` is the text
    that the publisher's software sent, if any.
    """

    def __init__(
        self,
        url: str,
        reason: FetchErrorReason,
        message: str,
        *,
        retry_after: float | None = None,
        status: int | None = None,
        explanation: str = "",
    ) -> None:
        super().__init__(f"{url}: {message}")
        self.url = url
        self.reason = reason
        self.message = message
        self.retry_after = retry_after
        self.status = status
        self.explanation = explanation
        self.can_retry = reason not in _PERMANENT

    @property
    def message_for_now(self) -> str:
        """The message to display during interactive use.

        It lacks the promise to retry, which applies only to sources.
        """
        return self.message.removesuffix(TRIED_AGAIN)


@dataclass(frozen=True, slots=True)
class FetchResult:
    """A successful response.

    `url` is the final location, and `moved_to` is the URL to request in the future, if it changed.
    `body` is decompressed, and empty if `not_modified` is true. `content_type` is in lower case,
    without parameters, and "" if missing. `charset` is from the header. `etag` and `last_modified`
    are for the next request. `max_age` is in seconds.
    """

    url: str
    status: int
    body: bytes = b""
    content_type: str = ""
    charset: str | None = None
    etag: str | None = None
    last_modified: str | None = None
    not_modified: bool = False
    max_age: int | None = None
    moved_to: str | None = None


class RequestOptions(TypedDict, total=False):
    """The options of a request. All are optional.

    `etag` and `last_modified` are from the previous response, and allow the server to respond "not
    modified". `accept` is the Accept header, which defaults to any type. `max_bytes` limits the
    decompressed body in place of `limits.fetch_bytes`.
    """

    etag: str | None
    last_modified: str | None
    accept: str | None
    max_bytes: int | None


class ContentFetcher(Protocol):
    """The interface that collection uses for fetching.

    `fetcher.HttpFetcher` and `fetcher.FolderFetcher` implement it.
    """

    def get(self, url: str, **options: Unpack[RequestOptions]) -> FetchResult:
        """Return the response for `url`, or raise FetchError."""

    def may_read(self, url: str) -> bool:
        """Return True if the site's robots.txt allows `url`."""
