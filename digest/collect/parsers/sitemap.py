"""News sitemaps, in which publishers list their recent articles for search engines."""

from collections.abc import Iterator

from lxml import etree

from digest.collect.documents.parsed_document import DocumentKind, FeedLink, ParsedDocument, RejectedEntry
from digest.collect.parsers.markup.kind_detection import strip_feed_preamble
from digest.collect.parsers.markup.xml_repair import parse_xml_tree
from digest.collect.parsers.raw_item import ParseContext, RawItem, clean_document
from digest.collect.texts import text_cleanup
from digest.collect.texts.urls import usable_url

_MAX_CHILDREN = 1_000


def parse(document: str, kind: DocumentKind, context: ParseContext) -> ParsedDocument:
    """Parse the articles of a news sitemap. For a sitemap index, return its sitemaps as feeds.

    An entry without a title, as in plain sitemaps, is rejected, because only its page has one.

    Raises:
        ParseError: the XML can't be recovered.
    """
    root = parse_xml_tree(strip_feed_preamble(document), item_pattern="url")
    if etree.QName(root).localname == "sitemapindex":
        feeds = tuple(_child_sitemaps(root, context.url))
        return ParsedDocument(kind=kind, items=(), feeds=feeds)
    name = text_cleanup.clean_title(root.findtext(".//{*}publication/{*}name") or "")
    return clean_document(kind, map(_raw_item, root.iterfind("{*}url")), context, title=name)


def _raw_item(entry: etree._Element) -> RawItem | RejectedEntry:
    def said(path: str) -> str:
        return (entry.findtext(path) or "").strip()

    title = said("{*}news/{*}title") or said("{*}video/{*}title")
    if not title:
        return RejectedEntry(0, "no title, because it isn't a news sitemap; use the URL of the feed or the page")
    return RawItem(
        link=said("{*}loc"),
        title=title,
        summary=said("{*}video/{*}description"),
        categories=said("{*}news/{*}keywords").split(","),
        language=said("{*}news/{*}publication/{*}language"),
        image=said("{*}image/{*}loc") or None,
        image_alt=said("{*}image/{*}caption"),
        published=said("{*}news/{*}publication_date") or said("{*}video/{*}publication_date"),
        updated=said("{*}lastmod"),
    )


def _child_sitemaps(root: etree._Element, base: str) -> Iterator[FeedLink]:
    for loc in root.findall("{*}sitemap/{*}loc")[:_MAX_CHILDREN]:
        if url := usable_url(loc.text or "", base):
            yield FeedLink(url)
