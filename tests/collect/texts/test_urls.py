"""Each page has one canonical URL, and anything that isn't a page's URL is rejected."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from digest.collect.texts.urls import absolute_url, canonical_url, find_publisher_name, is_example_site, strip_tracking

PIECES = st.lists(
    st.sampled_from(
        [
            "a",
            "b/",
            "/",
            "..",
            "./",
            "amp",
            "/amp/",
            "%7e",
            "%2F",
            "%zz",
            "%",
            "é",
            " ",
            "index.html",
            ".amp",
            "?",
            "&",
            "=",
            "utm_source=x",
            "amp=1",
            "+",
            "#f",
            ";",
            ":",
            "@",
            "\\",
            "<",
            "%C3%A9",
            "%ff",
            "//",
            "https://",
        ]
    ),
    max_size=14,
).map("".join)
ADDRESSES = st.builds(
    "{}://{}{}{}".format,
    st.sampled_from(["http", "https", "HTTP"]),
    st.sampled_from(
        [
            "example.org",
            "WWW.Example.org",
            "amp.example.org",
            "bücher.example",
            "www.google.com",
            "www-example-org.cdn.ampproject.org",
            "[::1]",
        ]
    ),
    st.sampled_from(
        [
            "",
            "/",
            ":80/",
            ":443/",
            ":8080/",
            "/c/s/example.org/",
            "/amp/s/example.org/",
            "/url?url=https://example.org/",
        ]
    ),
    PIECES,
)


@pytest.mark.parametrize(
    ("given_url", "one"),
    [
        ("http://Example.ORG", "https://example.org/"),
        ("http://example.org:80/a", "https://example.org/a"),
        ("https://example.org:443/a#part", "https://example.org/a"),
        ("https://example.org./a", "https://example.org/a"),
        ("http://127.0.0.1:8000/a", "http://127.0.0.1:8000/a"),
        ("https://bücher.example/ä", "https://xn--bcher-kva.example/%C3%A4"),
        ("https://example.org/a/./b/../c/", "https://example.org/a/c/"),
        ("https://example.org/a/index.html", "https://example.org/a/"),
        ("https://example.org/%7euser/%c3%a9", "https://example.org/~user/%C3%A9"),
        ("https://example.org/a?b=2&a=1", "https://example.org/a?a=1&b=2"),
        ("https://example.org/a?q=x+y", "https://example.org/a?q=x%20y"),
        (
            "https://example.org/?p=12&utm_source=rss&UTM_Medium=feed&fbclid=1&gclid=2&mc_cid=3",
            "https://example.org/?p=12",
        ),
        ("https://example.org/a?at_medium=RSS&ref=home&mod=rss_world", "https://example.org/a"),
        ("https://example.org/a?source=2024&mod=article", "https://example.org/a?mod=article&source=2024"),
        ("https://example.org/a/amp/", "https://example.org/a/"),
        ("https://example.org/a/amp", "https://example.org/a"),
        ("https://example.org/amp/a", "https://example.org/a"),
        ("https://example.org/a.amp.html", "https://example.org/a.html"),
        ("https://example.org/a?amp=1", "https://example.org/a"),
        ("https://amp.example.org/a", "https://example.org/a"),
        ("https://example.org/amp", "https://example.org/amp"),
        ("https://www.google.com/amp/s/www.example.org/a", "https://www.example.org/a"),
        ("https://www-example-org.cdn.ampproject.org/c/s/www.example.org/a", "https://www.example.org/a"),
        ("https://www.google.com/url?rct=j&url=https://example.org/a%3Fb%3D1&ct=ga", "https://example.org/a?b=1"),
        ("  https://example.org/a b\n", "https://example.org/a%20b"),
        ("https:\\\\example.org\\a", None),
    ],
)
def test_a_page_has_one_address(given_url: str, one: str | None) -> None:
    if one is None:
        with pytest.raises(ValueError, match="host"):
            canonical_url(given_url)
    else:
        assert canonical_url(given_url) == one


@given(ADDRESSES)
def test_making_canonical_twice_changes_nothing(url: str) -> None:
    try:
        once = canonical_url(url)
    except ValueError:
        return
    assert canonical_url(once) == once
    assert once.isascii()
    assert "#" not in once
    assert "utm_" not in once or "%" in once or "/" in once


@given(st.text(max_size=200))
def test_any_text_is_an_address_or_refused(text: str) -> None:
    for base in (None, "https://example.org/a/"):
        try:
            assert canonical_url(text, base).startswith(("http://", "https://"))
        except ValueError as exc:
            assert str(exc)  # noqa: PT017  the message is for the editors


@pytest.mark.parametrize(
    "bad",
    [
        "",
        "javascript:alert(1)",
        "data:text/html,x",
        "ftp://example.org/",
        "mailto:jane@example.org",
        "https://",
        "https:///a",
        "https://jane:secret@example.org/",
        "https://jane@example.org/",
        "https://exa mple.org/",
        "https://example.org:99999/",
        "https://[::1/",
        "https://example.org/" + "a" * 2000,
        "https://example.org/" + "é" * 600,
        "https://%65xample.org/",
        "/relative",
    ],
)
def test_what_is_no_pages_address_is_refused(bad: str) -> None:
    with pytest.raises(ValueError):  # noqa: PT011  urllib words some of them
        canonical_url(bad)


def test_a_refusal_never_repeats_credentials() -> None:
    with pytest.raises(ValueError, match="user name or password") as caught:
        canonical_url("https://jane:secret@example.org/")
    assert "secret" not in str(caught.value)


def test_a_link_stays_as_published_but_absolute() -> None:
    assert absolute_url("../b?utm_source=x#f", "http://example.org/a/c") == "http://example.org/b?utm_source=x#f"
    assert absolute_url(" //example.net/a\n", "https://example.org/") == "https://example.net/a"
    assert absolute_url('https://example.org/"><x>') == "https://example.org/%22%3E%3Cx%3E"


@pytest.mark.parametrize(
    ("link", "mailed"),
    [
        ("https://a.example.org/x?utm_source=rss&utm_medium=feed", "https://a.example.org/x"),
        ("http://a.example.org/x?id=7&utm_source=rss#part", "http://a.example.org/x?id=7#part"),
        ("https://a.example.org/x?b=2&a=1&from=inbox", "https://a.example.org/x?b=2&a=1&from=inbox"),
        ("https://a.example.org/x", "https://a.example.org/x"),
        ("https://a.example.org/#!/x?fbclid=1", "https://a.example.org/#!/x"),
    ],
)
def test_a_mailed_link_says_nothing_of_where_the_click_came_from(link: str, mailed: str) -> None:
    assert strip_tracking(link) == mailed
    assert strip_tracking(mailed) == mailed


@pytest.mark.parametrize(
    ("host", "is_example"),
    [
        *((host, True) for host in ("port.example.org", "Example.com", "a.example", "x.invalid", "a.test")),
        *(
            (host, False)
            for host in ("hls.today", "example.gov", "myexample.org", "test.gov", "localhost", "127.0.0.1")
        ),
    ],
)
def test_a_host_that_is_reserved_for_examples_has_no_site(host: str, *, is_example: bool) -> None:
    assert is_example_site(f"https://{host}/news") is is_example


@pytest.mark.parametrize(
    ("title", "host", "publisher"),
    [
        ("Port Times World", "www.porttimes.example", "Port Times"),
        ("Port Times (en)", "porttimes.example", "Port Times"),
        ("World | The Port Times", "porttimes.example", "The Port Times"),
        ("Port World", "www.theport.example", "Port"),
        ("Port News Abroad", "news.port.example", "Port News"),
        ("Port.example: all", "port.example", "Port.example"),
        ("Port News - Abroad", "port.example", "Port News"),
        ("Port - News", "port.example", "Port"),
        ("PTI > World", "www.ptimes.example", "PTI"),
        ("PO World", "porttimes.example", "PO World"),
        ("THE WORLD", "theporttimes.example", "THE WORLD"),
        ("Harbor Light", "porttimes.example", "Harbor Light"),
        ("News", "news.porttimes.example", "News"),
        ("", "porttimes.example", ""),
    ],
)
def test_the_sections_of_a_site_have_one_publisher(title: str, host: str, publisher: str) -> None:
    assert find_publisher_name(title, [f"https://{host}/a", f"https://{host}/b", "https://other.example/"]) == publisher
