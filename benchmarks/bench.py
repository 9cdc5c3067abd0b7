"""Speed against the bars: `make bench`, or some parts of it.

Every part prints its results as they come, each beside its bar and beside what a peer reaches; the table of all comes last.
Nothing else should run on the machine meanwhile. benchmarks/README.md says what is measured and how.
"""

import argparse
import json
import logging
import sys
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median

from benchmarks import (
    collection,
    command_start,
    concurrent_load,
    list_import,
    long_send,
    pages,
    peers,
    selection,
    send_memory,
    sendgrid_send,
    signup_timing,
    smtp_send,
    splicing,
    webhook,
    workers,
)
from benchmarks.results import ResultSheet
from benchmarks.sizes import FULL, QUICK, BenchmarkSize, measure_sizes
from digest import logs
from digest.edition.content.edition_content import EditionContent
from digest.edition.rendering.fragments import build_publication_context, create_mail_environment, render_edition
from digest.settings import Settings

LAST_RUN_HEADING = "## The last run"
EDITION_FILE = Path(__file__).parent.parent / "tests" / "fixtures" / "edition.json"


def measure_selection(sheet: ResultSheet, size: BenchmarkSize) -> None:
    """Collect, group and rank the articles of 100 feeds."""
    few, many = size.articles
    (collected_few, _), (collected_many, _) = measure_sizes(size.articles, collection.measure_collection)
    selected_few, selected_many = measure_sizes(size.articles, selection.select_in_subprocess)
    parsed = peers.parse_with_feedparser(collection.made_up_feeds(few).values())
    sheet.add_result(
        f"collect {few:,} articles of 100 feeds, the children that parse counted",
        f"{collected_few:.1f} s CPU",
        "< 8 s",
        bar_met=collected_few < 8,
        peer=f"feedparser on the same feeds, no more: {parsed:.1f} s",
    )
    sheet.add_result(
        f"group and rank {few:,} articles of 100 feeds",
        f"{selected_few.seconds:.1f} s CPU",
        "< 2.5 s",
        bar_met=selected_few.seconds < 2.5,
    )
    sheet.add_result(
        f"memory of grouping and ranking {few:,} articles",
        f"{selected_few.peak:.0f} MB",
        "< 200 MB",
        bar_met=selected_few.peak < 200,
    )
    for what, small, large in (
        ("collected", collected_few, collected_many),
        ("grouped and ranked", selected_few.seconds, selected_many.seconds),
    ):
        sheet.add_result(
            f"{many // few} times the articles, {what}",
            f"{large / small:.1f} times the CPU",
            "< 15 times",
            bar_met=large < 15 * small,
        )
    sheet.print_note(f"{selected_many.peak:.0f} MB for grouping and ranking {many:,}")


def measure_rendering(sheet: ResultSheet, size: BenchmarkSize) -> None:
    """Render one edition with premailer and all: once, whatever the number of readers."""
    content = EditionContent.from_json(json.loads(EDITION_FILE.read_text("utf-8")))
    settings = Settings()
    spent = []
    for _ in range(5):
        began = time.process_time()
        render_edition(content, build_publication_context(settings), create_mail_environment(settings))
        spent.append(time.process_time() - began)
    each = peers.render_per_subscriber(size.spliced_messages)[1] / 1e6
    sheet.add_result(
        "render an edition, once for all readers",
        f"{median(spent):.2f} s CPU",
        "< 1 s",
        bar_met=median(spent) < 1,
        peer=f"premailer for each reader: {each * 1e3:.0f} ms each, so {each * 1e5 / 3600:.1f} hours for 100,000",
    )


PARTS: dict[str, Callable[[ResultSheet, BenchmarkSize], None]] = {
    "choosing": measure_selection,
    "rendering": measure_rendering,
    "starting": command_start.main,
    "splicing": splicing.main,
    "sign-up": signup_timing.main,
    "smtp": smtp_send.main,
    "sendgrid": sendgrid_send.main,
    "workers": workers.main,
    "memory": send_memory.main,
    "long-send": long_send.main,
    "webhook": webhook.main,
    "import": list_import.main,
    "at-once": concurrent_load.main,
    "pages": pages.main,
}


def run_parts(names: list[str], size: BenchmarkSize, *, judging: bool = True) -> ResultSheet:
    """Run some parts in their order; give their results."""
    logs.configure_logging(logging.WARNING)  # our own lines would hide the results
    sheet = ResultSheet(judges_bars=judging)
    for name, part in PARTS.items():
        if name in names:
            began = time.perf_counter()
            print(f"\n== {name}", flush=True)
            part(sheet, size)
            sheet.print_note(f"({time.perf_counter() - began:.0f} s)")
    return sheet


def main() -> None:
    """Run what was asked for; the exit code is 1 where a bar was missed."""
    reader = argparse.ArgumentParser(prog="python -m benchmarks.bench", description=__doc__)
    reader.add_argument("part", nargs="*", choices=[*PARTS, []], help=f"one or more of {', '.join(PARTS)}; all without")
    reader.add_argument("--quick", action="store_true", help="tiny sizes: it tries the code and judges nothing")
    reader.add_argument(
        "--table", type=Path, help=f"put the table into this file too, below '{LAST_RUN_HEADING}' where it has that"
    )
    arguments = reader.parse_args()
    began = time.perf_counter()
    sheet = run_parts(arguments.part or list(PARTS), QUICK if arguments.quick else FULL, judging=not arguments.quick)
    table = sheet.as_markdown()
    print(f"\n{table}\n\n{(time.perf_counter() - began) / 60:.0f} minutes")
    if arguments.table:
        before = arguments.table.read_text("utf-8").partition(LAST_RUN_HEADING)[0] if arguments.table.exists() else ""
        arguments.table.write_text(f"{before}{LAST_RUN_HEADING}\n\n{table}\n", "utf-8")
    if not sheet.all_bars_met:
        sys.exit(1)


if __name__ == "__main__":
    main()
