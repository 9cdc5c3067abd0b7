"""The `digest collect` command, which collects articles from the configured sources or from files."""

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
from digest.cli.context import MOMENT, CommandContext, flag, json_option, pass_command_context, print_result
from digest.cli.terminal import show_progress
from digest.collect.documents.parsed_document import DocumentKind
from digest.collect.sources.readership import ReadershipImportResult
from digest.collect.visits.collection_run import SourceReport

EXIT_NOTHING_READ = 1  # no source could be read


@click.command(
    epilog=f"""Reads {", ".join(kind.label for kind in DocumentKind)}. Formats are detected automatically.

\b
Examples:
  digest collect                          all sources that are due
  digest collect "CISA news" --force      one source, even if it isn't due
  digest collect feeds/ page.html.gz      files, and all files in folders
  digest collect --json | jq '.sources[] | select(.error)'

\b
Exit codes:
  0  at least one source or file was read, or no source was due
  1  no source or file could be read
  2  usage error, unknown source, or invalid settings"""
)
@click.argument("names", nargs=-1, metavar="[SOURCE|FILE]...")
@click.option("--now", type=MOMENT, help="Collect as of this time.")
@flag("--force", help="Visit all sources, and fetch everything again.")
@json_option("Print each source's result as JSON.")
@pass_command_context
def collect(context: CommandContext, names: tuple[str, ...], now: datetime | None, force: bool, as_json: bool) -> None:
    """Collect articles from all sources that are due, or only from the given SOURCES and FILES.

    Give a source by name or URL. If a source fails, the others are still collected. Files can be feeds, calendars, or
    pages, and can be gzipped (.gz).
    """
    files, only = _split_files_and_names(names)
    installation, actor = context.installation, context.actor
    if not names and not context.settings.file.sources:
        raise click.UsageError("There are no sources in the settings yet. Add one: digest sources add URL")
    with show_progress("Collecting", is_wanted=not as_json) as progress:
        collection = editions.collect_articles(
            installation,
            actor=actor,
            now=context.moment_or_now(now),
            only=only,
            files=files,
            force=force,
            progress=lambda count, total, last: progress(count, total, last.name[:40] if last else ""),
        )
    lines: list[RenderableType] = [_report_table(collection.sources), *_remark_lines(collection)]
    print_result(_collection_as_json(collection), lines, as_json=as_json, indent=2)
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
        cells = numbers if report.succeeded else [""] * len(numbers)
        seconds = "" if report.skipped else f"{report.seconds:.1f}"
        table.add_row(Text(report.name), *cells, seconds, _report_state(report))
    return table


def _report_state(report: SourceReport) -> Text:
    if report.error:
        return Text(report.error, style="red")
    if report.skipped:
        return Text(report.skipped, style="dim")
    state = "not modified" if report.not_modified else (report.kind or "")
    return Text(f"{state}; {report.note}" if report.note else state)


def _remark_lines(collection: editions.CollectionResult) -> Iterator[str]:
    """Yield lines about rejected items and about readership imports.

    There's one line for each source and reason of rejection.
    """
    for report in collection.sources:
        for reason, count in Counter(rejected.reason for rejected in report.rejected).items():
            rejected = [item.place for item in report.rejected if item.reason == reason]
            places = list(map(str, rejected[:5]))
            which = f"item{'s' if count > 1 else ''} {', '.join(places)}{', …' if count > len(places) else ''}"
            yield f"{report.name}: {which} rejected: {reason}"
    yield from _describe_readership(collection.readership)


def _describe_readership(outcomes: Sequence[ReadershipImportResult]) -> Iterator[str]:
    for readership in outcomes:
        matched, unmatched, rejected = readership.matched, readership.unmatched, len(readership.rejected)
        outcome = f"{matched} pages counted, {unmatched} not our articles, {rejected} rows rejected"
        yield f"Readership from {readership.origin}: {readership.error or outcome}"
        for row in readership.rejected[:5]:
            yield f"  row {row.place}: {row.reason}"
