"""Documents saved to files: their original URLs and their content."""

import re
from dataclasses import replace
from datetime import datetime
from urllib.parse import quote_plus, urljoin

from digest.collect.documents.parsed_document import DocumentKind, ParsedDocument, RejectedEntry
from digest.collect.parsers import parse_document
from digest.collect.texts.text_cleanup import read_attributes
from digest.collect.texts.urls import canonical_url, usable_url

_HEAD_BYTES = 2_000_000  # bytes; some pages state their URL after a megabyte of scripts
_LINK_OR_META_TAG = re.compile(r"<(?:\w+:)?(?:link|meta)\b[^<>]{0,2000}>", re.IGNORECASE)
_CHANNEL_LINK = re.compile(r"<link>\s*(?:<!\[CDATA\[\s*)?(https?://[^\s<\]]+)", re.IGNORECASE)
_JSON_LINK = re.compile(r'"(?:feed_url|home_page_url)"\s*:\s*"(https?:[^"\s]+)"')
_TEXT_SUFFIXES = (".txt", ".text", ".md")


def parse_saved_file(body: bytes, *, file_url: str, site: str, now: datetime) -> ParsedDocument:
    """Parse a saved document.

    If the document doesn't state its URL, `file_url` is used, or `site` for plain text.

    Raises:
        ParseError: the document can't be parsed.
    """
    address = find_document_url(body)
    if address is None and file_url.lower().endswith(_TEXT_SUFFIXES):
        document = parse_document(body, url=site, now=now)
        return _place_on_site(document, site) if document.kind is DocumentKind.PAGE else document
    return parse_document(body, url=address or file_url, now=now)


def find_document_url(body: bytes) -> str | None:
    """Return the URL that a saved document states, or None.

    Relative links in the document are resolved against this URL.
    """
    head = body[:_HEAD_BYTES].decode("latin-1")
    by_name = _read_named_links(head)
    channel = _CHANNEL_LINK.search(head) or _JSON_LINK.search(head)
    by_name["channel"] = channel[1] if channel else ""
    names = ["canonical", "og:url", "self", "channel"]
    if "<html" not in head.lower():
        names.append("alternate")
    addresses = (by_name.get(name, "").replace("&amp;", "&") for name in names)
    usable = (usable_url(address.replace("\\/", "/")) for address in addresses)
    return next(filter(None, usable), None)


def _read_named_links(head: str) -> dict[str, str]:
    by_name: dict[str, str] = {}
    for attributes in map(read_attributes, _LINK_OR_META_TAG.findall(head)):
        name = attributes.get("rel") or attributes.get("property") or ""
        address = attributes.get("href") or attributes.get("content") or ""
        by_name.setdefault(name.lower(), address)
    return by_name


def _place_on_site(document: ParsedDocument, site: str) -> ParsedDocument:
    """Give plain-text articles that have a publication date a URL on the publication's own site, and reject the others.

    Such a text has no URL, so its link is a search of the site for its title. Without a date, it's
    more likely a note about its folder than an article.
    """
    items, rejected = [], [*document.rejected]
    for place, item in enumerate(document.items, 1):
        if item.published:
            link = urljoin(site, f"/?s={quote_plus(item.title)}")
            items.append(replace(item, link=link, url=canonical_url(link)))
        else:
            rejected.append(RejectedEntry(place, _NO_ADDRESS_REASON))
    return replace(document, items=tuple(items), rejected=tuple(rejected))


_NO_ADDRESS_REASON = "plain text without a URL or publication date; save the page as HTML instead"
