"""The log of alerts, which records what was sent about each problem.

Each check compares the current problems with the alerts already sent, and each difference is sent
once.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import delete, select, update
from sqlalchemy.orm import Session

from digest.app.alerts.alert_notifications import queue_alert_notifications
from digest.app.alerts.problem_detection import DetectedProblem, detect_problems
from digest.deliver.send.refusals.refused_deliveries import recount_refusals_of_sent_editions
from digest.installation.opened_installation import Installation
from digest.store.alert_models import OPEN_ALERT, Alert
from subscribers.loggers import get_logger
from subscribers.store.database import upsert

# A problem that comes and goes, such as a nearly full disk, is a single alert until it has been
# gone this long.
OVER_AFTER = timedelta(minutes=5)

log = get_logger("alerts")


@dataclass(frozen=True, slots=True)
class AlertChanges:
    """The changes that a check makes: new problems, and the IDs of alerts whose state changes."""

    new: list[DetectedProblem] = field(default_factory=list)
    opened: list[int] = field(default_factory=list)
    back: list[int] = field(default_factory=list)
    missing: list[int] = field(default_factory=list)
    over: list[int] = field(default_factory=list)
    dropped: list[int] = field(default_factory=list)  # resolved before they were sent

    def __bool__(self) -> bool:
        """Return True if there are any changes to make."""
        return any(getattr(self, name) for name in self.__slots__)


def decide_alert_changes(
    open_alerts: Iterable[Alert], current_problems: Iterable[DetectedProblem], now: datetime
) -> AlertChanges:
    """Return the changes to make, given the current problems and the alerts that aren't over."""
    problems = {problem.key: problem for problem in current_problems}
    changes = AlertChanges()
    for alert in open_alerts:
        problem = problems.pop((alert.kind, alert.subject), None)
        if problem is not None:
            if alert.missing_since is not None:
                changes.back.append(alert.id)
            if alert.opened_at is None and now - alert.seen_at >= problem.confirmation_time:
                changes.opened.append(alert.id)
        elif alert.opened_at is None:
            changes.dropped.append(alert.id)
        elif alert.missing_since is None:
            changes.missing.append(alert.id)
        elif now - alert.missing_since >= OVER_AFTER:
            changes.over.append(alert.id)
    changes.new.extend(problems.values())
    return changes


def update_alerts(installation: Installation, *, now: datetime) -> str:
    """Compare the current problems with the open alerts, and queue notifications on each channel.

    Return the counts as text, or an empty string if no alert began or ended. If several processes
    check at once, each alert is still sent only once.
    """
    recount_refusals_of_sent_editions(installation.database, now=now)
    problems = detect_problems(installation, now=now)
    with installation.read() as session:
        if not decide_alert_changes(_read_known(session), problems, now):
            return ""
    with installation.write() as session:
        opened, over = _store_changes(session, decide_alert_changes(_read_known(session), problems, now), now)
        queue_alert_notifications(session, installation.settings, opened, "opened", now=now)
        queue_alert_notifications(session, installation.settings, over, "over", now=now)
    for alert in opened:
        log.warning("alert", kind=alert.kind, subject=alert.subject, what=alert.sentence)
    for alert in over:
        log.info("alert is over", kind=alert.kind, subject=alert.subject)
    return f"{len(opened)} alerts, {len(over)} over" if opened or over else ""


def _read_known(session: Session) -> list[Alert]:
    query = select(Alert).where(Alert.ended_at.is_(None))
    return list(session.scalars(query.order_by(Alert.id)))


def _store_changes(session: Session, changes: AlertChanges, now: datetime) -> tuple[list[Alert], list[Alert]]:
    """Store a check's changes, and return the alerts that this process opened and those that it ended."""
    inserted = [_insert_alert(session, problem, now) for problem in changes.new]
    opened = [alert for alert in inserted if alert is not None]
    opened += _claim(session, changes.opened, Alert.opened_at.is_(None), {"opened_at": now})
    over = _claim(session, changes.over, Alert.ended_at.is_(None), {"ended_at": now})
    for ids, missing_since in ((changes.back, None), (changes.missing, now)):
        changed = update(Alert).where(Alert.id.in_(ids))
        session.execute(changed.values(missing_since=missing_since))
    dropped = (Alert.id.in_(changes.dropped), Alert.opened_at.is_(None))
    session.execute(delete(Alert).where(*dropped))
    return [alert for alert in opened if alert.opened_at is not None], over


def _insert_alert(session: Session, problem: DetectedProblem, now: datetime) -> Alert | None:
    """Store a problem as an alert and return it, or return None if another process already stored it."""
    opened_at = None if problem.confirmation_time else now
    values = {"kind": problem.kind, "subject": problem.subject, "sentence": problem.sentence}
    statement = upsert(session, Alert).values(**values, seen_at=now, opened_at=opened_at)
    statement = statement.on_conflict_do_nothing(index_elements=["kind", "subject"], index_where=OPEN_ALERT)
    number = session.scalar(statement.returning(Alert.id))
    return None if number is None else session.get_one(Alert, number)


def _claim(session: Session, ids: list[int], condition: object, values: Mapping[str, datetime]) -> list[Alert]:
    """Set `values` on the alerts that still meet `condition`, and return those alerts."""
    claimed = []
    for number in ids:
        statement = update(Alert).where(Alert.id == number, condition).values(**values)  # type: ignore[arg-type]
        if session.execute(statement.returning(Alert.id)).first():
            claimed.append(session.get_one(Alert, number, populate_existing=True))
    return claimed


def list_open_alerts(session: Session) -> list[Alert]:
    """Return the alerts that have been sent and aren't over, oldest first."""
    is_told = (Alert.ended_at.is_(None), Alert.opened_at.is_not(None))
    query = select(Alert).where(*is_told)
    return list(session.scalars(query.order_by(Alert.opened_at, Alert.id)))
