"""Running the doctor's checks over an installation, or over what keeps it from being opened."""

import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import NamedTuple

from digest.app.doctor import installation_checks, mail_checks, operation_checks, settings_checks, site_checks
from digest.app.doctor.attention import ATTENTION_KINDS
from digest.app.doctor.check_registry import (
    DOCTOR_CHECKS,
    DoctorCheck,
    ExaminedInstallation,
    fill_in_finding,
    report_unexamined,
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


class Consequences(NamedTuple):
    """What an error of one check leads to: the checks that it may keep from looking, and those whose problems it makes."""

    unexamined: Sequence[str] = ()
    made: Sequence[str] = ()


_SEALED = ("audit-log", "access-rows", "public-editions", "drafts", "staff")
_STORED = (
    *(*_SEALED, *ATTENTION_KINDS, "departure-log", "changed-deliveries", "damaged-values", "held-rows", "choices"),
    *("timetable", "stuck-job", "nightly-steps", "seals", "waiting-mail", "unapplied-events", "dead-run", "backup"),
    *("coming-steps", "clock", "disk-growth", "heartbeats", "uncertain", "mail-log", "bounce-mailbox"),
)
_RECORDS = ("mail-host", "spf", "dkim-record", "dmarc", "alignment", "exchangers", "reverse-name")
_PAGES = ("site-sign-in", "site-https", "site-one-click", "site-visitors", "site-clock")
_OF_SENDER = ("signing", "spf", "dkim-record", "dmarc", "alignment", "exchangers")
_OF_PROVIDERS_NAMES = ("mail-host", "spf", "dkim-record", "alignment", "reverse-name")
_OVERDUE = ("missed-run", "seals", "waiting-mail", "unapplied-events", "dead-run", "missing-backup")
_OF_PROVIDER = ("signing", "bounces", "provider-events", "mail-server", "provider-account")
# By cause, root first.
CONSEQUENCES: Mapping[str, Consequences] = {
    "disk-space": Consequences(unexamined=("database", *_STORED)),
    "home-folder": Consequences(unexamined=("settings", "database", *_STORED)),
    "database": Consequences(unexamined=_STORED),
    "key-file": Consequences(unexamined=_STORED, made=_SEALED),  # without the right keys, no seal is valid
    "backup-folder": Consequences(made=("missing-backup", "backup")),
    "timetable": Consequences(made=_OVERDUE),
    "stuck-job": Consequences(made=("missed-run",)),
    "sender-domain": Consequences(made=_OF_SENDER),
    "provider": Consequences(unexamined=(*_OF_PROVIDER, *_OF_PROVIDERS_NAMES)),
    "signing": Consequences(made=("dkim-record", "alignment")),
    "resolver": Consequences(unexamined=(*_RECORDS, "site-address", "site-certificate", *_PAGES)),
    "mail-server": Consequences(unexamined=("mail-host", "spf", "reverse-name")),
    "mail-host": Consequences(made=("spf", "reverse-name")),
    "provider-account": Consequences(made=("spf",)),
    "dmarc": Consequences(made=("alignment",)),  # without a policy, no subdomain is aligned
    "alignment": Consequences(made=("spf", "dkim-record")),  # they look at the domains that have to change
    "base-url": Consequences(made=("site-https",)),
    "site-certificate": Consequences(unexamined=("site-address", *_PAGES)),
    "site-address": Consequences(unexamined=_PAGES, made=("site-sign-in", "site-https", "site-one-click")),
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
    """Leave out what only follows from other problems, by `CONSEQUENCES`: what an error kept from being looked at, and what it makes.

    A finding that's left out has no consequences itself. What others can read or change is always reported, and has none either.
    """
    left = list(findings)
    for cause, consequences in CONSEQUENCES.items():
        if any(finding.check == cause and finding.level == "error" and not finding.is_exposure for finding in left):
            left = [finding for finding in left if not _follows(finding, consequences)]
    return left


def _follows(finding: DoctorFinding, consequences: Consequences) -> bool:
    if finding.level == "ok" or finding.is_exposure:
        return False
    return finding.check in consequences.made or (finding.is_unexamined and finding.check in consequences.unexamined)


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
    findings = [fill_in_finding(check, report_unexamined(error.message, remedy))]
    if settings is None or not settings.home.is_dir():
        return findings
    for name, examine in installation_checks.CHECKS_OF_MACHINE.items():
        problems = [finding for finding in examine(settings) if finding.level != "ok"]
        findings += [fill_in_finding(DOCTOR_CHECKS[name], problem) for problem in problems]
    return drop_consequences(findings)
