"""Functions that run the doctor's checks, or explain why an installation can't be opened."""

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
from subscribers.english_text import end_sentence
from subscribers.errors import ApplicationError

CHECK_MODULES = (
    installation_checks,
    settings_checks,
    operation_checks,
    mail_checks,
    site_checks,
)  # importing them registers their checks

DNS_LINE = re.compile(r"[\w-]\.[\w-]+\. (?:A|MX \d+|TXT) ")
MAX_QUESTIONS = 6  # online checks that run at the same time


class Consequences(NamedTuple):
    """The consequences of an error that a check finds.

    `unexamined` are the checks that may fail to run because of it, and `made` those whose problems
    it can cause.
    """

    unexamined: Sequence[str] = ()
    made: Sequence[str] = ()


_SEALED = ("audit-log", "access-rows", "public-editions", "drafts", "staff")
_STORED = (
    *(*_SEALED, *ATTENTION_KINDS, "departure-log", "changed-deliveries", "damaged-values", "held-rows", "choices"),
    *("timetable", "stuck-job", "nightly-steps", "seals", "waiting-mail", "unapplied-events", "dead-run", "backup"),
    *(
        "provider",
        "bounces",
        "provider-events",
        "logo",
        "coming-steps",
        "clock",
        "disk-growth",
        "heartbeats",
        "uncertain",
        "mail-log",
        "bounce-mailbox",
    ),
)
_RECORDS = ("mail-host", "spf", "dkim-record", "dmarc", "alignment", "exchangers", "reverse-name")
_PAGES = ("site-sign-in", "site-https", "site-one-click", "site-visitors", "site-clock")
_OF_SENDER = ("signing", "spf", "dkim-record", "dmarc", "alignment", "exchangers")
_OF_PROVIDERS_NAMES = ("mail-host", "spf", "dkim-record", "alignment", "reverse-name")
_OVERDUE = ("missed-run", "seals", "waiting-mail", "unapplied-events", "dead-run", "missing-backup")
_OF_PROVIDER = ("signing", "bounces", "provider-events", "mail-server", "provider-account")
# Keyed by cause, with root causes first.
CONSEQUENCES: Mapping[str, Consequences] = {
    "disk-space": Consequences(unexamined=("database", "key-file", *_STORED)),
    "home-folder": Consequences(unexamined=("settings", "database", "key-file", *_STORED)),
    "database": Consequences(unexamined=("key-file", *_STORED)),
    "key-file": Consequences(unexamined=_STORED, made=_SEALED),  # without the right keys, no seal is valid
    "backup-folder": Consequences(made=("missing-backup", "backup")),
    "timetable": Consequences(made=_OVERDUE),
    "stuck-job": Consequences(made=("missed-run",)),
    "sender-domain": Consequences(made=_OF_SENDER),
    "provider": Consequences(unexamined=(*_OF_PROVIDER, *_OF_PROVIDERS_NAMES)),
    "signing": Consequences(made=("dkim-record", "alignment")),
    "resolver": Consequences(unexamined=(*_RECORDS, "source-answers", "site-address", "site-certificate", *_PAGES)),
    "mail-server": Consequences(unexamined=("mail-host", "spf", "reverse-name")),
    "mail-host": Consequences(made=("spf", "reverse-name")),
    "provider-account": Consequences(made=("spf",)),
    "dmarc": Consequences(made=("alignment",)),  # without a policy, no subdomain is aligned
    # The checks of SPF and DKIM records are about the domains that have to change.
    "alignment": Consequences(made=("spf", "dkim-record")),
    "base-url": Consequences(made=("site-https",)),
    "site-certificate": Consequences(unexamined=("site-address", *_PAGES)),
    "site-address": Consequences(unexamined=_PAGES, made=("site-sign-in", "site-https", "site-one-click")),
}


def run_local_checks(installation: Installation, *, now: datetime | None = None) -> list[DoctorFinding]:
    """Run all local checks. They don't change anything or use the network.

    `now` defaults to the current time.
    """
    examined = ExaminedInstallation(installation, now or datetime.now(UTC))
    return run_checks(examined, (name for name, check in DOCTOR_CHECKS.items() if not check.is_online))


def run_online_checks(examined: ExaminedInstallation, *, progress: Progress = lambda *_: None) -> list[DoctorFinding]:
    """Run the online checks, several at a time.

    `progress` is called with the number of checks done and their total.
    """
    checks = [check for check in DOCTOR_CHECKS.values() if check.is_online]
    findings: list[DoctorFinding] = []
    with ThreadPoolExecutor(MAX_QUESTIONS, thread_name_prefix="doctor") as pool:
        results = pool.map(lambda check: run_check(check, examined), checks)
        for done_count, check_findings in enumerate(results, 1):
            findings += check_findings
            progress(done_count, len(checks))
    return findings


def list_checks() -> dict[str, DoctorCheck[ExaminedInstallation]]:
    """Return all checks, by name."""
    return dict(DOCTOR_CHECKS)


def run_checks(examined: ExaminedInstallation, names: Iterable[str]) -> list[DoctorFinding]:
    """Run the named checks in order, and return their findings."""
    return [finding for name in names for finding in run_check(DOCTOR_CHECKS[name], examined)]


def drop_consequences(findings: Sequence[DoctorFinding]) -> list[DoctorFinding]:
    """Return the findings without those that only follow from other errors.

    `CONSEQUENCES` lists which ones follow. A finding that's dropped has no consequences itself.
    Exposures are always kept, and have no consequences either.
    """
    remaining = list(findings)
    for cause, consequences in CONSEQUENCES.items():
        if any(
            finding.check == cause and finding.level == "error" and not finding.is_exposure for finding in remaining
        ):
            remaining = [finding for finding in remaining if not _follows(finding, consequences)]
    return remaining


def _follows(finding: DoctorFinding, consequences: Consequences) -> bool:
    if finding.level == "ok" or finding.is_exposure:
        return False
    return finding.check in consequences.made or (finding.is_unexamined and finding.check in consequences.unexamined)


def explain_zone_file_format(findings: Iterable[DoctorFinding]) -> str:
    """Return a note about entering DNS records in web forms.

    If no finding contains a record, return an empty string.
    """
    if any(DNS_LINE.search(finding.remedy) for finding in findings):
        return (
            "The DNS records above are in zone-file format. If you enter them in a web form, you can leave out "
            "the dot at the end of a name."
        )
    return ""


def diagnose_open_failure(error: ApplicationError, settings: Settings | None) -> list[DoctorFinding]:
    """Return findings that explain why an installation can't be opened.

    The cause can be its settings, its database, the disk, or its folder.
    """
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
