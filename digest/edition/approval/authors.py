"""Who wrote what in an edition as it is stored, with the settings that it shows for the first time, and who may approve it then."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from digest.edition.approval.approvers import ApproverRule, is_staff_name
from digest.edition.content.edition_content import SPONSOR_BLOCK_ID
from digest.edition.editing.authorship import SETTINGS_PART, WrittenPart, read_written_parts
from digest.edition.editing.edits import BLOCK_PREFIX, EditKind
from digest.edition.edition_queries import OUTGOING_STATES
from digest.renamed_names import EARLIER_TABLES
from digest.settings import Settings
from digest.store.approval_models import Approval, ApprovalState
from digest.store.audit import LOGO_KEPT, SETTINGS_CHANGED, SOURCE_ADDED, SOURCE_CHANGED
from digest.store.logged_actions import LoggedAction, read_actions_since
from digest.store.models import Edition, EditionEdit
from digest.store.staff import list_active_staff, staff_actor
from digest.store.staff_revocations import list_missing_members
from subscribers.store.row_seals import is_genuine_row

REMOVED_COUNT_FOR = timedelta(days=7)  # a weekly edition; all other admins get an email about a removal at once
_LONG_AGO = datetime.min.replace(tzinfo=UTC) + REMOVED_COUNT_FOR
# Of the settings, with texts, links, or images that subscribers see.
_SHOWN_TABLES = ("publication", "branding", *EARLIER_TABLES["branding"], "sections", "sender")
_SHOWN_SOURCE_NAMES = {"name", "publisher", "topics", "default_topic"}
_SHOWN_ACTIONS = (SETTINGS_CHANGED, SOURCE_ADDED, SOURCE_CHANGED, LOGO_KEPT)
_LOST_CHANGE = LoggedAction(_LONG_AGO, "An unknown member", SETTINGS_CHANGED, "publication", {})  # anybody's
_WRITTEN_OVER = ("intro", "editor")  # of the publication's settings, by the field of an edition of that name


def read_unsigned_rule(session: Session, edition: Edition, settings: Settings) -> ApproverRule:
    """Read who may approve an edition as it is now, while nobody has."""
    unseen = _find_unseen_changes(session, edition)
    written = tuple(sorted({part.actor for part in _list_parts(edition, unseen)}))
    return read_author_rule(session, written, _find_beginning(session, edition, unseen), settings)


def read_author_rule(session: Session, written: Sequence[str], began_at: datetime, settings: Settings) -> ApproverRule:
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
        is_alone=bool(written) and needed == 1 and len(colleagues) <= 1 and not list_missing_members(session),
    )


def _find_beginning(session: Session, edition: Edition, unseen: Sequence[LoggedAction]) -> datetime:
    """Return since when someone may have prepared to approve an edition alone; `unseen` is what `_find_unseen_changes` found.

    That's when the edition before was drafted, or else the time of the oldest setting or block in this one that nobody else may have seen.
    A block whose edit isn't genuine may be as old as can be.
    """
    ids = {block["id"] for block in edition.content.get("blocks", ())} - {SPONSOR_BLOCK_ID}  # which is the settings'
    blocks = [f"{BLOCK_PREFIX}{name}" for name in ids]
    edits = select(EditionEdit).where(EditionEdit.kind == EditKind.BLOCK, EditionEdit.target.in_(blocks))
    written = [edit.at if is_genuine_row(session, edit) else _LONG_AGO for edit in session.scalars(edits)]
    return min((edition.opens_at, *written, *(change.at for change in unseen)))


def list_edition_parts(session: Session, edition: Edition) -> tuple[WrittenPart, ...]:
    """List what the staff wrote of an edition as it is now, once for each author."""
    return _list_parts(edition, _find_unseen_changes(session, edition))


def _list_parts(edition: Edition, unseen: Sequence[LoggedAction]) -> tuple[WrittenPart, ...]:
    """List the parts of an edition, settings that members changed and no edition has shown included.

    Changes from a terminal aren't listed: the settings file can be changed there without a trace.
    """
    settings = sorted({WrittenPart(change.actor, SETTINGS_PART, _name_changed_table(change)) for change in unseen})
    return (*read_written_parts(edition.written_parts or ()), *settings)


def _find_unseen_changes(session: Session, edition: Edition) -> list[LoggedAction]:
    """Find the actions about settings that no edition that went out has shown; where the audit log isn't intact, somebody unknown took one."""
    any_shown = _find_last_showing(session, edition)
    last_shown = {name: _find_last_showing(session, edition, name) for name in _WRITTEN_OVER}
    moments = [moment for moment in last_shown.values() if moment]
    since = min(moments) if any_shown and len(moments) == len(last_shown) else None
    changed, is_intact = read_actions_since(session, since, _SHOWN_ACTIONS)

    def is_unseen(change: LoggedAction) -> bool:
        written_over = _read_changed_names(change) & last_shown.keys() if change.subject == "publication" else set()
        shown_times = [any_shown, *(last_shown[name] for name in written_over)]
        return any(moment is None or change.at > moment for moment in shown_times)

    by_staff = [change for change in changed if is_staff_name(change.actor) and _name_changed_table(change)]
    unseen = [change for change in by_staff if is_unseen(change)]
    return unseen if is_intact else [*unseen, _LOST_CHANGE]


def _find_last_showing(session: Session, edition: Edition, written_over: str = "") -> datetime | None:
    """Return up to when changed settings were in an edition that went out; with `written_over`, in one where nobody wrote over that text."""
    made_at = case((Approval.made_at < Edition.drafted_at, Approval.made_at), else_=Edition.drafted_at)
    query = (
        select(func.max(made_at))
        .select_from(Edition)
        .outerjoin(Approval, (Approval.edition_id == Edition.id) & (Approval.state == ApprovalState.STANDING))
        .where(Edition.state.in_(OUTGOING_STATES), Edition.id != edition.id)
    )
    if written_over:
        wrote = select(EditionEdit.id).where(
            EditionEdit.edition_id == Edition.id,
            EditionEdit.kind == EditKind.TEXT,
            EditionEdit.value["field"].as_string() == written_over,
        )
        query = query.where(~wrote.exists())
    last_shown: datetime | None = session.scalar(query)
    return last_shown


def _name_changed_table(change: LoggedAction) -> str:
    """Name the table that readers see something of, where a change is one of that; else return an empty text."""
    if change.act == LOGO_KEPT:
        return "branding"
    if change.act == SETTINGS_CHANGED:
        is_shown = change.subject in _SHOWN_TABLES or (
            change.subject == "select" and "topics" in _read_changed_names(change)
        )
        return change.subject if is_shown else ""
    return "sources" if change.act == SOURCE_ADDED or _read_changed_names(change) & _SHOWN_SOURCE_NAMES else ""


def _read_changed_names(change: LoggedAction) -> set[str]:
    after = parse_audit_detail(change.detail).get("after")
    return set(after) if isinstance(after, dict) else set()


def parse_audit_detail(detail: object) -> dict[str, Any]:
    """Return the detail of a row of the audit log; of a damaged row an empty one."""
    return detail if isinstance(detail, dict) else {}
