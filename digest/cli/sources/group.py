"""The `digest sources` command, which lists, adds, tests, removes, imports, and exports sources."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click
from rich.table import Column, Table
from rich.text import Text

from digest.app.sources import configured_sources as source_actions
from digest.cli.context import (
    EXISTING_FILE,
    CommandContext,
    flag,
    json_option,
    pass_command_context,
    pick_json_fields,
    print_result,
    yes_option,
)
from digest.settings import SOURCE_SECTIONS
from subscribers.english_text import count_with_noun

_MAX_ITEMS_SHOWN = 10  # items shown by a test


@click.group(epilog="\b\nExample:\n  digest sources add https://www.example.org/ && digest sources list")
def sources() -> None:
    """List, add, and test sources."""


@sources.command(
    "list",
    epilog="""\b
Examples:
  digest sources list
  digest sources list --json | jq '.[] | select(.health != "good")'

Exit codes: 0 shown, 2 usage error.""",
)
@flag("--all", "everything", help="Include sources that are no longer in the settings.")
@json_option("Print the sources as JSON.")
@pass_command_context
def list_sources(context: CommandContext, everything: bool, as_json: bool) -> None:
    """List sources with their health, last and next visits, and how to fix problems."""
    now = context.now()
    listed = context.act(source_actions.list_sources, include_inactive=everything, now=now)
    source_rows = [_source_as_json(source) for source in listed]
    lines = [_make_source_table(context, listed)] if listed else ["No sources yet. Add one: digest sources add URL"]
    print_result(source_rows, lines, as_json=as_json, indent=2)


def _make_source_table(context: CommandContext, listed: Sequence[source_actions.ListedSource]) -> Table:
    zone = context.settings.zone
    headings = ("Name", "Publisher", "Section", "Kind", "Last success", "Next visit")
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
Exit codes: 0 added, 1 not added because it can't be read, 2 usage error.""",
)
@click.argument("url")
@click.option("--name", help="Name shown to editors. [default: the feed's title]")
@click.option(
    "--publisher", help="Publisher. [default: the part of the name that spells the site's host, or else the name]"
)
@click.option("--section", type=click.Choice(SOURCE_SECTIONS), default="news", show_default=True)
@flag("--untried", help="Add the source even if it can't be read.")
@pass_command_context
def add_source(
    context: CommandContext, url: str, name: str | None, publisher: str | None, section: str, untried: bool
) -> None:
    """Test a source and add it to the settings file. For the URL of a web page, its best feed is used."""
    source, document = context.act(
        source_actions.add_source,
        _parse_web_address(url),
        name=name,
        publisher=publisher,
        section=section,
        try_first=not untried,
        now=context.now(),
    )
    items = f": {count_with_noun(len(document.items), 'item')}, {document.kind}" if document else " (not checked)"
    click.echo(f"Added {source.name} <{source.url}>{items}. Next: digest collect")


@sources.command(
    epilog="""\b
Examples:
  digest sources test https://www.example.org/news/feed/
  digest sources test www.example.org --json

\b
Exit codes: 0 read, 1 can't be read."""
)
@click.argument("url")
@json_option("Print the articles as JSON.")
@pass_command_context
def test(context: CommandContext, url: str, as_json: bool) -> None:
    """Visit a source and show its articles without saving them."""
    context.refuse_unknown_actor()
    probed_source = source_actions.probe_source(context.settings, _parse_web_address(url), now=context.now())
    document = probed_source.document
    if as_json:
        values = asdict(document) | {"url": probed_source.url}
        click.echo(json.dumps(values, indent=2, ensure_ascii=False, default=str))
        return
    click.echo(f"{probed_source.url}\n{document.kind}: {document.title or 'no title'}")
    click.echo(
        f"{document.item_count} items found, {len(document.items)} usable, {len(document.rejected)} rejected. "
        f"{probed_source.note}"
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
Exit codes: 0 done, 1 the file isn't OPML, 2 usage error.""",
)
@click.argument("file", type=EXISTING_FILE)
@click.option("--section", type=click.Choice(SOURCE_SECTIONS), default="news", show_default=True)
@pass_command_context
def import_opml(context: CommandContext, file: Path, section: str) -> None:
    """Add the feeds in an OPML file."""
    result = context.act(source_actions.import_opml, file, section, now=context.now())
    for refusal in result.refusals:
        click.echo(f"skipped: {refusal}", err=True)
    click.echo(
        f"Added {result.added} sources. {result.listed_before} were already listed, and {len(result.refusals)} "
        "were skipped. Next: digest collect"
    )


@sources.command(
    epilog="""\b
Examples:
  digest sources remove https://www.example.org/news/feed/
  digest sources remove https://www.example.org/news/feed/ --yes

\b
Exit codes: 0 removed, 1 not confirmed, or not in the settings, 2 usage error."""
)
@click.argument("url")
@yes_option()
@pass_command_context
def remove(context: CommandContext, url: str, yes: bool) -> None:
    """Remove a source from the settings file. Its articles are kept."""
    configured = source_actions.find_configured_source(context.installation, url)
    if configured and not yes:
        click.confirm(f"Remove {configured.name} <{url}> from the settings?", abort=True)
    removed = context.act(source_actions.remove_source, url, now=context.now())
    click.echo(f"Removed {removed.name} <{removed.url}>. To add it again, run 'digest sources add'.")


@sources.command(
    "export-opml",
    epilog="""\b
Examples:
  digest sources export-opml > sources.opml

\b
Exit codes: 0 written, 2 usage error.""",
)
@pass_command_context
def export_opml(context: CommandContext) -> None:
    """Write the sources in the settings to standard output as OPML."""
    context.refuse_unknown_actor()
    click.echo(source_actions.build_opml(context.installation).decode(), nl=False)


def _source_as_json(source: source_actions.ListedSource) -> dict[str, object]:
    fields = ("url", "name", "publisher", "section", "kind", "active", "health", "message", "failures", "moved_to")
    moments = ("good_at", "tried_at", "next_try_at", "failing_since")
    return pick_json_fields(source.row, *fields, *moments) | {"state": source.health}


def _parse_web_address(url: str) -> str:
    try:
        return source_actions.complete_typed_url(url)
    except ValueError as exc:
        raise click.BadParameter(f"{url!r} isn't a URL: {exc}", param_hint="URL") from exc
