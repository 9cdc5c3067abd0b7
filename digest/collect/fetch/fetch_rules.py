"""Rules for fetching: which URLs may be requested, and what responses and failures mean."""

import html
import json
import re
from collections.abc import Mapping
from datetime import datetime

import httpcore
import httpx

from digest.collect.fetch.address_guard import AddressRefusedError, UnknownHostError
from digest.collect.fetch.http_connection import ServerWithoutTlsError, TlsHandshakeError
from digest.collect.fetch.http_response import BodyTooLargeError, ContentEncodingError, parse_retry_after
from digest.collect.fetch.result import TRIED_AGAIN, FetchError, FetchErrorReason
from digest.collect.texts.text_cleanup import normalize_text

MAX_URL_LENGTH = 4000  # maximum number of characters
REDIRECT_STATUSES = frozenset({301, 302, 303, 307, 308})
_HOST_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_HOST_NAME = re.compile(rf"(?=.{{1,254}}$)(?:{_HOST_LABEL}\.)*{_HOST_LABEL}\.?")


def parse_web_address(url: str) -> httpx.URL:
    """Parse a URL that may be requested. Its fragment is removed, and an IDN host becomes ASCII.

    Ports 80, 443, and all from 1024 up are allowed: feeds also use 8080 and 8443, while the
    well-known ports of other protocols (email, SSH, database administration) must not receive HTTP.

    Raises:
        FetchError: the URL is unusable (`FetchErrorReason.BAD_URL`). Neither its message nor
            its `url` contains a password.
    """
    try:
        read = httpx.URL(url[: MAX_URL_LENGTH + 1].strip())
        host = read.raw_host.decode("ascii")
    except (httpx.InvalidURL, ValueError) as exc:  # ValueError: a label that IDNA can't encode
        raise FetchError(
            _printable_url(url), FetchErrorReason.BAD_URL, f"not a URL ({exc}); correct the value"
        ) from exc
    if why := _address_objection(read, host, url):
        raise FetchError(_printable_url(url), FetchErrorReason.BAD_URL, why)
    return read.copy_with(raw_path=read.raw_path, fragment=None)  # raw_path is "/" if the URL has no path


def _address_objection(parsed: httpx.URL, host: str, url: str) -> str | None:
    if len(url) > MAX_URL_LENGTH:
        return f"longer than {MAX_URL_LENGTH:,} characters; shorten it"
    if parsed.scheme not in {"http", "https"}:
        return "not an http or https URL; correct the value"
    if parsed.userinfo:
        return "the URL contains a user name or password, which would appear in logs; remove them"
    if ":" not in host and not _HOST_NAME.fullmatch(host):
        return "the host isn't a name or IP address; correct it"
    port = 443 if parsed.port is None else parsed.port
    if port not in {80, 443} and not 1024 <= port <= 65535:
        return f"port {port} isn't allowed; use 80, 443, or a port from 1024 up"
    return None


def resolve_redirect(
    current: httpx.URL,
    headers: Mapping[str, str],
    requested_url: str,
) -> httpx.URL:
    """Return the target of a redirect at `current`.

    Raises:
        FetchError: there's no target, or it may not be requested. The error's `url` is
            `requested_url`.
    """
    location = headers.get("location", "")
    if not location:
        raise FetchError(
            requested_url,
            FetchErrorReason.BAD_ANSWER,
            f"{current} redirects without a target; report the problem to the publisher",
        )
    try:
        target = parse_web_address(str(current.join(location[:MAX_URL_LENGTH])))
    except FetchError as exc:
        message = f"{current} redirects to {exc.url}, which can't be fetched ({exc.message})"
        raise FetchError(requested_url, exc.reason, message) from exc
    except (httpx.InvalidURL, ValueError) as exc:
        message = f"{current} redirects to {_printable_url(location)}, which isn't a URL ({exc}); report the problem to the publisher"
        raise FetchError(requested_url, FetchErrorReason.BAD_URL, message) from exc
    return target


def classify_status(
    status: int, headers: Mapping[str, str], *, agent: str, now: datetime
) -> tuple[FetchErrorReason, str, float | None] | None:
    """Return None if a response's status is usable.

    Otherwise, return the reason, the message, and the requested wait in seconds (or None).
    """
    if 200 <= status < 300 or status in REDIRECT_STATUSES or status == 304:
        return None
    otherwise = _SERVER_FAILURE if 500 <= status < 600 else _UNEXPECTED_FAILURE
    reason, words = _STATUS_FAILURES.get(status, otherwise)
    pause = parse_retry_after(headers.get("retry-after"), now)
    wait_note = "" if pause is None else f"; the server asks to wait {pause:.0f} s"
    return reason, words.format(status=status, agent=agent) + wait_note, pause


_WORDPRESS_ERROR = re.compile(rb'"code"\s{0,9}:\s{0,9}"\w{0,40}rest_\w{1,80}"')
_WORDPRESS_MESSAGE = re.compile(rb'"message"\s{0,9}:\s{0,9}("(?:[^"\\]|\\.){1,300}")')
_TAG = re.compile(r"<[^<>]{0,200}>")


def find_wordpress_explanation(body: bytes) -> str:
    """Return WordPress's reason for rejecting a REST API request, or "" if the body has none.

    The body is `{"code": "rest_forbidden", "message": "…"}`. It's untrusted, so it isn't parsed as a whole.
    """
    message = _WORDPRESS_MESSAGE.search(body) if _WORDPRESS_ERROR.search(body) else None
    try:
        text = json.loads(message[1]) if message else ""
    except ValueError:
        return ""
    return normalize_text(_TAG.sub("", html.unescape(text)))


_REFUSED_FAILURE = (
    FetchErrorReason.REFUSING,
    (
        "the publisher denied access ({status}); ask them to allow the user agent '{agent}', or use another "
        "of their feeds"
    ),
)
_STATUS_FAILURES = {
    **dict.fromkeys((401, 403, 407, 451), _REFUSED_FAILURE),
    404: (FetchErrorReason.MISSING, "the page doesn't exist (404); look up its URL on the publisher's site"),
    410: (FetchErrorReason.GONE, "the publisher removed the page (410); remove the source or find its new URL"),
    429: (FetchErrorReason.RATE_LIMITED, f"the publisher's rate limit was reached (429){TRIED_AGAIN}"),
}
_SERVER_FAILURE = (FetchErrorReason.SERVER, "the publisher's server failed ({status})" + TRIED_AGAIN)
_UNEXPECTED_FAILURE = (FetchErrorReason.BAD_ANSWER, "unexpected response ({status}); open the URL in a browser")


_BROKEN_OFF = "the connection was lost or isn't HTTP ({exc})" + TRIED_AGAIN
# The first entry whose class matches an exception applies.
_EXCEPTION_FAILURES: tuple[tuple[type[Exception], FetchErrorReason, str], ...] = (
    (AddressRefusedError, FetchErrorReason.REFUSED_ADDRESS, "{exc}"),
    (UnknownHostError, FetchErrorReason.DNS, "{exc}"),
    (
        BodyTooLargeError,
        FetchErrorReason.TOO_BIG,
        "more than {max_bytes:,} bytes; if that's intended, raise the limit in digest.toml",
    ),
    (ContentEncodingError, FetchErrorReason.BAD_ANSWER, "{exc}; report the problem to the publisher"),
    (httpcore.TimeoutException, FetchErrorReason.TIMEOUT, "timed out after {timeout:g} s" + TRIED_AGAIN),
    (ServerWithoutTlsError, FetchErrorReason.TLS, "the server doesn't use https there; try the URL with http://"),
    (TlsHandshakeError, FetchErrorReason.TLS, "no secure connection ({exc}); the publisher must fix its certificate"),
    (httpcore.ConnectError, FetchErrorReason.CONNECT, "no connection ({exc})" + TRIED_AGAIN),
    (httpcore.NetworkError, FetchErrorReason.BAD_ANSWER, _BROKEN_OFF),
    (httpcore.ProtocolError, FetchErrorReason.BAD_ANSWER, _BROKEN_OFF),
)
FETCH_EXCEPTIONS = tuple(kind for kind, _, _ in _EXCEPTION_FAILURES)


def classify_exception(exc: Exception, max_bytes: int, timeout: float) -> tuple[FetchErrorReason, str]:
    """Return the reason and message for one of `FETCH_EXCEPTIONS`.

    `max_bytes` and `timeout`, in seconds, were the limits of the request.
    """
    _, reason, words = next(row for row in _EXCEPTION_FAILURES if isinstance(exc, row[0]))
    return reason, words.format(exc=exc, max_bytes=max_bytes, timeout=timeout)


def _printable_url(url: str) -> str:
    """Return `url` shortened for use in a message, without passwords or control characters."""
    bare = re.sub(r"(?<=//)[^/?#]*@", "", url)
    return "".join(char if char.isprintable() else "?" for char in bare[:200])
