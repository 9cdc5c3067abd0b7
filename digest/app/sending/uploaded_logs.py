"""Uploaded mail server logs. Their results are held until they're applied or expire.

A log contains addresses, so it's examined in a private file that's deleted immediately. The results
don't contain any address and are kept in memory for 15 minutes.
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
LOG_SILENCE = timedelta(minutes=60)  # the longest gap between log lines
MAX_LOG_FILES = 20


class LogUploadError(RefusalError):
    """Raised if the files can't be examined or the results have expired."""


@dataclass(frozen=True, slots=True)
class UploadedLog:
    """The results of logs that were uploaded for an edition during one sign-in."""

    edition: str
    evidence: LogEvidence
    sign_in: str
    at: datetime


class UploadedLogs:
    """The results of uploaded logs, by the random name in their page's URL.

    They're kept only in memory.
    """

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
        """Examine uploaded logs, and return the name under which the results are stored.

        Each upload is a pair of the original file name and the content.

        Raises:
            NotPermittedError: the member isn't an admin.
            LogUploadError: there are no files or too many, one isn't a log, or its times don't
                match the system clock.
        """
        uncertain_delivery_actions.RESOLVE_BY_LOG.check_permitted(installation, staff.actor, edition, now=now)
        if not 0 < len(uploads) <= MAX_LOG_FILES:
            raise LogUploadError(
                "You chose either no log files or too many.",
                f"Choose up to {MAX_LOG_FILES} of the server's log files, including rotated ones.",
            )
        # mkdtemp creates a folder that other users can't read.
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
        """Return the results of a log that was uploaded during this sign-in.

        Return None if they've expired or come from another sign-in.
        """
        with self._lock:
            self._drop_old(now)
            log = self._logs.get(name)
        return log if log is not None and log.sign_in == staff.sign_in else None

    def resolve(
        self, installation: Installation, staff: SignedInStaff, name: str, reason: str, *, clock: Clock
    ) -> tuple[str, int]:
        """Resolve deliveries from the results of an uploaded log.

        Return the edition and the number of resolved deliveries.

        Raises:
            NotPermittedError: the member isn't an admin.
            LogUploadError: the results have expired.
            EditionControlError: the edition is canceled, so its messages can't be sent again.
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
