"""The `digest editions` command, which imports editions that were sent before this installation.

The stories of imported editions aren't repeated.
"""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

import click

from digest.app.sources import past_editions
from digest.app.sources.past_editions import ImportedEditionResult
from digest.cli.context import (
    EXISTING_FILE,
    MOMENT,
    CommandContext,
    flag,
    json_option,
    pass_command_context,
    pick_json_fields,
    print_result,
)
from digest.cli.terminal import show_progress
from subscribers.english_text import count_with_noun


@click.group(epilog="\b\nExample:\n  digest editions import https://www.example.org/newsletter/146")
def editions() -> None:
    """Import editions sent before this installation."""


@editions.command(
    "import",
    epilog="""\b
Examples:
  digest editions import --dry-run archive/*.html
  digest editions import https://www.example.org/newsletter/145 https://www.example.org/newsletter/146
  digest editions import --list addresses.txt
  digest editions import --sent 2026-11-13T06:00 last-week.html

For each edition, its URL, date, number, and the headline, URL, and first words of each story are stored. Imported editions
aren't shown in the archive. An edition imported earlier from the same URL is replaced.
Exit codes: 0 all imported, 1 some couldn't be read, 2 usage error.""",
)
@click.argument("places", metavar="FILE|URL...", nargs=-1)
@click.option("--list", "list_file", type=EXISTING_FILE, help="File with one URL per line.")
@click.option("--sent", type=MOMENT, metavar="MOMENT", help="Send time for editions without one.")
@flag("--dry-run", help="Show what would be imported, without importing it.")
@json_option("Print the recognized editions as JSON.")
@pass_command_context
def import_editions(
    context: CommandContext,
    places: tuple[str, ...],
    list_file: Path | None,
    sent: datetime | None,
    dry_run: bool,
    as_json: bool,
) -> None:
    """Import past editions from web pages, HTML files, or emails (.eml), so that stories aren't repeated and numbering continues."""
    all_places = _read_places(places, list_file)
    if not all_places:
        raise click.UsageError("There are no editions to import. Specify a file or URL, or a list of URLs with --list.")
    with show_progress("Reading") as progress:
        reports = past_editions.import_past_editions(
            context.installation,
            all_places,
            actor=context.actor,
            now=context.now(),
            dry_run=dry_run,
            released_on=context.moment_or_none(sent),
            progress=progress,
        )
    report_rows = [_report_as_json(report) for report in reports]
    lines = [_describe_report(context, report) for report in reports]
    lines.append(_describe_outcome(reports, dry_run=dry_run))
    print_result(report_rows, lines, as_json=as_json, indent=2)
    if any(report.refusal for report in reports):
        raise SystemExit(1)


def _read_places(places: Sequence[str], list_file: Path | None) -> list[str]:
    """Return the given places, and those in the file, which may contain comments."""
    text = list_file.read_text("utf-8") if list_file else ""
    lines = map(str.strip, text.splitlines())
    return [*places, *(line for line in lines if line and not line.startswith("#"))]


def _describe_outcome(reports: Sequence[ImportedEditionResult], *, dry_run: bool) -> str:
    imported_pages = [report.page for report in reports if report.page]
    verb = "would be imported" if dry_run else "imported"
    return f"{len(imported_pages)} of {len(reports)} {verb}, with {sum(len(page.stories) for page in imported_pages):,} stories."


def _describe_report(context: CommandContext, report: ImportedEditionResult) -> str:
    page = report.page
    if page is None:
        return f"{report.place} was not imported. {report.refusal}"
    zone = context.settings.zone
    parts = [
        f"No. {page.number}" if page.number is not None else "no number",
        f"{page.released_at.astimezone(zone):%Y-%m-%d}" if page.released_at else "no date",
        count_with_noun(len(page.stories), "story", "stories"),
        *(["replaces an earlier import"] if report.replaced else []),
    ]
    counted = f" Skipped {count_with_noun(page.counted_links, 'tracked link')}." if page.counted_links else ""
    return f"{report.place}: {', '.join(parts)}. {page.title}{counted}"


def _report_as_json(report: ImportedEditionResult) -> dict[str, object]:
    values = {"place": report.place, "refusal": report.refusal}
    page = report.page
    if page is None:
        nothing = dict.fromkeys(("title", "number", "released_at", "address"))
        return values | nothing | {"counted_links": 0, "stories": []}
    stories = [pick_json_fields(story, "url", "headline") for story in page.stories]
    names = ("title", "number", "released_at", "address", "counted_links")
    return values | pick_json_fields(page, *names) | {"stories": stories}
