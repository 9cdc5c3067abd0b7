"""How the installation is run: who is told, what the timetable did, what waits, and what needs a person."""

import os
from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from functools import partial
from pathlib import Path

from sqlalchemy import func, select

from digest.app.calendar.coming_steps import LOOK_AHEAD, list_coming_steps
from digest.app.doctor.attention import ATTENTION_KINDS, find_attention
from digest.app.doctor.check_registry import (
    DOCTOR_CHECKS,
    DoctorCheck,
    ExaminedInstallation,
    doctor_check,
    report_error,
    report_fine,
    report_warning,
)
from digest.app.upkeep.backups import BACK_UP
from digest.backups.last_backup import explain_missing_backup
from digest.deliver.control import installation_hold
from digest.deliver.providers.kind import DoctorFinding
from digest.deliver.send.claims.run_file import list_abandoned_files
from digest.deliver.send.uncertain.uncertain_deliveries import NOTICES
from digest.edition.calendar.calendar_store import load_calendar
from digest.settings import Settings
from digest.settings.setting_lines import advise_variable_change
from digest.store.delivery_models import Delivery, DeliveryState, InboundPayload, StaffMember
from digest.store.models import FIRST_LOOK_JOB, AuditEntry, TimetableSlot
from digest.store.staff import display_name_of, list_staff_members
from digest.store.staff_revocations import keep_current, list_missing_members
from subscribers.consent.preferences import list_unreadable_choices
from subscribers.errors import ApplicationError
from subscribers.phrases import join_words
from subscribers.store import row_seals
from subscribers.store.models import Person, Seal

NIGHTLY_JOB = "nightly"
MAX_SILENCE = timedelta(hours=26)  # between two nights, with the hour that a clock may be put back
MAX_SEAL_AGE = timedelta(days=2)
MAX_BACKUP_AGE = timedelta(days=8)  # a week, and a day for a person
MAX_WAIT = timedelta(hours=1)  # of what should be done within minutes
MAX_NAMED = 5  # of what is found in one check


@doctor_check(
    "staff",
    "Run, with the admin's address for EMAIL: digest staff add EMAIL --role admin; 'digest serve', which has to run, mails a link that "
    "proves the address.",
)
def check_staff(examined: ExaminedInstallation) -> Iterator[DoctorFinding]:
    """Whether there is an admin whose address is proven, for alarms, seals and answers to readers."""
    with examined.read() as session:
        admins = [member for member in list_staff_members(session) if member.role == "admin"]
        hold = installation_hold.current_hold(session)
    unproven = [display_name_of(member.name, member.email) for member in admins if not member.proven_at]
    if len(unproven) < len(admins):
        yield report_fine(f"{len(admins) - len(unproven)} who get alarms")
    elif unproven:
        released = "run 'digest resume --all' (all is held, and no mail leaves), " if hold else ""
        yield report_warning(
            f"no admin has a proven address yet ({join_words(unproven[:MAX_NAMED])}): nobody is told when something needs a person.",
            f"Mail has to leave: {released}let 'digest serve' run, and open the link that it mails to {unproven[0]} ('digest staff "
            "prove EMAIL' asks for another). If that mailbox cannot be read, add another admin: digest staff add EMAIL --role admin",
        )
    else:
        yield report_warning("there is no admin: nobody is told when something needs a person.")


@doctor_check(
    "access-rows",
    "Somebody or something wrote to the database past the program: find out who can. The rows count for nothing; 'digest staff list' "
    "shows who is on the staff. Run 'digest keys rotate access', which discards them; add whoever is missing again: digest staff add EMAIL",
)
def check_access_rows(examined: ExaminedInstallation) -> Iterator[DoctorFinding]:
    """Whether every row that lets somebody in (staff, sessions, passkeys, codes, links), and each edition's figures, has a valid seal, and no member is missing."""
    installation = examined.installation
    try:
        keys = installation.keys
    except ApplicationError:
        return  # `key-file` says what is wrong with them
    with installation.database.read() as session:
        forged = row_seals.find_forged_rows(session, keys)
        members = row_seals.keep_genuine(session, session.scalars(select(StaffMember)))
        outdated = len(members) - len(keep_current(session, members))
        missing = list_missing_members(session)
    if forged:
        counts = join_words([f"{len(rows):,} of {model.__tablename__}" for model, rows in forged.items()])
        yield report_error(f"rows have no valid seal, so they count for nothing: {counts}.")
    if outdated:
        yield report_error(f"rows of the staff are older than the audit log says: {outdated:,}.")
    if missing:
        yield report_error(f"rows of the staff are gone: {join_words(missing[:MAX_NAMED])}.")
    if not (forged or outdated or missing):
        yield report_fine("every sealed row has a valid seal")


@doctor_check("timetable", "Start 'digest serve' or hls-scheduler, and have systemd start it with the machine.")
def check_timetable(examined: ExaminedInstallation) -> Iterator[DoctorFinding]:
    """Whether a process follows the timetable: collecting, drafting, sending and the work of the night."""
    newest = select(func.max(TimetableSlot.done_at)).where(TimetableSlot.job == NIGHTLY_JOB)
    first = select(func.min(TimetableSlot.at)).where(TimetableSlot.job == FIRST_LOOK_JOB)
    with examined.read() as session:
        since, last = session.scalar(first), session.scalar(newest)
        set_up_at = session.scalar(select(func.min(AuditEntry.at)))
    if since is None and set_up_at is not None and examined.now - set_up_at > MAX_SILENCE:
        yield report_warning(
            f"nothing follows it since the first act here ({set_up_at:%Y-%m-%d %H:%M} UTC): nothing is collected, drafted or mailed "
            "at its time."
        )
    elif since is None:
        yield report_fine("nothing follows it yet, on an installation that is new; 'digest serve' does")
    elif examined.now - (last or since) > MAX_SILENCE:
        yield report_error(f"nothing that belongs to a night was done since {(last or since):%Y-%m-%d %H:%M} UTC.")
    else:
        yield report_fine(f"followed since {since:%Y-%m-%d}")


@doctor_check("coming-steps", "Look at the calendar at the desk, or at 'digest calendar list'.")
def check_coming_steps(examined: ExaminedInstallation) -> Iterator[DoctorFinding]:
    """Whether an edition goes out in the coming fortnight; and what happens next."""
    file = examined.settings.file
    with examined.read() as session:
        steps = list_coming_steps(session, file, examined.now)
        release = load_calendar(session, file).next_release(examined.now)
    if release.release_at > examined.now + LOOK_AHEAD:
        local = release.release_at.astimezone(file.publication.zone)
        yield report_warning(f"nothing goes out before {local:%Y-%m-%d %H:%M %Z}.")
    yield from (report_fine(step.describe(file)) for step in steps)


@doctor_check(
    "stuck-job",
    "Look for the job's name in the log of the scheduler (journalctl -u digest); it is tried again until it is done.",
)
def check_slots(examined: ExaminedInstallation) -> Iterator[DoctorFinding]:
    """Whether a job of the timetable was begun and never done."""
    undone = select(TimetableSlot).where(
        TimetableSlot.done_at.is_(None),
        TimetableSlot.at < examined.now - MAX_WAIT,
        TimetableSlot.lease_until < examined.now - MAX_WAIT,
    )
    with examined.read() as session:
        newest_first = undone.order_by(TimetableSlot.at.desc())
        for slot in session.scalars(newest_first.limit(MAX_NAMED)):
            why = f": {slot.outcome}" if slot.outcome else ""
            yield report_error(f"{slot.job} of {slot.at:%Y-%m-%d %H:%M} UTC was begun and is not done{why}.")


@doctor_check(
    "nightly-steps", "The log of that night (journalctl -u digest) has the error; the step runs again every night."
)
def check_nightly_steps(examined: ExaminedInstallation) -> Iterator[DoctorFinding]:
    """Whether every step of the last night was done."""
    done = select(TimetableSlot).where(TimetableSlot.job == NIGHTLY_JOB, TimetableSlot.done_at.is_not(None))
    with examined.read() as session:
        newest_first = done.order_by(TimetableSlot.at.desc())
        last = session.scalars(newest_first.limit(1)).first()
        outcome = last.outcome if last else ""
    yield from (report_error(f"{step}.") for step in outcome.split("; ") if " failed: " in step)


@doctor_check(
    "seals",
    "Start 'digest serve' or hls-scheduler, which seal at night; 'digest subscribers verify' proves the ledger now.",
)
def check_seals(examined: ExaminedInstallation) -> Iterator[DoctorFinding]:
    """Whether the consent ledger was sealed of late."""
    with examined.read() as session:
        last, first_person = (
            session.scalar(select(func.max(Seal.at))),
            session.scalar(select(func.min(Person.asked_at))),
        )
    if last is None and (first_person is None or examined.now - first_person < MAX_SEAL_AGE):
        return
    if last is None or examined.now - last > MAX_SEAL_AGE:
        told = f"was last sealed {last:%Y-%m-%d %H:%M} UTC" if last else "was never sealed, and there are people"
        yield report_error(f"the consent ledger {told}.")
    else:
        yield report_fine(f"the consent ledger was sealed {last:%Y-%m-%d %H:%M} UTC")


@doctor_check("backup", "Run, with a file on another disk or machine for FILE: digest backup FILE")
def check_backup(examined: ExaminedInstallation) -> Iterator[DoctorFinding]:
    """Whether there is a backup of the last week, once there are people; where the clock makes them, `missing-backup` says so."""
    with examined.read() as session:
        if explain_missing_backup(session, examined.settings.file, examined.now):
            return
        made = select(func.max(AuditEntry.at)).where(AuditEntry.act == BACK_UP.name)
        last = session.scalar(made)
        holds_anybody = session.scalar(select(Person.number).limit(1)) is not None
    if last is not None and examined.now - last <= MAX_BACKUP_AGE:
        yield report_fine(f"the last was made {last:%Y-%m-%d %H:%M} UTC")
    elif holds_anybody:
        yield report_warning(
            f"the last backup was made {last:%Y-%m-%d %H:%M} UTC." if last else "no backup was ever made here."
        )


@doctor_check(
    "backup-folder", "Set DIGEST_BACKUP_PASSPHRASE, and let the user that digest runs as write into backup.folder."
)
def check_backup_folder(examined: ExaminedInstallation) -> Iterator[DoctorFinding]:
    """Whether backups by the clock can be made: there is a passphrase, and the folder can be written."""
    settings = examined.settings
    if not settings.file.backup.folder:
        return
    yield _find_backup_obstacle(settings) or report_fine(
        f"backups by the clock go to {settings.file.backup.folder}, encrypted"
    )


def _find_backup_obstacle(settings: Settings) -> DoctorFinding | None:
    """Find what keeps backups by the clock from being made into the folder that is named for them."""
    folder = Path(settings.file.backup.folder)
    if not settings.backup_passphrase_text:
        return report_error(
            f"backups go to {folder}, and there is no passphrase to encrypt them with: none is made.",
            "Choose a passphrase and write it down away from the backups: without it nothing is restored. Then "
            + advise_variable_change(settings, "DIGEST_BACKUP_PASSPHRASE='…'")
            + "; and run: digest backup",
        )
    is_writable = folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)
    if folder.exists() and not is_writable:
        return report_error(
            f"backups go to {folder}, which is no folder that can be written: none is made.",
            f"Run: sudo chown $(id -un) {folder}; or name another under [backup] in {settings.settings_place}.",
        )
    return None


@doctor_check(
    "waiting-mail", "Start 'digest serve'; where it runs, its log (journalctl -u digest) says why mail cannot leave."
)
def check_waiting_mail(examined: ExaminedInstallation) -> Iterator[DoctorFinding]:
    """Whether confirmations, links and other notices leave within the hour."""
    late = (
        Delivery.state == DeliveryState.WAITING,
        Delivery.purpose.not_like("edition:%"),
        Delivery.next_try_at < examined.now - MAX_WAIT,
    )
    with examined.read() as session:
        counted = select(func.count(), func.min(Delivery.due_at)).where(*late)
        count, oldest = session.execute(counted).one()
    if count:
        yield report_error(
            f"mails that somebody waits for have not left ({count:,}), the oldest since {oldest:%Y-%m-%d %H:%M} UTC."
        )


@doctor_check(
    "unapplied-events",
    "Start 'digest serve', or run 'digest inbound': bounces and complaints count once they are applied.",
)
def check_unapplied_events(examined: ExaminedInstallation) -> Iterator[DoctorFinding]:
    """Whether what providers and bounces said was applied within the hour."""
    waiting = (InboundPayload.applied_at.is_(None), InboundPayload.at < examined.now - MAX_WAIT)
    with examined.read() as session:
        count = session.scalar(select(func.count()).where(*waiting))
    if count:
        yield report_error(f"posts of bounces and events wait to be applied ({count:,}).")


@doctor_check(
    "uncertain",
    "'digest uncertain EDITION' names them, 'digest uncertain notices' those of no edition, and what can be said of each; Deliveries under Admin does too.",
)
def check_uncertain(examined: ExaminedInstallation) -> Iterator[DoctorFinding]:
    """Whether it is known of every message whether it left."""
    # Of an edition that rests or is cancelled no run marks what a process left that fell silent.
    silent = (Delivery.state == DeliveryState.HANDING_OVER) & (Delivery.lease_until < examined.now)
    with examined.read() as session:
        condition = (Delivery.state == DeliveryState.UNCERTAIN) | silent
        unknown = select(Delivery.purpose, func.count()).where(condition)
        counted = session.execute(unknown.group_by(Delivery.purpose))
        counts: Counter[str] = Counter()
        for purpose, count in counted:
            kind, _, name = purpose.partition(":")
            counts[name if kind == "edition" else NOTICES] += count
    if counts:
        named = ", ".join(f"{count:,} of {name}" for name, count in counts.most_common(MAX_NAMED))
        yield report_warning(f"nobody knows of some messages whether they arrived ({counts.total():,}: {named}).")


@doctor_check("dead-run", "The next 'digest send EDITION', or 'digest serve', reads what they tell and removes them.")
def check_dead_runs(examined: ExaminedInstallation) -> Iterator[DoctorFinding]:
    """Whether a run that was killed left its file behind."""
    settings = examined.settings
    for file in list_abandoned_files(settings.runs_folder)[:MAX_NAMED]:
        yield report_warning(f"{file}: a run ended without a word and left this file.")


@doctor_check(
    "choices", "Write to each ('digest subscribers show NUMBER'), and ask them to choose anew at /preferences."
)
def check_choices(examined: ExaminedInstallation) -> Iterator[DoctorFinding]:
    """Whether what every reader chose can be read; who cannot be understood is mailed nothing."""
    with examined.read() as session:
        numbers = list_unreadable_choices(session)
    if numbers:
        named = ", ".join(str(number) for number in numbers[:MAX_NAMED])
        yield report_error(f"what readers chose cannot be read ({len(numbers):,}: number {named}): their mail rests.")


def examine_attention(kind: str, examined: ExaminedInstallation) -> Iterator[DoctorFinding]:
    """Yield what of one kind needs a person, in the words of the desk and of `digest status`."""
    installation = examined.installation
    with installation.read() as session:
        found = find_attention(session, examined.now, installation.settings.file)
    for finding in found:
        if finding.kind == kind == "missing-backup" and _find_backup_obstacle(installation.settings):
            yield report_warning(
                "none can be made by the clock: backup-folder stands in the way.", "Mend backup-folder first."
            )
        elif finding.kind == kind:
            yield report_warning(finding.sentence)


for attention_kind in ATTENTION_KINDS.values():
    DOCTOR_CHECKS.add(
        DoctorCheck(
            attention_kind.name,
            attention_kind.meaning,
            attention_kind.remedy,
            partial(examine_attention, attention_kind.name),
            tells_remedy=attention_kind.tells_remedy,
        )
    )
