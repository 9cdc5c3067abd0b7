"""JSON Feed and responses of WordPress's REST API."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from digest.collect.documents.parsed_document import DateBasis, DocumentKind, ParsedDocument, ParseError
from digest.collect.parsers import parse_document
from tests.moments import AFTER_RELEASE as NOW

FEED = {
    "version": "https://jsonfeed.org/version/1.1",
    "title": "Field Radio",
    "language": "en-us",
    "next_url": "/feed.json?page=2",
    "authors": [{"name": "Field Radio"}],
    "items": [
        {
            "id": 7,
            "url": "/posts/7",
            "title": "Sirens & lights",
            "content_html": "<p>The sirens were tested on Monday, and the lights.</p>",
            "date_published": "2026-11-19T10:00:00-05:00",
            "image": "https://img.example.org/7.jpg",
            "tags": ["Alerting", "Alerting", 3],
            "authors": [{"name": "Ada Quill", "url": "mailto:ada@example.org"}],
        },
        {
            "id": "8",
            "external_url": "https://example.net/8",
            "content_text": "Plain <text> only. With a second sentence.",
        },
        {"id": "9", "title": "No link"},
        "nothing",
    ],
}

POST: dict[str, Any] = {
    "id": 4,
    "date": "2026-11-19T05:00:00",
    "date_gmt": "2026-11-19T10:00:00",
    "modified_gmt": "2026-11-19T11:00:00",
    "guid": {"rendered": "https://www.example.org/?p=4"},
    "status": "publish",
    "link": "https://www.example.org/flood-plan/",
    "title": {"rendered": "Flood plan &#8211; the county&#8217;s own"},
    "excerpt": {"rendered": "<p>The plan was adopted on Thursday. [&hellip;]</p>\n"},
    "content": {"rendered": "<p>Long text.</p><p>Source: Example County</p>"},
    "sticky": True,
    "_embedded": {
        "author": [{"name": "Ada Quill"}],
        "wp:featuredmedia": [{"source_url": "https://www.example.org/plan.jpg", "alt_text": "A map"}],
        "wp:term": [[{"name": "Floods"}], [{"name": "Plans &amp; drills"}]],
    },
}


def reading(value: object) -> ParsedDocument:
    body = value if isinstance(value, str) else json.dumps(value)
    return parse_document(body.encode(), url="https://www.example.org/feed", now=NOW)


def test_a_json_feed_comes_in() -> None:
    got = reading(FEED)
    assert (got.kind, got.title, got.language, got.next_url) == (
        DocumentKind.JSON_FEED,
        "Field Radio",
        "en-US",
        "https://www.example.org/feed.json?page=2",
    )
    first, second = got.items
    assert (first.guid, first.link, first.title) == ("7", "https://www.example.org/posts/7", "Sirens & lights")
    assert (first.author, first.categories, first.image_url) == (
        "Ada Quill",
        ("Alerting", "3"),
        "https://img.example.org/7.jpg",
    )
    assert first.published == datetime(2026, 11, 19, 15, tzinfo=UTC)
    assert (second.link, second.title, second.author) == ("https://example.net/8", "Plain <text> only.", "Field Radio")
    assert [r.place for r in got.rejected] == [3, 4]


def test_a_wordpress_post_comes_in_with_what_is_embedded() -> None:
    got = reading([POST])
    post = got.items[0]
    assert (got.kind, got.item_count) == (DocumentKind.WORDPRESS, 1)
    assert post.title == "Flood plan \u2013 the county\u2019s own"
    assert post.summary == "The plan was adopted on Thursday."
    assert (post.author, post.credit, post.featured) == ("Ada Quill", "Example County", True)
    assert (post.image_url, post.image_alt) == ("https://www.example.org/plan.jpg", "A map")
    assert post.categories == ("Floods", "Plans & drills")
    assert (post.published, post.date_basis) == (datetime(2026, 11, 19, 10, tzinfo=UTC), DateBasis.PUBLISHED)
    assert post.updated == datetime(2026, 11, 19, 11, tzinfo=UTC)


def test_one_post_alone_is_read_as_one() -> None:
    assert reading(POST).item_count == 1


def test_posts_in_a_script_are_found() -> None:
    assert reading(f"/**/show({json.dumps([POST])})").item_count == 1
    assert (
        reading(
            f"/* made */\nvar x = {{}};\nx.Posts = {json.dumps([POST], indent=1)};\nx.One = {json.dumps(POST)};"
        ).item_count
        == 2
    )


def test_a_post_that_is_not_public_or_no_post_is_named() -> None:
    got = reading([POST, {**POST, "status": "draft"}, {"id": 1}, None])
    assert len(got.items) == 1
    assert [r.place for r in got.rejected] == [2, 3, 4]


def test_a_site_without_posts_answers_an_empty_list() -> None:
    assert reading([]).item_count == 0


def test_whole_posts_of_a_truncated_answer_are_kept() -> None:
    got = reading(json.dumps([POST, POST, POST])[:-40])
    assert len(got.items) == 2
    assert got.rejected[0].reason == "the document ends within this item"


def test_a_local_date_alone_is_taken_for_utc_and_said() -> None:
    post = reading([{k: v for k, v in POST.items() if k != "date_gmt"}]).items[0]
    assert (post.published, post.date_basis) == (datetime(2026, 11, 19, 5, tzinfo=UTC), DateBasis.ZONE_ASSUMED)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ({"code": "rest_no_route", "message": "No route", "data": {"status": 404}}, "rest_no_route"),
        ({"hello": 1}, "not a JSON Feed or WordPress posts"),
        ([1, 2], "not a JSON Feed or WordPress posts"),
        ("{broken", "isn't valid JSON"),
        ("[" * 100_000, "isn't valid JSON"),
        ("x = {}", "without WordPress posts"),
    ],
)
def test_other_json_is_an_error_that_says_what_it_is(answer: object, said: str) -> None:
    with pytest.raises(ParseError, match=said):
        reading(answer)


def test_odd_types_in_every_field_are_survived() -> None:
    odd: list[object] = [None, 1, [], {}, [[]], [{}], {"rendered": 3}, "\ud800", True]
    for key in POST:
        for value in odd:
            assert reading([{**POST, key: value}, POST]).item_count == 2
    for key in ("id", "url", "title", "content_html", "authors", "tags", "image", "date_published", "attachments"):
        for value in odd:
            assert (
                reading({**FEED, "items": [{"url": "https://example.org/", "title": "x", key: value}]}).item_count == 1
            )
