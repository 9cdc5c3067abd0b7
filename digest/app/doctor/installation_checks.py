"""Checks of the things that an installation depends on.

These are names, folders, keys, the database, logs, the disk, the clock, and heartbeats.
"""

import os
import shutil
import stat
from datetime import UTC, datetime, timedelta
from importlib import metadata
from pathlib import Path

from sqlalchemy import func, select, text

from digest import __version__
from digest.app.doctor.check_registry import (
    DoctorFindings,
    ExaminedInstallation,
    doctor_check,
    report_error,
    report_exposure,
    report_ok,
    report_unexamined,
    report_warning,
)
from digest.app.doctor.file_access import advise_write_access, find_service_user, judge_file_access
from digest.app.editions import edition_views
from digest.app.upkeep import heartbeats
from digest.app.upkeep.backups import RESTORE
from digest.app.upkeep.database_changes import MOVE
from digest.app.upkeep.disk_growth import forecast_days_left, read_free_space
from digest.app.upkeep.keys import list_unencrypted_key_files
from digest.collect.sandbox.client import probe_child_sandbox
from digest.deliver.control.installation_hold import read_installation_value
from digest.deliver.inbound import mail_log
from digest.deliver.providers.kind import DoctorFinding
from digest.folder_owner import find_user_name, is_writable
from digest.installation.opened_installation import InstallationError, make_missing_key_file_error
from digest.installation.storage_errors import RESTORE_LOSSES, make_damage_error
from digest.settings import Settings
from digest.settings.values import redact_url
from digest.store.audit_chain import verify_audit_log
from digest.store.delivery_models import StaffMember
from digest.store.models import AuditEntry
from digest.store.process_identity import identify_current_process
from subscribers.consent.unsubscribe_log import UnsubscribeLogError, read_whole_lines
from subscribers.crypto.keys import RESTORE_RECOVERY_COPY
from subscribers.english_text import count_with_noun, join_words
from subscribers.errors import ApplicationError
from subscribers.store.database import is_postgresql
from subscribers.store.models import ConsentEvent, Person, PersonState

IMPORT_NAMES = ("digest", "subscribers", "scheduler")
# Free space, in bytes. Below the first, a warning is due. Below the second, writing isn't safe.
LOW_DISK_BYTES, FULL_DISK_BYTES = 1_000_000_000, 50_000_000
FEW_DAYS, FEW_WEEKS = 14, 60  # days until the disk is full: error, warning
MAX_CLOCK_STEP = timedelta(minutes=5)  # that a row may be in the future, because the clocks of two machines differ
MAX_DEPARTURE_AGE = timedelta(days=30)  # that the database is searched for
MAX_SNAPSHOT_AGE = timedelta(hours=1)  # a backup of a million subscribers reads for 25 minutes
MAX_SLOT_AGE = 1_000_000  # transactions


@doctor_check("import-names", "Install hls-digest in its own environment (pipx or a venv).")
def check_python_module_conflicts(_examined: ExaminedInstallation) -> DoctorFindings:
    """No other package shares hls-digest's import names."""
    owners = {name: list(distributions) for name, distributions in metadata.packages_distributions().items()}
    owners_by_name = {name: set(owners.get(name, ())) for name in IMPORT_NAMES}
    shared = [name for name in IMPORT_NAMES if len(owners_by_name[name]) > 1]
    for name in shared:
        yield report_error(f"The import name {name} belongs to {join_words(sorted(set(owners[name])))}.")
    if not shared:
        yield report_ok(f"hls-digest {__version__} is the only owner of its import names")


@doctor_check("home-folder", "Make the service's user own DIGEST_HOME: chown -R USER: FOLDER")
def check_home_folder(examined: ExaminedInstallation) -> DoctorFindings:
    """The service owns its files and can write to them, and others can't open its folders."""
    yield from judge_file_access(examined.settings)


@doctor_check("key-file", "Restore the recovery copy: digest keys restore FILE")
def check_key_file(examined: ExaminedInstallation) -> DoctorFindings:
    """The key file exists, belongs to the database, and is readable only by its owner."""
    installation = examined.installation
    file = installation.settings.key_file
    if not file.exists():
        raise make_missing_key_file_error(file, installation.database)
    keys = installation.keys
    yield report_ok(f"{file} is readable by its owner only")
    if installation.settings.key_passphrase and not keys.under_passphrase:
        yield report_warning(f"A passphrase is set, but {file} isn't protected by it.", "Run: digest keys protect")
    for aside in list_unencrypted_key_files(installation):
        yield report_warning(f"{aside} contains keys that aren't protected by a passphrase.", f"Run: rm {aside}")
    with examined.read() as session:
        seals = session.scalars(select(StaffMember.seal).where(StaffMember.seal != "")).all()
    sealing_keys = {seal.partition(":")[0] for seal in seals}
    if sealing_keys and sealing_keys.isdisjoint(key.id for key in keys.of_kind("access")):
        message = "The key file doesn't belong to this database. The rows about the team were sealed with other keys."
        yield report_error(message, RESTORE_RECOVERY_COPY)
    try:
        installation.refuse_demo_keys()
    except InstallationError as exc:
        yield report_exposure(exc.message, exc.remedy)


@doctor_check(
    "database",
    "Check DIGEST_DATABASE_URL and the server, or update the schema: digest upgrade",
)
def check_database(examined: ExaminedInstallation) -> DoctorFindings:
    """The database works and has this version's schema, and other users can't write to it."""
    installation = examined.installation
    # Damage first, because a damaged database may seem to have no schema.
    if problem := _find_sqlite_damage(examined) or edition_views.find_schema_problem(installation):
        yield report_error(problem.message, problem.remedy)
        return
    configured_count, active_count = (
        len(installation.settings.file.sources),
        edition_views.count_active_sources(installation),
    )
    waiting = (
        ""
        if active_count >= configured_count
        else f", of the {configured_count} in the settings. The next 'digest collect' adds the others"
    )
    yield report_ok(f"The database works and has {count_with_noun(active_count, 'source')}{waiting}")
    name = installation.database.engine.url.database if installation.database.engine.dialect.name == "sqlite" else ""
    file = Path(name or "")
    if name and file.exists() and (mode := stat.S_IMODE(file.stat().st_mode)) & 0o022:
        yield report_exposure(f"Other users can write to {file} (mode {mode:04o}).", f"Run: chmod 600 {file}")


def _find_sqlite_damage(examined: ExaminedInstallation) -> ApplicationError | None:
    """Return the damage that SQLite's `quick_check` finds, if any. PostgreSQL has no such check.

    See https://www.sqlite.org/pragma.html#pragma_quick_check.
    """
    if examined.installation.database.engine.dialect.name != "sqlite":
        return None
    with examined.read() as session:
        result = str(session.scalar(text("PRAGMA quick_check(1)")))
    return None if result == "ok" else make_damage_error(result.splitlines()[-1].rstrip("."))


@doctor_check(
    "audit-log",
    "Compare the log with a backup and integrity emails. If rows were changed, restore an earlier backup: "
    f"digest restore FILE --replace. {RESTORE_LOSSES} If only the key file was wrong, vouch for the rows: digest keys rotate audit",
)
def check_audit_log(examined: ExaminedInstallation) -> DoctorFindings:
    """The audit log passes verification."""
    try:
        with examined.read() as session:
            proof = verify_audit_log(session)
    except ApplicationError:
        return  # `key-file` reports what's wrong with the keys
    if proof.fault:
        yield report_error(f"{proof.fault}.")
    else:
        yield report_ok(f"audit log verified ({count_with_noun(proof.rows, 'row')})")


@doctor_check("departure-log", "Restore left.log from a copy. Backups can't be restored without it.")
def check_unsubscribe_log(examined: ExaminedInstallation) -> DoctorFindings:
    """`left.log` passes verification and is writable."""
    installation = examined.installation
    file, folder = installation.settings.left_log, installation.settings.file.backup.folder
    log, copy = installation.unsubscribe_log, Path(folder or file.parent) / file.name
    if file.is_dir():
        yield report_error(
            f"{file} is a folder, so subscribers can't unsubscribe.",
            f"Run: rmdir {file}. Then restore the file from a copy of the server, if anyone has unsubscribed.",
        )
        return
    if file.exists() and not (is_writable(file) and os.access(file, os.R_OK)):
        # If the owner is wrong, `home-folder` says so, too.
        report = report_error if file.stat().st_uid == find_service_user(examined.settings) else report_unexamined
        yield report(
            f"Can't write to {file}, so subscribers can't unsubscribe.",
            advise_write_access(examined.settings, file, "600"),
        )
        return
    try:
        entries = list(log.read())
    except UnsubscribeLogError as exc:
        yield report_error(
            str(exc), f"Restore {file} from a copy of the server. Until you do, you can't restore a backup."
        )
        return
    last = max((entry.at for entry in entries if entry.kind == "left"), default=None)
    if problem := _find_lost_log(examined, file, copy) or (last and _find_old_database(examined, file, last)):
        yield problem
    elif file.exists():
        yield report_ok(f"{file} verified ({count_with_noun(len(entries), 'unsubscribe')})")


def _find_lost_log(examined: ExaminedInstallation, file: Path, copy: Path) -> DoctorFinding | None:
    """Return an error if the log is missing or lacks lines that its copy has, or None otherwise.

    The copy is in the backup folder.
    """
    own_lines, copied_lines = read_whole_lines(file), read_whole_lines(copy) if os.access(copy, os.R_OK) else b""
    if copied_lines not in own_lines:
        return report_error(
            f"{file} {'lacks unsubscribes that its copy has' if file.exists() else 'is missing'}, so a restored backup would "
            "email people who unsubscribed after it.",
            f"Stop the server (systemctl stop digest). Run: {_name_recovery(file, copy, is_complete=own_lines in copied_lines)}. Then run: "
            "digest backup FILE. Don't restore backups made before it, because unsubscribes between the last copy and the loss "
            "are only in the database. Start the server again.",
        )
    with examined.read() as session:
        departed = select(Person.number).where(Person.state.in_((PersonState.WITHDRAWN, PersonState.ERASED)))
        if file.exists() or session.scalar(departed.limit(1)) is None:
            return None
    return report_error(
        f"{file} is missing, so a restored backup would email people who unsubscribed after it was made.",
        f"Restore the file from a copy of the server. If there's no copy, run: {_name_installation(file, Path(os.devnull))}. Then run: "
        "digest backup FILE. Don't restore backups made before it.",
    )


def _find_old_database(examined: ExaminedInstallation, file: Path, left_at: datetime) -> DoctorFinding | None:
    """Return an error if the database lacks the last unsubscribe in the log, as an older copy of its file does."""
    if left_at < examined.now - MAX_DEPARTURE_AGE:
        return None
    with examined.read() as session:
        events = ConsentEvent.at.between(left_at - MAX_CLOCK_STEP, left_at + MAX_CLOCK_STEP)
        merges = AuditEntry.act.in_((RESTORE.name, MOVE.name)) & (AuditEntry.at > left_at)
        subscribed = Person.state == PersonState.SUBSCRIBED
        has_event, is_merged, has_subscribers = (
            session.scalar(select(column).where(condition).limit(1)) is not None
            for column, condition in ((ConsentEvent.id, events), (AuditEntry.id, merges), (Person.number, subscribed))
        )
    if has_event or is_merged or not has_subscribers:
        return None
    return report_error(
        f"The database is older than {file}, so people who unsubscribed would be emailed. It lacks the last unsubscribe, of "
        f"{left_at:%Y-%m-%d %H:%M} UTC.",
        "Restore the newest backup, which also applies the log: digest restore FILE --replace. If there's no newer backup than "
        "this database, first back it up: digest backup FILE",
    )


def _name_recovery(file: Path, copy: Path, *, is_complete: bool) -> str:
    """Return the command that recovers the log from its copy.

    `is_complete` is True if the copy has all of the log's lines. If root runs the command, the log
    keeps its owner.
    """
    if not file.exists():
        return _name_installation(file, copy)
    if is_complete:
        return f"cp {copy} {file}"
    joined = file.with_name(f"{file.name}.joined")
    return f"(umask 077; cat {copy} {file} > {joined}) && cp {joined} {file} && rm {joined}"


def _name_installation(file: Path, content: Path) -> str:
    return f"install -o {find_user_name(file.parent.stat().st_uid)} -m 600 {content} {file}"


@doctor_check(
    "parsing-sandbox",
    "Use Linux 5.13 or later (x86_64, aarch64) with Landlock (/sys/kernel/security/lsm). In a service or container, allow landlock_create_ruleset, landlock_add_rule, landlock_restrict_self, and prctl.",
)
def check_parsing_sandbox(_examined: ExaminedInstallation) -> DoctorFindings:
    """The system isolates the processes that parse documents."""
    if doors := probe_child_sandbox():
        yield report_warning(
            f"The processes that parse documents can access {join_words(doors)} on this system. A document that "
            "exploits a parser bug could read the keys."
        )
    else:
        yield report_ok("document parsers can't open data files, connections, or other processes")


@doctor_check(
    "disk-space",
    "Free up space, or move DIGEST_HOME to a larger disk. A full disk stops sending and unsubscribing.",
)
def check_disk_space(examined: ExaminedInstallation) -> DoctorFindings:
    """At least 1 GB of disk space is free."""
    yield from judge_disk_space(examined.settings)


def judge_disk_space(settings: Settings) -> DoctorFindings:
    """Check the free space on the disk of the home folder. This doesn't need the database."""
    free = shutil.disk_usage(settings.home).free
    message = f"{settings.home}: {free // 1_000_000} MB free"
    if free < FULL_DISK_BYTES:
        yield report_error(f"The disk is {'full' if free < 1_000_000 else 'almost full'} ({message}).")
    else:
        yield report_warning(f"{message}.") if free < LOW_DISK_BYTES else report_ok(message)


# These also run when the database can't be opened.
CHECKS_OF_MACHINE = {"disk-space": judge_disk_space, "home-folder": judge_file_access}


@doctor_check(
    "disk-growth",
    "Delete old backups and outbox files, shorten [retention], or use a larger disk.",
)
def check_disk_growth(examined: ExaminedInstallation) -> DoctorFindings:
    """The disk won't fill up within 60 days."""
    installation = examined.installation
    with installation.read() as session:
        nights = read_free_space(session)
    days_left = forecast_days_left(nights, shutil.disk_usage(installation.settings.home).free)
    if days_left is None or days_left >= FEW_WEEKS:
        yield report_ok("the disk won't fill up within 60 days at the current rate")
    else:
        report = report_error if days_left < FEW_DAYS else report_warning
        yield report(
            f"At the rate since {min(nights):%Y-%m-%d}, the disk will be full in {count_with_noun(round(days_left), 'day')}."
        )


@doctor_check(
    "clock",
    "Synchronize the clock: timedatectl set-ntp true. If it's already correct, it was ahead earlier, and there's nothing to do.",
)
def check_clock(examined: ExaminedInstallation) -> DoctorFindings:
    """The clock isn't behind the newest recorded action."""
    with examined.read() as session:
        latest = session.scalar(select(func.max(AuditEntry.at)))
        newest = session.scalar(select(AuditEntry.at).order_by(AuditEntry.id.desc()).limit(1))
    limit = examined.now + MAX_CLOCK_STEP
    if latest is not None and latest > limit:
        message = (
            f"The clock shows {examined.now:%Y-%m-%d %H:%M} UTC, but the audit log has an action at "
            f"{latest:%Y-%m-%d %H:%M} UTC."
        )
        # A later action with an earlier time suggests that the clock was ahead and is right now.
        yield report_error(message) if newest is not None and newest > limit else report_warning(message)
    else:
        yield report_ok(f"the clock shows {examined.now:%Y-%m-%d %H:%M} UTC, later than all recorded actions")


@doctor_check(
    "heartbeats",
    "Check the URL under [heartbeats] and its server. For a private network, set limits.allow_networks.",
)
def check_heartbeats(examined: ExaminedInstallation) -> DoctorFindings:
    """The last request to each heartbeat URL succeeded."""
    with examined.read() as session:
        notes = list(heartbeats.read_job_end_notes(session, examined.settings))
    for job, url, note in notes:
        if note["trouble"]:
            place = redact_url(url, host_only=True)
            yield report_warning(f"The heartbeat of {job} failed at {place} ({note['trouble']}).")
    if notes and not any(note["trouble"] for _, _, note in notes):
        yield report_ok(f"{count_with_noun(len(notes), 'heartbeat')} succeeded")


@doctor_check(
    "mail-log",
    "Check relay.log. If the log can't be read, change its group to adm, rerun 'digest setup', and install the unit file.",
)
def check_mail_log(examined: ExaminedInstallation) -> DoctorFindings:
    """The mail server's log can be followed."""
    source = examined.settings.file.relay.log
    if not (source and examined.settings.file.sender.bounce_domain):
        return  # `bounces` reports a log without a bounce domain
    with examined.read() as session:
        state = read_installation_value(session, mail_log.make_log_state_key(identify_current_process().host))
    if state is None:
        yield report_warning(f"The mail server's log ({source}) hasn't been read yet.", "Start 'digest serve'.")
    elif state["trouble"]:
        yield report_warning(state["trouble"])
    else:
        yield report_ok(f"following {source}")


_OLD_SNAPSHOTS = text(
    "SELECT coalesce(nullif(application_name, ''), usename, backend_type) AS name, pid, xact_start FROM pg_stat_activity "
    "WHERE datname = current_database() AND pid <> pg_backend_pid() "
    "AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL) AND xact_start < :before ORDER BY xact_start"
)
_HOLDING_SLOTS = text(
    "SELECT slot_name, active FROM pg_replication_slots WHERE coalesce(database, current_database()) = current_database() "
    "AND (NOT active OR age(coalesce(xmin, catalog_xmin)) > :age) ORDER BY slot_name"
)


@doctor_check(
    "held-rows",
    "End the connection (pg_terminate_backend), or drop the slot (pg_drop_replication_slot). To see other users' transactions, grant pg_read_all_stats.",
)
def check_vacuum_blockers(examined: ExaminedInstallation) -> DoctorFindings:
    """No old transaction or unused slot keeps outdated rows in PostgreSQL."""
    with examined.read() as session:
        if not is_postgresql(session):
            return
        snapshots = session.execute(_OLD_SNAPSHOTS, {"before": examined.now - MAX_SNAPSHOT_AGE}).all()
        slots = session.execute(_HOLDING_SLOTS, {"age": MAX_SLOT_AGE}).all()
    for name, pid, since in snapshots:
        began = f"{since.astimezone(UTC):%Y-%m-%d %H:%M} UTC"
        yield report_warning(f"A transaction from {name} (pid {pid}) has been open since {began}.")
    for name, is_active in slots:
        state = "is far behind" if is_active else "isn't used"
        yield report_warning(f"The replication slot {name} {state}, but PostgreSQL keeps outdated rows for it.")
    if not snapshots and not slots:
        yield report_ok("nothing keeps PostgreSQL from removing outdated rows")
