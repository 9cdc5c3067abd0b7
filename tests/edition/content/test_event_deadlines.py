"""An event's own deadline, which its text may not state: shown on the event, and used as the next deadline."""

from dataclasses import replace
from datetime import UTC, date, datetime, time

import pytest

from digest.collect.documents.deadlines import Deadline
from digest.edition.content.corrected_content import correct_entry
from digest.edition.content.edition_content import EditionContent
from digest.edition.drafting.content_builder import build_content
from digest.edition.editing.arrangement import Arrangement, arrange_edition
from digest.edition.editing.edits import NO_DEADLINE, Edit, EditKind, StoryField
from digest.edition.editing.stored_proposal import ProposalWithLateStories
from digest.edition.rendering.mail_layout import find_next_deadline
from digest.select.selection_types import CandidateArticle
from digest.store.correction_models import Correction
from digest.web.desk.outline.edit_outline import build_edit_page_data
from subscribers.subscriber_language import ENGLISH
from tests.edition.edited_weeks import ARTICLES, FILE, IDENTITY, NOW, RELEASE_DAY, propose

URL = "https://register.example.gov/harbor-council"
REGISTRATION = Deadline(date(2026, 12, 4), time(17), "America/New_York", "registration")
MEETING = CandidateArticle(
    URL, URL, "Harbor Advisory Council; Notice of Meeting", "The council talks about buoys.", "Register", "Register",
    NOW, section="events", starts_at=datetime(2026, 12, 8, 18, tzinfo=UTC), deadline=REGISTRATION,
)  # fmt: skip


def arrange(meeting: CandidateArticle, *texts: dict[str, str]) -> Arrangement:
    edits = [Edit(n, NOW, "staff 1", EditKind.TEXT, URL, text) for n, text in enumerate(texts, 1)]
    return arrange_edition(ProposalWithLateStories(propose((*ARTICLES, meeting))), tuple(edits), FILE, RELEASE_DAY)


def write(arrangement: Arrangement) -> EditionContent:
    return build_content(arrangement, IDENTITY, FILE, ENGLISH)


def test_it_is_shown_on_the_event_and_is_the_next_deadline() -> None:
    content = write(arrange(MEETING))
    (event,) = content.sections[-1].entries
    words = "Friday, December 4, 5 p.m. ET"
    assert f"Registration due: {words}" in event.details
    announced = find_next_deadline(content.sections)
    assert announced is not None
    assert (announced.when.text, announced.when.label) == (words, "Registration due")
    assert "Next deadline: Dec 4" in content.preheader


@pytest.mark.parametrize("summary", ["Register by December 1 at the office.", "Register by December 4."])
def test_an_earlier_day_in_its_texts_comes_first_and_the_same_day_keeps_its_hour(summary: str) -> None:
    content = write(arrange(replace(MEETING, summary=summary)))
    due = content.sections[-1].entries[0].due
    assert due is not None
    assert due.text == ("Tuesday, December 1" if "December 1 " in summary else "Friday, December 4, 5 p.m. ET")


def test_an_editor_can_keep_it_out_and_choose_it_again() -> None:
    arrangement = arrange(MEETING, {"field": StoryField.DUE, "text": NO_DEADLINE})
    content = write(arrangement)
    assert find_next_deadline(content.sections) is None
    page = build_edit_page_data(arrangement, content, FILE.sections, (), FILE.publication.zone)
    choices = [row.deadline_choices for section in page.sections for row in section.rows if row.deadline_choices]
    assert choices == [((REGISTRATION, False),)]


def test_a_past_one_is_neither_shown_nor_announced() -> None:
    content = write(arrange(replace(MEETING, deadline=replace(REGISTRATION, day=date(2026, 11, 19)))))
    (event,) = content.sections[-1].entries
    assert (event.details, event.due) == (("The council talks about buoys.",), None)


def test_a_correction_of_the_headline_keeps_it() -> None:
    (event,) = write(arrange(MEETING)).sections[-1].entries
    made = Correction(url=URL, section="events", field="headline", was=event.headline, becomes="Harbor talks", at=NOW)
    corrected = correct_entry(event, [made])
    assert (corrected.headline, corrected.due) == ("Harbor talks", event.due)
