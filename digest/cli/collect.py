"""`digest collect`: gather articles from the sources of the settings, or from files."""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from datetime import datetime
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from digest.cli.context import MOMENT, Desk, pass_desk
from digest.cli.progress import counting
from digest.collect import readership, visits
from digest.collect.fetch import open_getter

EXIT_NOTHING = 1  # something was tried, and nothing could be read
_WIDTH = 160  # columns, where the output is no terminal and so has no width


@click.command(
    epilog="""\b
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
@click.argument("wanted", nargs=-1, metavar="[SOURCE|FILE]...")
@click.option("--now", "named", type=MOMENT, help="Collect as if it were this moment.")
@click.option(
    "--force", is_flag=True, help="Visit also sources that are not due, or gone, and fetch all anew."
)
@click.option("--json", "as_json", is_flag=True, help="Print what became of each source as JSON.")
@pass_desk
def collect(desk: Desk, wanted: tuple[str, ...], named: datetime | None, force: bool, as_json: bool) -> None:
    """Gather articles from the sources of the settings, or only from the SOURCES and FILES that are named.

    A source is named by its name or address. One that fails never stops the others. Files (feeds, calendars,
    pages; .gz is unpacked) count as sources of their own.
    """
    files, only = _sorted_out(wanted)
    install, now = desk.install, desk.moment(named)
    if not wanted and not install.settings.file.sources:
        raise click.UsageError("The settings name no source yet. Add one: digest sources add URL")
    console = plain_console()
    try:
        with open_getter(install.settings) as getter, counting("Collecting", shown=not as_json) as bar:
            reports = visits.collect(
                install.database,
                getter,
                install.settings,
                now=now,
                only=only,
                files=files,
                force=force,
                progress=lambda done, total, last: bar(done, total, last.name[:40] if last else ""),
            )
            counted = (
                []
                if wanted
                else readership.import_readership(install.database, getter, install.settings, now=now)
            )
    except visits.UnknownSource as exc:
        raise click.UsageError(str(exc.args[0])) from exc
    if as_json:
        click.echo(_as_json(reports, counted))
    else:
        console.print(_table(reports))
        for line in _remarks(reports, counted):
            console.print(line, soft_wrap=True)
    tried = [report for report in reports if report.skipped is None]
    if tried and not any(report.read for report in tried):
        raise SystemExit(EXIT_NOTHING)


def plain_console() -> Console:
    """Give a console for tables: as wide as the terminal, and wide enough to read where there is none."""
    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=_WIDTH)


def _sorted_out(wanted: Sequence[str]) -> tuple[list[Path], list[str] | None]:
    files = [Path(word) for word in wanted if Path(word).exists()]
    only = [word for word in wanted if not Path(word).exists()]
    return files, only or None


def _as_json(reports: Sequence[visits.Report], counted: Sequence[readership.Imported]) -> str:
    return json.dumps(
        {
            "sources": [asdict(report) for report in reports],
            "readership": [asdict(one) for one in counted],
            "total": {key: sum(getattr(r, key) for r in reports) for key in _NUMBERS}
            | {"rejected": sum(len(r.rejected) for r in reports)},
        },
        indent=2,
        ensure_ascii=False,
    )


_NUMBERS = ("found", "new", "updated", "unchanged")


def _table(reports: Sequence[visits.Report]) -> Table:
    table = Table(show_footer=True)
    total = Counter({key: sum(getattr(r, key) for r in reports) for key in _NUMBERS})
    table.add_column(
        "Source", footer=f"{sum(r.read for r in reports)} of {len(reports)} read", overflow="fold"
    )
    for key in _NUMBERS:
        table.add_column(key.capitalize(), footer=f"{total[key]:,}", justify="right")
    table.add_column("Rejected", footer=f"{sum(len(r.rejected) for r in reports):,}", justify="right")
    table.add_column("Seconds", justify="right")
    table.add_column("State", overflow="fold", ratio=1)
    for report in reports:
        numbers = [f"{getattr(report, key):,}" for key in _NUMBERS] + [f"{len(report.rejected):,}"]
        shown = numbers if report.read else [""] * len(numbers)
        seconds = "" if report.skipped else f"{report.seconds:.1f}"
        table.add_row(Text(report.name), *shown, seconds, _state(report))
    return table


def _state(report: visits.Report) -> Text:
    if report.error:
        return Text(report.error, style="red")
    if report.skipped:
        return Text(report.skipped, style="dim")
    state = "not modified" if report.not_modified else (report.kind or "")
    return Text(f"{state}; {report.note}" if report.note else state)


def _remarks(reports: Sequence[visits.Report], counted: Sequence[readership.Imported]) -> Iterator[Text]:
    """Say why items were rejected, each reason once a source, and what the readership brought."""
    for report in reports:
        for reason, times in Counter(rejected.reason for rejected in report.rejected).items():
            places = [str(r.place) for r in report.rejected if r.reason == reason][:5]
            which = (
                f"item{'s' if times > 1 else ''} {', '.join(places)}{', …' if times > len(places) else ''}"
            )
            yield Text(f"{report.name}: {which} rejected: {reason}")
    for one in counted:
        said = one.error or (
            f"{one.matched} pages counted, {one.unmatched} are no articles of ours, {len(one.rejected)} rows rejected"
        )
        yield Text(f"Readership from {one.origin}: {said}")
        for row in one.rejected[:5]:
            yield Text(f"  row {row.place}: {row.reason}")
