"""The pure parts of a fetch: allowed requests, and what responses mean."""

import gzip
import zlib
from collections.abc import Iterator
from contextlib import suppress

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from digest.collect.fetch.fetch_rules import parse_web_address, resolve_redirect
from digest.collect.fetch.http_response import (
    BodyTooLargeError,
    ContentEncodingError,
    decode_body,
    parse_content_type,
    parse_freshness_seconds,
    parse_retry_after,
    parse_validator,
)
from digest.collect.fetch.result import FetchError, FetchErrorReason
from tests.moments import AFTER_RELEASE as NOW


def pieces(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


@given(st.lists(st.binary(max_size=300), max_size=4), st.integers(1, 50))
def test_gzip_is_undone_however_it_is_cut_into_members_and_chunks(parts: list[bytes], size: int) -> None:
    packed = b"".join(gzip.compress(part) for part in parts)
    assert decode_body(pieces(packed, size), "gzip", 2000) == b"".join(parts)
    if parts:
        assert decode_body(pieces(packed + b"\0" * 7, size), "x-gzip", 2000) == b"".join(parts)


@given(st.binary(min_size=1, max_size=200), st.integers(1, 30), st.data())
def test_gzip_that_ends_too_early_is_no_body(content: bytes, size: int, data: st.DataObject) -> None:
    packed = gzip.compress(content)
    end = data.draw(st.integers(1, len(packed) - 1))
    with pytest.raises(ContentEncodingError, match="the gzip data is truncated"):
        decode_body(pieces(packed[:end], size), "gzip", 2000)


@given(st.binary(max_size=400), st.sampled_from(["gzip", "", "br"]))
def test_a_hostile_body_raises_nothing_else(content: bytes, packing: str) -> None:
    with suppress(ContentEncodingError, BodyTooLargeError):
        assert len(decode_body([content], packing, 100)) <= 100


@given(st.binary(max_size=200), st.integers(1, 200), st.sampled_from(["gzip", "identity"]))
def test_a_cut_body_is_the_beginning_of_the_whole(content: bytes, most: int, packing: str) -> None:
    sent = gzip.compress(content) if packing == "gzip" else content
    assert decode_body(pieces(sent, 20), packing, most, truncate=True) == content[:most]


def test_a_bomb_is_stopped_at_the_bound() -> None:
    member = zlib.compressobj(wbits=31)
    bomb = b"".join(member.compress(b"\0" * 1_000_000) for _ in range(50)) + member.flush()
    assert len(bomb) < 100_000
    with pytest.raises(BodyTooLargeError):
        decode_body([bomb], "gzip", 1_000_000)


def test_endless_empty_members_are_stopped_too() -> None:
    def endless() -> Iterator[bytes]:
        while True:
            yield gzip.compress(b"") * 100

    with pytest.raises(BodyTooLargeError):
        decode_body(endless(), "gzip", 10_000)


def test_a_packing_that_we_did_not_ask_for_is_named() -> None:
    with pytest.raises(ContentEncodingError, match="'br'"):
        decode_body([b"x"], "br", 100)


@given(st.text(max_size=80))
def test_any_retry_after_is_a_wait_within_a_week_or_none(value: str) -> None:
    seconds = parse_retry_after(value, NOW)
    assert seconds is None or 0 <= seconds <= 7 * 24 * 3600


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("60", 60),
        (" 60 ", 60),
        ("Fri, 20 Nov 2026 12:00:30 GMT", 30),
        ("Fri, 20 Nov 2026 07:01:00 -0500", 60),
        ("-5", None),
        ("٣", None),
        ("", None),
        (None, None),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(value: str | None, seconds: float | None) -> None:
    assert parse_retry_after(value, NOW) == seconds


@pytest.mark.parametrize(
    ("control", "age", "seconds"),
    [
        ("max-age=600", "", 600),
        ("public, MAX-AGE=600, must-revalidate", "100", 500),
        ('max-age="600"', "700", 0),
        ("s-maxage=600", "", None),
        ("no-cache, max-age=600", "", 0),
        ("no-store", "", 0),
        ("max-age=99999999999999999999", "", None),
        ("", "100", None),
    ],
)
def test_freshness_is_cache_control_less_age(control: str, age: str, seconds: int | None) -> None:
    assert parse_freshness_seconds(httpx.Headers({"Cache-Control": control, "Age": age})) == seconds


def test_a_content_type_is_split() -> None:
    assert parse_content_type("Text/XML; charset='ISO-8859-1'") == ("text/xml", "iso-8859-1")
    assert parse_content_type("") == ("", None)


def test_only_what_can_be_sent_back_is_kept_as_a_validator() -> None:
    assert parse_validator('W/"1"') == 'W/"1"'
    assert [parse_validator(value) for value in ("a\r\nb", "é", "x" * 2000, "", None)] == [None] * 5


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.org/",
        "file:///etc/passwd",
        "javascript:alert(1)",
        "data:text/xml,<rss/>",
        "//example.org/",
        "example.org/feed",
        "http://",
        "http:///feed",
        "",
        "http://example.org/\r\nX-Evil: 1",
        "http://example.org\r\n/",
        "http://exa mple.org/",
        "http://example.org:22/",
        "http://example.org:6553600/",
        "http://example.org:-1/",
        "http://[::1/",
        "http://a..example/",
        "http://%31%32%37.0.0.1/",
        "http://" + "a" * 64 + ".example/",
        "http://example.org\\@127.0.0.1/",
        "http://xn--\u00fc.example/",
        "http://example.org/" + "a" * 4000,
    ],
)
def test_what_is_no_web_address_is_a_bad_url(url: str) -> None:
    with pytest.raises(FetchError) as caught:
        parse_web_address(url)
    assert caught.value.reason is FetchErrorReason.BAD_URL
    assert not caught.value.can_retry
    assert "\n" not in str(caught.value)
    assert "\r" not in str(caught.value)


@pytest.mark.parametrize("url", ["https://editor:geheim@example.org/feed", "https://geheim@example.org/feed"])
def test_a_password_in_an_address_is_refused_and_not_repeated(url: str) -> None:
    with pytest.raises(FetchError) as caught:
        parse_web_address(url)
    assert "geheim" not in str(caught.value) + caught.value.url


@given(st.text(max_size=60))
def test_any_text_is_a_normalised_web_address_or_a_fetch_error(text: str) -> None:
    for url in (text, f"http://{text}", f"https://example.org/{text}"):
        with suppress(FetchError):
            address = parse_web_address(url)
            assert address.scheme in {"http", "https"}
            assert str(address).isascii()
            assert str(parse_web_address(str(address))) == str(address)


@pytest.mark.parametrize(
    ("url", "ascii_form"),
    [
        ("HTTP://Example.ORG:80/a b#c", "http://example.org/a%20b"),
        ("https://bücher.example/ü?q=ü", "https://xn--bcher-kva.example/%C3%BC?q=%C3%BC"),
        ("http://example.org", "http://example.org/"),
        ("http://[2001:DB8::1]:8080/", "http://[2001:DB8::1]:8080/"),
    ],
)
def test_a_web_address_is_brought_to_one_form(url: str, ascii_form: str) -> None:
    assert str(parse_web_address(url)) == ascii_form


@pytest.mark.parametrize("location", ["http://[::1/", "http://127.0.0.1:99999/", "http://\u202ea@b/"])
def test_a_redirect_to_no_address_is_the_publishers_mistake(location: str) -> None:
    with pytest.raises(FetchError) as caught:
        resolve_redirect(parse_web_address("https://example.org/a"), {"location": location}, "https://example.org/feed")
    assert caught.value.reason is FetchErrorReason.BAD_URL
    assert caught.value.url == "https://example.org/feed"
    assert "https://example.org/a redirects to" in caught.value.message
    assert "\u202e" not in str(caught.value)


def test_a_relative_redirect_is_resolved() -> None:
    current = parse_web_address("https://example.org/a/b?c")
    assert str(resolve_redirect(current, {"location": "../d?e#f"}, "x")) == "https://example.org/d?e"
