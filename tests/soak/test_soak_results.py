"""The results that long runs compute from their records."""

import re
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.soak.handover_moments import DoubtPlace, HandoverMoments, window_rates
from tests.soak.outages import StepResult, describe_outages, find_problems
from tests.soak.result_page import replace_section
from tests.soak.served_pages import ServedPagesResult
from tests.soak.soak import KILLED_SUBSCRIBERS, KILLS, KILLS_SECTION, TABLE_HEAD
from tests.soak.year_results import YearTally, write_year_section

PAGE = "# Long runs\n\n## Kills\n\nold\n\n## Messages\n\nkept\n"


def test_a_section_takes_the_place_of_the_one_with_its_heading_and_a_new_one_comes_last() -> None:
    assert replace_section(PAGE, "Kills", "new \\1\n") == PAGE.replace("old", "new \\1")
    assert replace_section(PAGE, "Workers", "four") == f"{PAGE}\n## Workers\n\nfour\n"
    assert replace_section(PAGE, "Messages", "more") == PAGE.replace("kept", "more")


def test_a_rate_is_counted_in_each_full_window() -> None:
    moments = [second / 10 for second in range(700)]  # ten a second for 70 seconds
    assert list(window_rates(moments, 0.0, 62.5)) == [10.0, 10.0, 10.0]
    assert list(window_rates(moments, 0.0, 59.9)) == []
    assert list(window_rates(moments[:300], 0.0, 60.0)) == [5.0]


@pytest.mark.parametrize(
    ("dot", "answer", "place"),
    [
        (None, None, DoubtPlace.NO_DOT),
        (99.9, None, DoubtPlace.UNANSWERED),
        (99.9, 100.2, DoubtPlace.UNANSWERED),
        (99.8, 99.9, DoubtPlace.ANSWERED),
        (90.0, 91.0, DoubtPlace.UNEXPLAINED),
        (105.0, 105.1, DoubtPlace.UNEXPLAINED),
    ],
)
def test_where_a_doubt_stood_follows_from_the_kill_nearest_to_its_dot(
    dot: float | None, answer: float | None, place: DoubtPlace, tmp_path: Path
) -> None:
    noted = {"dot": dot, "answer": answer}
    lines = [f"{word} reader7@example.org {moment}" for word, moment in noted.items() if moment is not None]
    lines.append("dot editors@news.example.org 99.9")  # an alert, which goes to the office
    (tmp_path / "moments").write_text("\n".join(lines))
    assert HandoverMoments.from_folder(tmp_path).place_doubt(7, [100.0]) is place


def test_the_section_of_the_years_has_a_row_for_each_and_says_what_was_waited_for() -> None:
    london, kathmandu = YearTally("Europe/London", "SQLite", 5), YearTally("Asia/Kathmandu", "SQLite", 6)
    assert write_year_section([london, kathmandu]).endswith("\nNothing was waited for.\n")
    kathmandu.waits.append("Asia/Kathmandu: 1 wait: 2026-W10, reader 7")
    section = write_year_section([london, kathmandu])
    assert section.count("\n| ") == 3
    assert section.endswith("\n- Asia/Kathmandu: 1 wait: 2026-W10, reader 7\n")
    assert "Nothing was waited for" not in section


def test_the_page_its_command_and_the_guide_are_of_what_a_run_does_by_default() -> None:
    """A row of the table is had again by the command above it."""
    page = (ROOT / "benchmarks" / "soak.md").read_text("utf-8")
    rows = re.findall(r"(?m)^\| (?:smtp|sendgrid), .*? \| \w+ \| ([\d,]+) \| (\d+) \|", page)
    assert set(rows) == {(f"{KILLED_SUBSCRIBERS:,}", str(KILLS))}
    intro = KILLS_SECTION.partition("{table}")[0].format(subscribers=KILLED_SUBSCRIBERS, kills=KILLS)
    assert f"{intro}{TABLE_HEAD}" in page
    told = f"sends of {KILLED_SUBSCRIBERS:,} killed {KILLS} times each"
    assert told in (ROOT / "CONTRIBUTING.md").read_text("utf-8")


def test_memory_that_grows_and_a_slow_stop_are_named() -> None:
    steady = [50.0] * 10 + [100.0] * 90
    assert ServedPagesResult(100, 1, steady, 0.5).problems == []
    assert "| 1.000 |" in ServedPagesResult(100, 1, steady, 0.5).describe()
    growing = [*steady[:-10], *[103.0] * 10]
    assert ServedPagesResult(100, 1, growing, 3.0).problems == [
        "memory grew from 100.0 to 103.0 MB",
        "stopping took 3.0 s",
    ]


def test_an_outage_that_was_not_noticed_is_named() -> None:
    noticed = StepResult(inside=[45, 50], outages=2, missed_outside=2, made_up_for=2, ended=2)
    assert find_problems({"draft": noticed}) == []
    assert "\n| draft | 2 | 50 | 2 | 2 | 2 |\n" in describe_outages({"draft": noticed}, 7)
    late = StepResult(inside=[45], outages=2, missed_outside=1, made_up_for=2, ended=2)
    assert find_problems({"draft": late}) == ["draft: 1 of 2 missed outside", "draft: 1 of 2 reported inside"]
