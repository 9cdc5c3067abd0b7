"""Heartbeats: requests to URLs after jobs, so that an external monitor notices if this service stops.

A job only records that it has ended. The request is made separately afterward, and is retried a few
times.
"""

from collections.abc import Iterator, Mapping
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

from sqlalchemy.orm import Session

from digest.deliver.control import installation_hold
from digest.installation.opened_installation import Installation
from digest.settings import Settings
from subscribers.loggers import get_logger

# Later retries would hide missed runs.
RETRY_DELAYS = (timedelta(minutes=1), timedelta(minutes=5), timedelta(minutes=30))

log = get_logger("heartbeats")


def record_job_end(installation: Installation, job: str, *, failed: bool, now: datetime) -> None:
    """Record the end of a job that has a heartbeat.

    This replaces an earlier record that wasn't sent.
    """
    if _list_urls(installation.settings).get(job):
        with installation.write() as session:
            note = {"at": now.isoformat(), "failed": failed, "tries": 0, "next_try_at": now.isoformat(), "trouble": ""}
            installation_hold.write_installation_value(session, _state_key(job), note, now=now)


def send_heartbeats(installation: Installation, *, now: datetime) -> str:
    """Request the heartbeat URLs of jobs that have completed.

    Return the numbers of successes and failures as text.
    """
    with installation.read() as session:
        due = [job for job, _, note in read_job_end_notes(session, installation.settings) if _is_due(note, now)]
        hold = installation_hold.read_current_hold(session) if due else None
    if hold is not None and hold.may_be_copy:
        return ""  # a copy must not hide that the original has stopped
    results = [_send_heartbeat(installation, job, now) for job in due]
    return f"{results.count(True)} heartbeats, {results.count(False)} failed" if due else ""


def read_job_end_notes(session: Session, settings: Settings) -> Iterator[tuple[str, str, Mapping[str, Any]]]:
    """Yield (job, URL, record) for each job that has a heartbeat and whose end was recorded."""
    for job, url in _list_urls(settings).items():
        note = installation_hold.read_installation_value(session, _state_key(job)) if url else None
        if note is not None:
            yield job, url, note


def build_heartbeat_url(url: str, *, failed: bool) -> str:
    """Return the heartbeat URL to request after a job succeeded or failed.

    After a failure, `/fail` is appended to its path.
    """
    parts = urlsplit(url)
    return parts._replace(path=f"{parts.path.rstrip('/')}/fail").geturl() if failed else url


def _list_urls(settings: Settings) -> dict[str, str]:
    return settings.file.heartbeats.model_dump()


def _state_key(job: str) -> str:
    return f"heartbeat {job}"


def _is_due(note: Mapping[str, Any], now: datetime) -> bool:
    return bool(note["next_try_at"]) and datetime.fromisoformat(note["next_try_at"]) <= now


def _send_heartbeat(installation: Installation, job: str, now: datetime) -> bool | None:
    """Request the URL of a job, and return True if that succeeded.

    Return None if another process makes the request. The next retry is stored first.
    """
    with installation.write() as session:
        note = installation_hold.read_installation_value(session, _state_key(job))
        if note is None or not _is_due(note, now):
            return None
        tries = note["tries"]
        next_try_at = (now + RETRY_DELAYS[tries]).isoformat() if tries < len(RETRY_DELAYS) else ""
        claimed = {**note, "tries": tries + 1, "next_try_at": next_try_at}
        installation_hold.write_installation_value(session, _state_key(job), claimed, now=now)
    # Imported here, because only requests need the HTTP client.
    from digest.collect.fetch.guarded_request import send_guarded_request

    url = build_heartbeat_url(_list_urls(installation.settings)[job], failed=claimed["failed"])
    trouble = send_guarded_request(installation.settings, url)
    with installation.write() as session:
        # If the record isn't the same, the job has ended again.
        if installation_hold.read_installation_value(session, _state_key(job)) == claimed:
            outcome = claimed | ({"trouble": trouble} if trouble else {"trouble": "", "next_try_at": ""})
            installation_hold.write_installation_value(session, _state_key(job), outcome, now=now)
    if trouble:
        log.warning("a heartbeat failed", job=job, trouble=trouble)
    return not trouble
