"""Speed against the bars: `make bench`, or some parts of it.

Every part prints its results as they come, each beside its bar and beside what a peer reaches; the table of all comes last.
Nothing else should run on the machine meanwhile. docs/benchmarks.md says what is measured and how.
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
    at_once,
    batches,
    collecting,
    importing,
    memory,
    peers,
    selecting,
    signing_up,
    smtp,
    splicing,
    webhook,
)
from benchmarks.bars import Sheet
from benchmarks.sizes import FULL, QUICK, Size
from digest import logs
from digest.edition.content import Content
from digest.edition.rendering import environment_of, frame_of, render
from digest.settings import Settings

LAST = "## The last run"
EDITION = Path(__file__).parent.parent / "tests" / "fixtures" / "edition.json"


def choosing(sheet: Sheet, size: Size) -> None:
    """Collect, group and rank the articles of 100 feeds."""
    few, many = (collecting.measure(n)[0] + selecting.seconds(n) for n in size.articles)
    parsed = peers.parsing(collecting.documents(size.articles[0]).values())
    sheet.line(
        f"collect, group and rank {size.articles[0]:,} articles of 100 feeds",
        f"{few:.1f} s CPU",
        "< 20 s",
        held=few < 20,
        peer=f"feedparser on the same feeds, no more: {parsed:.1f} s",
    )
    sheet.line(
        "ten times the articles", f"{many / few:.1f} times the CPU", "< 15 times", held=many < 15 * few
    )


def rendering(sheet: Sheet, size: Size) -> None:
    """Render one edition with premailer and all: once, whatever the number of readers."""
    content = Content.from_json(json.loads(EDITION.read_text("utf-8")))
    settings = Settings()
    spent = []
    for _ in range(5):
        began = time.process_time()
        render(content, frame_of(settings), environment_of(settings))
        spent.append(time.process_time() - began)
    each = peers.rendering(size.splices)[1] / 1e6
    sheet.line(
        "render an edition, once for all readers",
        f"{median(spent):.2f} s CPU",
        "< 1 s",
        held=median(spent) < 1,
        peer=f"premailer for each reader: {each * 1e3:.0f} ms each, so {each * 1e5 / 3600:.1f} hours for 100,000",
    )


PARTS: dict[str, Callable[[Sheet, Size], None]] = {
    "choosing": choosing,
    "rendering": rendering,
    "splicing": splicing.main,
    "sign-up": signing_up.main,
    "smtp": smtp.main,
    "sendgrid": batches.main,
    "memory": memory.main,
    "webhook": webhook.main,
    "import": importing.main,
    "at-once": at_once.main,
}


def run(names: list[str], size: Size, *, judging: bool = True) -> Sheet:
    """Run some parts in their order; give their results."""
    logs.configure(logging.WARNING)  # our own lines would hide the results
    sheet = Sheet(judging=judging)
    for name, part in PARTS.items():
        if name in names:
            began = time.perf_counter()
            print(f"\n== {name}", flush=True)
            part(sheet, size)
            sheet.note(f"({time.perf_counter() - began:.0f} s)")
    return sheet


def main() -> None:
    """Run what was asked for; the exit code is 1 where a bar was missed."""
    reader = argparse.ArgumentParser(prog="python -m benchmarks.bench", description=__doc__)
    reader.add_argument(
        "part", nargs="*", choices=[*PARTS, []], help=f"one or more of {', '.join(PARTS)}; all without"
    )
    reader.add_argument(
        "--quick", action="store_true", help="tiny sizes: it tries the code and judges nothing"
    )
    reader.add_argument(
        "--table", type=Path, help=f"put the table into this file too, below '{LAST}' where it has that"
    )
    asked = reader.parse_args()
    began = time.perf_counter()
    sheet = run(asked.part or list(PARTS), QUICK if asked.quick else FULL, judging=not asked.quick)
    table = sheet.table()
    print(f"\n{table}\n\n{(time.perf_counter() - began) / 60:.0f} minutes")
    if asked.table:
        before = asked.table.read_text("utf-8").partition(LAST)[0] if asked.table.exists() else ""
        asked.table.write_text(f"{before}{LAST}\n\n{table}\n", "utf-8")
    if not sheet.held:
        sys.exit(1)


if __name__ == "__main__":
    main()
