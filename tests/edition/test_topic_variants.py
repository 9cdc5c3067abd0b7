"""Topics that subscribers leave out: one fragment each, and at most 64 variants of an edition, all of them valid."""

from dataclasses import replace
from datetime import UTC, datetime
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from lxml import html as lxml_html

from digest.deliver.compose.message import PlaceholderValues, splice_message
from digest.deliver.compose.variant_limit import MAX_VARIANTS, VariantKey
from digest.deliver.compose.variants import EditionVariants, create_variants, omits_every_part
from digest.edition.content.edition_content import EditionContent, EntryDate, RankedLine, SectionEntry
from digest.edition.content.mailable_edition import MAIL_KINDS, build_mailable_draft
from digest.edition.preflight.message_rules import GMAIL_CLIP_SIZE
from digest.edition.preflight.rule_registry import PreflightInput, run_preflight_rules
from digest.edition.rendering.fragments import build_publication_context, create_mail_environment, render_edition
from digest.settings import PreferenceSettings, Settings
from digest.store.models import Edition, EditionState
from subscribers.consent.preferences import Preferences
from subscribers.part_keys import make_topic_slug, split_part_key
from tests.deliver.conftest import DATE_VALUE
from tests.deliver.message_lint import message_faults
from tests.edition.test_rendering import unbalanced

OURS = Settings.model_validate(
    {
        "base_url": "https://news.example.org",
        "file": {"sender": {"postal_address": "1200 Example Avenue, Washington, DC 20005"}},
    }
)
TOPICS = (
    *("Border security", "Maritime security", "Public health", "Fire service", "Cybersecurity"),
    *("Aviation security", "Emergency communications"),
)
KEYS = tuple(map(make_topic_slug, TOPICS))
ALL_TOPICS = frozenset(KEYS)


def with_topics(content: EditionContent) -> EditionContent:
    """Give an edition whose Topics section has two stories on each of seven topics, one of which comes due soon."""
    (section,) = (one for one in content.sections if one.key == "topics")
    entries = [
        replace(section.entries[0], headline=f"{topic}, story {n}", url=f"https://example.org/{n}/{key}", kicker=topic)
        for topic, key in zip(TOPICS, KEYS, strict=True)
        for n in (1, 2)
    ]
    when = EntryDate("deadline", content.released_on, "Friday, November 20", "Comments due")
    entries[2] = replace(entries[2], when=when)
    sections = [replace(one, entries=tuple(entries)) if one is section else one for one in content.sections]
    return replace(content, sections=tuple(sections))


def variants_of(content: EditionContent, ours: Settings = OURS) -> EditionVariants:
    pieces = render_edition(content, build_publication_context(ours), create_mail_environment(ours))
    edition = Edition(name=content.name, release_at=datetime(2026, 11, 20, 11, tzinfo=UTC), state=EditionState.DRAFT)
    edition.subject, edition.number, edition.preheader = content.subject, content.number, content.preheader
    return create_variants(build_mailable_draft(edition, pieces, ours), ours)


@pytest.fixture(scope="module")
def content(full_content: EditionContent) -> EditionContent:
    return with_topics(full_content)


@pytest.fixture(scope="module")
def variants(content: EditionContent) -> EditionVariants:
    return variants_of(content)


def bodies(variants: EditionVariants, preferences: Preferences) -> tuple[str, str]:
    template = variants.template_for(preferences)
    assert template is not None
    return template.html.text if template.html else "", template.text.text


def is_told(topic: str, body: str) -> bool:
    return f"{topic}, story 1" in " ".join(body.replace("\N{NO-BREAK SPACE}", " ").split())


@settings(max_examples=40, deadline=None)
@given(omitted=st.sets(st.sampled_from(KEYS)), short=st.booleans())
def test_any_topics_can_be_left_out_of_that_section_alone(
    variants_of_all: EditionVariants, omitted: set[str], *, short: bool
) -> None:
    html, text = bodies(variants_of_all, Preferences(omit_topics=frozenset(omitted), short=short))
    assert unbalanced(html) == []
    assert "\n\n\n\n" not in text
    for topic, key in zip(TOPICS, KEYS, strict=True):
        if key in omitted:
            assert not is_told(topic, html)
            assert not is_told(topic, text)
        elif not short:
            assert is_told(topic, html)
            assert is_told(topic, text)
    assert ("Comments due" in html) == ("maritime-security" not in omitted), "the date is of one of its stories"
    if not short:
        headings = [" ".join(h.text_content().split()) for h in lxml_html.document_fromstring(html).iter("h2")]
        assert ("Topics" in headings) == (omitted != ALL_TOPICS), "its heading stays as long as one of its topics does"
        assert "Most read" in headings


@pytest.fixture(scope="module")
def variants_of_all(variants: EditionVariants) -> EditionVariants:
    return variants


def test_leaving_out_every_topic_is_leaving_out_the_section(variants: EditionVariants) -> None:
    by_topic, by_section = Preferences(omit_topics=ALL_TOPICS), Preferences(omit=frozenset({"topics"}))
    assert variants.find_wanted_variant(by_topic) == variants.find_wanted_variant(by_section)
    assert variants.find_wanted_variant(by_topic).as_text() == "topics"
    two = variants.find_wanted_variant(Preferences(omit_topics=frozenset({"fire-service", "energy"})))
    assert (two.as_text(), two.name) == ("topics:fire-service", "variant without fire-service")
    others = frozenset(section for section in ("featured", "most-read", "products", "events", "opportunities"))
    alone = Preferences(omit=others, omit_topics=ALL_TOPICS - {"fire-service"})
    assert not omits_every_part(alone, variants.parts)
    assert omits_every_part(replace(alone, omit_topics=ALL_TOPICS), variants.parts)


def test_a_ranking_does_not_point_to_sections_that_may_be_left_out(full_content: EditionContent) -> None:
    line = RankedLine(1, "Exercise", "https://example.org/exercise", "Events")
    sections = [
        replace(one, ranked_elsewhere=(line,)) if one.key == "most-read" else one for one in full_content.sections
    ]
    content = replace(full_content, sections=tuple(sections))
    for body in bodies(variants_of(content), Preferences(omit=frozenset({"events"}))):
        assert line.headline in body
        assert line.url in body
        assert "In Events" not in body
    pieces = render_edition(content, build_publication_context(OURS), create_mail_environment(OURS))
    assert {piece.kind for piece in pieces if "In Events" in piece.body} == {"web", "page"}


def test_a_publication_that_does_not_offer_topics_sends_all_of_them(content: EditionContent) -> None:
    file = OURS.file.model_copy(update={"preferences": PreferenceSettings(topics="off")})
    plain = variants_of(content, OURS.model_copy(update={"file": file}))
    omitting = Preferences(omit_topics=ALL_TOPICS)
    assert plain.find_wanted_variant(omitting) == VariantKey(frozenset(), text_only=False, is_short=False)
    assert all(is_told(topic, bodies(plain, omitting)[0]) for topic in TOPICS)
    without = bodies(plain, Preferences(omit=frozenset({"topics"})))
    assert not any(is_told(topic, body) for topic in TOPICS for body in without)


@pytest.mark.parametrize("topic", ["Наводнения", "Élections", "A topic of the operator’s that goes on and on", ""])
def test_any_name_of_a_topic_makes_a_fragment(content: EditionContent, topic: str) -> None:
    entry = SectionEntry("A story of its own", "https://example.org/own", kicker=topic)
    sections = [replace(s, entries=(*s.entries, entry)) if s.key == "topics" else s for s in content.sections]
    own = variants_of(replace(content, sections=tuple(sections)))
    assert "A story of its own" in bodies(own, Preferences())[1]
    assert "A story of its own" not in bodies(own, Preferences(omit_topics=frozenset({make_topic_slug(topic)})))[1]


def test_topics_that_differ_in_capitals_are_one(content: EditionContent) -> None:
    entry = SectionEntry("A story of its own", "https://example.org/own", kicker="FIRE SERVICE")
    sections = [replace(s, entries=(*s.entries, entry)) if s.key == "topics" else s for s in content.sections]
    html, text = bodies(variants_of(replace(content, sections=tuple(sections))), Preferences())
    assert "A story of its own" in text
    assert html.count("Fire service<") == 1


PLACEHOLDERS = PlaceholderValues("reader@example.org", "<1@x.example.org>", DATE_VALUE, "l" * 22, "p" * 22, "May 4")


def examine(variants: EditionVariants, preferences: Preferences, content: EditionContent) -> set[str]:
    """Give what preflight finds in the message that a reader with some preferences gets."""
    template, omitted = variants.template_for(preferences), variants.find_wanted_variant(preferences).omitted
    assert template is not None
    parts = {kind: variants.edition.join(kind, omitted) for kind in MAIL_KINDS}
    message = splice_message(template, PLACEHOLDERS)
    examined = PreflightInput(message, parts, content, OURS.file, OURS.link_base, {})
    return {finding.sentence for finding in run_preflight_rules(examined)}


def test_each_of_64_versions_is_sound_and_none_is_clipped_by_gmail(
    variants: EditionVariants, content: EditionContent
) -> None:
    chosen = [Preferences(omit_topics=frozenset(some)) for most in range(7) for some in combinations(KEYS, most)]
    wanted = {variants.find_wanted_variant(one): 1000 - place for place, one in enumerate(chosen)}
    assert len(wanted) > MAX_VARIANTS
    limited = variants.limit_to_most_wanted(wanted)
    full = len(bodies(variants, Preferences())[0].encode())
    templates = {limited.find_variant(one): limited.template_for(one) for one in chosen}
    templates[limited.find_variant(Preferences(text_only=True))] = limited.template_for(Preferences(text_only=True))
    assert len(templates) == MAX_VARIANTS
    as_drafted = examine(variants, Preferences(), content)
    for key, template in templates.items():
        assert template is not None
        assert message_faults(splice_message(template, PLACEHOLDERS)) == []
        assert not {"\x1d", "\x1e"} & set(template.text.text)
        if template.html:
            assert len(template.html.text.encode()) <= full < GMAIL_CLIP_SIZE
            assert "<!--cut" not in template.html.text
            omitted = frozenset(split_part_key(part)[1] for part in key.omitted)
            more = examine(variants, Preferences(omit_topics=omitted), content) - as_drafted
            left_out = [topic for topic in TOPICS if make_topic_slug(topic) in omitted]
            assert all(any(f"{topic}, story" in sentence for topic in left_out) for sentence in more), more
