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

from digest.cli.collect import plain_console
from digest.cli.context import Desk, pass_desk
from digest.cli.source_list import append_sources
from digest.collect import parsers
from digest.collect.fetch import open_getter
from digest.collect.items import Kind, ParseError, Reading
from digest.collect.sources import FILE, Bad, in_words, sync
from digest.collect.urls import absolute
from digest.collect.visit import Target, Visited, visit
from digest.db import Audit, Source
from digest.settings import SettingsError, SourceSettings

SECTIONS = ("news", "products", "events", "opportunities")
_SHOWN = 10  # items of a source under test


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
@pass_desk
def list_sources(desk: Desk, everything: bool, as_json: bool) -> None:
    """Show every source with its health: last good visit, next try, and what to do where it is not well."""
    install, now = desk.install, desk.moment(None)
    with install.database.write() as session:
        sync(session, install.settings)
        place = {source.url: number for number, source in enumerate(install.settings.file.sources)}
        rows = [row for row in session.scalars(select(Source)) if not row.url.startswith(FILE)]
        rows = [row for row in rows if row.active or everything]
        rows.sort(key=lambda row: (place.get(row.url, len(place)), row.url))
    if as_json:
        click.echo(json.dumps([_row(row, now) for row in rows], indent=2, ensure_ascii=False))
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
        moments = [
            f"{m.astimezone(zone):%Y-%m-%d %H:%M}" if m else "-" for m in (row.good_at, row.next_try_at)
        ]
        cells = (row.name, row.publisher, row.section, row.kind or "-", *moments, in_words(row, now))
        table.add_row(*map(Text, cells))
    plain_console().print(table)


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
@pass_desk
def add(desk: Desk, url: str, name: str | None, publisher: str | None, section: str, untried: bool) -> None:
    """Try a source and add it to the settings file. Of a site's page the best feed that it names is taken."""
    address = _web_address(url)
    _refuse_known(desk, address)
    tried = None if untried else _try(desk, address)
    reading = tried.reading if tried else None
    if tried and not isinstance(tried.seen, Bad):
        address = tried.seen.moved_to or address
    _refuse_known(desk, address)
    title = (reading.title if reading else "") or (urlsplit(address).hostname or address).removeprefix("www.")
    wanted = _source(address, name or title, publisher or name or title, section)
    _append(desk, [wanted])
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
@pass_desk
def test(desk: Desk, url: str, as_json: bool) -> None:
    """Visit a source and show what would come in; nothing is stored."""
    address = _web_address(url)
    tried = _try(desk, address)
    reading = tried.reading
    assert reading, "without a validator an answer is never 'not modified'"
    found = getattr(tried.seen, "moved_to", None) or address
    if as_json:
        click.echo(json.dumps(asdict(reading) | {"url": found}, indent=2, ensure_ascii=False, default=str))
        return
    click.echo(f"{found}\n{reading.kind}: {reading.title or 'no title'}")
    click.echo(
        f"{reading.found} items found, {len(reading.items)} fit, {len(reading.rejected)} rejected. {tried.note}"
    )
    for item in reading.items[:_SHOWN]:
        moment = item.starts_at or item.published or item.updated
        click.echo(f"  {f'{moment:%Y-%m-%d %H:%M}' if moment else item.basis}  {item.title}\n    {item.url}")
    if len(reading.items) > _SHOWN:
        click.echo(f"  … and {len(reading.items) - _SHOWN} more")
    for rejected in reading.rejected[:_SHOWN]:
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
@pass_desk
def import_opml(desk: Desk, file: Path, section: str) -> None:
    """Add the feeds of an OPML file, as feed readers export it. They are first visited by 'digest collect'."""
    reading = _opml(file, desk)
    known = {source.url for source in desk.settings.file.sources}
    fresh, refused = [], 0
    for feed in reading.feeds:
        if feed.url in known:
            continue
        known.add(feed.url)
        name = feed.title or urlsplit(feed.url).hostname or feed.url
        try:
            fresh.append(_source(feed.url, name, name, section))
        except click.ClickException as exc:
            refused += 1
            click.echo(f"left out: {exc.message}", err=True)
    if fresh:
        _append(desk, fresh)
    there = len(reading.feeds) - len(fresh) - refused
    click.echo(
        f"Added {len(fresh)} sources; {there} were listed already, {refused} left out. Next: digest collect"
    )


def _row(row: Source, now: datetime) -> dict[str, object]:
    said = (
        "url",
        "name",
        "publisher",
        "section",
        "kind",
        "active",
        "health",
        "message",
        "failures",
        "moved_to",
    )
    moments = ("good_at", "tried_at", "next_try_at", "failing_since")
    return (
        {key: getattr(row, key) for key in said}
        | {key: m.isoformat() if (m := getattr(row, key)) else None for key in moments}
        | {"state": in_words(row, now)}
    )


def _web_address(url: str) -> str:
    try:
        return absolute(url if "://" in url else f"https://{url}")
    except ValueError as exc:
        raise click.BadParameter(f"{url!r} is no web address: {exc}", param_hint="URL") from exc


def _refuse_known(desk: Desk, address: str) -> None:
    for source in desk.settings.file.sources:
        if source.url == address:
            raise click.ClickException(f"{address} is listed already, as {source.name!r}.")


def _try(desk: Desk, address: str) -> Visited:
    """Visit an address as a source; what cannot be read ends the command."""
    with open_getter(desk.settings) as getter:
        tried = visit(getter, Target(0, "", address, address), desk.moment(None))
    if isinstance(tried.seen, Bad):
        raise click.ClickException(f"{address}: {tried.seen.message}")
    return tried


def _source(url: str, name: str, publisher: str, section: str) -> SourceSettings:
    try:
        values = {"url": url, "name": name[:200], "publisher": publisher[:200], "section": section}
        return SourceSettings.model_validate(values)
    except ValidationError as exc:
        raise click.ClickException(f"{url}: {exc.errors()[0]['msg']}") from exc


def _append(desk: Desk, wanted: list[SourceSettings]) -> None:
    database, now = desk.install.database, desk.moment(None)
    try:
        settings = append_sources(desk.settings, wanted)
    except SettingsError as exc:
        raise click.ClickException(str(exc)) from exc
    with database.write() as session:
        sync(session, settings)
        for source in wanted:
            detail = {"name": source.name, "publisher": source.publisher, "section": source.section}
            session.add(
                Audit(at=now, actor=desk.actor, act="source added", subject=source.url[:200], detail=detail)
            )


def _opml(file: Path, desk: Desk) -> Reading:
    try:
        reading = parsers.read(file.read_bytes(), url=file.resolve().as_uri(), now=desk.moment(None))
    except OSError as exc:
        raise click.ClickException(f"{file}: cannot be read ({exc.strerror}).") from exc
    except ParseError as exc:
        raise click.ClickException(f"{file}: {exc}") from exc
    if reading.kind is not Kind.OPML:
        raise click.ClickException(
            f"{file} is no list of feeds (OPML) but {reading.kind}. Read it with 'digest collect {file}'."
        )
    return reading
