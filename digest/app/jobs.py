"""Jobs: functions that are started by name with plain arguments.

Each job can safely be run twice.

The scheduler's process passes a `JobContext` to each job. A scheduled job is guarded by the row of
its slot, which is the lock for any number of schedulers (see `run_slot`). Sending doesn't need a
slot, because the approved editions that are due are the list of work, and sending can be resumed.
"""

import json
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import partial

from digest.app.alerts import alert_log, alert_notifications
from digest.app.approval import correction_emails, deadlines, final_check
from digest.app.calendar import releases as calendar
from digest.app.editing import edition_images
from digest.app.editing.edit_application import EditForm
from digest.app.editing.editing_state import EditRefusedError
from digest.app.editions import drafting as editions
from digest.app.sending import automatic_pause_emails, background_tasks, mail_servers
from digest.app.sending import send_control as sending
from digest.app.upkeep import backups, heartbeats, nightly_steps
from digest.backups.archive import BackupError
from digest.collect.visits import collection_run
from digest.deliver.inbound.imap import MailboxError
from digest.deliver.send.claims.run_progress_file import list_abandoned_run_files
from digest.deliver.send.run.edition_sending import SendReport
from digest.edition.drafting.drafts import DraftError
from digest.edition.edition_queries import UnknownEditionError
from digest.edition.rendering.sanitizer import RenderingError
from digest.installation.audited_actions import SCHEDULER
from digest.installation.opened_installation import Installation
from digest.installation.storage_errors import explain_storage_error
from digest.store import schedule_slots
from digest.store.engine import (
    DatabaseChangeDetector,
    UnsupportedSchemaError,
    read_schema_revision,
    refuse_unsupported_schema,
)
from digest.store.models import EditionState
from digest.store.process_identity import ProcessIdentity, identify_current_process
from digest.timetable import JobSlot, ScheduleRule, find_due_jobs
from subscribers.callback_types import Clock
from subscribers.english_text import count_with_noun
from subscribers.errors import ApplicationError
from subscribers.loggers import get_logger

SLOT_RETRY_DELAY = timedelta(minutes=5)  # between two attempts at a slot whose job failed

log = get_logger("scheduler")


@dataclass(frozen=True, slots=True)
class JobContext:
    """The resources that a process provides to its jobs.

    Once `stopping` is set, jobs end as soon as that's safe.
    """

    installation: Installation
    clock: Clock = lambda: datetime.now(UTC)
    stopping: threading.Event = field(default_factory=threading.Event)
    owner: ProcessIdentity = field(default_factory=identify_current_process)


class FailedOutcome(str):
    """The outcome of a slot whose job failed.

    If a job returns it, the job isn't retried before its next slot.
    """

    __slots__ = ()


class JobStoppedError(ApplicationError):
    """Raised if a job was stopped before it finished.

    Its slot remains due.
    """


class WorkerError(ApplicationError):
    """Raised if this process can't be a worker.

    The message says why and what to do.
    """


def require_postgresql_for_workers(installation: Installation) -> None:
    """Raise `WorkerError` unless the database supports several worker processes."""
    if installation.database.engine.dialect.name != "postgresql":
        raise WorkerError(
            "Workers need PostgreSQL. To move this installation, run 'digest migrate --to "
            "postgresql+psycopg://…'. With SQLite, 'digest serve' does all the work."
        )


def collect(context: JobContext) -> str:
    """Collect articles from the sources that are due.

    Other processes may visit some of them (see `join_running_collection`).

    Raises:
        JobStoppedError: the process is stopping and sources remain.
    """
    installation, stopping = context.installation, context.stopping
    # Sources visited since the time of the slot aren't visited again, so a collection can resume
    # after a crash.
    since = schedule_slots.find_open_slot(installation.database, "collect")
    reports = editions.collect_articles(
        installation, actor=SCHEDULER, now=context.clock(), since=since, stopping=stopping
    ).sources
    if skipped_count := sum(report.skipped == collection_run.STOPPED for report in reports):
        raise JobStoppedError(f"stopped before visiting all sources (remaining: {skipped_count})")
    elsewhere = sum(report.skipped == collection_run.VISITED_ELSEWHERE for report in reports)
    return (
        _describe_visits(reports)
        + (f", {elsewhere} visited by other processes" if elsewhere else "")
        + _redraft(context)
    )


def _redraft(context: JobContext) -> str:
    """Draft the next edition again if it links to withdrawn articles.

    Return a text to append to the outcome, which may be empty.
    """
    try:
        name = editions.redraft_without_withdrawn_articles(context.installation, actor=SCHEDULER, now=context.clock())
    except (DraftError, RenderingError) as exc:
        log.warning("the draft wasn't updated", why=str(exc))
        return ""
    return f"; {name} drafted again without withdrawn articles" if name else ""


def join_running_collection(context: JobContext) -> str:
    """Help with a collection that another process is running.

    Return the outcome, or an empty string if there's nothing to do.
    """
    installation = context.installation
    since = schedule_slots.find_open_slot(installation.database, "collect")
    if since is None:
        return ""
    reports = editions.visit_remaining_sources(
        installation, now=context.clock(), since=since, stopping=context.stopping
    )
    if not reports:
        return ""
    outcome = _describe_visits(reports)
    log.info("shared the collection", at=since.isoformat(), outcome=outcome)
    return outcome


def _describe_visits(reports: Sequence[collection_run.SourceReport]) -> str:
    failed = sum(bool(report.error) for report in reports)
    return (
        f"{sum(report.new for report in reports)} new from {count_with_noun(len(reports), 'source')}, {failed} failed"
    )


def draft(context: JobContext) -> str:
    """Draft the next edition, unless it's already approved."""
    try:
        result = editions.draft_next_edition(context.installation, actor=SCHEDULER, now=context.clock())
    except (DraftError, RenderingError) as exc:  # already approved, or a problem that a person has to solve
        log.warning("nothing drafted", why=str(exc))
        return FailedOutcome(exc) if isinstance(exc, RenderingError) else str(exc)
    return f"{result.name}: {result.incomplete_reason or f'drafted from {result.article_count} articles'}"


def remind(context: JobContext) -> str:
    """Remind the editors of an edition that isn't approved yet, or doesn't even have a draft."""
    return deadlines.remind_editors(context.installation, now=context.clock())


def deadline(context: JobContext) -> str:
    """Apply the deadline rule to an edition that wasn't approved by its deadline."""
    return deadlines.apply_deadline_rule(context.installation, now=context.clock())


def follow_schedule(context: JobContext) -> str:
    """Move a draft whose send time is gone from the schedule to the next send time."""
    return calendar.follow_schedule(context.installation, now=context.clock())


def fetch_pictures(context: JobContext) -> str:
    """Download the images of stories that editors added since the next edition was drafted."""
    form = EditForm("current", SCHEDULER, context.clock())
    with suppress(UnknownEditionError, EditRefusedError):
        return str(edition_images.fetch_missing_images(context.installation, form))
    return ""


def nightly(context: JobContext) -> str:
    """Run all steps of the nightly maintenance."""
    outcome = nightly_steps.run_nightly_steps(context.installation, context.clock())
    return FailedOutcome(outcome) if nightly_steps.FAILED in outcome else outcome


def backup(context: JobContext) -> str:
    """Create the scheduled backup.

    If it fails, it isn't retried before its next slot, but an alert reports the failure.
    """
    try:
        folder_backup = backups.back_up_into_folder(context.installation, SCHEDULER, now=context.clock())
    except BackupError as exc:
        log.warning("backup failed", why=str(exc))
        return FailedOutcome(f"failed: {exc}")
    return f"{folder_backup.file.name}: {'proved' if folder_backup.proof.sound else 'its ledger is broken'}, {len(folder_backup.deleted)} older ones deleted"


def recheck_articles_before_sending(context: JobContext) -> str:
    """Recheck all articles of the editions that are about to be sent."""
    installation, clock = context.installation, context.clock
    names = final_check.find_due_checks(installation, now=clock())
    looks = [final_check.recheck_articles(installation, name, actor=SCHEDULER, clock=clock) for name in names]
    return "; ".join(article_check.sentence for article_check in looks if article_check)


def send_edition(context: JobContext, edition: str) -> SendReport:
    """Send an edition that's due, or resume one that was interrupted."""
    stopping = context.stopping
    return sending.send_edition(
        context.installation,
        edition,
        actor=SCHEDULER,
        clock=context.clock,
        sleep=stopping.wait,
        stopping=stopping.is_set,
    )


def recover_runs(context: JobContext) -> str:
    """Recover deliveries claimed by processes that have died or gone silent."""
    background_tasks.recover_runs(context.installation, clock=context.clock)
    return ""


def has_abandoned_runs(context: JobContext) -> bool:
    """Return True if a crashed process left a run file.

    The database isn't queried.
    """
    return bool(list_abandoned_run_files(context.installation.settings.runs_folder))


def require_known_schema(context: JobContext) -> None:
    """Raise `UnsupportedSchemaError` if another version of the program has changed the database schema."""
    refuse_unsupported_schema(read_schema_revision(context.installation.database))


def check_schema(context: JobContext) -> str:
    """Stop this process if another version of the program has changed the database schema."""
    try:
        require_known_schema(context)
    except UnsupportedSchemaError as exc:
        if not context.stopping.is_set():
            log.error("stopped", why=str(exc))  # noqa: TRY400 - no trace needed
        context.stopping.set()
        return str(exc)
    return ""


def look_up_mail_servers(context: JobContext) -> str:
    """Find out which receiving domains share mail servers, once an hour."""
    looked_up = mail_servers.look_up_mail_servers(
        context.installation, clock=context.clock, stopping=context.stopping.is_set
    )
    return f"{looked_up} domains" if looked_up else ""


def answer_signups(context: JobContext) -> str:
    """Process pending sign-up forms."""
    return str(background_tasks.process_signup_requests(context.installation, clock=context.clock))


def send_due_transactional_emails(context: JobContext) -> str:
    """Send the transactional emails that are due."""
    stopping = context.stopping.is_set
    return str(
        background_tasks.send_due_transactional_emails(context.installation, clock=context.clock, stopping=stopping)
    )


def email_automatic_pauses(context: JobContext) -> str:
    """Email the team about editions that were paused automatically."""
    pause_count = automatic_pause_emails.email_automatic_pauses(context.installation, now=context.clock())
    return f"{pause_count} automatic pauses emailed" if pause_count else ""


def look_for_alerts(context: JobContext) -> str:
    """Compare the current problems with the open alerts, and queue notifications of the changes."""
    return alert_log.update_alerts(context.installation, now=context.clock())


def send_alert_notifications(context: JobContext) -> str:
    """Send the alert notifications that are due on each channel."""
    return alert_notifications.send_alert_notifications(context.installation, now=context.clock())


def record_scheduler_seen(context: JobContext) -> str:
    """Record that the scheduler is running, so that the doctor notices if it stops."""
    schedule_slots.record_scheduler_seen(context.installation.database, context.clock())
    return ""


def record_unscheduled_pages_seen(context: JobContext, since: str) -> str:
    """Record that this process serves pages without the schedule.

    The doctor then doesn't report that the scheduler has stopped.
    """
    database, now = context.installation.database, context.clock()
    schedule_slots.record_unscheduled_pages_seen(database, datetime.fromisoformat(since), now)
    return ""


def send_heartbeats(context: JobContext) -> str:
    """Request the heartbeat URLs of completed jobs."""
    return heartbeats.send_heartbeats(context.installation, now=context.clock())


def plan_corrections(context: JobContext) -> str:
    """Queue the emails for approved corrections."""
    return str(correction_emails.queue_approved_correction_emails(context.installation, clock=context.clock))


def send_corrections(context: JobContext) -> str:
    """Send the correction emails that are due, at the same rate as editions."""
    results = background_tasks.send_due_corrections(
        context.installation, clock=context.clock, sleep=context.stopping.wait, stopping=context.stopping.is_set
    )
    return str(results) if results else ""


def apply_inbound_events(context: JobContext) -> str:
    """Apply stored provider events, and log their counts."""
    counts = background_tasks.apply_inbound_events(context.installation, clock=context.clock)
    outcome = json.dumps(counts)
    if counts:
        log.info("events applied", outcome=outcome)
    return outcome


def follow_mail_log(context: JobContext) -> bool:
    """Apply new entries in the mail server's log, and return True if there are more."""
    return background_tasks.follow_mail_log(context.installation, clock=context.clock)


def read_mailbox(context: JobContext) -> str:
    """Read the bounce mailbox if that's due.

    Errors are logged by the function that reads the mailbox.
    """
    installation, clock = context.installation, context.clock
    if background_tasks.claim_mailbox_poll(installation, now=clock()):
        with suppress(MailboxError):
            return str(
                background_tasks.read_bounce_mailbox(installation, clock=clock, stopping=context.stopping.is_set)
            )
    return ""


CALENDAR_JOBS = ("draft", "remind", "deadline")  # jobs whose slots follow from the calendar of editions
SLOT_JOBS: dict[str, Callable[[JobContext], str]] = {
    job.__name__: job for job in (collect, draft, remind, deadline, nightly, backup)
}
# Jobs with slots that other processes can help with, and the jobs that do so.
SHARED_JOBS = {"collect": "join_running_collection"}
_OTHER_JOBS: tuple[Callable[..., object], ...] = (
    join_running_collection,
    follow_schedule,
    fetch_pictures,
    recheck_articles_before_sending,
    look_up_mail_servers,
    email_automatic_pauses,
    look_for_alerts,
    send_alert_notifications,
    record_scheduler_seen,
    record_unscheduled_pages_seen,
    send_heartbeats,
    plan_corrections,
    send_edition,
    recover_runs,
    check_schema,
    answer_signups,
    send_due_transactional_emails,
    send_corrections,
    apply_inbound_events,
    follow_mail_log,
    read_mailbox,
)
JOBS: dict[str, Callable[..., object]] = SLOT_JOBS | {job.__name__: job for job in _OTHER_JOBS}
WORKER_PARTS = ("send", "notices", "collect")  # the parts of the work that `digest work --only` can select


def run_job(context: JobContext, name: str, *arguments: str) -> object:
    """Run a job by its name, and return its result.

    A failure is logged and returned as text, so that it doesn't stop other jobs.

    Raises:
        DBAPIError, OSError: the database or the disk is unavailable, which affects all jobs (see
            `explain_storage_error`).
    """
    try:
        return JOBS[name](context, *arguments)
    except Exception as exc:
        if explain_storage_error(exc):
            raise
        log.exception("job failed", job=name, arguments=arguments)
        return f"failed: {type(exc).__name__}"


def record_schedule_start(context: JobContext) -> None:
    """Record when the schedule was first followed, once for all processes."""
    schedule_slots.find_or_record_schedule_start(context.installation.database, context.clock())


def make_database_change_detector(context: JobContext) -> DatabaseChangeDetector:
    """Return a detector of writes to the installation's database."""
    return DatabaseChangeDetector(context.installation.database)


def find_due_slots(context: JobContext, job: str, rules: tuple[ScheduleRule, ...]) -> tuple[JobSlot, ...]:
    """Return the slots of a job that are due now according to the schedule and the calendar."""
    database, now = context.installation.database, context.clock()
    zone = context.installation.settings.zone
    since = schedule_slots.find_or_record_schedule_start(database, now)
    planned = calendar.list_calendar_job_times(context.installation, now=now) if job in CALENDAR_JOBS else {}
    find_due = partial(find_due_jobs, now, {job: rules}, zone=zone, since=since, planned=planned)
    completed = schedule_slots.find_completed_slots(database, job, [slot.at for slot in find_due(())])
    return find_due(completed)


def run_slot(context: JobContext, slot: JobSlot) -> str | None:
    """Claim a slot, run its job, and return the outcome.

    Return None if another process has claimed or completed the slot. If the other process is still
    running the job and the job can be shared, help with it. After a failure, the slot is retried
    later.

    Raises:
        DBAPIError, OSError: the database or the disk is unavailable. The slot is due again once its
            lease has expired.
    """
    database, owner = context.installation.database, context.owner
    if not schedule_slots.claim_slot(database, slot, owner, context.clock()):
        if share := SHARED_JOBS.get(slot.job):
            run_job(context, share)
        return None
    try:
        with schedule_slots.keep_slot_renewed(database, slot, owner, context.clock):
            outcome = SLOT_JOBS[slot.job](context)
    except JobStoppedError as exc:
        schedule_slots.postpone_slot(database, slot, str(exc), context.clock())
        return str(exc)
    except Exception as exc:
        if explain_storage_error(exc):
            raise
        outcome = FailedOutcome(f"failed: {type(exc).__name__}")
        log.exception("job failed", job=slot.job, again_in=str(SLOT_RETRY_DELAY))
        schedule_slots.postpone_slot(database, slot, outcome, context.clock() + SLOT_RETRY_DELAY)
    else:
        schedule_slots.complete_slot(database, slot, outcome, context.clock())
        log.info("slot done", job=slot.job, at=slot.at.isoformat(), outcome=outcome)
    failed = isinstance(outcome, FailedOutcome)
    heartbeats.record_job_end(context.installation, slot.job, failed=failed, now=context.clock())
    return outcome


def record_send_end(context: JobContext, report: SendReport | None) -> None:
    """Record, for the heartbeat, that an edition was sent or couldn't be sent.

    `report` is None if the run ended with an error. An edition that ends with refusals that must be
    acknowledged counts as a failure.
    """
    failed = report is None or bool(report.stop_reason) or report.refusals > 0
    is_over = failed or (report is not None and report.state is EditionState.SENT)
    if is_over and not context.stopping.is_set():
        heartbeats.record_job_end(context.installation, "send", failed=failed, now=context.clock())
