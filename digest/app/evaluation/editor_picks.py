"""What editors decided about an edition, as the grades that drafts are held against."""

from collections.abc import Iterator, Sequence
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session, undefer

from digest.app.editions.editor_changes import read_proposed_content
from digest.app.evaluation.drafts import FIRST_COUNTS, MUST, UNFIT, list_news_entries
from digest.app.evaluation.labelled_files import EvaluationError, labelled_url
from digest.edition.content.edition_content import EditionContent, SectionEntry
from digest.edition.queries import find_edition
from digest.installation.opened import Installation
from digest.store.approval_models import Approval, ApprovalState
from digest.store.models import Edition, EditionStory

MAY = 1  # the grade between the two


def list_editor_picks(installation: Installation, edition_name: str) -> list[dict[str, Any]]:
    """List the grades that an edition's editors gave by what they did: a row a story, in the form that `evaluate draft` reads.

    A story among the first fourteen of the news that was approved must be in, one farther down may be, and one that was proposed
    and dropped must not. Of an edition that is not approved, what it says now counts.

    Raises:
        UnknownEditionError: there is no edition of that name.
        EvaluationError: it was drafted by a version that kept no proposals.
    """
    with installation.database.read() as session:
        edition = find_edition(session, edition_name)
        proposed = read_proposed_content(session, edition, installation.settings)
        if proposed is None:
            raise EvaluationError(
                f"{edition.name} was drafted by an earlier version, which kept no proposal: nobody can tell what its editors "
                "changed. Choose a later edition."
            )
        rows = session.scalars(select(EditionStory).where(EditionStory.edition_id == edition.id)).all()
        approved = _read_approved_content(session, edition)
    members = {row.url: list(row.members) for row in rows}
    placed = {url for row in rows if row.section is not None for url in row.members}
    return list(_grade_stories(proposed, approved, members, placed))


def _read_approved_content(session: Session, edition: Edition) -> EditionContent:
    standing = select(Approval).where(Approval.edition_id == edition.id, Approval.state == ApprovalState.STANDING)
    approval = session.scalar(standing.options(undefer(Approval.content)))
    return EditionContent.from_json(approval.content if approval else edition.content)


def _grade_stories(
    proposed: EditionContent, approved: EditionContent, members: dict[str, list[str]], placed: set[str]
) -> Iterator[dict[str, Any]]:
    """Grade the news; `members` are the articles of each story by its lead, `placed` those that the edition has anywhere."""
    was_proposed = {labelled_url(entry.url) for entry in _list_linked(list_news_entries(proposed))}
    for number, entry in enumerate(_list_linked(list_news_entries(approved)), 1):
        url = labelled_url(entry.url)
        placed = placed | {url}
        why = "an editor let it stand" if url in was_proposed else "an editor added it"
        yield _pick(entry, MUST if number <= max(FIRST_COUNTS) else MAY, why, members)
    for entry in _list_linked(list_news_entries(proposed)):
        if labelled_url(entry.url) not in placed:
            yield _pick(entry, UNFIT, "an editor dropped it", members)


def _list_linked(entries: Sequence[SectionEntry]) -> list[SectionEntry]:
    """List the entries that have a page: no draft can find one of our own."""
    return [entry for entry in entries if entry.url]


def _pick(entry: SectionEntry, grade: int, why: str, members: dict[str, list[str]]) -> dict[str, Any]:
    url = labelled_url(entry.url)
    others = [member for member in members.get(url, []) if member != url]
    return {"url": url, "title": entry.headline, "grade": grade, "story": url, "why": why, "members": others}
