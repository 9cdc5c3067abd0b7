"""`digest evaluate draft`, with an editor's grades from a file and scores computed by hand."""

import json
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from digest.app.evaluation.drafts import EditorGrades, score_draft
from digest.cli import digest

TITLES = (
    "Ransomware hits the port of Harlow",
    "Wildfire closes a highway in Ohio",
    "Measles outbreak shuts camps in Texas",
)


def pick(number: int, title: str, grade: int, matter: str, **more: Any) -> dict[str, Any]:
    url = f"https://alpha.example.org/{number}"
    return {"url": url, "title": title, "grade": grade, "story": matter, "why": f"why {matter}", **more}


def lead(number: int, title: str = "") -> tuple[str, str]:
    return (title, f"https://alpha.example.org/{number}?utm_source=x")


def test_changes_repeats_poor_leads_and_musts_are_those_worked_out_by_hand() -> None:
    member = "https://beta.example.org/7"
    graded = EditorGrades(
        [
            pick(1, "Storm ashore", 2, "storm", members=[member], member_titles=["Storm nears"], poor=[member]),
            pick(2, "Storm bill", 1, "storm"),
            pick(3, "Botnet down", 2, "botnet"),
            pick(4, "Fire abroad", 0, "fire"),
            pick(5, "Border record", 2, "border"),
        ]
    )
    leads = [("", member), lead(4), lead(2), lead(3), lead(9, "Nobody looked at this")]
    result = score_draft(leads, graded)
    first = result.scores[0]
    assert (first.first, first.stories, first.changes, first.ungraded) == (10, 5, 2, 1)
    assert (first.poor_leads, first.musts, result.must_count) == (1, 2, 3)
    assert [s.repeats for s in result.stories] == [None, None, 1, None, None]
    assert [g.matter for g in result.missing] == ["border"]


def test_only_the_first_stories_count() -> None:
    graded = EditorGrades([pick(n, f"Story {n}", 0 if n > 10 else 1, f"m{n}") for n in range(1, 15)])
    ten, fourteen = score_draft([lead(n) for n in range(1, 15)], graded).scores
    assert (ten.changes, fourteen.changes) == (0, 4)


def test_a_lead_under_another_address_is_found_by_its_headline() -> None:
    graded = EditorGrades([pick(1, "Storm reaches the coast of Maine", 2, "storm")])
    found = score_draft([("Storm reaches coast of Maine", "https://z.example.org/0")], graded).stories[0]
    assert found.grade
    assert found.grade.matter == "storm"


DATED_TITLES = dict.fromkeys(TITLES, datetime(2026, 11, 18, 12, tzinfo=UTC))


def evaluate(
    folder: Path,
    picks: list[object],
    *options: str,
    dated: dict[str, datetime] = DATED_TITLES,
    settings: str = "",
) -> Result:
    items = "".join(
        f"<item><title>{title}</title><link>https://alpha.example.org/{n}</link>"
        f"<pubDate>{format_datetime(dated_at)}</pubDate></item>"
        for n, (title, dated_at) in enumerate(dated.items(), 1)
    )
    feed, file = folder / "alpha.xml", folder / "picks.jsonl"
    feed.write_text(f"<rss version='2.0'><channel><title>Alpha</title>{items}</channel></rss>", "utf-8")
    file.write_text("\n".join(map(json.dumps, picks)), "utf-8")
    (folder / "digest.toml").write_text(settings, "utf-8")
    command = ["--settings", str(folder / "digest.toml"), "evaluate", "draft", str(file), str(feed), *options]
    return CliRunner().invoke(digest, command)


def test_a_draft_is_made_from_feeds_and_scored(tmp_path: Path) -> None:
    picks: list[object] = [
        pick(1, TITLES[0], 2, "port"),
        pick(2, TITLES[1], 0, "fire"),
        pick(8, "Not there", 2, "gone"),
    ]
    result = json.loads(evaluate(tmp_path, picks, "--json").output)
    assert sorted(s["headline"] for s in result["stories"]) == sorted(TITLES)
    assert (
        result["scores"][0] | {"first": 10, "stories": 3, "changes": 1, "ungraded": 1, "musts": 1}
        == result["scores"][0]
    )
    said = evaluate(tmp_path, picks).output
    assert "first 10 (of 3): 1 to change, 1 ungraded, 0 poor leads, 1 of 2 required stories" in said
    assert "missing: Not there" in said


def test_a_draft_from_feeds_has_the_window_and_send_time_of_a_real_one(new_home: Path, tmp_path: Path) -> None:
    """The forecast is a day old only when the edition is sent, a morning after the draft."""
    dated = {
        "Ransomware attack expected to hit ports in Ohio": datetime(2026, 11, 19, 10, tzinfo=UTC),
        "Wildfire closes highway in Texas": datetime(2026, 11, 18, 12, tzinfo=UTC),
        "Measles outbreak shuts camps in Maine": datetime(2026, 11, 11, 12, tzinfo=UTC),
        "Border agents seize fentanyl in Arizona": datetime(2026, 11, 19, 20, tzinfo=UTC),
    }
    moment = "2026-11-19T12:00"
    scored = evaluate(tmp_path, [], "--now", moment, "--json", dated=dated)
    start = ["--settings", str(tmp_path / "digest.toml")]
    for command in (
        ["init", "--file", str(tmp_path / "digest.toml")],
        ["collect", str(tmp_path / "alpha.xml"), "--now", "2026-11-19T17:00"],
        ["draft", "--now", moment],
    ):
        assert CliRunner().invoke(digest, [*start, *command]).exit_code in {0, 1}, command
    stored = CliRunner().invoke(digest, [*start, "evaluate", "draft", str(tmp_path / "picks.jsonl"), "--json"])
    headlines = [story["headline"] for story in json.loads(stored.output)["stories"]]
    assert [story["headline"] for story in json.loads(scored.output)["stories"]] == headlines
    assert len(headlines) == 2


def test_a_draft_from_feeds_and_a_stored_one_have_the_same_order(new_home: Path, tmp_path: Path) -> None:
    """Collected files don't have the settings of a source with the same name."""
    source = """
    [[sources]]
    name = "Alpha"
    publisher = "Alpha"
    url = "https://alpha.example.org/feed"
    section = "news"
    images = "none"
    default_topic = "Cybersecurity"
    """
    titles = ("Wildfire closes a highway in Ohio", "Sheriff talks about breach in Maine", "Measles shuts camps in Ohio")
    dated = dict.fromkeys(titles, datetime(2026, 11, 18, 12, tzinfo=UTC))
    scored = evaluate(tmp_path, [], "--now", "2026-11-19T12:00", "--json", dated=dated, settings=source)
    start = ["--settings", str(tmp_path / "digest.toml")]
    for command in (
        ["init", "--file", str(tmp_path / "digest.toml")],
        ["collect", str(tmp_path / "alpha.xml"), "--now", "2026-11-19T12:00"],
        ["draft", "--now", "2026-11-19T12:00"],
    ):
        assert CliRunner().invoke(digest, [*start, *command]).exit_code in {0, 1}, command
    stored = CliRunner().invoke(digest, [*start, "evaluate", "draft", str(tmp_path / "picks.jsonl"), "--json"])
    headlines = [story["headline"] for story in json.loads(stored.output)["stories"]]
    assert [story["headline"] for story in json.loads(scored.output)["stories"]] == headlines
    assert len(headlines) == 3


@pytest.mark.parametrize(
    "row", [{"url": "https://a.example/"}, {"url": "no address", "title": "", "grade": 1, "story": "x"}, 7]
)
def test_grades_of_another_form_are_refused_with_their_line(tmp_path: Path, row: object) -> None:
    result = evaluate(tmp_path, [pick(1, "Storm", 2, "storm"), row])
    assert result.exit_code == 2
    assert "Line 2" in result.output or "isn't a URL" in result.output


def test_a_stored_edition_is_scored_without_feeds(new_home: Path, tmp_path: Path) -> None:
    evaluate(tmp_path, [pick(2, TITLES[1], 0, "fire")])
    start = ["--settings", str(tmp_path / "digest.toml")]
    commands = (
        ["init", "--file", str(tmp_path / "digest.toml")],
        ["collect", str(tmp_path / "alpha.xml"), "--now", "2026-11-19T17:00"],
        ["draft", "--now", "2026-11-19T17:30"],
    )
    for command in commands:
        assert CliRunner().invoke(digest, [*start, *command]).exit_code in {0, 1}, command
    said = CliRunner().invoke(digest, [*start, "evaluate", "draft", str(tmp_path / "picks.jsonl")]).output
    assert "first 10 (of 3): 1 to change, 2 ungraded" in said
    printed = CliRunner().invoke(digest, [*start, "evaluate", "picks"])
    rows = [json.loads(line) for line in printed.output.splitlines()]
    assert sorted((row["title"], row["grade"]) for row in rows) == sorted((title, 2) for title in TITLES)
    (tmp_path / "picks.jsonl").write_text(printed.output, "utf-8")
    again = CliRunner().invoke(digest, [*start, "evaluate", "draft", str(tmp_path / "picks.jsonl"), "--redraft"]).output
    assert "first 10 (of 3): 0 to change, 0 ungraded, 0 poor leads, 3 of 3 required stories" in again
    both = [*start, "evaluate", "draft", str(tmp_path / "picks.jsonl"), str(tmp_path / "alpha.xml"), "--redraft"]
    assert CliRunner().invoke(digest, both).exit_code == 2
