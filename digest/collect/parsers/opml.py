"""OPML lists of feeds (http://opml.org/spec2.opml), exported from feed readers to be added as sources."""

from digest.collect.documents.parsed_document import DocumentKind, FeedLink, ParsedDocument, RejectedEntry
from digest.collect.parsers.markup.kind_detection import strip_feed_preamble
from digest.collect.parsers.markup.xml_repair import parse_xml_tree
from digest.collect.parsers.raw_item import ParseContext
from digest.collect.texts import text_cleanup
from digest.collect.texts.urls import usable_url

_FEED_TYPES = {"rss", "atom"}  # an outline of this type without a URL is meant to be a feed


def parse(document: str, kind: DocumentKind, context: ParseContext) -> ParsedDocument:
    """Parse the feeds of a list, in order and without duplicates.

    Feeds without an http or https URL are in `rejected`.

    Raises:
        ParseError: the XML can't be recovered.
    """
    root = parse_xml_tree(strip_feed_preamble(document), item_pattern="outline")
    feeds: dict[str, FeedLink] = {}
    rejected = []
    for place, outline in enumerate(root.iter("outline"), start=1):
        attributes = {name.lower(): value for name, value in outline.attrib.items()}
        title = text_cleanup.clean_title(attributes.get("title") or attributes.get("text") or "")
        address = attributes.get("xmlurl", "")
        if url := usable_url(address, context.url):
            feeds.setdefault(url, FeedLink(url, title))
        elif address or attributes.get("type", "").lower() in _FEED_TYPES:
            list_name = f"“{title}”: " if title else ""
            rejected.append(RejectedEntry(place, f"{list_name}it has no http or https URL."))
    return ParsedDocument(
        kind=kind,
        items=(),
        title=text_cleanup.clean_title(root.findtext("head/title") or ""),
        rejected=tuple(rejected),
        feeds=tuple(feeds.values()),
    )
