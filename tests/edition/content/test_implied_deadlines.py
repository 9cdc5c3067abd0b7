"""Deadlines for which a text gives only a weekday: suggested to editors, and announced only if an editor chooses one."""

from dataclasses import replace
from datetime import date

import pytest

from digest.edition.content.corrected_content import correct_entry
from digest.edition.content.edition_content import EditionContent, SectionEntry
from digest.edition.drafting.content_builder import build_content
from digest.edition.editing.arrangement import Arrangement, arrange_edition
from digest.edition.editing.edits import Edit, EditKind, StoryField
from digest.edition.editing.stored_proposal import ProposalWithLateStories
from digest.store.correction_models import Correction
from digest.web.desk.outline.edit_outline import build_edit_page_data
from subscribers.subscriber_language import ENGLISH
from tests.edition.edited_weeks import ARTICLES, FILE, IDENTITY, NOW, RELEASE_DAY, propose

FRIDAY = date(2026, 11, 20)  # the send day; NOW is the Wednesday before
SUMMARY = "The agency gives hospitals until Friday to answer."
CHOSEN = {"field": StoryField.DUE, "text": FRIDAY.isoformat()}


def arrange_week(*values: dict[str, str], has_date: bool = True) -> Arrangement:
    """Arrange a week whose lead states a weekday, with edits of the lead's texts."""
    lead = replace(ARTICLES[2], summary=SUMMARY, has_date=has_date, primary=True)
    grown = ProposalWithLateStories(propose((*ARTICLES[:2], lead, *ARTICLES[3:])))
    edits = [Edit(n, NOW, "staff 1", EditKind.TEXT, lead.url, value) for n, value in enumerate(values, 1)]
    return arrange_edition(grown, tuple(edits), FILE, RELEASE_DAY)


def write(arrangement: Arrangement) -> EditionContent:
    return build_content(arrangement, IDENTITY, FILE, ENGLISH)


def find_lead(content: EditionContent) -> SectionEntry:
    lead = content.sections[0].entries[0]
    assert lead.url == ARTICLES[2].url
    return lead


def list_choices(arrangement: Arrangement) -> list[tuple[date, bool]]:
    page = build_edit_page_data(arrangement, write(arrangement), FILE.sections, (), FILE.publication.zone)
    return [(deadline.day, by_weekday) for deadline, by_weekday in page.sections[0].rows[0].deadline_choices]


def test_it_is_offered_at_the_desk_and_not_announced_by_itself() -> None:
    arrangement = arrange_week()
    assert list_choices(arrangement) == [(FRIDAY, True)]
    assert find_lead(write(arrangement)).due is None


def test_it_is_announced_if_an_editor_chose_it() -> None:
    due = find_lead(write(arrange_week(CHOSEN))).due
    assert due is not None
    assert (due.day, due.text) == (FRIDAY, "Friday, November 20")


@pytest.mark.parametrize(
    ("values", "has_date"),
    [
        ((), False),  # the date is only the moment of finding
        (({"field": StoryField.SUMMARY, "text": "Hospitals must answer by Friday, we hear."},), True),
    ],
)
def test_it_is_not_offered_if_nobody_knows_from_which_day_it_counts(
    values: tuple[dict[str, str], ...], *, has_date: bool
) -> None:
    assert list_choices(arrange_week(*values, has_date=has_date)) == []


@pytest.mark.parametrize(
    ("text", "day"), [("Hospitals must answer by Friday.", FRIDAY), ("Hospitals must answer by Monday.", None)]
)
def test_a_correction_keeps_it_only_with_its_weekday(text: str, day: date | None) -> None:
    entry = find_lead(write(arrange_week(CHOSEN)))
    made = Correction(url=entry.url, section="featured", field="summary", was=entry.summary, becomes=text, at=NOW)
    due = correct_entry(entry, [made]).due
    assert (due.day if due else None) == day
