"""`digest sources`: list the sources with their health, add some, try one, import a reader's list."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click
from rich.table import Column, Table
from rich.text import Text

from digest.app.sources import configured as source_acts
from digest.cli.context import (
    EXISTING_FILE,
    CommandContext,
    flag,
    json_option,
    pass_command_context,
    pick_fields,
    print_answer,
    yes_option,
)
from digest.settings import SOURCE_SECTIONS

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
@flag("--all", "everything", help="Also those that the settings no longer name.")
@json_option("Print the sources as JSON.")
@pass_command_context
def list_sources(context: CommandContext, everything: bool, as_json: bool) -> None:
    """Show every source with its health: last good visit, next try, and what to do where it is not well."""
    now = context.now()
    listed = context.act(source_acts.list_sources, include_inactive=everything, now=now)
    found = [_source_as_json(source) for source in listed]
    lines = [_make_source_table(context, listed)] if listed else ["No source yet. Add one: digest sources add URL"]
    print_answer(found, lines, as_json=as_json, indent=2)


def _make_source_table(context: CommandContext, listed: Sequence[source_acts.ListedSource]) -> Table:
    zone = context.settings.file.publication.zone
    headings = ("Name", "Publisher", "Section", "Kind", "Last good", "Next try")
    table = Table(
        *(Column(heading, overflow="fold") for heading in headings), Column("State", overflow="fold", ratio=1)
    )
    for source in listed:
        row = source.row
        moments = [f"{at.astimezone(zone):%Y-%m-%d %H:%M}" if at else "-" for at in (row.good_at, row.next_try_at)]
        cells = (row.name, row.publisher, row.section, row.kind or "-", *moments, source.health)
        table.add_row(*map(Text, cells))
    return table


@sources.command(
    "add",
    epilog="""\b
Examples:
  digest sources add https://www.example.org/news/feed/
  digest sources add www.example.org --name "Example news" --publisher Example
  digest sources add https://www.example.org/events.ics --section events

\b
Exit codes: 0 added, 1 it could not be read (nothing was added), 2 wrong use.""",
)
@click.argument("url")
@click.option("--name", help="What the desk calls it; by default the feed's own title.")
@click.option("--publisher", help="Who publishes it; by default as the name.")
@click.option("--section", type=click.Choice(SOURCE_SECTIONS), default="news", show_default=True)
@flag("--untried", help="Add it although it cannot be read now.")
@pass_command_context
def add_source(
    context: CommandContext, url: str, name: str | None, publisher: str | None, section: str, untried: bool
) -> None:
    """Try a source and add it to the settings file. Of a site's page the best feed that it names is taken."""
    source, document = context.act(
        source_acts.add_source,
        _parse_web_address(url),
        name=name,
        publisher=publisher,
        section=section,
        try_first=not untried,
        now=context.now(),
    )
    items = f": {len(document.items)} items, {document.kind}" if document else " (not tried)"
    click.echo(f"Added {source.name} <{source.url}>{items}. Next: digest collect")


@sources.command(
    epilog="""\b
Examples:
  digest sources test https://www.example.org/news/feed/
  digest sources test www.example.org --json

\b
Exit codes: 0 it could be read, 1 it could not."""
)
@click.argument("url")
@json_option("Print all that would come in as JSON.")
@pass_command_context
def test(context: CommandContext, url: str, as_json: bool) -> None:
    """Visit a source and show what would come in; nothing is stored."""
    context.refuse_unknown_actor()
    tried = source_acts.try_source(context.settings, _parse_web_address(url), now=context.now())
    document = tried.document
    if as_json:
        values = asdict(document) | {"url": tried.url}
        click.echo(json.dumps(values, indent=2, ensure_ascii=False, default=str))
        return
    click.echo(f"{tried.url}\n{document.kind}: {document.title or 'no title'}")
    click.echo(
        f"{document.item_count} items found, {len(document.items)} fit, {len(document.rejected)} rejected. {tried.note}"
    )
    for item in document.items[:_MAX_ITEMS_SHOWN]:
        moment = item.starts_at or item.published or item.updated
        click.echo(f"  {f'{moment:%Y-%m-%d %H:%M}' if moment else item.date_basis}  {item.title}\n    {item.url}")
    if len(document.items) > _MAX_ITEMS_SHOWN:
        click.echo(f"  … and {len(document.items) - _MAX_ITEMS_SHOWN} more")
    for rejected in document.rejected[:_MAX_ITEMS_SHOWN]:
        click.echo(f"  item {rejected.place} rejected: {rejected.reason}")


@sources.command(
    "import-opml",
    epilog="""\b
Example:
  digest sources import-opml subscriptions.opml

\b
Exit codes: 0 done, 1 the file is no list of feeds, 2 wrong use.""",
)
@click.argument("file", type=EXISTING_FILE)
@click.option("--section", type=click.Choice(SOURCE_SECTIONS), default="news", show_default=True)
@pass_command_context
def import_opml(context: CommandContext, file: Path, section: str) -> None:
    """Add the feeds of an OPML file, as feed readers export it. They are first visited by 'digest collect'."""
    result = context.act(source_acts.import_opml, file, section, now=context.now())
    for refusal in result.refusals:
        click.echo(f"left out: {refusal}", err=True)
    click.echo(
        f"Added {result.added} sources; {result.listed_before} were listed already, {len(result.refusals)} left out. "
        "Next: digest collect"
    )


@sources.command(
    epilog="""\b
Examples:
  digest sources remove https://www.example.org/news/feed/
  digest sources remove https://www.example.org/news/feed/ --yes

\b
Exit codes: 0 removed, 1 it was not confirmed or is no source of the settings, 2 wrong use."""
)
@click.argument("url")
@yes_option()
@pass_command_context
def remove(context: CommandContext, url: str, yes: bool) -> None:
    """Take a source out of the settings file. Its articles stay, also those that stand in editions."""
    configured = source_acts.find_configured_source(context.installation, url)
    if configured and not yes:
        click.confirm(f"Remove {configured.name} <{url}> from the settings?", abort=True)
    removed = context.act(source_acts.remove_source, url, now=context.now())
    click.echo(f"Removed {removed.name} <{removed.url}>. Add it again with 'digest sources add'.")


@sources.command(
    "export-opml",
    epilog="""\b
Examples:
  digest sources export-opml > sources.opml

\b
Exit codes: 0 written, 2 wrong use.""",
)
@pass_command_context
def export_opml(context: CommandContext) -> None:
    """Write the sources of the settings as OPML to the standard output, for another feed reader."""
    context.refuse_unknown_actor()
    click.echo(source_acts.write_opml(context.installation).decode(), nl=False)


def _source_as_json(source: source_acts.ListedSource) -> dict[str, object]:
    fields = ("url", "name", "publisher", "section", "kind", "active", "health", "message", "failures", "moved_to")
    moments = ("good_at", "tried_at", "next_try_at", "failing_since")
    return pick_fields(source.row, *fields, *moments) | {"state": source.health}


def _parse_web_address(url: str) -> str:
    try:
        return source_acts.parse_web_address(url)
    except ValueError as exc:
        raise click.BadParameter(f"{url!r} is no web address: {exc}", param_hint="URL") from exc
