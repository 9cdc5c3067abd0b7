"""The short edition: the lead, the dates, and at most ten lines, joined from approved fragments like any other variant."""

from dataclasses import replace
from datetime import UTC, datetime
from itertools import combinations

import pytest
from lxml import html as lxml_html

from digest.deliver.compose.variant_limit import MAX_VARIANTS
from digest.deliver.compose.variants import EditionVariants, create_variants
from digest.edition.content.edition_content import EditionContent
from digest.edition.content.fragment_names import MAX_SHORT_LINES
from digest.edition.content.mailable_edition import build_mailable_draft
from digest.edition.rendering.fragments import build_publication_context, create_mail_environment, render_edition
from digest.settings import Settings
from digest.store.models import Edition, EditionState
from subscribers.consent.preferences import Preferences
from subscribers.part_keys import split_part_key

OURS = Settings.model_validate({"base_url": "https://news.example.org"})


def variants_of(
    content: EditionContent, *, kinds: tuple[str, ...] = ("html", "text", "short", "short-text")
) -> EditionVariants:
    pieces = render_edition(content, build_publication_context(OURS), create_mail_environment(OURS))
    edition = Edition(name=content.name, release_at=datetime(2026, 11, 20, 11, tzinfo=UTC), state=EditionState.DRAFT)
    edition.subject, edition.number, edition.preheader = content.subject, content.number, content.preheader
    return create_variants(build_mailable_draft(edition, [p for p in pieces if p.kind in kinds], OURS), OURS)


@pytest.fixture(scope="module")
def variants(full_content: EditionContent) -> EditionVariants:
    return variants_of(full_content)


def html_of(variants: EditionVariants, **choices: object) -> str:
    template = variants.template_for(Preferences(**choices))  # type: ignore[arg-type]  # the fields of Preferences
    assert template is not None
    return template.html.text if template.html else ""


def headings(html: str, level: int) -> list[str]:
    page = lxml_html.document_fromstring(html)
    return [" ".join(h.text_content().replace("\N{NO-BREAK SPACE}", " ").split()) for h in page.iter(f"h{level}")]


def test_it_holds_the_lead_the_dates_and_ten_lines(variants: EditionVariants, full_content: EditionContent) -> None:
    short, full = html_of(variants, short=True), html_of(variants)
    assert len(short.encode()) < 0.6 * len(full.encode())
    lead = full_content.sections[0].entries[0]
    assert headings(short, 2)[:4] == [
        "The short edition · 1-minute read",
        lead.headline,
        "Deadlines and events to December 4",
        "The rest, in brief",
    ]
    assert len(headings(short, 3)) == 2 + MAX_SHORT_LINES, "two dates, ten lines"
    assert len(set(headings(short, 3))) == len(headings(short, 3))
    assert "The short edition" in short
    assert "Get the full edition or" in short
    assert "In this issue" not in short
    assert "The short edition" not in full
    assert "Get the full edition" not in full


def test_its_minutes_are_measured(full_content: EditionContent) -> None:
    featured = full_content.sections[0]
    lead = replace(featured.entries[0], summary="word " * 2 * 238)
    longer = replace(full_content, sections=(replace(featured, entries=(lead,)), *full_content.sections[1:]))
    variants = variants_of(longer)
    assert headings(html_of(variants, short=True), 2)[0] == "The short edition · 3-minute read"
    template = variants.template_for(Preferences(short=True))
    assert template is not None
    assert "The short edition. A 3-minute read." in template.text.text


def test_its_text_says_what_its_html_says(variants: EditionVariants) -> None:
    template = variants.template_for(Preferences(short=True))
    assert template is not None
    said = " ".join(template.text.text.split())
    assert [h for h in headings(html_of(variants, short=True), 3) if h not in said] == []
    assert "\n\n\n\n" not in template.text.text
    assert not {"\x1d", "\x1e"} & set(template.text.text)
    text_only = variants.template_for(Preferences(short=True, text_only=True))
    assert text_only is not None
    assert (text_only.html, text_only.text) == (None, template.text)


def test_sections_that_a_subscriber_left_out_are_not_in_it_either(variants: EditionVariants) -> None:
    without = html_of(variants, short=True, omit=frozenset({"featured", "events", "opportunities"}))
    assert headings(without, 2)[0] == "The short edition", "its minutes aren't those of the whole one"
    assert headings(without, 2)[1:3] == ["The rest, in brief", "Did we miss something?"]
    assert len(headings(without, 3)) == MAX_SHORT_LINES, "what is most read, and then topics"


def test_who_would_be_left_with_nothing_gets_the_full_edition(
    variants: EditionVariants, full_content: EditionContent
) -> None:
    others = frozenset(section.key for section in full_content.sections) - {"products"}
    assert "Products" in headings(html_of(variants, short=True, omit=others), 2)
    older = variants_of(full_content, kinds=("html", "text"))
    assert html_of(older, short=True) == html_of(older)


def test_an_edition_of_a_lead_alone_has_no_lines(full_content: EditionContent) -> None:
    featured = full_content.sections[0]
    lone = replace(full_content, sections=(replace(featured, entries=featured.entries[:1]),), blocks=())
    assert "The rest, in brief" not in html_of(variants_of(lone), short=True)


def test_who_chose_the_65th_combination_gets_the_nearest_fuller_one(variants: EditionVariants) -> None:
    keys = sorted({split_part_key(part)[0] for part in variants.parts})
    omissions = [frozenset(some) for most in (1, 2, 3) for some in combinations(keys, most)]
    everybody = [Preferences(omit=omit, text_only=only) for only in (False, True) for omit in omissions]
    wanted = {variants.find_wanted_variant(one): 1000 - place for place, one in enumerate(everybody)}
    assert len(wanted) > MAX_VARIANTS
    limited = variants.limit_to_most_wanted(wanted)
    assert len({limited.find_variant(one) for one in everybody}) <= MAX_VARIANTS
    rarest = everybody[-1]
    omitted = limited.find_variant(rarest).omitted & set(keys)
    assert omitted < rarest.omit
    assert len(omitted) == 2, "the nearest"
    template, same = limited.template_for(rarest), variants.template_for(Preferences(omit=omitted, text_only=True))
    assert template is not None
    assert template == same
    assert limited.find_variant(Preferences(omit=omissions[0])).omitted & set(keys) == omissions[0]
