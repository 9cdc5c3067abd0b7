"""The bars printed next to the benchmarks' results: `make bench` at a small size, for a test and for the soak."""

import os
import subprocess
import sys
from collections.abc import Iterable

from benchmarks.postfix_tools import PostfixTools
from tests.conftest import ROOT

CLICKS_BAR = "p99 < 250 ms, none fails"
BARS: dict[
    str, dict[str, str]
] = {  # by part: some words of each result, and the bar of the design; "" where it names none
    "choosing": {
        "collect 100 articles of 100 feeds, the children that parse counted": "< 8 s",
        "group and rank 100 articles": "< 2.5 s",
        "memory of grouping and ranking 100 articles": "",
        "1 times the articles, collected": "< 15 times",
        "1 times the articles, grouped and ranked": "< 15 times",
    },
    "rendering": {"render an edition": ""},
    "starting": {
        "start of a command: `digest --version`": "< 0.35 s",
        "start of a command: `digest pause --all`": "< 0.8 s",
        "start of a command: `digest status`": "< 0.8 s",
    },
    "splicing": {"splicing a reader's message": "< 5 µs"},
    "sign-up": {"answer to a sign-up": ""},
    "smtp": {
        "SMTP, unsigned, 4 sessions, SQLite": "",
        "SMTP, signed with RSA-2048, 4 sessions, PostgreSQL": "",
        "SMTP, the whole command `digest send`, unsigned, 4 sessions, SQLite": ">= 0.7",
    },
    "sendgrid": {
        "SendGrid, batches of 1,000, 100 readers": ">= 15,000",
        "SendGrid: 100 readers against 100": "no slower (>= 0.9)",
        "SendGrid, batches of 25, 100 readers": "",
        "SendGrid that answers after 200 ms: 4 requests at a time against one": "",
    },
    "workers": {
        "2 workers against 1, PostgreSQL; SMTP": ">= 1.8 times",
        "3 workers, PostgreSQL, one killed every 1 s, 300 messages per second: the slowest": ">= 0.95",
        "3 workers, PostgreSQL, one killed every 1 s, 300 messages per second: the fastest": "<= 1.02",
        "3 workers, PostgreSQL, one killed every 1 s, 72,000 and 36,000 messages per hour to two domains: the slowest": ">= 0.95",
        "3 workers, PostgreSQL, one killed every 1 s, 72,000 and 36,000 messages per hour to two domains: the fastest": "<= 1.02",
        "from 1 to 2 workers, PostgreSQL; SMTP": "",
    },
    "memory": {"memory of a send to 100 readers": "<= 1.1 times, < 150 MB"},
    "long-send": {
        "SMTP, 50 sessions, 100 readers, SQLite: the last tenth": ">= 0.9",
        "SMTP, 50 sessions, 100 readers, SQLite: memory of the process": "< 150 MB",
    },
    "webhook": {
        "webhook, 20 events a request": ">= 5,000",
        "webhook, the same again: 0 rows added": "0 rows added",
        "one-click POST during the webhook's posts": CLICKS_BAR,
    },
    "import": {
        "import of 200 rows, SQLite": ">= 12,000",
        "import of 200 rows, SQLite: longest transaction": "< 250 ms",
        "import of 200 rows, SQLite: memory": "flat",
        "import of 200 rows, SQLite: one-click POST meanwhile": CLICKS_BAR,
        "import of 200 rows, PostgreSQL": ">= 12,000",
        "import of 200 rows, PostgreSQL: longest transaction": "< 250 ms",
        "import of 200 rows, PostgreSQL: memory": "flat",
        "import of 200 rows, PostgreSQL: one-click POST meanwhile": CLICKS_BAR,
        "streamed, PostgreSQL: memory": "",
    },
    "at-once": {"one-click POST during a send and an import": CLICKS_BAR},
    "pages": {
        "pages of desk and admin with 200 readers, 60 articles and 6 editions, SQLite: the slowest": "p99 < 300 ms",
        "the same: queries": "",
        "from an edit to the mail's preview with 200 readers": "",
    },
}


def run_quick_benchmarks(*options: str, **environment: str) -> str:
    """Run `make bench` in tiny sizes, all parts or those named; give what it prints."""
    command = [sys.executable, "-m", "benchmarks.bench", "--quick", *options]
    run = subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


def check_printed_bars(printed: str, table: str, parts: Iterable[str] = tuple(BARS)) -> None:
    """See that every result of some parts is printed beside its bar, stands in the table, and isn't judged."""
    missing = PostfixTools().missing_tools
    for words, bar in ((words, bar) for part in parts for words, bar in BARS[part].items()):
        if not (missing and words.startswith(("SMTP, unsigned", "SMTP, signed", "SMTP, the whole"))):
            assert f"(bar: {bar}" in next(line for line in printed.splitlines() if words in line) + "(bar: " * (not bar)
            assert words.partition(": 0 rows")[0] in table
    assert "MISSED" not in table, "tiny sizes judge nothing"
