"""Running the doctor's checks over an installation, or over what keeps it from being opened."""

import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

from digest.app.doctor import installation_checks, mail_checks, operation_checks, settings_checks, site_checks
from digest.app.doctor.attention import ATTENTION_KINDS
from digest.app.doctor.check_registry import (
    DOCTOR_CHECKS,
    DoctorCheck,
    ExaminedInstallation,
    fill_in_finding,
    report_error,
    run_check,
)
from digest.deliver.providers.kind import DoctorFinding
from digest.installation.opened_installation import Installation
from digest.settings import Settings, SettingsError
from subscribers.callback_types import Progress
from subscribers.errors import ApplicationError
from subscribers.phrases import end_sentence

CHECK_MODULES = (
    installation_checks,
    settings_checks,
    operation_checks,
    mail_checks,
    site_checks,
)  # importing them registers their checks

DNS_LINE = re.compile(r"[\w-]\. (?:A|MX \d+|TXT) ")
MAX_QUESTIONS = 6  # checks that ask outside at a time

_SCHEDULED = (
    *("missed-run", "stuck-job", "nightly-steps", "seals", "waiting-mail", "unapplied-events", "dead-run"),
    *("stuck-send", "missing-backup", "mail-log", "bounce-mailbox"),
)
_SEALED = ("audit-log", "departure-log", "access-rows", "public-editions", "drafts", "staff")
_STORED = (
    *(*_SEALED, *_SCHEDULED, *ATTENTION_KINDS, "timetable", "coming-steps", "damaged-values", "held-rows"),
    *("clock", "disk-growth", "heartbeats", "changed-deliveries", "uncertain", "choices", "backup"),
)
_RECORDS = ("mail-host", "spf", "dkim-record", "dmarc", "alignment", "exchangers", "reverse-name")
_PAGES = ("site-sign-in", "site-https", "site-one-click", "site-visitors", "site-clock")
_OF_SENDER = ("signing", "spf", "dkim-record", "dmarc", "alignment", "exchangers")
# By cause, root first: if that check has an error, problems that these checks find only follow from it.
CONSEQUENCES: Mapping[str, Sequence[str]] = {
    "disk-space": ("settings", "database", "key-file", "backup-folder", *_STORED),
    "home-folder": ("settings", "database", "key-file", "backup-folder", *_STORED),
    "database": _STORED,
    "key-file": (*_SEALED, *_SCHEDULED),
    "backup-folder": ("missing-backup", "backup"),
    "timetable": _SCHEDULED,
    "stuck-job": ("missed-run",),
    "nightly-steps": ("seals",),
    "access-rows": ("staff",),
    "sender-domain": _OF_SENDER,
    "provider": (
        *("signing", "bounces", "provider-events", "mail-server", "provider-account"),
        *("mail-host", "spf", "dkim-record", "alignment", "reverse-name"),
    ),
    "signing": ("dkim-record", "alignment"),
    "resolver": (*_RECORDS, "site-address", "site-certificate", *_PAGES),
    "mail-server": ("mail-host", "spf", "reverse-name"),
    "mail-host": ("spf", "exchangers", "reverse-name"),
    "provider-account": ("spf",),
    "dmarc": ("alignment",),
    "alignment": ("spf", "dkim-record", "exchangers"),
    "base-url": ("site-address", "site-certificate", *_PAGES),
    "site-certificate": ("site-address", *_PAGES),
    "site-address": _PAGES,
}


def run_local_checks(installation: Installation, *, now: datetime | None = None) -> list[DoctorFinding]:
    """Carry out every check of this machine; nothing is changed, and nothing leaves it. Without `now` it is the time."""
    examined = ExaminedInstallation(installation, now or datetime.now(UTC))
    return run_checks(examined, (name for name, check in DOCTOR_CHECKS.items() if not check.is_online))


def run_online_checks(examined: ExaminedInstallation, *, progress: Progress = lambda *_: None) -> list[DoctorFinding]:
    """Carry out the checks that ask outside the machine, several at a time; `progress` is called with (done, total)."""
    checks = [check for check in DOCTOR_CHECKS.values() if check.is_online]
    findings: list[DoctorFinding] = []
    with ThreadPoolExecutor(MAX_QUESTIONS, thread_name_prefix="doctor") as pool:
        results = pool.map(lambda check: run_check(check, examined), checks)
        for done_count, check_findings in enumerate(results, 1):
            findings += check_findings
            progress(done_count, len(checks))
    return findings


def list_checks() -> dict[str, DoctorCheck[ExaminedInstallation]]:
    """List every check by its name."""
    return dict(DOCTOR_CHECKS)


def run_checks(examined: ExaminedInstallation, names: Iterable[str]) -> list[DoctorFinding]:
    """Carry out the checks of these names, in their order."""
    return [finding for name in names for finding in run_check(DOCTOR_CHECKS[name], examined)]


def drop_consequences(findings: Sequence[DoctorFinding]) -> list[DoctorFinding]:
    """Leave out problems that only follow from others, by `CONSEQUENCES`; a cause that's left out has no consequences itself."""
    failed = {finding.check for finding in findings if finding.level == "error" and not finding.is_exposure}
    left_out: set[str] = set()
    for cause, consequences in CONSEQUENCES.items():
        if cause in failed - left_out:
            left_out.update(consequences)
    return [finding for finding in findings if finding.level == "ok" or finding.check not in left_out]


def explain_zone_file_format(findings: Iterable[DoctorFinding]) -> str:
    """Say how the records that findings print are entered into a form; empty where none prints one."""
    if any(DNS_LINE.search(finding.remedy) for finding in findings):
        return (
            "The DNS records above are in zone-file format. If you enter them in a web form, you can leave out "
            "the dot at the end of a name."
        )
    return ""


def explain_installation_open_failure(error: ApplicationError, settings: Settings | None) -> list[DoctorFinding]:
    """Make findings of what keeps an installation from being opened: its settings, else its disk, folder, or database."""
    check = DOCTOR_CHECKS["settings" if isinstance(error, SettingsError) else "database"]
    advice = end_sentence(error.remedy or check.remedy)
    remedy = f"{advice} Then run doctor again. The other checks haven't run yet."
    findings = [fill_in_finding(check, report_error(error.message, remedy))]
    if settings is None or not settings.home.is_dir():
        return findings
    for name, examine in installation_checks.CHECKS_OF_MACHINE.items():
        problems = [finding for finding in examine(settings) if finding.level != "ok"]
        findings += [fill_in_finding(DOCTOR_CHECKS[name], problem) for problem in problems]
    return drop_consequences(findings)
