"""`digest collect`: gather articles from the sources of the settings, or from files."""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

import click
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from digest.app.editions import drafting as editions
from digest.cli.context import MOMENT, CommandContext, flag, json_option, pass_command_context, print_answer
from digest.cli.terminal import show_progress
from digest.collect.documents.parsed_document import DocumentKind
from digest.collect.visits.collection_run import SourceReport

EXIT_NOTHING_READ = 1  # something was tried, and nothing could be read


@click.command(
    epilog=f"""Reads {", ".join(kind.label for kind in DocumentKind)}. What a source gives is told by looking at it.

\b
Examples:
  digest collect                          every source that is due
  digest collect "CISA news" --force      this one, due or not
  digest collect feeds/ page.html.gz      files, and folders with all that is in them
  digest collect --json | jq '.sources[] | select(.error)'

\b
Exit codes:
  0  at least one source or file was read, or none was due
  1  none could be read
  2  wrong use: an unknown source, settings with mistakes"""
)
@click.argument("names", nargs=-1, metavar="[SOURCE|FILE]...")
@click.option("--now", type=MOMENT, help="Collect as if it were this moment.")
@flag("--force", help="Visit also sources that are not due, or gone, and fetch all anew.")
@json_option("Print what became of each source as JSON.")
@pass_command_context
def collect(context: CommandContext, names: tuple[str, ...], now: datetime | None, force: bool, as_json: bool) -> None:
    """Gather articles from the sources of the settings, or only from the SOURCES and FILES that are named.

    A source is named by its name or address. One that fails never stops the others. Files (feeds, calendars,
    pages; .gz is unpacked) count as sources of their own.
    """
    files, only = _split_files_and_names(names)
    installation, actor = context.installation, context.actor
    if not names and not context.settings.file.sources:
        raise click.UsageError("The settings name no source yet. Add one: digest sources add URL")
    with show_progress("Collecting", shown=not as_json) as progress:
        collection = editions.collect_articles(
            installation,
            actor=actor,
            now=context.moment_or_now(now),
            only=only,
            files=files,
            force=force,
            progress=lambda done, total, last: progress(done, total, last.name[:40] if last else ""),
        )
    lines: list[RenderableType] = [_report_table(collection.sources), *_remark_lines(collection)]
    print_answer(_collection_as_json(collection), lines, as_json=as_json, indent=2)
    visited = [report for report in collection.sources if report.skipped is None]
    if visited and not any(report.succeeded for report in visited):
        raise SystemExit(EXIT_NOTHING_READ)


def _split_files_and_names(names: Sequence[str]) -> tuple[list[Path], list[str] | None]:
    files = [Path(name) for name in names if Path(name).exists()]
    return files, [name for name in names if not Path(name).exists()] or None


def _collection_as_json(collection: editions.CollectionResult) -> dict[str, object]:
    reports = collection.sources
    counts = {field: sum(getattr(report, field) for report in reports) for field in _COUNT_FIELDS}
    return {
        "sources": [asdict(report) for report in reports],
        "readership": [asdict(readership) for readership in collection.readership],
        "total": counts | {"rejected": sum(len(report.rejected) for report in reports)},
    }


_COUNT_FIELDS = ("found", "new", "updated", "unchanged")


def _report_table(reports: Sequence[SourceReport]) -> Table:
    table = Table(show_footer=True)
    total = Counter({key: sum(getattr(r, key) for r in reports) for key in _COUNT_FIELDS})
    table.add_column("Source", footer=f"{sum(r.succeeded for r in reports)} of {len(reports)} read", overflow="fold")
    for key in _COUNT_FIELDS:
        table.add_column(key.capitalize(), footer=f"{total[key]:,}", justify="right")
    table.add_column("Rejected", footer=f"{sum(len(r.rejected) for r in reports):,}", justify="right")
    table.add_column("Seconds", justify="right")
    table.add_column("State", overflow="fold", ratio=1)
    for report in reports:
        numbers = [f"{getattr(report, key):,}" for key in _COUNT_FIELDS] + [f"{len(report.rejected):,}"]
        shown = numbers if report.succeeded else [""] * len(numbers)
        seconds = "" if report.skipped else f"{report.seconds:.1f}"
        table.add_row(Text(report.name), *shown, seconds, _report_state(report))
    return table


def _report_state(report: SourceReport) -> Text:
    if report.error:
        return Text(report.error, style="red")
    if report.skipped:
        return Text(report.skipped, style="dim")
    state = "not modified" if report.not_modified else (report.kind or "")
    return Text(f"{state}; {report.note}" if report.note else state)


def _remark_lines(collection: editions.CollectionResult) -> Iterator[str]:
    """Say why items were rejected, each reason once a source, and what the readership brought."""
    for report in collection.sources:
        for reason, count in Counter(rejected.reason for rejected in report.rejected).items():
            places = [str(rejected.place) for rejected in report.rejected if rejected.reason == reason][:5]
            which = f"item{'s' if count > 1 else ''} {', '.join(places)}{', …' if count > len(places) else ''}"
            yield f"{report.name}: {which} rejected: {reason}"
    for readership in collection.readership:
        matched, unmatched, rejected = readership.matched, readership.unmatched, len(readership.rejected)
        outcome = f"{matched} pages counted, {unmatched} are no articles of ours, {rejected} rows rejected"
        yield f"Readership from {readership.origin}: {readership.error or outcome}"
        for row in readership.rejected[:5]:
            yield f"  row {row.place}: {row.reason}"
