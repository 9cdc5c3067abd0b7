"""When an edition whose release time is over goes out, as the end of a sentence: pure."""

from datetime import datetime, timedelta

from digest.app.page_views import EditionView
from digest.app.release_starts import ReleaseStart

# The timetable looks every few seconds; after this something keeps the edition back.
MAX_START_WAIT = timedelta(minutes=2)


def describe_due_release(view: EditionView, now: datetime) -> str:
    """Say when an edition goes out whose release time is over: "as soon as it is approved"; empty before that time."""
    edition = view.edition
    if edition.release_at > now:
        return ""
    if view.is_approved:
        return _describe_approved(view, now)
    return {
        ReleaseStart.TIMETABLE: "as soon as it is approved",
        ReleaseStart.COMMAND: f"once it is approved and 'digest send {edition.name}' is run",
        ReleaseStart.END_OF_HOLD: "once it is approved and mail may leave again",
    }[view.release_start]


def _describe_approved(view: EditionView, now: datetime) -> str:
    edition, start = view.edition, view.release_start
    if start is ReleaseStart.COMMAND:
        return f"once 'digest send {edition.name}' is run"
    if start is ReleaseStart.END_OF_HOLD:
        return "once mail may leave again"
    since = max(edition.release_at, edition.approved_at or edition.release_at)
    if now - since <= MAX_START_WAIT:
        return "within a minute"
    return "later than it should: ask an admin whether 'digest serve' or 'hls-scheduler' runs"
