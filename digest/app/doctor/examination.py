"""Running the doctor's checks over an installation, or over what keeps it from being opened."""

import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime

from digest.app.doctor import installation_checks, mail_checks, operation_checks, settings_checks, site_checks
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
from digest.settings import SettingsError
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


def merge_repeated_findings(findings: Iterable[DoctorFinding]) -> list[DoctorFinding]:
    """Tell what several checks failed by once, at the first of them: the others say that they wait for it.

    A key file that may not be read, or a mail server that refuses us, keeps checks from looking whose own remedies mend nothing then.
    """
    first_checks: dict[str, str] = {}
    referred = []
    for finding in findings:
        first = first_checks.setdefault(finding.message, finding.check) if finding.level == "error" else finding.check
        if first != finding.check:
            message = f"This check didn't run because of the problem with {first}."
            referred.append(replace(finding, level="warning", message=message, remedy=f"Fix {first} first."))
        else:
            referred.append(finding)
    return referred


def explain_zone_file_format(findings: Iterable[DoctorFinding]) -> str:
    """Say how the records that findings print are entered into a form; empty where none prints one."""
    if any(DNS_LINE.search(finding.remedy) for finding in findings):
        return (
            "The DNS records above are in zone-file format. If you enter them in a web form, you can leave out "
            "the dot at the end of a name."
        )
    return ""


def explain_installation_open_failure(error: ApplicationError) -> list[DoctorFinding]:
    """Make a finding of what keeps an installation from being opened: its settings, or its folder and database."""
    check = DOCTOR_CHECKS["settings" if isinstance(error, SettingsError) else "database"]
    advice = end_sentence(error.remedy or check.remedy)
    remedy = f"{advice} Then run doctor again. The other checks haven't run yet."
    return [fill_in_finding(check, report_error(error.message, remedy))]
