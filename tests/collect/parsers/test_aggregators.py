"""Feeds that link to many sites: each item has its own publisher, unlike in an ordinary feed."""

import pytest

from digest.collect.documents.parsed_document import DocumentKind, ParsedDocument
from digest.collect.parsers.feed import parse
from digest.collect.parsers.page import read_page_publisher
from digest.collect.parsers.raw_item import ParseContext
from digest.collect.texts.urls import guess_registered_domain
from tests.moments import MONDAY_NOON

NAMESPACES = 'xmlns:dc="http://purl.org/dc/elements/1.1/"'


def read_feed(*items: tuple[str, str], url: str = "https://lists.example.net/feed.xml") -> ParsedDocument:
    """Read a feed of items, given as (link, further elements)."""
    written = "".join(
        f"<item><title>News no. {n}</title><link>{link}</link>{elements}</item>"
        for n, (link, elements) in enumerate(items)
    )
    document = f'<rss version="2.0" {NAMESPACES}><channel><title>Security lists</title>{written}</channel></rss>'
    return parse(document, DocumentKind.RSS, ParseContext(url, MONDAY_NOON))


def read_publishers(*items: tuple[str, str]) -> list[str]:
    return [item.publisher for item in read_feed(*items).items]


def test_items_of_an_aggregator_are_their_hosts() -> None:
    links = ("https://www.harborlight.example/1", "https://wire.example/2", "https://blog.coastal.example/3")
    assert read_publishers(*((link, "") for link in links)) == [
        "harborlight.example",
        "wire.example",
        "blog.coastal.example",
    ]


def test_source_element_goes_before_dublin_core_and_that_before_the_host() -> None:
    source, core = '<source url="https://wire.example/feed">The Wire</source>', "<dc:publisher>Core News</dc:publisher>"
    items = (
        ("https://a.example/1", core + source),
        ("https://b.example/2", core),
        ("https://c.example/3", ""),
    )
    assert read_publishers(*items) == ["The Wire", "Core News", "c.example"]


def test_publishers_of_one_host_are_told_apart_by_their_source_elements() -> None:
    """A news search links to itself; its source elements name the sites."""
    sites = ("one.example", "two.example", "three.example")
    items = [(f"https://search.example/{s}", f'<source url="https://{s}">Paper {s[:3]}</source>') for s in sites]
    assert read_publishers(*items) == ["Paper one", "Paper two", "Paper thr"]


@pytest.mark.parametrize(
    "links",
    [
        ["https://agency.example/1", "https://agency.example/2", "https://agency.example/3"],
        ["https://news.agency.example/1", "https://ports.agency.example/2", "https://air.agency.example/3"],
        [*(f"https://agency.example/{n}" for n in range(4)), "https://a.example/", "https://b.example/"],
        ["https://a.example/1", "https://b.example/2"],
    ],
    ids=["one site", "hosts of one owner", "mostly its own", "two sites"],
)
def test_items_of_an_ordinary_feed_have_no_publisher_of_their_own(links: list[str]) -> None:
    assert set(read_publishers(*((link, "") for link in links))) == {""}


def test_an_aggregator_s_own_items_are_its_own() -> None:
    links = ("https://www.example.net/about", "https://a.example/1", "https://b.example/2", "https://c.example/3")
    assert read_publishers(*((link, "") for link in links)) == ["", "a.example", "b.example", "c.example"]


def test_a_source_element_that_names_the_feed_itself_names_no_publisher() -> None:
    own = '<source url="https://lists.example.net/">Security lists</source>'
    items = [(f"https://{site}.example/1", own) for site in "abc"]
    assert read_publishers(*items) == ["a.example", "b.example", "c.example"]


@pytest.mark.parametrize(
    ("host", "domain"),
    [
        ("blog.example.com", "example.com"),
        ("www.port.example.co.uk", "example.co.uk"),
        ("cyber.gov.au", "cyber.gov.au"),
        ("www.heise.de", "heise.de"),
        ("localhost", "localhost"),
    ],
)
def test_registered_domains_are_guessed(host: str, domain: str) -> None:
    assert guess_registered_domain(f"https://{host}/a") == domain


def test_a_page_names_its_publisher_in_json_ld_or_its_site() -> None:
    linked = '{"@type": "NewsArticle", "headline": "Port closed", "publisher": {"@type": "Organization", "name": "The Wire"}}'
    page = f'<html><head><script type="application/ld+json">{linked}</script></head><body><p>Text</p></body></html>'
    assert read_page_publisher(page.encode()) == "The Wire"
    named = page.replace("<head>", '<head><meta property="og:site_name" content="The Port Times">')
    assert read_page_publisher(named.encode()) == "The Wire"
    assert read_page_publisher(named.replace(linked, "{}").encode()) == "The Port Times"
    assert read_page_publisher(b"<html><body><p>Text</p></body></html>") == ""
    assert read_page_publisher(b"%PDF-1.7") == ""
