"""The visits to sources in one collection run.

Threads fetch and parse, and the calling thread stores the results. Sources don't affect each other.
Several runs, in one or several processes, share the due visits: each host is visited by the run
that claimed it.

Publishers' errors are returned as values. An unexpected error (a bug) is logged with its traceback
and reported with its type, and the other sources continue.
"""

import random
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field, fields, replace
from datetime import date, datetime
from functools import partial
from pathlib import Path
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from digest.collect.articles.storage import (
    ItemCounts,
    clear_withdrawn,
    mark_withdrawn,
    mark_withdrawn_and_delete_image,
    prepare_item_batches,
    store_item_batch,
    withdraw_listed_articles,
)
from digest.collect.documents.parsed_document import DocumentKind, ParsedDocument
from digest.collect.fetch.result import ContentFetcher
from digest.collect.sources import source_rows as sources
from digest.collect.sources.source_visit_counts import count_source_visit
from digest.collect.texts.urls import find_publisher_name, site_name
from digest.collect.visits.source_visit import (
    VisitResult,
    VisitTarget,
    list_input_files,
    read_file_source,
    visit_source,
)
from digest.collect.visits.visit_queue import CLAIM_RENEWAL, VisitQueue
from digest.settings import Settings, SourceSettings
from digest.store.engine import Database
from digest.store.models import Article, Source, SourceHealth
from subscribers.errors import ApplicationError
from subscribers.loggers import get_logger

VISITED_ELSEWHERE = "another process visited it"
LEFT_TO_OTHERS = "another process is visiting its host"
STOPPED = "stopped before its turn"
OTHERS_POLL_SECONDS = 1.0  # interval between checks for hosts that other runs have released

log = get_logger(__name__)


class UnknownSourceError(ApplicationError):
    """Raised when no source has a given name or URL. The message lists the configured sources."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceReport(ItemCounts):
    """The result for one source or file, including the counts of its items.

    `error` says why nothing could be read, `skipped` why it wasn't tried, and `note` what was omitted.
    """

    name: str
    url: str
    kind: str | None = None
    error: str | None = None
    seconds: float = 0.0
    not_modified: bool = False
    skipped: str | None = None
    note: str = ""

    @property
    def succeeded(self) -> bool:
        """True if the source returned readable content or "not modified"."""
        return self.error is None and self.skipped is None


# Takes the number done, the total number, and the latest report.
CollectionProgress = Callable[[int, int, SourceReport | None], None]


@dataclass(frozen=True, slots=True)
class _CollectionRun:
    """The shared state of a run's visits.

    If `patient` is true, the run waits for hosts claimed by other runs, to take them over if those runs die.
    """

    database: Database
    fetcher: ContentFetcher
    settings: Settings
    now: datetime
    jitter: Callable[[], float]
    stopping: threading.Event
    patient: bool = True

    @property
    def today(self) -> date:
        """The current day in the publication's time zone."""
        return self.now.astimezone(self.settings.zone).date()


def collect_sources(
    database: Database,
    fetcher: ContentFetcher,
    settings: Settings,
    *,
    now: datetime,
    only: Collection[str] | None = None,
    files: Sequence[Path] = (),
    force: bool = False,
    since: datetime | None = None,
    stopping: threading.Event | None = None,
    progress: CollectionProgress = lambda *_: None,
    jitter: Callable[[], float] = random.random,
) -> list[SourceReport]:
    """Visit the due sources in the settings, read the files, and return their reports in that order.

    Args:
        database: the database for the articles.
        fetcher: the fetcher, used by several threads at the same time.
        settings: the sources and the limits.
        now: the time of the run.
        only: names or URLs of sources; None means all, or none if `files` are given.
        files: the files and folders to read, including all files in the folders.
        force: whether to also visit sources that aren't due or are gone.
        since: sources visited since then aren't due.
        stopping: when set, the run ends after the visits in progress.
        progress: called from this thread at the start and after each source.
        jitter: returns random numbers for the times of the next visits.

    Raises:
        UnknownSourceError: `only` has a source that isn't in the settings.
    """
    run = _CollectionRun(database, fetcher, settings, now, jitter, stopping or threading.Event())
    selected = () if files and only is None else only
    with database.write() as session:
        sources.sync_sources(session, settings)
        urls = _selected_urls(settings, selected)
        visits, skipped = _due_visits(session, settings, urls, now=now, force=force, since=since)
    paths = list_input_files(files)
    jobs = [_file_job(run, path) for path in paths]
    reports = skipped + _run_visits(run, VisitQueue(database, visits), jobs, progress)
    order = [source.url for source in settings.file.sources]
    order += [path.as_uri() for path in paths]
    return sorted(reports, key=lambda report: order.index(report.url))


def has_unclaimed_visits(database: Database, settings: Settings, *, now: datetime, since: datetime) -> bool:
    """Return True if a due source is waiting for a run to visit it.

    It must not have been visited since `since`, and no run may have claimed its host.
    """
    return _open_visits(database, settings, now, since).has_free_visits()


def join_collection_run(
    database: Database,
    fetcher: ContentFetcher,
    settings: Settings,
    *,
    now: datetime,
    since: datetime,
    stopping: threading.Event,
) -> list[SourceReport]:
    """Help another run by visiting due sources at unclaimed hosts, and return the reports.

    Sources visited since `since` aren't due. Hosts claimed by other runs are left to them.
    """
    run = _CollectionRun(database, fetcher, settings, now, random.random, stopping, patient=False)
    queue = _open_visits(database, settings, now, since)
    reports = _run_visits(run, queue, [], lambda *_: None)
    return [report for report in reports if report.skipped is None]


def _open_visits(database: Database, settings: Settings, now: datetime, since: datetime) -> VisitQueue:
    urls = _selected_urls(settings, None)
    with database.read() as session:
        visits, _ = _due_visits(session, settings, urls, now=now, force=False, since=since)
    return VisitQueue(database, visits)


@dataclass(frozen=True, slots=True)
class _CollectionJob:
    """A source or file to read."""

    load: Callable[[], VisitResult]
    empty_report: SourceReport  # used until there's a result
    target: VisitTarget | None = None
    path: Path | None = None
    start_times: list[float] = field(default_factory=list)

    def __call__(self) -> VisitResult:
        self.start_times.append(time.monotonic())
        return self.load()


_Futures = dict[Future[VisitResult], _CollectionJob]


def _selected_urls(settings: Settings, only: Collection[str] | None) -> list[str]:
    """Return the URLs of the sources selected by name or URL."""
    listed = settings.file.sources
    if only is None:
        return [source.url for source in listed]
    chosen = []
    for name in only:
        urls = [source.url for source in listed if _is_meant(source, name)]
        if not urls:
            names = ", ".join(repr(source.name) for source in listed) or "none yet"
            raise UnknownSourceError(f"There's no source or file named {name!r}. Choose one of: {names}.")
        chosen += urls
    return chosen


def _is_meant(source: SourceSettings, name: str) -> bool:
    return name == source.url or name.casefold() == source.name.casefold()


def _due_visits(
    session: Session,
    settings: Settings,
    urls: list[str],
    *,
    now: datetime,
    force: bool,
    since: datetime | None,
) -> tuple[list[VisitTarget], list[SourceReport]]:
    visits, skipped = [], []
    rows = session.scalars(select(Source).where(Source.url.in_(urls)))
    for row in sorted(rows, key=lambda row: urls.index(row.url)):
        if reason := _reason_left_out(row, settings, now, since, force=force):
            skipped.append(_report_on(row, skipped=reason))
            continue
        fresh = (None, None) if force else (row.etag, row.last_modified)
        address = row.moved_to or row.url
        place = (row.id, row.name, row.url, address, row.kind)
        visits.append(VisitTarget(*place, *fresh, row.tried_at))
    return visits, skipped


def _report_on(source: Source | VisitTarget, **details: Any) -> SourceReport:
    return SourceReport(name=source.name, url=source.url, kind=source.kind, **details)


def _reason_left_out(row: Source, settings: Settings, now: datetime, since: datetime | None, *, force: bool) -> str:
    """Return why a source isn't visited, or "" if it is. Paused sources never are."""
    late = "" if force else _reason_not_due(row, settings, now, since)
    return "paused in the settings" if row.paused else late


def _reason_not_due(row: Source, settings: Settings, now: datetime, since: datetime | None) -> str:
    zone = settings.zone
    if not sources.is_source_due(row, now):
        if row.next_try_at is None:
            return f"gone: {row.message}; visited only with --force, or after you add it again"
        reason = f" ({row.message})" if row.message else ""
        return f"not due until {row.next_try_at.astimezone(zone):%Y-%m-%d %H:%M}{reason}"
    if since and row.tried_at and row.tried_at >= since:
        return f"visited at {row.tried_at.astimezone(zone):%Y-%m-%d %H:%M}"
    return ""


def _file_job(run: _CollectionRun, path: Path) -> _CollectionJob:
    file = run.settings.file
    max_bytes, site = file.limits.fetch_bytes, file.publication.site
    load = partial(read_file_source, path, max_bytes=max_bytes, site=site, now=run.now)
    report = SourceReport(name=sources.FILE_PREFIX + path.name, url=path.as_uri())
    return _CollectionJob(load, report, path=path)


def _skipped_reports(targets: Iterable[VisitTarget], reason: str) -> Iterator[SourceReport]:
    return (_report_on(target, skipped=reason) for target in targets)


def _run_visits(
    run: _CollectionRun, queue: VisitQueue, file_jobs: list[_CollectionJob], progress: CollectionProgress
) -> list[SourceReport]:
    """Make all visits as threads become free, and return the reports in order of completion."""
    reports: list[SourceReport] = []
    total = len(queue.list_waiting()) + len(file_jobs)

    def add(more: Iterable[SourceReport]) -> None:
        for report in more:
            reports.append(report)
            progress(len(reports), total, report)

    progress(0, total, None)
    pool = ThreadPoolExecutor(run.settings.file.limits.fetch_workers, "visit")
    try:
        futures = {pool.submit(job): job for job in file_jobs}
        while True:
            if run.stopping.is_set():
                add(_cancel_jobs(futures))
            elsewhere = [] if run.stopping.is_set() else _begin_visits(run, queue, pool, futures)
            add(_skipped_reports(elsewhere, VISITED_ELSEWHERE))
            if not futures and not elsewhere and not _await_others(run, queue):
                break
            for future in wait(futures, CLAIM_RENEWAL.total_seconds(), FIRST_COMPLETED).done:
                job = futures.pop(future)  # frees the future and its document once it's stored
                add([_finish_job(run, job, future)])
                queue.end_visit(job.target)
                queue.renew()
            queue.renew()
    finally:
        pool.shutdown(cancel_futures=True)
        queue.close()
    reason = STOPPED if run.stopping.is_set() else LEFT_TO_OTHERS
    add(_skipped_reports(queue.list_waiting(), reason))
    return reports


def _begin_visits(
    run: _CollectionRun, queue: VisitQueue, pool: ThreadPoolExecutor, futures: _Futures
) -> list[VisitTarget]:
    """Start visits on free threads, and return the targets that another run has already visited."""
    threads = run.settings.file.limits.fetch_workers
    if len(futures) >= threads:
        return []
    # Claim twice the number of threads, because a claim is a transaction and threads must not wait for it.
    to_visit, elsewhere = queue.claim_visits(2 * threads - len(futures))
    for target in to_visit:
        load = partial(visit_source, run.fetcher, target, run.now)
        job = _CollectionJob(load, _report_on(target), target)
        futures[pool.submit(job)] = job
    return elsewhere


def _cancel_jobs(futures: _Futures) -> list[SourceReport]:
    cancelled = [futures.pop(future) for future in list(futures) if future.cancel()]
    return [replace(job.empty_report, skipped=STOPPED) for job in cancelled]


def _await_others(run: _CollectionRun, queue: VisitQueue) -> bool:
    """Wait briefly for hosts claimed by other runs. Return False if there's nothing to wait for."""
    if not run.patient and not queue.has_free_visits():
        return False
    return bool(queue.list_waiting()) and not run.stopping.wait(OTHERS_POLL_SECONDS)


def _finish_job(run: _CollectionRun, job: _CollectionJob, future: Future[VisitResult]) -> SourceReport:
    """Store a visit's result, and return its report.

    Any failure here affects only this source.
    """
    try:
        report = _store_result(run, job, future.result())
    except Exception as surprise:
        log.exception("a source's visit failed unexpectedly", source=job.empty_report.url)
        message = f"internal error (please report it): {type(surprise).__name__}: {surprise}"[:500]
        report = replace(job.empty_report, error=message)
        _try_record_failure(run, job, message)
    return replace(report, seconds=round(time.monotonic() - job.start_times[0], 3))


def _try_record_failure(run: _CollectionRun, job: _CollectionJob, message: str) -> None:
    if job.target is None:
        return
    try:
        _record_failure(run, job.target, sources.VisitFailure(SourceHealth.FAILING, message))
    except Exception:  # the database itself may have failed; the report still contains the error
        log.exception("couldn't record a source's visit", source=job.target.url)


def _store_result(run: _CollectionRun, job: _CollectionJob, result: VisitResult) -> SourceReport:
    if isinstance(result.outcome, sources.VisitFailure):
        if job.target:
            _record_failure(run, job.target, result.outcome)
        return replace(job.empty_report, error=result.outcome.message)
    max_items = run.settings.file.limits.items_per_source
    counts, parts = prepare_item_batches(result.document, max_items) if result.document else (ItemCounts(), ())
    for part in parts[:-1]:  # short transactions, so that editors can write in between
        with run.database.write() as session:
            counts += store_item_batch(session, _job_source(session, job, result.document).id, part, run.now)
    with run.database.write() as session:
        source = _job_source(session, job, result.document)
        for part in parts[-1:]:
            counts += store_item_batch(session, source.id, part, run.now)
        withdraw_listed_articles(session, source, counts.rejected, run.now)
        # Store the validators last, along with the last articles: once they're stored, all articles are.
        sources.record_visit_success(source, result.outcome, run.now, run.jitter())
        count_source_visit(session, source, run.today, is_good=True, item_count=counts.new)
        if source.kind == DocumentKind.PAGE:
            for article in session.scalars(select(Article).where(Article.source_id == source.id)):
                clear_withdrawn(session, article, run.now)
    return replace(
        job.empty_report,
        kind=result.outcome.kind.value if result.outcome.kind else job.empty_report.kind,
        **{count.name: getattr(counts, count.name) for count in fields(counts)},
        not_modified=result.not_modified,
        note=result.note,
    )


def _job_source(session: Session, job: _CollectionJob, document: ParsedDocument | None) -> Source:
    if job.target:
        return session.get_one(Source, job.target.id)
    assert job.path, "a job is a source or a file"
    publisher = _document_publisher(document) if document else ""
    return sources.ensure_file_source(
        session,
        job.path.as_uri(),
        name=(sources.FILE_PREFIX + job.path.name)[:200],
        publisher=publisher or job.path.stem[:200],
    )


def _document_publisher(document: ParsedDocument) -> str:
    """Return a file's publisher, based on the document's title or its page's site."""
    if document.kind is DocumentKind.PAGE and document.items:
        return site_name(document.items[0].url)
    if any(item.publisher for item in document.items):  # the document links to many sites
        return document.title[:200]
    return find_publisher_name(document.title, [item.url for item in document.items])[:200]


def _record_failure(run: _CollectionRun, target: VisitTarget, failure: sources.VisitFailure) -> None:
    with run.database.write() as session:
        source = session.get_one(Source, target.id)
        if source.kind == DocumentKind.PAGE and (failure.is_missing or failure.barrier):
            withdraw = mark_withdrawn_and_delete_image if failure.barrier else mark_withdrawn
            for article in session.scalars(select(Article).where(Article.source_id == source.id)):
                withdraw(session, article, run.now, failure.barrier or str(failure.status))
        sources.record_visit_failure(source, failure, run.now, run.jitter())
        count_source_visit(session, source, run.today, is_good=False)
