"""Corrections of sent editions, shown in the archive and in the next edition.

For correction emails, see `correction_emails`.
"""

from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from digest.app.accounts.staff import find_entered_staff_name
from digest.app.editing import changes as editing
from digest.app.editing import edit_application, editing_state
from digest.app.editions import web_editions
from digest.app.editions.edition_status import resolve_edition_name
from digest.edition.archive import corrections
from digest.edition.archive.corrections import CORRECTED_FIELDS, CorrectableStory, CorrectedField
from digest.edition.archive.story_archive import archive_edition_stories
from digest.edition.content.edition_content import EditionContent
from digest.edition.edition_queries import COMING_STATES, find_edition
from digest.edition.rendering.mail_layout import arrange_email
from digest.edition.rendering.sanitizer import sanitize_text
from digest.installation.audited_actions import Action, Actor
from digest.installation.opened_installation import Installation
from digest.store.correction_models import Correction
from digest.store.models import Edition, EditionState
from subscribers.errors import RefusalError
from subscribers.store.keyed_row_seals import filter_genuine_rows

CORRECT = Action("corrected")
CORRECTABLE_STATES = (EditionState.SENDING, EditionState.SENT)
MAX_NOTE_LENGTH = 500  # characters


class CorrectionError(RefusalError):
    """Raised when a correction can't be made or emailed. The message says why and what to do."""


@dataclass(frozen=True, slots=True)
class CorrectionForm:
    """A correction of one text in the story with the link `url`.

    `note` tells subscribers what was wrong. If `is_carried` is true, the correction also appears in
    the next edition.
    """

    url: str
    field: CorrectedField
    becomes: str
    note: str
    is_carried: bool = False


@dataclass(frozen=True, slots=True)
class CorrectionOverview:
    """The current text of an edition's stories, and its corrections."""

    edition: Edition
    stories: tuple[CorrectableStory, ...]
    corrections: tuple[Correction, ...]

    @property
    def is_open(self) -> bool:
        """True if the edition can be corrected, because it's being sent or has been sent."""
        return self.edition.state in CORRECTABLE_STATES


def view_corrections(installation: Installation, name: str) -> CorrectionOverview:
    """Return an edition's stories, and the corrections made to them so far.

    Raises:
        UnknownEditionError: there's no edition of that name.
    """
    with installation.read() as session:
        edition = find_edition(session, name)
        edition_corrections = corrections.list_corrections(session, edition)
        stories = corrections.list_correctable_stories(
            corrections.read_sent_content(session, edition), edition_corrections
        )
        return CorrectionOverview(edition, stories, edition_corrections)


def correct_story(
    installation: Installation, name: str, form: CorrectionForm, *, actor: Actor, now: datetime
) -> Correction:
    """Correct one text of a sent edition.

    The archive shows the original text next to the correction.

    Raises:
        UnknownEditionError: there's no edition of that name.
        CorrectionError: the edition hasn't been sent, it has no such story or text, the new text is
            empty or unchanged, or the note is missing or too long.
    """
    name = resolve_edition_name(installation, name)
    signed = find_entered_staff_name(installation, actor) or installation.settings.file.publication.name
    new_text, note = _clean(form.becomes), _clean(form.note)
    with CORRECT.transaction(installation, actor, name, now=now) as (session, audit):
        edition = find_edition(session, name, lock=True)
        story = _find_story(session, edition, form)
        _refuse_unclear(new_text, story.text_of(form.field), note)
        correction = Correction(
            edition_id=edition.id,
            seq=corrections.next_correction_number(session, edition),
            at=now,
            actor=actor.name,
            signed=signed,
            url=story.url,
            section=story.section,
            headline=story.headline_sent,
            field=form.field,
            was=story.text_of(form.field),
            becomes=new_text,
            note=note,
            is_carried=form.is_carried,
            mail_asked_by="",
        )
        session.add(correction)
        session.flush()
        archive_edition_stories(session, edition, corrections.list_corrections(session, edition))
        shortened = story.url[:200]
        audit.detail = {"correction": correction.id, "story": shortened, "field": form.field}
        session.expunge(correction)
        lead = arrange_email(EditionContent.from_json(edition.content)).lead
        # The social card shows the headline of the lead story.
        is_on_card = form.field == "headline" and lead is not None and lead.entry.url == story.url
    if is_on_card:
        web_editions.store_social_card(installation, name, now=now)
    if form.is_carried:
        _carry_into_draft(installation, correction, edition, actor, now)
    return correction


def _clean(text: str) -> str:
    return sanitize_text(editing.clean_typed_text(text))


def _find_story(session: Session, edition: Edition, form: CorrectionForm) -> CorrectableStory:
    if edition.state not in CORRECTABLE_STATES:
        raise CorrectionError(
            f"{edition.name} is {edition.state.predicate}. Only sent editions can be corrected.",
            "" if edition.state is EditionState.CANCELLED else "Edit the story in the edition instead.",
        )
    edition_corrections = filter_genuine_rows(session, corrections.list_corrections(session, edition))
    stories = corrections.list_correctable_stories(corrections.read_sent_content(session, edition), edition_corrections)
    story = next((candidate for candidate in stories if candidate.url == form.url), None)
    if story is None:
        raise CorrectionError(
            f"{edition.name} has no story with the link {form.url[:200]}.",
            "Enter the link as it appears in the edition.",
        )
    if form.field not in CORRECTED_FIELDS or not story.text_of(form.field):
        raise CorrectionError("That text isn't in this story.", "Correct the story's headline or summary.")
    return story


def _refuse_unclear(new_text: str, was: str, note: str) -> None:
    if not new_text or new_text == was:
        raise CorrectionError("The text is empty or unchanged.", "Enter the corrected text.")
    if not note or len(note) > MAX_NOTE_LENGTH:
        raise CorrectionError(
            "The note to subscribers is missing or too long.",
            f"Say what was wrong in {MAX_NOTE_LENGTH} characters or fewer.",
        )


def _carry_into_draft(
    installation: Installation, correction: Correction, edition: Edition, actor: Actor, now: datetime
) -> None:
    """Add a correction to the draft of the next edition, if there is one.

    A draft made later includes the correction anyway.
    """
    file, base = installation.settings.file, installation.settings.link_base
    coming = select(Edition).where(Edition.state.in_(COMING_STATES), Edition.release_at > now)
    following = coming.where(Edition.release_at > edition.release_at).order_by(Edition.release_at)
    with installation.read() as session:
        draft = session.scalar(following.limit(1))
        if draft is None:
            return
        day = draft.release_at.astimezone(file.publication.zone).date()
        language = installation.settings.subscriber_language
        block = corrections.make_correction_block(session, correction, edition, base, day, language)
    # A draft that was changed outside the program has to be drafted again, which includes the
    # correction.
    with suppress(editing_state.EditRefusedError):
        editing.save_labeled_block(installation, edit_application.EditForm(draft.name, actor, now), block)


def find_correction(session: Session, edition: Edition, number: int) -> Correction:
    """Return the correction of an edition that has this number.

    Raises:
        CorrectionError: there's none with that number.
    """
    query = select(Correction).where(Correction.edition_id == edition.id, Correction.seq == number)
    correction = session.scalar(query)
    if correction is None:
        raise CorrectionError(f"{edition.name} has no correction {number}.", "Choose a correction from the list.")
    return correction
