"""OPML lists of feeds (http://opml.org/spec2.opml): what readers export, read to add sources."""

from digest.collect import text_cleanup
from digest.collect.parsed_document import DocumentKind, FeedLink, ParsedDocument
from digest.collect.parsers.kind_detection import strip_feed_preamble
from digest.collect.parsers.raw_item import ParseContext
from digest.collect.parsers.xml_repair import parse_xml_tree
from digest.collect.urls import usable_url


def parse_opml(document: str, context: ParseContext) -> ParsedDocument:
    """Read the feeds that a list names, each once, in its order; addresses that aren't http are passed over.

    Raises:
        ParseError: the XML can't be recovered.
    """
    root = parse_xml_tree(strip_feed_preamble(document), item_pattern="outline")
    feeds: dict[str, FeedLink] = {}
    for outline in root.iter("outline"):
        attributes = {name.lower(): value for name, value in outline.attrib.items()}
        if url := usable_url(attributes.get("xmlurl", ""), context.url):
            title = text_cleanup.clean_title(attributes.get("title") or attributes.get("text") or "")
            feeds.setdefault(url, FeedLink(url, title))
    return ParsedDocument(
        kind=DocumentKind.OPML,
        items=(),
        title=text_cleanup.clean_title(root.findtext("head/title") or ""),
        feeds=tuple(feeds.values()),
    )
