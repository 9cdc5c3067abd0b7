"""SendGrid's v3 API, accessed through its official package.

`SendGridApi` works around the package's pitfalls: it waits forever, reads without a limit, follows
redirects with the key, and logs the key and the payload. See docs/decisions/0007-message-bytes.md.
"""

import http.client
import io
import json
import logging
import time
import urllib.error
import urllib.request
import urllib.response
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import IO, Any, Literal
from urllib.parse import urlsplit

import python_http_client
from python_http_client.client import Response
from python_http_client.exceptions import HTTPError

from digest.deliver.events.server_replies import scrub_addresses
from digest.deliver.providers.kind import ProviderSettingsError
from digest.settings import Settings, is_loopback
from digest.settings.setting_lines import advise_variable_change

STEP_TIMEOUT = 30.0  # seconds for each step of a request
MAX_RESPONSE_BYTES = 4_000_000  # a page of 500 bounces has about 200,000
DEFAULT_RATE_LIMIT_WAIT = 60.0  # seconds to wait after a 429 that doesn't specify a time
MAX_RATE_LIMIT_WAIT = 3600.0  # maximum seconds, whatever a 429 specifies
# A Unix time at least this large is in milliseconds. In seconds, it would be in the year 5138.
_MILLISECONDS = 100_000_000_000


@dataclass(frozen=True, slots=True)
class SendGridResponse:
    """The response to a request. If there was none, the status is 0, and `text` says why.

    `text` has no addresses. For a success, it's SendGrid's ID, if any. `request_sent` is whether
    the whole request was sent, `wait_seconds` is when to retry after a 429, and `error_fields`
    lists the fields that a 400 is about. `body` is the raw body of a success.
    """

    status: int = 0
    text: str = ""
    wait_seconds: float = 0.0
    error_fields: tuple[str | None, ...] = ()
    request_sent: bool = True
    body: bytes = b""


class SendGridApi:
    """SendGrid's API for one account.

    The package opens a connection for each request, so nothing stays open.
    """

    def __init__(
        self,
        api_key: str,
        host: str,
        *,
        timeout: float = STEP_TIMEOUT,
        clock: Callable[[], float] = time.time,
    ) -> None:
        from sendgrid import SendGridAPIClient  # imported late, because it would add 50 ms to every start

        _silence_debug_log()
        self._clock = clock
        headers = dict(SendGridAPIClient(api_key=api_key, host=host).client.request_headers)
        self._client = _StrictClient(host=host, request_headers=headers, version=3, timeout=timeout)

    def call(
        self,
        method: Literal["get", "post", "delete"],
        path: str,
        *,
        body: dict[str, Any] | None = None,
        query: dict[str, int] | None = None,
        announce_body: Callable[[], bool] = lambda: True,
    ) -> SendGridResponse:
        """Make a request and return its response. Failures are responses, not exceptions.

        `path` is relative to `/v3/`, and must not contain a subscriber's address, because others log
        paths. `body` is sent as JSON right after `announce_body` is called, unless that returns False.
        """
        client = self._client
        for step in path.split("/"):
            client = client._(step)
        client.announce_body = announce_body
        try:
            response: Response = getattr(client, method)(request_body=body, query_params=query)
        except HTTPError as exc:
            text, fields = _parse_errors(exc.body)
            return SendGridResponse(exc.status_code, text, wait_seconds=self._rate_limit_wait(exc), error_fields=fields)
        except urllib.error.URLError as exc:
            # urllib only wraps errors from connecting and from sending the request.
            return SendGridResponse(text=scrub_addresses(str(exc.reason)), request_sent=False)
        except (OSError, http.client.HTTPException) as exc:
            return SendGridResponse(text=type(exc).__name__)
        text = scrub_addresses(response.headers.get("X-Message-Id", ""))
        return SendGridResponse(response.status_code, text, body=response.body)

    def _rate_limit_wait(self, exc: HTTPError) -> float:
        """Return how many seconds a 429 response asks us to wait, or 0 for other statuses."""
        if exc.status_code != 429:
            return 0.0
        wait = _read_wait(exc.headers.get("X-RateLimit-Reset", ""), exc.headers.get("Retry-After", ""), self._clock())
        return min(max(1.0, wait), MAX_RATE_LIMIT_WAIT)


def _read_wait(reset: str, after: str, now: float) -> float:
    """Return how many seconds a 429 response's headers ask us to wait, without a limit.

    `now` is a Unix time in seconds.
    """
    if reset.isascii() and reset.isdigit():
        resets_at = float(reset[:20])
        return (resets_at / 1000 if resets_at >= _MILLISECONDS else resets_at) - now + 1
    if after.isascii() and after.isdigit():
        return float(after[:20])
    try:
        return parsedate_to_datetime(after).timestamp() - now
    except ValueError:
        return DEFAULT_RATE_LIMIT_WAIT


def read_api_account(settings: Settings) -> tuple[str, str]:
    """Return the API key and host from the settings.

    Raises:
        ProviderSettingsError: there's no key, or it would be sent unencrypted.
    """
    key, address = (settings.provider_variable(f"sendgrid_{name}") for name in ("api_key", "host"))
    if not key:
        raise ProviderSettingsError(
            "DIGEST_SENDGRID_API_KEY is missing. SendGrid requires it.",
            remedy="In SendGrid, create a key under Settings → API Keys with the Mail Send permission. "
            + advise_variable_change(settings, "DIGEST_SENDGRID_API_KEY=…"),
        )
    if not key.isascii():
        raise ProviderSettingsError(
            "DIGEST_SENDGRID_API_KEY contains a character that no key has, such as a curly quote.",
            remedy="Copy the key again. " + advise_variable_change(settings, "DIGEST_SENDGRID_API_KEY=…"),
        )
    host = urlsplit(address)
    if host.scheme != "https" and not is_loopback(host.hostname or ""):
        raise ProviderSettingsError("DIGEST_SENDGRID_HOST must use https to encrypt the key")
    return key, address.rstrip("/")


def open_api(settings: Settings) -> SendGridApi:
    """Open the API of the account in the settings. See `read_api_account` for possible errors."""
    return SendGridApi(*read_api_account(settings))


def describe_api_failure(response: SendGridResponse, *, needed_permission: str) -> str:
    """Return a line saying why a call failed and what to do.

    `needed_permission` is the permission that the key needs.
    """
    text = f"{response.status} {response.text}".strip() if response.status else response.text
    if not response.request_sent:
        return f"couldn't connect to SendGrid: {text}"
    if response.status in {401, 403}:
        return (
            f"SendGrid rejected the API key ({text}). Check DIGEST_SENDGRID_API_KEY and its permissions: "
            f"{needed_permission}"
        )
    if response.status == 429:
        return f"SendGrid asked senders to wait {response.wait_seconds:.0f} seconds"
    if response.status >= 500 or not response.status:
        return f"SendGrid's response isn't usable: {text or '(empty)'}"
    if 400 <= response.status < 500:
        return f"SendGrid rejected the request: {text}"
    return f"The response isn't from SendGrid's API ({text}). Check DIGEST_SENDGRID_HOST"


def _parse_errors(body: bytes | str) -> tuple[str, tuple[str | None, ...]]:
    """Return the text and fields of an error response, which may also be a proxy's HTML page."""
    try:
        errors = [e for e in json.loads(body)["errors"] if isinstance(e, dict)]
    except (ValueError, KeyError, TypeError, RecursionError):
        return "", ()
    text = scrub_addresses("; ".join(str(e.get("message", "")) for e in errors))
    return text, tuple(f if isinstance(f := e.get("field"), str) else None for e in errors)


class _NoRedirectHandler(urllib.request.HTTPRedirectHandler):
    """A handler that refuses redirects.

    They would send the key to a different server and turn a POST into a GET.
    """

    def redirect_request(
        self,
        req: Any,
        fp: IO[bytes],
        code: int,
        msg: str,
        headers: Any,
        newurl: str,
    ) -> None:
        """Return None, so that urllib raises an error for the redirect."""


class _BoundedResponseHandler(urllib.request.BaseHandler):
    """A handler that reads every response body into memory.

    The response is limited to `MAX_RESPONSE_BYTES` and four times the timeout.
    """

    # Before urllib turns statuses into errors, whose bodies the package also reads completely.
    handler_order = 100

    def http_response(self, request: Any, response: Any) -> Any:
        """Return a response after reading its body into memory."""
        deadline = time.monotonic() + 4 * (request.timeout or STEP_TIMEOUT)
        body = bytearray()
        while chunk := response.read1(65536):
            body += chunk
            if len(body) > MAX_RESPONSE_BYTES:
                raise OSError("the response is too long")
            if time.monotonic() > deadline:
                raise TimeoutError("the response took too long")
        if response.length:
            raise http.client.IncompleteRead(b"", response.length)
        response.close()
        complete = urllib.response.addinfourl(io.BytesIO(bytes(body)), response.headers, response.url, response.status)
        complete.msg = response.reason  # type: ignore[attr-defined]  # urllib's handlers read it
        return complete

    https_response = http_response


def _announced(body: bytes, announce: Callable[[], bool]) -> Iterator[bytes]:
    """Announce a body after its headers have been sent, and then yield it (see `http.client`)."""
    if not announce():
        raise OSError("the request's body wasn't sent")
    yield body


class _StrictClient(python_http_client.Client):  # type: ignore[misc]  # the package is untyped
    """The package's client, using our own opener."""

    announce_body: Callable[[], bool]

    def _build_client(self, name: str | None = None) -> "_StrictClient":
        return _StrictClient(
            host=self.host,
            version=self._version,
            request_headers=dict(self.request_headers),
            url_path=[*self._url_path, name] if name else self._url_path,
            append_slash=self.append_slash,
            timeout=self.timeout,
        )

    def _make_request(self, opener: Any, request: Any, timeout: float | None = None) -> Any:
        del opener  # the package's opener follows redirects
        if body := request.data:
            request.data = _announced(body, self.announce_body)
            request.add_header("Content-Length", str(len(body)))  # otherwise, the body would be sent in chunks
        strict_opener = urllib.request.build_opener(_NoRedirectHandler, _BoundedResponseHandler)
        return super()._make_request(strict_opener, request, timeout=timeout)


class _DebugLogFilter(logging.Filter):
    """A filter that drops the package's DEBUG records, which contain the key and payload.

    It drops them, whatever the log level.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Return True if a record is a warning or worse."""
        return record.levelno >= logging.WARNING


_DEBUG_LOG_FILTER = _DebugLogFilter()


def _silence_debug_log() -> None:
    logger = logging.getLogger("python_http_client.client")
    logger.setLevel(logging.WARNING)
    logger.addFilter(_DEBUG_LOG_FILTER)  # adding it again has no effect
