"""Editions as shown on pages. Nothing is changed."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from zoneinfo import ZoneInfo

from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from digest.app.editions.count_cache import CountCache, count_edition_deliveries
from digest.app.editions.editor_changes import (
    EditionChangeCounts,
    find_editor_change_counts,
    list_edition_change_counts,
)
from digest.app.editions.web_editions import list_shown_corrections
from digest.app.subscribers.subscriber_views import count_edition_recipients
from digest.collect.articles import email_images
from digest.deliver.control.installation_hold import read_current_hold
from digest.deliver.plan.delivery_plan import DeliveryCounts
from digest.deliver.plan.planning import RecipientCounts
from digest.deliver.providers import registry
from digest.deliver.retention.cached_delivery_counts import load_cached_delivery_counts
from digest.deliver.send.claims.send_progress import describe_progress, read_progress
from digest.edition.archive import corrections, verified_editions
from digest.edition.content.edition_content import EditionContent, EditionImage
from digest.edition.content.editor_changes import EditorChangeCounts
from digest.edition.content.mailable_edition import join_fragments
from digest.edition.edition_queries import (
    IS_REGULAR,
    PUBLIC_STATES,
    WITHOUT_TEXTS,
    explain_missed_release,
    find_edition,
)
from digest.edition.rendering.corrected_copy import insert_corrections
from digest.installation.opened_installation import BRING_SCHEMA_UP, Installation
from digest.store.correction_models import Correction
from digest.store.engine import REPLACE_DEVELOPMENT_BUILD, is_development_revision, newest_schema_revision
from digest.store.models import Edition, EditionState, EditionStory, MediaFile, Source
from digest.store.schedule_slots import find_schedule_start, is_schedule_off_by_choice
from subscribers.errors import ApplicationError

SENT_OR_CANCELED_STATES = (*PUBLIC_STATES, EditionState.CANCELLED)
SENT_PAGE_SIZE = 50  # editions


@dataclass(frozen=True, slots=True)
class EditionWithCounts:
    """An edition, its delivery counts, and a sentence about its progress.

    `progress_sentence` is empty unless the edition is being sent and isn't paused.
    """

    edition: Edition
    counts: DeliveryCounts
    progress_sentence: str


class SendStartCondition(StrEnum):
    """The event that starts the sending of an approved edition once it's due."""

    TIMETABLE = "timetable"  # a process follows the schedule and starts sending within a minute
    COMMAND = "command"  # automatic sending is off, so someone has to run 'digest send'
    END_OF_HOLD = "end of hold"


@dataclass(frozen=True, slots=True)
class EditionView:
    """An edition and its release as shown at the desk.

    `is_written_to_files` is True if email is only written to files. `send_start_condition` is the event that
    starts sending once the edition is due.
    """

    edition: Edition
    recipients: RecipientCounts
    missed_sentence: str
    is_written_to_files: bool
    send_start_condition: SendStartCondition

    @property
    def is_approved(self) -> bool:
        """True if the edition is approved but not being sent yet."""
        return self.edition.state is EditionState.APPROVED


def read_edition(installation: Installation, name: str) -> Edition:
    """Return the database row of the edition with this name.

    Raises:
        UnknownEditionError: there's no edition of that name.
    """
    with installation.read() as session:
        return find_edition(session, name)


@dataclass(frozen=True, slots=True)
class EditionSummary:
    """The stories, delivery counts, and edits of an edition that can no longer be edited.

    `stories` are those that are in a section. `editor_counts` counts the editors' changes to the
    approved version, or is None if they weren't counted.
    """

    stories: tuple[EditionStory, ...]
    sent: EditionWithCounts
    editor_counts: EditorChangeCounts | None


def view_edition(installation: Installation, edition: Edition, *, now: datetime) -> EditionView:
    """Return an edition and its release as shown at the desk.

    For the edition's email, see `edition_checks.render_and_check_edition_email`.
    """
    with installation.read() as session:
        return EditionView(
            edition=edition,
            recipients=count_edition_recipients(installation, edition, now=now),
            missed_sentence=explain_missed_release(edition, now),
            is_written_to_files=registry.is_outbox_in_use(installation.settings),
            send_start_condition=find_send_start_condition(session, now),
        )


def read_edition_summary(
    installation: Installation, edition: Edition, *, recent: CountCache | None = None, now: datetime
) -> EditionSummary:
    """Return an edition's stories, delivery counts, and number of editors' changes."""
    counts = count_edition_deliveries(installation, edition.name, recent, now=now)
    with installation.read() as session:
        stories = select(EditionStory).where(EditionStory.edition_id == edition.id)
        return EditionSummary(
            stories=tuple(session.scalars(stories.where(EditionStory.section.is_not(None)))),
            sent=_sent_edition(session, edition, counts, now, installation.settings.zone),
            editor_counts=find_editor_change_counts(session, edition),
        )


def find_send_start_condition(session: Session, now: datetime) -> SendStartCondition:
    """Return the event that starts the sending of a due edition.

    A scheduler that stopped by itself is expected back. If none has ever run, or if it was turned off
    on purpose, the end of a pause doesn't start anything.
    """
    if not find_schedule_start(session) or is_schedule_off_by_choice(session, now):
        return SendStartCondition.COMMAND
    return SendStartCondition.END_OF_HOLD if read_current_hold(session) else SendStartCondition.TIMETABLE


def is_automatic_sending_off(installation: Installation, *, now: datetime) -> bool:
    """Return True if due emails wait until someone runs `digest send`."""
    with installation.read() as session:
        return find_send_start_condition(session, now) is SendStartCondition.COMMAND


def _sent_edition(
    session: Session, edition: Edition, counts: DeliveryCounts, now: datetime, zone: ZoneInfo
) -> EditionWithCounts:
    is_under_way = counts.open > 0 and edition.paused_at is None
    progress = read_progress(session, edition.name) if is_under_way else None
    sentence = describe_progress(progress, counts.open, now, zone)
    if progress and progress.is_overdue(now) and find_send_start_condition(session, now) is SendStartCondition.COMMAND:
        sentence = "waits until an admin sends the rest, because automatic sending is off"
    return EditionWithCounts(edition, counts, sentence)


@dataclass(frozen=True, slots=True)
class SentOrCanceledPage:
    """A page of editions that are being sent, were sent, or were canceled, newest first.

    `older_than` is the name of the page's last edition if there are older ones, or empty.
    """

    editions: tuple[EditionWithCounts, ...]
    older_than: str


def list_sent_or_canceled_editions(
    installation: Installation, *, before: str = "", recent: CountCache | None = None, now: datetime
) -> SentOrCanceledPage:
    """Return the editions that are being sent, were sent, or were canceled, newest first.

    With `before`, return only those older than that edition.

    Raises:
        UnknownEditionError: there's no edition of that name.
    """
    sent_ones = select(Edition).where(Edition.state.in_(SENT_OR_CANCELED_STATES))
    query = sent_ones.order_by(Edition.release_at.desc()).options(*WITHOUT_TEXTS)
    zone = installation.settings.zone
    with installation.read() as session:
        if before:
            query = query.where(Edition.release_at < find_edition(session, before).release_at)
        rows = session.scalars(query.limit(SENT_PAGE_SIZE + 1)).all()
        stored_counts, page_rows = load_cached_delivery_counts(session), rows[:SENT_PAGE_SIZE]
        sent = []
        for row in page_rows:
            counts = stored_counts.get(row.name) or count_edition_deliveries(installation, row.name, recent, now=now)
            sent.append(_sent_edition(session, row, counts, now, zone))
        has_older = len(rows) > len(page_rows)
        return SentOrCanceledPage(tuple(sent), page_rows[-1].name if has_older else "")


def read_edition_change_counts(installation: Installation) -> Sequence[EditionChangeCounts]:
    """Return counts of editors' changes to the latest editions being sent or sent, newest first."""
    with installation.read() as session:
        return list_edition_change_counts(session)


@dataclass(frozen=True, slots=True)
class StorySearchPage:
    """A page of the stories that match a search, the best first, and the total number of matches.

    `next_start` is None on the last page.
    """

    stories: tuple[EditionStory, ...]
    count: int
    next_start: int | None


def search_edition_stories(
    installation: Installation, edition: Edition, *, placed: bool | None, words: str, start: int, limit: int
) -> StorySearchPage:
    """Search an edition's stories by title or URL, and return the best matches first.

    `placed` limits the search to stories with a section (True) or without one (False). If `start`
    is after the last match, the page begins with the last match.
    """
    query = select(EditionStory).where(EditionStory.edition_id == edition.id)
    if placed is not None:
        query = query.where(EditionStory.section.is_not(None) == placed)
    if words:
        columns = (EditionStory.title, EditionStory.url)
        title, url = (column.icontains(words, autoescape=True) for column in columns)
        query = query.where(title | url)
    with installation.read() as session:
        counting = select(func.count()).select_from(query.subquery())
        count = session.scalar(counting) or 0
        start = min(start, max(0, count - 1))
        best_first = query.order_by(EditionStory.score.desc(), EditionStory.id)
        rows = tuple(session.scalars(best_first.offset(start).limit(limit)))
        following = start + len(rows)
        return StorySearchPage(rows, count, following if following < count else None)


def list_public_editions(installation: Installation, limit: int) -> list[tuple[Edition, EditionContent]]:
    """Return the newest public editions and their approved content, newest first."""
    public = select(Edition).where(IS_REGULAR, Edition.state.in_(PUBLIC_STATES))
    newest_first = public.order_by(Edition.release_at.desc(), Edition.id.desc())
    with installation.read() as session:
        editions = session.scalars(newest_first.limit(limit)).all()
        return _with_contents(session, editions)


def _with_contents(session: Session, editions: Sequence[Edition]) -> list[tuple[Edition, EditionContent]]:
    versions = verified_editions.find_verified_versions(session, editions)
    contents = verified_editions.read_verified_contents(session, versions)
    return [(edition, contents[edition.id]) for edition in editions if edition.id in contents]


def list_edition_corrections(installation: Installation, names: Collection[str]) -> Mapping[str, Sequence[Correction]]:
    """Return the corrections of several editions, by edition name.

    Editions without corrections are missing.
    """
    with installation.read() as session:
        return corrections.list_corrections_by_edition(session, names)


def find_public_edition(installation: Installation, name: str) -> tuple[Edition, EditionContent] | None:
    """Return a public edition and its approved content.

    Return None if the edition isn't public or fails verification.
    """
    with installation.read() as session:
        edition = _find_public_edition(session, name)
        return next(iter(_with_contents(session, [edition])), None) if edition else None


def _find_public_edition(session: Session, name: str) -> Edition | None:
    public = select(Edition).where(Edition.state.in_(PUBLIC_STATES))
    return session.scalar(public.where(Edition.name == name))


def read_public_edition_html(installation: Installation, name: str) -> str | None:
    """Return the web copy of an edition with its corrections.

    Return None if the edition isn't public or fails verification.
    """
    with installation.read() as session:
        edition = _find_public_edition(session, name)
        if edition is None:
            return None
        settings = installation.settings
        versions = verified_editions.find_verified_versions(session, [edition])
        pieces = verified_editions.read_verified_fragments(session, versions, "html", "web").get(edition.id)
        if pieces is None:
            return None
        html = join_fragments(pieces, "web").text
        shown_corrections = list_shown_corrections(corrections.list_genuine_corrections(session, edition), settings)
    return insert_corrections(html, shown_corrections, settings.subscriber_language)


def find_uncropped_image(installation: Installation, image: EditionImage) -> MediaFile | None:
    """Return the uncropped version of an image, for choosing a focus point, or None if it isn't stored."""
    with installation.read() as session:
        return email_images.find_uncropped_image(session, image.hash)


def find_image(installation: Installation, content_hash: str) -> MediaFile | None:
    """Return a stored image by its hash.

    Return None if there's no such image or its bytes don't match the hash.
    """
    with installation.read() as session:
        return email_images.load_image(session, content_hash)


def count_active_sources(installation: Installation) -> int:
    """Return the number of active sources in the database."""
    with installation.read() as session:
        active = select(func.count()).select_from(Source).where(Source.active)
        return session.scalar(active) or 0


def list_all_sources(installation: Installation) -> list[Source]:
    """Return all sources in the database, in no particular order."""
    with installation.read() as session:
        return list(session.scalars(select(Source)))


def explain_unusable_database(installation: Installation) -> str:
    """Return the reason that this version can't use the database, or an empty string if it can.

    The text is for the public, so it contains no local paths.
    """
    problem = find_schema_problem(installation)
    return f"{problem.message} Run 'digest doctor'." if problem else ""


def find_schema_problem(installation: Installation) -> ApplicationError | None:
    """Return why this version can't use the database, and the remedy, or None if it can."""
    try:
        with installation.database.engine.connect() as connection:
            revision = str(connection.scalar(text("SELECT version_num FROM alembic_version")) or "empty")
    except DBAPIError:
        return ApplicationError(
            "The database isn't responding or hasn't been set up.",
            f"Check that the database server is running and DIGEST_DATABASE_URL in {installation.settings.environment_place} is right, "
            "then run 'digest init'.",
        )
    needed = newest_schema_revision()
    if revision == needed:
        return None
    if is_development_revision(revision):
        advice = REPLACE_DEVELOPMENT_BUILD
    elif revision < needed or revision == "empty":
        advice = BRING_SCHEMA_UP
    else:
        advice = "Restart this process with the version that upgraded the database."
    return ApplicationError(f"The database schema is {revision}, but this version needs {needed}.", advice)
