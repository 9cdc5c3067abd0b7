"""A small web in a folder: serves what `index.json` lists, as `fetcher.HttpFetcher` would fetch it, without a socket.

    {"https://agency.example.org/feed.xml": {"file": "agency.xml", "content_type": "application/rss+xml"}}

An entry may have `headers` too, such as `{"Last-Modified": "…", "Cache-Control": "max-age=3600"}`.
"""

import json
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any

import httpx

from digest.collect.fetch import http_response
from digest.collect.fetch.address_guard import UnknownHostError
from digest.collect.fetch.policy import parse_web_address
from digest.collect.fetch.result import FetchError, FetchErrorReason, FetchResult

INDEX_FILE = "index.json"


class BundledFetcher:
    """Answers from a folder. What is not listed is a dead host; any thread may use it."""

    def __init__(self, folder: Path | Traversable) -> None:
        """Read the index of `folder`.

        Raises:
            FileNotFoundError, ValueError: there is no index, or it is no JSON.
        """
        self._folder = folder
        index: dict[str, dict[str, Any]] = json.loads((folder / INDEX_FILE).read_text("utf-8"))
        self._index = {str(parse_web_address(url)): entry for url, entry in index.items()}

    def get(
        self,
        url: str,
        *,
        etag: str | None = None,
        last_modified: str | None = None,
        accept: str | None = None,
        max_bytes: int | None = None,
    ) -> FetchResult:
        """Return what the index lists for `url`; for the arguments see `fetcher.HttpFetcher.get`.

        Raises:
            FetchError: `Reason.DNS` where the index lists nothing, as for a host that is not there.
        """
        del accept
        address = parse_web_address(url)
        entry = self._index.get(str(address))
        if entry is None:
            raise FetchError(url, FetchErrorReason.DNS, str(UnknownHostError(address.host, "is not in the index")))
        body = (self._folder / entry["file"]).read_bytes()
        if max_bytes is not None and len(body) > max_bytes:
            raise FetchError(url, FetchErrorReason.TOO_BIG, f"more than {max_bytes:,} bytes", status=200)
        headers = httpx.Headers(entry.get("headers", {}))
        not_modified = (etag is not None and etag == headers.get("etag")) or (
            etag is None and last_modified is not None and last_modified == headers.get("last-modified")
        )
        return _bundled_result(
            str(address), b"" if not_modified else body, entry["content_type"], headers, not_modified=not_modified
        )

    def may_read(self, url: str) -> bool:
        """Return whether the index lists `url`: a dead host allows nothing, and the folder forbids nothing."""
        try:
            return str(parse_web_address(url)) in self._index
        except FetchError:
            return False


def _bundled_result(
    url: str, body: bytes, content_type_header: str, headers: httpx.Headers, *, not_modified: bool
) -> FetchResult:
    content_type, charset = http_response.parse_content_type(content_type_header)
    return FetchResult(
        url=url,
        status=304 if not_modified else 200,
        body=body,
        content_type=content_type,
        charset=charset,
        etag=headers.get("etag"),
        last_modified=headers.get("last-modified"),
        not_modified=not_modified,
        max_age=http_response.freshness_seconds(headers),
    )
