"""Long texts take time in proportion to their length. Each of these once took minutes and held the interpreter's lock."""

import time

import pytest

from digest.collect.documents.parsed_document import ParsedDocument
from digest.collect.parsers import parse_document
from digest.collect.parsers.saved_file import find_document_url
from digest.collect.texts.text_cleanup import split_sentences, strip_boilerplate, unescape_html
from tests.moments import AFTER_RELEASE as NOW

MAX_SECONDS = 15  # of computing: some tenths of one are enough, and a busy machine computes more slowly too


def rss(field: str, value: str) -> str:
    return (
        "<rss version='2.0' xmlns:dc='http://purl.org/dc/elements/1.1/'><channel><title>t</title>"
        f"<item><title>News</title><link>https://example.org/1</link><{field}>{value}</{field}></item></channel></rss>"
    )


def page(text: str) -> str:
    head = "<title>A page of many words</title><meta property='og:type' content='article'>"
    return f"<html><head>{head}</head><body><article><p>{text}</p></article></body></html>"


def calendar(text: str) -> str:
    return (
        f"BEGIN:VCALENDAR\n{text}\nBEGIN:VEVENT\nUID:1\nSUMMARY:x\nDTSTART:20261203T130000Z\nEND:VEVENT\nEND:VCALENDAR"
    )


def read(document: str) -> ParsedDocument:
    return parse_document(document.encode(), url="https://www.example.org/feed", now=NOW)


@pytest.mark.parametrize(
    "document",
    [
        rss("author", "a" * 300_000),
        rss("dc:creator", "a@" * 150_000),
        rss("author", "<b>a</b>" * 50_000),
        page("Some words that begin a paragraph of nothing else than " + "." * 200_000 + "x"),
        page("." * 200_000),
        page(". " * 100_000),
        page((".”" * 100_000) + "x"),
        page("Some words " * 9 + "<script type='application/ld+json'>{" + "<" * 200_000 + "}</script>"),
        rss("description", "The post x " * 5_300),
        rss("description", "The post x appeared first on y. " * 1_900),
        rss("description", "read more..." * 5_000 + "x"),
        rss("description", "[...]" * 12_000),
        rss("description", "&lt;img " * 7_000),
        calendar(" " * 300_000 + "x"),
    ],
    ids=range(14),
)
def test_a_long_field_is_read_in_well_under_the_limit(document: str) -> None:
    began = time.process_time()
    assert len(read(document).items) == 1
    assert time.process_time() - began < MAX_SECONDS


@pytest.mark.parametrize("head", [b"<link>" + b" " * 100_000, b"<link " * 300_000], ids=["spaces", "tags"])
def test_the_address_of_a_saved_file_is_looked_for_in_time(head: bytes) -> None:
    began = time.process_time()
    assert find_document_url(head) is None
    assert time.process_time() - began < MAX_SECONDS


def test_sentences_end_where_they_did() -> None:
    text = "One... Two?! 三。四！ “Five.” (Six.) Mr. Seven. eight. 9.5 is U.S. news. . . Ten"  # noqa: RUF001
    assert list(split_sentences(text)) == [
        "One...",
        "Two?!",
        "三。",
        "四！",  # noqa: RUF001
        "“Five.”",
        "(Six.)",
        "Mr. Seven. eight.",
        "9.5 is U.S. news.",
        ".",
        ".",
        "Ten",
    ]


def test_several_footers_go_one_after_the_other() -> None:
    assert strip_boilerplate("News of it. The post A appeared first on B. Continue reading") == "News of it."
    assert strip_boilerplate("A sentence that breaks off […] Read more »") == "A sentence that breaks off…"


LONG = "1" * 5_000


@pytest.mark.parametrize(
    "document",
    [
        rss("description", f"before &#{LONG}; after"),
        rss("description", f"<![CDATA[before &#{LONG}; after]]>"),
        rss("description", f"before &amp;#{LONG}; after"),
        rss("description", f"before &#x{LONG}; after"),
        rss("author", f"before &#{LONG}; after"),
        page(f"before &#{LONG}; after " * 9),
        page(f"before &amp;#{LONG}; after " * 9),
        '{"version": "https://jsonfeed.org/version/1", "title": "t", "items": [{"id": LONG, "url": "https://example.org/1", '
        '"title": "News", "content_html": "before &#LONG; after", "summary": "\\u0026#LONG;"}]}'.replace("LONG", LONG),
        f'[{{"id": -{LONG}, "link": "https://example.org/1", "date": "", "title": {{"rendered": "&#{LONG}; x"}}}}]',
        calendar("").replace("SUMMARY:x", f"SUMMARY:x &#{LONG};\nSEQUENCE:{LONG}"),
    ],
    ids=["rss", "cdata", "escaped", "hexadecimal", "author", "page", "page-escaped", "json", "wordpress", "calendar"],
)
def test_a_number_of_5_000_digits_costs_no_source(document: str) -> None:
    assert len(read(document).items) == 1


@pytest.mark.parametrize(
    ("written", "read_as"),
    [
        ("&#X41;", "A"),
        ("&#x41;", "A"),
        ("&#0000000065;", "A"),
        (f"&#{'0' * 5_000}65;", "A"),
        ("&#x00000041", "A"),
        (f"&#{LONG};b", "\ufffdb"),
        ("&#99999999;", "\ufffd"),
        ("&amp;#65;", "&#65;"),
    ],
)
def test_references_are_decoded_as_html_says(written: str, read_as: str) -> None:
    assert unescape_html(written) == read_as


def test_a_capital_x_in_a_reference_leaves_the_feed_well_formed() -> None:
    feed = rss("description", "say &#X41;&#X42; and nothing else is lost <b>here</b>, not even that")
    assert "say AB and" in read(feed).items[0].summary
