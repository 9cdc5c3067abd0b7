"""Detection of the problems that alerts report.

These are everything that needs attention, and the findings of some fast doctor checks.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta

from digest.app.doctor import installation_checks, operation_checks, settings_checks
from digest.app.doctor.attention import ATTENTION_KINDS, list_attention_findings
from digest.app.doctor.check_registry import DOCTOR_CHECKS, ExaminedInstallation, run_check
from digest.installation.opened_installation import Installation
from digest.logs import redact_addresses

# Importing these modules registers their checks.
CHECK_MODULES = (installation_checks, operation_checks, settings_checks)
ALERTING_CHECKS = (
    *("key-file", "disk-space", "stuck-job", "nightly-steps", "seals", "access-rows", "changed-deliveries"),
    *("waiting-mail", "unapplied-events", "bounce-mailbox", "uncertain", "dead-run"),
)
ALERT_KINDS = (*ATTENTION_KINDS, *ALERTING_CHECKS)
# Kinds that may appear after hours of downtime or a settings change, and disappear within minutes.
RECOVERING_KINDS = frozenset(
    {"stuck-job", "waiting-mail", "unapplied-events", "dead-run", "stuck-send", "missed-run", "seals", "missing-backup"}
)
RECOVERY_TIME = timedelta(minutes=10)
# Kinds that usually have an email of their own, queued within seconds. The alert waits for that
# email.
OWN_EMAIL_KINDS = frozenset({"missed-deadline", "gone-articles", "paused"})
OWN_EMAIL_TIME = timedelta(minutes=2)
MAX_SENTENCES = 3  # per check


@dataclass(frozen=True, slots=True)
class DetectedProblem:
    """A current problem that needs attention, identified by its kind and subject."""

    kind: str
    subject: str
    sentence: str

    @property
    def key(self) -> tuple[str, str]:
        """The kind and subject, which together identify the problem."""
        return self.kind, self.subject

    @property
    def confirmation_time(self) -> timedelta:
        """How long the problem must last before an alert is sent."""
        if self.kind in RECOVERING_KINDS:
            return RECOVERY_TIME
        return OWN_EMAIL_TIME if self.kind in OWN_EMAIL_KINDS else timedelta(0)


def detect_problems(installation: Installation, *, now: datetime) -> list[DetectedProblem]:
    """Return all problems that currently need attention, with email addresses redacted."""
    return [
        DetectedProblem(kind, str(redact_addresses(subject))[:200], str(redact_addresses(sentence)))
        for kind, subject, sentence in _list_problems(installation, now)
    ]


def _list_problems(installation: Installation, now: datetime) -> Iterator[tuple[str, str, str]]:
    with installation.read() as session:
        attention = list_attention_findings(session, now, installation.settings.file, each_source=True)
    yield from ((finding.kind, finding.subject, finding.sentence) for finding in attention)
    examined = ExaminedInstallation(installation, now)
    for name in ALERTING_CHECKS:
        findings = [finding for finding in run_check(DOCTOR_CHECKS[name], examined) if finding.level != "ok"]
        if findings:
            yield name, "", " ".join(finding.sentence for finding in findings[:MAX_SENTENCES])
