"""Labeled blocks, editors' notes, and stories without a page, in both parts of the email and from one edition to the next."""

from dataclasses import replace
from datetime import date, timedelta

import pytest
from jinja2 import Environment
from lxml import html as lxml_html
from sqlalchemy import select

from digest.app.editing import changes as editing
from digest.app.editing.edit_application import EditForm
from digest.collect.documents.parsed_document import SummaryBasis
from digest.edition.content.edition_content import EditionContent, LabeledBlock
from digest.edition.content.fragment_names import list_fragment_sections
from digest.edition.content.mailable_edition import join_fragments
from digest.edition.editing.edits import StoryField
from digest.edition.rendering.fragments import create_mail_environment, render_edition
from digest.installation.opened_installation import Installation
from digest.select.selection_types import SummaryOrigin
from digest.store.engine import Database
from digest.store.models import Edition
from tests.actors import EDITOR
from tests.edition.drafting.test_drafts import WEEKLY, add, approve_now, drafted
from tests.edition.test_rendering import FRAME, OURS, names_of, unbalanced
from tests.moments import DRAFTING as NOW

GRANT = LabeledBlock(
    "grant",
    "opportunity",
    "Grants for rural fire services",
    "County Fund",
    "Until Friday.",
    "https://fund.example.org/",
    "events",
)


@pytest.fixture(scope="module")
def pages() -> Environment:
    return create_mail_environment(OURS)


def test_every_block_stands_labelled_after_its_section_in_html_and_text(
    full_content: EditionContent, pages: Environment
) -> None:
    plain = LabeledBlock("plain", "sponsor", "Radios & more")
    content = replace(full_content, blocks=(*full_content.blocks, GRANT, plain))
    pieces = render_edition(content, FRAME, pages)
    names = [p.name for p in pieces if p.kind == "html"]
    assert names[(rows := names.index("section:featured.rows")) : rows + 3] == [
        names[rows],
        "block:sponsor",
        "block:plain",
    ]
    assert names[names.index("section:events") + 1] == "block:grant"
    assert names_of(pieces, "html") == names_of(pieces, "text")
    html, text = join_fragments(pieces, "html").text, join_fragments(pieces, "text").text
    words = " ".join(lxml_html.document_fromstring(html).text_content().split())
    assert "Opportunity · from County Fund Grants for rural fire services Until Friday." in words.replace("\xa0", " ")
    assert "Sponsor Radios & more" in words.replace("\xa0", " ")
    assert (
        "OPPORTUNITY\nFrom County Fund\n\nGrants for rural fire services\nUntil Friday.\nhttps://fund.example.org/"
        in text
    )
    assert unbalanced(html) == []


def test_a_block_after_a_section_that_is_not_there_stands_after_the_first(
    full_content: EditionContent, pages: Environment
) -> None:
    content = replace(full_content, blocks=(replace(GRANT, after="gone"),), sections=full_content.sections[1:])
    names = [p.name for p in render_edition(content, FRAME, pages) if p.kind == "html"]
    assert names[(first := names.index("section:most-read")) : first + 2] == [names[first], "block:grant"]


@pytest.mark.parametrize("place", range(6))
def test_a_story_without_a_page_is_no_link_and_its_note_stands_under_it(
    full_content: EditionContent, pages: Environment, place: int
) -> None:
    section = full_content.sections[place]
    own = tuple(
        replace(e, url="", note=f"Note {n}: we were there.", also=(), related=()) for n, e in enumerate(section.entries)
    )
    pieces = render_edition(replace(full_content, sections=(replace(section, entries=own),), blocks=()), FRAME, pages)
    for kind in ("html", "web", "text"):
        body = join_fragments(pieces, kind).text
        assert all(f"Note {n}: we were there." in body.replace("\xa0", " ") for n in range(len(own)))
    piece = "".join(p.body for p in pieces if p.kind == "html" and section.key in list_fragment_sections(p.name))
    tree = lxml_html.fragment_fromstring(piece, create_parent="div")
    assert [a.get("href") for a in tree.iter("a") if not a.get("href", "").endswith(".ics")] == []
    assert [e.headline for e in own if e.headline.replace(" ", "") not in "".join(tree.text_content().split())] == []


def test_a_block_runs_on_in_later_editions_until_its_last_day(database: Database) -> None:
    install = Installation(WEEKLY, database)
    add(database, "early border news", dated=NOW - timedelta(days=1), found=NOW)
    drafted(install)
    form = EditForm("2026-W47", EDITOR, NOW)
    editing.save_labeled_block(install, form, replace(GRANT, last_day=date(2026, 11, 30)))
    editing.save_labeled_block(install, form, replace(GRANT, id="later", first_day=date(2026, 11, 27)))
    editing.save_labeled_block(install, form, replace(GRANT, id="taken-out"))
    editing.remove_labeled_block(install, form, "taken-out")
    assert running(database) == {"2026-W47": ["grant"]}
    for week in (1, 2):
        with database.read() as session:
            edition = session.scalars(select(Edition).order_by(Edition.release_at.desc())).first()
        assert edition is not None
        moment = NOW + timedelta(days=7 * (week - 1))
        approve_now(install, edition, moment)
        add(database, f"border news {week}", dated=NOW + timedelta(days=7 * week - 1), found=NOW)
        drafted(install, NOW + timedelta(days=7 * week))
    assert running(database) == {"2026-W47": ["grant"], "2026-W48": ["grant", "later"], "2026-W49": ["later"]}


def running(database: Database) -> dict[str, list[str]]:
    with database.read() as session:
        editions = session.scalars(select(Edition).order_by(Edition.release_at))
        return {e.name: [block["id"] for block in e.content["blocks"]] for e in editions}


def test_a_story_that_was_written_here_is_in_the_edition_without_a_link(one_database: Database) -> None:
    install = Installation(WEEKLY, one_database)
    add(one_database, "early border news", dated=NOW - timedelta(days=1), found=NOW)
    drafted(install)
    form = EditForm("current", EDITOR, NOW)
    written = editing.add_written_story(
        install, form, {"title": "We moved", "summary": "To new rooms."}, section="featured"
    )
    assert written.edit is not None
    editing.set_editor_note(install, form, written.edit.target, "Come and see us.")
    editing.set_story_text(install, form, written.edit.target, StoryField.KICKER, "In our own matter")
    with one_database.read() as session:
        (edition,) = session.scalars(select(Edition))
    entry = edition.content["sections"][0]["entries"][-1]
    assert (entry["headline"], entry["url"], entry["note"]) == ("We moved", "", "Come and see us.")
    assert entry["kicker"] == "In our own matter"


def test_a_borrowed_summary_names_its_publisher_in_both_parts_and_the_links_own_is_not_named_twice(
    full_content: EditionContent, pages: Environment
) -> None:
    featured = full_content.sections[0]
    first, second, *others = featured.entries
    borrowed = replace(first, summary_origin=SummaryOrigin(SummaryBasis.DESCRIPTION, "Harbor Log", first.source))
    own = replace(second, summary_origin=SummaryOrigin(SummaryBasis.OPENING, second.source))
    sections = (replace(featured, entries=(borrowed, own, *others)), *full_content.sections[1:])
    pieces = render_edition(replace(full_content, sections=sections), FRAME, pages)
    for kind in ("html", "text"):
        assert join_fragments(pieces, kind).text.count("Summary from Harbor Log") == 1
        assert join_fragments(pieces, kind).text.count("Summary from") == 1
