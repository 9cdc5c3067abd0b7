"""`digest audit`: the log in the terminal, by actor, topic, subject, and time, and as a file."""

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from digest.cli import digest


@pytest.fixture
def home(new_home: Path) -> Path:
    """An installation in which three acts were done."""
    run("init")
    run("staff", "add", "sam@news.example.org", "--role", "admin")
    run("pause", "--all", "--because", "moving house")
    run("--as", "sam@news.example.org", "resume", "--all")
    return new_home.parent


def run(*words: str) -> Result:
    return CliRunner().invoke(digest, list(words))


def rows(*words: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in run("audit", "--json", *words).output.splitlines()]


def test_the_log_is_shown_by_actor_topic_act_and_subject_and_exported(home: Path) -> None:
    assert [row["act"] for row in rows()] == ["released", "held", "staff added"]
    assert [row["act"] for row in rows("--who", "sam@news.example.org")] == ["released"]
    assert [row["act"] for row in rows("--who", "terminal:", "--what", "staff")] == ["staff added"]
    assert [row["act"] for row in rows("--what", "held")] == ["held"]
    assert rows("--about", "staff 1")[0]["row"] == 1
    assert rows("--until", "2001-01-01") == []
    assert len(rows("--count", "1")) == 1
    assert "moving house" in run("audit").output
    assert run("audit", "--who", "nobody@news.example.org").exit_code == 1
    assert run("audit", "--csv", "log.csv").exit_code == 2
    written = run("audit", "--csv", "log.csv", "--reason", "yearly audit")
    assert written.output == "Wrote 4 rows to log.csv.\n"
    with (home / "log.csv").open(newline="") as file:
        assert next(csv.DictReader(file))["act"] == "audit log exported"
    assert run("audit", "--csv", "log.csv", "--reason", "again").exit_code == 1
    assert "the audit log" in run("subscribers", "verify").output
