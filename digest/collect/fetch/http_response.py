"""HTTP responses: the headers that we use, and decompression within limits."""

import re
import zlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

from subscribers.errors import ApplicationError

MAX_RETRY_SECONDS = 7 * 24 * 3600  # one response must not stop visits to a source forever
_MAX_FRESHNESS = 2**31  # seconds; RFC 9111, section 1.2.2
_CHARSET = re.compile(r"""charset\s*=\s*["']?([A-Za-z0-9._:+-]{1,40})""", re.IGNORECASE)
_MAX_AGE = re.compile(r"""(?:^|[\s,])max-age\s*=\s*"?([0-9]{1,10})\b""", re.IGNORECASE)
_NO_CACHE = re.compile(r"(?:^|[\s,])no-(?:store|cache)\s*(?:$|,)", re.IGNORECASE)
_GZIP_WINDOW_BITS = 16 + zlib.MAX_WBITS


class BodyTooLargeError(ApplicationError):
    """Raised when a compressed or decompressed body exceeds its limit."""


class ContentEncodingError(ApplicationError):
    """Raised when a body can't be decompressed.

    The message explains why.
    """


def parse_content_type(value: str) -> tuple[str, str | None]:
    """Return the type and charset of a Content-Type header, both in lower case.

    The type is "" if it's missing, and the charset is None.
    """
    value = value.lower()
    charset = _CHARSET.search(value)
    return value.partition(";")[0].strip(), charset[1] if charset else None


def parse_validator(value: str | None) -> str | None:
    """Return an ETag or Last-Modified value if it can be sent back unchanged, or None if it can't."""
    return value if value and len(value) <= 1000 and value.isascii() and value.isprintable() else None


def parse_retry_after(value: str | None, now: datetime) -> float | None:
    """Return a Retry-After value (RFC 9110, section 10.2.3) in seconds, from 0 to `MAX_RETRY_SECONDS`.

    The header has a number of seconds or a date. Return None if it's missing or invalid.
    """
    text = (value or "").strip()
    if text.isascii() and text.isdigit():
        return float(min(int(text[:10]), MAX_RETRY_SECONDS))
    try:
        until = parsedate_to_datetime(text)
        seconds = (until if until.tzinfo else until.replace(tzinfo=UTC)) - now
    except (ValueError, TypeError, IndexError, OverflowError):  # the parser raises these for odd dates
        return None
    return min(max(seconds.total_seconds(), 0.0), float(MAX_RETRY_SECONDS))


def parse_freshness_seconds(headers: Mapping[str, str]) -> int | None:
    """Return how many seconds a response stays fresh, or None if it doesn't say.

    This is the max-age of its Cache-Control minus its Age. `no-store` and `no-cache` give 0.
    """
    control = headers.get("cache-control", "")
    if _NO_CACHE.search(control):
        return 0
    match = _MAX_AGE.search(control)
    if not match:
        return None
    age = headers.get("age", "")
    spent = int(age[:10]) if age.isascii() and age.isdigit() else 0
    return max(min(int(match[1]), _MAX_FRESHNESS) - spent, 0)


def decode_body(
    chunks: Iterable[bytes],
    encoding: str,
    max_bytes: int,
    *,
    truncate: bool = False,
) -> bytes:
    """Return the decompressed body.

    Decompression stops at the limit, so memory use stays near `max_bytes` even for a decompression bomb.

    Args:
        chunks: the raw body.
        encoding: the Content-Encoding, "gzip" or "".
        max_bytes: the maximum size of the decompressed body.
        truncate: return the first `max_bytes` bytes of a longer body instead of raising an
            error.

    Raises:
        BodyTooLargeError: there are more than `max_bytes` bytes.
        ContentEncodingError: the encoding wasn't requested, is broken, or ends too early.
    """
    decoder = _open_decoder(encoding)
    body = bytearray()
    packed = 0
    for chunk in chunks:
        packed += len(chunk)
        room = max_bytes + 1 - len(body)
        body += decoder.decode(chunk, room) if decoder else chunk[:room]
        # Endless empty gzip members decompress to nothing, so the input is also limited.
        if len(body) > max_bytes or packed > 2 * max_bytes + 1000:
            if truncate:
                return bytes(body[:max_bytes])
            raise BodyTooLargeError(f"more than {max_bytes:,} bytes")
    if decoder and not decoder.complete:
        raise ContentEncodingError("the gzip data is truncated")
    return bytes(body)


def _open_decoder(encoding: str) -> "_GzipDecoder | None":
    name = encoding.strip().lower()
    if name not in {"", "identity", "gzip", "x-gzip"}:
        raise ContentEncodingError(f"the response uses encoding {name[:40]!r} instead of gzip")
    return _GzipDecoder() if "gzip" in name else None


class _GzipDecoder:
    """A decoder of one or more gzip members (RFC 1952, section 2.2)."""

    def __init__(self) -> None:
        self._member = zlib.decompressobj(_GZIP_WINDOW_BITS)
        self._started = False

    @property
    def complete(self) -> bool:
        """True if the last member has ended or the body is empty."""
        return self._member.eof or not self._started

    def decode(self, data: bytes, max_bytes: int) -> bytes:
        """Return up to `max_bytes` decompressed bytes of `data`.

        `max_bytes` must be at least 1, because zlib interprets 0 as no limit.
        """
        out = bytearray()
        while data and len(out) < max_bytes:
            if self._member.eof:
                data = data.lstrip(b"\0")  # padding, which gzip(1) also ignores
                if data:
                    self._member = zlib.decompressobj(_GZIP_WINDOW_BITS)
                continue
            self._started = True
            try:
                out += self._member.decompress(data, max_bytes - len(out))
            except zlib.error as exc:
                raise ContentEncodingError(f"the gzip data is invalid ({exc})") from exc
            data = self._member.unused_data or self._member.unconsumed_tail
        return bytes(out)
