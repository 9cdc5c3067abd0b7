"""Feeds of what anybody may read: Atom (RFC 4287), JSON Feed 1.1 (https://jsonfeed.org), and the map of the site for search engines."""

import json
import re
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any
from xml.etree import ElementTree as ET
from zoneinfo import ZoneInfo

from digest.app.editions.web_editions import EditionLine
from digest.app.site.archive import FeedEdition, TopicPage
from digest.app.site.page_metadata import mark_title
from digest.settings import PublicationSettings
from subscribers.reader_language import ReaderLanguage

_ATOM_NAMESPACE = "http://www.w3.org/2005/Atom"
_SITEMAP_NAMESPACE = "http://www.sitemaps.org/schemas/sitemap/0.9"
_INVALID_XML_CHARACTERS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\ud800-\udfff\ufffe\uffff]")  # XML 1.0, 2.2
_LONG_AGO = datetime.fromisoformat("2000-01-01T00:00:00Z")


def build_atom_feed(
    editions: Sequence[FeedEdition], publication: PublicationSettings, base: str, language: ReaderLanguage
) -> bytes:
    """Write the feed of editions. Ids are the editions' public addresses, which never change; a correction updates its edition's entry."""
    root = _open_feed(publication, f"{base}/feed.atom", f"{base}/", publication.name, publication.tagline)
    _add_text(root, "updated", _timestamp(max((e.updated_at for e in editions), default=_LONG_AGO)))
    for edition in editions:
        address = f"{base}/editions/{edition.line.name}"
        entry = _add_entry(
            root,
            address,
            mark_title(edition.line.subject, edition.line.corrected_at, publication.zone, language),
            edition.published_at,
            edition.updated_at,
        )
        _add_text(entry, "summary", "\n".join(_summarise(edition, publication.zone, language)))
        if edition.html:
            content = ET.SubElement(entry, "content", type="html")
            content.text = _INVALID_XML_CHARACTERS.sub("", write_feed_html(edition, publication.zone, language))
    return _write_xml(root)


def build_topic_feed(page: TopicPage, publication: PublicationSettings, base: str, language: ReaderLanguage) -> bytes:
    """Write the feed of a topic's stories; each is named by its place in its edition."""
    address, title = f"{base}/topics/{page.topic.key}", f"{publication.name}: {page.topic.name}"
    root = _open_feed(publication, f"{address}.atom", address, title, "")
    _add_text(root, "updated", _timestamp(max((f.changed_at for f in page.stories), default=_LONG_AGO)))
    for found in page.stories:
        title = mark_title(found.story.headline, found.corrected_at, publication.zone, language)
        entry = _add_entry(root, f"{base}{found.path}", title, found.story.released_at, found.changed_at)
        if found.story.url:
            ET.SubElement(entry, "link", rel="related", href=found.story.url)
        said = " · ".join(
            part
            for part in (found.story.source, found.story.dated, language.gettext("No. %(number)s", number=found.number))
            if part
        )
        _add_text(entry, "summary", f"{found.story.summary} {said}".strip())
    return _write_xml(root)


def build_json_feed(
    editions: Sequence[FeedEdition], publication: PublicationSettings, base: str, language: ReaderLanguage
) -> bytes:
    """Write the feed of editions as JSON Feed 1.1."""
    zone = publication.zone
    feed = {
        "version": "https://jsonfeed.org/version/1.1",
        "title": publication.name,
        "description": publication.tagline,
        "home_page_url": f"{base}/",
        "feed_url": f"{base}/feed.json",
        "icon": f"{base}/icon.svg",
        "language": publication.language,
        "authors": [{"name": publication.name, "url": publication.site}],
        "items": [
            _write_json_item(edition, f"{base}/editions/{edition.line.name}", zone, language) for edition in editions
        ],
    }
    return (json.dumps(feed, ensure_ascii=False, indent=1) + "\n").encode()


def _write_json_item(edition: FeedEdition, address: str, zone: ZoneInfo, language: ReaderLanguage) -> dict[str, Any]:
    said = "\n".join(_summarise(edition, zone, language))
    item = {
        "id": address,
        "url": address,
        "title": mark_title(edition.line.subject, edition.line.corrected_at, zone, language),
        "summary": said,
        "date_published": _timestamp(edition.published_at),
        "date_modified": _timestamp(edition.updated_at),
    }
    return item | (
        {"content_html": write_feed_html(edition, zone, language)}
        if edition.html
        else {"content_text": said or address}
    )


def write_feed_html(edition: FeedEdition, zone: ZoneInfo, language: ReaderLanguage) -> str:
    """Return what an edition's page says, its corrections first."""
    corrected = "".join(
        f"<p><strong>{_escape(line)}</strong></p>\n" for line in _list_corrections(edition, zone, language)
    )
    return corrected + edition.html


def build_site_map(lines: Iterable[EditionLine], topic_keys: Iterable[str], pages: Iterable[str], base: str) -> bytes:
    """Write the addresses of all public pages (https://www.sitemaps.org/protocol.html)."""
    root = ET.Element("urlset", {"xmlns": _SITEMAP_NAMESPACE})
    addresses = [*pages, *(f"/topics/{key}" for key in topic_keys)]
    for address in addresses:
        _add_text(ET.SubElement(root, "url"), "loc", f"{base}{address}")
    for line in lines:
        url = ET.SubElement(root, "url")
        _add_text(url, "loc", f"{base}/editions/{line.name}")
        _add_text(url, "lastmod", _timestamp(line.changed_at))
    return _write_xml(root)


def _open_feed(publication: PublicationSettings, address: str, page: str, title: str, subtitle: str) -> ET.Element:
    root = ET.Element("feed", {"xmlns": _ATOM_NAMESPACE, "xml:lang": publication.language})
    _add_text(root, "id", page)
    _add_text(root, "title", title)
    if subtitle:
        _add_text(root, "subtitle", subtitle)
    _add_text(root, "author/name", publication.name)
    ET.SubElement(root, "link", rel="self", type="application/atom+xml", href=address)
    ET.SubElement(root, "link", rel="alternate", type="text/html", href=page)
    return root


def _add_entry(root: ET.Element, address: str, title: str, published: datetime, updated: datetime) -> ET.Element:
    entry = ET.SubElement(root, "entry")
    _add_text(entry, "id", address)
    _add_text(entry, "title", title)
    _add_text(entry, "published", _timestamp(published))
    _add_text(entry, "updated", _timestamp(updated))
    ET.SubElement(entry, "link", rel="alternate", type="text/html", href=address)
    return entry


def _summarise(edition: FeedEdition, zone: ZoneInfo, language: ReaderLanguage) -> list[str]:
    lines = [*_list_corrections(edition, zone, language), edition.line.preheader, *edition.headlines]
    return [line for line in lines if line]


def _list_corrections(edition: FeedEdition, zone: ZoneInfo, language: ReaderLanguage) -> list[str]:
    lines = (
        language.gettext(
            "Corrected %(day)s, %(signed)s: in “%(headline)s” we wrote “%(was)s”; it is “%(becomes)s”.",
            day=language.full_date(c.at.astimezone(zone)),
            signed=c.signed,
            headline=c.headline,
            was=c.was,
            becomes=c.becomes,
        )
        for c in edition.corrections
    )
    return [f"{line} {c.note}" for line, c in zip(lines, edition.corrections, strict=True)]


def _add_text(parent: ET.Element, path: str, text: str) -> None:
    for tag in path.split("/"):
        parent = ET.SubElement(parent, tag)
    parent.text = _INVALID_XML_CHARACTERS.sub("", text)


def _write_xml(root: ET.Element) -> bytes:
    document: bytes = ET.tostring(root, encoding="utf-8", xml_declaration=True)
    return document


def _escape(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _timestamp(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
