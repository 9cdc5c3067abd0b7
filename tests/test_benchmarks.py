"""The benchmarks run and print a result for every bar. How fast anything is, no test says."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.long_send import TenthClock
from benchmarks.postfix_tools import PostfixTools
from benchmarks.results import ResultSheet
from tests.conftest import ROOT

BARS = (  # of the design: some words of each, in the order of the parts
    "collect 100 articles of 100 feeds, the children that parse counted",
    "group and rank 100 articles",
    "memory of grouping and ranking 100 articles",
    "2 times the articles, collected",
    "2 times the articles, grouped and ranked",
    "render an edition",
    "splicing a reader's message",
    "answer to a sign-up",
    "SMTP, unsigned, 4 sessions, SQLite",
    "SMTP, signed with RSA-2048, 4 sessions, PostgreSQL",
    "SMTP, the whole command `digest send`, unsigned, 4 sessions, SQLite",
    "SendGrid, batches of 1,000, 100 readers",
    "SendGrid: 100 readers against 50",
    "SendGrid that answers after 200 ms: 4 requests at a time against one",
    "2 workers against 1, PostgreSQL; SMTP",
    "memory of a send to 100 readers",
    "SMTP, 50 sessions, 100 readers, SQLite: the last tenth",
    "webhook, 20 events a request",
    "webhook, the same again: 0 rows added",
    "one-click POST during the webhook's posts",
    "import of 200 rows, SQLite",
    "import of 200 rows, SQLite: one-click POST meanwhile",
    "import of 200 rows, PostgreSQL: longest transaction",
    "import of 200 rows, PostgreSQL: memory",
    "streamed, PostgreSQL: memory",
    "one-click POST during a send and an import",
    "pages of desk and admin with 200 readers, 60 articles and 6 editions, SQLite: the slowest",
    "the same: queries",
    "from an edit to the mail's preview with 200 readers",
)


def bench(*options: str, **environment: str) -> str:
    """Run it as `make bench` does, in tiny sizes; give what it prints."""
    command = [sys.executable, "-m", "benchmarks.bench", "--quick", *options]
    run = subprocess.run(command, cwd=ROOT, env=os.environ | environment, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    return run.stdout


@pytest.mark.timeout(900)  # some twenty processes, one after the other; half a minute where nothing else runs
def test_every_bar_is_measured_and_printed_beside_what_it_is(tmp_path: Path) -> None:
    missing = PostfixTools().missing_tools
    page = tmp_path / "page.md"
    page.write_text("# Benchmarks\n\n## The last run\n\nAn old table.\n", "utf-8")
    printed = bench("--table", str(page))
    table = page.read_text("utf-8")
    assert table.startswith("# Benchmarks\n\n## The last run\n\n")
    assert "An old table" not in table
    for words in BARS:
        if not (missing and words.startswith(("SMTP, unsigned", "SMTP, signed", "SMTP, the whole"))):
            assert words in printed
            assert words.partition(": 0 rows")[0] in table
    assert "MISSED" not in table, "tiny sizes judge nothing"


def test_one_part_runs_alone_and_a_missing_tool_is_named_with_the_way_to_get_it(tmp_path: Path) -> None:
    printed = bench("smtp", POSTFIX_TOOLS=str(tmp_path), PATH=str(tmp_path))
    assert "smtp-sink and smtp-source of Postfix" in printed
    assert "apt-get download postfix" in printed
    assert "SendGrid" not in printed


def test_the_table_says_which_bars_were_missed() -> None:
    sheet = ResultSheet()
    sheet.add_result("speed", "7", ">= 8", bar_met=False, peer="5")
    sheet.add_result("memory", "7", "< 8", bar_met=True)
    assert not sheet.all_bars_met
    assert "| speed | 7 | >= 8 | MISSED | 5 |" in sheet.as_markdown()
    assert re.search(r"commit [0-9a-f]{7,}|no commit", sheet.as_markdown())


def test_a_long_send_is_measured_by_its_tenths() -> None:
    clock = TenthClock(began=100.0)
    for done, now in ((50, 101.0), (100, 102.0), (350, 104.0), (900, 109.0), (1000, 110.0)):
        clock.note_progress(done, 1000, now)
    assert [clock.tenth_rate(1000, tenth) for tenth in (0, 1, 9)] == [50.0, 50.0, 100.0]
