"""Monitoring metrics in the Prometheus text format. They contain counts and times, but no personal data."""

import shutil
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from digest import __version__
from digest.app.accounts.sign_in_log import count_recent_refusals
from digest.app.alerts.alert_log import list_open_alerts
from digest.app.alerts.problem_detection import ALERT_KINDS
from digest.backups.last_backup import find_last_verified_backup
from digest.deliver.control import installation_hold
from digest.deliver.plan.delivery_plan import count_deliveries, make_edition_delivery_purpose
from digest.edition.calendar.calendar_store import load_calendar
from digest.edition.edition_queries import IS_REGULAR
from digest.installation.opened_installation import Installation
from digest.store.delivery_models import Delivery, DeliveryState
from digest.store.models import Edition, EditionState, ScheduleSlot, Source, SourceHealth
from subscribers.consent import audience
from subscribers.store.models import PersonState

if TYPE_CHECKING:
    from prometheus_client import Histogram
    from prometheus_client.core import GaugeMetricFamily
    from prometheus_client.metrics_core import Metric

METRICS_CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
KEPT_FOR = timedelta(seconds=10)  # metrics are computed at most once in this time


def make_gauge(name: str, meaning: str, labels: tuple[str, ...] = ()) -> "GaugeMetricFamily":
    """Return a gauge: a metric whose values can go up and down."""
    from prometheus_client.core import GaugeMetricFamily  # not loaded at startup

    return GaugeMetricFamily(f"digest_{name}", meaning, labels=labels)


def make_single_gauge(name: str, meaning: str, value: float) -> "GaugeMetricFamily":
    """Return a gauge with a single value."""
    family = make_gauge(name, meaning)
    family.add_metric([], value)
    return family


def make_labeled_gauge(name: str, meaning: str, label: str, values: dict[str, float]) -> "GaugeMetricFamily":
    """Return a gauge that has one value for each value of a label."""
    family = make_gauge(name, meaning, (label,))
    for value, number in values.items():
        family.add_metric([value], number)
    return family


@dataclass(frozen=True, slots=True)
class InstallationCollector:
    """A Prometheus collector for the metrics of an installation as of `now`."""

    installation: Installation
    now: datetime

    def collect(self) -> Iterator["Metric"]:
        """Yield the installation's metrics, all counted in one database snapshot."""
        yield make_labeled_gauge("info", "Running version.", "version", {__version__: 1})
        free = shutil.disk_usage(self.installation.settings.home).free
        yield make_single_gauge("disk_free_bytes", "Free disk space for the installation's files, in bytes.", free)
        with self.installation.database.snapshot() as session:
            yield from self._collect_lists(session)
            yield from self._collect_sending(session)
            yield from self._collect_schedule(session)

    def _collect_lists(self, session: Session) -> Iterator["Metric"]:
        by_state = audience.count_people_by_state(session)
        people = {str(state): float(by_state.get(state, 0)) for state in PersonState}
        yield make_labeled_gauge("people", "Subscriber records by state.", "state", people)
        health = dict.fromkeys(map(str, SourceHealth), 0.0)
        active = select(Source.health, func.count()).where(Source.active)
        counted = active.group_by(Source.health)
        health |= {str(state): float(count) for state, count in session.execute(counted)}
        yield make_labeled_gauge("sources", "Configured sources by health.", "health", health)
        refused = count_recent_refusals(session, now=self.now).last_hour
        yield make_single_gauge("refused_sign_ins", "Sign-ins rejected in the last hour.", refused)
        open_alerts = Counter(alert.kind for alert in list_open_alerts(session))
        alerts = {kind: float(open_alerts[kind]) for kind in ALERT_KINDS}
        yield make_labeled_gauge("alerts_open", "Open alerts by kind.", "kind", alerts)

    def _collect_sending(self, session: Session) -> Iterator["Metric"]:
        is_paused = installation_hold.read_current_hold(session) is not None
        yield make_single_gauge("held", "1 while all sending is paused.", is_paused)
        meaning = "Emails of the editions being sent and of the last regular one sent."
        family = make_gauge("deliveries", meaning, ("edition", "state"))
        for name in _list_counted_editions(session):
            counts = count_deliveries(session, make_edition_delivery_purpose(name))
            for state in DeliveryState:
                family.add_metric([name, str(state)], counts[state])
        yield family
        waiting = (Delivery.state == DeliveryState.WAITING, Delivery.purpose.not_like("edition:%"))
        is_due = Delivery.next_try_at <= self.now
        due = session.scalar(select(func.count()).where(*waiting, is_due))
        yield make_single_gauge("notices_due", "Transactional emails that are due but not sent.", due or 0)

    def _collect_schedule(self, session: Session) -> Iterator["Metric"]:
        done_at = func.max(ScheduleSlot.done_at).label("done_at")
        last_done = select(ScheduleSlot.job, done_at).group_by(ScheduleSlot.job)
        times = {job: at.timestamp() for job, at in session.execute(last_done) if at}
        yield make_labeled_gauge("job_done_timestamp_seconds", "Last time each scheduled job finished.", "task", times)
        last = last_done.subquery()
        is_last = (ScheduleSlot.job == last.c.job) & (ScheduleSlot.done_at == last.c.done_at)
        runs = select(ScheduleSlot.job, ScheduleSlot.taken_at, ScheduleSlot.done_at).join(last, is_last)
        durations = {job: end - start for job, start, end in session.execute(runs) if start and end}
        seconds = {job: duration.total_seconds() for job, duration in durations.items()}
        yield make_labeled_gauge("job_duration_seconds", "How long each job took the last time.", "task", seconds)
        release = load_calendar(session, self.installation.settings.file).next_release(self.now)
        at = release.release_at.timestamp()
        yield make_single_gauge("next_release_timestamp_seconds", "Next send time.", at)
        if proved_at := find_last_verified_backup(session):
            meaning = "Time of the last verified scheduled backup."
            yield make_single_gauge("backup_proved_timestamp_seconds", meaning, proved_at.timestamp())


def _list_counted_editions(session: Session) -> list[str]:
    """Return the names of the editions being sent and of the newest regular edition that was sent."""
    sending = session.scalars(select(Edition.name).where(Edition.state == EditionState.SENDING))
    sent = select(Edition.name).where(IS_REGULAR, Edition.state == EditionState.SENT)
    newest = sent.order_by(Edition.release_at.desc()).limit(1)
    return [*sending, *session.scalars(newest)]


def render_metrics(installation: Installation, *, now: datetime, requests: "Histogram | None" = None) -> bytes:
    """Return all metrics, including those of this process, in the Prometheus text format."""
    from prometheus_client import CollectorRegistry, ProcessCollector, generate_latest  # not loaded at startup

    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    if requests is not None:
        registry.register(requests)
    registry.register(cast("Any", InstallationCollector(installation, now)))
    return bytes(generate_latest(registry))


def _make_request_histogram() -> "Histogram":
    from prometheus_client import Histogram, disable_created_metrics  # not loaded at startup

    disable_created_metrics()  # type: ignore[no-untyped-call]
    meaning = "How long requests took, by area of the site and status."
    return Histogram("digest_request_duration_seconds", meaning, ("area", "status"), registry=None)


@dataclass(slots=True)
class CachedMetrics:
    """The metrics that a process serves, computed at most every 10 seconds."""

    _text: bytes = b""
    _counted_at: datetime | None = None
    _turn: threading.Lock = field(default_factory=threading.Lock)
    _requests: "Histogram | None" = None

    def observe_request(self, area: str, status: int, seconds: float) -> None:
        """Record the site area, status, and duration of a request."""
        requests = self._requests
        if requests is None:
            with self._turn:  # so that two threads don't each create one
                requests = self._requests = self._requests or _make_request_histogram()
        requests.labels(area, f"{status // 100}xx").observe(seconds)

    def render_cached(self, installation: Installation, *, now: datetime) -> bytes:
        """Return the metrics, computed at most 10 seconds ago."""
        with self._turn:
            if self._counted_at is None or not self._counted_at <= now < self._counted_at + KEPT_FOR:
                self._text, self._counted_at = render_metrics(installation, now=now, requests=self._requests), now
            return self._text
