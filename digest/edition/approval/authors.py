"""The authors of a stored edition and of settings first shown in it, and the rule for approving it."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from sqlalchemy import select
from sqlalchemy.orm import Session

from digest.edition.approval.approvers import ApproverRule
from digest.edition.approval.unpublished_setting_changes import (
    find_changed_settings_table,
    find_unpublished_setting_changes,
)
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

REMOVED_COUNT_FOR = timedelta(days=7)  # all other admins are emailed about a removal right away
_LONG_AGO = datetime.min.replace(tzinfo=UTC) + REMOVED_COUNT_FOR
# Stands in for missing rows if the log isn't intact.
_LOST_CHANGE = LoggedAction(_LONG_AGO, "An unknown member", SETTINGS_CHANGED, "publication", {})


class DraftAuthorship(NamedTuple):
    """The parts of an edition's current state that staff wrote, and the rule for approving it.

    A part is listed once per author.
    """

    parts: tuple[WrittenPart, ...]
    rule: ApproverRule


def read_draft_authorship(session: Session, edition: Edition, settings: Settings) -> DraftAuthorship:
    """Return the authors of an edition's current state and the rule for approving it.

    No approvals count yet.
    """
    unseen = _find_unpublished_changes(session, edition)
    parts = _list_parts(edition, unseen)
    written = tuple(sorted({part.actor for part in parts}))
    began_at = _find_beginning(session, edition, unseen)
    return DraftAuthorship(parts, read_approver_rule_for_authors(session, written, began_at, settings))


def read_approver_rule_for_authors(
    session: Session, written: Sequence[str], began_at: datetime, settings: Settings
) -> ApproverRule:
    """Return the rule for approving what the given people wrote, before anyone has approved it.

    When deciding whether there's only one editor, colleagues count unless they were removed at
    least `REMOVED_COUNT_FOR` before `began_at`. Otherwise, an editor could remove a colleague,
    approve their own text, and invite the colleague again.
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
    """Return the earliest time at which someone may have begun preparing to approve an edition alone.

    It's when the previous edition was drafted, or the time of the oldest setting or block in this
    edition that others may not have seen. `unseen` is from `_find_unpublished_changes`. A block
    with a forged edit may be of any age.
    """
    # The sponsor block comes from the settings.
    ids = {block["id"] for block in edition.content.get("blocks", ())} - {SPONSOR_BLOCK_ID}
    blocks = [f"{BLOCK_PREFIX}{name}" for name in ids]
    edits = select(EditionEdit).where(EditionEdit.kind == EditKind.BLOCK, EditionEdit.target.in_(blocks))
    written = [edit.at if is_genuine_row(session, edit) else _LONG_AGO for edit in session.scalars(edits)]
    return min((edition.opens_at, *written, *(change.at for change in unseen)))


def _list_parts(edition: Edition, unseen: Sequence[LoggedAction]) -> tuple[WrittenPart, ...]:
    """Return the written parts of an edition, including settings that no edition has shown yet.

    Only settings changed by members are listed. The settings file can be changed from a terminal
    without a trace.
    """
    settings = sorted(
        {WrittenPart(change.actor, SETTINGS_PART, find_changed_settings_table(change)) for change in unseen}
    )
    return (*read_written_parts(edition.written_parts or ()), *settings)


def _find_unpublished_changes(session: Session, edition: Edition) -> list[LoggedAction]:
    """Return the setting changes that no sent edition has shown.

    If the audit log isn't intact, an unknown change is added.
    """
    unseen = find_unpublished_setting_changes(session, edition)
    return unseen.changes if unseen.is_log_intact else [*unseen.changes, _LOST_CHANGE]
