"""Lines about the whole email (contents, next deadline, dates, preheader, minutes) match what a subscriber gets."""

import re
from dataclasses import replace
from itertools import chain, combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import html as lxml_html

from digest.deliver.compose.variants import EditionVariants, omits_every_part
from digest.edition.content.edition_content import EditionContent, SectionEntry
from digest.edition.content.fragment_names import MAX_SHORT_LINES
from digest.edition.content.mailable_edition import join_fragments
from digest.edition.rendering.mail_layout import find_next_deadline, list_dated_entries
from digest.edition.rendering.preheader_and_reading_time import compose_preheader, count_reading_minutes
from subscribers.consent.preferences import Preferences
from subscribers.part_keys import make_topic_slug
from subscribers.subscriber_language import ENGLISH
from tests.edition.test_rendering import unbalanced
from tests.edition.test_topic_variants import KEYS, variants_of, with_topics

SECTIONS = ("featured", "most-read", "products", "events", "opportunities")


def with_composed_preheader(content: EditionContent) -> EditionContent:
    """Give an edition the preheader that's drafted for it."""
    headlines = [entry.headline for section in content.sections for entry in section.entries]
    deadline = find_next_deadline(content.sections)
    preheader = compose_preheader(headlines[1:], deadline.when if deadline else None, ENGLISH)
    minutes = count_reading_minutes(content.intro, content.sections, content.blocks)
    return replace(content, preheader=preheader, minutes=minutes)


@pytest.fixture(scope="module")
def content(full_content: EditionContent) -> EditionContent:
    return with_composed_preheader(with_topics(full_content))


@pytest.fixture(scope="module")
def variants(content: EditionContent) -> EditionVariants:
    return variants_of(content)


@pytest.fixture(scope="module")
def variants_of_all(variants: EditionVariants) -> EditionVariants:
    return variants


def left_of(content: EditionContent, chosen: Preferences) -> EditionContent:
    """Give what a subscriber gets of an edition."""
    sections = [
        replace(section, entries=tuple(entry for entry in section.entries if is_chosen(section.key, entry, chosen)))
        for section in content.sections
        if section.key not in chosen.omit
    ]
    return replace(content, sections=tuple(section for section in sections if section.entries))


def is_chosen(section: str, entry: SectionEntry, chosen: Preferences) -> bool:
    return section != "topics" or make_topic_slug(entry.kicker) not in chosen.omit_topics


class Email:
    """What a subscriber reads."""

    def __init__(self, variants: EditionVariants, chosen: Preferences) -> None:
        template = variants.template_for(chosen)
        assert template is not None
        assert template.html is not None
        self.html = template.html.text
        self.page = lxml_html.document_fromstring(self.html)
        self.text = template.text.text
        self.words = squeeze(self.page.text_content())
        self.all_text = squeeze(self.text)

    def headings(self, level: int) -> list[str]:
        return [squeeze(h.text_content()) for h in self.page.iter(f"h{level}")]

    @property
    def preheader(self) -> str:
        (hidden,) = self.page.xpath("//div[@aria-hidden='true' and contains(., '\u034f')]")
        return squeeze(hidden.text_content().partition("\u034f")[0])


def squeeze(text: str) -> str:
    return " ".join(text.replace("\N{NO-BREAK SPACE}", " ").split())


def without(*sections: str, topics: tuple[str, ...] = (), short: bool = False) -> Preferences:
    return Preferences(omit=frozenset(sections), omit_topics=frozenset(topics), short=short)


def test_the_next_deadline_is_one_of_the_email(variants: EditionVariants, content: EditionContent) -> None:
    first, second = sorted(
        (dated for dated in list_dated_entries(content.sections) if dated.when.kind == "deadline"),
        key=lambda dated: dated.when.day,
    )[:2]
    assert (first.section_kind, second.section_kind) == ("topics", "opportunities")
    for chosen, deadline in ((without(), first), (without(topics=("maritime-security",)), second)):
        email = Email(variants, chosen)
        assert email.words.count("Next deadline: ") == 1 + email.preheader.count("Next deadline: ")
        assert f"Next deadline: {deadline.when.text} · {deadline.entry.headline}" in email.words
        assert f"Next deadline: {deadline.when.text} {deadline.entry.headline}" in email.all_text
    none = Email(variants, without("opportunities", topics=("maritime-security",)))
    assert "Next deadline" not in none.html + none.text


@pytest.mark.parametrize(
    ("chosen", "title"),
    [
        (without(), "Deadlines and events to December 4"),
        (without("events"), "Deadlines to December 4"),
        (without("opportunities", topics=("maritime-security",)), "Events to December 4"),
        (without("opportunities"), "Deadlines and events to December 4"),
        (
            without("opportunities", topics=tuple(set(KEYS) - {"maritime-security"})),
            "Deadlines and events to December 4",
        ),
        (without("events", "opportunities", topics=("maritime-security",)), None),
    ],
)
def test_the_title_of_the_dates_says_what_they_are(
    variants: EditionVariants, chosen: Preferences, title: str | None
) -> None:
    email = Email(variants, chosen)
    assert [h for h in email.headings(2) if " to December 4" in h] == ([title] if title else [])
    assert re.findall(r"^.* TO DECEMBER 4$", email.text, re.MULTILINE) == ([title.upper()] if title else [])


@settings(max_examples=60, deadline=None)
@given(omit=st.sets(st.sampled_from(SECTIONS)), topics=st.sets(st.sampled_from(KEYS)))
def test_minutes_deadline_and_preheader_are_about_the_email_alone(
    variants_of_all: EditionVariants, omit: set[str], topics: set[str]
) -> None:
    chosen = without(*omit, topics=tuple(topics))
    if omits_every_part(chosen, variants_of_all.parts):
        return
    (content,) = CONTENT
    left, email = left_of(content, chosen), Email(variants_of_all, chosen)
    assert unbalanced(email.html) == []
    minutes = count_reading_minutes(left.intro, left.sections, left.blocks)
    assert re.findall(r"(\d+)-minute read", email.words) == [str(minutes)]
    assert re.findall(r"(\d+)-minute read", email.all_text) == [str(minutes)]
    deadline = find_next_deadline(left.sections)
    assert ("Next deadline:" in email.all_text) == (deadline is not None)
    assert not deadline or f"Next deadline: {deadline.when.text} {deadline.entry.headline}" in email.all_text
    assert email.preheader
    gone = {e.headline for s in content.sections for e in s.entries} - {
        e.headline for s in left.sections for e in s.entries
    }
    assert [headline for headline in gone if headline in email.preheader] == []
    if "Next deadline" in email.preheader:
        assert deadline
        assert email.preheader.endswith(ENGLISH.short_month_day(deadline.when.day))


CONTENT: list[EditionContent] = []


@pytest.fixture(autouse=True)
def _keep_content(content: EditionContent) -> None:
    CONTENT[:] = [content]


def test_the_whole_edition_says_what_was_drafted(variants: EditionVariants, content: EditionContent) -> None:
    assert Email(variants, without()).preheader == content.preheader
    assert Email(variants, without("products")).preheader == content.preheader, "it names none of them"
    web = join_fragments(variants.edition.pieces, "web").text
    assert web.count("-minute read") == 1
    assert web.count("Next deadline:") == 1
    assert squeeze(lxml_html.document_fromstring(web).text_content()).count(" to December 4") == 1


def test_an_editors_own_preheader_is_about_the_whole_edition(content: EditionContent) -> None:
    own = variants_of(replace(content, preheader="Plus a drill by night, and seven calls."))
    assert Email(own, without()).preheader == "Plus a drill by night, and seven calls."
    second = content.sections[0].entries[1].headline
    assert Email(own, without("products")).preheader.startswith(f"Also: {second[:30]}")


def test_an_edition_without_a_preheader_gets_none(content: EditionContent) -> None:
    silent = variants_of(replace(content, preheader=""))
    for chosen in (without(), without("products")):
        assert "\u034f" not in Email(silent, chosen).html


def test_a_subscriber_of_a_lead_alone_has_a_preheader_that_names_nothing_else(content: EditionContent) -> None:
    featured = content.sections[0]
    sections = (replace(featured, entries=featured.entries[:1]), *content.sections[1:])
    lone = variants_of(with_composed_preheader(replace(content, sections=sections)))
    others = tuple(section.key for section in content.sections[1:])
    assert Email(lone, without(*others)).preheader == "The homeland-security week in one read"


def test_the_short_edition_has_up_to_ten_lines_of_what_was_chosen(
    variants: EditionVariants, content: EditionContent
) -> None:
    assert sum(len(section.entries) for section in content.sections[:2]) > MAX_SHORT_LINES
    for chosen in (without(), without("featured"), without("featured", "most-read"), without("topics")):
        email, left = Email(variants, replace(chosen, short=True)), left_of(content, chosen)
        titles = email.headings(3)
        news = [s for s in left.sections if s.key in {"featured", "most-read", "topics"}]
        stories = [entry.headline for section in news for entry in section.entries if not entry.when]
        lead = set(email.headings(2))
        told = [story for story in stories if story in titles]
        waiting = [s for s in stories if not any(s in heading for heading in lead)]
        assert len(told) in {min(most, len(waiting)) for most in (MAX_SHORT_LINES, MAX_SHORT_LINES - 1)}, "two a topic"
        assert "The rest, in brief" in lead
        assert unbalanced(email.html) == []


def test_every_kept_part_is_told_by_an_email_of_two_of_them(variants: EditionVariants) -> None:
    parts = [*((key, ()) for key in SECTIONS), *(("topics", key) for key in KEYS)]
    for kept in chain(combinations(parts, 1), combinations(parts, 2)):
        sections = set(SECTIONS) - {section for section, _ in kept}
        topics = set(KEYS) - {topic for _, topic in kept if topic}
        email = Email(variants, without(*sections, topics=tuple(topics)))
        assert email.preheader
        assert email.words.count("-minute read") == 1
