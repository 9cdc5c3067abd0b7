"""The edition calendar at the desk: upcoming dates, and skipping, moving, adding, and restoring them."""

from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from datetime import date, datetime, time

from flask import Blueprint, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from digest.app.accounts import staff
from digest.app.approval import deadlines
from digest.app.calendar import releases as calendar
from digest.app.calendar.release_drafts import CalendarError
from digest.app.calendar.releases import MovePreview
from digest.app.site.page_context import describe_release_days
from digest.store.models import Edition
from digest.web.app_state import get_app_state
from digest.web.auth.access import get_actor_and_time
from subscribers.english_text import clock_time

# The years of moments that can be represented in every time zone.
MIN_YEAR, MAX_YEAR = 1990, 9000

calendar_pages = Blueprint("calendar", __name__, url_prefix="/desk/calendar")


@dataclass(frozen=True, slots=True)
class CalendarQuery:
    """The row of the calendar that's being changed, and how.

    `ask` is "move", "skip", "add", or empty. `release` is the key of the row.
    """

    ask: str = ""
    release: str = ""
    day: str = ""
    clock: str = ""


Moments = tuple[datetime, datetime]


@calendar_pages.app_context_processor
def provide_deadline_countdown() -> dict[str, Callable[[Edition], Moments | None]]:
    """Provide a function that returns an edition's deadline and the current time, or None if it has no deadline."""

    def deadline_of(edition: Edition) -> Moments | None:
        app_state = get_app_state()
        deadline = deadlines.read_deadline(app_state.installation, edition)
        return (deadline, app_state.clock()) if deadline else None

    return {"deadline_of": deadline_of}


@calendar_pages.get("")
def show_calendar() -> ResponseReturnValue:
    """Show the upcoming dates and a preview of the row that's being changed."""
    query = _read_query(request.args.to_dict())
    if query.ask != "move" or not query.day:
        return _render_page(query)
    try:
        return _render_page(query, move_preview=_preview_move(query))
    except CalendarError as exc:
        return _render_page(query, refusal=str(exc))


@calendar_pages.post("/move/preview")
def preview_move() -> ResponseReturnValue:
    """Redirect to the preview of a move.

    The form is submitted by POST so that no URL contains the form token.
    """
    query = _read_query(request.form.to_dict())
    try:
        anchor = f"r{_read_release(query):%Y-%m-%d-%H%M}"
    except CalendarError:
        anchor = None  # the page shows the error
    url_values = asdict(query) | {"ask": "move", "_anchor": anchor}
    return redirect(url_for("calendar.show_calendar", **url_values), 303)


@calendar_pages.post("/<any(skip, move, add, restore):act>")
def change_calendar(act: str) -> ResponseReturnValue:
    """Change the calendar, or show why the change isn't possible."""
    query = replace(_read_query(request.form.to_dict()), ask=act)
    try:
        release_at = _do_action(act, query)
    except CalendarError as exc:
        return _render_page(query, refusal=str(exc)), 409
    return redirect(url_for("calendar.show_calendar", _anchor=f"r{release_at:%Y-%m-%d-%H%M}"), 303)


def _do_action(act: str, query: CalendarQuery) -> datetime:
    installation = get_app_state().installation
    if act == "add":
        day, clock = _read_day_and_clock(query)
        return calendar.add_release(installation, day, clock, **get_actor_and_time()).release_at
    release_at = _read_release(query)
    if act == "skip":
        return calendar.skip_release(installation, release_at, **get_actor_and_time()).release_at
    if act == "restore":
        return calendar.restore_release(installation, release_at, **get_actor_and_time()).release_at
    day, clock = _read_day_and_clock(query)
    return calendar.move_release(installation, release_at, day, clock, **get_actor_and_time()).release_at


def _preview_move(query: CalendarQuery) -> MovePreview:
    app_state, (day, clock) = get_app_state(), _read_day_and_clock(query)
    release = _read_release(query)
    return calendar.preview_move(app_state.installation, release, day, clock, now=app_state.clock())


def _read_query(values: dict[str, str]) -> CalendarQuery:
    ask = values.get("ask", "")
    return CalendarQuery(
        ask=ask if ask in {"move", "skip", "add"} else "",
        release=values.get("release", "")[:40],
        day=values.get("day", "")[:10],
        clock=values.get("clock", "")[:8],
    )


def _read_release(query: CalendarQuery) -> datetime:
    try:
        moment = datetime.fromisoformat(query.release)
    except ValueError:
        raise CalendarError("No edition was chosen.", "Choose an edition from the list.") from None
    if moment.tzinfo is None or not MIN_YEAR < moment.year < MAX_YEAR:
        raise CalendarError("No edition was chosen.", "Choose an edition from the list.")
    return moment


def _read_day_and_clock(query: CalendarQuery) -> tuple[date, time]:
    try:
        day, clock = date.fromisoformat(query.day), time.fromisoformat(query.clock)
    except ValueError:
        raise CalendarError(
            "The day or time is missing or invalid.", "Enter both a date and a time: for example, 2026-12-31 and 06:00."
        ) from None
    return day, clock.replace(second=0, tzinfo=None)


def _render_page(query: CalendarQuery, move_preview: MovePreview | None = None, refusal: str = "") -> str:
    app_state = get_app_state()
    rule = app_state.settings.file.schedule.send_rule
    return render_template(
        "web/desk/calendar/calendar.html",
        entries=calendar.read_calendar(app_state.installation, now=app_state.clock()),
        names=staff.read_display_names(app_state.installation),
        usual=describe_release_days(rule),
        usual_clock="" if rule.period else clock_time(datetime.combine(date.min, rule.at)),
        can_change=rule.period is None,
        asked=query,
        moved=move_preview,
        refusal=refusal,
    )
