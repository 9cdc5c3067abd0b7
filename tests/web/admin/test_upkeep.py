"""The audit log's pages: filters by person, action, subject, and date, verification, export, and access."""

import csv
import html
import importlib
import io
import pkgutil
import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import delete, insert, select, text, update

import digest
from digest import app
from digest.app.upkeep import audit_log, audit_topics
from digest.installation.action_words import load_actions_by_topic
from digest.installation.audited_actions import Action
from digest.store.audit import record_audit
from digest.store.audit_chain import verify_audit_log
from digest.store.delivery_models import StaffMember
from digest.store.models import AuditEntry
from digest.store.staff import StaffError
from tests.actors import ADMIN
from tests.moments import DRAFTING as NOW
from tests.web.forms import fetch_token


def record(world: Any, *rows: tuple[str, str, str, dict[str, Any]], at: datetime = NOW) -> None:
    with world.database.write() as session:
        for actor, act, subject, detail in rows:
            record_audit(session, act, subject, detail, actor=actor, now=at)


def rows_of(page: str) -> list[str]:
    table_rows = re.findall(r"<tr><td class=\"when\">(.*?)</tr>", page, re.DOTALL)
    return [" ".join(re.sub(r"<[^>]+>", " ", row).split()) for row in table_rows]


def list_actions() -> set[str]:
    """List every act that the product writes into the log: those of `Act`, and those of rows that are written beside them."""
    modules = [importlib.import_module(found.name) for found in pkgutil.walk_packages(app.__path__, "digest.app.")]
    values = [value for module in modules for value in vars(module).values()]
    values += [each for value in values if isinstance(value, dict) for each in value.values()]
    acts = {value.name for value in values if isinstance(value, Action)}
    for file in Path(digest.__file__).parent.rglob("*.py"):
        acts.update(re.findall(r"record_audit\(\s*session, \"([^\"]+)\"", file.read_text(encoding="utf-8")))
        acts.update(re.findall(r"_audit_staff_change\(session, \"([^\"]+)\"", file.read_text(encoding="utf-8")))
    return {act.removeprefix("refused: ") for act in acts}


def test_every_act_has_a_topic_and_a_sentence() -> None:
    acts = list_actions()
    assert {"source removed", "staff added", "signed in", "upgraded", "uncertain sent again"} <= acts
    topics = audit_topics.TOPICS.keys() - {audit_topics.REFUSED}
    assert {act for act in acts if sum(audit_topics.is_action_in_topic(act, topic) for topic in topics) != 1} == set()
    assert {act for act in acts if audit_topics.describe_action(act)[1][0] == f"{act}: "} == set()
    refusable = (
        action.words for actions in load_actions_by_topic().values() for action in actions.values() if action.role
    )
    assert {words.partition(" ")[0] for words in refusable} - audit_topics.INFINITIVES.keys() == set()


def test_two_members_who_swap_names_are_told_apart_by_their_numbers(world: Any) -> None:
    client = world.signed_in_client("admin")
    with world.database.write() as session:
        second = StaffMember(email="bo@example.org", name="Bo", role="editor", added_at=NOW, added_by="staff 1")
        session.add(second)
        session.flush()
        number = second.id
    record(world, (f"staff {number}", "approve", "2026-W47", {}))
    with world.database.write() as session:
        session.execute(update(StaffMember).where(StaffMember.id == 1).values(name="Bo"))
        session.execute(update(StaffMember).where(StaffMember.id == number).values(name="Ann"))
    page = client.get("/admin/audit").text
    assert f"Ann (team member {number}) approved edition 2026-W47 ." in rows_of(page)[0]
    assert f">Ann (team member {number})</option>" in page
    assert ">Bo (team member 1)</option>" in page


def test_the_log_is_read_in_sentences_by_person_act_subject_and_date(both: Any) -> None:
    client = both.signed_in_client("admin")
    looked = ("staff 1", "subscriber address shown", f"person {both.ada}", {"why": "The subscriber asked"})
    record(both, ("scheduler", "ledger sealed", "ledger", {"people": 3}), at=NOW - timedelta(days=3))
    record(both, looked, ("terminal:eve", "approve", "2026-W47", {}), ("staff 1", "refused: list exported", "list", {}))
    page = client.get("/admin/audit").text
    assert ">Verify log</button>" in page, "it was never checked"
    assert rows_of(page) == [
        "5:30 p.m. ET ann (team member 1) tried to export the subscriber list, but it was refused. 4",
        "5:30 p.m. ET eve (at a terminal) approved edition 2026-W47 . 3",
        "5:30 p.m. ET ann (team member 1) viewed subscriber 1 ’s address. “The subscriber asked” 2",
        "5:30 p.m. ET The scheduler sealed the ledger and this log. 1",
    ]
    assert re.findall(r"<h2>(.*?)</h2>", page) == ["Thursday, November 19, 2026", "Monday, November 16, 2026"]
    for query, numbers in (
        ("who=terminal:", ["3"]),
        ("who=staff+1", ["4", "2"]),
        ("what=addresses", ["4", "2"]),
        ("what=refused", ["4"]),
        (f"about=Reader+{both.ada}", ["2"]),
        ("to=2026-11-18", ["1"]),
        ("from=2026-11-19&what=approvals", ["3"]),
        ("what=approve", ["3"]),
        ("what=list+exported", ["4"]),
        ("what=list+imported", []),
        ("from=nonsense&what=nonsense&at=x&row=y", ["4", "3", "2", "1"]),
    ):
        assert [row.split()[-1] for row in rows_of(client.get(f"/admin/audit?{query}").text)] == numbers, query


def test_the_log_comes_in_pages_that_follow_each_other(both: Any) -> None:
    record(both, *[("staff 1", f"act {n}", "list", {}) for n in range(120)])
    client, path, seen = both.signed_in_client("admin"), "/admin/audit", []
    while path:
        page = client.get(path).text
        seen += [int(row.split()[-1]) for row in rows_of(page)]
        path = "".join(re.findall(r'href="([^"]+)">Older', page)).replace("&amp;", "&")
    assert seen == list(range(120, 0, -1))


def test_a_choice_that_no_index_holds_looks_at_no_more_than_a_page_may(world: Any) -> None:
    record(world, ("staff 1", "approve", "2026-W47", {}))
    edited = {"at": NOW, "actor": "staff 1", "act": "edited", "subject": "2026-W47", "detail": {}}
    rows = [edited | {"seq": seq} for seq in range(2, audit_log.MAX_EXAMINED + 3)]
    with world.database.write() as session:
        session.execute(insert(AuditEntry), rows)
    client = world.signed_in_client("admin")
    page = client.get("/admin/audit?what=approvals").text
    assert "No matches so far" in page
    (further,) = re.findall(r'href="([^"]+)">Search older rows', page)
    assert len(rows_of(client.get(further.replace("&amp;", "&")).text)) == 1


# PostgreSQL takes no text that is not JSON into the column.
@pytest.mark.parametrize(
    "written",
    [
        "[1]",
        '"damaged"',
        "null",
        "7",
        *(pytest.param(text, marks=pytest.mark.sqlite) for text in ("{no JSON", "[" * 9000)),
    ],
)
def test_a_row_that_cannot_be_read_is_shown_as_such_exported_and_named(world: Any, written: str) -> None:
    client = world.signed_in_client("admin")
    change = {"before": {"name": "A"}, "after": {"name": "B"}}
    record(world, ("staff 1", "settings changed", "publication", change), ("staff 1", "paused", "2026-W47", {}))
    with world.database.write() as session:
        session.execute(text("UPDATE audit SET detail = :written"), {"written": written})
    rows = rows_of(client.get("/admin/audit").text)
    assert [row.endswith(f"{audit_topics.UNREADABLE} {n}") for n, row in zip((2, 1), rows, strict=True)] == [True, True]
    assert client.get("/admin/settings/publication").status_code == 200
    answer = client.post("/admin/audit/export", data=fetch_token(client, "/admin/audit/export") | {"reason": "A check"})
    exported = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["detail"] for row in exported][1:] == [audit_topics.UNREADABLE] * 2
    with world.database.read() as session:
        assert "row 1 was changed" in verify_audit_log(session).fault


def test_a_check_says_how_far_the_chain_holds_and_names_the_row_where_it_does_not(world: Any) -> None:
    client = world.signed_in_client("admin")
    assert "been verified yet" in client.get("/admin/audit").text
    record(world, ("staff 1", "approve", "2026-W47", {}), ("staff 1", "send", "2026-W47", {}))
    assert client.post("/admin/audit/check", data=fetch_token(client)).status_code == 303
    assert "Rows 1 to 2 verified." in client.get("/admin/audit").text
    with world.database.write() as session:
        session.execute(update(AuditEntry).where(AuditEntry.seq == 1).values(actor="staff 9"))
    client.post("/admin/audit/check", data=fetch_token(client))
    assert (
        "<b>The log failed verification (row 1 was changed; its hash doesn’t match).</b>"
        in client.get("/admin/audit").text
    )


def test_rows_that_are_taken_from_the_end_are_missed_by_every_later_check(both: Any) -> None:
    client = both.signed_in_client("admin")
    record(both, *[("staff 1", f"act {n}", "list", {}) for n in range(6)])
    client.post("/admin/audit/check", data=fetch_token(client))
    assert "Rows 1 to 6 verified." in client.get("/admin/audit").text
    with both.database.write() as session:
        session.execute(delete(AuditEntry).where(AuditEntry.seq > 4))
    for _ in range(2):  # a check that finds it forgets nothing
        client.post("/admin/audit/check", data=fetch_token(client))
        page = client.get("/admin/audit").text
        assert "rows after 4 are missing; 6 rows were verified on 2026-11-19 22:30 UTC" in page
    record(both, *[("staff 1", f"other {n}", "list", {}) for n in range(3)])
    client.post("/admin/audit/check", data=fetch_token(client))
    assert "t the one verified on 2026-11-19 22:30 UTC" in client.get("/admin/audit").text


def test_a_failed_act_says_why_and_holds_no_address(world: Any) -> None:
    now = {"now": NOW}
    with (
        pytest.raises(StaffError),
        Action("staff added").transaction(world.install, ADMIN, "staff", **now),
    ):
        raise StaffError("sam@newsroom.example is on the staff already.")
    with (
        pytest.raises(ValueError, match="ada"),
        Action("backed up").steps(world.install, ADMIN, "x", **now),
    ):
        raise ValueError("ada@okapi.example")
    page = rows_of(world.signed_in_client("admin").get("/admin/audit").text)
    assert "but it failed. <address> is on the staff already." in html.unescape(page[1])
    assert "but it failed. Error: ValueError" in page[0]


def test_an_export_takes_a_reason_and_no_spreadsheet_executes_it(world: Any) -> None:
    record(world, ("staff 1", "settings changed", "=HYPERLINK(1)", {}), ("staff 1", "approve", "2026-W47", {}))
    client = world.signed_in_client("admin")
    form = fetch_token(client, "/admin/audit/export?what=settings")
    assert client.post("/admin/audit/export", data=form | {"reason": "a@b.example"}).status_code == 400
    answer = client.post("/admin/audit/export", data=form | {"what": "settings", "reason": "yearly audit"})
    assert answer.headers["Content-Disposition"] == 'attachment; filename="audit-log-2026-11-19.csv"'
    (row,) = csv.DictReader(io.StringIO(answer.text))
    assert (row["row"], row["act"], row["subject"]) == ("1", "settings changed", "'=HYPERLINK(1)")
    with world.database.read() as session:
        newest = session.scalars(select(AuditEntry).order_by(AuditEntry.seq.desc()).limit(1)).one()
        assert (newest.act, newest.detail, newest.hash != row["hash"]) == (
            "audit log exported",
            {"why": "yearly audit"},
            True,
        )


def test_a_browser_sends_no_address_in_the_field_about(world: Any) -> None:
    admin = world.signed_in_client("admin")
    (field,) = re.findall(r'<input[^>]* name="about"[^>]*>', admin.get("/admin/audit").text)
    assert 'pattern="[^@]*"' in field
    for hidden in ("ada@example.org", "ada%2540example.org", "ada\uff20example.org"):
        assert "example.org" not in admin.get("/admin/audit", query_string={"about": hidden}).text


@pytest.mark.parametrize("path", ["/admin/audit", "/admin/audit/export"])
def test_an_editor_does_not_see_the_audit_log(world: Any, path: str) -> None:
    assert world.signed_in_client("editor").get(path).status_code == 403


def test_a_subject_is_read_as_people_write_it() -> None:
    typed = (" reader 8,214 ", "Person 7", "12,266", "2026-W47", "Team member 3", "staff 3")
    assert [audit_topics.parse_subject(text) for text in typed] == [
        "person 8214",
        "person 7",
        "person 12266",
        "2026-W47",
        "staff 3",
        "staff 3",
    ]


@pytest.mark.parametrize("about", ["²", "person ²", "٣", "9" * 5_000])
def test_a_subject_that_is_no_number_is_searched_as_text(world: Any, about: str) -> None:
    assert audit_topics.parse_subject(about) == about
    assert audit_topics.describe_subject(f"person {about}", {}) == f"person {about}"
    assert world.signed_in_client("admin").get("/admin/audit", query_string={"about": about[:200]}).status_code == 200


def test_the_filter_has_its_actions_and_people_in_groups(world: Any) -> None:
    record(
        world,
        ("staff 1", "list exported", "list", {}),
        ("staff 1", "list exported", "list", {}),
        ("staff 1", "refused: settings changed", "schedule", {}),
    )
    page = world.signed_in_client("admin").get("/admin/audit").text
    (people,), (actions,) = (
        re.findall(rf'<select class="in" name="{name}">(.*?)</select>', page, re.DOTALL) for name in ("who", "what")
    )
    assert re.findall(r'<optgroup label="([^"]+)">', people) == ["Team", "Not signed in"]
    groups = re.findall(r'<optgroup label="([^"]+)">(.*?)</optgroup>', actions, re.DOTALL)
    assert [html.unescape(name) for name, _ in groups] == list(audit_topics.TOPICS.values())
    outside = re.sub(r"<optgroup.*?</optgroup>", "", actions, flags=re.DOTALL)
    assert re.findall(r"<option[^>]*>([^<]*)", outside) == ["All actions"]
    for (name, options), topic in zip(groups, audit_topics.TOPICS, strict=True):
        first, *others = re.findall(r'<option value="([^"]+)">([^<]*)', options)
        assert first == (topic, f"{name}: all")
        logged = {"addresses": ["list exported"], "settings": ["settings changed"]}
        assert [html.unescape(act) for act, _ in others] == logged.get(topic, [])


@pytest.mark.parametrize("path", ["/admin/", "/admin"])
def test_the_address_of_the_admin_pages_leads_to_the_first_one(world: Any, path: str) -> None:
    answer = world.signed_in_client("admin").get(path, follow_redirects=True)
    assert (answer.status_code, answer.request.path) == (200, "/admin/readers")
    assert world.desk.get("/admin/").status_code == 403


def test_a_change_of_sections_that_was_tampered_with_is_shown_all_the_same() -> None:
    change = {"before": {"ports": 7, "events": ["x"]}, "after": {"ports": {"most": 3}}}
    assert audit_topics.describe_detail(change, "sections") == ("", "Section “”: added, Section “”: removed")


@pytest.mark.parametrize(
    ("detail", "words"),
    [
        (
            {"origin": "Mailchimp", "options": {"columns": ["address", "nothing"], "leave_out_slips": True}},
            "Service: Mailchimp, options: skip likely typos in domains",
        ),
        (
            {"counts": {"known": 28, "left or suppressed": 12, "departures": 8, "rejected": 0}},
            "Counts: 28 already subscribed, 12 unsubscribed or suppressed here, 8 unsubscribed there",
        ),
        (
            {"before": {"paused": False}, "after": {"paused": True, "topics": ["a", "b"]}},
            "Paused: no → yes, Topics: not set → a, b",
        ),
        ({"mark": "6c7e", "version": 1, "alone": False}, "Version: 1, approved by the only editor: no"),
        ({"before": "admin", "role": "editor", "sessions": 1}, "Before: admin, role: editor, sessions ended: 1"),
        ({"before": "admin", "role": "editor", "sessions": 0}, "Before: admin, role: editor"),
        ({"section": "news", "default_topic": "Ports"}, "Section: news, default topic: Ports"),
        ({"before": {"default_topic": ""}, "after": {"default_topic": "Ports"}}, "Default topic: not set → Ports"),
    ],
)
def test_details_are_shown_in_words(detail: dict[str, Any], words: str) -> None:
    assert audit_topics.describe_detail(detail) == ("", words)


@pytest.mark.parametrize(
    ("table", "name", "before", "after", "words"),
    [
        (
            "schedule",
            "send",
            "fri 06:00",
            "mon,thu 17:30",
            "Send time: Friday, 6:00 a.m. → Monday and Thursday, 5:30 p.m.",
        ),
        (
            "schedule",
            "collect",
            ["daily 05:00", "daily 17:00"],
            ["every 90m"],
            "Collection: daily, 5:00 a.m.; daily, 5:00 p.m. → every 90 minutes",
        ),
        ("consent", "text", "", "Send me {name}.", "Consent text: standard text → Send me {name}."),
        ("sender", "bounce_domain", "b.example.org", "", "Bounce domain: b.example.org → the sender address's domain"),
        ("publication", "editor", "", "Dana", "Editor: not set → Dana"),
        (
            "schedule",
            "at_gone_article",
            "stop",
            "send",
            "If visitors can't read an article: Pause the edition until an editor decides → Send the edition and notify the editors",
        ),
    ],
)
def test_changed_settings_are_shown_as_their_page_has_them(
    table: str, name: str, before: object, after: object, words: str
) -> None:
    assert audit_topics.describe_detail({"before": {name: before}, "after": {name: after}}, table) == ("", words)


def test_settings_pages_and_uploads_are_named_in_words() -> None:
    named = [audit_topics.describe_subject(subject, {}) for subject in ("schedule", "upload 513e31f0", "sources")]
    assert named == ["Schedule", "an uploaded file", "sources"]
