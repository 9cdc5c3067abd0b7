"""The inline markup of an intro, in HTML and in plain text."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import html as lxml_html

from digest.edition.rendering.inline_markup import render_inline_markup, shorten_markup, strip_inline_markup
from digest.edition.rendering.paragraphs import split_paragraphs


@pytest.mark.parametrize(
    ("written", "html", "text"),
    [
        ("A **bold** claim", "A <strong>bold</strong> claim", "A bold claim"),
        ("an *old* one", "an <em>old</em> one", "an old one"),
        (
            "Read [the list](https://a.example.org/x?a=b&c=d).",
            'Read <a href="https://a.example.org/x?a=b&amp;c=d" class="link">the list</a>.',
            "Read the list (https://a.example.org/x?a=b&c=d).",
        ),
        (
            '[Write](mailto:editors@example.org "a title") to us',
            '<a href="mailto:editors@example.org" class="link">Write</a> to us',
            "Write (mailto:editors@example.org) to us",
        ),
        ("5 < 6 & <b>no</b> mark-up", "5 &lt; 6 &amp; &lt;b&gt;no&lt;/b&gt; mark-up", "5 < 6 & <b>no</b> mark-up"),
        ("[run](javascript:alert(1))", "[run](javascript:alert(1))", "[run](javascript:alert(1))"),
        ("![seen](https://a.example.org/pixel.gif)", None, "!seen (https://a.example.org/pixel.gif)"),
        (
            "# No heading, 1. no list, `no code`",
            "# No heading, 1. no list, `no code`",
            "# No heading, 1. no list, `no code`",
        ),
        ("snake_case_name and 2 * 3 * 4", "snake_case_name and 2 * 3 * 4", "snake_case_name and 2 * 3 * 4"),
    ],
)
def test_emphasis_and_links_are_rendered_and_nothing_else(written: str, html: str | None, text: str) -> None:
    if html is not None:
        assert render_inline_markup(written) == html
    assert strip_inline_markup(written) == text


@pytest.mark.parametrize(
    ("text", "opening"),
    [
        ("It fits *whole*.", "It fits *whole*."),
        (
            "Ports have until Nov. 30 to [list modems](https://a.example/). Read on.",
            "Ports have until Nov. 30 to [list modems](https://a.example/).",
        ),
        (
            "The [U.S. Navy](https://a.example/) left. One sentence that is much longer than what fits into two lines.",
            "The [U.S. Navy](https://a.example/) left.",
        ),
        (
            "Hello. One sentence that is much longer than what fits into two lines.",
            "Hello.",
        ),
        (
            "One [single](https://a.example/) sentence that is much longer than what fits. And another.",
            "One single sentence that is much…",
        ),
        ("*Emphasis that ends. In the next* sentence, with many words more.", "Emphasis that ends. In the next…"),
        ("Hello. This week is about *modems*, and the sirens of the coast.", "Hello. This week is about modems…"),
        ("Ten of the ports closed: each one lists its 1,200 cranes.", "Ten of the ports closed…"),
        ("Lists, maps, and more than 1,000 feet of wires are in it.", "Lists, maps, and more than 1,000 feet…"),
    ],
)
def test_the_opening_of_a_text_has_whole_sentences_and_no_half_markup(text: str, opening: str) -> None:
    assert shorten_markup(text, 40) == opening


@given(st.text(alphabet=st.sampled_from(list("ab *_[]()<>!\"'&:/hjtps.")), max_size=60))
def test_no_text_whatever_makes_another_element_or_address(text: str) -> None:
    tree = lxml_html.fragment_fromstring(str(render_inline_markup(text)), create_parent="p")
    assert {e.tag for e in tree.iter()} <= {"p", "em", "strong", "a"}
    assert all(a.get("href").startswith(("http://", "https://", "mailto:")) for a in tree.iter("a"))
    assert {name for e in tree.iter() for name in e.attrib} <= {"href", "class"}
    strip_inline_markup(text)


def test_blank_lines_part_paragraphs() -> None:
    assert split_paragraphs("One\nline.\n \n\nTwo.\n") == ["One\nline.", "Two."]
    assert split_paragraphs(" ") == []
