"""What a check of the doctor is, and how all are run."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Protocol

from digest.app.doctor.outside_world import OutsideWorld
from digest.deliver.providers.kind import DoctorFinding, FindingSeverity
from digest.installation.opened import Installation
from subscribers.errors import ApplicationError
from subscribers.phrases import end_sentence

LEVEL_ORDER: tuple[FindingSeverity, ...] = ("error", "warning", "ok")


@dataclass(frozen=True)
class ExaminedInstallation:
    """What the checks look at, the moment that they take for now, and whom those that look outside ask."""

    installation: Installation
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    outside: OutsideWorld = field(default_factory=OutsideWorld)


CheckFunction = Callable[[ExaminedInstallation], Iterator[DoctorFinding]]


@dataclass(frozen=True, slots=True)
class DoctorCheck:
    """A named check. `meaning` says what it looks at, `remedy` what to do where a finding does not say it itself.

    One that `is_online` asks outside the machine. The messages of one that `tells_remedy` say what to do, so nothing is added.
    """

    name: str
    meaning: str
    remedy: str
    examine: CheckFunction
    is_online: bool = False
    tells_remedy: bool = False


class NamedCheck(Protocol):
    """What every check has, whatever it looks at."""

    @property
    def name(self) -> str:
        """The name that its findings carry; it never changes."""

    @property
    def remedy(self) -> str:
        """What to do where a finding does not say it itself."""

    @property
    def tells_remedy(self) -> bool:
        """Whether the messages of its findings say what to do."""


DOCTOR_CHECKS: dict[str, DoctorCheck] = {}


def doctor_check(
    name: str, remedy: str, *, is_online: bool = False, tells_remedy: bool = False
) -> Callable[[CheckFunction], CheckFunction]:
    """Register a function as the check `name`; its docstring's first line says what it looks at.

    The check wants a section in `docs/doctor.md` and a planted fault in its tests.
    """

    def register(examine: CheckFunction) -> CheckFunction:
        meaning = (examine.__doc__ or "").partition("\n")[0]
        add_check(name, meaning, remedy, examine, is_online=is_online, tells_remedy=tells_remedy)
        return examine

    return register


def add_check(
    name: str, meaning: str, remedy: str, examine: CheckFunction, *, is_online: bool = False, tells_remedy: bool = False
) -> None:
    """Register a check.

    Raises:
        ValueError: there is one of that name.
    """
    if name in DOCTOR_CHECKS:
        raise ValueError(f"two checks are called {name}")
    DOCTOR_CHECKS[name] = DoctorCheck(name, meaning.rstrip("."), remedy, examine, is_online, tells_remedy)


def run_check(check: DoctorCheck, examined: ExaminedInstallation) -> list[DoctorFinding]:
    """Run one check. What keeps it from looking is an error of its own; without any finding all is well."""
    try:
        findings = list(check.examine(examined))
    except ApplicationError as exc:
        findings = [report_error(exc.message, exc.remedy or check.remedy)]
    except OSError as exc:
        findings = [report_error(f"{exc.filename or check.name}: {exc.strerror or type(exc).__name__}.", check.remedy)]
    return [complete_finding(check, finding) for finding in findings or [report_fine("nothing to mend")]]


def complete_finding(check: NamedCheck, finding: DoctorFinding) -> DoctorFinding:
    """Name the check in a finding, end its message as a sentence, and give it the check's remedy where it has none of its own."""
    if finding.level == "ok":
        return replace(finding, check=check.name, remedy="")
    return replace(
        finding,
        check=check.name,
        message=end_sentence(finding.message),
        remedy=finding.remedy or ("" if check.tells_remedy else check.remedy),
    )


def report_error(message: str, remedy: str = "") -> DoctorFinding:
    """Make a finding of something that must be mended; running the check names it."""
    return DoctorFinding("", "error", message, remedy)


def report_warning(message: str, remedy: str = "") -> DoctorFinding:
    """Make a finding of something that should be looked at; running the check names it."""
    return DoctorFinding("", "warning", message, remedy)


def report_fine(message: str) -> DoctorFinding:
    """Make a finding of something that is as it should be."""
    return DoctorFinding("", "ok", message)
