"""Skipping, moving, adding, and restoring editions, and the effect on their drafts."""

from datetime import UTC, date, datetime, time, timedelta

import pytest
from sqlalchemy import select

from digest.app.calendar import releases as calendar
from digest.app.calendar.release_drafts import CalendarError
from digest.app.editing import changes as editing
from digest.app.editing.edit_application import EditForm
from digest.app.editions import drafting as editions
from digest.collect.documents.parsed_document import DateBasis, DocumentKind, ParsedDocument, ParsedItem
from digest.collect.fetch.fetcher import FolderFetcher
from digest.edition.content.edition_content import EditionContent
from digest.edition.editing.edits import EditionField
from digest.installation.opened_installation import Installation
from digest.settings import PublicationSettings, SelectionSettings, SenderSettings, Settings, SettingsFileContent
from digest.store.engine import Database
from digest.store.models import AuditEntry, Edition, EditionState, EditionStory, ReleaseScheduleChange, Source
from tests.actors import EDITOR
from tests.collect.stored_documents import store_document
from tests.conftest import ROOT
from tests.moments import MONDAY_MORNING as MONDAY
from tests.moments import RELEASE as FRIDAY

THURSDAY = datetime(2026, 11, 19, 23, tzinfo=UTC)
WEEK = timedelta(days=7)
SETTINGS = Settings(
    base_url="https://news.example.org",
    file=SettingsFileContent(
        publication=PublicationSettings(first_number=147),
        sender=SenderSettings(postal_address="1 Test Street"),
        select=SelectionSettings(minimum=1),
    ),
)


@pytest.fixture
def install(database: Database) -> Installation:
    """Give an installation in which one article waits for an edition."""
    installation = Installation(SETTINGS, database)
    publish(installation, "early border news", MONDAY - timedelta(days=1))
    return installation


def publish(install: Installation, title: str, dated_at: datetime) -> None:
    """Publish an article at a source of the test."""
    with install.database.write() as session:
        source = session.scalar(select(Source))
        if source is None:
            source = Source(url="https://a.example.org/feed", name="A", publisher="A Press", topics={})
            session.add(source)
            session.flush()
        url = f"https://a.example.org/{title.replace(' ', '-')}"
        summary = f"The {title} is a matter of border security."
        item = ParsedItem(
            guid=title,
            url=url,
            link=url,
            title=title,
            summary=summary,
            published=dated_at,
            date_basis=DateBasis.PUBLISHED,
        )
        store_document(session, source, ParsedDocument(DocumentKind.RSS, (item,)), dated_at)


def draft(install: Installation, now: datetime) -> str:
    """Draft the next edition; give its name."""
    fetcher = FolderFetcher(ROOT / "digest" / "sample")
    return editions.draft_next_edition(install, now=now, actor=EDITOR, fetcher=fetcher).name


def edition_of(install: Installation, name: str) -> Edition:
    with install.database.read() as session:
        return session.scalars(select(Edition).where(Edition.name == name)).one()


def headlines(install: Installation, name: str) -> set[str]:
    """Name what an edition considered."""
    with install.database.read() as session:
        query = (
            select(EditionStory.title).join(Edition, Edition.id == EditionStory.edition_id).where(Edition.name == name)
        )
        return set(session.scalars(query))


def set_state(install: Installation, name: str, state: EditionState) -> None:
    with install.database.write() as session:
        session.scalars(select(Edition).where(Edition.name == name)).one().state = state


def planned(install: Installation, now: datetime, count: int = 4) -> list[tuple[str, str, int | None]]:
    """Give the days, names and numbers of the next releases."""
    entries = calendar.read_calendar(install, now=now, count=count)
    return [(f"{e.release.release_at:%m-%d %H:%M}", e.name, e.number) for e in entries]


def test_a_skipped_edition_gives_its_week_to_the_next_and_comes_back_with_its_draft(install: Installation) -> None:
    set_state(install, draft(install, THURSDAY - WEEK), EditionState.SENT)  # the first looks back a week and no further
    name = draft(install, THURSDAY)
    form = EditForm(name, EDITOR, THURSDAY)
    editing.set_edition_text(install, form, EditionField.SUBJECT, "Our own subject")
    calendar.skip_release(install, FRIDAY, actor=EDITOR, now=THURSDAY)
    assert edition_of(install, name).state == EditionState.CANCELLED
    assert planned(install, THURSDAY)[:2] == [("11-20 11:00", "2026-W47", None), ("11-27 11:00", "2026-W48", 148)]
    with pytest.raises(CalendarError, match="already been skipped"):
        calendar.skip_release(install, FRIDAY, actor=EDITOR, now=THURSDAY)
    calendar.restore_release(install, FRIDAY, actor=EDITOR, now=THURSDAY)
    assert (edition_of(install, name).state, edition_of(install, name).subject) == (
        EditionState.DRAFT,
        "Our own subject",
    )
    with install.database.read() as session:
        assert session.scalars(select(ReleaseScheduleChange)).all() == []
    calendar.skip_release(install, FRIDAY, actor=EDITOR, now=THURSDAY)
    assert draft(install, THURSDAY + WEEK) == "2026-W48"
    assert headlines(install, "2026-W48") == {"early border news"}
    assert edition_of(install, "2026-W48").number == 148
    with pytest.raises(CalendarError, match="2026-W48 has already been drafted"):
        calendar.restore_release(install, FRIDAY, actor=EDITOR, now=THURSDAY)


@pytest.mark.takes_turns
def test_a_moved_edition_takes_its_draft_along_with_its_edits_and_its_new_day(install: Installation) -> None:
    name = draft(install, THURSDAY)
    editing.set_edition_text(install, EditForm(name, EDITOR, THURSDAY), EditionField.SUBJECT, "Our own subject")
    moved = calendar.move_release(install, FRIDAY, date(2026, 11, 23), time(9), actor=EDITOR, now=THURSDAY)
    assert moved.release_at == datetime(2026, 11, 23, 14, tzinfo=UTC)
    edition = edition_of(install, "2026-W48")
    assert (edition.release_at, edition.subject) == (moved.release_at, "Our own subject")
    assert EditionContent.from_json(edition.content).name == "2026-W48"
    assert planned(install, THURSDAY)[:2] == [("11-23 14:00", "2026-W48", 147), ("11-27 11:00", "2026-W48-2", 148)]
    assert draft(install, THURSDAY + timedelta(hours=1)) == "2026-W48"
    calendar.restore_release(install, moved.release_at, actor=EDITOR, now=THURSDAY)
    assert edition_of(install, "2026-W47").release_at == FRIDAY
    assert planned(install, THURSDAY)[0] == ("11-20 11:00", "2026-W47", 147)


@pytest.mark.takes_turns
def test_an_extra_edition_has_its_own_window_and_number_and_leaves_the_weeks_name(install: Installation) -> None:
    added = calendar.add_release(install, date(2026, 11, 18), time(12), actor=EDITOR, now=MONDAY)
    assert planned(install, MONDAY, 2) == [("11-18 17:00", "2026-W47-2", 147), ("11-20 11:00", "2026-W47", 148)]
    tuesday = datetime(2026, 11, 17, 22, 30, tzinfo=UTC)
    assert draft(install, tuesday) == "2026-W47-2"
    set_state(install, "2026-W47-2", EditionState.SENT)
    publish(install, "fresh border news", tuesday + timedelta(hours=2))
    assert draft(install, THURSDAY) == "2026-W47"
    usual = edition_of(install, "2026-W47")
    assert (usual.number, usual.opens_at) == (148, tuesday)
    assert headlines(install, "2026-W47") == {"fresh border news"}
    with pytest.raises(CalendarError, match="is sent"):
        calendar.skip_release(install, added.release_at, actor=EDITOR, now=THURSDAY)


def test_an_extra_edition_before_one_that_is_drafted_is_refused_and_one_without_a_draft_is_removed(
    install: Installation,
) -> None:
    added = calendar.add_release(install, date(2026, 11, 24), time(12), actor=EDITOR, now=MONDAY)
    calendar.skip_release(install, added.release_at, actor=EDITOR, now=MONDAY)
    assert [day for day, *_ in planned(install, MONDAY, 2)] == ["11-20 11:00", "11-27 11:00"]
    draft(install, MONDAY)
    with pytest.raises(CalendarError, match="2026-W47 has already been drafted"):
        calendar.add_release(install, date(2026, 11, 18), time(12), actor=EDITOR, now=MONDAY)
    with install.database.read() as session:
        query = select(AuditEntry.act).where(AuditEntry.act.contains("release")).order_by(AuditEntry.id)
        acts = session.scalars(query).all()
    assert acts == ["added release", "skipped release", "failed: added release"]


@pytest.mark.takes_turns
def test_what_is_approved_is_neither_skipped_nor_moved(install: Installation) -> None:
    name = draft(install, THURSDAY)
    set_state(install, name, EditionState.APPROVED)
    with pytest.raises(CalendarError, match="Revoke the approval first"):
        calendar.skip_release(install, FRIDAY, actor=EDITOR, now=THURSDAY)
    with pytest.raises(CalendarError, match="Revoke the approval first"):
        calendar.move_release(install, FRIDAY, date(2026, 11, 21), time(6), actor=EDITOR, now=THURSDAY)
    assert edition_of(install, name).release_at == FRIDAY


@pytest.mark.takes_turns
def test_what_is_not_planned_or_stands_as_usual_is_refused(install: Installation) -> None:
    with pytest.raises(CalendarError, match="usual time"):
        calendar.restore_release(install, FRIDAY + WEEK, actor=EDITOR, now=MONDAY)
    with pytest.raises(CalendarError, match="No edition is scheduled"):
        calendar.skip_release(install, FRIDAY + timedelta(hours=1), actor=EDITOR, now=MONDAY)
    with pytest.raises(CalendarError, match="already has this send time"):
        calendar.move_release(install, FRIDAY, date(2026, 11, 20), time(6), actor=EDITOR, now=MONDAY)
    assert planned(install, MONDAY, 1) == [("11-20 11:00", "2026-W47", 147)]


def test_a_release_is_named_by_its_day_its_edition_or_as_the_next(install: Installation) -> None:
    extra = calendar.add_release(install, date(2026, 11, 27), time(18), actor=EDITOR, now=MONDAY)
    find = [calendar.find_release(install, text, now=MONDAY) for text in ("next", "2026-11-20", "2026-W47")]
    assert {release.release_at for release in find} == {FRIDAY}
    assert calendar.find_release(install, "2026-11-27T18:00", now=MONDAY).release_at == extra.release_at
    with pytest.raises(CalendarError, match="2 editions are scheduled"):
        calendar.find_release(install, "2026-11-27", now=MONDAY)
    for text in ("2026-11-25", "9999-12-31", "Christmas"):
        with pytest.raises(CalendarError, match="scheduled"):
            calendar.find_release(install, text, now=MONDAY)
