"""`digest evaluate topics`, with labels from a file and scores computed by hand."""

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from digest.cli import digest

CYBER, FLOOD = "Cybersecurity", "Disaster response"


def label(number: int, title: str, topics: list[str], **more: Any) -> dict[str, Any]:
    return {"url": f"https://alpha.example.org/{number}", "title": title, "topics": topics, **more}


LABELS = [
    label(1, "Ransomware hits the port", [CYBER], set="random"),
    label(2, "Malware in the ferry's till", [], may=[CYBER], set="random"),
    label(3, "Botnet taken down", [FLOOD], set="random"),
    label(4, "Pears are ripe", [FLOOD], set="chosen"),
    label(5, "Apples are ripe", [], set="chosen"),
    label(6, "Phishing by post", [FLOOD], may=[CYBER], set="chosen"),
]


def evaluate(folder: Path, rows: object, *options: str, settings: str = "") -> Result:
    file = folder / "labels.jsonl"
    text = "\n".join(map(json.dumps, rows)) if isinstance(rows, list) else json.dumps(rows)
    file.write_text(text, "utf-8")
    (folder / "digest.toml").write_text(settings, "utf-8")
    command = ["--settings", str(folder / "digest.toml"), "evaluate", "topics", str(file), *options]
    return CliRunner().invoke(digest, command)


def test_precision_and_recall_are_those_worked_out_by_hand(tmp_path: Path) -> None:
    result = json.loads(evaluate(tmp_path, LABELS, "--json").output)
    scores = {s["name"]: s for s in result["sets"]}
    assert list(scores) == ["random", "chosen", "all"]
    assert (scores["all"]["articles"], scores["all"]["given"], scores["all"]["wanted"]) == (6, 4, 4)
    assert scores["all"]["strict"] == {"precision": 1 / 4, "recall": 1 / 4}
    assert scores["all"]["lenient"] == {"precision": 3 / 4, "recall": 2 / 4}
    assert scores["random"]["strict"] == {"precision": 1 / 3, "recall": 1 / 2}
    assert scores["chosen"]["lenient"] == {"precision": 1, "recall": 1 / 2}


def test_each_disagreement_is_listed_with_the_words_that_decided(tmp_path: Path) -> None:
    result = json.loads(evaluate(tmp_path, LABELS, "--json").output)
    assert [d["url"].rpartition("/")[2] for d in result["disagreements"]] == ["2", "3", "4", "6"]
    missed = next(d for d in result["disagreements"] if d["given"] is None)
    assert (missed["title"], missed["topics"]) == ("Pears are ripe", [FLOOD])
    said = evaluate(tmp_path, LABELS).output
    assert "let pass: Malware in the ferry's till\n  given Cybersecurity (malware); right: none" in said
    assert "wrong: Botnet taken down\n  given Cybersecurity (botnet); right: Disaster response" in said
    assert "wrong: Pears are ripe\n  given no topic; right: Disaster response" in said


def test_one_set_is_not_told_twice_and_nothing_given_is_nothing_wrong(tmp_path: Path) -> None:
    (only,) = json.loads(evaluate(tmp_path, [label(1, "Pears", [])], "--json").output)["sets"]
    assert (only["name"], only["strict"]) == ("labels", {"precision": 1, "recall": 1})


def test_the_operators_own_topics_are_measured_and_unknown_names_are_told(tmp_path: Path) -> None:
    settings = '[select.topics]\nBridges = ["toll"]\n'
    rows = [label(1, "A toll for all", ["Bridges"]), label(2, "Ransomware", [CYBER])]
    result = json.loads(evaluate(tmp_path, rows, "--json", settings=settings).output)
    assert result["sets"][0]["strict"] == {"precision": 1, "recall": 1 / 2}
    assert result["unknown_topics"] == [CYBER]
    assert "don't have: Cybersecurity" in evaluate(tmp_path, rows, settings=settings).output


def test_what_the_settings_say_of_the_source_on_the_same_host_holds(tmp_path: Path) -> None:
    settings = (
        '[[sources]]\nurl = "https://alpha.example.org/feed"\nname = "Alpha"\npublisher = "Alpha"\n'
        'topics = { Quays = "Maritime security" }\n'
    )
    rows = [label(1, "Pears are ripe", ["Maritime security"], categories=["Quays"])]
    assert json.loads(evaluate(tmp_path, rows, "--json", settings=settings).output)["disagreements"] == []
    assert len(json.loads(evaluate(tmp_path, rows, "--json").output)["disagreements"]) == 1


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        ([], "contains no labels"),
        (["x", "y"], "is missing its url or title"),
        (7, "contains no labels"),
        ([{"url": "https://a.example/"}], "is missing its url or title"),
        ([{"url": "https://a.example/", "title": "x"}], "has no topics"),
        (
            [{"url": "https://a.example/", "title": "x", "topics": "y"}],
            "the value of topics in label 1 isn't a list of words",
        ),
        ([{"url": "nowhere", "title": "x", "topics": []}], "contain 'nowhere', which isn't a URL"),
    ],
)
def test_topic_labels_of_another_form_are_refused_by_number(tmp_path: Path, rows: object, message: str) -> None:
    said = evaluate(tmp_path, rows)
    assert said.exit_code == 2
    assert message in said.output.replace("\n", " ")
