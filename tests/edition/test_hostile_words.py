"""Text from feeds stays text, and its links are kept."""

import re
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import html as lxml_html

from digest.edition.content.edition_content import EditionContent, EditionLink, EditionSection, EntryDate, SectionEntry
from digest.edition.content.mailable_edition import join_fragments
from digest.edition.rendering.fragments import build_publication_context, create_mail_environment, render_edition
from digest.edition.rendering.sanitizer import RenderingError, sanitize_content, sanitize_text, sanitize_url
from digest.settings import Settings
from tests.edition.test_rendering import names_of

OURS = Settings.model_validate({"base_url": "https://news.example.org"})
PAGES = create_mail_environment(OURS)
NASTY = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "<!--cut foot--> --> <!--web--> <!--/mail-->",
    "{{ 7*7 }} {% raw %}",
    "]]> </style> </title> &lt;b&gt; &amp;amp;",
    "~leave-token~ ~preferences-token~",
    "\x1efoot\x1e \x00\x08\x1b[31m",
    "\u202eevil\u202c \u2066x\u2069 وزارة الداخلية ערים",
    "🚨👨‍👩‍👧‍👦" + "W" * 300,
    "' onmouseover='alert(1)",
    "line\r\nBcc: x",
)
words = st.one_of(
    st.sampled_from(NASTY),
    st.text(max_size=80),
    st.text(alphabet=st.sampled_from("<>&\"'/=-! ~אبé\u200f"), max_size=40),
)
urls = st.builds(
    lambda path, query: f"https://example.org/{path}?q={query}&x=1#ü",
    st.text(alphabet=st.characters(exclude_categories=("Cc", "Zl", "Zp"), exclude_characters="?#[]/"), max_size=30),
    st.one_of(
        st.sampled_from(['"><script>', "~leave-token~", "a b", "%7E%zz", "ünï&amp;copy=1", "אב", "'\"`{|}\\^"]),
        st.text(alphabet=st.characters(exclude_categories=("Cc", "Zl", "Zp")), max_size=20),
    ),
)


def edition(kind: str, entry: SectionEntry) -> EditionContent:
    return EditionContent(
        name="2026-W47",
        number=1,
        subject=entry.headline,
        preheader=entry.headline,
        date="Friday, November 20, 2026",
        minutes=1,
        intro=entry.summary,
        editor=entry.source,
        sections=(EditionSection("block", kind, entry.kicker, entry.credit, (entry, entry)),),
        released_on=date(2026, 11, 20),
    )


KINDS = st.sampled_from(["featured", "stories", "most-read", "topics", "products", "events", "opportunities"])


@settings(max_examples=30, deadline=None)
@given(kind=KINDS, title=words, other=words, url=urls, also=urls)
def test_hostile_words_come_out_inert_and_every_link_is_kept(
    kind: str, title: str, other: str, url: str, also: str
) -> None:
    entry = SectionEntry(
        headline=title,
        url=url,
        kicker=other,
        summary=title,
        source=other,
        credit=title,
        why=other,
        when=EntryDate("event", date(2026, 12, 3), title, other),
        also=(EditionLink(other, also),),
        related=(EditionLink(title, also, other),),
    )
    pieces = render_edition(edition(kind, entry), build_publication_context(OURS), PAGES)
    for form in ("html", "web"):
        tree = lxml_html.document_fromstring(join_fragments(pieces, form).text)
        assert not list(tree.iter("script", "img", "iframe", "object"))
        assert not tree.xpath("//@*[starts-with(name(), 'on')]")
        hrefs = tree.xpath("//a/@href")
        assert hrefs.count(sanitize_url(url)) >= 2, "the link of each of the two entries"
        if kind == "featured":
            assert sanitize_url(also) in hrefs
        visible_text = "".join(tree.xpath("//body//text()")).replace("\xa0", " ")
        assert " ".join(sanitize_text(title).replace("\xa0", " ").split()) in " ".join(visible_text.split())
    assert sanitize_url(url) in join_fragments(pieces, "text").text.splitlines()


def test_the_pieces_are_cut_where_we_say_and_nowhere_else(full_content: EditionContent) -> None:
    planted = "<!--cut foot-->\x1efoot\x1e<!--web-->"
    entries = tuple(
        replace(e, headline=planted, picture=e.picture and replace(e.picture, alt=planted))
        for e in full_content.sections[0].entries
    )
    assert entries[0].picture, "whose description stands in an attribute"
    hostile = replace(full_content, sections=(replace(full_content.sections[0], entries=entries),))
    names = names_of(render_edition(hostile, build_publication_context(OURS), PAGES), "text")
    assert names == [
        *("head", "section:featured.contents", "intro", "section:featured", "section:featured.rows"),
        *("block:sponsor", "foot"),
    ]


@pytest.mark.parametrize(
    "url", ["javascript:alert(1)", "data:text/html,x", "//example.org/x", "/relative", "http:///x", "https://[::1"]
)
def test_an_address_that_is_not_of_the_web_stops_the_rendering_by_name(full_content: EditionContent, url: str) -> None:
    section = full_content.sections[1]
    bad = replace(section, entries=(replace(section.entries[0], url=url),))
    with pytest.raises(RenderingError, match=re.escape(repr(url))):
        render_edition(replace(full_content, sections=(bad,)), build_publication_context(OURS), PAGES)


@pytest.mark.parametrize(
    ("given_url", "expected"),
    [
        ("https://example.org/a?b=c&d=%20#e", "https://example.org/a?b=c&d=%20#e"),
        ("https://bücher.example/ü ü", "https://xn--bcher-kva.example/%C3%BC%20%C3%BC"),
        ("https://example.org/~me", "https://example.org/~me"),
        (' https://example.org/"><b ', "https://example.org/%22%3E%3Cb"),
    ],
)
def test_addresses_are_written_in_ascii(given_url: str, expected: str) -> None:
    assert sanitize_url(given_url) == expected


@given(value=st.text())
def test_plain_text_is_one_visible_line_and_stays_itself(value: str) -> None:
    once = sanitize_text(value)
    assert "\n" not in once
    assert "\x1e" not in once
    assert sanitize_text(once) == once
    once.encode("utf-8")


def test_harmless_content_is_left_as_it_is(full_content: EditionContent) -> None:
    def unchanged(value: Any) -> Any:
        return value

    assert sanitize_content(full_content) == unchanged(full_content)
