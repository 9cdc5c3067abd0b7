"""The benchmarks run and print a result for every bar. No test says how fast anything is."""

import re
from dataclasses import replace
from itertools import chain
from pathlib import Path

import pytest

from benchmarks import smtp_send
from benchmarks.bench import PARTS
from benchmarks.databases import DATABASE_NAMES
from benchmarks.growth_model import (
    SendingPlant,
    UnitCosts,
    backup_hours,
    database_gigabytes,
    limits_table,
    month_dollars,
    rate_limits,
    read_costs,
    releases_table,
    share_out,
    simulate_release,
    storage_table,
)
from benchmarks.long_send import TenthClock
from benchmarks.results import ResultSheet
from tests.benchmark_bars import BARS, check_printed_bars, run_quick_benchmarks
from tests.conftest import ROOT

SMTP_BARS = {  # by database, sessions and signature: the design's, which tiny sizes have no sessions for
    ("sqlite", 50, "unsigned"): 0.85,
    ("sqlite", 8, "unsigned"): 0.65,
    ("postgresql", 50, "unsigned"): 0.75,
    ("postgresql", 8, "unsigned"): 0.5,
    ("sqlite", 50, "signed with RSA-2048"): 0.45,
}
COMMITTED_ROW = re.compile(
    r"^\| (?P<what>[^|]+) \| (?P<measured>[^|]+) \| (?P<bar>[^|]*) \| (?P<verdict>held|MISSED|-) \|", re.MULTILINE
)


# "smtp" has a test of its own, and the other parts start some twenty processes: the soak runs them all.
SMALL_PARTS = ("rendering", "starting", "splicing")


def test_every_part_has_its_bars() -> None:
    assert list(BARS) == list(PARTS)


def test_every_bar_of_the_small_parts_is_measured_and_printed_beside_what_it_is(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Benchmarks\n\n## The last run\n\nAn old table.\n", "utf-8")
    printed = run_quick_benchmarks(*SMALL_PARTS, "--table", str(page))
    table = page.read_text("utf-8")
    assert table.startswith("# Benchmarks\n\n## The last run\n\n")
    assert "An old table" not in table
    check_printed_bars(printed, table, SMALL_PARTS)


def test_the_committed_table_is_judged_by_the_bars_of_the_design() -> None:
    assert smtp_send.MIN_RATIOS == SMTP_BARS
    rows = list(COMMITTED_ROW.finditer((ROOT / "benchmarks" / "README.md").read_text("utf-8")))
    results = chain.from_iterable(part.items() for part in BARS.values())
    bars = {without_numbers(words.partition(": 0 rows")[0]): bar for words, bar in results if bar}
    bars |= {
        f"SMTP, {signature}, {sessions} sessions, {DATABASE_NAMES[kind]}": f">= {least}"
        for (kind, sessions, signature), least in SMTP_BARS.items()
    }
    judged = set()
    for row in rows:
        names = (row["what"], without_numbers(row["what"]))
        if words := max(
            (words for words in bars if any(name.startswith(words) for name in names)), key=len, default=""
        ):
            assert row["bar"].startswith(bars[words]), row["what"]
            judged.add(words)
        assert row["verdict"] == ("-" if not row["bar"] else "held" if meets_bar(row) else "MISSED"), row["what"]
    assert {words.partition(" with ")[0] for words in bars.keys() - judged} == {"pages of desk and admin"}, (
        "these have a table of their own"
    )


def without_numbers(words: str) -> str:
    """Return the words of a result whatever the sizes that it was measured with."""
    return re.sub(r"[\d,]*\d", "N", words)


def meets_bar(row: re.Match[str]) -> bool:
    """Say whether what a row of the table tells meets the numbers of its bar."""
    figures = [float(figure.replace(",", "")) for figure in re.findall(r"\d[\d,.]*", row["measured"])]
    quantile = re.search(r"p99 (\d+)", row["measured"])
    for sign, bound, unit in re.findall(r"([<>]=?) (\d[\d,.]*\b)( times)?", row["bar"]):
        figure = figures[0] / figures[1] if unit and " / " in row["measured"] else figures[0]
        figure = float(quantile[1]) if quantile else figure
        least = float(bound.replace(",", ""))
        if not {"<": figure < least, "<=": figure <= least, ">=": figure >= least}[sign]:
            return False
    return True


def test_one_part_runs_alone_and_a_missing_tool_is_named_with_the_way_to_get_it(tmp_path: Path) -> None:
    printed = run_quick_benchmarks("smtp", POSTFIX_TOOLS=str(tmp_path), PATH=str(tmp_path))
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


COSTS = UnitCosts(
    send_cpu=200, database_cpu=100, provider_cpu=50, signature_cpu=800, plan_rate=1_000, import_rate=1_000
)


def test_the_model_of_growth_takes_the_slowest_part_and_signing_asks_for_cores() -> None:
    plant = SendingPlant(processes=2, cores=4, database_cores=1)
    assert rate_limits(COSTS, plant) == {"processes": 10_000, "cores": 4_000, "database": 10_000}
    assert rate_limits(COSTS, replace(plant, signed=False))["cores"] == 20_000
    with_provider = rate_limits(COSTS, replace(plant, provider_seconds=0.2, requests=2))
    assert with_provider["answers"] == pytest.approx(2 * 2 * 1_000 / 0.25), (
        "a request of 1,000 takes 0.2 s and our 0.05 s"
    )
    assert with_provider["cores"] == 80_000, "the provider signs"


def test_a_simulated_release_is_planned_sent_at_the_slowest_rate_and_waits_for_the_caps_of_domains() -> None:
    plant, shares = SendingPlant(processes=2, cores=4, database_cores=1), {"large.test": 0.5, "others": 0.5}
    free = simulate_release(COSTS, plant, 1_000_000, shares)
    assert free.seconds == pytest.approx(1_000 + 1_000_000 / 4_000)
    assert free.bound_seconds == pytest.approx({"planning": 1_000, "cores": 250})
    capped = simulate_release(COSTS, replace(plant, caps={"large.test": 100_000}), 1_000_000, shares)
    assert capped.seconds == pytest.approx(1_000 + 500_000 / 100_000 * 3_600, abs=20), "500,000 at 100,000 an hour"
    assert capped.bottleneck == "provider limits"


@pytest.mark.parametrize(
    ("budget", "wanted", "shares"),
    [
        (90, {"a": 10, "b": 50, "c": 50}, {"a": 10, "b": 40, "c": 40}),
        (30, {"a": 10, "b": 50, "c": 50}, {"a": 10, "b": 10, "c": 10}),
        (500, {"a": 10, "b": 50}, {"a": 10, "b": 50}),
        (0, {"a": 10}, {"a": 0}),
    ],
)
def test_what_one_domain_does_not_need_goes_to_the_others(
    budget: float, wanted: dict[str, float], shares: dict[str, float]
) -> None:
    assert share_out(budget, wanted) == shares


def test_disk_backup_and_money_grow_with_subscribers_and_the_editions_that_are_kept() -> None:
    costs = replace(COSTS, subscriber_bytes=1_000, delivery_bytes=500, event_bytes=400, backup_rate=10_000)
    assert database_gigabytes(costs, 1_000_000, 58, 0) == pytest.approx(30)
    assert database_gigabytes(costs, 1_000_000, 58, 1) == pytest.approx(53.2)
    assert backup_hours(costs, 1_000_000, 58, 0) == pytest.approx(60e6 / 10_000 / 3_600)
    by_provider = SendingPlant(processes=1, cores=2, database_cores=2, provider_seconds=0.2)
    dearer = month_dollars(by_provider, 1_000_000, 30) - month_dollars(
        replace(by_provider, provider_seconds=None), 1_000_000, 30
    )
    assert dearer == pytest.approx(1_300), "1,000 thousands of mails, 52 / 12 times a month, at 0.30"


def test_the_page_on_growing_has_the_tables_that_the_model_prints() -> None:
    guide, record = (ROOT / name for name in ("docs/growing.md", "benchmarks/README.md"))
    pages = guide.read_text("utf-8") + record.read_text("utf-8")
    for table in (limits_table, releases_table, storage_table):
        assert table(UnitCosts()) in pages, "python -m benchmarks.growth_model prints them anew"


def test_what_was_measured_takes_the_place_of_the_figures_of_the_model() -> None:
    costs = read_costs({"postgresql": {"send_cpu": 123.0, "commits": 0.1}, "sqlite": {}, "signature_cpu": 456.0})
    assert (costs.send_cpu, costs.signature_cpu, costs.plan_rate) == (123.0, 456.0, UnitCosts().plan_rate)
