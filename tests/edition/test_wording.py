"""Details of the email's wording."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from digest.collect.documents.parsed_document import SummaryBasis
from digest.edition.content.edition_content import EditionImage, EditionLink, EditionSection, RankedLine, SectionEntry
from digest.edition.kinds.story_entry import choose_sentences
from digest.edition.rendering.template_filters import (
    dir_attribute,
    fit_image,
    group_by_topic,
    keep_hour_on_one_line,
    keep_last_words_together,
    limit_listed_sources,
    list_lines_below_headline,
    minify_css,
    story_facts_line,
    text_direction,
    tie_dates,
    wrap_edition_text,
)
from digest.edition.rendering.text_lines import wrap_text
from digest.select.selection_types import SummaryOrigin
from subscribers.subscriber_language import ENGLISH, SubscriberLanguage


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("four words are few", "four words are few"),
        ("five words are enough here", "five words are enough\xa0here"),
        ("the last two of these are incomprehensible incidents", None),
    ],
)
def test_the_last_two_words_are_bound_when_short(text: str, expected: str | None) -> None:
    assert keep_last_words_together(text) == (expected or text)


def test_fewer_letters_are_bound_where_the_column_is_narrow() -> None:
    assert (
        keep_last_words_together("fires: what three departments changed", 14) == "fires: what three departments changed"
    )
    assert keep_last_words_together("the maps of the county are final", 14) == "the maps of the county are\xa0final"


@given(words=st.lists(st.text(alphabet="abcxyz-/:.", min_size=1, max_size=100)))
def test_wrapping_folds_at_72_and_breaks_no_word(words: list[str]) -> None:
    wrapped = wrap_text(" ".join(words))
    assert wrapped.split() == words
    assert all(len(line) <= 72 or " " not in line for line in wrapped.splitlines())


@given(w=st.integers(1, 5000), h=st.integers(1, 5000))
def test_a_picture_fits_its_box_keeps_its_shape_and_never_grows(w: int, h: int) -> None:
    width, height = fit_image(EditionImage("x", w, h, ""), 560, 420)
    assert 1 <= width <= min(w, 560)
    assert 1 <= height <= min(h, 420)
    scale = min(1, 560 / w, 420 / h)
    assert abs(width - w * scale) <= 1
    assert abs(height - h * scale) <= 1


def test_the_first_strong_letter_gives_the_direction() -> None:
    assert text_direction("123 … وزارة HLS") == "rtl"
    assert text_direction("HLS ערים") == "ltr"
    assert text_direction("123 🚨") is None
    assert dir_attribute("ערים", "ltr") == ' dir="rtl"'
    assert dir_attribute("HLS", "ltr") == ""
    assert dir_attribute("HLS", "rtl") == ' dir="ltr"'


def test_topics_keep_the_order_in_which_they_come() -> None:
    entries = [
        SectionEntry(h, "https://example.org/", kicker=t) for h, t in (("1", "B"), ("2", "A"), ("3", "B"), ("4", ""))
    ]
    assert [(t, [e.headline for e in es]) for t, es in group_by_topic(entries, ENGLISH)] == [
        ("B", ["1", "3"]),
        ("A", ["2"]),
        ("Other news", ["4"]),
    ]


def test_quiet_lines_say_who_when_and_whose_news_it_is() -> None:
    e = SectionEntry("h", "https://example.org/", source="HLS.Today", credit="INTERPOL", date="Nov 18", summary="s")
    assert list_lines_below_headline(e, "topics", ENGLISH) == ("HLS.Today, Nov 18 · Source: INTERPOL", "s")
    reasoned = replace(
        e, why="three publishers carried it.", summary_origin=SummaryOrigin(SummaryBasis.OPENING, "CISA", "HLS.Today")
    )
    source = "HLS.Today, Nov 18 · Source: INTERPOL"
    assert list_lines_below_headline(reasoned, "topics", ENGLISH) == (
        f"{source} · three publishers carried it",
        "s",
        "Summary from CISA",
    )
    written = replace(e, why="We were there.", why_is_written=True)
    assert list_lines_below_headline(written, "topics", ENGLISH) == (source, "s", "Why it’s here: We were there.")
    assert list_lines_below_headline(e, "most-read", ENGLISH) == ("HLS.Today · Source: INTERPOL",)
    assert list_lines_below_headline(e, "opportunities", ENGLISH) == ("s",)
    assert list_lines_below_headline(
        SectionEntry("h", "https://example.org/", details=("Norfolk", "Free")), "events", ENGLISH
    ) == ("Norfolk", "Free")
    assert list_lines_below_headline(SectionEntry("h", "https://example.org/"), "topics", ENGLISH) == ()
    assert story_facts_line(e, ENGLISH) == "HLS.Today, Nov 18. Source: INTERPOL."


LONGER_SENTENCE = "Lazarus was seen using KandyKorn malware in attacks on port engineers, Elastic reported."


@pytest.mark.parametrize(
    ("text", "summary"),
    [
        ("Ports closed. Crews check cranes. All reopen soon.", "Ports closed. Crews check cranes."),
        (f"Ports closed. Then {'word ' * 29}end.", "Ports closed."),
        (f"{'word ' * 40}end. Then more.", f"{'word ' * 40}end."),
        (f"{'longer ' * 60}end.", f"{'longer ' * 30}".strip() + "…"),
        ("", ""),
        (
            f"Lazarus uses KandyKorn malware in attacks on port engineers. {LONGER_SENTENCE}",
            LONGER_SENTENCE,
        ),
        (
            "The president says nuclear weapons might be deployed",
            "The president says nuclear weapons might be deployed.",
        ),
        (
            "The café said “no” to a new pier in Düsseldorf’s café",
            "The café said “no” to a new pier in Düsseldorf’s café.",
        ),
        (f"Flames scorched {'dry ' * 35}acres o...", f"Flames scorched {'dry ' * 35}acres…"),
        ("Wait for it...", "Wait for it..."),
        ("港口关闭 起重机 检查中", "港口关闭 起重机 检查中"),
        ("Register at https://ports.example/go", "Register at https://ports.example/go"),
        ("In brief", "In brief"),
    ],
)
def test_a_summary_is_one_or_two_whole_sentences_of_300_characters(text: str, summary: str) -> None:
    assert choose_sentences(text, 30) == summary
    assert len(summary) <= 300


def test_the_source_is_not_credited_twice() -> None:
    same = SectionEntry("h", "https://example.org/", source="INTERPOL", credit="interpol")
    assert story_facts_line(same, ENGLISH) == "INTERPOL."


def test_an_hour_stays_on_one_line_with_its_zone() -> None:
    assert keep_hour_on_one_line("Friday, December 4, 5 p.m. ET") == "Friday, December 4, 5\xa0p.m.\xa0ET"
    assert keep_hour_on_one_line("Friday, noon CET, to December 5") == "Friday, noon\xa0CET, to December 5"
    assert keep_hour_on_one_line("Friday, 11:59 p.m. (zone not stated)") == "Friday, 11:59\xa0p.m. (zone not stated)"


@pytest.mark.parametrize(
    ("code", "text", "tied"),
    [
        ("en", "By November 30, or Nov. 3 to Sept 4, 2026.", "By November~30, or Nov.~3 to Sept~4, 2026."),
        ("en", "From 30 November 2026; in May 2027; 12 marches.", "From 30~November 2026; in May 2027; 12 marches."),
        ("fr", "Le 30 novembre, le 1 févr. 2026 et en mai 2027.", "Le 30~novembre, le 1~févr. 2026 et en mai 2027."),
    ],
)
def test_a_month_and_its_day_stay_on_one_line(code: str, text: str, tied: str) -> None:
    assert tie_dates(text, SubscriberLanguage(code), "~") == tied


def test_the_text_part_wraps_before_a_date_and_has_plain_spaces() -> None:
    line = f"{'word ' * 12}by November 30."
    assert wrap_edition_text(line, ENGLISH) == f"{'word ' * 12}by\nNovember 30."


def test_the_mail_names_three_sources_or_two_and_counts_the_others() -> None:
    links = tuple(EditionLink(name, f"https://{name}.example.org/") for name in "abcdef")
    assert [len(limit_listed_sources(links[:n])) for n in range(7)] == [0, 1, 2, 3, 2, 2, 2]


def test_style_sheets_lose_comments_and_change_sides() -> None:
    css = "/* why\n left */\n.a{padding-left:1px}\n\n.b{text-align:right}\n"
    assert minify_css(css, "ltr") == ".a{padding-left:1px}\n.b{text-align:right}"
    assert minify_css(css, "rtl") == ".a{padding-right:1px}\n.b{text-align:left}"


def test_a_ranking_counts_the_stories_in_other_sections() -> None:
    entries = tuple(SectionEntry(name, f"https://example.org/{name}") for name in ("second", "fourth"))
    elsewhere = (RankedLine(1, "first", "", "Featured"), RankedLine(3, "third", "", "Topics"))
    section = EditionSection("read", "most-read", "Most read", "", entries, elsewhere)
    assert [line.headline for line in section.ranking] == ["first", "second", "third", "fourth"]
