"""`digest sources`: list the sources with their health, add some, try one, import a reader's list."""

import json
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from urllib.parse import urlsplit

import click
from pydantic import ValidationError
from rich.table import Table
from rich.text import Text
from sqlalchemy import select

from digest.cli.collect import table_console
from digest.cli.context import CommandContext, pass_command_context
from digest.collect.fetch.fetcher import open_fetcher
from digest.collect.parsed_document import DocumentKind, ParsedDocument, ParseError
from digest.collect.sandbox import documents as sandbox
from digest.collect.source_visit import VisitResult, VisitTarget, visit_source
from digest.collect.sources import FILE_PREFIX, VisitFailure, describe_source_health, sync_sources
from digest.collect.urls import absolute_url, site_name
from digest.settings import SettingsError, SourceSettings
from digest.settings.source_blocks import append_sources
from digest.store.models import AuditEntry, Source

SECTIONS = ("news", "products", "events", "opportunities")
_MAX_ITEMS_SHOWN = 10  # items of a source under test


@click.group(epilog="\b\nExample:\n  digest sources add https://www.example.org/ && digest sources list")
def sources() -> None:
    """List, add and try the places that articles come from."""


@sources.command(
    "list",
    epilog="""\b
Examples:
  digest sources list
  digest sources list --json | jq '.[] | select(.health != "good")'

Exit codes: 0 shown, 2 wrong use.""",
)
@click.option("--all", "everything", is_flag=True, help="Also those that the settings no longer name.")
@click.option("--json", "as_json", is_flag=True, help="Print the sources as JSON.")
@pass_command_context
def list_sources(desk: CommandContext, everything: bool, as_json: bool) -> None:
    """Show every source with its health: last good visit, next try, and what to do where it is not well."""
    install, now = desk.install, desk.moment_or_now(None)
    with install.database.write() as session:
        sync_sources(session, install.settings)
        place = {source.url: number for number, source in enumerate(install.settings.file.sources)}
        rows = [row for row in session.scalars(select(Source)) if not row.url.startswith(FILE_PREFIX)]
        rows = [row for row in rows if row.active or everything]
        rows.sort(key=lambda row: (place.get(row.url, len(place)), row.url))
    if as_json:
        click.echo(json.dumps([_source_as_json(row, now) for row in rows], indent=2, ensure_ascii=False))
        return
    if not rows:
        click.echo("No source yet. Add one: digest sources add URL")
        return
    zone = install.settings.file.publication.zone
    table = Table()
    for heading in ("Name", "Publisher", "Section", "Kind", "Last good", "Next try"):
        table.add_column(heading, overflow="fold")
    table.add_column("State", overflow="fold", ratio=1)
    for row in rows:
        moments = [f"{m.astimezone(zone):%Y-%m-%d %H:%M}" if m else "-" for m in (row.good_at, row.next_try_at)]
        cells = (row.name, row.publisher, row.section, row.kind or "-", *moments, describe_source_health(row, now))
        table.add_row(*map(Text, cells))
    table_console().print(table)


@sources.command(
    epilog="""\b
Examples:
  digest sources add https://www.example.org/news/feed/
  digest sources add www.example.org --name "Example news" --publisher Example
  digest sources add https://www.example.org/events.ics --section events

\b
Exit codes: 0 added, 1 it could not be read (nothing was added), 2 wrong use."""
)
@click.argument("url")
@click.option("--name", help="What the desk calls it; by default the feed's own title.")
@click.option("--publisher", help="Who publishes it; by default as the name.")
@click.option("--section", type=click.Choice(SECTIONS), default="news", show_default=True)
@click.option("--untried", is_flag=True, help="Add it although it cannot be read now.")
@pass_command_context
def add(desk: CommandContext, url: str, name: str | None, publisher: str | None, section: str, untried: bool) -> None:
    """Try a source and add it to the settings file. Of a site's page the best feed that it names is taken."""
    address = _parse_web_address(url)
    _refuse_known_source(desk, address)
    tried = None if untried else _visit_source(desk, address)
    reading = tried.document if tried else None
    if tried and not isinstance(tried.outcome, VisitFailure):
        address = tried.outcome.moved_to or address
    _refuse_known_source(desk, address)
    title = (reading.title if reading else "") or site_name(address) or address
    wanted = _source_settings(address, name or title, publisher or name or title, section)
    _save_sources(desk, [wanted])
    items = f": {len(reading.items)} items, {reading.kind}" if reading else " (not tried)"
    click.echo(f"Added {wanted.name} <{wanted.url}>{items}. Next: digest collect")


@sources.command(
    epilog="""\b
Examples:
  digest sources test https://www.example.org/news/feed/
  digest sources test www.example.org --json

\b
Exit codes: 0 it could be read, 1 it could not."""
)
@click.argument("url")
@click.option("--json", "as_json", is_flag=True, help="Print all that would come in as JSON.")
@pass_command_context
def test(desk: CommandContext, url: str, as_json: bool) -> None:
    """Visit a source and show what would come in; nothing is stored."""
    address = _parse_web_address(url)
    tried = _visit_source(desk, address)
    reading = tried.document
    assert reading, "without a validator an answer is never 'not modified'"
    found = getattr(tried.outcome, "moved_to", None) or address
    if as_json:
        click.echo(json.dumps(asdict(reading) | {"url": found}, indent=2, ensure_ascii=False, default=str))
        return
    click.echo(f"{found}\n{reading.kind}: {reading.title or 'no title'}")
    click.echo(
        f"{reading.item_count} items found, {len(reading.items)} fit, {len(reading.rejected)} rejected. {tried.note}"
    )
    for item in reading.items[:_MAX_ITEMS_SHOWN]:
        moment = item.starts_at or item.published or item.updated
        click.echo(f"  {f'{moment:%Y-%m-%d %H:%M}' if moment else item.date_basis}  {item.title}\n    {item.url}")
    if len(reading.items) > _MAX_ITEMS_SHOWN:
        click.echo(f"  … and {len(reading.items) - _MAX_ITEMS_SHOWN} more")
    for rejected in reading.rejected[:_MAX_ITEMS_SHOWN]:
        click.echo(f"  item {rejected.place} rejected: {rejected.reason}")


@sources.command(
    "import-opml",
    epilog="""\b
Example:
  digest sources import-opml subscriptions.opml

\b
Exit codes: 0 done, 1 the file is no list of feeds, 2 wrong use.""",
)
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.option("--section", type=click.Choice(SECTIONS), default="news", show_default=True)
@pass_command_context
def import_opml(desk: CommandContext, file: Path, section: str) -> None:
    """Add the feeds of an OPML file, as feed readers export it. They are first visited by 'digest collect'."""
    reading = _read_opml_file(file, desk)
    known = {source.url for source in desk.settings.file.sources}
    fresh, refused = [], 0
    for feed in reading.feeds:
        if feed.url in known:
            continue
        known.add(feed.url)
        name = feed.title or urlsplit(feed.url).hostname or feed.url
        try:
            fresh.append(_source_settings(feed.url, name, name, section))
        except click.ClickException as exc:
            refused += 1
            click.echo(f"left out: {exc.message}", err=True)
    if fresh:
        _save_sources(desk, fresh)
    there = len(reading.feeds) - len(fresh) - refused
    click.echo(f"Added {len(fresh)} sources; {there} were listed already, {refused} left out. Next: digest collect")


def _source_as_json(row: Source, now: datetime) -> dict[str, object]:
    said = ("url", "name", "publisher", "section", "kind", "active", "health", "message", "failures", "moved_to")
    moments = ("good_at", "tried_at", "next_try_at", "failing_since")
    return (
        {key: getattr(row, key) for key in said}
        | {key: m.isoformat() if (m := getattr(row, key)) else None for key in moments}
        | {"state": describe_source_health(row, now)}
    )


def _parse_web_address(url: str) -> str:
    try:
        return absolute_url(url if "://" in url else f"https://{url}")
    except ValueError as exc:
        raise click.BadParameter(f"{url!r} is no web address: {exc}", param_hint="URL") from exc


def _refuse_known_source(context: CommandContext, address: str) -> None:
    for source in context.settings.file.sources:
        if source.url == address:
            raise click.ClickException(f"{address} is listed already, as {source.name!r}.")


def _visit_source(context: CommandContext, address: str) -> VisitResult:
    """Visit an address as a source; what cannot be read ends the command."""
    with open_fetcher(context.settings) as getter:
        tried = visit_source(getter, VisitTarget(0, "", address, address), context.moment_or_now(None))
    if isinstance(tried.outcome, VisitFailure):
        raise click.ClickException(f"{address}: {tried.outcome.message}")
    return tried


def _source_settings(url: str, name: str, publisher: str, section: str) -> SourceSettings:
    try:
        values = {"url": url, "name": name[:200], "publisher": publisher[:200], "section": section}
        return SourceSettings.model_validate(values)
    except ValidationError as exc:
        raise click.ClickException(f"{url}: {exc.errors()[0]['msg']}") from exc


def _save_sources(context: CommandContext, new_sources: list[SourceSettings]) -> None:
    database, now = context.install.database, context.moment_or_now(None)
    try:
        settings = append_sources(context.settings, new_sources)
    except SettingsError as exc:
        raise click.ClickException(str(exc)) from exc
    with database.write() as session:
        sync_sources(session, settings)
        for source in new_sources:
            detail = {"name": source.name, "publisher": source.publisher, "section": source.section}
            session.add(
                AuditEntry(
                    at=now, actor=context.actor.name, act="source added", subject=source.url[:200], detail=detail
                )
            )


def _read_opml_file(file: Path, context: CommandContext) -> ParsedDocument:
    try:
        reading = sandbox.parse_document(
            file.read_bytes(), url=file.resolve().as_uri(), now=context.moment_or_now(None)
        )
    except OSError as exc:
        raise click.ClickException(f"{file}: cannot be read ({exc.strerror}).") from exc
    except ParseError as exc:
        raise click.ClickException(f"{file}: {exc}") from exc
    if reading.kind is not DocumentKind.OPML:
        raise click.ClickException(
            f"{file} is no list of feeds (OPML) but {reading.kind}. Read it with 'digest collect {file}'."
        )
    return reading
