"""Slots: only templates can create a place to fill in."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from digest.edition.approval.approved_versions import hash_fragment
from digest.edition.content.edition_content import EditionContent
from digest.edition.content.slotted_text import (
    LEAVE_SLOT,
    PREFERENCES_SLOT,
    SIGNUP_SLOT,
    Slot,
    SlottedText,
    join_slotted_texts,
    pack_slots,
    unpack_slots,
)
from digest.edition.rendering.css_inlining import inline_css
from digest.edition.rendering.fragments import build_publication_context, create_mail_environment, render_edition
from digest.edition.rendering.sanitizer import RenderingError
from digest.edition.rendering.slot_marks import SlotMarks
from digest.settings import Settings

OURS = Settings.model_validate({"base_url": "https://news.example.org"})
SLOTS = (LEAVE_SLOT, PREFERENCES_SLOT, SIGNUP_SLOT, Slot("fact leave-token"))
PARTS: st.SearchStrategy[str | Slot] = st.sampled_from(SLOTS) | st.text(max_size=9) | st.text("0123456789", max_size=40)
TEXTS = st.lists(PARTS, max_size=12).map(SlottedText.from_parts)


@given(TEXTS)
def test_a_text_comes_back_through_its_parts_its_marks_and_its_stored_form(text: SlottedText) -> None:
    marks = SlotMarks()
    assert SlottedText.from_parts(text.parts()) == text
    assert marks.split(marks.write(text)) == text
    assert SlottedText(text.text, unpack_slots(json.loads(json.dumps(pack_slots(text.slots))))) == text
    assert "" not in list(text.parts())


@given(TEXTS, TEXTS)
def test_texts_with_other_slots_have_other_hashes_and_joining_keeps_both(one: SlottedText, other: SlottedText) -> None:
    assert (hash_fragment(one.text, one.slots) == hash_fragment(other.text, other.slots)) == (one == other)
    assert list(join_slotted_texts([one, other]).slots) == [
        *one.slots,
        *((offset + len(one.text), slot) for offset, slot in other.slots),
    ]


@given(TEXTS)
def test_no_text_has_the_hash_of_a_text_with_slots(text: SlottedText) -> None:
    spelled = json.dumps([text.text, pack_slots(text.slots)], separators=(",", ":"))
    assert hash_fragment(spelled) != hash_fragment(text.text, text.slots)


@given(TEXTS)
def test_filling_puts_each_value_into_its_slot_and_looks_at_no_text(text: SlottedText) -> None:
    values = {slot: f"<{LEAVE_SLOT.name} {slot.name}>" for slot in SLOTS}
    assert text.fill_some({LEAVE_SLOT: values[LEAVE_SLOT]}).fill(values) == text.fill(values)
    assert text.fill(dict.fromkeys(SLOTS, "")) == text.text


ESCAPED = st.sampled_from(
    [
        *("~leave-token~", r"\~leave-token\~", "&#126;leave-token&#126;", "%7Eleave-token%7E", "leave-token"),
        *("](https://elsewhere.example/?", ")", "[", "*", "**", "\\", "&#", ";", "<", ">", '"', "000000000000", "01"),
    ]
)


@settings(max_examples=12, deadline=None)
@given(words=st.lists(ESCAPED, max_size=12).map("".join))
def test_no_text_makes_a_slot(full_content: EditionContent, words: str) -> None:
    frame, environment = build_publication_context(OURS), create_mail_environment(OURS)

    def slots_of(content: EditionContent) -> list[list[str]]:
        return [
            [slot.name for _, slot in piece.slots or ()]
            for piece in render_edition(content, frame, environment)
            if piece.kind != "web"
        ]

    section, *others = full_content.sections
    entries = tuple(replace(entry, headline=f"x{words}", note=f"x{words}") for entry in section.entries)
    planted = replace(full_content, intro=f"x{words}", sections=(replace(section, entries=entries), *others))
    assert slots_of(planted) == slots_of(full_content)


@pytest.mark.parametrize("cut", ["leave|truncate(50)", "asked[:20]", "asked[9:]"])
def test_a_template_that_cuts_a_placeholder_is_an_error(full_content: EditionContent, tmp_path: Path, cut: str) -> None:
    own = tmp_path / "mail" / "edition" / "foot.html"
    own.parent.mkdir(parents=True)
    own.write_text("<table><tr><td>{{ " + cut + " }}</td></tr></table>", "utf-8")
    environment = create_mail_environment(OURS.model_copy(update={"templates": tmp_path}))
    with pytest.raises(RenderingError, match="alters a placeholder"):
        render_edition(full_content, build_publication_context(OURS), environment)


def test_a_page_is_inlined_once_for_every_rendering_and_no_mark_is_left_in_what_is_kept(
    full_content: EditionContent,
) -> None:
    frame, environment = build_publication_context(OURS), create_mail_environment(OURS)
    render_edition(full_content, frame, environment)
    before = inline_css.cache_info()
    again = render_edition(full_content, frame, environment)
    assert inline_css.cache_info().hits == before.hits + 1
    assert inline_css.cache_info().misses == before.misses
    assert again == render_edition(full_content, frame, environment), "the same bytes, whatever the marks were"
