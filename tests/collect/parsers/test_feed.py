"""RSS, RDF, Atom, OPML, and news sitemaps: recognized by content, with every item read or reported."""

from datetime import UTC, date, datetime
from html import escape

import pytest

from digest.collect.documents.deadlines import Deadline
from digest.collect.documents.parsed_document import (
    DateBasis,
    DocumentKind,
    ParsedDocument,
    ParsedItem,
    ParseError,
    SummaryBasis,
)
from digest.collect.parsers import parse_document
from tests.moments import AFTER_RELEASE as NOW

URL = "https://feeds.example.org/anything"

RSS = """<?xml version="1.0" encoding="UTF-8"?>
<rss version="2.0" xmlns:content="http://purl.org/rss/1.0/modules/content/" xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:media="http://search.yahoo.com/mrss/" xmlns:sy="http://purl.org/rss/1.0/modules/syndication/"
 xmlns:ev="http://purl.org/rss/1.0/modules/event/" xml:base="https://www.example.org/news/">
<channel><title>Harbor &amp; Coast</title><link>https://www.example.org/</link><language>en_us</language><ttl>90</ttl>
<item><title>Boats &lt;b&gt;rescued&lt;/b&gt; off the coast</title><link>/news/boats?utm_source=rss</link><guid isPermaLink="false">h-1</guid>
 <pubDate>Thu, 19 Nov 26 12:00:00 EST</pubDate><dc:creator>jane@example.org (Jane Roe)</dc:creator><category>Maritime</category>
 <category>Maritime</category><description>&lt;p&gt;Twelve boats came in during the storm.&lt;/p&gt;&lt;p&gt;The post Boats appeared first on Harbor.&lt;/p&gt;</description>
 <content:encoded><![CDATA[<p>Twelve boats.</p><img src="/pixel.gif" width="1" height="1"><img src="img/boat.jpg" alt="A boat &amp; crew"><p>Source: Example Coast Guard</p>]]></content:encoded></item>
<item><title>Workshop on lights</title><link>https://www.example.org/lights</link><ev:startdate>2027-02-03T09:00:00-05:00</ev:startdate>
 <ev:location>Port Ellery</ev:location><media:content url="https://img.example.org/a.jpg" medium="image" width="100"/>
 <media:content url="https://img.example.org/b.jpg" medium="image" width="900"/><pubDate>2026-11-18</pubDate>
 <description>Places are few. Register by December 4.</description></item>
<item><guid isPermaLink="true">https://www.example.org/notes/7</guid><description>A note without a title. It goes on.</description></item>
<item><title>No way to it</title><guid>h-4</guid></item>
<item><title>A script</title><link>javascript:alert(1)</link></item>
<item></item>
</channel></rss>"""

ATOM = """<feed xmlns="http://www.w3.org/2005/Atom" xml:lang="de" xml:base="https://www.example.org/"><title>Küste</title>
<link rel="next" href="feed?page=2"/><entry><id>tag:example.org,2026:1</id><title type="html">Sturm &amp;amp; Flut</title>
<link rel="alternate" href="sturm/index.html"/><updated>2026-11-19T10:00:00+01:00</updated><author><name>Ada Quill</name><email>ada@example.org</email></author>
<summary type="xhtml"><div xmlns="http://www.w3.org/1999/xhtml">Das <b>Wasser</b> stieg um zwei Meter.</div></summary></entry></feed>"""

RDF = """<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#" xmlns="http://purl.org/rss/1.0/" xmlns:dc="http://purl.org/dc/elements/1.1/"
 xmlns:sy="http://purl.org/rss/1.0/modules/syndication/"><channel rdf:about="https://example.org/"><title>Perimeter</title><sy:updatePeriod>hourly</sy:updatePeriod>
<sy:updateFrequency>4</sy:updateFrequency></channel><item rdf:about="https://example.org/1"><title>Fence mended</title><link>https://example.org/1</link>
<dc:date>2026-11-19T08:00:00Z</dc:date><dc:creator>Bo Lane</dc:creator></item></rdf:RDF>"""


def reading(document: str | bytes, **more: str) -> ParsedDocument:
    body = document.encode() if isinstance(document, str) else document
    return parse_document(body, url=URL, now=NOW, **more)


def items(document: str | bytes, **more: str) -> tuple[ParsedItem, ...]:
    return reading(document, **more).items


def rss(*parts: str) -> str:
    return f"<rss version='2.0'><channel><title>t</title>{''.join(parts)}</channel></rss>"


def item(title: str, n: int = 1) -> str:
    return f"<item><title>{title}</title><link>https://example.org/{n}</link></item>"


def test_an_rss_item_comes_in_whole_and_clean() -> None:
    first = items(RSS)[0]
    assert first == ParsedItem(
        guid="h-1",
        url="https://www.example.org/news/boats",
        link="https://www.example.org/news/boats?utm_source=rss",
        title="Boats rescued off the coast",
        summary="Twelve boats came in during the storm.",
        summary_basis=SummaryBasis.DESCRIPTION,
        author="Jane Roe",
        credit="Example Coast Guard",
        categories=("Maritime",),
        language="en-US",
        image_url="https://www.example.org/news/img/boat.jpg",
        image_alt="A boat & crew",
        published=datetime(2026, 11, 19, 17, tzinfo=UTC),
        date_basis=DateBasis.PUBLISHED,
    )


def test_every_item_is_taken_or_named_with_its_place() -> None:
    got = reading(RSS)
    assert (got.kind, got.title, got.language, got.refresh_seconds) == (
        DocumentKind.RSS,
        "Harbor & Coast",
        "en-US",
        5400,
    )
    assert got.item_count == 6
    assert [(r.place, r.reason.split(":")[0]) for r in got.rejected] == [
        (4, "no link, and the id isn't a URL"),
        (5, "the link can't be used"),
        (6, "no link, and the id isn't a URL"),
    ]


def test_events_pictures_and_deadlines_in_rss_are_read() -> None:
    event = items(RSS)[1]
    assert event.starts_at == datetime(2027, 2, 3, 14, tzinfo=UTC)
    assert (event.place, event.image_url) == ("Port Ellery", "https://img.example.org/b.jpg")
    assert event.deadline == Deadline(date(2026, 12, 4), label="registration")
    assert event.date_basis is DateBasis.ZONE_ASSUMED


IMAGE = "<media:content url='https://example.org/a.jpg' medium='image'>{}</media:content>"
TWO_IMAGES = "<description>&lt;img src='/b.jpg'> (FEMA photo by Ada Quill)</description>"


@pytest.mark.parametrize(
    ("parts", "credit"),
    [
        (IMAGE.format("<media:credit>Ada Quill/FEMA</media:credit>"), "Ada Quill/FEMA"),
        (IMAGE.format("<media:credit>FEMA</media:credit><media:credit>AP</media:credit>"), "FEMA; AP"),
        (
            IMAGE.format("") + "<description>Crews came. (FEMA photo by Ada Quill)</description>",
            "FEMA photo by Ada Quill",
        ),
        (TWO_IMAGES, "FEMA photo by Ada Quill"),
        (IMAGE.format("") + TWO_IMAGES, None),  # of which of the two?
        (IMAGE.format("<media:credit>FEMA</media:credit>" * 60 + "<media:credit>AP</media:credit>"), "FEMA; AP"),
        (
            IMAGE.format("".join(f"<media:credit>Ada Quill {n}/FEMA</media:credit>" for n in range(20))),
            None,
        ),  # too long
        ("<description>No image. (FEMA photo by Ada Quill)</description>", None),
    ],
)
def test_an_image_has_the_credit_of_its_own_item(parts: str, credit: str | None) -> None:
    document = f"<item><title>Flood</title><link>https://example.org/1</link>{parts}</item>"
    feed = rss(document).replace("<rss ", "<rss xmlns:media='http://search.yahoo.com/mrss/' ")
    (parsed,) = items(feed)
    assert parsed.image_credit == credit


def test_an_id_that_is_an_address_stands_in_for_the_link_and_the_text_for_the_title() -> None:
    note = items(RSS)[2]
    assert (note.link, note.title) == ("https://www.example.org/notes/7", "A note without a title.")


def test_atom_gives_its_change_where_it_has_no_publication_date() -> None:
    got = reading(ATOM)
    assert (got.kind, got.title, got.next_url) == (DocumentKind.ATOM, "Küste", "https://www.example.org/feed?page=2")
    entry = got.items[0]
    assert (entry.title, entry.url, entry.link) == (
        "Sturm & Flut",
        "https://www.example.org/sturm/",
        "https://www.example.org/sturm/index.html",
    )
    assert (entry.published, entry.updated, entry.date_basis) == (
        None,
        datetime(2026, 11, 19, 9, tzinfo=UTC),
        DateBasis.UPDATED,
    )
    assert (entry.author, entry.language, entry.summary) == ("Ada Quill", "de", "Das Wasser stieg um zwei Meter.")


def test_rdf_says_how_often_it_changes() -> None:
    got = reading(RDF)
    assert (got.kind, got.refresh_seconds, got.items[0].author) == (DocumentKind.RDF, 900, "Bo Lane")
    assert got.items[0].published == datetime(2026, 11, 19, 8, tzinfo=UTC)


@pytest.mark.parametrize(
    ("asked", "seconds"),
    [("<ttl>99999999</ttl>", 86_400), ("<ttl>0</ttl>", None), ("<ttl>soon</ttl>", None), ("", None)],
)
def test_a_publisher_cannot_keep_us_away_for_more_than_a_day(asked: str, seconds: int | None) -> None:
    assert reading(rss(asked, item("x"))).refresh_seconds == seconds


@pytest.mark.parametrize(
    ("body", "charset"),
    [
        (rss(item("Café — наводнение")).encode(), None),
        (b"\xef\xbb\xbf" + rss(item("Café — наводнение")).encode(), "iso-8859-1"),
        (("<?xml version='1.0' encoding='ISO-8859-1'?>" + rss(item("Café — наводнение"))).encode(), None),  # a lie
        (rss(item("Café — наводнение")).encode("utf-16"), None),
        (rss(item("Café — наводнение")).encode("utf-16-le"), None),
    ],
)
def test_the_text_is_right_whatever_is_declared(body: bytes, charset: str | None) -> None:
    got = parse_document(body, url=URL, now=NOW, charset=charset)
    assert got.items[0].title == "Café — наводнение"


@pytest.mark.parametrize(
    ("declared", "charset"),
    [
        ("iso-8859-1", None),
        (None, "windows-1252"),
        (None, "latin-1"),
        ("utf-8", None),
        (None, None),
        ("no-such", "zlib"),
    ],
)
def test_latin_1_is_read_whether_declared_or_not(declared: str | None, charset: str | None) -> None:
    head = f"<?xml version='1.0' encoding='{declared}'?>" if declared else ""
    body = (head + rss(item("Inundación en São Paulo"))).encode("latin-1")
    got = parse_document(body, url=URL, now=NOW, charset=charset)
    assert got.items[0].title == "Inundación en São Paulo"


def test_a_document_in_two_encodings_is_read_byte_by_byte() -> None:
    body = rss(item("Müller"), item("X", 2)).encode().replace(b"X", "Grüße".encode("latin-1"))
    assert [i.title for i in items(body)] == ["Müller", "Grüße"]


def test_cyrillic_in_its_own_encoding_is_read() -> None:
    body = ("<?xml version='1.0' encoding='windows-1251'?>" + rss(item("Наводнение"))).encode("cp1251")
    assert items(body)[0].title == "Наводнение"


def test_whole_items_of_a_truncated_feed_are_kept() -> None:
    whole = rss(*(item(f"Title {n}", n) for n in range(5)))
    got = reading(whole[: whole.index("Title 3") + 4])
    assert [i.title for i in got.items] == ["Title 0", "Title 1", "Title 2"]
    assert [(r.place, r.reason) for r in got.rejected] == [(4, "the document ends within this item")]


@pytest.mark.parametrize(
    "broken", ["AT&T and R&D", "AT&amp;T and R&nbsp;&D", "AT&T and R&D\x00\x0b", "AT&T and R&D\ufffe"]
)
def test_invalid_xml_is_mended(broken: str) -> None:
    got = items(rss(item(broken), item("Next", 2)))
    assert [i.title.replace("R &D", "R&D") for i in got] == ["AT&T and R&D", "Next"]


def test_html_that_was_not_escaped_spoils_no_other_item() -> None:
    bad = "<item><title>Bad <b>one</title><description><p>Open <br> tags<p></description><link>https://example.org/bad</link></item>"
    got = items(rss(item("Before"), bad, item("After", 3)))
    assert [i.title for i in got] == ["Before", "Bad one", "After"]
    assert got[1].summary == "Open tags"


def test_prefixes_that_nobody_declared_are_understood() -> None:
    entry = "<item><title>x</title><link>https://example.org/1</link><dc:creator>Ada Quill</dc:creator><foo:bar>1</foo:bar></item>"
    assert items(rss(entry))[0].author == "Ada Quill"


@pytest.mark.parametrize(
    "before", ["\n\n  ", "\ufeff", "Warning: include(x) in /srv/a.php\n", "<!-- made by hand --><?pi x?>"]
)
def test_what_a_server_prints_before_a_feed_is_passed_over(before: str) -> None:
    assert items(before + RDF)[0].title == "Fence mended"


def test_duplicate_ids_emoji_and_right_to_left_come_in() -> None:
    same = "<item><guid>1</guid><title>{}</title><link>https://example.org/{}</link></item>"
    got = items(rss(same.format("🌊 Flood 👩‍🚒", 1), same.format("سیلاب کی وارننگ", 2), same.format("אזהרה\u202e!", 3)))
    assert [i.title for i in got] == ["🌊 Flood 👩‍🚒", "سیلاب کی وارننگ", "אזהרה!"]
    assert {i.guid for i in got} == {"1"}


def test_scripts_in_titles_and_titles_of_20_kilobytes_come_in_clean() -> None:
    got = items(
        rss(
            item("&lt;script&gt;alert(1)&lt;/script&gt;Calm &lt;style&gt;p{}&lt;/style&gt;seas"),
            item("Wave " * 4000, 2),
        )
    )
    assert got[0].title == "Calm seas"
    assert len(got[1].title) <= 300


def test_three_thousand_items_come_in() -> None:
    assert len(items(rss(*(item(f"Title {n}", n) for n in range(3_000))))) == 3_000


def test_an_empty_feed_is_no_error() -> None:
    assert reading(rss()).item_count == 0


def test_dates_in_1970_and_2099_are_refused_and_said() -> None:
    dated = "<item><title>x</title><link>https://example.org/{}</link><pubDate>{}</pubDate></item>"
    got = items(
        rss(dated.format(1, "Thu, 01 Jan 1970 00:00:00 GMT"), dated.format(2, "2099-01-01T00:00:00Z"), item("none", 3))
    )
    assert [i.published for i in got] == [None, None, None]
    assert [i.date_basis for i in got] == [
        DateBasis.FIRST_SEEN_ANCIENT,
        DateBasis.FIRST_SEEN_FUTURE,
        DateBasis.FIRST_SEEN_NO_DATE,
    ]


def test_opml_names_feeds_once_and_only_web_addresses() -> None:
    got = reading(
        "<opml version='2.0'><head><title>Mine</title></head><body><outline text='Group'><outline text='Harbor &amp; Coast' xmlUrl='https://example.org/feed'/>"
        "<outline title='Again' xmlUrl='https://example.org/feed'/></outline><outline xmlUrl='file:///etc/passwd'/></body></opml>"
    )
    assert (got.kind, got.title, got.items) == (DocumentKind.OPML, "Mine", ())
    assert [(f.url, f.title) for f in got.feeds] == [("https://example.org/feed", "Harbor & Coast")]


def test_a_news_sitemap_gives_articles_and_a_plain_one_reasons() -> None:
    got = reading(
        "<urlset xmlns='http://www.sitemaps.org/schemas/sitemap/0.9' xmlns:news='http://www.google.com/schemas/sitemap-news/0.9'>"
        "<url><loc>https://example.org/1</loc><news:news><news:publication><news:name>Harbor</news:name><news:language>en</news:language></news:publication>"
        "<news:publication_date>2026-11-19T10:00:00Z</news:publication_date><news:title>Flood</news:title></news:news></url>"
        "<url><loc>https://example.org/2</loc></url></urlset>"
    )
    assert (got.kind, got.title, got.item_count) == (DocumentKind.SITEMAP, "Harbor", 2)
    assert (got.items[0].title, got.items[0].language) == ("Flood", "en")
    assert "no title" in got.rejected[0].reason


def test_a_sitemap_of_sitemaps_names_them() -> None:
    got = reading("<sitemapindex><sitemap><loc>https://example.org/news.xml</loc></sitemap></sitemapindex>")
    assert [f.url for f in got.feeds] == ["https://example.org/news.xml"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"  \n",
        b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 20,
        b"%PDF-1.7 \x00\x01\x02" * 50,
        b"<svg xmlns='x'><g/></svg>",
        b"<",
        b"short text",
    ],
)
def test_what_is_nothing_of_ours_is_an_error_that_says_what_to_do(body: bytes) -> None:
    with pytest.raises(ParseError, match=r"\. [A-Z]"):
        reading(body)


def test_the_kind_is_told_by_looking_not_by_the_address() -> None:
    assert parse_document(ATOM.encode(), url="https://example.org/a.json", now=NOW).kind is DocumentKind.ATOM


OPENING = "The county opened two shelters on Tuesday, after the river rose above the second mark at noon."


@pytest.mark.parametrize(
    ("description", "content", "basis"),
    [
        ("Two halls take in whoever the flood drove out.", f"<p>{OPENING}</p><p>More.</p>", SummaryBasis.DESCRIPTION),
        ("Two halls take in whoever the flood drove out.", "", SummaryBasis.DESCRIPTION),
        (OPENING, f"<figure>A hall</figure><p>{OPENING} It is the third time.</p>", SummaryBasis.OPENING),
        ("The county opened two shelters on Tuesday, after the &#8230;", f"<p>{OPENING}</p>", SummaryBasis.OPENING),
        ("The county opened two shelters on Tuesday, after the [&#8230;]", "", SummaryBasis.OPENING),
        ("The county opened two shelters on Tuesday, after the [...]", "", SummaryBasis.OPENING),
        (f"{OPENING} " * 15, "", SummaryBasis.OPENING),
        ("", f"<p>{OPENING}</p>", SummaryBasis.OPENING),
        ("", "", SummaryBasis.UNKNOWN),
        ("Port closed", "", SummaryBasis.UNKNOWN),
    ],
)
def test_a_summary_is_the_publishers_own_or_the_opening_of_the_article(
    description: str, content: str, basis: SummaryBasis
) -> None:
    described = f"<description>{escape(description)}</description>" if description else ""
    told = f"<content:encoded><![CDATA[{content}]]></content:encoded>" if content else ""
    entry = f"<item><title>Port closed</title><link>https://example.org/1</link>{described}{told}</item>"
    feed = rss(entry).replace("<rss ", '<rss xmlns:content="http://purl.org/rss/1.0/modules/content/" ')
    assert items(feed)[0].summary_basis is basis
