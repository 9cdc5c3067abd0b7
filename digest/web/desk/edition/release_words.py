"""When an edition goes out, and to whom: pure."""

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from digest.app.editions.page_views import EditionView
from digest.app.editions.release_starts import ReleaseStart
from digest.store.models import EditionState
from digest.web.filters import count_with_noun, day_and_hour

# The timetable looks every few seconds; after this something keeps the edition back.
MAX_START_WAIT = timedelta(minutes=2)


def describe_release(view: EditionView, now: datetime, zone: ZoneInfo, *, is_admin: bool) -> str:
    """Say in sentences to whom and when an edition goes out, whatever became of it: what its approval is about."""
    edition = view.edition
    number, release = f"No. {edition.number}", day_and_hour(edition.release_at, zone)
    if edition.state is EditionState.SENT:
        return f"{number} went out {day_and_hour(edition.sent_at or edition.release_at, zone)}."
    due = f"It {'was' if edition.release_at <= now else 'is'} due {release}."
    if words := _describe_other_than_going(view):
        return f"{number} {words}. {due}"
    readers = f"{count_with_noun(view.audience_size, 'reader')}, less those who pause"
    if words := describe_due_release(view, now, is_admin=is_admin):
        return f"{number} goes to {readers}, {words}. {due}"
    return f"{number} goes to {readers}, on {release}."


def _describe_other_than_going(view: EditionView) -> str:
    """Say what became of an edition that goes out neither at its time nor once it is approved; empty of any other."""
    if view.missed_sentence:
        return "does not go out by itself any more"
    if view.is_approved and view.edition.paused_at:
        return "is paused"
    return {
        EditionState.INCOMPLETE: "has too little to go out",
        EditionState.SENDING: "is going out",
        EditionState.CANCELLED: "is cancelled",
    }.get(view.edition.state, "")


def describe_due_release(view: EditionView, now: datetime, *, is_admin: bool) -> str:
    """Say when an edition goes out whose release time is over; empty before that time.

    Where somebody has to run a command, an admin is told which, and an editor whom to ask.
    """
    edition = view.edition
    if edition.release_at > now:
        return ""
    if view.is_approved:
        return _describe_approved(view, now, is_admin=is_admin)
    return {
        ReleaseStart.TIMETABLE: "as soon as it is approved",
        ReleaseStart.COMMAND: f"once it is approved and {_describe_command(edition.name, is_admin=is_admin)}",
        ReleaseStart.END_OF_HOLD: "once it is approved and mail may leave again",
    }[view.release_start]


def _describe_approved(view: EditionView, now: datetime, *, is_admin: bool) -> str:
    edition, start = view.edition, view.release_start
    if start is ReleaseStart.COMMAND:
        return f"once {_describe_command(edition.name, is_admin=is_admin)}"
    if start is ReleaseStart.END_OF_HOLD:
        return "once mail may leave again"
    since = max(edition.release_at, edition.approved_at or edition.release_at)
    if now - since <= MAX_START_WAIT:
        return "within a minute"
    asked = "see" if is_admin else "ask an admin"
    return f"later than it should: {asked} whether 'digest serve' or 'hls-scheduler' runs"


def _describe_command(name: str, *, is_admin: bool) -> str:
    if is_admin:
        return f"'digest send {name}' is run"
    return "you have told an admin to send it: nothing goes out by itself here"
