"""The doctor's checks: their definition, their registry, and the functions that run them."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, Generic, TypeVar

from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from digest.app.doctor.attention import AttentionFinding, list_attention_findings
from digest.app.doctor.network_access import NetworkAccess
from digest.deliver.providers.kind import DoctorFinding, FindingSeverity
from digest.installation.opened_installation import Installation
from digest.installation.storage_errors import diagnose_damage
from digest.settings import Settings
from digest.store.engine import describe_driver_error
from subscribers.english_text import end_sentence
from subscribers.errors import ApplicationError

LEVEL_ORDER: tuple[FindingSeverity, ...] = ("error", "warning", "ok")


@dataclass(frozen=True)
class ExaminedInstallation:
    """An installation to check, the current time, and the network access for online checks."""

    installation: Installation
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    outside: NetworkAccess = field(default_factory=NetworkAccess)

    @property
    def settings(self) -> Settings:
        """The installation's settings."""
        return self.installation.settings

    def read(self) -> AbstractContextManager[Session]:
        """Return a context manager for a read-only session on the installation's database."""
        return self.installation.read()

    @cached_property
    def attention(self) -> list[AttentionFinding]:
        """The problems that need attention, read only once for all of the checks that report them."""
        with self.read() as session:
            return list_attention_findings(session, self.now, self.settings.file)


DoctorFindings = Iterator[DoctorFinding]
Examined = TypeVar("Examined")
CheckFunction = Callable[[Examined], DoctorFindings]


@dataclass(frozen=True, slots=True)
class DoctorCheck(Generic[Examined]):
    """A named check, its description, and its remedy.

    `meaning` says what it checks, and `remedy` what to do about a finding that has no remedy of its
    own. It's empty if the findings' messages say what to do. `is_online` is True if it uses the
    network.
    """

    name: str
    meaning: str
    remedy: str
    examine: CheckFunction[Examined]
    is_online: bool = False


class CheckRegistry(dict[str, DoctorCheck[Examined]]):
    """The checks for one type of object by name, in the order in which they run."""

    def add(self, check: DoctorCheck[Examined]) -> None:
        """Register a check under its unique name.

        Raises:
            ValueError: there's already a check of that name.
        """
        if check.name in self:
            raise ValueError(f"two checks are called {check.name}")
        self[check.name] = check

    def check(
        self, name: str, remedy: str = "", *, is_online: bool = False
    ) -> Callable[[CheckFunction[Examined]], CheckFunction[Examined]]:
        """Return a decorator that registers a function as the check `name`.

        The first line of the function's docstring becomes the check's meaning. The tests need a
        planted fault for the check, and `make settings` adds it to `docs/doctor.md`.
        """

        def register(examine: CheckFunction[Examined]) -> CheckFunction[Examined]:
            meaning = (examine.__doc__ or "").partition("\n")[0].rstrip(".")
            self.add(DoctorCheck(name, meaning, remedy, examine, is_online))
            return examine

        return register


DOCTOR_CHECKS: CheckRegistry[ExaminedInstallation] = CheckRegistry()
doctor_check = DOCTOR_CHECKS.check


def run_check(check: DoctorCheck[ExaminedInstallation], examined: ExaminedInstallation) -> list[DoctorFinding]:
    """Run one check and return its findings.

    An exception becomes an error finding, and the lack of any finding becomes an ok finding.
    """
    try:
        findings = list(check.examine(examined))
    except ApplicationError as exc:
        findings = [report_unexamined(exc.message, exc.remedy or check.remedy)]
    except DBAPIError as exc:
        problem = diagnose_damage(exc) or ApplicationError(
            f"The database failed: {describe_driver_error(exc)}.", check.remedy
        )
        findings = [report_unexamined(problem.message, problem.remedy)]
    except OSError as exc:
        reason = exc.strerror or type(exc).__name__
        findings = [report_unexamined(f"{exc.filename or check.name}: {reason}.", check.remedy)]
    return [fill_in_finding(check, finding) for finding in findings or [report_ok("no problems found")]]


def fill_in_finding(check: DoctorCheck[Any], finding: DoctorFinding) -> DoctorFinding:
    """Return a finding with the check's name filled in and its message made a full sentence.

    A finding without a remedy gets the check's.
    """
    if finding.level == "ok":
        return replace(finding, check=check.name, remedy="")
    return replace(
        finding,
        check=check.name,
        message=end_sentence(finding.message),
        remedy=finding.remedy or check.remedy,
    )


def report_error(message: str, remedy: str = "", *, page_remedy: str = "") -> DoctorFinding:
    """Return an error finding, for a problem to fix.

    The name of the check is added when the check is run.
    """
    return DoctorFinding("", "error", message, remedy, page_remedy=page_remedy)


def report_exposure(message: str, remedy: str = "") -> DoctorFinding:
    """Return a finding for something that works, but that other people can read or change."""
    return DoctorFinding("", "error", message, remedy, is_exposure=True)


def report_unexamined(message: str, remedy: str = "") -> DoctorFinding:
    """Return a finding for a check that couldn't run."""
    return DoctorFinding("", "error", message, remedy, is_unexamined=True)


def report_warning(message: str, remedy: str = "", *, page_remedy: str = "") -> DoctorFinding:
    """Return a warning finding, for something to look into.

    The name of the check is added when the check is run.
    """
    return DoctorFinding("", "warning", message, remedy, page_remedy=page_remedy)


def report_ok(message: str) -> DoctorFinding:
    """Return a finding for something that's in order."""
    return DoctorFinding("", "ok", message)
