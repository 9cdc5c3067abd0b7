"""Texts are reduced to plain words, and shortened at the end of a sentence."""

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from digest.collect.texts import text_cleanup

MARKUP = st.one_of(
    st.text(max_size=400),
    st.lists(
        st.sampled_from(
            [
                "<p>",
                "</p>",
                "<b>",
                "<script>",
                "</script>",
                "&amp;",
                "&amp;lt;",
                "&#x202e;",
                "a ",
                "\u200d",
                "\u200c",
                "ا",  # noqa: RUF001  other scripts are the point
                "👩",
                "<!--",
                "\x00",
                "\ud800",
                "é",
                "]]>",
            ]
        ),
        max_size=60,
    ).map("".join),
)


@pytest.mark.parametrize(
    ("markup", "words"),
    [
        ("<p>One</p><p>Two<br>three</p>", "One Two three"),
        ("AT&amp;T &amp;amp; Co", "AT&T & Co"),
        ("&lt;p&gt;Escaped twice&lt;/p&gt;", "Escaped twice"),
        ("Storm <script>alert('x')</script><style>p{}</style>warning", "Storm warning"),
        ("x < y and 5 <6", "x < y and 5 <6"),
        ("Write to <jane@example.org> today", "Write to <jane@example.org> today"),
        ("<o:p>Office</o:p> <custom-tag>text</custom-tag>", "Office text"),
        ("a\u00a0\u2003b\u2028c\td", "a b c d"),
        ("zero\u200bwidth and \u202eevil\u202c", "zerowidth and evil"),
        ("cafe\u0301", "café"),
        ("nul\x00l \ud800surrogate", "null surrogate"),
        ("![CDATA[Lost a bracket]]", "Lost a bracket"),
        ("a<img src=x onerror=alert(1)>b", "ab"),
    ],
)
def test_markup_becomes_words(markup: str, words: str) -> None:
    assert text_cleanup.html_to_text(markup) == words


@pytest.mark.parametrize(
    "kept",
    [
        "👩‍🚒 rescued 👨‍👩‍👧 👍🏽",
        "می‌خواهم",  # Persian: ZWNJ between letters
        "🏴󠁧󠁢󠁳󠁣󠁴󠁿 Scotland",
        "क्‍ष",  # Hindi: ZWJ after a virama
        "שלום עולם",
        "日本語の題",
    ],
)
def test_what_means_something_stays(kept: str) -> None:
    assert text_cleanup.normalize_text(kept) == unicodedata.normalize("NFC", kept)


@pytest.mark.parametrize(
    "hidden", ["a\u200db", "a\u200cb", "a\U000e0061\U000e0062b", "a\u2066b\u2069", "\ufeffab", "a\u00adb"]
)
def test_what_hides_in_a_text_goes(hidden: str) -> None:
    assert text_cleanup.normalize_text(hidden) == "ab"


def test_stacked_accents_are_thinned() -> None:
    assert len(text_cleanup.normalize_text("e" + "\u0333" * 50 + "nd")) < 10


@given(MARKUP)
def test_clean_text_holds_no_control_and_no_double_space(markup: str) -> None:
    cleaned = text_cleanup.html_to_text(markup)
    assert cleaned == cleaned.strip()
    assert "  " not in cleaned
    assert not any(unicodedata.category(c) in {"Cc", "Cs"} for c in cleaned)
    assert not set(cleaned) & set("\u200b\u202a\u202b\u202d\u202e\u2066\u2067\u2068\ufeff")
    cleaned.encode()


@given(st.text(max_size=300))
def test_tidying_twice_changes_nothing(given_text: str) -> None:
    once = text_cleanup.normalize_text(given_text)
    assert text_cleanup.normalize_text(once) == once


@pytest.mark.parametrize(
    ("said", "left"),
    [
        ("News. The post Flood warning appeared first on Example News.", "News."),
        ("A report was published. Continue reading Flood warning →", "A report was published."),
        ("A report was published. Read more", "A report was published."),
        ("A report was published. [...]", "A report was published."),
        ("A report on the [&#8230;]", "A report on the…"),
        ("A report on the flood [...]", "A report on the flood…"),
        ("A report on the flood [...] Read more...", "A report on the flood…"),
        ("Officials asked people to read more books.", "Officials asked people to read more books."),
        ("He was the first to appear. Read the full report here.", "He was the first to appear."),
        ("The post office closed.", "The post office closed."),
        ("Crews arrived. For more information, please visit https://quakes.example.org/", "Crews arrived."),
        ("For more information, visit the county.", "For more information, visit the county."),
    ],
)
def test_boilerplate_at_the_end_goes(said: str, left: str) -> None:
    assert text_cleanup.clean_summary(said) == left


def test_a_title_of_20_kilobytes_is_cut_between_words() -> None:
    title = text_cleanup.clean_title("Storm warning " * 1500)
    assert len(title) <= 300
    assert title.endswith("…")
    assert title[:-1].split()[-1] in {"Storm", "warning"}


def test_a_title_without_spaces_is_cut_too() -> None:
    assert len(text_cleanup.clean_title("x" * 20_000)) == 300


def test_a_long_summary_ends_with_a_sentence() -> None:
    summary = text_cleanup.clean_summary("The river rose by two metres on Monday. " * 60)
    assert 600 < len(summary) <= 1000
    assert summary.endswith("Monday.")


def test_sentences_know_abbreviations() -> None:
    text = "The U.S. Coast Guard met Dr. Roe on Jan. 5 at 3 p.m. in D.C. It rained. “Was it bad?” Yes!"
    assert list(text_cleanup.split_sentences(text)) == [
        "The U.S. Coast Guard met Dr. Roe on Jan. 5 at 3 p.m. in D.C. It rained.",
        "“Was it bad?”",
        "Yes!",
    ]


def test_sentences_of_other_scripts_end_too() -> None:
    assert len(list(text_cleanup.split_sentences("これは文です。これも文です。"))) == 2
    assert len(list(text_cleanup.split_sentences("یہ ایک جملہ ہے۔ یہ دوسرا ہے۔"))) == 2  # noqa: RUF001  other scripts are the point


@given(st.text(max_size=500))
def test_sentences_lose_nothing_but_spaces(given_text: str) -> None:
    text = text_cleanup.normalize_text(given_text)
    assert "".join("".join(text_cleanup.split_sentences(text)).split()) == "".join(text.split())


@given(st.text(max_size=500), st.integers(1, 40))
def test_a_shortened_text_has_no_more_words_than_asked(given_text: str, words: int) -> None:
    assert len(text_cleanup.shorten_text(text_cleanup.normalize_text(given_text), words).split()) <= words + 1


def test_shortening_takes_whole_sentences() -> None:
    text = "One two three. Four five six. Seven eight nine."
    assert text_cleanup.shorten_text(text, 7) == "One two three. Four five six."
    assert text_cleanup.shorten_text("One two three four five.", 3) == "One two three…"
    assert text_cleanup.shorten_text("One two.", 10) == "One two."


@pytest.mark.parametrize(
    ("field", "name"),
    [
        ("jane@example.org (Jane Roe)", "Jane Roe"),
        ("Jane Roe <jane@example.org>", "Jane Roe"),
        ("jane@example.org", None),
        ("mailto:jane@example.org", None),
        ("By Jane Roe", "Jane Roe"),
        ("admin", None),
        ("https://example.org/jane", None),
        ("  ", None),
        ("Ana Núñez, John O’Neil", "Ana Núñez, John O’Neil"),
        ("&lt;jane@example.org&gt; Jane", "Jane"),
    ],
)
def test_authors_are_names_without_addresses(field: str, name: str | None) -> None:
    assert text_cleanup.clean_author(field) == name


@given(st.emails(), st.sampled_from(["{} (Jane Roe)", "Jane Roe <{}>", "{}", "Jane Roe {}", "{}, {}"]))
def test_no_address_survives_in_an_author(address: str, form: str) -> None:
    author = text_cleanup.clean_author(form.replace("{}", address))
    assert "@" not in (author or "")


@pytest.mark.parametrize(
    ("said", "who"),
    [
        ("Source: INTERPOL", "INTERPOL"),
        ("They recovered well. Source: Example Coast Guard.", "Example Coast Guard"),
        ("Via: Example Wire", "Example Wire"),
        ("Originally published by: Example Journal", "Example Journal"),
        ("The source: unclear", None),
        ("Source: https://example.org/", None),
        ("Source: Getty Images", None),
        ("Open source software: a review", None),
        ("Nothing here.", None),
    ],
)
def test_the_last_line_may_credit_a_source(said: str, who: str | None) -> None:
    assert text_cleanup.find_source_credit(said) == who
