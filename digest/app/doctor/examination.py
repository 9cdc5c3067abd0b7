"""Running the doctor's checks over an installation, or over what keeps it from being opened."""

from collections.abc import Iterable

from digest.app.doctor import installation_checks, operation_checks, settings_checks
from digest.app.doctor.check_registry import (
    DOCTOR_CHECKS,
    DoctorCheck,
    ExaminedInstallation,
    complete_finding,
    report_error,
    run_check,
)
from digest.app.installation import Installation
from digest.deliver.providers.kind import DoctorFinding
from digest.settings import SettingsError
from subscribers.errors import ApplicationError

CHECK_MODULES = (installation_checks, settings_checks, operation_checks)  # importing them registers their checks


def examine_installation(installation: Installation) -> list[DoctorFinding]:
    """Carry out every check; nothing is changed, and nothing leaves the machine."""
    return run_checks(ExaminedInstallation(installation), DOCTOR_CHECKS)


def list_checks() -> dict[str, DoctorCheck]:
    """List every check by its name."""
    return dict(DOCTOR_CHECKS)


def run_checks(examined: ExaminedInstallation, names: Iterable[str]) -> list[DoctorFinding]:
    """Carry out the checks of these names, in their order."""
    return [finding for name in names for finding in run_check(DOCTOR_CHECKS[name], examined)]


def explain_closed_installation(error: ApplicationError) -> list[DoctorFinding]:
    """Make a finding of what keeps an installation from being opened: its settings, or its folder and database."""
    check = DOCTOR_CHECKS["settings" if isinstance(error, SettingsError) else "database"]
    return [complete_finding(check, report_error(str(error)))]
