"""What may be asked for, and what an answer or a failure means: pure decisions, with words for the operator."""

import re
from collections.abc import Mapping
from datetime import datetime

import httpcore
import httpx

from digest.collect.answers import BadPacking, TooBig, wait
from digest.collect.fetched import FetchError, Reason
from digest.collect.guard import RefusedAddress, UnknownHost
from digest.collect.wire import NoSafeConnection

LONGEST_URL = 4000  # characters
REDIRECTS = frozenset({301, 302, 303, 307, 308})
EXPECTED = (
    RefusedAddress,
    UnknownHost,
    TooBig,
    BadPacking,
    NoSafeConnection,
    httpcore.TimeoutException,
    httpcore.NetworkError,
    httpcore.ProtocolError,
)

_LABEL = r"[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?"
_NAME = re.compile(rf"(?=.{{1,254}}$)(?:{_LABEL}\.)*{_LABEL}\.?")


def web_address(url: str) -> httpx.URL:
    """Read `url` as something that may be asked for; the fragment is dropped, an IDN host becomes ASCII.

    Ports are 80, 443 and all from 1024 up: feeds live on 8080 and 8443 too, while the well-known ports of
    other protocols (mail, SSH, databases' admin) are none of our business and would be spoken to in HTTP.

    Raises:
        FetchError: `Reason.BAD_URL`; neither message nor `url` repeats a password.
    """
    try:
        read = httpx.URL(url[: LONGEST_URL + 1].strip())
        host = read.raw_host.decode("ascii")
    except (httpx.InvalidURL, ValueError) as exc:  # ValueError: a label that IDNA cannot carry
        raise FetchError(_shown(url), Reason.BAD_URL, f"no web address ({exc}); correct it") from exc
    if why := _unfit(read, host, url):
        raise FetchError(_shown(url), Reason.BAD_URL, why)
    return read.copy_with(raw_path=read.raw_path, fragment=None)  # raw_path is "/" where there is none


def _unfit(read: httpx.URL, host: str, url: str) -> str | None:
    if len(url) > LONGEST_URL:
        return f"longer than {LONGEST_URL:,} characters; correct it"
    if read.scheme not in {"http", "https"}:
        return "only http and https are fetched; correct the address"
    if read.userinfo:
        return "it holds a user name or password, which would end up in logs; use an address without"
    if ":" not in host and not _NAME.fullmatch(host):
        return "its host is no name and no address; correct it"
    if read.port is not None and read.port not in {80, 443} and not 1024 <= read.port <= 65535:
        return f"port {read.port} is not for the web; use 80, 443 or one from 1024 up"
    return None


def next_hop(here: httpx.URL, headers: Mapping[str, str], asked: str) -> httpx.URL:
    """Give the address that a redirect at `here` leads to.

    Raises:
        FetchError: it leads nowhere, or to something that may not be asked for; `url` is `asked`.
    """
    location = headers.get("location", "")
    if not location:
        raise FetchError(
            asked, Reason.BAD_ANSWER, f"{here} redirects without saying where; tell the publisher"
        )
    try:
        there = web_address(str(here.join(location[:LONGEST_URL])))
    except FetchError as exc:
        message = f"{here} redirects to {exc.url}: {exc.message}"
        raise FetchError(asked, exc.reason, message) from exc
    except (httpx.InvalidURL, ValueError) as exc:
        message = (
            f"{here} redirects to {_shown(location)}, which is no web address ({exc}); tell the publisher"
        )
        raise FetchError(asked, Reason.BAD_URL, message) from exc
    return there


def failure(
    status: int, headers: Mapping[str, str], *, agent: str, now: datetime
) -> tuple[Reason, str, float | None] | None:
    """Judge an answer by its status: None when it may be used, else reason, message and the wait asked for."""
    if 200 <= status < 300 or status in REDIRECTS or status == 304:
        return None
    otherwise = _SERVER if 500 <= status < 600 else _ODD
    reason, words = _BY_STATUS.get(status, otherwise)
    pause = wait(headers.get("retry-after"), now)
    asked = "" if pause is None else f"; it asks us to wait {pause:.0f} s"
    return reason, words.format(status=status, agent=agent) + asked, pause


_REFUSING = (
    Reason.REFUSING,
    (
        "the publisher refuses us ({status}); ask them to allow the user agent '{agent}', "
        "or use another feed of theirs"
    ),
)
_BY_STATUS = {
    **dict.fromkeys((401, 403, 407, 451), _REFUSING),
    404: (Reason.MISSING, "nothing is there (404); look up the address on the publisher's site"),
    410: (Reason.GONE, "the publisher has closed it (410); remove the source or find its successor"),
    429: (Reason.RATE_LIMITED, "the publisher says that we ask too often (429); it is tried again later"),
}
_SERVER = (Reason.SERVER, "the publisher's server failed ({status}); it is tried again later")
_ODD = (Reason.BAD_ANSWER, "an answer that makes no sense here ({status}); open the address in a browser")


def meaning(exc: Exception, most: int, seconds: float) -> tuple[Reason, str]:
    """Say what one of `EXPECTED` means; `most` bytes and `seconds` were the bounds."""
    match exc:
        case RefusedAddress():
            found = Reason.REFUSED_ADDRESS, str(exc)
        case UnknownHost():
            found = Reason.DNS, str(exc)
        case TooBig():
            found = Reason.TOO_BIG, f"more than {most:,} bytes; raise the limit in digest.toml if it is meant"
        case BadPacking():
            found = Reason.BAD_ANSWER, f"{exc}; tell the publisher"
        case httpcore.TimeoutException():
            found = Reason.TIMEOUT, f"not done within {seconds:g} s; it is tried again later"
        case NoSafeConnection():
            found = Reason.TLS, f"no safe connection ({exc}); the publisher's certificate needs mending"
        case httpcore.ConnectError():
            found = Reason.CONNECT, f"no connection ({exc}); it is tried again later"
        case _:
            found = Reason.BAD_ANSWER, f"it broke off or is no HTTP ({exc}); it is tried again later"
    return found


def _shown(url: str) -> str:
    """Give `url` for a message: without what may be a password, without control characters, not too long."""
    bare = re.sub(r"(?<=//)[^/?#]*@", "", url)
    return "".join(char if char.isprintable() else "?" for char in bare[:200])
