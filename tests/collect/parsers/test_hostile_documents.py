"""Reading any document ends, stays small, and raises only its own error."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from digest.collect.documents.parsed_document import ParsedDocument, ParseError
from digest.collect.parsers import MAX_DOCUMENT_BYTES, parse_document
from tests.moments import AFTER_RELEASE as NOW

SEEDS = [
    (
        b"<?xml version='1.0' encoding='utf-8'?><rss version='2.0' xmlns:media='http://search.yahoo.com/mrss/' xmlns:content='http://purl.org/rss/1.0/modules/content/'>"
        b"<channel><title>t</title><ttl>60</ttl><item><title>A &amp; B</title><link>https://example.org/1</link><guid>1</guid><pubDate>Thu, 19 Nov 2026 10:00:00 EST</pubDate>"
        b"<media:content url='https://example.org/a.jpg' type='image/jpeg'/><content:encoded><![CDATA[<p>x<img src='b.png'></p>]]></content:encoded></item></channel></rss>"
    ),
    (
        b"<feed xmlns='http://www.w3.org/2005/Atom' xml:lang='en'><title>t</title><entry><id>urn:1</id><title type='xhtml'><div xmlns='http://www.w3.org/1999/xhtml'>a<b>c</b></div></title>"
        b"<link href='/1'/><updated>2026-11-19T10:00:00Z</updated><content type='application/xml'><a/></content></entry></feed>"
    ),
    json.dumps(
        {
            "version": "https://jsonfeed.org/version/1",
            "title": "t",
            "items": [{"id": "1", "url": "https://example.org/1", "title": "x"}],
        }
    ).encode(),
    json.dumps([{"link": "https://example.org/1", "date": "2026-11-19T10:00:00", "title": {"rendered": "x"}}]).encode(),
    json.dumps(
        {"catalogVersion": "1", "vulnerabilities": [{"cveID": "CVE-2026-1", "dateAdded": "2026-11-01", "dueDate": "x"}]}
    ).encode(),
    json.dumps(
        {
            "count": 1,
            "results": [
                {"document_number": "1", "html_url": "https://example.org/1", "title": "x", "dates": "due May 1"}
            ],
        }
    ).encode(),
    (
        b"BEGIN:VCALENDAR\r\nBEGIN:VTIMEZONE\r\nTZID:X\r\nBEGIN:STANDARD\r\nDTSTART:19700101T000000\r\nTZOFFSETFROM:-0500\r\nTZOFFSETTO:-0500\r\nEND:STANDARD\r\nEND:VTIMEZONE\r\n"
        b"BEGIN:VEVENT\r\nUID:1\r\nSUMMARY:x\r\nDTSTART;TZID=X:20261203T130000\r\nDTEND;TZID=X:20261203T140000\r\nRRULE:FREQ=MONTHLY;BYDAY=1TH;COUNT=5\r\nEXDATE:20270107T130000\r\n"
        b"URL:https://example.org/1\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    ),
    b"<opml><body><outline text='x' xmlUrl='https://example.org/f'/></body></opml>",
    b"<urlset xmlns:n='x'><url><loc>https://example.org/1</loc><n:news><n:title>x</n:title></n:news></url></urlset>",
    (
        b'<!doctype html><html lang=en><head><title>A title of words</title><meta property=og:type content=article><script type=\'application/ld+json\'>{"@type":"Article",'
        b'"datePublished":"2026-11-19"}</script></head><body><p>Some words that make a sentence, and more of them.</p></body></html>'
    ),
    b"Site\nMonday, January 22, 2024\n\nA title of some words\n\nThe first paragraph has more than eighteen words in it, so that it is taken for one and not for a title.\n\nSource: Somebody\n",
    "<rss><channel><item><title>Grüße — наводнение</title><link>https://example.org/ä</link></item></channel></rss>".encode(
        "utf-16"
    ),
]
BITS = st.one_of(
    st.binary(max_size=8),
    st.sampled_from(
        [
            b"<",
            b">",
            b"&",
            b"]]>",
            b"<![CDATA[",
            b"<item>",
            b"</item>",
            b"</rss>",
            b"<!DOCTYPE x [",
            b"&#0;",
            b"&#xD800;",
            b"xmlns=''",
            b"xml:base='http://['",
            b"[",
            b"{",
            b"null",
            b"\\ud800",
            b"\r\n ",
            b"\x00",
            b"\xff\xfe",
            b"-1",
            b"99999999999999999999",
            b"javascript:",
            b"END:VEVENT",
            b"RRULE:FREQ=SECONDLY",
            b";TZID=",
            b"T",
            b"--",
            b"1e999",
        ]
    ),
)


@st.composite
def mutated(draw: st.DrawFn) -> bytes:
    """Give a document that was cut, overwritten and put together from others in a few places."""
    body = bytearray(draw(st.sampled_from(SEEDS)))
    for _ in range(draw(st.integers(1, 5))):
        at, length = draw(st.integers(0, len(body))), draw(st.integers(0, 60))
        bit = draw(st.one_of(BITS, st.sampled_from(SEEDS).map(lambda seed: seed[20:90])))
        body[at : at + draw(st.sampled_from([0, length]))] = bit
    return bytes(body[: draw(st.integers(0, len(body)))]) if draw(st.booleans()) else bytes(body)


def law(body: bytes) -> None:
    """Read a body: items are whole and clean, or the one error says what to do."""
    try:
        got = parse_document(body, url="https://www.example.org/a/feed", now=NOW)
    except ParseError as exc:
        assert len(str(exc)) > 20  # noqa: PT017  the message is for the editors
        return
    assert got.item_count == len(got.items) + len(got.rejected)
    for item in got.items:
        assert item.title
        assert item.url.startswith(("https://", "http://"))
        repr(item).encode()  # no half characters, which no database takes
        assert "\x00" not in f"{item.title}{item.summary}{item.guid}{item.author}{item.link}{item.place}"
        assert all(len(part or "") <= 200 for part in (item.author, item.credit, item.place))
    assert all(rejected.place >= 1 and rejected.reason for rejected in got.rejected)


@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow], deadline=None)
@given(mutated())
def test_mutated_documents_raise_only_parse_errors(body: bytes) -> None:
    law(body)


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(
        st.binary(max_size=400),
        st.text(max_size=300).map(lambda t: t.encode("utf-8", "surrogatepass")),
        st.lists(BITS, max_size=30).map(b"".join),
    )
)
def test_arbitrary_bytes_raise_only_parse_errors(body: bytes) -> None:
    law(body)


@pytest.mark.parametrize("seed", SEEDS, ids=range(len(SEEDS)))
def test_each_seed_is_read_whole(seed: bytes) -> None:
    got = parse_document(seed, url="https://www.example.org/a/feed", now=NOW)
    assert got.items or got.feeds
    assert not got.rejected


@pytest.mark.parametrize("seed", SEEDS[:9], ids=range(9))
def test_each_seed_may_break_off_anywhere(seed: bytes) -> None:
    for end in range(0, len(seed), 7):
        law(seed[:end])


def one(document: str) -> ParsedDocument:
    return parse_document(document.encode(), url="https://www.example.org/feed", now=NOW)


def rss(doctype: str, title: str) -> str:
    return f"<?xml version='1.0'?>{doctype}<rss><channel><item><title>{title}</title><link>https://example.org/1</link></item></channel></rss>"


def test_a_billion_laughs_stay_one_word() -> None:
    entities = "".join(f"<!ENTITY l{n} '{f'&l{n - 1};' * 10 if n else 'lol'}'>" for n in range(10))
    assert one(rss(f"<!DOCTYPE rss [{entities}]>", "&l9; laughs")).items[0].title == "&l9; laughs"


def test_one_long_entity_named_often_does_not_grow() -> None:
    document = rss(f"<!DOCTYPE rss [<!ENTITY a '{'x' * 50_000}'>]>", "&a;" * 5_000)
    assert len(one(document).items[0].title) <= 300


def test_an_external_entity_is_not_opened(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("s3cr3t")
    for doctype in (
        f"<!DOCTYPE rss [<!ENTITY a SYSTEM '{secret.as_uri()}'>]>",
        f"<!DOCTYPE rss SYSTEM '{secret.as_uri()}'>",
    ):
        assert "s3cr3t" not in repr(one(rss(doctype, "before &a; after")))


@pytest.mark.parametrize(
    "document",
    [
        "<rss>" + "<a>" * 100_000,
        "<rss><channel>" + "<item>" * 50_000,
        "<rss><channel>" + "<" * 200_000,
        "<rss><![CDATA[" * 20_000,
        "<!DOCTYPE [" * 20_000 + "<rss>",
        "<rss " + " ".join(f"a{n}='1'" for n in range(30_000)) + "/>",
        "<rss><channel><item><title>x</title>" + "<category>y</category>" * 30_000 + "</item></channel></rss>",
        "<html><body>" + "<div>" * 50_000 + "words",
        "<html><body>" + "<a><b>" * 20_000 + "words",
        "[" * 200_000,
        '{"a":' * 100_000,
        "BEGIN:VCALENDAR\n" + "BEGIN:VEVENT\n" * 50_000,
        "x = [" * 50_000,
    ],
    ids=range(13),
)
def test_what_is_made_to_be_slow_ends(document: str) -> None:
    law(document.encode())


def test_a_body_of_100_megabytes_is_refused_at_once() -> None:
    with pytest.raises(ParseError, match=r"too large \(40,000,001 bytes; the limit is 40,000,000\)"):
        parse_document(b" " * (MAX_DOCUMENT_BYTES + 1), url="https://www.example.org/", now=NOW)
