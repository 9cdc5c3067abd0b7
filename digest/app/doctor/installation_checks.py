"""What the installation stands on: names, folder, keys, database, disk, and the records that must not be touched."""

import os
import shutil
import stat
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

from sqlalchemy import func, select

from digest.app.doctor.check_registry import (
    ExaminedInstallation,
    doctor_check,
    report_error,
    report_fine,
    report_warning,
)
from digest.app.editions import page_views
from digest.app.upkeep.disk_growth import forecast_days_left, read_free_space
from digest.app.upkeep.keys import list_files_in_clear
from digest.collect.sandbox.client import list_open_doors_of_children
from digest.deliver.providers.kind import DoctorFinding
from digest.installation.opened import missing_key_file
from digest.store.audit_chain import prove_audit_log
from digest.store.models import AuditEntry
from subscribers.consent.departure_log import DepartureLogError
from subscribers.errors import ApplicationError

IMPORT_NAMES = ("digest", "subscribers", "scheduler")
LOW_DISK_BYTES = 1_000_000_000  # bytes
FEW_DAYS, FEW_WEEKS = 14, 60  # days until the disk is full: an error, a warning
MAX_CLOCK_STEP = 300.0  # seconds that rows may stand in the future: clocks of two machines differ
OTHERS = 0o077  # the mode bits of everybody but the owner


@doctor_check(
    "import-names", "Install hls-digest in an environment of its own (pipx, or a venv), without the other distribution."
)
def check_import_names(_examined: ExaminedInstallation) -> Iterator[DoctorFinding]:
    """Whether another distribution owns one of our import names."""
    owners = {name: list(distributions) for name, distributions in metadata.packages_distributions().items()}
    known = {name: set(owners.get(name, ())) for name in IMPORT_NAMES}
    shared = [name for name in IMPORT_NAMES if len(known[name]) > 1]
    for name in shared:
        yield report_error(f"the import name {name} belongs to {' and '.join(sorted(set(owners[name])))}.")
    if not shared:
        yield report_fine("nobody else owns our import names")


@doctor_check("home-folder", "Give the folder to the user that digest runs as, and close it: chmod 700 FOLDER.")
def check_home_folder(examined: ExaminedInstallation) -> Iterator[DoctorFinding]:
    """Whether the installation's folder and those in it can be written by us, and by nobody else."""
    settings = examined.settings
    folders = (settings.home, settings.outbox_folder, settings.uploads_folder, settings.runs_folder)
    problems = [problem for folder in folders if folder.exists() for problem in _find_folder_problems(folder)]
    yield from problems
    if not problems:
        yield report_fine(f"{settings.home}: written by you alone")


def _find_folder_problems(folder: Path) -> Iterator[DoctorFinding]:
    mode = stat.S_IMODE(folder.stat().st_mode)
    if not folder.is_dir() or not os.access(folder, os.W_OK | os.X_OK) or not mode & stat.S_IWUSR:
        yield report_error(
            f"{folder}: cannot be written.",
            f"Run: chmod 700 {folder}; and where it belongs to another user, first: sudo chown $(id -un) {folder}",
        )
    elif mode & OTHERS:
        yield report_error(f"{folder}: other users may look into it (mode {mode:04o}).", f"Run: chmod 700 {folder}")


@doctor_check("key-file", "Put the recovery copy of the keys back: digest keys restore FILE.")
def check_key_file(examined: ExaminedInstallation) -> Iterator[DoctorFinding]:
    """Whether the key file is there, is the database's, and is readable for its owner alone."""
    installation = examined.installation
    file = installation.settings.key_file
    if not file.exists():
        raise missing_key_file(file, installation.database)
    keys = installation.keys
    yield report_fine(f"{file}: readable by you alone")
    if installation.settings.key_passphrase and not keys.under_passphrase:
        yield report_warning(f"{file}: a passphrase is given and not used.", "Run: digest keys protect")
    for aside in list_files_in_clear(installation):
        yield report_warning(f"{aside}: these keys stand there without a passphrase.", f"Run: rm {aside}")
    installation.refuse_demo_keys()


@doctor_check(
    "database",
    "Look at DIGEST_DATABASE_URL, and whether its server runs; 'digest upgrade' brings the schema up to date.",
)
def check_database(examined: ExaminedInstallation) -> Iterator[DoctorFinding]:
    """Whether the database answers with the schema of this version, and can be written by nobody else."""
    installation = examined.installation
    if problem := page_views.find_schema_problem(installation):
        yield report_error(problem.message, problem.remedy)
        return
    named, known = len(installation.settings.file.sources), page_views.count_active_sources(installation)
    waiting = (
        ""
        if known >= named
        else f" of the {named} that the settings name; the next 'digest collect' takes the others in"
    )
    yield report_fine(f"the database answers, and has {known} sources{waiting}")
    name = installation.database.engine.url.database if installation.database.engine.dialect.name == "sqlite" else ""
    file = Path(name or "")
    if name and file.exists() and (mode := stat.S_IMODE(file.stat().st_mode)) & 0o022:
        yield report_error(f"{file}: other users may write it (mode {mode:04o}).", f"Run: chmod 600 {file}")


@doctor_check(
    "audit-log",
    "Compare it with a backup, and keep the seals that came by mail: they say which rows were there. If rows fail only because the "
    "key file was missing, check them, then run 'digest keys rotate audit', which vouches for them.",
)
def check_audit_log(examined: ExaminedInstallation) -> Iterator[DoctorFinding]:
    """Whether every row of the audit log is the one that was written."""
    try:
        with examined.read() as session:
            proof = prove_audit_log(session)
    except ApplicationError:
        return  # `key-file` says what is wrong with the keys
    if proof.fault:
        yield report_error(f"{proof.fault}.")
    else:
        yield report_fine(f"the audit log holds, {proof.rows:,} rows")


@doctor_check(
    "departure-log", "Put the file back from a copy of the machine; until then nothing can be restored from a backup."
)
def check_departure_log(examined: ExaminedInstallation) -> Iterator[DoctorFinding]:
    """Whether `left.log`, which keeps who left after a restore, is whole and can be written."""
    installation = examined.installation
    file = installation.settings.left_log
    try:
        log = installation.departure_log
    except ApplicationError:  # the check of the keys says so
        return
    if not file.exists():
        return
    if not os.access(file, os.R_OK | os.W_OK) or not file.stat().st_mode & stat.S_IWUSR:
        yield report_error(
            f"{file}: cannot be written, so nobody can leave.",
            f"Run: chmod 600 {file}; and where it belongs to another user, first: sudo chown $(id -un) {file}",
        )
        return
    try:
        lines = sum(1 for _ in log.read())
    except DepartureLogError as exc:
        yield report_error(
            str(exc), f"Put {file} back from a copy of the machine; until then nothing can be restored from a backup."
        )
    else:
        yield report_fine(f"{file}: whole, {lines:,} departures")


@doctor_check(
    "parsing-sandbox",
    "Run it on Linux 5.13 or later (x86_64 or aarch64) with Landlock on, which /sys/kernel/security/lsm lists; in a "
    "service or a container, allow the calls landlock_create_ruleset, landlock_add_rule, landlock_restrict_self and prctl.",
)
def check_parsing_sandbox(_examined: ExaminedInstallation) -> Iterator[DoctorFinding]:
    """Whether the system keeps files, connections and other processes from those that parse documents."""
    if doors := list_open_doors_of_children():
        yield report_warning(
            f"the processes that parse documents are limited, but this system does not keep {' and '.join(doors)} from them: "
            "a document that exploits a fault in a parser could reach the keys."
        )
    else:
        yield report_fine("what parses documents can open no file but code, no connection, and no other process")


@doctor_check("disk-space", "Make room, or move DIGEST_HOME to a larger disk: a full one stops sending and leaving.")
def check_disk_space(examined: ExaminedInstallation) -> Iterator[DoctorFinding]:
    """Whether there is room where the installation's files are."""
    home = examined.settings.home
    free = shutil.disk_usage(home).free
    said = f"{home}: {free // 1_000_000} MB free"
    yield report_warning(f"{said}.") if free < LOW_DISK_BYTES else report_fine(said)


@doctor_check(
    "disk-growth",
    "Make room, move DIGEST_HOME to a larger disk, or keep less: old backups, files of the outbox, [retention].",
)
def check_disk_growth(examined: ExaminedInstallation) -> Iterator[DoctorFinding]:
    """Whether the disk, at the pace of the last weeks, has room for the weeks to come."""
    installation = examined.installation
    with installation.read() as session:
        nights = read_free_space(session)
    days_left = forecast_days_left(nights, shutil.disk_usage(installation.settings.home).free)
    if days_left is None or days_left >= FEW_WEEKS:
        yield report_fine("the disk does not fill within weeks, as far as the nights tell")
    else:
        report = report_error if days_left < FEW_DAYS else report_warning
        yield report(f"at its pace since {min(nights):%Y-%m-%d} the disk is full in {days_left:.0f} days.")


@doctor_check("clock", "Set the clock, and have it follow a time server: timedatectl set-ntp true")
def check_clock(examined: ExaminedInstallation) -> Iterator[DoctorFinding]:
    """Whether the machine's clock is not behind what was written by it."""
    with examined.read() as session:
        latest = session.scalar(select(func.max(AuditEntry.at)))
    if latest is not None and (latest - examined.now).total_seconds() > MAX_CLOCK_STEP:
        yield report_error(
            f"the clock says {examined.now:%Y-%m-%d %H:%M} UTC, and something was done at {latest:%Y-%m-%d %H:%M} UTC."
        )
    else:
        yield report_fine(f"the clock says {examined.now:%Y-%m-%d %H:%M} UTC, after all that was done")
