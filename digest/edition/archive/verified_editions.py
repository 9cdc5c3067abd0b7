"""Verified content of sent editions for public pages, which show only what was approved, as in the emails.

Each statement is verified once per process, by its hash, and each content is parsed once, so that
pages stay fast.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from digest.edition.approval.approval_check import is_signed
from digest.edition.approval.approved_versions import (
    compute_content_hash,
    list_edition_identity_changes,
    list_fragment_hashes,
)
from digest.edition.archive.corrections import list_genuine_corrections
from digest.edition.archive.story_archive import build_archive_rows
from digest.edition.content.edition_content import EditionContent, RenderedFragment
from digest.edition.content.slotted_text import unpack_slots
from digest.store.approval_models import Approval, ApprovalState, ApprovedRenderedFragment
from digest.store.archive_models import ArchivedStory
from digest.store.models import Edition
from subscribers.crypto.keys import KeyRing
from subscribers.loggers import get_logger
from subscribers.store.keyed_row_seals import find_keys_of_session

_MAX_STATEMENTS, _MAX_CONTENTS = 500, 50
# Words and links. Formatting may come from a different version.
_READ_COLUMNS = (ArchivedStory.position, ArchivedStory.url, ArchivedStory.headline, ArchivedStory.summary)
_statements: dict[tuple[KeyRing, str], dict[str, Any]] = {}
_contents: dict[str, EditionContent] = {}

log = get_logger("editions")


@dataclass(frozen=True, slots=True)
class VerifiedVersion:
    """The valid version of an edition, and the statement that its signatures cover."""

    edition: Any  # an edition, or a row with its ID, name, number, and send time
    approval_id: int
    stated: Mapping[str, Any]


def find_verified_versions(session: Session, editions: Sequence[Any]) -> list[VerifiedVersion]:
    """Return the signed versions of editions, in order.

    Editions without one are omitted, and an error is logged.
    """
    columns = (Approval.edition_id, Approval.id, Approval.content_hash)
    is_valid_version = Approval.edition_id.in_([edition.id for edition in editions]) & (
        Approval.state == ApprovalState.VALID
    )
    versions = {
        row.edition_id: (row.id, row.content_hash) for row in session.execute(select(*columns).where(is_valid_version))
    }
    statements = _verify_statements(session, dict(versions.values()))
    proven = []
    for edition in editions:
        approval_id, _ = versions.get(edition.id, (0, ""))
        stated = statements.get(approval_id)
        if stated is None or list_edition_identity_changes(stated, edition):
            log.error("an edition isn't what was approved, so it isn't shown", edition=edition.name)
        else:
            proven.append(VerifiedVersion(edition, approval_id, stated))
    return proven


def _verify_statements(
    session: Session,
    hashes: Mapping[int, str],
) -> dict[int, dict[str, Any]]:
    """Return the signed statements by approval ID, given the statements' hashes."""
    keys = find_keys_of_session(session)
    unknown = [approval_id for approval_id, content_hash in hashes.items() if (keys, content_hash) not in _statements]
    if len(_statements) + len(unknown) > _MAX_STATEMENTS:
        _statements.clear()
        unknown = list(hashes)
    for approval in session.scalars(select(Approval).where(Approval.id.in_(unknown))) if unknown else ():
        if is_signed(approval, keys):
            _statements[keys, approval.content_hash] = approval.statement
    statements = {approval_id: _statements.get((keys, content_hash)) for approval_id, content_hash in hashes.items()}
    return {approval_id: stated for approval_id, stated in statements.items() if stated is not None}


def read_verified_fragments(
    session: Session, versions: Sequence[VerifiedVersion], *kinds: str
) -> dict[int, tuple[RenderedFragment, ...]]:
    """Return the fragments of the given kinds by edition ID.

    Fragments that differ from the approved ones are omitted, and an error is logged.
    """
    own = ApprovedRenderedFragment.approval_id.in_([version.approval_id for version in versions])
    ordered = select(ApprovedRenderedFragment).order_by(ApprovedRenderedFragment.position, ApprovedRenderedFragment.id)
    pieces: dict[int, list[RenderedFragment]] = {}
    for row in session.scalars(ordered.where(own, ApprovedRenderedFragment.kind.in_(kinds))):
        piece = RenderedFragment(row.kind, row.name, row.body, unpack_slots(row.slots))
        pieces.setdefault(row.approval_id, []).append(piece)
    proven = {}
    for version in versions:
        fragments = tuple(pieces.get(version.approval_id, ()))
        if list_fragment_hashes(fragments) == [each for each in version.stated["fragments"] if each[0] in kinds]:
            proven[version.edition.id] = fragments
        else:
            log.error("an edition's page isn't what was approved, so it isn't shown", edition=version.edition.name)
    return proven


def read_verified_contents(session: Session, versions: Sequence[VerifiedVersion]) -> dict[int, EditionContent]:
    """Return the content of each edition by edition ID.

    Content that differs from what was approved is omitted, and an error is logged.
    """
    stated: dict[int, str] = {version.approval_id: version.stated["content"] for version in versions}
    unknown = [approval_id for approval_id, content_hash in stated.items() if content_hash not in _contents]
    if len(_contents) + len(unknown) > _MAX_CONTENTS:
        _contents.clear()
        unknown = list(stated)
    columns = (Approval.id, Approval.content)
    for approval_id, content in session.execute(select(*columns).where(Approval.id.in_(unknown))) if unknown else ():
        if compute_content_hash(content) == stated[approval_id]:
            _contents[stated[approval_id]] = EditionContent.from_json(content)
        else:
            log.error("an edition's content isn't what was approved, so it isn't shown", approval=approval_id)
    contents = {v.edition.id: _contents.get(stated[v.approval_id]) for v in versions}
    return {edition_id: content for edition_id, content in contents.items() if content is not None}


def find_altered_editions(session: Session, editions: Sequence[Edition]) -> list[str]:
    """Return the names of editions whose public pages don't match what was approved.

    The caches are cleared first.
    """
    _statements.clear()
    _contents.clear()
    whole = []
    for edition in editions:  # one by one, because all fragments together take too much memory
        versions = find_verified_versions(session, [edition])
        pieces = read_verified_fragments(session, versions, "page", "html", "web")
        if pieces and read_verified_contents(session, versions):
            whole.append(edition)
    return [edition.name for edition in editions if edition not in whole]


def find_editions_with_altered_stories(session: Session, editions: Sequence[Edition]) -> list[str]:
    """Return the names of editions whose stories in the search index don't match the approved, corrected stories."""
    contents = read_verified_contents(session, find_verified_versions(session, editions))
    changed = []
    for edition in editions:
        if edition.id in contents:
            rows = build_archive_rows(
                edition, contents[edition.id].sections, list_genuine_corrections(session, edition)
            )
            stored = session.execute(select(*_READ_COLUMNS).where(ArchivedStory.edition_id == edition.id))
            if sorted(map(tuple, stored)) != [tuple(row[column.key] for column in _READ_COLUMNS) for row in rows]:
                changed.append(edition.name)
    return changed
