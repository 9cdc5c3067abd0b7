"""Who wrote what in an edition as it is stored, with the settings that it shows for the first time, and who may approve it then."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from digest.edition.approval.approvers import ApproverRule
from digest.edition.approval.unpublished_setting_changes import find_unpublished_setting_changes, name_changed_table
from digest.edition.content.edition_content import SPONSOR_BLOCK_ID
from digest.edition.editing.authorship import SETTINGS_PART, WrittenPart, read_written_parts
from digest.edition.editing.edits import BLOCK_PREFIX, EditKind
from digest.settings import Settings
from digest.store.audit import SETTINGS_CHANGED
from digest.store.logged_actions import LoggedAction
from digest.store.models import Edition, EditionEdit
from digest.store.staff import list_active_staff, staff_actor
from digest.store.staff_revocations import list_members_missing_staff_rows
from subscribers.store.keyed_row_seals import is_genuine_row

REMOVED_COUNT_FOR = timedelta(days=7)  # a weekly edition; all other admins get an email about a removal at once
_LONG_AGO = datetime.min.replace(tzinfo=UTC) + REMOVED_COUNT_FOR
_LOST_CHANGE = LoggedAction(_LONG_AGO, "An unknown member", SETTINGS_CHANGED, "publication", {})  # anybody's


def read_draft_approver_rule(session: Session, edition: Edition, settings: Settings) -> ApproverRule:
    """Read who may approve an edition as it is now, while nobody has."""
    unseen = _find_unpublished_changes(session, edition)
    written = tuple(sorted({part.actor for part in _list_parts(edition, unseen)}))
    return read_approver_rule_for_authors(session, written, _find_beginning(session, edition, unseen), settings)


def read_approver_rule_for_authors(
    session: Session, written: Sequence[str], began_at: datetime, settings: Settings
) -> ApproverRule:
    """Read who may approve what some wrote, by their names, while nobody has.

    Colleagues who were removed since it was `began_at`, or in the `REMOVED_COUNT_FOR` before, count when it's asked whether there's only
    one editor: otherwise, whoever removes a colleague first and writes then could approve it alone, and invite them again.
    """
    needed = settings.file.approval.approvers
    colleagues = list_active_staff(session, removed_after=began_at - REMOVED_COUNT_FOR)
    return ApproverRule(
        needed=needed,
        signed=(),
        written=tuple(written),
        staff=tuple(staff_actor(member) for member in colleagues if member.removed_at is None),
        is_alone=bool(written)
        and needed == 1
        and len(colleagues) <= 1
        and not list_members_missing_staff_rows(session),
    )


def _find_beginning(session: Session, edition: Edition, unseen: Sequence[LoggedAction]) -> datetime:
    """Return since when someone may have prepared to approve an edition alone; `unseen` is what `_find_unpublished_changes` found.

    That's when the edition before was drafted, or else the time of the oldest setting or block in this one that nobody else may have seen.
    A block whose edit isn't genuine may be as old as can be.
    """
    ids = {block["id"] for block in edition.content.get("blocks", ())} - {SPONSOR_BLOCK_ID}  # which is the settings'
    blocks = [f"{BLOCK_PREFIX}{name}" for name in ids]
    edits = select(EditionEdit).where(EditionEdit.kind == EditKind.BLOCK, EditionEdit.target.in_(blocks))
    written = [edit.at if is_genuine_row(session, edit) else _LONG_AGO for edit in session.scalars(edits)]
    return min((edition.opens_at, *written, *(change.at for change in unseen)))


def list_parts_with_authors(session: Session, edition: Edition) -> tuple[WrittenPart, ...]:
    """List what the staff wrote of an edition as it is now, once for each author."""
    return _list_parts(edition, _find_unpublished_changes(session, edition))


def _list_parts(edition: Edition, unseen: Sequence[LoggedAction]) -> tuple[WrittenPart, ...]:
    """List the parts of an edition, settings that members changed and no edition has shown included.

    Changes from a terminal aren't listed: the settings file can be changed there without a trace.
    """
    settings = sorted({WrittenPart(change.actor, SETTINGS_PART, name_changed_table(change)) for change in unseen})
    return (*read_written_parts(edition.written_parts or ()), *settings)


def _find_unpublished_changes(session: Session, edition: Edition) -> list[LoggedAction]:
    """Find the actions about settings that no edition that went out has shown; if the audit log isn't intact, an unknown person took one."""
    unseen = find_unpublished_setting_changes(session, edition)
    return unseen.changes if unseen.is_log_intact else [*unseen.changes, _LOST_CHANGE]
