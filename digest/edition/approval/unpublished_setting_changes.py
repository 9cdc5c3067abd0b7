"""Changes to settings that subscribers see, tracked until an edition that shows them has been sent."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from sqlalchemy import case, func, select
from sqlalchemy.orm import Session

from digest.edition.approval.approvers import is_staff_name
from digest.edition.editing.edits import EditKind
from digest.edition.edition_queries import IS_REGULAR, OUTGOING_STATES
from digest.settings.values import redact_url
from digest.store.approval_models import Approval, ApprovalState
from digest.store.audit import LOGO_KEPT, SETTINGS_CHANGED, SOURCE_ADDED, SOURCE_CHANGED
from digest.store.logged_actions import LoggedAction, read_actions_since
from digest.store.models import AuditEntry, Edition, EditionEdit, Source

# Settings tables with texts, links, or images that subscribers see.
SHOWN_TABLES = ("publication", "branding", "sections", "sender")
_SOURCE_TOPICS = {"topics", "default_topic"}
# A source's URL isn't shown, but it determines whose articles are.
_SHOWN_SOURCE_NAMES = {"url", "name", "publisher", "primary", "images"} | _SOURCE_TOPICS
_SHOWN_ACTIONS = (SETTINGS_CHANGED, SOURCE_ADDED, SOURCE_CHANGED, LOGO_KEPT)
_WRITTEN_OVER = ("intro", "editor")  # publication settings that an edition's text of the same name replaces
# The latest time at which a sent edition's settings could have been read.
_SHOWN_AT = case((Approval.made_at < Edition.drafted_at, Approval.made_at), else_=Edition.drafted_at)
_IS_VALID_VERSION = (Approval.edition_id == Edition.id) & (Approval.state == ApprovalState.VALID)


class UnpublishedSettingChanges(NamedTuple):
    """Changes that no sent edition has shown.

    `is_log_intact` is whether the audit log is intact as far back as the changes may go.
    """

    changes: list[LoggedAction]
    is_log_intact: bool


def find_unpublished_setting_changes(session: Session, edition: Edition) -> UnpublishedSettingChanges:
    """Return the staff's setting changes that no sent edition has shown.

    A change counts if no edition was sent after it, or if none of those sent after it contained the
    changed words that this edition has.
    """
    showings = _list_showings(session, edition)
    any_shown = next((showing.at for showing in showings), None)
    last_shown = {
        name: next((showing.at for showing in showings if name not in showing.written_over), None)
        for name in _WRITTEN_OVER
    }
    hidden = list(_find_hidden_changes(session, edition, showings))
    moments = [any_shown, *last_shown.values(), *(change.at for change in hidden)]
    since = None if None in moments else min(filter(None, moments))
    changed, is_intact = read_actions_since(session, since, _SHOWN_ACTIONS)

    def is_unseen(change: LoggedAction) -> bool:
        written_over = (
            read_changed_setting_names(change) & last_shown.keys() if change.subject == "publication" else set()
        )
        shown_times = [any_shown, *(last_shown[name] for name in written_over)]
        return any(moment is None or change.at > moment for moment in shown_times)

    unseen = [change for change in changed if _is_by_staff(change) and is_unseen(change)]
    return UnpublishedSettingChanges([*unseen, *(change for change in hidden if change not in unseen)], is_intact)


class _Showing(NamedTuple):
    """A sent edition.

    `at` is the latest time at which its settings were read. `written_over` names the setting texts
    that its own texts replaced.
    """

    edition_id: int
    at: datetime
    written_over: frozenset[str]


def _list_showings(session: Session, edition: Edition) -> list[_Showing]:
    """Return all other sent editions, newest first."""
    written_over = select(EditionEdit.edition_id, EditionEdit.value["field"].as_string()).where(
        EditionEdit.kind == EditKind.TEXT, EditionEdit.value["field"].as_string().in_(_WRITTEN_OVER)
    )
    fields_by_edition: dict[int, set[str]] = defaultdict(set)
    for edition_id, name in session.execute(written_over):
        fields_by_edition[edition_id].add(name)
    sent = (
        select(Edition.id, _SHOWN_AT.label("shown_at"))
        .outerjoin(Approval, _IS_VALID_VERSION)
        .where(IS_REGULAR, Edition.state.in_(OUTGOING_STATES), Edition.id != edition.id)
        .order_by(_SHOWN_AT.desc())
    )
    return [_Showing(number, at, frozenset(fields_by_edition[number])) for number, at in session.execute(sent)]


def _find_hidden_changes(session: Session, edition: Edition, showings: Sequence[_Showing]) -> Iterator[LoggedAction]:
    """Yield the changes, however old, whose words are in this edition but in no edition sent since the change.

    The rows of the log aren't verified here. The caller must do that.
    """
    entries = session.scalars(select(AuditEntry).where(AuditEntry.act.in_(_SHOWN_ACTIONS)).order_by(AuditEntry.id))
    logged = [LoggedAction(e.at, e.actor, e.act, e.subject, parse_audit_detail(e.detail)) for e in entries]
    by_staff = list(filter(_is_by_staff, logged))
    publishers = _read_publishers(session, logged) if by_staff else {}
    shown_words = _read_shown_words(edition.content) if by_staff else set()
    hidden = {
        place: (change, words)
        for place, change in enumerate(by_staff)
        if (words := _list_words(change, publishers) & shown_words)
    }
    for showing in showings:
        if all(showing.at <= change.at for change, _ in hidden.values()):
            break
        seen_words = _read_shown_words(_read_sent_content(session, showing.edition_id))
        rest = {p: (c, words - seen_words if showing.at > c.at else words) for p, (c, words) in hidden.items()}
        hidden = {place: (change, words) for place, (change, words) in rest.items() if words}
    return (change for change, _ in hidden.values())


def _read_publishers(session: Session, logged: Sequence[LoggedAction]) -> dict[str, str]:
    """Return the sources' publishers by their URLs, including earlier ones.

    `logged` has the changes of URLs, oldest first. The log redacts new URLs.
    """
    rows = session.execute(select(Source.url, Source.moved_from, Source.publisher)).all()
    publishers = {url: publisher for url, _, publisher in rows}
    for _, earlier_url, publisher in rows:
        if earlier_url:
            publishers.setdefault(earlier_url, publisher)
    for change in reversed(logged):
        if new_url := _read_side(change, "after").get("url"):
            found = next((publisher for url, publisher in publishers.items() if redact_url(url) == new_url), "")
            publishers.setdefault(change.subject, found)
    return publishers


def _read_sent_content(session: Session, edition_id: int) -> Any:
    content = select(func.coalesce(Approval.content, Edition.content, type_=Edition.content.type))
    return session.scalars(
        content.select_from(Edition).outerjoin(Approval, _IS_VALID_VERSION).where(Edition.id == edition_id)
    ).one()


def _read_shown_words(content: Any) -> set[str]:
    """Return every text in an edition's content, redacted as in the audit log."""
    if isinstance(content, str):
        return {redact_url(content)}
    parts: Iterable[Any] = (
        content.values() if isinstance(content, Mapping) else content if isinstance(content, Sequence) else ()
    )
    return {word for part in parts for word in _read_shown_words(part)}


def _list_words(change: LoggedAction, publishers: Mapping[str, str]) -> set[str]:
    """Return the words of a change that only certain editions show.

    These are the words of sections, sources, and topics.
    """
    before, after = _read_side(change, "before"), _read_side(change, "after")
    words: Iterable[Any] = ()
    if change.act in {SOURCE_ADDED, SOURCE_CHANGED}:
        words = _list_source_words(before, after, publishers.get(change.subject, ""))
    elif change.subject == "sections":
        words = _list_section_words(before, after)
    elif change.subject == "select":
        words = _read_table(after, "topics").keys() - _read_table(before, "topics").keys()
    return {redact_url(word.removesuffix(" (another)")) for word in words if isinstance(word, str) and word}


def _list_source_words(
    before: Mapping[str, Any],
    after: Mapping[str, Any],
    publisher: str,
) -> list[Any]:
    """Return the new topics, and the publisher if anything else that editions show was changed.

    Examples of the latter are a source's name and its image setting.
    """
    topics = set(_read_table(after, "topics").values()) - set(_read_table(before, "topics").values())
    is_printed = bool(after.keys() & (_SHOWN_SOURCE_NAMES - _SOURCE_TOPICS))
    return [*topics, after.get("default_topic"), *([after.get("publisher", publisher)] if is_printed else [])]


def _list_section_words(
    before: Mapping[str, Any],
    after: Mapping[str, Any],
) -> Iterator[Any]:
    for key in after:
        were, are = _read_table(before, key), _read_table(after, key)
        yield from (are.get(name) for name in ("title", "note") if are.get(name) != were.get(name))


def _is_by_staff(change: LoggedAction) -> bool:
    return is_staff_name(change.actor) and bool(find_changed_settings_table(change))


def find_changed_settings_table(change: LoggedAction) -> str:
    """Return the name of the changed table, or "" if subscribers don't see it."""
    if change.act == LOGO_KEPT:
        return "branding"
    if change.act == SETTINGS_CHANGED:
        is_shown = change.subject in SHOWN_TABLES or (
            change.subject == "select" and "topics" in read_changed_setting_names(change)
        )
        return change.subject if is_shown else ""
    return "sources" if change.act == SOURCE_ADDED or read_changed_setting_names(change) & _SHOWN_SOURCE_NAMES else ""


def read_changed_setting_names(change: LoggedAction) -> set[str]:
    """Return the names of the settings that a change affected."""
    return set(_read_side(change, "after"))


def _read_side(change: LoggedAction, side: str) -> Mapping[str, Any]:
    """Return the values before or after a change.

    All values of an added source are after it.
    """
    detail = parse_audit_detail(change.detail)
    if change.act == SOURCE_ADDED:
        return detail if side == "after" else {}
    return _read_table(detail, side)


def _read_table(values: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = values.get(name)
    return value if isinstance(value, Mapping) else {}


def parse_audit_detail(detail: object) -> dict[str, Any]:
    """Return the detail of an audit log row, or an empty dict for a damaged row."""
    return detail if isinstance(detail, dict) else {}
