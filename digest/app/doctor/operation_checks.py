"""Checks of daily operation: staff, sealed rows, schedule, backups, deliveries, and other problems."""

import os
from collections import Counter
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import (
    Column,
    ColumnElement,
    Integer,
    String,
    and_,
    exists,
    false,
    func,
    literal_column,
    or_,
    select,
    type_coerce,
)
from sqlalchemy.orm import aliased

from digest.app.calendar.upcoming_steps import LOOK_AHEAD, list_upcoming_steps
from digest.app.doctor.attention import ATTENTION_KINDS
from digest.app.doctor.check_registry import (
    DOCTOR_CHECKS,
    DoctorCheck,
    DoctorFindings,
    ExaminedInstallation,
    doctor_check,
    report_error,
    report_ok,
    report_warning,
)
from digest.app.doctor.file_access import advise_write_access, find_service_user
from digest.app.upkeep.backups import BACK_UP, RESTORE
from digest.app.upkeep.database_changes import MOVE
from digest.app.upkeep.nightly_steps import FAILED
from digest.backups.last_backup import explain_missing_backup
from digest.deliver.control import installation_hold
from digest.deliver.providers.kind import DoctorFinding
from digest.deliver.providers.registry import join_provider_remedies
from digest.deliver.send.claims.delivery_claims import CHANGED_ROW
from digest.deliver.send.claims.run_progress_file import list_abandoned_run_files
from digest.deliver.send.uncertain.uncertain_deliveries import NOTICES
from digest.edition.archive.verified_editions import find_altered_editions, find_editions_with_altered_stories
from digest.edition.calendar.calendar_store import load_calendar
from digest.edition.drafting.composition import NOT_AS_COMPOSED, compose_stored_draft, matches_composition
from digest.edition.edition_queries import PUBLIC_STATES, UNAPPROVED_STATES
from digest.folder_owner import find_user_name, is_writable
from digest.installation.storage_errors import RESTORE_LOSSES
from digest.settings import Settings
from digest.settings.setting_lines import advise_key_change, advise_variable_change
from digest.store.delivery_models import CLAIMED_STATES, Delivery, DeliveryState, ReceivedEventPayload, StaffMember
from digest.store.models import FIRST_LOOK_JOB, AuditEntry, Edition, ScheduleSlot
from digest.store.schedule_slots import MAX_UNSEEN, find_scheduler_seen, is_schedule_off_by_choice
from digest.store.staff import format_display_name, list_staff_members
from digest.store.staff_revocations import filter_current_members, list_members_missing_staff_rows
from subscribers.consent.preferences import list_unreadable_preferences
from subscribers.crypto.keys import KeyRing
from subscribers.english_text import count_with_noun, join_words, sentence
from subscribers.errors import ApplicationError
from subscribers.store import keyed_row_seals
from subscribers.store.database import is_postgresql
from subscribers.store.models import Base, ConsentEvent, Person, Seal, UtcDateTime

NIGHTLY_JOB = "nightly"
MAX_SILENCE = timedelta(hours=26)  # a day, plus a margin that includes the hour by which clocks may be set back
MAX_SEAL_AGE = timedelta(days=2)
MAX_BACKUP_AGE = timedelta(days=8)  # a week, plus a day to make the backup
MAX_CHANGE_AGE = timedelta(days=30)  # since the refused delivery was due
MAX_UNTRIED = timedelta(minutes=5)  # for an email to a mail server that can't be reached
MAX_WAIT = timedelta(hours=1)  # for work that normally takes minutes
MAX_NAMED = 5  # findings per check


@doctor_check("staff", "Add an admin: digest staff add EMAIL --role admin")
def check_verified_admin_exists(examined: ExaminedInstallation) -> DoctorFindings:
    """An admin has a verified address for alerts."""
    with examined.read() as session:
        admins = [member for member in list_staff_members(session) if member.role == "admin"]
        hold = installation_hold.read_current_hold(session)
        set_up_at = session.scalar(select(func.min(AuditEntry.at)))
    unproven = [format_display_name(member.name, member.email) for member in admins if not member.proven_at]
    if len(unproven) < len(admins):
        yield report_ok(f"admins with a verified address: {len(admins) - len(unproven)}")
    elif unproven:
        released = "run 'digest resume --all' (all sending is paused), " if hold else ""
        yield report_warning(
            f"No admin has verified their address yet ({join_words(unproven[:MAX_NAMED])}), so alerts can't be sent.",
            f"To verify the address, {released}keep 'digest serve' running, and open the link emailed to {unproven[0]}. "
            "To get another link, run 'digest staff verify EMAIL'. If you can't read that mailbox, add another "
            "admin: digest staff add EMAIL --role admin",
        )
    elif set_up_at is not None and examined.now - set_up_at <= MAX_SILENCE:
        yield report_ok("this new installation has no admin yet; add one with 'digest staff add EMAIL --role admin'")
    else:
        yield report_warning("There's no admin, so alerts can't be sent.")


@doctor_check(
    "access-rows",
    "Find out what changed the database. Run 'digest keys rotate access', which deletes invalid rows, and add missing team members: digest staff add EMAIL",
)
def check_row_seals(examined: ExaminedInstallation) -> DoctorFindings:
    """Sealed rows have valid seals, and no team member is missing."""
    if (keys := _find_keys(examined)) is None:
        return
    with examined.read() as session:
        forged = keyed_row_seals.find_forged_rows(session, keys)
        members = keyed_row_seals.filter_genuine_rows(session, session.scalars(select(StaffMember)))
        outdated = len(members) - len(filter_current_members(session, members))
        missing = list_members_missing_staff_rows(session)
    if forged:
        counts = join_words([f"{len(rows):,} of {model.__tablename__}" for model, rows in forged.items()])
        yield report_error(f"Some rows have no valid seal and are ignored ({counts}).")
    if outdated:
        yield report_error(f"The audit log doesn't confirm {count_with_noun(outdated, 'team row')}.")
    if missing:
        yield report_error(f"Team rows are missing ({join_words(missing[:MAX_NAMED])}).")
    if not (forged or outdated or missing):
        yield report_ok("every sealed row has a valid seal")


@doctor_check(
    "public-editions",
    f"Find out what changed the database, and restore a backup from before the change: 'digest restore FILE --replace'. {RESTORE_LOSSES}",
)
def check_public_editions_unaltered(examined: ExaminedInstallation) -> DoctorFindings:
    """Public pages and the search show the approved text."""
    if _find_keys(examined) is None:
        return
    with examined.read() as session:
        editions = session.scalars(select(Edition).where(Edition.state.in_(PUBLIC_STATES))).all()
        changed, searched = (
            find_altered_editions(session, editions),
            find_editions_with_altered_stories(session, editions),
        )
    if changed:
        yield report_error(f"Some editions aren't what was approved ({join_words(changed[:MAX_NAMED])}).")
    if searched:
        names = join_words(searched[:MAX_NAMED])
        yield report_error(f"The search and topic pages show stories that weren't approved ({names}).")
    if not (changed or searched):
        yield report_ok("public pages show what was approved")


@doctor_check(
    "changed-deliveries",
    "Find out what changed the database. Acknowledge an edition's emails, which weren't sent, with 'digest refused EDITION'. People can request other emails again.",
)
def check_altered_deliveries(examined: ExaminedInstallation) -> DoctorFindings:
    """No deliveries in the last 30 days were altered."""
    refused = (Delivery.state == DeliveryState.REFUSED, Delivery.reply == CHANGED_ROW)
    recent = Delivery.due_at > examined.now - MAX_CHANGE_AGE
    with examined.read() as session:
        ids = session.scalars(select(Delivery.id).where(*refused, recent).order_by(Delivery.due_at.desc())).all()
    if ids:
        id_list = ", ".join(ids[:MAX_NAMED])
        yield report_error(
            f"Deliveries were changed outside this program, so they weren't sent ({len(ids):,}: {id_list})."
        )


def _find_keys(examined: ExaminedInstallation) -> KeyRing | None:
    """Return the keys, or None if they have a problem. The check `key-file` reports it."""
    try:
        return examined.installation.keys
    except ApplicationError:
        return None


@doctor_check(
    "drafts",
    "Update the draft on the review page or with 'digest draft --update EDITION', and redo missing edits. If neither settings nor program changed, find out what changed the database.",
)
def check_drafts_match_composition(examined: ExaminedInstallation) -> DoctorFindings:
    """Upcoming drafts match their stories, edits, and settings."""
    coming = select(Edition).where(Edition.state.in_(UNAPPROVED_STATES), Edition.release_at > examined.now)
    settings = examined.installation.settings
    if _find_keys(examined) is None:
        return
    with examined.read() as session:
        drafts = session.scalars(coming).all()
        changed = [
            draft.name
            for draft in drafts
            if not matches_composition(session, draft, compose_stored_draft(session, draft, settings))
        ]
    for name in changed:
        yield report_warning(f"{name} {NOT_AS_COMPOSED}")
    if not changed:
        yield report_ok(f"upcoming drafts that match their stories and settings: {len(drafts)}")


@doctor_check("timetable", "Start 'digest serve' or hls-scheduler, and have it start at boot.")
def check_scheduler(examined: ExaminedInstallation) -> DoctorFindings:
    """The scheduler is running."""
    moments = select(func.max(ScheduleSlot.done_at), func.max(ScheduleSlot.taken_at))
    newest = moments.where(ScheduleSlot.job == NIGHTLY_JOB)
    first = select(func.min(ScheduleSlot.at)).where(ScheduleSlot.job == FIRST_LOOK_JOB)
    with examined.read() as session:
        since = session.scalar(first)
        last, started = session.execute(newest).one()
        seen_at = find_scheduler_seen(session)
        is_off_by_choice = is_schedule_off_by_choice(session, examined.now)
        set_up_at = session.scalar(select(func.min(AuditEntry.at)))
    if is_off_by_choice:
        yield report_warning(
            "Scheduled jobs are off, because only 'digest serve --no-schedule' is running. Nothing is collected, drafted, or "
            "sent automatically, and there's no nightly maintenance.",
            "To turn them on, start hls-scheduler, or restart 'digest serve' without --no-schedule.",
        )
    elif since is None and set_up_at is not None and examined.now - set_up_at > MAX_SILENCE:
        yield report_error(
            f"The scheduler hasn't run since this installation was set up ({set_up_at:%Y-%m-%d %H:%M} UTC), so "
            "scheduled jobs haven't run."
        )
    elif since is None:
        yield report_ok("the scheduler hasn't run yet on this new installation; start 'digest serve'")
    elif (
        examined.now - max(filter(None, (since, last, started))) > MAX_SILENCE
    ):  # `stuck-job` reports a job that started but didn't finish
        yield report_error(f"No nightly maintenance has run since {last or since:%Y-%m-%d %H:%M} UTC.")
    elif seen_at is None:
        yield report_ok(f"the scheduler first ran on {since:%Y-%m-%d}")
    elif examined.now - seen_at > MAX_UNSEEN:
        yield report_error(
            f"The scheduler isn't running. It was last seen {seen_at:%Y-%m-%d %H:%M} UTC, and emails and jobs wait until it "
            "starts."
        )
    else:
        yield report_ok(f"the scheduler was last seen {seen_at:%Y-%m-%d %H:%M:%S} UTC")


@doctor_check(
    "coming-steps",
    "Check 'digest calendar list', and restore skipped editions with 'digest calendar restore RELEASE'.",
)
def check_edition_scheduled_soon(examined: ExaminedInstallation) -> DoctorFindings:
    """An edition is scheduled in the next two weeks."""
    file = examined.settings.file
    with examined.read() as session:
        steps = list_upcoming_steps(session, file, examined.now)
        release = load_calendar(session, file).next_release(examined.now)
    if release.release_at > examined.now + LOOK_AHEAD:
        local = release.release_at.astimezone(file.publication.zone)
        yield report_warning(f"No edition is scheduled before {local:%Y-%m-%d %H:%M %Z}.")
    yield from (report_ok(step.describe(file)) for step in steps)


@doctor_check(
    "stuck-job",
    "Search the log (journalctl -u digest) for the job's name.",
)
def check_unfinished_jobs(examined: ExaminedInstallation) -> DoctorFindings:
    """Every job that started has finished."""
    later = aliased(ScheduleSlot)
    is_made_up_for = exists().where(
        later.job == ScheduleSlot.job, later.at > ScheduleSlot.at, later.done_at.is_not(None)
    )
    undone = select(ScheduleSlot).where(
        ScheduleSlot.done_at.is_(None),
        ~is_made_up_for,
        ScheduleSlot.at < examined.now - MAX_WAIT,
        or_(ScheduleSlot.lease_until < examined.now - MAX_WAIT, ScheduleSlot.outcome != ""),
    )
    with examined.read() as session:
        newest_first = undone.order_by(ScheduleSlot.at.desc())
        for slot in session.scalars(newest_first.limit(MAX_NAMED)):
            why = f": {slot.outcome}" if slot.outcome else ""
            yield report_error(f"The job {slot.job}, due {slot.at:%Y-%m-%d %H:%M} UTC, started but didn't finish{why}.")


@doctor_check("nightly-steps", "Find the error in the log (journalctl -u digest).")
def check_nightly_steps(examined: ExaminedInstallation) -> DoctorFindings:
    """Every step of last night's maintenance finished."""
    query = select(ScheduleSlot).where(ScheduleSlot.job == NIGHTLY_JOB, ScheduleSlot.done_at.is_not(None))
    with examined.read() as session:
        newest_first = query.order_by(ScheduleSlot.at.desc())
        last = session.scalars(newest_first.limit(1)).first()
        outcome = last.outcome if last else ""
    yield from (report_error(f"{step}.") for step in outcome.split("; ") if FAILED in step)


@doctor_check(
    "seals",
    "Start 'digest serve' or hls-scheduler, which seals them nightly, or run 'digest subscribers verify --seal-now'.",
)
def check_ledger_sealed_recently(examined: ExaminedInstallation) -> DoctorFindings:
    """Consent events are sealed within two days."""
    with examined.read() as session:
        last = session.scalar(select(Seal).order_by(Seal.id.desc()).limit(1))
        unsealed = ConsentEvent.id > (last.through if last else 0)
        since = session.scalar(select(func.min(ConsentEvent.at)).where(unsealed))
        arrivals = AuditEntry.act.in_((RESTORE.name, MOVE.name))
        arrived_at = session.scalar(select(func.max(AuditEntry.at)).where(arrivals))
    if since is not None and examined.now - max(since, arrived_at or since) > MAX_SEAL_AGE:
        yield report_error(f"The consent ledger has events since {since:%Y-%m-%d %H:%M} UTC that aren't sealed.")
    elif last is not None:
        yield report_ok(f"consent ledger sealed {last.at:%Y-%m-%d %H:%M} UTC")


@doctor_check("backup", "Back up to another disk or machine: digest backup FILE")
def check_backup(examined: ExaminedInstallation) -> DoctorFindings:
    """There's a backup from the last week."""
    with examined.read() as session:
        if explain_missing_backup(session, examined.settings.file, examined.now):
            return
        query = select(func.max(AuditEntry.at)).where(AuditEntry.act == BACK_UP.name)
        last = session.scalar(query)
        holds_anybody = session.scalar(select(Person.number).limit(1)) is not None
    if last is not None and examined.now - last <= MAX_BACKUP_AGE:
        yield report_ok(f"last backup {last:%Y-%m-%d %H:%M} UTC")
    elif holds_anybody:
        yield report_warning(
            f"The last backup was made {last:%Y-%m-%d %H:%M} UTC." if last else "No backup has been made yet."
        )


@doctor_check("backup-folder")
def check_backup_folder(examined: ExaminedInstallation) -> DoctorFindings:
    """Scheduled backups have a passphrase, a writable folder, and a copy on another disk."""
    settings = examined.settings
    if not settings.file.backup.folder:
        return
    yield _find_backup_problem(settings) or report_ok(
        f"scheduled backups are encrypted and saved to {settings.file.backup.folder}"
    )


def _find_backup_problem(settings: Settings) -> DoctorFinding | None:
    folder = Path(settings.file.backup.folder)
    if not settings.backup_passphrase_text:
        return report_error(
            f"No backups can be made in {folder} because there's no passphrase to encrypt them with.",
            "Choose a passphrase and keep a copy apart from the backups. You can't restore a backup without it. "
            + advise_variable_change(settings, "DIGEST_BACKUP_PASSPHRASE='…'")
            + ". Then run: digest backup",
        )
    if folder.exists() and not folder.is_dir():
        advice = advise_key_change(settings, "backup", 'folder = "/backups/digest"')
        message = f"No backups can be made because {folder} isn't a folder."
        return report_error(message, f"Choose a folder. {advice}", page_remedy="Choose a folder.")
    if folder.exists() and not (is_writable(folder) and os.access(folder, os.X_OK)):
        return report_error(
            f"No backups can be made because {folder} isn't writable.",
            advise_write_access(settings, folder, "700"),
        )
    if not folder.exists() and not is_writable(next(place for place in folder.absolute().parents if place.exists())):
        return report_error(
            f"No backups can be made because {folder} doesn't exist and the service can't create it.",
            "If it's on a disk that isn't mounted, mount the disk. Otherwise, run as root: "
            f"install -d -m 700 -o {find_user_name(find_service_user(settings))} {folder}",
        )
    if find_disk(folder) == find_disk(settings.home) and not settings.file.backup.copied:
        return report_warning(
            f"The backups in {folder} are on the same disk as the installation.",
            "Have a program such as rclone or restic copy them to another machine. "
            f"{advise_key_change(settings, 'backup', 'copied = true')}. Or choose a folder on another disk.",
        )
    return None


def find_disk(path: Path) -> int:
    """Return the device number of the disk that a path is on, or will be on once it's created."""
    return next(place.stat().st_dev for place in (path, *path.absolute().parents) if place.exists())


@doctor_check(
    "waiting-mail",
    "Start 'digest serve'. If it's running, find the cause in its log (journalctl -u digest).",
)
def check_overdue_emails(examined: ExaminedInstallation) -> DoctorFindings:
    """Transactional emails are sent within an hour."""
    is_waiting = (Delivery.state == DeliveryState.WAITING, Delivery.purpose.not_like("edition:%"))
    late = Delivery.next_try_at < examined.now - MAX_WAIT
    # An email is postponed without counting a try only if the server can't be reached or refuses
    # all email.
    untried = and_(
        Delivery.tries == 0,
        Delivery.next_try_at > Delivery.due_at,
        or_(Delivery.reply != "", Delivery.due_at < examined.now - MAX_UNTRIED),
    )
    counted = select(func.count(), func.min(Delivery.due_at)).where(*is_waiting)
    reasons = select(Delivery.reply).where(*is_waiting, untried).order_by(Delivery.next_try_at.desc())
    with examined.read() as session:
        count, oldest = session.execute(counted.where(or_(late, untried))).one()
        reason = session.scalar(reasons.limit(1))
    if not count:
        return
    message = f"Transactional emails are overdue ({count:,}). The oldest was due {oldest:%Y-%m-%d %H:%M} UTC."
    if reason is None:
        yield report_error(message)
    elif not reason:
        yield report_error(
            f"{message} The mail server can't be reached or refuses all email.",
            "Start the mail server, and check DIGEST_MAIL_URL. To see the server's response, run: digest doctor --online",
        )
    else:
        yield report_error(
            f"{message} {sentence(reason)}",
            "The emails are sent within minutes once this is fixed. To check, run: digest doctor --online",
        )


@doctor_check(
    "unapplied-events",
    "Start 'digest serve' or run 'digest inbound'.",
)
def check_unapplied_events(examined: ExaminedInstallation) -> DoctorFindings:
    """Bounces and provider events take effect within an hour."""
    waiting = (ReceivedEventPayload.applied_at.is_(None), ReceivedEventPayload.at < examined.now - MAX_WAIT)
    with examined.read() as session:
        count = session.scalar(select(func.count()).where(*waiting))
    if count:
        yield report_error(f"Bounces and events haven't been processed for an hour ({count:,}).")


@doctor_check(
    "uncertain",
    "Resolve the messages under Admin → Deliveries, or with 'digest uncertain'.",
)
def check_uncertain_deliveries(examined: ExaminedInstallation) -> DoctorFindings:
    """No message has an unknown status."""
    # While an edition is paused or canceled, no run marks the deliveries that a dead process left
    # behind.
    silent = Delivery.state.in_(CLAIMED_STATES) & (Delivery.lease_until < examined.now)
    with examined.read() as session:
        condition = (Delivery.state == DeliveryState.UNCERTAIN) | silent
        unknown = select(Delivery.purpose, func.count()).where(condition)
        counted = session.execute(unknown.group_by(Delivery.purpose))
        counts: Counter[str] = Counter()
        for purpose, count in counted:
            kind, _, name = purpose.partition(":")
            counts[name if kind == "edition" else NOTICES] += count
    if counts:
        edition_counts = ", ".join(f"{count:,} of {name}" for name, count in counts.most_common(MAX_NAMED))
        yield report_warning(
            f"The status of {count_with_noun(counts.total(), 'message')} is unknown ({edition_counts})."
        )


@doctor_check("dead-run", "Run 'digest send EDITION' or 'digest serve', which removes the file.")
def check_dead_runs(examined: ExaminedInstallation) -> DoctorFindings:
    """No killed process left a run file behind."""
    settings = examined.settings
    for file in list_abandoned_run_files(settings.runs_folder)[:MAX_NAMED]:
        yield report_warning(f"A run ended unexpectedly and left {file} behind.")


@doctor_check(
    "choices",
    "Ask each subscriber ('digest subscribers show NUMBER') to choose again at /preferences.",
)
def check_stored_preferences(examined: ExaminedInstallation) -> DoctorFindings:
    """All subscribers' preferences can be read."""
    with examined.read() as session:
        numbers = list_unreadable_preferences(session)
    if numbers:
        number_list = ", ".join(str(number) for number in numbers[:MAX_NAMED])
        yield report_error(
            f"The preferences of {count_with_noun(len(numbers), 'subscriber')} can't be read, so no editions are sent to them ({number_list})."
        )


@doctor_check(
    "damaged-values",
    "Find out what changed the database. Restore the value from a backup, or delete the row.",
)
def check_invalid_sqlite_values(examined: ExaminedInstallation) -> DoctorFindings:
    """Numbers and times in a SQLite database are valid."""
    with examined.read() as session:
        if is_postgresql(session):
            return
        for table in Base.metadata.sorted_tables:
            damaged = [condition for column in table.c if (condition := _damage_in(column)) is not None]
            rows = select(literal_column("rowid", Integer)).select_from(table).where(or_(false(), *damaged))
            if numbers := session.scalars(rows.limit(MAX_NAMED)).all():
                yield report_error(f"{table.name} has damaged values, in rows {join_words([*map(str, numbers)])}.")


def _damage_in(column: Column[Any]) -> ColumnElement[bool] | None:
    """Return an SQL condition that finds invalid values in a column.

    Return None if values of its type can't be checked here.
    """
    if isinstance(column.type, Integer):
        return func.typeof(column).not_in(("integer", "null"))
    if isinstance(column.type, UtcDateTime):
        text = type_coerce(column, String)
        return func.datetime(text).is_distinct_from(func.substr(text, 1, 19))
    return None


def check_attention(kind: str, examined: ExaminedInstallation) -> DoctorFindings:
    """Yield problems of one kind that need attention.

    The wording is the same as at the desk and in `digest status`.
    """
    for finding in examined.attention:
        if finding.kind == kind:
            yield report_warning(finding.sentence)


for attention_kind in ATTENTION_KINDS.values():
    DOCTOR_CHECKS.add(
        DoctorCheck(
            attention_kind.name,
            attention_kind.meaning,
            attention_kind.remedy or join_provider_remedies(attention_kind.name),
            partial(check_attention, attention_kind.name),
        )
    )
