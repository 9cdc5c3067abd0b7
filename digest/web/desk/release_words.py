"""When an edition whose release time is over goes out, as the end of a sentence: pure."""

from datetime import datetime, timedelta

from digest.app.page_views import EditionView
from digest.app.release_starts import ReleaseStart

# The timetable looks every few seconds; after this something keeps the edition back.
MAX_START_WAIT = timedelta(minutes=2)


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
