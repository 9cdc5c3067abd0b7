"""Composing an edition from a stored proposal and its edits.

The edits are applied, and the content is written, sanitized, and rendered. Composing only reads the
templates. The functions at the end store the result.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from sqlalchemy import delete, insert
from sqlalchemy.orm import Session

from digest.edition.content.edition_content import EditionContent, RenderedFragment
from digest.edition.drafting.candidates import KEPT_REASON
from digest.edition.drafting.content_builder import EditionIdentity, build_content
from digest.edition.editing.arrangement import Arrangement, arrange_edition
from digest.edition.editing.authorship import list_written_parts
from digest.edition.editing.edit_log import load_edits, load_proposal
from digest.edition.editing.edits import Edit
from digest.edition.editing.stored_proposal import ProposalWithLateStories
from digest.edition.edition_queries import load_rendered_fragments
from digest.edition.rendering.fragments import (
    build_publication_context,
    create_mail_environment,
    render_sanitized_edition,
    render_subject,
)
from digest.edition.rendering.sanitizer import sanitize_content
from digest.select.selection_types import ScoredStory
from digest.settings import Settings
from digest.store.models import Edition, EditionState, EditionStory
from subscribers.store.models import table_of

REMOVED_REASON = "an editor removed it"
NOT_AS_COMPOSED = "doesn't match its stories, edits, and settings. The settings or the program changed since it was drafted, or it was changed outside this program."


@dataclass(frozen=True, slots=True)
class ComposedEdition:
    """An edition with its edits applied: its arrangement, its content, and its rendered fragments."""

    arrangement: Arrangement
    content: EditionContent
    fragments: tuple[RenderedFragment, ...]


def compose_edition(
    proposal: ProposalWithLateStories, edits: Sequence[Edit], identity: EditionIdentity, settings: Settings
) -> ComposedEdition:
    """Apply an edition's edits to its proposal, and return the rendered result."""
    file = settings.file
    release_day = identity.release_at.astimezone(file.publication.zone).date()
    return compose_arrangement(arrange_edition(proposal, edits, file, release_day), identity, settings)


def compose_arrangement(arrangement: Arrangement, identity: EditionIdentity, settings: Settings) -> ComposedEdition:
    """Return the rendered edition for an arrangement."""
    frame, templates = build_publication_context(settings), create_mail_environment(settings)
    content = build_arranged_content(arrangement, identity, settings)
    content = replace(content, subject=render_subject(content, frame, templates))
    return ComposedEdition(arrangement, content, render_sanitized_edition(content, frame, templates))


def build_proposed_content(
    proposal: ProposalWithLateStories, identity: EditionIdentity, settings: Settings
) -> EditionContent:
    """Return the content of an edition without editors' changes. Its subject isn't rendered."""
    return build_edited_content(proposal, (), identity, settings)


def build_edited_content(
    proposal: ProposalWithLateStories, edits: Sequence[Edit], identity: EditionIdentity, settings: Settings
) -> EditionContent:
    """Return the content of an edition with the given edits applied. Its subject isn't rendered."""
    release_day = identity.release_at.astimezone(settings.file.publication.zone).date()
    return build_arranged_content(arrange_edition(proposal, edits, settings.file, release_day), identity, settings)


def build_arranged_content(arrangement: Arrangement, identity: EditionIdentity, settings: Settings) -> EditionContent:
    """Return the content for an arrangement. Its subject isn't rendered."""
    # Content is sanitized before it's stored, so that it's the same when it's read.
    return sanitize_content(build_content(arrangement, identity, settings.file, settings.subscriber_language))


def save_edition_content(edition: Edition, composed: ComposedEdition) -> None:
    """Store an edition's content, authors, and completeness in its row.

    The edition becomes a draft, or incomplete.
    """
    reason = composed.arrangement.incomplete_reason
    edition.state = EditionState.INCOMPLETE if reason else EditionState.DRAFT
    edition.held_because = reason
    edition.subject, edition.preheader = composed.content.subject, composed.content.preheader
    edition.content = composed.content.as_json()
    edition.written_parts = [asdict(part) for part in list_written_parts(composed.arrangement)]


def compose_stored_draft(session: Session, edition: Edition, settings: Settings) -> ComposedEdition | None:
    """Return a draft rendered from its stored proposal and edits, or None if there's no genuine proposal."""
    proposal = load_proposal(session, edition)
    identity = EditionIdentity.of_edition(edition)
    return compose_edition(proposal, load_edits(session, edition), identity, settings) if proposal else None


def matches_composition(
    session: Session,
    edition: Edition,
    composed: ComposedEdition | None,
    *,
    pieces: tuple[RenderedFragment, ...] | None = None,
) -> bool:
    """Return True if a stored draft is, byte for byte, what its proposal, edits, and settings produce.

    If `pieces` are given, they're compared instead of the stored fragments. If `composed` is None,
    return False.
    """
    if composed is None:
        return False
    fresh = Edition()
    save_edition_content(fresh, composed)
    stored = load_rendered_fragments(session, edition) if pieces is None else pieces
    return _dump_columns(edition) == _dump_columns(fresh) and stored == composed.fragments


_COMPOSED_COLUMNS = ("held_because", "subject", "preheader", "content", "written_parts")


def _dump_columns(edition: Edition) -> str:
    return json.dumps([getattr(edition, name) for name in _COMPOSED_COLUMNS], sort_keys=True)


@dataclass(frozen=True, slots=True)
class StoryRow:
    """The values of a story's row in an edition: its place, or why it was left out.

    `position` is 0 if the story was left out.
    """

    scored: ScoredStory
    section: str | None
    position: int
    reason: str
    supporting_urls: tuple[str, ...]  # of the articles in its supporting stories

    def as_values(self) -> dict[str, Any]:
        """Return the values of all columns by name, except for the edition's ID."""
        lead = self.scored.lead
        urls = (article.url for article in self.scored.story.members)
        return {
            "section": self.section,
            "position": self.position,
            "title": lead.title,
            "url": lead.url,
            "score": self.scored.score,
            "terms": [asdict(t) for t in self.scored.terms],
            "reason": self.reason,
            "members": [*urls, *self.supporting_urls],
        }


def list_story_rows(arrangement: Arrangement, *, compared_with: Arrangement | None = None) -> dict[str, StoryRow]:
    """Return the values of an edition's story rows, by the URL of each story's lead.

    The articles of supporting stories count as their main story's, because readers were sent to
    them. Stories in the tray have no row, because the edition hasn't considered them: they belong
    to the next edition unless they're placed. Stories that `compared_with` also leaves out have the
    same row there and are skipped; they're most of a week's stories.
    """
    rows = [
        StoryRow(story.original, key, position, "", story.supporting_urls)
        for key, stories in arrangement.sections.items()
        for position, story in enumerate(stories)
    ]
    left_out = arrangement.left_out
    if compared_with and left_out == compared_with.left_out:  # as after a move; the tuples have the same objects
        left_out = ()
    elif compared_with:
        common = set(map(id, compared_with.left_out))
        left_out = tuple(out for out in left_out if id(out) not in common)
    excluded = [(out.scored, out.reason) for out in left_out]
    excluded += [
        (shelved.scored, KEPT_REASON if shelved.is_kept else REMOVED_REASON) for shelved in arrangement.removed
    ]
    rows += [StoryRow(scored, None, 0, reason, ()) for scored, reason in excluded]
    return {row.scored.url: row for row in rows}


def replace_story_rows(session: Session, edition: Edition, arrangement: Arrangement) -> None:
    """Replace an edition's story rows with those of an arrangement."""
    session.execute(delete(EditionStory).where(EditionStory.edition_id == edition.id))
    _insert_story_rows(session, edition, list_story_rows(arrangement).values())


def update_story_rows(session: Session, edition: Edition, *, before: Arrangement, after: Arrangement) -> None:
    """Change an edition's story rows from one arrangement to another.

    Rows of unchanged stories aren't touched.
    """
    old, new = list_story_rows(before, compared_with=after), list_story_rows(after, compared_with=before)
    urls = old.keys() | new.keys()
    changed = {url for url in urls if old.get(url) != new.get(url)}
    if removed_urls := sorted(changed & old.keys()):
        table = table_of(EditionStory)
        own = delete(table).where(table.c.edition_id == edition.id, table.c.url.in_(removed_urls))
        # Most moved stories stay in the edition, and the index leads to its few placed ones.
        placed_count = session.connection().execute(own.where(table.c.section.is_not(None))).rowcount
        if placed_count < len(removed_urls):
            session.execute(own)
    came = sorted(changed & new.keys())
    _insert_story_rows(session, edition, (new[url] for url in came))


def _insert_story_rows(session: Session, edition: Edition, rows: Iterable[StoryRow]) -> None:
    if values := [{"edition_id": edition.id, **row.as_values()} for row in rows]:
        session.execute(insert(table_of(EditionStory)), values)
