"""Mail servers' logs that a member uploaded, between the look at what they say and the word that settles it.

A log holds addresses: it is examined in a private file and removed at once. What it says of uncertain deliveries, without any address,
stands in this process's memory for a quarter of an hour.
"""

import secrets
import shutil
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from pathlib import Path
from typing import IO

from digest.app.accounts.sign_in import SignedInStaff
from digest.app.sending import uncertain_delivery_actions
from digest.deliver.events.postfix_log import MailLogError, UnreadableLogError
from digest.deliver.send.uncertain.log_evidence import LogEvidence
from digest.installation.opened_installation import Installation
from subscribers.callback_types import Clock
from subscribers.errors import RefusalError

EVIDENCE_LIFETIME = timedelta(minutes=15)
LOG_SILENCE = timedelta(minutes=60)  # for which a log may be silent without a gap
MAX_LOG_FILES = 20


class LogUploadError(RefusalError):
    """These files cannot be examined, or what they said is not there any more."""


@dataclass(frozen=True, slots=True)
class UploadedLog:
    """What the logs that one sign-in uploaded say of an edition."""

    edition: str
    evidence: LogEvidence
    sign_in: str
    at: datetime


class UploadedLogs:
    """What uploaded logs said, by the random name that their page has. It lives as long as the application."""

    def __init__(self) -> None:
        self._logs: dict[str, UploadedLog] = {}
        self._lock = threading.Lock()

    def examine(
        self,
        installation: Installation,
        staff: SignedInStaff,
        edition: str,
        uploads: Sequence[tuple[str, IO[bytes]]],
        *,
        zone: tzinfo | None,
        now: datetime,
    ) -> str:
        """Examine uploaded logs, each with the name that its owner knows it by; give the name under which what they say is found.

        Raises:
            NotPermittedError: the member is no admin.
            LogUploadError: there is no file, or too many, one that is no log, or whose times are not those of our clock.
        """
        uncertain_delivery_actions.RESOLVE_BY_LOG.check_permitted(installation.database, staff.actor, edition, now=now)
        if not 0 < len(uploads) <= MAX_LOG_FILES:
            raise LogUploadError(
                "You chose either no log files or too many.",
                f"Choose up to {MAX_LOG_FILES} of the server's log files, including rotated ones.",
            )
        # mkdtemp's folder is closed to other users.
        with tempfile.TemporaryDirectory(prefix=".log-", dir=installation.settings.home) as folder:
            files = [_keep_log(Path(folder) / str(place), stream) for place, (_, stream) in enumerate(uploads)]
            try:
                evidence = uncertain_delivery_actions.examine_mail_log(
                    installation, edition, files, zone=zone, longest_silence=LOG_SILENCE, now=now
                )
            except UnreadableLogError as exc:
                raise LogUploadError(f"“{uploads[files.index(exc.file)][0]}” {exc.why}") from None
            except MailLogError as exc:
                raise LogUploadError(exc.message, "Choose the log's time zone.") from None
        name = secrets.token_urlsafe(12)
        with self._lock:
            self._drop_old(now)
            self._logs[name] = UploadedLog(edition, evidence, staff.sign_in, now)
        return name

    def find(self, name: str, staff: SignedInStaff, *, now: datetime) -> UploadedLog | None:
        """Find what the logs of a sign-in said; None where it is not there any more."""
        with self._lock:
            self._drop_old(now)
            log = self._logs.get(name)
        return log if log is not None and log.sign_in == staff.sign_in else None

    def resolve(
        self, installation: Installation, staff: SignedInStaff, name: str, reason: str, *, clock: Clock
    ) -> tuple[str, int]:
        """Settle by what the logs said; give the edition, and how many deliveries were settled.

        Raises:
            NotPermittedError: the member is no admin.
            LogUploadError: what they said is not there any more.
            EditionControlError: the edition is cancelled and nothing of it may be sent again.
        """
        log = self.find(name, staff, now=clock())
        if log is None:
            raise LogUploadError("The uploaded log expired after 15 minutes.", "Upload the log again.")
        resolved_count = uncertain_delivery_actions.resolve_by_log(
            installation, log.edition, log.evidence, reason=reason, actor=staff.actor, clock=clock
        )
        with self._lock:
            self._logs.pop(name, None)
        return log.edition, resolved_count

    def _drop_old(self, now: datetime) -> None:
        for name, log in list(self._logs.items()):
            if log.at + EVIDENCE_LIFETIME <= now:
                del self._logs[name]


def _keep_log(file: Path, stream: IO[bytes]) -> Path:
    with file.open("wb") as log_file:
        shutil.copyfileobj(stream, log_file, 1 << 20)
    return file
