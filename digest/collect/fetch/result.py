"""What a fetch gives: a body with what its headers say, or one error with a reason."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol, TypedDict, Unpack

from subscribers.errors import ApplicationError


class FetchErrorReason(StrEnum):
    """Why a fetch gave nothing."""

    BAD_URL = "bad-url"
    REFUSED_ADDRESS = "refused-address"
    DNS = "dns"
    CONNECT = "connect"
    TLS = "tls"
    TIMEOUT = "timeout"
    TOO_BIG = "too-big"
    TOO_MANY_REDIRECTS = "too-many-redirects"
    REDIRECT_LOOP = "redirect-loop"
    REFUSING = "refusing"  # 401, 403, 407, 451: the publisher does not want us
    MISSING = "missing"  # 404: often a site being rebuilt, so it is tried again
    GONE = "gone"  # 410: the publisher says that it will not come back
    RATE_LIMITED = "rate-limited"  # 429
    SERVER = "server"  # 5xx
    BAD_ANSWER = "bad-answer"  # no HTTP, a broken body, a status that makes no sense here


TRIED_AGAIN = "; it will be retried"  # ends the message of what may pass by itself
_PERMANENT = frozenset(
    {FetchErrorReason.BAD_URL, FetchErrorReason.REFUSED_ADDRESS, FetchErrorReason.REFUSING, FetchErrorReason.GONE}
)


class FetchError(ApplicationError):
    """A fetch that gave nothing: `url` as it was asked for, and a message that says what to do.

    `retry_after` is the wait that the publisher asks for, in seconds; `status` the HTTP status, if it came so far; `explanation` what
    the publisher's software says about it.
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
        """The message for somebody who waits: without the promise to try again, which holds for sources alone."""
        return self.message.removesuffix(TRIED_AGAIN)


@dataclass(frozen=True, slots=True)
class FetchResult:
    """What came back. `url` is where it was found in the end; `moved_to` the address to ask in future.

    `body` is unpacked, and empty when `not_modified`. `content_type` is bare and lower case ("" when not
    given), `charset` what the header claims. `etag` and `last_modified` are to be sent back next time;
    `max_age` is in seconds.
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


class FetchOptions(TypedDict, total=False):
    """What may be said with a request; all of it can be left out.

    `etag` and `last_modified` are what the last answer gave: with them the answer may be "not modified". `accept` is the
    Accept header, anything by default. `max_bytes` bounds the unpacked body instead of `limits.fetch_bytes`.
    """

    etag: str | None
    last_modified: str | None
    accept: str | None
    max_bytes: int | None


class ContentFetcher(Protocol):
    """What collecting needs of the world; `fetcher.HttpFetcher` and `fetcher.FolderFetcher` are two."""

    def get(self, url: str, **options: Unpack[FetchOptions]) -> FetchResult:
        """Return what is at `url`, or raise `FetchError`."""

    def may_read(self, url: str) -> bool:
        """Return whether the site's robots.txt lets us read `url`."""
