"""Control of sending by staff and the scheduler: send, test, pause, resume, and cancel."""

import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from functools import partial

from sqlalchemy import select
from sqlalchemy.exc import SQLAlchemyError

from digest.app.editions.edition_status import EditionStatus, resolve_edition_name
from digest.deliver.control import article_recheck_results, edition_control, installation_hold
from digest.deliver.plan.delivery_plan import count_deliveries, make_edition_delivery_purpose
from digest.deliver.plan.planning import count_recipients
from digest.deliver.providers.base import Provider
from digest.deliver.providers.registry import is_outbox_in_use, open_provider, provider_in_use
from digest.deliver.retention.delivery_seals import seal_edition_deliveries
from digest.deliver.send import staff_test
from digest.deliver.send.claims import delivery_claims as claims
from digest.deliver.send.claims.dead_runs import list_silent_runs
from digest.deliver.send.claims.run_progress_file import list_abandoned_run_files
from digest.deliver.send.claims.send_progress import forget_wait_reason
from digest.deliver.send.run import edition_sending
from digest.deliver.send.run.edition_sending import SendError, SendReport
from digest.deliver.send.run.send_gate import explain_blocked_send
from digest.deliver.send.staff_test import StaffTestReport
from digest.edition.edition_queries import IS_REGULAR, MISSED_RELEASE_LIMIT, explain_missed_release, find_edition
from digest.installation.action_reasons import read_optional_reason
from digest.installation.audited_actions import Action, Actor
from digest.installation.opened_installation import Installation
from digest.store.delivery_models import DeliveryState, StaffMember
from digest.store.models import Edition, EditionState
from digest.store.staff import list_verified_staff
from subscribers.callback_types import Clock, Progress, StopCheck
from subscribers.english_text import count_with_noun
from subscribers.loggers import get_logger

SEND = Action("send")
SEND_TEST = Action("test")
PAUSE = Action("paused")
RESUME = Action("resumed")
CANCEL = Action("cancelled")

log = get_logger("sending")


def open_sending_provider(installation: Installation) -> Provider:
    """Open the provider that's in use. The caller has to close it.

    Raises:
        ProviderSettingsError: the settings don't configure sending, or they forbid it.
        InstallationError: email would leave this machine, and the keys are the demo's.
    """
    if provider_in_use(installation.settings).leaves_machine(installation.settings):
        installation.refuse_demo_keys()
    return open_provider(installation.settings)


def send_edition(
    installation: Installation,
    name: str,
    *,
    actor: Actor,
    clock: Clock,
    report_progress: Progress = lambda *_: None,
    sleep: Callable[[float], object] = time.sleep,
    stopping: StopCheck = lambda: False,
) -> SendReport:
    """Send an approved edition, or resume an interrupted one, and return a report of this run.

    A run that didn't send anything leaves no audit row. `report_progress` is called with the
    numbers of completed and planned messages after every batch. Once `stopping` returns true,
    nothing more is sent. `sleep` waits for a number of seconds and may return early.

    Raises:
        UnknownEditionError: no edition has this name.
        SendError: the edition isn't approved, it's paused or canceled, or all sending is paused.
        ApprovalError: the edition's content isn't what was approved.
        ProviderSettingsError: the settings don't configure sending, or they forbid it.
    """
    name = resolve_edition_name(installation, name)
    with (
        SEND.steps(installation, actor, name, now=clock()) as audit,
        closing(open_sending_provider(installation)) as provider,
    ):
        report = edition_sending.run_edition(
            installation.database,
            name,
            provider,
            installation.keys,
            installation.settings,
            clock=clock,
            report_progress=report_progress,
            sleep=sleep,
            stopping=stopping,
        )
        audit.changed, audit.detail = report.handed_over > 0, {"handed over": report.handed_over}
    if report.state is EditionState.SENT:
        _seal_sent_edition(installation, name, now=clock(), stopping=stopping)
    return report


def _seal_sent_edition(installation: Installation, name: str, *, now: datetime, stopping: StopCheck) -> None:
    """Seal the deliveries of an edition that was just sent.

    A failure is only logged, because the nightly maintenance tries again.
    """
    try:
        seal_edition_deliveries(installation.database, installation.keys, name, now=now, stopping=stopping)
    except SQLAlchemyError:
        log.exception("the deliveries of an edition weren't sealed", edition=name)


def describe_upcoming_send(installation: Installation, status: EditionStatus, *, now: datetime) -> str:
    """Return a sentence that says when and to how many subscribers an edition will be sent.

    It also says how many subscribers won't get it.
    """
    with installation.read() as session:
        edition = find_edition(session, status.name)
        if edition.planned_at is not None:
            remaining = count_with_noun(status.delivery_counts.open, "more subscriber")
            return f"{edition.title} will be sent to {remaining} immediately."
        counts = count_recipients(session, edition, installation.settings, now=now)
    recipients = count_with_noun(counts.recipients, "subscriber")
    if edition.is_breaking_news:
        those = f"who get{'s' * (counts.recipients == 1)} breaking news"
        return f"{edition.title} will be sent to {recipients} {those}, immediately. It can't be recalled."
    when = (
        f"on {status.release_text}" if edition.release_at > now else f"immediately (it was due {status.release_text})"
    )
    return f"{edition.title} will be sent to {recipients} {when}. {counts.others_sentence}".rstrip()


def explain_paused_edition(installation: Installation, name: str) -> str:
    """Return the reason that an edition is waiting for a person, or an empty string if it isn't.

    It's waiting if it's paused or if all sending is.

    Raises:
        UnknownEditionError: no edition has this name.
    """
    with installation.read() as session:
        edition = find_edition(session, name)
        hold = installation_hold.read_installation_value(session, installation_hold.HOLD_STATE_KEY)
        return "" if edition.state is EditionState.CANCELLED else explain_blocked_send(name, edition, hold)


def is_sent_by_other_processes(installation: Installation, name: str) -> bool:
    """Return True if other processes are sending all of the remaining deliveries.

    No run is needed as long as they do. Once this returns False, `send_edition` closes the edition,
    retries deliveries, or resolves the rest. Nothing is changed.
    """
    purpose = make_edition_delivery_purpose(name)
    with installation.read() as session:
        if not count_deliveries(session, purpose).has_only_claimed_left:
            return False
        if list_silent_runs(session, installation.settings, installation.database.kept_leases):
            return False
    return not list_abandoned_run_files(installation.settings.runs_folder)


def saves_emails_to_files(installation: Installation) -> bool:
    """Return True if emails are saved to files instead of being sent."""
    return is_outbox_in_use(installation.settings)


def is_all_sending_paused(installation: Installation, *, for_team: bool = False) -> bool:
    """Return True if someone or the program has paused all sending, so that emails wait.

    With `for_team`, it's about invitations and sign-in links, which wait only in a possible copy.
    """
    with installation.read() as session:
        hold = installation_hold.read_current_hold(session)
    return hold is not None and (hold.may_be_copy or not for_team)


def list_test_recipients(installation: Installation) -> list[StaffMember]:
    """Return the staff who can receive test emails because their address is verified."""
    with installation.read() as session:
        return list_verified_staff(session)


def send_test_email(
    installation: Installation, name: str, *, to: Sequence[str] = (), actor: Actor, clock: Clock
) -> StaffTestReport:
    """Send the current content of an edition, even a draft, to verified staff.

    It's sent to all of them, or only to those named in `to`.

    Raises:
        UnknownEditionError: no edition has this name.
        SendError: all sending is paused, or there's nothing to send, or no recipient.
        ApprovalError: the edition is approved, but its content isn't what was approved.
        ProviderSettingsError: the settings don't configure sending, or they forbid it.
    """
    name, database = resolve_edition_name(installation, name), installation.database
    with (
        SEND_TEST.steps(installation, actor, name, now=clock()) as audit,
        closing(open_sending_provider(installation)) as provider,
    ):
        if is_all_sending_paused(installation):
            raise SendError(
                "All sending is paused, so the test wasn't sent.",
                "Ask an admin to resume sending on Deliveries, and send it again.",
            )
        with database.read() as session:
            test = staff_test.compose_staff_test(
                session, name, installation.keys, installation.settings, to=to, now=clock()
            )
        audit.detail = {"to": test.recipients}
        # The audit row comes before sending, so that a crash can't hide who sent the test.
        with database.write() as session:
            audit.record(session)
        return staff_test.hand_over_staff_test(
            database, test, provider, installation.keys, installation.settings, clock=clock
        )


def read_test_report(installation: Installation, name: str, serial: str) -> StaffTestReport | None:
    """Return the report of a test of an edition, or None if there's no test with this serial.

    Raises:
        UnknownEditionError: there's no such edition.
    """
    name = resolve_edition_name(installation, name)
    with installation.read() as session:
        return staff_test.read_test_report(session, name, serial, installation.keys)


@dataclass(frozen=True, slots=True)
class PauseChange:
    """The result of pausing or resuming an edition.

    `changed` is False if it was already paused or running. `waiting` is the number of waiting
    deliveries.
    """

    edition: str
    changed: bool
    waiting: int


def pause_edition(installation: Installation, name: str, *, reason: str, actor: Actor, now: datetime) -> PauseChange:
    """Pause the sending of an edition.

    Messages that are being sent at this moment are still delivered.

    Raises:
        UnknownEditionError: no edition has this name.
        EditionControlError: the edition is neither approved nor being sent.
        ReasonError: the reason is too long or may contain an address.
    """
    name = resolve_edition_name(installation, name)
    with PAUSE.transaction(installation, actor, name, now=now) as (session, audit):
        reason = read_optional_reason(reason)
        audit.changed = edition_control.pause_edition(session, name, reason, now=now)
        audit.detail = {"because": reason} if reason else {}
        waiting = count_deliveries(session, make_edition_delivery_purpose(name))[DeliveryState.WAITING]
    return PauseChange(name, audit.changed, waiting)


def resume_edition(installation: Installation, name: str, *, actor: Actor, now: datetime) -> PauseChange:
    """Resume a paused edition. Failures reported before `now` no longer count against it.

    Raises:
        UnknownEditionError: no edition has this name.
    """
    name = resolve_edition_name(installation, name)
    with RESUME.transaction(installation, actor, name, now=now) as (session, audit):
        audit.changed = edition_control.resume_edition(session, name, now=now)
        if audit.changed:
            forget_wait_reason(session, name, now=now)
        waiting = count_deliveries(session, make_edition_delivery_purpose(name))[DeliveryState.WAITING]
    return PauseChange(name, audit.changed, waiting)


def cancel_edition(installation: Installation, name: str, *, actor: Actor, now: datetime) -> int:
    """Cancel an edition permanently, and return the number of canceled deliveries.

    Messages that were already sent can't be recalled.

    Raises:
        UnknownEditionError: no edition has this name.
        EditionControlError: the edition has already been sent.
    """
    name, database = resolve_edition_name(installation, name), installation.database
    with CANCEL.steps(installation, actor, name, now=now) as audit:
        with database.write() as session:
            state_before = edition_control.mark_edition_cancelled(session, name)
            audit.changed, audit.detail = state_before is not EditionState.CANCELLED, {"was": str(state_before)}
            if audit.changed:
                audit.record(session)
        return edition_control.cancel_waiting_deliveries(database, name)


@dataclass(frozen=True, slots=True)
class PendingSends:
    """The editions that are ready to be sent, and those that missed their send time.

    `missed` maps the names of the latter to a sentence that says what to do.
    """

    ready_to_send: tuple[str, ...]
    missed: dict[str, str]


def find_pending_sends(installation: Installation, *, now: datetime) -> PendingSends:
    """Return the editions that are ready to be sent, and those that missed their send time.

    The former are approved editions that are due, breaking news that someone chose to send, and
    interrupted editions. An edition isn't ready while it's paused or awaits its final check, or
    while all sending is paused. Breaking news isn't ready while the settings don't offer it (see
    `pause_doubtful_breaking_news`).
    """
    is_due = (Edition.state == EditionState.APPROVED) & (Edition.release_at <= now)
    due = select(Edition).where(Edition.paused_at.is_(None), (Edition.state == EditionState.SENDING) | is_due)
    is_requested = Edition.send_requested_at.is_not(None)
    offers_news = installation.settings.file.preferences.offers_breaking_news
    due = due.where(IS_REGULAR | is_requested if offers_news else IS_REGULAR)
    with installation.read() as session:
        hold = installation_hold.read_current_hold(session)
        editions = session.scalars(due.order_by(Edition.release_at)).all()
        minutes = installation.settings.file.schedule.final_check_minutes
        awaits_look = partial(
            article_recheck_results.needs_article_check_before_send, session, minutes=minutes, now=now
        )
        unseen = {edition.name for edition in editions if awaits_look(edition)}
    missed = {e.name: sentence for e in editions if (sentence := explain_missed_release(e, now))}
    waiting = missed.keys() | unseen
    ready = () if hold else tuple(e.name for e in editions if e.name not in waiting)
    return PendingSends(ready, missed)


def pause_doubtful_breaking_news(installation: Installation, *, now: datetime) -> None:
    """Pause breaking news that shouldn't be sent without another decision.

    That's breaking news that the settings no longer offer, or that's still being sent a day after
    someone chose to send it and so may be old. Resuming it allows another day.
    """
    requested = select(Edition).where(~IS_REGULAR, Edition.send_requested_at.is_not(None))
    running = requested.where(Edition.paused_at.is_(None), Edition.state.in_(edition_control.PAUSABLE_STATES))
    is_offered = installation.settings.file.preferences.offers_breaking_news
    explain = partial(_explain_doubt, is_offered=is_offered, now=now)
    with installation.read() as session:
        if not any(map(explain, session.scalars(running))):
            return
    with installation.write() as session:
        for edition in session.scalars(running.with_for_update()).all():
            if reason := explain(edition):
                edition_control.pause_automatically(session, edition.name, reason, now=now)


def _explain_doubt(edition: Edition, *, is_offered: bool, now: datetime) -> str:
    """Return the reason that breaking news must not be sent without a person's decision.

    If it may be sent, return an empty string.
    """
    if not is_offered:
        return "Breaking news is turned off in the settings"
    decisions = filter(None, (edition.send_requested_at, edition.resumed_at))
    is_old = now - max(decisions, default=now) > MISSED_RELEASE_LIMIT
    return "Someone chose to send it more than a day ago" if is_old and edition.state is EditionState.SENDING else ""


def has_due_messages(installation: Installation, name: str, *, now: datetime) -> bool:
    """Return True if any message of an edition is due, after a single lookup in an index."""
    with installation.read() as session:
        due_at = claims.find_next_due_time(session, make_edition_delivery_purpose(name))
    return due_at is not None and due_at <= now
