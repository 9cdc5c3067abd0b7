"""Doctor runs that admins start from a page.

Each runs in a thread and is kept only in memory.
"""

import threading
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from digest.app.doctor.check_registry import LEVEL_ORDER, ExaminedInstallation
from digest.app.doctor.examination import drop_consequences, list_checks, run_local_checks, run_online_checks
from digest.app.doctor.network_access import NetworkAccess
from digest.deliver.providers.kind import DoctorFinding
from digest.installation.audited_actions import Action, Actor
from digest.installation.opened_installation import Installation
from subscribers.errors import RefusalError
from subscribers.loggers import get_logger

EXAMINE = Action("installation examined")

log = get_logger("doctor")


class ExaminationRunningError(RefusalError):
    """Raised when another run is still in progress."""


class ExaminationStage(StrEnum):
    """The stage of a doctor run: running, done, or failed."""

    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"


@dataclass(slots=True)
class HealthReport:
    """A doctor run, with its progress and its findings so far."""

    began_at: datetime
    is_online: bool
    total: int
    checks_done: int = 0
    findings: list[DoctorFinding] = field(default_factory=list)
    stage: ExaminationStage = ExaminationStage.RUNNING
    thread: threading.Thread | None = None

    def sorted_findings(self) -> list[DoctorFinding]:
        """Return the findings sorted by severity, without the consequences of other errors."""
        return sorted(drop_consequences(self.findings), key=lambda finding: LEVEL_ORDER.index(finding.level))

    def run(self, installation: Installation, outside: NetworkAccess, now: datetime) -> None:
        """Run the local checks and, if requested, the online checks."""
        try:
            self.findings += run_local_checks(installation, now=now)
            self.checks_done = sum(not check.is_online for check in list_checks().values())
            if self.is_online:
                local_count = self.checks_done

                def count(done: int, _total: int) -> None:
                    self.checks_done = local_count + done

                self.findings += run_online_checks(ExaminedInstallation(installation, now, outside), progress=count)
        except Exception as exc:  # noqa: BLE001 - a thread has no caller to raise to; the page shows the failure
            log.error("the health check failed", error=type(exc).__name__)  # noqa: TRY400 - a trace may quote settings
            self.stage = ExaminationStage.FAILED
        else:
            self.checks_done, self.stage = self.total, ExaminationStage.DONE


class DoctorRunner:
    """The latest doctor run that an admin started in this process."""

    def __init__(self, outside: NetworkAccess | None = None) -> None:
        self._outside = outside or NetworkAccess()
        self._lock = threading.Lock()
        self._latest: HealthReport | None = None

    @property
    def latest(self) -> HealthReport | None:
        """The latest run, or None if none was started since the process began.

        It may still be in progress.
        """
        return self._latest

    def begin(self, installation: Installation, actor: Actor, *, is_online: bool, now: datetime) -> HealthReport:
        """Start a doctor run in a thread.

        Raises:
            NotPermittedError: the actor isn't an admin.
            ExaminationRunningError: another run is in progress.
        """
        checks = [check for check in list_checks().values() if is_online or not check.is_online]
        with self._lock:
            if self._latest is not None and self._latest.stage is ExaminationStage.RUNNING:
                raise ExaminationRunningError("Checks are already running. See their progress below.")
            with EXAMINE.transaction(installation, actor, "installation", now=now) as (_, draft):
                draft.detail = {"online": is_online}
            report = self._latest = HealthReport(now, is_online, len(checks))
        report.thread = threading.Thread(
            target=report.run, args=(installation, self._outside, now), name="doctor", daemon=True
        )
        report.thread.start()
        return report
