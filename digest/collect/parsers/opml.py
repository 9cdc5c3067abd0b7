"""OPML lists of feeds (http://opml.org/spec2.opml): what readers export, read to add sources."""

from digest.collect import text
from digest.collect.items import Feed, Kind, Reading
from digest.collect.parsers.found import Place
from digest.collect.parsers.sniff import feed_start
from digest.collect.parsers.xml import tree
from digest.collect.urls import absolute


def read_opml(document: str, where: Place) -> Reading:
    """Read the feeds that a list names, each once, in its order; addresses that aren't http are passed over.

    Raises:
        ParseError: the XML can't be recovered.
    """
    root = tree(feed_start(document), item="outline")
    feeds: dict[str, Feed] = {}
    for outline in root.iter("outline"):
        has = {name.lower(): value for name, value in outline.attrib.items()}
        try:
            url = absolute(has.get("xmlurl", ""), where.url)
        except ValueError:
            continue
        feeds.setdefault(url, Feed(url, text.title(has.get("title") or has.get("text") or "")))
    return Reading(
        kind=Kind.OPML,
        items=(),
        title=text.title(root.findtext("head/title") or ""),
        feeds=tuple(feeds.values()),
    )
