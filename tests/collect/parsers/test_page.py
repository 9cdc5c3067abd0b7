"""Article pages, as HTML and plain text, and the feeds that a site links to."""

from collections.abc import Callable
from datetime import UTC, date, datetime

import pytest

from digest.collect.documents.parsed_document import DateBasis, DocumentKind, ParsedDocument, ParseError
from digest.collect.parsers import parse_document
from digest.collect.parsers.markup.plain_text_article import extract_lead
from tests.moments import AFTER_RELEASE as NOW

URL = "https://www.example.org/news/shelters?utm_source=mail"

BODY = """<p>LINDMOOR (EW) &mdash; Two shelters opened on Tuesday after the river rose above the second mark, the county said.</p>
<p>About 140 people spent the night in the two halls, and both will stay open until the water falls, officials said on Wednesday.</p>
<p>The county asked drivers to keep away from the lower bridge, which was closed at noon and will be checked before it opens.</p>
<p>Volunteers brought blankets, food and toys to both halls; more are welcome, the county said, but should register first.</p>"""

PAGE = """<!DOCTYPE html><html lang="en-us"><head><title>Two shelters open in Lindmoor | Example Wire</title>
<meta property="og:title" content="Two shelters open in Lindmoor - Example Wire"><meta property="og:site_name" content="Example Wire">
<meta property="og:type" content="article"><meta property="og:image" content="/img/hall.jpg">
{head}<link rel="canonical" href="https://example.org/news/shelters">
<link rel="alternate" type="application/rss+xml" title="All news" href="/feed"><link rel="alternate" type="application/feed+json" href="feed.json">
<link rel="https://api.w.org/" href="https://www.example.org/wp-json/"><link rel="alternate" hreflang="de" href="/de"></head>
<body><nav><a href="/">Home</a> <a href="/about">About us</a></nav><article><h1>Two shelters open in Lindmoor</h1>
<figure><img src="https://cdn.example.org/img/hall.jpg?w=900" alt="Camp beds in a hall"><figcaption>Source: Somebody's camera</figcaption></figure>
{body}<p><em>Source: Lindmoor County</em></p></article><footer>Share this. Source: nobody</footer></body></html>"""

LINKED = """<script type="application/ld+json">{"@graph":[{"@type":"WebPage","name":"x"},{"@type":["NewsArticle"],"headline":"Two shelters open",
"datePublished":"2026-11-18T07:30:00-05:00","dateModified":"2026-11-18T09:00:00-05:00","author":[{"name":"Ada Quill"}]}]}</script>"""

TEXT = """example wire logo
Home
Skip to content
Tuesday, November 17, 2026

LINDMOOR: County Opens Two Shelters as the River Rises

Example Wire Featured Image (3)

Norland: Two shelters opened in Lindmoor on Tuesday after the river rose above the second mark, the county said. It is the third flood of the year in the valley.

About 140 people spent the night in the two halls. Both will stay open until the water falls below the first mark again.

What comes next

The county asked drivers to keep away from the lower bridge, which was closed at noon.

Source: Lindmoor County

Share:

Related Articles

About Example Wire

Example Wire tells the news of three valleys to the people who live there, and to those who have moved away from them.
"""


def reading(document: str, url: str = URL) -> ParsedDocument:
    return parse_document(document.encode(), url=url, now=NOW)


def test_a_page_comes_in_with_what_it_says_of_itself() -> None:
    got = reading(PAGE.format(head=LINKED, body=BODY))
    article = got.items[0]
    assert (got.kind, article.title, article.author) == (
        DocumentKind.PAGE,
        "Two shelters open in Lindmoor",
        "Ada Quill",
    )
    assert (article.published, article.date_basis) == (datetime(2026, 11, 18, 12, 30, tzinfo=UTC), DateBasis.PAGE)
    assert article.updated == datetime(2026, 11, 18, 14, tzinfo=UTC)
    assert (article.link, article.language) == ("https://example.org/news/shelters", "en-US")
    assert (article.image_url, article.image_alt) == ("https://www.example.org/img/hall.jpg", "Camp beds in a hall")
    assert article.credit == "Lindmoor County"


def test_a_page_without_a_description_is_summed_up_by_its_lead() -> None:
    assert reading(PAGE.format(head="", body=BODY)).items[0].summary == (
        "Two shelters opened on Tuesday after the river rose above the second mark, the county said. "
        "About 140 people spent the night in the two halls, and both will stay open until the water falls, officials said on Wednesday."
    )


def test_the_publishers_own_description_goes_first_in_whole_sentences() -> None:
    head = "<meta name='description' content='Shelters opened as the river rose quickly. Volunteers came and many of…'>"
    assert reading(PAGE.format(head=head, body=BODY)).items[0].summary == "Shelters opened as the river rose quickly."
    same = "<meta name='description' content='Two shelters open in Lindmoor'>"
    assert reading(PAGE.format(head=same, body=BODY)).items[0].summary.startswith("Two shelters opened on Tuesday")


def test_a_date_in_the_future_gives_way_to_one_that_can_be() -> None:
    head = (
        LINKED.replace("2026-11-18T07", "2036-11-18T07")
        + "<meta property='article:published_time' content='2026-11-17T10:00:00Z'>"
    )
    assert reading(PAGE.format(head=head, body=BODY)).items[0].published == datetime(2026, 11, 17, 10, tzinfo=UTC)


def test_a_site_names_its_feeds() -> None:
    assert [(f.url, f.title) for f in reading(PAGE.format(head="", body=BODY)).feeds] == [
        ("https://www.example.org/feed", "All news"),
        ("https://www.example.org/news/feed.json", ""),
        ("https://www.example.org/wp-json/wp/v2/posts?per_page=100&_embed", "WordPress"),
    ]


def test_a_front_page_names_feeds_and_is_no_article() -> None:
    front = "<html><head><title>Example Wire</title><base href='https://cdn.example.org/x/'><link rel='alternate' type='application/atom+xml' href='atom'></head><body><p>News of the valleys, for all who live in them.</p></body></html>"
    for url in ("https://www.example.org/", "https://www.example.org/start"):
        got = reading(front, url)
        assert (got.item_count, [f.url for f in got.feeds]) == (0, ["https://cdn.example.org/x/atom"])


def test_an_event_page_gives_time_and_place() -> None:
    event = '<script type="application/ld+json">{"@type":"EducationEvent","name":"Workshop","startDate":"2027-02-03T09:00:00-05:00","endDate":"2027-02-03T11:00:00-05:00","location":{"name":"Port Ellery"}}</script>'
    got = reading(
        f"<html><head><title>Workshop on lights</title>{event}</head><body><p>{'Lights and how to mend them in the dark. ' * 5}</p></body></html>"
    ).items[0]
    assert (got.starts_at, got.ends_at) == (datetime(2027, 2, 3, 14, tzinfo=UTC), datetime(2027, 2, 3, 16, tzinfo=UTC))
    assert got.place == "Port Ellery"


def test_a_canonical_address_elsewhere_is_not_believed() -> None:
    page = PAGE.format(head="", body=BODY).replace(
        'href="https://example.org/news/shelters"', 'href="https://evil.example.net/"'
    )
    assert reading(page).items[0].link == URL


def test_an_article_in_plain_text_comes_in_without_its_sites_frame() -> None:
    got = reading(TEXT)
    article = got.items[0]
    assert (got.kind, article.title) == (DocumentKind.PAGE, "LINDMOOR: County Opens Two Shelters as the River Rises")
    assert article.published is not None
    assert (article.published.date(), article.date_basis) == (date(2026, 11, 17), DateBasis.PAGE)
    assert article.credit == "Lindmoor County"
    assert article.summary == (
        "Two shelters opened in Lindmoor on Tuesday after the river rose above the second mark, the county said. "
        "It is the third flood of the year in the valley."
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.replace("\n", "\r\n"),
        lambda t: t.replace("Tuesday, November 17, 2026", "Published on 17 November 2026"),
        lambda t: t.replace("Tuesday, November 17, 2026\n", "").replace("Rises\n", "Rises\nBy Ada Quill\n2026-11-17\n"),
        lambda t: t.replace("LINDMOOR: County", "# LINDMOOR: County"),
    ],
)
def test_the_frame_may_have_other_shapes(change: Callable[[str], str]) -> None:
    article = reading(change(TEXT)).items[0]
    assert article.title == "LINDMOOR: County Opens Two Shelters as the River Rises"
    assert article.published
    assert article.published.date() == date(2026, 11, 17)
    assert article.credit == "Lindmoor County"


@pytest.mark.parametrize(
    "document", ["a,b,c\n1,2,3\n" * 20, "only a few words", "word " * 500, "<html><body></body></html>", "<p></p>"]
)
def test_a_page_without_article_or_feed_is_an_error(document: str) -> None:
    with pytest.raises(ParseError, match=r"\. [A-Z]"):
        reading(document)


def test_a_lead_prefers_the_titles_subject_near_the_start() -> None:
    sentences = [
        "It was a quiet morning in the valley, and nobody expected much.",
        "The dam at Wexley failed at noon, flooding two villages below it.",
        "They had been cleared at dawn.",
    ]
    assert extract_lead("Dam at Wexley fails, flooding two villages", sentences) == f"{sentences[1]} {sentences[2]}"


def test_a_lead_has_at_most_60_words() -> None:
    assert len(extract_lead("x", ["word " * 90 + "end."]).split()) <= 60
    assert extract_lead("x", []) == ""
