"""Importing editions that were sent before this installation, so that their stories aren't repeated."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path

from sqlalchemy import select

from digest.app.editing.story_fetch import PAGE_ACCEPT
from digest.collect.documents.parsed_document import ParseError
from digest.collect.documents.past_edition import PastEditionPage
from digest.collect.fetch.fetcher import open_fetcher
from digest.collect.fetch.result import ContentFetcher, FetchError
from digest.collect.fetch.robots_txt import explain_robots_refusal
from digest.collect.sandbox.client import read_past_edition_in_child
from digest.collect.texts.urls import usable_url
from digest.edition.drafting import imported_editions
from digest.installation.audited_actions import Action, Actor
from digest.installation.opened_installation import Installation
from digest.store.imported_edition_models import ImportedEdition
from subscribers.callback_types import Progress

IMPORT = Action("imported past editions")
MAX_FILE_BYTES = 10_000_000


@dataclass(frozen=True, slots=True)
class ImportedEditionResult:
    """The result of importing a file or URL.

    `refusal` is the reason that it wasn't imported. `replaced` is True if it replaced an earlier
    import.
    """

    place: str
    page: PastEditionPage | None = None
    refusal: str = ""
    replaced: bool = False


def import_past_editions(
    installation: Installation,
    places: Sequence[str],
    *,
    actor: Actor,
    now: datetime,
    dry_run: bool = False,
    released_on: datetime | None = None,
    fetcher: ContentFetcher | None = None,
    progress: Progress = lambda *_: None,
) -> list[ImportedEditionResult]:
    """Read past editions from files and URLs, and store them unless `dry_run` is true.

    Args:
        installation: the installation that stores them.
        places: HTML files and URLs.
        actor: the person who imports them.
        now: the current time in UTC.
        dry_run: only report what would be imported.
        released_on: the date of editions that don't state one; without it, they're refused.
        fetcher: replaces the network.
        progress: called with the numbers of completed and all files and URLs.
    """
    reports: list[ImportedEditionResult] = []
    with IMPORT.steps(installation, actor, "past editions", now=now) as audit:
        for place, parsed_page, fault in _read_places(installation, places, now, fetcher):
            released_at = _choose_date(parsed_page, released_on)
            report = _judge_page(place, parsed_page, fault or _explain_unfit_date(released_at, now))
            if report.page and released_at and not dry_run:
                replaced = _store(installation, report.page, place, released_at, actor=actor, now=now)
                report = replace(report, replaced=replaced)
            reports.append(report)
            progress(len(reports), len(places))
        imported = [report.page for report in reports if report.page]
        audit.changed = bool(imported) and not dry_run
        audit.detail = {"editions": len(imported), "stories": sum(len(page.stories) for page in imported)}
    return reports


def _judge_page(place: str, page: PastEditionPage | None, refusal: str) -> ImportedEditionResult:
    return ImportedEditionResult(place, None if refusal else page, refusal)


def _store(
    installation: Installation, page: PastEditionPage, place: str, released_at: datetime, *, actor: Actor, now: datetime
) -> bool:
    zone, address = installation.settings.zone, page.address or place
    with installation.write() as session:
        return imported_editions.store_imported_edition(
            session, page, address, released_at, zone=zone, actor=actor.name, now=now
        )


def _choose_date(page: PastEditionPage | None, released_on: datetime | None) -> datetime | None:
    return (page.released_at or released_on) if page else None


def _explain_unfit_date(released_at: datetime | None, now: datetime) -> str:
    if released_at is None:
        return "The edition has no date. Set the date with --sent."
    return "The date is in the future. Correct the date with --sent." if released_at > now else ""


def _read_places(
    installation: Installation, places: Iterable[str], now: datetime, fetcher: ContentFetcher | None
) -> Iterator[tuple[str, PastEditionPage | None, str]]:
    with open_fetcher(installation.settings, fetcher) as active_fetcher:
        for place in places:
            try:
                yield place, _read_place(active_fetcher, place, now), ""
            except (FetchError, ParseError, OSError) as exc:
                yield place, None, str(getattr(exc, "message", "") or getattr(exc, "strerror", "") or exc)


def _read_place(fetcher: ContentFetcher, place: str, now: datetime) -> PastEditionPage:
    url = usable_url(place)
    if url is None:
        path = Path(place)
        if path.stat().st_size > MAX_FILE_BYTES:
            raise ParseError(f"The file is larger than {MAX_FILE_BYTES // 1_000_000} MB.", "Choose a smaller file.")
        return read_past_edition_in_child(path.read_bytes(), url=path.resolve().as_uri(), now=now)
    if not fetcher.may_read(url):
        raise ParseError(explain_robots_refusal(fetcher, url), "Save the page in a browser, and import the file.")
    answer = fetcher.get(url, accept=PAGE_ACCEPT)
    return read_past_edition_in_child(answer.body, url=answer.url, now=now, charset=answer.charset)


def find_past_edition_url(installation: Installation, name: str) -> str | None:
    """Return the URL of a past edition with a given name.

    Return None if the edition is unknown or was imported from a file.
    """
    query = select(ImportedEdition.address).where(ImportedEdition.name == name).order_by(ImportedEdition.id.desc())
    with installation.read() as session:
        return next((address for address in session.scalars(query) if usable_url(address)), None)
