"""What an HTTP answer says: the few headers that matter to us, and the body unpacked within bounds."""

import re
import zlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

LONGEST_WAIT = 7 * 24 * 3600  # seconds; one answer must not silence a source for good
_LONGEST_FRESH = 2**31  # seconds; RFC 9111 1.2.2
_CHARSET = re.compile(r"""charset\s*=\s*["']?([A-Za-z0-9._:+-]{1,40})""", re.IGNORECASE)
_MAX_AGE = re.compile(r"""(?:^|[\s,])max-age\s*=\s*"?([0-9]{1,10})\b""", re.IGNORECASE)
_UNCACHED = re.compile(r"(?:^|[\s,])no-(?:store|cache)\s*(?:$|,)", re.IGNORECASE)
_GZIP = 16 + zlib.MAX_WBITS


class TooBig(Exception):  # noqa: N818 -- the name of a reason
    """A body over its bound, packed or unpacked."""


class BadPacking(Exception):  # noqa: N818 -- the name of a reason
    """A body that cannot be unpacked; the message says why."""


def media_type(value: str) -> tuple[str, str | None]:
    """Split a Content-Type into its type ("text/xml", "" when absent) and its charset, both in lower case."""
    charset = _CHARSET.search(value)
    return value.partition(";")[0].strip().lower(), charset[1].lower() if charset else None


def validator(value: str | None) -> str | None:
    """Give an ETag or Last-Modified that can be sent back as it came; None for one that cannot."""
    return value if value and len(value) <= 1000 and value.isascii() and value.isprintable() else None


def wait(value: str | None, now: datetime) -> float | None:
    """Read Retry-After (RFC 9110 10.2.3), seconds or a date, as seconds from `now`: 0 to `LONGEST_WAIT`.

    None when it is absent or means nothing.
    """
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        return float(min(int(text[:10]), LONGEST_WAIT))
    try:
        until = parsedate_to_datetime(text)
        seconds = (until if until.tzinfo else until.replace(tzinfo=UTC)) - now
    except (ValueError, TypeError, IndexError, OverflowError):  # what the parser raises at odd dates
        return None
    return min(max(seconds.total_seconds(), 0.0), float(LONGEST_WAIT))


def fresh_for(headers: Mapping[str, str]) -> int | None:
    """Say for how many seconds the answer stays fresh by its Cache-Control, less its Age; None if it is silent.

    `no-store` and `no-cache` give 0.
    """
    control = headers.get("cache-control", "")
    if _UNCACHED.search(control):
        return 0
    found = _MAX_AGE.search(control)
    if not found:
        return None
    age = headers.get("age", "")
    spent = int(age[:10]) if age.isascii() and age.isdigit() else 0
    return max(min(int(found[1]), _LONGEST_FRESH) - spent, 0)


def unpack(chunks: Iterable[bytes], packing: str, most: int, *, cut: bool = False) -> bytes:
    """Put a body together from its raw chunks, undoing the Content-Encoding `packing` ("gzip" or none).

    Memory stays near `most` bytes, whatever a bomb would swell to: unpacking stops at the bound. With `cut`
    the first `most` bytes are given instead of an error.

    Raises:
        TooBig: there are more than `most` bytes.
        BadPacking: the packing is one that we did not ask for, broken, or ends too early.
    """
    unpacking = _unpacking(packing)
    body = bytearray()
    packed = 0
    for chunk in chunks:
        packed += len(chunk)
        body += unpacking.feed(chunk, most + 1 - len(body))
        # Endless empty gzip members unpack to nothing, so what comes in has a bound too.
        if len(body) > most or packed > 2 * most + 1000:
            if cut:
                return bytes(body[:most])
            raise TooBig(f"more than {most:,} bytes")
    if not unpacking.complete:
        raise BadPacking("its gzip packing ends too early")
    return bytes(body)


def _unpacking(packing: str) -> "_Gzip | _Plain":
    match packing.strip().lower():
        case "" | "identity":
            return _Plain()
        case "gzip" | "x-gzip":
            return _Gzip()
        case other:
            raise BadPacking(f"it is packed as {other[:40]!r}, and we asked for gzip")


class _Plain:
    complete = True

    def feed(self, data: bytes, room: int) -> bytes:
        return data[:room]


class _Gzip:
    """One or more gzip members (RFC 1952 2.2)."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP)
        self._begun = False

    @property
    def complete(self) -> bool:
        """Whether the last member has ended; an empty body is complete too."""
        return self._member.eof or not self._begun

    def feed(self, data: bytes, room: int) -> bytes:
        """Unpack as much of `data` as gives `room` bytes (at least 1: zlib takes 0 for no bound)."""
        out = bytearray()
        while data and len(out) < room:
            if self._member.eof:
                data = data.lstrip(b"\0")  # padding, which gzip(1) ignores as well
                if data:
                    self._member = zlib.decompressobj(_GZIP)
                continue
            self._begun = True
            try:
                out += self._member.decompress(data, room - len(out))
            except zlib.error as exc:
                raise BadPacking(f"its gzip packing is broken ({exc})") from exc
            data = self._member.unused_data or self._member.unconsumed_tail
        return bytes(out)
