"""The differences between two versions: each kind of change by name, as few as explain them, and none twice."""

import random
from dataclasses import replace
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from digest.edition.content.content_changes import ChangeKind, ContentChange, compare_contents
from digest.edition.content.edition_content import (
    EditionContent,
    EditionImage,
    EditionLink,
    EditionSection,
    LabeledBlock,
    SectionEntry,
)


def entries(*names: str) -> tuple[SectionEntry, ...]:
    return tuple(
        SectionEntry(headline=f"On {name}", url=f"https://a.example.org/{name}", summary="One.") for name in names
    )


def edition(featured: str, topics: str = "", **changed: object) -> EditionContent:
    """Give an edition whose stories are named by letters."""
    sections = tuple(
        EditionSection(key, key, key.capitalize(), "", entries(*names))
        for key, names in (("featured", featured), ("topics", topics))
    )
    content = EditionContent(
        "2026-W47", 147, "Ports", "", "Friday", 3, "Good morning.", "", sections, released_on=date(2026, 11, 20)
    )
    return replace(content, **changed)  # type: ignore[arg-type]


def said(change: ContentChange) -> tuple[str, str, str]:
    """Give kind, and from where to where."""
    before, after = (f"{p.section} {p.number}" if p else "" for p in (change.before, change.after))
    return str(change.kind), before, after


@pytest.mark.parametrize("lists_old", [True, False])
def test_a_story_with_another_page_as_its_lead_is_compared_with_what_it_was(*, lists_old: bool) -> None:
    before, after = edition("abc"), edition("adc")
    featured, *rest = after.sections if lists_old else before.sections
    first, led, last = featured.entries
    other = before.sections[0].entries[1] if lists_old else after.sections[0].entries[1]
    led = replace(led, also=(EditionLink(other.headline, other.url, "The Wire"),))
    sections = (replace(featured, entries=(first, led, last)), *rest)
    before, after = (
        (before, replace(after, sections=sections)) if lists_old else (replace(before, sections=sections), after)
    )
    headline, link, also = compare_contents(before, after).changes
    assert (headline.kind, headline.field, headline.was, headline.now) == ("rewritten", "headline", "On b", "On d")
    assert (link.field, also.field) == ("link", "also")


@pytest.mark.parametrize(
    ("before", "after", "changes"),
    [
        (edition("abc"), edition("abc"), []),
        (edition("abc"), edition("acb"), [("moved", "featured 3", "featured 2")]),
        (edition("abcd"), edition("dabc"), [("moved", "featured 4", "featured 1")]),
        (edition("abc", "d"), edition("ab", "cd"), [("moved", "featured 3", "topics 1")]),
        (edition("abc"), edition("bc"), [("dropped", "featured 1", "")]),
        (edition("abc"), edition("abcd"), [("added", "", "featured 4")]),
        (edition("abc"), edition("adc"), [("added", "", "featured 2"), ("dropped", "featured 2", "")]),
    ],
)
def test_a_story_that_is_somewhere_else_is_told_by_one_change(
    before: EditionContent, after: EditionContent, changes: list[tuple[str, str, str]]
) -> None:
    assert [said(change) for change in compare_contents(before, after).changes] in (
        changes,
        # Of two that changed places either one has moved.
        [("moved", "featured 2", "featured 3")] if changes[:1] == [("moved", "featured 3", "featured 2")] else changes,
    )


@pytest.mark.parametrize(("part", "kind"), [("related", "under"), ("also", "merged")])
def test_a_story_that_another_one_lists_now_was_put_under_it_or_merged(part: str, kind: str) -> None:
    before, after = edition("abc"), edition("ac")
    first, last = after.sections[0].entries
    gone = before.sections[0].entries[1]
    last = replace(last, **{part: (EditionLink(gone.headline, gone.url, "The Wire"),)})  # type: ignore[arg-type]
    after = replace(after, sections=(replace(after.sections[0], entries=(first, last)), after.sections[1]))
    comparison = compare_contents(before, after)
    assert [said(change) for change in comparison.changes] == [(kind, "featured 2", "featured 2")]
    (change,) = comparison.changes
    assert change.before
    assert change.after
    assert (change.before.headline, change.after.headline) == ("On b", "On c")


def test_texts_are_compared_one_by_one() -> None:
    before = edition("ab")
    first = replace(before.sections[0].entries[0], headline="On ports", summary="Two.")
    sections = (replace(before.sections[0], entries=(first, before.sections[0].entries[1])), before.sections[1])
    comparison = compare_contents(before, replace(before, subject="Ports reopen", sections=sections))
    assert [(c.field, c.was, c.now) for c in comparison.changes] == [
        ("subject", "Ports", "Ports reopen"),
        ("headline", "On a", "On ports"),
        ("summary", "One.", "Two."),
    ]
    assert comparison.unchanged_count == 4, "preheader, intro, signature and the other story"


def test_another_page_and_other_articles_of_a_story_are_told() -> None:
    before = edition("a")
    (was,) = before.sections[0].entries
    wire, radio = (
        EditionLink("The Wire", "https://wire.example/1"),
        EditionLink("Field Radio", "https://radio.example/2"),
    )
    own = EditionLink("HLS.Today", was.url)
    now = replace(
        was, url=wire.url, source="The Wire", also=(own, radio), related=(EditionLink("On b", "https://b.example/"),)
    )
    before = replace(before, sections=(replace(before.sections[0], entries=(replace(was, also=(wire, radio)),)),))
    after = replace(before, sections=(replace(before.sections[0], entries=(now,)),))
    assert [(c.field, c.was, c.now) for c in compare_contents(before, after).changes] == [
        ("link", f"{was.source}: {was.url}".removeprefix(": "), f"The Wire: {wire.url}"),
        ("also", "The Wire, Field Radio", "HLS.Today, Field Radio"),
        ("related", "", "On b"),
    ]


def test_an_added_story_is_told_with_what_was_put_under_it() -> None:
    before, after = edition("a"), edition("ab")
    first, second = after.sections[0].entries
    under = replace(
        second, related=(EditionLink("On c", "https://c.example/"), EditionLink("On d", "https://d.example/"))
    )
    after = replace(after, sections=(replace(after.sections[0], entries=(first, under)), *after.sections[1:]))
    added, related = compare_contents(before, after).changes
    assert said(added) == ("added", "", "featured 2")
    assert (said(related), related.field, related.now) == (("rewritten", "", "featured 2"), "related", "On c, On d")


def test_the_credit_of_an_image_is_told_with_its_description() -> None:
    before = edition("a")
    (was,) = before.sections[0].entries
    now = replace(was, picture=EditionImage("a" * 64, 120, 80, "A crane", credit="Port of Ellery"))
    after = replace(before, sections=(replace(before.sections[0], entries=(now,)), *before.sections[1:]))
    (change,) = compare_contents(before, after).changes
    assert (change.was, change.now) == ("", "A crane Port of Ellery")


def test_what_no_text_shows_is_still_a_change() -> None:
    before = edition("a")
    other = replace(before.sections[0].entries[0], date="Nov 18")
    (change,) = compare_contents(
        before, replace(before, sections=(replace(before.sections[0], entries=(other,)),))
    ).changes
    assert (change.kind, change.field) == (ChangeKind.REWRITTEN, "details")


@pytest.mark.parametrize(
    ("now", "changed"),
    [
        (EditionImage("b" * 64, 560, 315, "A crane"), False),
        (EditionImage("b" * 64, 120, 80, "A crane"), True),
        (EditionImage("a" * 64, 120, 80, "Two cranes"), True),
        (None, True),
    ],
)
def test_a_picture_in_another_size_is_the_same_and_another_picture_is_not(
    now: EditionImage | None, *, changed: bool
) -> None:
    before = edition("a")
    old, new = (
        replace(before.sections[0].entries[0], picture=picture)
        for picture in (EditionImage("a" * 64, 120, 80, "A crane"), now)
    )
    contents = (replace(before, sections=(replace(before.sections[0], entries=(entry,)),)) for entry in (old, new))
    assert [c.field for c in compare_contents(*contents).changes] == (["picture"] if changed else [])


def test_labelled_blocks_come_go_and_are_rewritten() -> None:
    sponsor = LabeledBlock("sponsor", "sponsor", "One channel left", "Northline")
    other = replace(sponsor, headline="Two channels left")
    cases = {(sponsor,): ChangeKind.ADDED, (): ChangeKind.DROPPED, (other,): ChangeKind.REWRITTEN}
    before = {ChangeKind.ADDED: (), ChangeKind.DROPPED: (sponsor,), ChangeKind.REWRITTEN: (sponsor,)}
    for blocks, kind in cases.items():
        changes = compare_contents(edition("a", blocks=before[kind]), edition("a", blocks=blocks)).changes
        assert [(c.kind, c.field) for c in changes] == [(kind, "block")]


def test_a_blocks_image_is_a_change_of_its_own() -> None:
    old = EditionImage("a" * 64, 120, 80, "A pump")
    block = LabeledBlock("sponsor", "sponsor", "One channel left", picture=old)
    for new in (replace(old, hash="b" * 64), replace(old, credit="Anvil"), replace(old, focus=(0.1, 0.2)), None):
        swapped = replace(block, picture=new)
        compared = compare_contents(edition("a", blocks=(block,)), edition("a", blocks=(swapped,)))
        assert [(c.field, c.images) for c in compared.changes] == [("block-image", (old, new))]
        both = replace(swapped, headline="Two channels left")
        again = compare_contents(edition("a", blocks=(block,)), edition("a", blocks=(both,)))
        assert [c.field for c in again.changes] == ["block", "block-image"]
        assert again.unchanged_count == compared.unchanged_count
        headlines = [block.headline for block in again.changes[0].blocks if block]
        assert headlines == ["One channel left", "Two channels left"]


names = st.lists(st.sampled_from("abcdefgh"), unique=True).map("".join)


@given(names, names, st.randoms(use_true_random=False))
def test_as_many_stories_as_there_are_were_kept_moved_added_or_dropped(
    old: str, new: str, chance: random.Random
) -> None:
    cut_old, cut_new = (chance.randint(0, len(text)) for text in (old, new))
    before, after = edition(old[:cut_old], old[cut_old:]), edition(new[:cut_new], new[cut_new:])
    comparison = compare_contents(before, after)
    head_fields = 4
    moved, added = comparison.count(ChangeKind.MOVED), comparison.count(ChangeKind.ADDED)
    assert comparison.unchanged_count - head_fields + moved == len(set(old) & set(new))
    assert added == len(set(new) - set(old))
    assert comparison.count(ChangeKind.DROPPED) == len(set(old) - set(new))
    assert compare_contents(after, after).changes == ()
