"""The configured sources: listing, testing, adding, changing, and removing them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlsplit
from xml.etree import ElementTree as ET

from pydantic import ValidationError
from sqlalchemy import select
from sqlalchemy.orm import Session

from digest.collect.documents.parsed_document import DocumentKind, FeedLink, ParsedDocument, ParsedItem, ParseError
from digest.collect.fetch.fetcher import open_fetcher
from digest.collect.sandbox import client as sandbox
from digest.collect.sources.source_rows import (
    FILE_PREFIX,
    VisitFailure,
    describe_source_health,
    reset_source_visits,
    sync_sources,
)
from digest.collect.texts.urls import absolute_url, find_publisher_name, site_name
from digest.collect.visits.source_visit import VisitResult, VisitTarget, visit_source
from digest.installation.audited_actions import Action, Actor, PendingAuditEntry
from digest.installation.opened_installation import Installation
from digest.settings import Settings, SettingsError, SourceSettings, file_edits
from digest.settings.loader import describe_value_error
from digest.settings.table_values import build_source, describe_change, redact_setting_values
from digest.store.audit import SOURCE_ADDED, SOURCE_CHANGED
from digest.store.models import Source
from subscribers.errors import RefusalError

ADD = Action(SOURCE_ADDED)
CHANGE = Action(SOURCE_CHANGED)
REMOVE = Action("source removed")
LOOK = Action("sources looked at")
AUDIT_SUBJECT = "sources"
_UNDATED = datetime.min.replace(tzinfo=UTC)


class SourceRefusedError(RefusalError):
    """Raised if a source can't be read or added.

    The message names the source and says why.
    """


@dataclass(frozen=True, slots=True)
class ProbedSource:
    """A source that was read successfully, with its articles.

    `url` is its final URL. If the URL to read was that of a web page, `feeds` are the site's feeds,
    beginning with the one that was read.
    """

    url: str
    document: ParsedDocument
    note: str
    feeds: tuple[FeedLink, ...] = ()

    @property
    def newest_items(self) -> Sequence[ParsedItem]:
        """The items, newest first. Items without a date come last."""
        return sorted(self.document.items, key=lambda item: _find_moment(item) or _UNDATED, reverse=True)

    @property
    def newest_at(self) -> datetime | None:
        """The date of the newest item, or None if no item has one."""
        return max(filter(None, map(_find_moment, self.document.items)), default=None)


def _find_moment(item: ParsedItem) -> datetime | None:
    return item.starts_at or item.published or item.updated


@dataclass(frozen=True, slots=True)
class ListedSource:
    """The row of a source, and a sentence about its health."""

    row: Source
    health: str


def list_sources(
    installation: Installation, actor: Actor, *, include_inactive: bool, now: datetime
) -> list[ListedSource]:
    """Update the database's sources from the settings, and return them in the settings' order.

    With `include_inactive`, sources that are no longer in the settings follow.

    Raises:
        NotPermittedError: the actor isn't a staff member.
    """
    LOOK.check_role(installation, actor, AUDIT_SUBJECT, now=now)
    with installation.write() as session:
        sync_sources(session, installation.settings)
        rows = session.scalars(select(Source).where(~Source.url.startswith(FILE_PREFIX, autoescape=True))).all()
    places = {source.url: place for place, source in enumerate(installation.settings.file.sources)}
    listed_rows = [row for row in rows if row.active or include_inactive]
    listed_rows.sort(key=lambda row: (places.get(row.url, len(places)), row.url))
    return [ListedSource(row, describe_source_health(row, now)) for row in listed_rows]


def probe_source(settings: Settings, source_url: str, *, now: datetime) -> ProbedSource:
    """Fetch a URL, and read it as a source of articles.

    Nothing is stored, so neither a role nor a database is needed.

    Raises:
        SourceRefusedError: the URL can't be read.
    """
    with open_fetcher(settings) as fetcher:
        visit: VisitResult = visit_source(fetcher, VisitTarget(0, "", source_url, source_url), now)
    if isinstance(visit.outcome, VisitFailure):
        raise SourceRefusedError(f"{source_url}: {visit.outcome.message}")
    assert visit.document, "without a validator an answer is never 'not modified'"
    url = visit.outcome.moved_to or source_url
    others = [feed for feed in visit.feeds if feed.url != url]
    feeds = (FeedLink(url, visit.document.title), *others) if visit.feeds else ()
    return ProbedSource(url, visit.document, visit.note, feeds)


def probe_new_source(installation: Installation, source_url: str, *, now: datetime) -> ProbedSource:
    """Read a URL that isn't a source yet.

    The site's feeds that already are sources are left out.

    Raises:
        SourceRefusedError: the URL is already a source's or can't be read.
    """
    refuse_duplicate_source(installation, source_url)
    probed_source = probe_source(installation.settings, source_url, now=now)
    listed = {source.url for source in installation.settings.file.sources}
    feeds = tuple(feed for feed in probed_source.feeds if feed.url not in listed)
    if probed_source.url in listed and feeds:
        probed_source = probe_source(installation.settings, feeds[0].url, now=now)
    refuse_duplicate_source(installation, probed_source.url)
    return replace(probed_source, feeds=feeds)


def complete_typed_url(text: str) -> str:
    """Return a typed URL as an absolute URL, with https if it has no scheme.

    Raises:
        ValueError: the text isn't a URL.
    """
    return absolute_url(text if "://" in text else f"https://{text}")


def add_source(
    installation: Installation,
    actor: Actor,
    source_url: str,
    *,
    name: str | None,
    publisher: str | None,
    section: str,
    try_first: bool,
    now: datetime,
) -> tuple[SourceSettings, ParsedDocument | None]:
    """Add a source to the settings file.

    If `try_first` is true, the source is tested first, and if it's a web page, its best feed is
    added. The default name is the feed's title. The default publisher is the part of the name that
    spells the site's host, or else the whole name.

    Returns:
        The source's settings, and the document that the test read, if any.

    Raises:
        NotPermittedError: the actor isn't an admin.
        SourceRefusedError: the source is already listed, can't be read, or can't be written to the
            settings file.
    """
    with ADD.steps(installation, actor, source_url, now=now) as draft:
        refuse_duplicate_source(installation, source_url)
        probed_source = probe_source(installation.settings, source_url, now=now) if try_first else None
        url = probed_source.url if probed_source else source_url
        refuse_duplicate_source(installation, url)
        title = (probed_source.document.title if probed_source else "") or site_name(url) or url
        name = name or title
        source = _make_source(url, name, publisher or find_publisher_name(name, [url]), section)
        _append_sources(installation, [source], draft)
        return source, probed_source.document if probed_source else None


@dataclass(frozen=True, slots=True)
class OpmlImport:
    """The result of importing an OPML file.

    `refusals` are the reasons that feeds were skipped.
    """

    added: int
    listed_before: int
    refusals: tuple[str, ...]


def import_opml(installation: Installation, actor: Actor, file: Path, section: str, *, now: datetime) -> OpmlImport:
    """Add the feeds in an OPML file to the settings file. The feeds aren't read.

    Raises:
        NotPermittedError: the actor isn't an admin.
        SourceRefusedError: the file isn't a list of feeds, or the settings file can't be written.
    """
    try:
        body = file.read_bytes()
    except OSError as exc:
        raise SourceRefusedError(
            f"Couldn't read {file} ({exc.strerror}).", "Check the file's name and permissions."
        ) from exc
    return import_uploaded_opml(installation, actor, body, str(file), section, now=now)


def import_uploaded_opml(
    installation: Installation, actor: Actor, body: bytes, file_name: str, section: str, *, now: datetime
) -> OpmlImport:
    """Add the feeds in an uploaded OPML document to the settings file.

    Raises:
        NotPermittedError: the actor isn't an admin.
        SourceRefusedError: the file isn't a list of feeds, or the settings file can't be written.
    """
    added: list[SourceSettings] = []
    refusals: list[str] = []
    with ADD.steps(installation, actor, Path(file_name).name, now=now) as draft:
        document = _parse_opml(body, file_name, now)
        listed = {source.url for source in installation.settings.file.sources}
        for feed in document.feeds:
            if feed.url in listed:
                continue
            listed.add(feed.url)
            name = feed.title or urlsplit(feed.url).hostname or feed.url
            try:
                added.append(_make_source(feed.url, name, find_publisher_name(name, [feed.url]), section))
            except SourceRefusedError as exc:
                refusals.append(str(exc))
        draft.changed = bool(added)
        if added:
            _append_sources(installation, added, draft)
    unreadable = [f"Outline {entry.place}, {entry.reason}" for entry in document.rejected]
    return OpmlImport(len(added), len(document.feeds) - len(added) - len(refusals), (*unreadable, *refusals))


def add_source_with_details(
    installation: Installation, actor: Actor, values: Mapping[str, Any], *, now: datetime
) -> int:
    """Add a source with all of its values, and return the number of its row.

    Raises:
        NotPermittedError: the actor isn't an admin.
        SettingsValueError: a value is invalid; `problems` lists which.
        SourceRefusedError: the source is already listed, or the settings file can't be written.
    """
    url = str(values.get("url", ""))
    with ADD.steps(installation, actor, url, now=now) as draft:
        refuse_duplicate_source(installation, url)
        source = build_source(values)
        _append_sources(installation, [source], draft)
    with installation.read() as session:
        return session.scalars(select(Source.id).where(Source.url == source.url)).one()


def change_source(
    installation: Installation, actor: Actor, url: str, values: Mapping[str, Any], *, fingerprint: str, now: datetime
) -> bool:
    """Write new values for a source to the settings file, and return True if anything changed.

    If the URL of a source changes, the source keeps its row and its articles. It keeps its health
    only if it had redirected to the new URL.

    Raises:
        NotPermittedError: the actor isn't an admin.
        SourceRefusedError: another source has the new URL.
        SettingsValueError: a value is invalid. `problems` lists the invalid values.
        SettingsConflictError: someone else changed the source at the same time.
        SettingsError: the settings file can't be read or written.
    """
    with CHANGE.steps(installation, actor, url, now=now) as draft:
        before, new_url = find_configured_source(installation, url), values.get("url", url)
        if new_url != url:
            _refuse_taken_url(installation, new_url)
        settings = file_edits.change_source_in_file(installation.settings, url, values, fingerprint=fingerprint)
        after = next(source for source in settings.file.sources if source.url == new_url)
        change = describe_change(before, after, values)
        draft.changed, draft.detail = bool(change["after"]), dict(change)
        if draft.changed:
            with installation.write() as session:
                if new_url != url:
                    _move_source(session, url, new_url)
                sync_sources(session, settings)
                draft.record(session)
        return draft.changed


def _move_source(session: Session, url: str, new_url: str) -> None:
    """Record the new URL of a source.

    The source's health is reset unless the source was redirected there.
    """
    row = session.scalars(select(Source).where(Source.url == url)).first()
    if row is not None and row.moved_to != new_url:
        row.moved_to = new_url
        reset_source_visits(row)


def _refuse_taken_url(installation: Installation, url: str) -> None:
    """Raise `SourceRefusedError` if another source has a URL, even one that's no longer in the settings."""
    with installation.read() as session:
        owner = session.scalars(select(Source).where(Source.url == url)).first()
    if owner is None:
        return
    if find_configured_source(installation, url) is None:
        raise SourceRefusedError(
            f"“{owner.name},” which is no longer in your settings, had the URL {url}.",
            "Remove this source, and add that URL again.",
        )
    raise SourceRefusedError(
        f"Another source named “{owner.name}” already has the URL {url}.",
        "Remove this source, or change the other one first.",
    )


def follow_moved_source(
    installation: Installation, actor: Actor, url: str, new_url: str, *, fingerprint: str, now: datetime
) -> None:
    """Update the settings file with the URL that a source has moved to.

    Its row, articles, and health are kept. `new_url` is the URL that the actor was shown.

    Raises:
        NotPermittedError: the actor isn't an admin.
        SourceRefusedError: the source hasn't moved to `new_url`, or another source has that URL.
        SettingsValueError: `new_url` isn't a valid source URL.
        SettingsConflictError: someone else changed the source at the same time.
        SettingsError: the settings file can't be read or written.
    """
    CHANGE.check_role(installation, actor, url, now=now)
    with installation.read() as session:
        moved_url = session.scalars(select(Source.moved_to).where(Source.url == url)).first()
    if moved_url != new_url:
        raise SourceRefusedError(f"{url} no longer redirects to {new_url}.", "Check the source again.")
    change_source(installation, actor, url, {"url": new_url}, fingerprint=fingerprint, now=now)


def undo_url_change(installation: Installation, actor: Actor, number: int, *, fingerprint: str, now: datetime) -> None:
    """Restore the previous URL of a source.

    `number` is the number of the source's row. The source's articles are kept.

    Raises:
        NotPermittedError: the actor isn't an admin.
        SourceRefusedError: its URL wasn't changed, or another source has the earlier one.
        SettingsConflictError: someone else changed the source at the same time.
        SettingsError: the settings file can't be read or written.
    """
    CHANGE.check_role(installation, actor, f"source {number}", now=now)
    with installation.read() as session:
        row = session.get(Source, number)
        url, earlier_url = (row.url, row.moved_from) if row else ("", None)
    if not earlier_url:
        raise SourceRefusedError("This source’s URL wasn’t changed.", "Reload the page to see its settings.")
    change_source(installation, actor, url, {"url": earlier_url}, fingerprint=fingerprint, now=now)


def remove_source(installation: Installation, actor: Actor, url: str, *, now: datetime) -> SourceSettings:
    """Remove a source from the settings file, and return its settings.

    Its articles are kept.

    Raises:
        NotPermittedError: the actor isn't an admin.
        SourceRefusedError: no source in the settings has this URL, or the settings file can't be
            written.
    """
    with REMOVE.steps(installation, actor, url, now=now) as draft:
        before = find_configured_source(installation, url)
        if before is None:
            raise SourceRefusedError(
                f"{url} isn't a source in the settings.", "Choose a source from 'digest sources list'."
            )
        try:
            settings = file_edits.remove_source_from_file(installation.settings, url)
        except SettingsError as exc:
            raise SourceRefusedError(str(exc)) from exc
        draft.detail = {
            "before": redact_setting_values(SourceSettings, before.model_dump(mode="json", exclude_defaults=True))
        }
        with installation.write() as session:
            sync_sources(session, settings)
            draft.record(session)
        return before


def find_configured_source(installation: Installation, url: str) -> SourceSettings | None:
    """Return the source in the settings that has this URL, or None."""
    return next((source for source in installation.settings.file.sources if source.url == url), None)


def build_opml(installation: Installation) -> bytes:
    """Return the configured sources as OPML (http://opml.org/spec2.opml)."""
    publication = installation.settings.file.publication
    root = ET.Element("opml", version="2.0")
    ET.SubElement(ET.SubElement(root, "head"), "title").text = f"Sources of {publication.name}"
    body = ET.SubElement(root, "body")
    for source in installation.settings.file.sources:
        feed = {"type": "rss", "text": source.name, "title": source.name, "xmlUrl": source.url}
        ET.SubElement(body, "outline", feed | {"category": source.section})
    ET.indent(root)
    text: bytes = ET.tostring(root, "utf-8", xml_declaration=True)
    return text + b"\n"


def refuse_duplicate_source(installation: Installation, url: str) -> None:
    """Raise `SourceRefusedError` if a source in the settings already has this URL."""
    for source in installation.settings.file.sources:
        if source.url == url:
            raise SourceRefusedError(f"“{source.name}” already has the URL {url}.", "Enter a different URL.")


def _make_source(url: str, name: str, publisher: str, section: str) -> SourceSettings:
    values = {"url": url, "name": name[:200], "publisher": publisher[:200], "section": section}
    try:
        return SourceSettings.model_validate(values)
    except ValidationError as exc:
        raise SourceRefusedError(f"{url}: {describe_value_error(dict(exc.errors()[0]))}") from exc


def _append_sources(installation: Installation, added: list[SourceSettings], draft: PendingAuditEntry) -> None:
    """Add sources to the settings file, with an audit row for each."""
    try:
        settings = file_edits.append_sources(installation.settings, added)
    except SettingsError as exc:
        raise SourceRefusedError(str(exc)) from exc
    with installation.write() as session:
        sync_sources(session, settings)
        for source in added:
            draft.subject = source.url
            values = source.model_dump(mode="json", exclude_defaults=True, exclude={"url"})
            draft.detail = redact_setting_values(SourceSettings, values) | {"section": source.section}
            draft.record(session)


def _parse_opml(body: bytes, file_name: str, now: datetime) -> ParsedDocument:
    try:
        document = sandbox.parse_document(body, url=f"{FILE_PREFIX}///{quote(Path(file_name).name)}", now=now)
    except ParseError as exc:
        raise SourceRefusedError(f"{file_name}: {exc}") from exc
    if document.kind is not DocumentKind.OPML:
        raise SourceRefusedError(
            f"{file_name} isn't a list of feeds (OPML). Its format is {document.kind}.",
            f"Read the file with 'digest collect {file_name}'.",
        )
    return document
