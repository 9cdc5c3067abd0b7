"""The whole list, for admins: exported with a reason, asked once, and suppressed addresses that can sign up again."""

import csv
import io
import time
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
from sqlalchemy import select
from sqlalchemy.orm import Session

from digest.app.subscribers import subscriber_actions
from digest.app.subscribers.subscriber_views import view_subscriber_list
from digest.installation.audited_actions import make_terminal_actor
from digest.store.delivery_models import Delivery
from digest.store.models import AuditEntry
from subscribers.consent import disclosures, subscriber_list
from subscribers.consent.subscriber_list import MatchCount, SubscriberFilter
from subscribers.import_names import FILE_OPTION, PLAIN_LIST
from subscribers.signup.manual_signup import add_subscriber
from subscribers.store.models import ImportBatch, Person, PersonState, Suppression
from tests.moments import DRAFTING as NOW
from tests.web.conftest import ADA_ADDRESS, sample_evidence
from tests.web.forms import post_form


def post(client: Any, path: str, **fields: str) -> Any:
    return post_form(client, path, token_page=path, **fields)


def test_the_list_is_exported_with_a_reason_that_its_subscribers_see(both: Any) -> None:
    with both.database.write() as session:
        add_subscriber(session, both.install.keys, "+formula@county.example", evidence=sample_evidence(), now=NOW)
    client = both.signed_in_client("admin")
    assert post(client, "/admin/readers/export", reason="", to="x").status_code == 400
    answer = post(client, "/admin/readers/export", reason="moving house", to="Example Mail Ltd")
    assert answer.headers["Content-Disposition"] == 'attachment; filename="subscribers-2026-11-19.csv"'
    addresses = [row["email"] for row in csv.DictReader(io.StringIO(answer.text))]
    assert addresses == [ADA_ADDRESS, "'+formula@county.example"]
    with both.database.read() as session:
        (passage,) = disclosures.list_disclosures(session, both.ada)
        audit = session.scalars(select(AuditEntry).order_by(AuditEntry.id.desc()).limit(1)).one()
    assert (passage.to_whom, passage.why) == ("Example Mail Ltd", "moving house")
    assert (audit.act, audit.detail) == ("list exported", {"why": "moving house", "to": "Example Mail Ltd"})


def test_those_without_evidence_are_asked_once_and_as_many_as_one_says(both: Any) -> None:
    with both.database.write() as session:
        batch = ImportBatch(
            origin=PLAIN_LIST, file_hash="0", options={}, actor="x", started_at=NOW, done_at=NOW, counts={}
        )
        session.add(batch)
        session.flush()
        for n in range(3):
            number = add_subscriber(
                session, both.install.keys, f"p{n}@county.example", evidence=sample_evidence(), now=NOW
            ).number
            person = session.get_one(Person, number)
            person.state, person.batch = PersonState.UNVERIFIED, batch.id
    client = both.signed_in_client("admin")
    assert "Request permission…" in client.get("/admin/readers").text
    assert post(client, "/admin/readers/ask", most="0").status_code == 400
    answer = post(client, "/admin/readers/ask", most="2")
    assert "2 emails are queued." in client.get(answer.headers["Location"]).text
    assert post(client, "/admin/readers/ask", most="50").headers["Location"].endswith("asked=1")
    with both.database.read() as session:
        asked = session.scalars(select(Delivery.purpose).where(Delivery.purpose.startswith("ask:"))).all()
    assert len(asked) == 3


def test_a_barred_address_may_sign_up_again_by_an_admins_word(both: Any) -> None:
    subscriber_actions.suppress_address(
        both.install, make_terminal_actor("eve"), both.ada, "complained by phone", now=NOW
    )
    client = both.signed_in_client("admin")
    refused = post(client, "/admin/readers/allow", address="new@county.example", reason="a slip")
    assert (refused.status_code, "t suppressed. Its owner can sign up" in refused.text) == (400, True)
    assert post(client, "/admin/readers/allow", address=ADA_ADDRESS, reason="").status_code == 400
    answer = post(client, "/admin/readers/allow", address=ADA_ADDRESS, reason="a slip")
    assert "is no longer suppressed" in client.get(answer.headers["Location"]).text
    with both.database.read() as session:
        assert session.scalars(select(AuditEntry.act).order_by(AuditEntry.id.desc())).first() == "sign-up allowed"
        reasons = session.scalars(select(Suppression.reason).order_by(Suppression.id)).all()
    assert (reasons, ADA_ADDRESS in str(answer.headers)) == (["by an admin", "may ask again"], False)


def test_a_filter_of_the_list_is_exported(both: Any) -> None:
    client = both.signed_in_client("admin")
    with both.database.write() as session:
        number = add_subscriber(
            session, both.install.keys, "bo@county.example", evidence=replace(sample_evidence(), page="Expo"), now=NOW
        ).number
    page = client.get("/admin/readers?signup_source=Expo").text
    assert 'href="/admin/readers/export?signup_source=Expo">Export these subscribers…' in page
    with both.database.write() as session:
        session.add(
            ImportBatch(
                origin="Ghost",
                file_hash="0",
                options={FILE_OPTION: "members.csv"},
                actor="x",
                started_at=NOW,
                done_at=NOW,
                counts={},
            )
        )
    named = client.get("/admin/readers/export?import=1&frequency=weekly&since=2026-01-02").text
    for label, text in (
        ("Import", "1, members.csv from Ghost"),
        ("How often", "Every edition"),
    ):
        assert f'<th scope="row">{label}</th><td>{text}</td>' in named
    assert 'name="since" value="2026-01-02"' in named
    form = client.get("/admin/readers/export?signup_source=Expo").text
    assert (
        '<th scope="row">Sign-up source</th><td>Expo</td>' in form,
        'action="/admin/readers/export?signup_source=Expo"' in form,
    ) == (
        True,
        True,
    )
    assert "a CSV file of 1 subscriber matching the filter, including paused ones" in form
    assert "a CSV file of 2 subscribers, including paused ones, as of now" in client.get("/admin/readers/export").text
    answer = post(client, "/admin/readers/export?signup_source=Expo", reason="survey", to="us")
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [(row["email"], row["asked_where"], row["status"]) for row in rows] == [
        ("bo@county.example", "Expo", "subscribed")
    ]
    with both.database.read() as session:
        audit = session.scalars(select(AuditEntry).order_by(AuditEntry.id.desc())).first()
        assert audit is not None
        assert audit.detail["source"] == "Expo"
        assert [len(disclosures.list_disclosures(session, each)) for each in (both.ada, number)] == [0, 1]


@pytest.mark.parametrize(
    ("since", "exported"), [("2026-11-19", ["bo@county.example"]), ("", [ADA_ADDRESS, "bo@county.example"])]
)
def test_the_days_of_an_export_can_be_chosen_in_its_form(world: Any, since: str, exported: list[str]) -> None:
    client = world.signed_in_client("admin")
    with world.database.write() as session:
        evidence = replace(sample_evidence(), agreed_at=NOW)
        add_subscriber(session, world.install.keys, "bo@county.example", evidence=evidence, now=NOW)
    path = "/admin/readers/export?state=subscribed&since=2026-11-20"
    answer = post(client, path, reason="survey", to="us", since=since, until="")
    assert sorted(row["email"] for row in csv.DictReader(io.StringIO(answer.text))) == exported
    refused = post(client, path, reason="survey", to="us", since="yesterday")
    assert (refused.status_code, "@" in refused.text) == (400, False)


def test_the_export_page_says_how_many_people_its_days_leave_and_who_is_missing(world: Any) -> None:
    client = world.signed_in_client("admin")
    with world.database.write() as session:
        for day in (20, 21, 22):
            evidence = replace(sample_evidence(), agreed_at=NOW.replace(day=day))
            person = add_subscriber(
                session, world.install.keys, f"p{day}@county.example", evidence=evidence, now=NOW.replace(day=day)
            )
        session.get_one(Person, person.number).state = PersonState.WITHDRAWN
    path = "/admin/readers/export"
    page = client.get(path).text
    assert "a CSV file of 3 subscribers, including" in page
    assert "1 of the 4 records in the list isn’t in it, because people who are unconfirmed" in page
    counted = post(client, path, count="1", reason="survey", to="us", since="2026-11-21", until="")
    assert (counted.status_code, counted.mimetype) == (200, "text/html")
    assert "a CSV file of 1 subscriber matching the filter" in counted.text
    assert "1 of the 2 matches in the list isn’t in it" in counted.text
    assert all(f'value="{kept}"' in counted.text for kept in ("survey", "us", "2026-11-21"))
    without = client.get(f"{path}?state=subscribed").text
    assert ". People who are unconfirmed, unsubscribed, suppressed, erased, or" in " ".join(without.split())


def test_a_filter_that_cannot_be_read_exports_nobody(world: Any) -> None:
    client = world.signed_in_client("admin")
    assert client.get("/admin/readers/export?state=gone").status_code == 400
    form = {"token_page": "/admin/readers/export", "reason": "survey", "to": "us"}
    answer = post_form(client, "/admin/readers/export?import=many", **form)
    assert (answer.status_code, "@" in answer.text) == (400, False)


@pytest.mark.parametrize("state", ["requested", "unverified", "withdrawn", "suppressed", "erased"])
def test_only_subscribers_are_exported(world: Any, state: str) -> None:
    client = world.signed_in_client("admin")
    answer = post(client, f"/admin/readers/export?state={state}", reason="survey", to="us")
    assert (answer.status_code, "may not be exported" in answer.text) == (409, True)
    offer = 'href="/admin/readers/export'
    assert offer not in client.get(f"/admin/readers?state={state}").text, "no form for an export that's refused"
    assert offer in client.get("/admin/readers?state=paused").text


@pytest.mark.parametrize("path", ["export", "ask", "allow"])
def test_an_editor_does_nothing_with_the_list(world: Any, path: str) -> None:
    assert world.signed_in_client("editor").get(f"/admin/readers/{path}").status_code == 403


def test_turning_pages_counts_nothing_anew(both: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[SubscriberFilter] = []

    def count_slowly(session: Session, list_filter: SubscriberFilter) -> MatchCount:
        counted.append(list_filter)
        time.sleep(0.05)
        return MatchCount(7)

    monkeypatch.setattr(subscriber_list, "count_matching_people", count_slowly)
    client = both.signed_in_client("admin")
    assert "<h2>1 match <small>of 1 record" in client.get("/admin/readers?state=subscribed").text
    assert "All subscribers" in client.get("/admin/readers").text
    assert counted == [], "these are counted by state"
    for _ in range(2):
        assert "<h2>7 matches" in client.get("/admin/readers?signup_source=form").text
    client.get("/admin/readers?signup_source=Expo")
    assert [each.asked_where for each in counted] == ["form", "Expo"]


def test_paused_subscribers_are_counted_anew_on_the_next_day(both: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[date] = []

    def count_slowly(session: Session, today: date) -> int:
        counted.append(today)
        time.sleep(0.05)
        return 1

    monkeypatch.setattr(subscriber_list, "count_paused", count_slowly)
    for now in (NOW, NOW, NOW + timedelta(days=1)):
        view_subscriber_list(both.install, make_terminal_actor("eve"), SubscriberFilter(), below=None, now=now)
    assert counted == [NOW.date(), NOW.date() + timedelta(days=1)]
