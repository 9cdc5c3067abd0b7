"""The page of an edition during and after sending, canceling an edition, and pausing all sending.

`sending_words.html` describes the edition's phase and history.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from enum import StrEnum
from functools import partial
from typing import Any
from zoneinfo import ZoneInfo

from flask import Blueprint, flash, redirect, render_template, request, url_for
from flask.typing import ResponseReturnValue

from digest.app.accounts import staff
from digest.app.editions import edition_views
from digest.app.sending import refusal_actions, sending_view, set_aside_domains
from digest.app.sending import send_control as sending
from digest.app.sending.refusal_actions import ChangedRefusalsError
from digest.app.sending.sending_view import SendingView
from digest.app.upkeep.audit_log import read_entry_detail
from digest.deliver.control.edition_control import AUTOMATIC_ACTOR, EditionControlError
from digest.deliver.control.set_aside_domains import DomainNotSetAsideError, SetAsideDecision
from digest.deliver.send.claims.send_progress import MinuteCount
from digest.installation import sending_pause
from digest.installation.action_reasons import ReasonError, read_optional_reason
from digest.installation.audited_actions import Role
from digest.settings import UsageLimitSettings
from digest.store.delivery_models import DeliveryState
from digest.store.models import EditionState
from digest.web.app_state import get_app_state
from digest.web.auth.access import current_actor, get_actor_and_time
from digest.web.charts import Chart, LimitLine, draw_bar_chart
from digest.web.filters import thousands
from digest.web.forms import Count, FormOrQueryModel, ReasonForm, read_form
from subscribers.english_text import clock_time, count_with_noun
from subscribers.errors import ApplicationError
from subscribers.pages.forms import FormError

sending_pages = Blueprint("sending", __name__, url_prefix="/desk")


CHART_MINUTES = 30
# The limit is shown in the chart if it's at most this many times the highest bar.
_MAX_LIMIT_SHARE = 4
_SHOWN_STATES = (
    DeliveryState.ACCEPTED,
    DeliveryState.REFUSED,
    DeliveryState.UNCERTAIN,
    DeliveryState.HANDING_OVER,
    DeliveryState.RESERVED,
    DeliveryState.WAITING,
)
# In thousandths of the bar, so that a single refused email is visible among a million.
_MIN_SHARE = 4.0
MAX_SHOWN_GROUPS = 10  # of refusals, on the page that asks before resending or suppressing


class SendingPhase(StrEnum):
    """The sending phase of an edition."""

    COMING = "coming"  # approved, but not due yet
    GOING = "going"
    PAUSED = "paused"
    HELD = "held"  # all sending from the installation is paused
    SENT = "sent"
    CANCELLED = "cancelled"
    NONE = "none"  # a draft that isn't being sent


RENEWED_PHASES = frozenset({SendingPhase.COMING, SendingPhase.GOING, SendingPhase.PAUSED, SendingPhase.HELD})


@dataclass(frozen=True, slots=True)
class ProgressBarPart:
    """A part of the progress bar: a state, the number of its deliveries, and its start and width in thousandths."""

    state: DeliveryState
    count: int
    x: float
    width: float


@dataclass(frozen=True, slots=True)
class SendingHistoryEntry:
    """An event in the sending of an edition.

    It's an action from the audit log, or an event from the edition's row (`planned`, `let go`, or `over`).
    """

    at: datetime
    act: str
    actor: str = ""
    detail: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class MinuteChart:
    """The number of messages in each of the last minutes, as a chart and as pairs of a time and a number."""

    chart: Chart
    minutes: tuple[tuple[str, int], ...]


def find_sending_phase(view: SendingView) -> SendingPhase:
    """Return the sending phase of an edition.

    Pausing all sending takes precedence over pausing the edition.
    """
    over = {EditionState.SENT: SendingPhase.SENT, EditionState.CANCELLED: SendingPhase.CANCELLED}
    on_its_way = {EditionState.APPROVED: SendingPhase.COMING, EditionState.SENDING: SendingPhase.GOING}
    state = view.edition.state
    if state not in on_its_way:
        return over.get(state, SendingPhase.NONE)
    if view.hold is not None:
        return SendingPhase.HELD
    return SendingPhase.PAUSED if view.edition.paused_at is not None else on_its_way[state]


def is_paused_automatically(view: SendingView) -> bool:
    """Return True if an edition is paused, and the latest pause was automatic."""
    newest_pause = next((act for act in view.acts if act.act == "paused"), None)
    is_automatic = newest_pause is not None and newest_pause.actor == AUTOMATIC_ACTOR
    return is_automatic and find_sending_phase(view) is SendingPhase.PAUSED


def list_sending_history(view: SendingView) -> list[SendingHistoryEntry]:
    """Return the events in the sending of an edition, newest first."""
    return sorted(_iterate_happenings(view), key=lambda each: each.at, reverse=True)


def _iterate_happenings(view: SendingView) -> Iterator[SendingHistoryEntry]:
    for row in view.acts:
        act = "alarm" if (row.act, row.actor) == ("paused", AUTOMATIC_ACTOR) else row.act
        yield SendingHistoryEntry(row.at, act, row.actor, read_entry_detail(row) or {})
    edition = view.edition
    if edition.planned_at is not None:
        yield SendingHistoryEntry(edition.planned_at, "planned")
    if edition.canary_until is not None and edition.canary_until <= view.counted_at:
        yield SendingHistoryEntry(edition.canary_until, "let go")
    if edition.sent_at is not None:
        yield SendingHistoryEntry(edition.sent_at, "over")


def list_progress_bar_parts(view: SendingView) -> list[ProgressBarPart]:
    """Return the parts of the progress bar by delivery state."""
    total = sum(view.counts[state] for state in _SHOWN_STATES)
    shares = {state: 1000 * view.counts[state] / total if total else 0.0 for state in _SHOWN_STATES}
    widths = {state: share and max(_MIN_SHARE, share) for state, share in shares.items()}
    scale = 1000 / (sum(widths.values()) or 1000)
    parts, x = [], 0.0
    for state, width in widths.items():
        start, x = x, x + width * scale
        parts.append(ProgressBarPart(state, view.counts[state], start, x - start))
    return parts


def compute_limit_per_minute(limits: UsageLimitSettings) -> float:
    """Return the limit on messages per minute in the settings, or 0 if there's none."""
    return limits.send_per_second * 60 or limits.send_per_hour / 60


def draw_minute_chart(minutes: tuple[MinuteCount, ...], zone: ZoneInfo, limits: UsageLimitSettings) -> MinuteChart:
    """Draw the number of messages in each of the last minutes, with the limit in the settings as a line."""
    last = minutes[-1].at
    counts = {minute.at: minute.messages for minute in minutes}
    span = last - minutes[0].at
    length = min(CHART_MINUTES, span // timedelta(minutes=1) + 1)
    minute_times = [last - timedelta(minutes=back) for back in reversed(range(length))]
    messages = [counts.get(at, 0) for at in minute_times]
    times = [clock_time(at.astimezone(zone)) for at in minute_times]
    labeled = max(1, -(-length // 5))
    labels = [time.partition(" ")[0] for time in times]
    labels = [label if place % labeled == 0 else "" for place, label in enumerate(labels)]
    limit = compute_limit_per_minute(limits)
    # If the limit were far above every bar, the bars would be too low to see. The text next to the
    # chart mentions it anyway.
    is_limit_shown = 0 < limit <= _MAX_LIMIT_SHARE * max(messages)
    most = messages.index(max(messages))
    chart = draw_bar_chart(
        f"Emails per minute from {times[0]} to {times[-1]}, with {messages[most]:,} at most ({times[most]}) "
        f"and {messages[-1]:,} in the last minute",
        labels,
        messages,
        write=lambda number: thousands(round(number)),
        limit=LimitLine(limit, f"your limit, {limit:,.0f}") if is_limit_shown else None,
        min_step=1,
        columns=10,
        size=(560, 164),
    )
    return MinuteChart(chart, tuple(zip(times, messages, strict=True)))


@sending_pages.get("/editions/<name>/sending")
def show_sending(name: str) -> ResponseReturnValue:
    """Show an edition that's being sent, or the results."""
    return _sending_page(name)


def _sending_page(name: str, *, refusal: str = "") -> str:
    app_state, actor = get_app_state(), current_actor()
    installation = app_state.installation
    view = sending_view.view_sending(installation, name, actor, recent=app_state.recent_counts, now=app_state.clock())
    phase, limits = find_sending_phase(view), app_state.settings.file.limits
    minutes = view.progress.minutes if view.progress else ()
    aside_count = sum(domain.waiting for domain in view.aside)
    return render_template(
        "web/desk/sending/sending.html",
        view=view,
        edition=view.edition,
        counts=view.counts,
        names=staff.read_display_names(installation),
        now=view.counted_at,
        phase=phase,
        is_paused_automatically=is_paused_automatically(view),
        parts=list_progress_bar_parts(view),
        happenings=list_sending_history(view),
        chart=draw_minute_chart(minutes, app_state.zone, limits) if minutes else None,
        limit=compute_limit_per_minute(limits),
        is_admin=actor.holds(Role.ADMIN),
        renews=phase in RENEWED_PHASES and request.args.get("renew") != "no",
        refusal=refusal,
        contact_of=refusal_actions.find_provider_contact,
        aside_count=aside_count,
        awaits_decision=phase is SendingPhase.GOING and 0 < view.counts.open <= aside_count,
    )


class RefusalAcknowledgmentForm(FormOrQueryModel):
    """The number of refusals that was shown on the page."""

    refusals: Count


@sending_pages.post("/editions/<name>/refusals")
def acknowledge_refusals(name: str) -> ResponseReturnValue:
    """Acknowledge the refusals of an edition."""
    try:
        seen = read_form(RefusalAcknowledgmentForm).refusals
        refusal_actions.acknowledge_refusals(
            get_app_state().installation, name, confirmed=seen, reason="", **get_actor_and_time()
        )
    except (FormError, ChangedRefusalsError) as exc:
        return _sending_page(name, refusal=str(exc)), 409
    return redirect(url_for("sending.show_sending", name=name), 303)


class RefusalActionForm(ReasonForm):
    """The reason for resending or suppressing, and the number of people that was shown on the page."""

    recipients: Count


@sending_pages.get("/editions/<name>/refused/<chosen>")
def ask_before_resending(name: str, chosen: str) -> ResponseReturnValue:
    """Ask whether to resend the messages that were refused for a reason or that belong to a group.

    `chosen` is its name, or `all`.
    """
    return _refusal_action_page(name, chosen)


@sending_pages.post("/editions/<name>/refused/<chosen>")
def send_refused_again(name: str, chosen: str) -> ResponseReturnValue:
    """Resend the messages that were refused for a reason or that belong to a group."""
    return _act_on_refused(refusal_actions.send_refused_again, name, chosen)


@sending_pages.get("/editions/<name>/refused/<chosen>/suppress")
def ask_before_suppressing(name: str, chosen: str) -> ResponseReturnValue:
    """Ask whether to suppress the addresses in a group of refusals for full or missing mailboxes."""
    return _refusal_action_page(name, chosen, suppresses=True)


@sending_pages.post("/editions/<name>/refused/<chosen>/suppress")
def suppress_refused(name: str, chosen: str) -> ResponseReturnValue:
    """Suppress the addresses in a group of refusals for full or missing mailboxes."""
    return _act_on_refused(refusal_actions.suppress_refused, name, chosen, suppresses=True)


def _act_on_refused(
    act: Callable[..., int], name: str, chosen: str, *, suppresses: bool = False
) -> ResponseReturnValue:
    app_state = get_app_state()
    show = partial(_refusal_action_page, name, chosen, suppresses=suppresses)
    try:
        form = read_form(RefusalActionForm)
        people = act(
            app_state.installation,
            name,
            [chosen],
            confirmed=form.recipients,
            reason=form.reason,
            actor=current_actor(),
            clock=app_state.clock,
        )
    except FormError as exc:
        return show(refusal=exc), 400
    except (ChangedRefusalsError, EditionControlError) as exc:
        return show(refusal=exc), 409
    if suppresses:
        done = f"Suppressed {count_with_noun(people, 'address', 'addresses')}."
    elif edition_views.is_automatic_sending_off(app_state.installation, now=app_state.clock()):
        done = (
            f"{count_with_noun(people, 'email')} will be sent again once an admin runs “digest send {name}”, because "
            "automatic sending is off."
        )
    else:
        done = f"{count_with_noun(people, 'email')} will be sent again."
    flash(done, f"refused {name}")
    return redirect(_find_page_of_refusals(name), 303)


def _find_page_of_refusals(name: str) -> str:
    """Return the URL of the page that the question was opened from."""
    if request.args.get("origin") == "deliveries":
        return url_for("admin.list_deliveries", edition=name)
    return url_for("sending.show_sending", name=name)


def _refusal_action_page(
    name: str, chosen: str, *, suppresses: bool = False, refusal: ApplicationError | None = None
) -> str:
    app_state = get_app_state()
    installation = app_state.installation
    overview = refusal_actions.read_chosen_refusals(
        installation,
        name,
        chosen,
        suppresses=suppresses,
        shown=MAX_SHOWN_GROUPS,
        actor=current_actor(),
    )
    return render_template(
        "web/desk/sending/resend.html",
        edition=overview.edition,
        groups=overview.groups,
        domain_names=overview.domain_names,
        contact_of=refusal_actions.find_provider_contact,
        max_shown=MAX_SHOWN_GROUPS,
        chosen=chosen,
        suppresses=suppresses,
        origin=request.args.get("origin"),
        back=_find_page_of_refusals(overview.edition.name),
        refusal=refusal,
    )


@sending_pages.post("/editions/<name>/cancel")
def cancel_sending(name: str) -> ResponseReturnValue:
    """Cancel an edition for everyone it hasn't been sent to, if the form confirms the edition's number."""
    app_state = get_app_state()
    edition = edition_views.read_edition(app_state.installation, name)
    typed = request.form.get("number", "").strip().removeprefix("No.")
    expected = str(edition.number or edition.name)
    if typed.strip() != expected:
        refusal = f"The number doesn't match. To cancel this edition, type {expected}."
        return _sending_page(name, refusal=refusal), 422
    sending.cancel_edition(app_state.installation, edition.name, **get_actor_and_time())
    return redirect(url_for("sending.show_sending", name=edition.name), 303)


@sending_pages.post("/editions/<name>/set-aside/send")
def send_set_aside_emails(name: str) -> ResponseReturnValue:
    """Send the emails that a stop rule set aside for the chosen domains."""
    return _decide_set_aside_emails(name, SetAsideDecision.SEND)


@sending_pages.post("/editions/<name>/set-aside/drop")
def drop_set_aside_emails(name: str) -> ResponseReturnValue:
    """Drop the emails that a stop rule set aside for the chosen domains."""
    return _decide_set_aside_emails(name, SetAsideDecision.DROP)


def _decide_set_aside_emails(name: str, decision: SetAsideDecision) -> ResponseReturnValue:
    installation, tags = get_app_state().installation, request.form.getlist("domain")
    try:
        set_aside_domains.decide_set_aside_domains(installation, name, tags, decision, **get_actor_and_time())
    except DomainNotSetAsideError as exc:
        return _sending_page(name, refusal=str(exc)), 409
    return redirect(url_for("sending.show_sending", name=name), 303)


@sending_pages.post("/editions/<name>/<any(hold, release):act>")
def pause_or_resume_all(name: str, act: str) -> ResponseReturnValue:
    """Pause or resume all sending from the installation."""
    app_state, actor = get_app_state(), current_actor()
    if act == "hold":
        try:
            reason = read_optional_reason(request.form.get("reason", ""))
        except ReasonError as exc:
            return _sending_page(name, refusal=str(exc)), 400
        sending_pause.pause_all_sending(app_state.installation, reason=reason, actor=actor, now=app_state.clock())
    else:
        sending_pause.resume_all_sending(app_state.installation, actor=actor, now=app_state.clock())
    return redirect(url_for("sending.show_sending", name=name), 303)
