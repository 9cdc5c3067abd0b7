"""All visits of one run: threads fetch and parse, the calling thread stores, and no source stops another.

What publishers do wrong comes back as a value. A surprise (an error of ours) in one source is logged with its
trace and reported with its type, and the others go on.
"""

import random
import time
from collections.abc import Callable, Collection, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from digest.collect.articles import Counts, mark_back, mark_withdrawn, sift, store_part
from digest.collect.fetched import Getter
from digest.collect.files import documents, read_file
from digest.collect.items import Kind, Reading, Rejected
from digest.collect.sources import FILE, Bad, file_source, is_due, note_bad, note_good, sync
from digest.collect.visit import Target, Visited, visit
from digest.db import Article, Database, Health, Source
from digest.settings import Settings

log = structlog.get_logger(__name__)


class UnknownSource(LookupError):  # noqa: N818  (it reads as what it is: the source is unknown)
    """No source has that name or address; the message lists those that exist."""


@dataclass(frozen=True, slots=True)
class Report:
    """What became of one source or file: found = new + updated + unchanged + rejected.

    `error` says why nothing could be read, `skipped` why it was not tried, `note` what was left out.
    """

    name: str
    url: str
    kind: str | None = None
    found: int = 0
    new: int = 0
    updated: int = 0
    unchanged: int = 0
    rejected: tuple[Rejected, ...] = ()
    error: str | None = None
    seconds: float = 0.0
    not_modified: bool = False
    skipped: str | None = None
    note: str = ""

    @property
    def read(self) -> bool:
        """Whether the source answered with something that could be read, or with "not modified"."""
        return self.error is None and self.skipped is None


Progress = Callable[[int, int, Report | None], None]  # how many are done, of how many, and the last one


@dataclass(frozen=True, slots=True)
class _Run:
    """What all visits of one run share."""

    database: Database
    getter: Getter
    settings: Settings
    now: datetime
    luck: Callable[[], float]


def collect(
    database: Database,
    getter: Getter,
    settings: Settings,
    *,
    now: datetime,
    only: Collection[str] | None = None,
    files: Sequence[Path] = (),
    force: bool = False,
    progress: Progress | None = None,
    luck: Callable[[], float] = random.random,
) -> list[Report]:
    """Visit the sources of the settings that are due, and read the files; the reports are in their order.

    Args:
        database: where the articles go.
        getter: the door to the world; several threads use it at once.
        settings: the sources and the limits.
        now: the moment of the run.
        only: names or addresses of sources; None means all, or none where `files` are given.
        files: files and folders to read, folders with all that is in them.
        force: visit also what is not due, and what is gone.
        progress: called from this thread at the start and after each source.
        luck: gives random numbers for the next tries.

    Raises:
        UnknownSource: `only` names a source that the settings do not have.
    """
    run = _Run(database, getter, settings, now, luck)
    wanted = () if files and only is None else only
    with database.write() as session:
        sync(session, settings)
        targets, skipped = _targets(session, settings, _chosen(settings, wanted), now=now, force=force)
    jobs = [_Job(partial(visit, getter, t, now), target=t) for t in targets]
    most, site = settings.file.limits.fetch_bytes, settings.file.publication.site
    jobs += [
        _Job(partial(read_file, path, most=most, site=site, now=now), path=path) for path in documents(files)
    ]
    done = _all(run, jobs, progress)
    place = {source.url: number for number, source in enumerate(settings.file.sources)}
    return sorted([*skipped, *done], key=lambda report: place.get(report.url, len(place)))


@dataclass(frozen=True, slots=True)
class _Job:
    """One thing to read: a source or a file."""

    read: Callable[[], Visited]
    target: Target | None = None
    path: Path | None = None
    began: list[float] = field(default_factory=list)

    @property
    def report(self) -> Report:
        """A report without any result yet."""
        if self.target:
            return Report(self.target.name, self.target.url, self.target.kind)
        assert self.path, "a job is a source or a file"
        return Report(FILE + self.path.name, self.path.as_uri())

    def __call__(self) -> Visited:
        self.began.append(time.monotonic())
        return self.read()


def _chosen(settings: Settings, only: Collection[str] | None) -> list[str]:
    """Give the addresses of the sources that are meant by name or address."""
    listed = settings.file.sources
    if only is None:
        return [source.url for source in listed]
    chosen = []
    for wanted in only:
        found = [s.url for s in listed if wanted == s.url or wanted.casefold() == s.name.casefold()]
        if not found:
            names = ", ".join(repr(source.name) for source in listed) or "none yet"
            raise UnknownSource(f"{wanted!r} is no source and no file. The sources are: {names}.")
        chosen += found
    return chosen


def _targets(
    session: Session, settings: Settings, chosen: list[str], *, now: datetime, force: bool
) -> tuple[list[Target], list[Report]]:
    targets, skipped = [], []
    rows = {row.url: row for row in session.scalars(select(Source).where(Source.url.in_(chosen)))}
    zone = settings.file.publication.zone
    for url in dict.fromkeys(chosen):
        row = rows[url]
        if force or is_due(row, now):
            address = row.moved_to or row.url
            fresh = (None, None) if force else (row.etag, row.last_modified)
            targets.append(Target(row.id, row.name, row.url, address, row.kind, *fresh))
        elif row.next_try_at is None:
            reason = f"gone: {row.message}; visited only with --force, or when it is added again"
            skipped.append(Report(row.name, row.url, row.kind, skipped=reason))
        else:
            when = f"{row.next_try_at.astimezone(zone):%Y-%m-%d %H:%M}"
            reason = f"not due before {when}" + (f" ({row.message})" if row.message else "")
            skipped.append(Report(row.name, row.url, row.kind, skipped=reason))
    return targets, skipped


def _all(run: _Run, jobs: list[_Job], progress: Progress | None) -> list[Report]:
    tell = progress or (lambda _done, _total, _report: None)
    reports: dict[int, Report] = {}
    tell(0, len(jobs), None)
    pool = ThreadPoolExecutor(run.settings.file.limits.fetch_workers, "visit")
    try:
        futures = {pool.submit(job): number for number, job in enumerate(jobs)}
        for future in as_completed(list(futures)):
            number = futures.pop(future)  # the future, and the document in it, may go once it is stored
            reports[number] = _finish(run, jobs[number], future)
            tell(len(reports), len(jobs), reports[number])
    finally:
        pool.shutdown(cancel_futures=True)
    return [reports[number] for number in sorted(reports)]


def _finish(run: _Run, job: _Job, future: Future[Visited]) -> Report:
    """Store what a visit gave. Whatever goes wrong here is this source's matter only."""
    try:
        report = _store(run, job, future.result())
    except Exception as surprise:
        log.exception("collect.surprise", source=job.report.url)
        message = f"an error of this program, please report it: {type(surprise).__name__}: {surprise}"[:500]
        report = replace(job.report, error=message)
        _try_to_note(run, job, message)
    return replace(report, seconds=round(time.monotonic() - job.began[0], 3))


def _try_to_note(run: _Run, job: _Job, message: str) -> None:
    if job.target is None:
        return
    try:
        with run.database.write() as session:
            source = session.get_one(Source, job.target.id)
            note_bad(source, Bad(Health.FAILING, message), run.now, run.luck())
    except Exception:  # the database itself may be the surprise; the report still says what happened
        log.exception("collect.unnoted", source=job.target.url)


def _store(run: _Run, job: _Job, visited: Visited) -> Report:
    if isinstance(visited.seen, Bad):
        if job.target:
            with run.database.write() as session:
                _note_failure(run, session, job.target, visited.seen)
        return replace(job.report, error=visited.seen.message)
    most = run.settings.file.limits.items_per_source
    counts, parts = sift(visited.reading, most) if visited.reading else (Counts(), ())
    for part in parts[:-1]:  # short transactions: a web page of the desk may want to write in between
        with run.database.write() as session:
            counts += store_part(session, _source(session, job, visited.reading).id, part, run.now)
    with run.database.write() as session:
        source = _source(session, job, visited.reading)
        for part in parts[-1:]:
            counts += store_part(session, source.id, part, run.now)
        # Last, and with the last articles: a validator that is remembered says that all of them are stored.
        note_good(source, visited.seen, run.now, run.luck())
        if source.kind == Kind.PAGE:
            for article in session.scalars(select(Article).where(Article.source_id == source.id)):
                mark_back(session, article, run.now)
    return replace(
        job.report,
        kind=visited.seen.kind.value if visited.seen.kind else job.report.kind,
        found=counts.found,
        new=counts.new,
        updated=counts.updated,
        unchanged=counts.unchanged,
        rejected=counts.rejected,
        not_modified=visited.not_modified,
        note=visited.note,
    )


def _source(session: Session, job: _Job, reading: Reading | None) -> Source:
    if job.target:
        return session.get_one(Source, job.target.id)
    assert job.path, "a job is a source or a file"
    publisher = _publisher(reading) if reading else ""
    name = (FILE + job.path.name)[:200]
    return file_source(session, job.path.as_uri(), name=name, publisher=publisher or job.path.stem[:200])


def _publisher(reading: Reading) -> str:
    """Name who published a file, by the document's own title, or by the site that its page comes from."""
    if reading.kind is Kind.PAGE and reading.items:
        return (urlsplit(reading.items[0].url).hostname or "").removeprefix("www.")
    return reading.title[:200]


def _note_failure(run: _Run, session: Session, target: Target, seen: Bad) -> None:
    source = session.get_one(Source, target.id)
    if source.kind == Kind.PAGE and seen.absent:
        for article in session.scalars(select(Article).where(Article.source_id == source.id)):
            mark_withdrawn(session, article, run.now, str(seen.status))
    note_bad(source, seen, run.now, run.luck())
