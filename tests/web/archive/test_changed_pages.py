"""Public pages show what was approved, and nothing that was put into the database since."""

import json
from typing import Any

import pytest
from sqlalchemy import text

from digest.app.doctor.check_registry import ExaminedInstallation
from digest.app.doctor.operation_checks import check_public_editions_unaltered
from digest.edition.archive import verified_editions
from digest.store.models import EditionState
from tests.moments import DRAFTING as NOW

NAME = "2026-W47"
PATHS = ("/", "/editions", f"/editions/{NAME}", f"/editions/{NAME}/as-sent", "/feed.atom", "/feed.json", "/sitemap.xml")
DATES = (f"/editions/{NAME}.ics", "/calendar.ics")
WORDS = "Free anvils for everybody"


@pytest.fixture(autouse=True)
def _forget_what_was_proven() -> None:
    verified_editions._statements.clear()
    verified_editions._contents.clear()


def change(world: Any, statement: str, **values: str) -> None:
    with world.database.engine.begin() as connection:
        connection.execute(text(statement), values)


def reports(world: Any) -> list[str]:
    examined = ExaminedInstallation(world.install, NOW)
    return [finding.message for finding in check_public_editions_unaltered(examined) if finding.level == "error"]


def swap_words(world: Any, table: str, column: str) -> None:
    """Put other words where the edition's first headline is."""
    old = "Ports get ten days to check the remote links on their cranes"
    column_text = f"CAST({column} AS TEXT)" if column != "body" else column
    kind = world.database.engine.dialect.name == "postgresql" and column != "body"
    value = f"CAST(replace({column_text}, :old, :new) AS JSON)" if kind else f"replace({column_text}, :old, :new)"
    change(world, f"UPDATE {table} SET {column} = {value}", old=old, new=WORDS)


@pytest.mark.parametrize(
    ("table", "column"),
    [("approved_fragment", "body"), ("fragment", "body"), ("approval", "content"), ("edition", "content")],
)
@pytest.mark.parametrize("visits", [0, 1])
def test_words_that_were_put_into_the_database_are_on_no_page(both: Any, table: str, column: str, visits: int) -> None:
    both.edition(state=EditionState.SENT)
    assert reports(both) == []
    for path in (*PATHS, *DATES) * visits:
        both.client.get(path)
    swap_words(both, table, column)
    for path in (*PATHS, *DATES):
        assert WORDS not in both.client.get(path).text, path
    assert bool(reports(both)) == (table in {"approved_fragment", "approval"})
    assert both.client.get("/").status_code == both.client.get("/feed.atom").status_code == 200


def test_a_page_whose_pieces_were_changed_is_not_found(both: Any) -> None:
    both.edition(state=EditionState.SENT)
    assert both.client.get(f"/editions/{NAME}").status_code == 200
    swap_words(both, "approved_fragment", "body")
    assert [both.client.get(f"/editions/{NAME}{end}").status_code for end in ("", "/as-sent")] == [404, 404]


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM approval",
        "DELETE FROM approval_signature",
        "UPDATE approval_signature SET actor = 'staff 9'",
        "UPDATE approval SET content_hash = '" + "0" * 64 + "'",
        "UPDATE approval SET state = 'superseded'",
        "UPDATE edition SET number = 148",
    ],
)
def test_an_edition_without_the_approval_that_it_went_out_with_is_on_no_page(both: Any, statement: str) -> None:
    both.edition(state=EditionState.SENT)
    if statement == "DELETE FROM approval":
        change(both, "DELETE FROM approval_signature")
        change(both, "DELETE FROM approved_fragment")
    change(both, statement)
    assert [both.client.get(path).status_code for path in PATHS] == [200, 200, 404, 404, 200, 200, 200]
    assert all(NAME not in both.client.get(path).text for path in PATHS[:2])
    assert reports(both)


def test_a_subject_in_the_database_is_not_the_subject_that_was_approved(both: Any) -> None:
    both.edition(state=EditionState.SENT)
    change(both, "UPDATE edition SET subject = :words, preheader = :words", words=WORDS)
    for path in PATHS:
        assert WORDS not in both.client.get(path).text, path
    assert "Ports get ten days" in both.client.get("/editions").text
    feed = json.loads(both.client.get("/feed.json").text)
    assert feed["items"][0]["title"].startswith("Ports get ten days")


def test_a_correction_that_was_put_into_the_database_is_on_no_page(both: Any) -> None:
    both.edition(state=EditionState.SENT)
    columns = "edition_id, seq, at, actor, signed, url, section, headline, field, was, becomes, note, is_carried"
    values = "id, 1, release_at, 'staff 1', 'Dana', :url, 'featured', :was, 'headline', :was, :words, :words, false"
    change(
        both,
        f"INSERT INTO correction ({columns}) SELECT {values} FROM edition",
        url=f"https://cisa.example/{NAME}/cranes",
        was="Ports get ten days to check the remote links on their cranes",
        words=WORDS,
    )
    for path in (*PATHS, *DATES):
        assert WORDS not in both.client.get(path).text, path


def test_stories_that_a_search_would_find_are_compared_with_what_was_approved(both: Any) -> None:
    both.edition(state=EditionState.SENT)
    assert reports(both) == []
    change(both, "UPDATE archived_story SET headline = :words WHERE position = 0", words=WORDS)
    assert "search" in reports(both)[0]
