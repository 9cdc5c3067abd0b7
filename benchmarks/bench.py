"""Speed against the bars, as CPU seconds and ratios: `make bench`. Takes some minutes; nothing else should run."""

import json
import sys
import time
from pathlib import Path
from statistics import median

from benchmarks import collecting, memory, selecting, signing_up, smtp, splicing
from digest.edition.content import Content
from digest.edition.rendering import environment_of, frame_of, render
from digest.settings import Settings

EDITION = Path(__file__).parent.parent / "tests" / "fixtures" / "edition.json"


def line(what: str, measured: str, bar: str, *, held: bool) -> None:
    """Print one result beside its bar."""
    print(f"{'held  ' if held else 'MISSED'}  {what:58} {measured:>12}   bar {bar}", flush=True)


def choosing() -> None:
    """Collect, group and rank 5,000 and 50,000 articles of 100 feeds."""
    few, many = (collecting.measure(n)[0] + selecting.seconds(n) for n in (5_000, 50_000))
    line("collect, group and rank 5,000 articles of 100 feeds", f"{few:.1f} s CPU", "< 20 s", held=few < 20)
    line("ten times the articles", f"{many / few:.1f} times", "< 15 times", held=many < 15 * few)


def rendering() -> None:
    """Render one edition with premailer and all."""
    content = Content.from_json(json.loads(EDITION.read_text("utf-8")))
    settings = Settings()
    spent = []
    for _ in range(5):
        began = time.process_time()
        render(content, frame_of(settings), environment_of(settings))
        spent.append(time.process_time() - began)
    line("render one edition", f"{median(spent):.2f} s CPU", "< 1 s", held=median(spent) < 1)


if __name__ == "__main__":
    choosing()
    rendering()
    splicing.main()
    signing_up.main()
    smtp.main(line)
    memory.main(line, million="--million" in sys.argv)
