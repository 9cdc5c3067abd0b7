"""Team members' names appear in emails and corrections, so each is a person's name and no one else's."""

from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import select

from digest.app.accounts.own_account import OwnAccountError, refuse_taken_name, require_plain_person_name
from digest.store.delivery_models import StaffMember
from digest.store.engine import Database
from digest.store.models import AuditEntry
from tests.moments import DRAFTING as NOW
from tests.row_keys import lend_row_keys
from tests.web.forms import post_form

URL_IN_NAME = "contains a URL, an address, a digit, or a colon"


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("Verify your login: Ruth", URL_IN_NAME),
        ("Ruth https://evil.example", URL_IN_NAME),
        ("Ruth evil.example", URL_IN_NAME),
        ("ruth@evil.example", URL_IN_NAME),
        ("Ruth evil.example/desk", URL_IN_NAME),
        ("Ruth evil\u2024example", URL_IN_NAME),
        ("Ruth evil\uff0eexample", URL_IN_NAME),
        ("Ruth evil\u3002example", URL_IN_NAME),
        ("ruth\uff20evil", URL_IN_NAME),
        ("Verify your login\uff1a Ruth", URL_IN_NAME),
        ("Ruth Adeyemi (staff 2)", URL_IN_NAME),
        ("Call 555\u20110100", URL_IN_NAME),
        ("R" * 61, "too long"),
    ],
)
def test_a_name_that_reads_like_a_message_is_refused(name: str, why: str) -> None:
    with pytest.raises(OwnAccountError, match=why):
        require_plain_person_name(name)


@pytest.mark.parametrize("name", ["Dr. J.R. O’Neill-Díaz, Jr.", "Ольга Петрова", "अनीता", ""])
def test_names_of_people_are_taken(name: str) -> None:
    assert require_plain_person_name(f" {name}\n") == name


@pytest.fixture
def staffed(one_database: Database, tmp_path: Path) -> Database:
    one_database = lend_row_keys(one_database, tmp_path)
    with one_database.write() as session:
        for email, name in (("ruth@newsroom.example", "Ruth Adeyemi"), ("dana@newsroom.example", "")):
            session.add(StaffMember(email=email, name=name, role="editor", added_at=NOW, added_by="terminal:eve"))
    return one_database


@pytest.mark.parametrize(
    "name", ["Ruth Adeyemi", "RUTH  adeyemi", "Ruth Adeyem\u0456", "\uff32uth Ad\xe9yemi", "Ruth-Adeyem1", "Dana"]
)
def test_a_colleagues_name_is_refused_in_any_spelling_that_looks_the_same(staffed: Database, name: str) -> None:
    with staffed.read() as reading, pytest.raises(OwnAccountError, match="Another team member already has this name"):
        refuse_taken_name(reading, name)


def test_an_own_name_and_other_names_are_taken(staffed: Database) -> None:
    with staffed.read() as reading:
        refuse_taken_name(reading, "ruth adeyemi", own_number=1)
        refuse_taken_name(reading, "Ruth Adams")
        refuse_taken_name(reading, "")


@pytest.mark.parametrize("name", ["Verify your login: https://evil.example", "Ada"])
def test_the_page_refuses_such_a_name(world: Any, name: str) -> None:
    with world.database.write() as session:
        session.add(
            StaffMember(
                email="ada@newsroom.example", role="editor", added_at=NOW, added_by="terminal:eve", proven_at=NOW
            )
        )
    client = world.signed_in_client("admin")
    assert post_form(client, "/desk/security/name", name=name).status_code == 400
    assert post_form(client, "/desk/security/name", name="Someone Else").status_code == 303
    assert post_form(client, "/desk/security/name", name="Anyone Else").status_code == 303
    log = world.signed_in_client("admin").get("/admin/audit").text
    assert "changed the name of" in log
    with world.database.read() as session:
        rows = session.scalars(select(AuditEntry).where(AuditEntry.act == "name changed")).all()
    assert (len(rows), any("Else" in str(row.detail) for row in rows)) == (2, False), "nothing is erased from the log"
