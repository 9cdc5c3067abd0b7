"""News sitemaps: the articles of the last days, as publishers list them for search engines."""

from collections.abc import Iterator

from lxml import etree

from digest.collect import text
from digest.collect.items import Feed, Kind, Reading, Rejected
from digest.collect.parsers.found import Found, Place, take
from digest.collect.parsers.sniff import feed_start
from digest.collect.parsers.xml import tree
from digest.collect.urls import absolute

_MOST_CHILDREN = 1_000


def read_sitemap(document: str, where: Place) -> Reading:
    """Read the articles of a news sitemap. A sitemap of sitemaps names them as feeds.

    An entry without a title (plain sitemaps have none) is rejected: its page must be read instead.

    Raises:
        ParseError: the XML can't be recovered.
    """
    root = tree(feed_start(document), item="url")
    if etree.QName(root).localname == "sitemapindex":
        return Reading(kind=Kind.SITEMAP, items=(), feeds=tuple(_children(root, where.url)))
    items, rejected = take(map(_found, root.iterfind("{*}url")), where)
    name = text.title(root.findtext(".//{*}publication/{*}name") or "")
    return Reading(kind=Kind.SITEMAP, items=items, rejected=rejected, title=name)


def _found(entry: etree._Element) -> Found | Rejected:
    def said(path: str) -> str:
        return (entry.findtext(path) or "").strip()

    title = said("{*}news/{*}title") or said("{*}video/{*}title")
    if not title:
        return Rejected(
            0, "no title: the sitemap isn't a news sitemap; give the address of the feed or the page"
        )
    return Found(
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


def _children(root: etree._Element, base: str) -> Iterator[Feed]:
    for loc in root.findall("{*}sitemap/{*}loc")[:_MOST_CHILDREN]:
        try:
            yield Feed(absolute(loc.text or "", base))
        except ValueError:
            continue
