"""Admins import lists in pages: recognized, mapped, tried without writing, imported, continued, and undone."""

import csv
import io
import re
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from functools import partial
from http.client import HTTPConnection
from threading import Event
from typing import Any

import pytest
from sqlalchemy import func, select

from digest.app.subscribers import import_undo as undo_actions
from digest.app.subscribers import list_transfers
from digest.app.subscribers.child_work import WorkStoppedError
from digest.app.subscribers.import_undo import ImportUndoPreview, begin_preview, begin_undo
from digest.app.subscribers.upload_files import (
    ListUpload,
    UploadStage,
    delete_stale_uploads,
    make_safe_file_name,
    mask_example,
    save_upload_state,
)
from digest.installation.audited_actions import CONFIRMATION_LIFETIME, make_terminal_actor
from digest.store.models import AuditEntry
from digest.web.server import open_page_server
from subscribers.consent import seals
from subscribers.consent.audience import count_audience
from subscribers.store.models import Person, PersonState, Suppression
from subscribers.transfer import import_undo
from subscribers.transfer.options import ImportOptions
from tests.moments import DRAFTING as NOW
from tests.packed_lists import write_workbook, zip_files
from tests.subscribers.pages.test_my_data import Inbox
from tests.subscribers.pages.test_stopped_address_change import read_link
from tests.web.conftest import ADA_ADDRESS
from tests.web.forms import fetch_token, form_token, post_form

EVE = make_terminal_actor("eve")
HEADINGS = "Email Address,First Name,OPTIN_TIME,OPTIN_IP,CONFIRM_TIME,CONFIRM_IP,STATUS"
EVIDENCE = "2024-03-02 14:11:05,192.0.2.17,2024-03-02 14:12:00,192.0.2.17"


def mailchimp_list(people: int) -> str:
    """Write a list of which one row in 20 is no address, one is mistyped, and one says a word that nobody knows."""
    rows = [f"person{n}@county.example,Nn{n},{EVIDENCE},subscribed" for n in range(people)]
    rows[::20] = [f"=cmd{n},Nn,{EVIDENCE},subscribed" for n in range(len(rows[::20]))]
    rows[1], rows[2] = f"gus@gmial.com,Gus,{EVIDENCE},subscribed", f"vic@county.example,Vic,{EVIDENCE},vip"
    return "\r\n".join([HEADINGS, *rows, ""])


def upload(client: Any, content: str | bytes, name: str = "audience.csv") -> str:
    """Upload a list; return its page's path."""
    file = (io.BytesIO(content.encode() if isinstance(content, str) else content), name)
    answer = client.post("/admin/import", data=fetch_token(client) | {"file": file}, content_type="multipart/form-data")
    assert answer.status_code == 303, answer.text
    return str(answer.headers["Location"])


def fields_of(page: str) -> dict[str, str]:
    """Read what the form of the columns holds as it stands."""
    fields = dict(re.findall(r'<input type="hidden" name="((?:word|tag)-\w+)" value="([^"]*)">', page))
    for name, options in re.findall(r'<select class="in"[^>]*name="([\w-]+)">(.*?)</select>', page, re.DOTALL):
        chosen = re.findall(r'value="([^"]*)" selected', options)
        fields[name] = chosen[0] if chosen else ""
    fields |= dict(re.findall(r'<input type="text" class="in" name="(\w+)"[^>]* value="([^"]*)"', page))
    return fields | dict.fromkeys(re.findall(r'<input type="checkbox" name="(\w+)" value="1" checked', page), "1")


def post_step(world: Any, client: Any, path: str, step: str, **changed: str) -> str:
    """Press the button of a step, wait until the work is through, and return the page."""
    form = fields_of(client.get(path).text) | fetch_token(client) | changed
    answer = client.post(f"{path}/{step}", data=form)
    # With a fragment, the browser wouldn't load the page again.
    assert (answer.status_code, answer.headers["Location"]) == (303, path), answer.text
    world.app.extensions["digest"].uploads.wait(path.rpartition("/")[2])
    page = str(client.get(path).text)
    assert (
        len(re.findall(r" autofocus>(?:3 Dry run|<p>(?:<b>Import \d|You already))", page))
        == page.count("autofocus")
        == 1
    )
    return page


def table_of(page: str) -> dict[str, str]:
    return dict(re.findall(r'<tr><th scope="row">([^<]+)</th><td class="num" data-label="Rows">([\d,]+)</td>', page))


def test_a_mailchimp_export_is_mapped_tried_and_imported(both: Any) -> None:
    client = both.signed_in_client("admin")
    path = upload(client, mailchimp_list(100))
    page = client.get(path).text
    assert "This file looks like an export from <b>Mailchimp</b>" in page
    shown = {text: text in page for text in ("•••@•••", "N••", "2024-03-02 14:11:05", "•••.•.•.••")}
    assert shown == dict.fromkeys(shown, True)
    assert ("county.example" in page, "192.0.2.17" in page) == (False, False)
    tried = post_step(both, client, path, "try", leave_out_slips="1")
    assert table_of(tried) == {"Consent with evidence": "93", "Invalid": "7"}
    assert "gmial.com (1), probably gmail.com" in tried
    assert "“vip” in “STATUS” (1 row) means" in tried
    with both.database.read() as session:
        assert count_audience(session) == 1
    tried = post_step(both, client, path, "try", **{"leave_out_slips": "1", "means-n1": "person"})
    assert table_of(tried) == {"Consent with evidence": "94", "Invalid": "6"}
    assert re.findall(
        r'<th scope="row" class="num" data-label="Row">([\d,]+)</th><td[^>]*>(The [^<]+)</td>', tried
    ) == [
        ("2", "The address has no @"),
        ("3", "The domain gmial.com is probably a typo for gmail.com"),
        *((str(row), "The address has no @") for row in (22, 42, 62, 82)),
    ]
    would_be_rejected = client.post(f"{path}/rejected", data=fetch_token(client)).text
    would_be = client.post(f"{path}/outcomes", data=fetch_token(client)).text
    done = post_step(both, client, path, "commit")
    assert "Import 1 is finished." in done
    with both.database.read() as session:
        assert count_audience(session) == 95
    rejected = client.post(f"{path}/rejected", data=fetch_token(client))
    assert would_be_rejected == rejected.text
    rows = list(csv.DictReader(io.StringIO(rejected.text)))
    assert rejected.headers["Content-Disposition"] == 'attachment; filename="audience-skipped.csv"'
    assert list(rows[0]) == ["row", "reason", *HEADINGS.split(",")]
    whole = [rows[0][name] for name in ("row", "reason", "Email Address", "First Name", "CONFIRM_TIME")]
    assert whole == ["2", "the address has no @", "'=cmd0", "Nn", "2024-03-02 14:12:00"]
    assert len(rows) == 6
    came = client.post(f"{path}/outcomes", data=fetch_token(client))
    assert came.headers["Content-Disposition"] == 'attachment; filename="audience-rows.csv"'
    assert came.text == would_be
    every_row = list(csv.DictReader(io.StringIO(came.text)))
    assert [row["row"] for row in every_row] == [str(number) for number in range(2, 102)]
    assert Counter(row["outcome"] for row in every_row) == {"Consent with evidence": 94, "Invalid": 6}
    # Of the list nothing is in the file but the numbers of its rows: no address, so nobody has to be told of one.
    assert not [text for text in ("@county", "=cmd", "Nn") if text in came.text]
    folder = both.install.settings.uploads_folder / path.rpartition("/")[2]
    assert folder.parent.stat().st_mode & 0o777 == 0o700
    assert (folder.stat().st_mode & 0o777, {each.stat().st_mode & 0o777 for each in folder.glob("audience.csv*")}) == (
        0o700,
        {0o600},
    )
    assert list(folder.glob("*rejected*"))
    assert client.post(f"{path}/remove", data=fetch_token(client)).status_code == 303
    assert (folder.exists(), client.get(path).status_code) == (False, 404)
    with both.database.read() as session:
        acts = session.scalars(select(AuditEntry.act).order_by(AuditEntry.id)).all()
    assert acts == [
        *("list uploaded", "import tried", "import tried"),
        *("rejected rows taken", "row outcomes taken", "list imported"),
        *("rejected rows taken", "row outcomes taken", "upload removed"),
    ]


def test_skipped_rows_are_corrected_and_imported(both: Any) -> None:
    client = both.signed_in_client("admin")
    path = upload(
        client, "Name;Kontakt;Status\nBo;bo[at]county.example;aktiv\nCy;cy@county.example;aktiv\n", "Mitglieder.csv"
    )
    assert "The addresses are in the column “Kontakt.”" in client.get(path).text
    assert table_of(post_step(both, client, path, "try", attest="signed list")) == {
        "Vouched for by an admin": "1",
        "Invalid": "1",
    }
    assert "Import 1 is finished." in post_step(both, client, path, "commit")
    skipped = client.post(f"{path}/rejected", data=fetch_token(client)).text
    other = upload(client, skipped.replace("[at]", "@"), "Mitglieder-skipped.csv")
    assert table_of(post_step(both, client, other, "try", attest="signed list")) == {"Vouched for by an admin": "1"}
    none = client.post(f"{other}/rejected", data=fetch_token(client))
    assert (none.status_code, "There are no skipped rows" in none.text) == (409, True)


def test_a_workbook_and_mailchimps_zip_file_are_mapped_and_imported(both: Any) -> None:
    client = both.signed_in_client("admin")
    (key, title), *others = both.install.settings.section_titles
    sheet: list[list[object]] = [
        ["Mitglied", "Eingewilligt", "Themen", "Uhrzeit", "Ort"],
        ["bo@county.example", "2024-03-02", f"{title}; VIP", 7, "Asia/Tokyo"],
    ]
    path = upload(client, write_workbook({"Liste": sheet}), "Liste.xlsx")
    mapped = {"column-1": "confirmed at", "column-2": "tags", "column-3": "hour", "column-4": "zone"}
    assert table_of(post_step(both, client, path, "try", **mapped)) == {"Consent with evidence": "1"}
    assert "Import 1 is finished." in post_step(both, client, path, "commit")
    files = {
        "subscribed_1.csv": f"{HEADINGS}\ncy@county.example,Cy,{EVIDENCE},\n",
        "cleaned_1.csv": f"{HEADINGS}\ndi@county.example,Di,{EVIDENCE},\n",
    }
    path = upload(client, zip_files(files), "audience_export.zip")
    page = client.get(path).text
    assert "This file looks like an export from <b>Mailchimp</b>" in page
    assert ("audience_export.zip, 2 rows" in page, "zip.csv" in page + client.get("/admin/import").text) == (
        True,
        False,
    )
    assert "Rows are numbered across all tables in it" in page
    assert table_of(post_step(both, client, path, "try")) == {
        "Consent with evidence": "1",
        "Unsubscribed or bounced elsewhere": "1",
    }
    with both.database.read() as session:
        bo = session.scalars(select(Person).order_by(Person.number.desc())).first()
        assert bo is not None
        assert (bo.choices["hour"], bo.choices["zone"]) == (7, "Asia/Tokyo")
        assert bo.choices["omit"] == sorted(each for each, _ in others)
        assert key not in bo.choices["omit"]
        assert seals.verify_ledger(session, both.install.keys).sound
    other_files = {
        each.name for each in both.install.settings.uploads_folder.glob("*/*") if each.suffix in (".zip", ".xlsx")
    }
    assert other_files == set()


def test_a_dry_run_counts_tags_and_maps_them_to_topics(both: Any) -> None:
    client = both.signed_in_client("admin")
    cells = ("Ports;Featured", "Ports", "Conference 2024", "Ada Byron", "bo@x.example", "bo@x.example")
    rows = [f"p{number}@county.example,2024-01-01,{cell}" for number, cell in enumerate(cells)]
    path = upload(
        client, "\n".join(["email,confirmed_at,Etiketten", *rows, "c@county.example,2024-01-01,Conference 2024"])
    )
    tried = post_step(both, client, path, "try", **{"column-2": "tags"})
    assert "5 tags: 1 matches a section or topic, 4 don’t." in tried
    assert "“Featured”: 1 row" in tried
    assert ("“Ports” (2 rows) means" in tried, "“Conference 2024” (2 rows) means" in tried) == (True, True)
    assert ("Ada Byron" in tried, "bo@x.example" in tried) == (False, False)
    assert "2 of these aren’t shown" in tried
    choices = dict(re.findall(r'<input type="hidden" name="tag-(\w+)" value="([^"]*)">', tried))
    place = next(place for place, tag in choices.items() if tag == "Ports")
    topic = "topics:maritime-security"
    again = post_step(both, client, path, "try", **{f"part-{place}": topic, "column-2": "tags"})
    assert "5 tags: 2 match a section or topic, 3 don’t." in again
    assert "“Ports” (2 rows) means" in again
    assert list(dict(re.findall(r'name="tag-(\w+)" value="([^"]*)">', again)).values()) == list(choices.values())
    assert f'<option value="{topic}" selected>' in again
    assert "Import 1 is finished." in post_step(both, client, path, "commit")
    with both.database.read() as session:
        people = session.scalars(select(Person).where(Person.batch == 1).order_by(Person.number)).all()
        wanted = [("maritime-security" in each.choices.get("omit_topics", ["maritime-security"])) for each in people]
        assert wanted == [False, False, True, True, True, True, True]
        assert [bool(each.choices) for each in people] == [True, True, False, False, False, False, False]
        assert "topics" not in people[0].choices["omit"]


def test_every_row_says_what_becomes_of_it_in_the_words_of_the_page(world: Any) -> None:
    client = world.signed_in_client("admin")
    rows = [
        f"{ADA_ADDRESS},2024-01-01,",
        "bo@county.example,,",
        "bo@county.example,,",
        "gone@county.example,,2024-01-01",
    ]
    path = upload(client, "\n".join(["email,confirmed_at,unsubscribed_at", *rows, ""]))
    early = client.post(f"{path}/outcomes", data=fetch_token(client))
    assert (early.status_code, "been checked yet or was imported earlier" in early.text) == (409, True)
    page = post_step(world, client, path, "try", attest="signed paper list")
    counted = {"Already on the list": "1", "Vouched for by an admin": "1", "Duplicate": "1"}
    assert table_of(page) == counted | {"Unsubscribed or bounced elsewhere": "1"}
    tried = client.post(f"{path}/outcomes", data=fetch_token(client)).text
    assert [tuple(row) for row in csv.reader(io.StringIO(tried))] == [
        ("row", "outcome", "why"),
        ("2", "Already on the list", "this address is already subscribed"),
        ("3", "Vouched for by an admin", "an admin vouches for their consent"),
        ("4", "Duplicate", "the address is already in row 3"),
        ("5", "Unsubscribed or bounced elsewhere", "the list shows that they unsubscribed"),
    ]
    stale = world.client
    stale.set_cookie(*world.session_cookie("admin", fresh_at=NOW - CONFIRMATION_LIFETIME))
    answer = stale.post(f"{path}/outcomes", data=fetch_token(stale))
    assert "row,outcome" not in answer.text.replace('"', "")


def test_the_list_of_imports_and_the_page_of_one_count_the_same_rows_as_left_out(world: Any) -> None:
    client = world.signed_in_client("admin")
    path = upload(client, "email\nbo@county.example\nbo@county.example\nnowhere\n")
    post_step(world, client, path, "try")
    assert "Skipped rows <small>first 1 of 1</small>" in post_step(world, client, path, "commit")
    assert '<td class="num" data-label="Skipped">1</td>' in client.get("/admin/import").text


def test_rows_without_evidence_lead_to_the_column_that_may_have_it(world: Any) -> None:
    client = world.signed_in_client("admin")
    path = upload(client, "email,consented,status\nbo@county.example,2024-01-01,subscribed\n")
    at_column = (
        "These cells contain times. If people agreed at those times, choose “Consent or confirmation time (UTC).”"
    )
    assert client.get(path).text.count(at_column) == 1
    hint = "No column is imported as “Consent or confirmation time (UTC),”"
    assert hint in post_step(world, client, path, "try")
    assert hint not in post_step(world, client, path, "try", **{"column-1": "confirmed at"})
    done = post_step(world, client, path, "commit")
    assert "5 Skipped rows" not in done
    assert done.index("is finished.") < done.index("<h2>Results</h2>")


def test_subscribers_whom_a_file_unsubscribes_are_named_before_and_after(world: Any) -> None:
    client = world.signed_in_client("admin")
    rows = ["twice@county.example,2024-01-01,", "twice@county.example,,2024-02-01", f"{ADA_ADDRESS},,x"]
    path = upload(client, "\n".join(["email,confirmed_at,unsubscribed_at", *rows, "bo@county.example,2024-01-01,", ""]))
    tried = post_step(world, client, path, "try")
    done = post_step(world, client, path, "commit")
    for page, words in ((tried, "will be unsubscribed"), (done, "was unsubscribed")):
        assert table_of(page) == {
            "Consent with evidence": "1",
            "Unsubscribed or bounced elsewhere": "2",
            "Unsubscribed or suppressed here": "1",
        }
        assert f"1 subscriber here unsubscribed or bounced elsewhere, according to the file, and {words}." in page
    assert "1 subscriber will get the next edition" in done
    undo = client.get("/admin/import/finished/1/undo").text
    counts = dict(re.findall(r'<th scope="row">([^<]+)</th><td class="num" data-label="Count">(\d+)', undo))
    assert counts == {
        "Added by this import": "1",
        "Suppressed by the file": "2",
    }
    assert "1 person was subscribed here before." in undo
    assert "1 subscribed here until then" in client.get("/admin/audit").text


@pytest.mark.parametrize(
    ("choice", "kept"),
    [
        ({"column-1": "requested at"}, '<option value="requested at" selected>'),
        ({"means-n1": "left"}, "“vip” means"),
        ({"part-n1": "topics:maritime-security"}, "“VIP list” ("),
        ({"attest": "signed list"}, 'value="signed list"'),
    ],
)
def test_choices_after_the_dry_run_need_another_one_and_are_kept(world: Any, choice: dict[str, str], kept: str) -> None:
    client = world.signed_in_client("admin")
    lines = [f"p{n}@county.example,2024-01-01,{word},VIP list" for n, word in enumerate(("active", "active", "vip"))]
    path = upload(client, "\n".join(["email,confirmed at,status,list", *lines, ""]))
    tried = post_step(world, client, path, "try", **{"column-3": "tags"})
    refused = client.post(f"{path}/commit", data=fields_of(tried) | fetch_token(client) | choice)
    assert (refused.status_code, "Your choices changed. Repeat the dry run." in refused.text) == (400, True)
    assert kept in refused.text
    chosen = fields_of(refused.text)
    values = [value for name, value in chosen.items() if name.startswith(("word-", "tag-"))]
    assert sorted(values) == ["VIP list", "vip"]
    with world.database.read() as session:
        assert count_audience(session) == 1
    assert "Import 1 is finished." in post_step(world, client, path, "try", **chosen) + post_step(
        world, client, path, "commit"
    )


def test_progress_counts_rows_without_the_heading(world: Any) -> None:
    client = world.signed_in_client("admin")
    path = upload(client, "email\nada2@county.example\nbo@county.example\n")
    there = world.app.extensions["digest"].uploads.find(world.install, EVE, path.rpartition("/")[2], now=NOW)
    seen: list[tuple[int, int]] = []
    list_transfers.rehearse_import(
        world.install, EVE, there.file, ImportOptions(), now=NOW, progress=lambda *step: seen.append(step)
    )
    assert seen[-1] == (2, 2)


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("2024-03-02T14:11:05+01:00", "2024-03-02T14:11:05+01:00"),
        ("2024-03-02 14:11:05.123456 UTC", "2024-03-02 14:11:05.123456 UTC"),
        ("03/02/2024", "03/02/2024"),
        ("5", "5"),
        ("Subscribed", "Subscribed"),
        ("+1 (202) 555-0143", "+• (•••) •••-••••"),
        ("2025550143", "••••••••••"),
        ("192.0.2.17", "•••.•.•.••"),
        ("2001:db8::17", "••••:•••::••"),
        ("38.9072", "••.••••"),
        ("Ada", "A••"),
        ("ada@example.org", "•••@•••"),
    ],
)
def test_an_example_shows_times_and_the_shape_of_what_could_lead_to_somebody(text: str, shown: str) -> None:
    assert mask_example(text) == shown


def test_substacks_subscribers_wait_unless_they_paid_and_the_page_says_why(world: Any) -> None:
    client = world.signed_in_client("admin")
    path = upload(
        client,
        "Email,Active Subscription,First payment at\npaid@county.example,true,2024-01-01\nfree@county.example,false,\n",
    )
    page = post_step(world, client, path, "try")
    assert table_of(page) == {"Consent with evidence": "1", "No evidence of consent": "1"}
    assert "Paying subscribers opted in when they subscribed" in page
    assert (
        "The export has no evidence of consent for subscribers with a free, gift, or complimentary subscription" in page
    )


def test_columns_with_other_headings_are_mapped_by_hand(world: Any) -> None:
    client = world.signed_in_client("admin")
    path = upload(client, "email,joined,opted in\nada2@county.example,2024-01-01,2024-01-02\n")
    assert "a known service" in client.get(path).text
    assert table_of(post_step(world, client, path, "try")) == {"No evidence of consent": "1"}
    mapped = post_step(world, client, path, "try", **{"column-1": "requested at", "column-2": "confirmed at"})
    assert table_of(mapped) == {"Consent with evidence": "1"}
    form = fields_of(mapped) | fetch_token(client) | {"column-1": "address"}
    refused = client.post(f"{path}/try", data=form)
    assert (refused.status_code, "Two columns are imported as “address.”" in refused.text) == (400, True)
    form = fields_of(mapped) | fetch_token(client) | {"attest": "letter of ada@county.example"}
    assert client.post(f"{path}/try", data=form).status_code == 400


def test_nothing_is_imported_that_was_not_tried(world: Any) -> None:
    client = world.signed_in_client("admin")
    path = upload(client, "email\nada2@county.example\n")
    refused = client.post(f"{path}/commit", data=fetch_token(client))
    assert (refused.status_code, "Start a dry run first" in refused.text) == (400, True)


def cut_short(world: Any, path: str) -> ListUpload:
    """Leave an import as a crash leaves it: some rows written, and its note says that it runs."""
    there: ListUpload = world.app.extensions["digest"].uploads.find(
        world.install, EVE, path.rpartition("/")[2], now=NOW
    )

    def stop_at_once(row: int, rows: int) -> None:
        raise WorkStoppedError(f"at {row} of {rows}")

    with pytest.raises(WorkStoppedError):
        list_transfers.import_list(world.install, EVE, there.file, ImportOptions(), now=NOW, progress=stop_at_once)
    save_upload_state(replace(there, stage=UploadStage.IMPORTING))
    return there


def test_an_import_that_was_cut_short_goes_on_or_is_taken_back(world: Any) -> None:
    client = world.signed_in_client("admin")
    text = "\n".join(["email,confirmed_at", *[f"p{n}@county.example,2024-01-01" for n in range(2500)]])
    path = upload(client, text)
    cut_short(world, path)
    page = client.get(path).text
    assert ("The import stopped" in page, "Continue import" in page) == (True, True)
    with world.database.read() as session:
        assert count_audience(session) == 1
    assert "Import 1 is finished." in post_step(world, client, path, "commit")
    with world.database.read() as session:
        assert count_audience(session) == 2501
    other = upload(client, text.replace("county", "city"))
    cut_short(world, other)
    assert "<b>Import 2</b>" in client.get("/admin/import").text
    typed = fetch_token(client) | {"number": "1"}
    assert client.post("/admin/import/unfinished/2/abandon", data=typed).status_code == 409
    taken = client.post("/admin/import/unfinished/2/abandon", data=typed | {"number": "2"}, follow_redirects=True)
    assert "Import 2 was undone." in taken.text
    with world.database.read() as session:
        assert count_audience(session) == 2501


def test_the_columns_of_a_list_come_with_the_sections_and_topics_that_tags_can_match(world: Any) -> None:
    client = world.signed_in_client("admin")
    (listed,) = re.findall("<p>Sections: (.+)</p>", client.get(upload(client, "email\nbo@county.example\n")).text)
    sections, _, topics = listed.partition(" Topics: ")
    assert ("Most read" in sections, "Maritime security" in topics) == (True, True)


def test_a_finished_import_is_undone_with_a_reason(both: Any) -> None:
    client = both.signed_in_client("admin")
    rows = f"email,confirmed_at\nbo@county.example,2024-01-01\n{ADA_ADDRESS},2024-01-01\n"
    path = upload(client, rows)
    post_step(both, client, path, "try")
    post_step(both, client, path, "commit")
    undo = "/admin/import/finished/1/undo"
    assert f'<a class="btn" href="{undo}">Undo import 1…</a>' in client.get(path).text
    assert f'<a href="{undo}">Undo import 1…</a>' in client.get("/admin/import").text
    preview = client.get(undo).text
    assert '<th scope="row">Added by this import</th><td class="num" data-label="Count">1</td>' in preview
    assert 'undo the import of <span class="foreign">audience.csv</span> until' in preview
    form = fetch_token(client)
    for fields in ({"reason": "wrong file"}, {"number": "1"}, {"reason": "wrong file", "number": "2"}):
        assert client.post(undo, data=form | fields).status_code == 409
    done = client.post(undo, data=form | {"reason": "wrong file", "number": "1"}, follow_redirects=True).text
    assert '1, <span class="foreign">audience.csv</span>' in done.replace("</a>", "")
    assert (
        "Import 1 was undone. 1 person was removed from the list." in done,
        'data-label="State:">Import undone</td>' in done,
    ) == (True, True)
    assert re.search(r'data-label="Undo:">Undone [A-Z][a-z]{2,}\.? \d+, \d{4}, \d+(:\d\d)? [ap]\.m\. \w+</td>', done)
    page = client.get(path).text
    assert ("Import 1 was undone." in page, "will get the next edition" in page) == (True, False)
    with both.database.read() as session:
        assert count_audience(session) == 1
        entry = session.scalars(select(AuditEntry).order_by(AuditEntry.id.desc())).first()
        assert entry is not None
        assert (entry.act, entry.detail["why"], entry.detail["people"]) == ("import undone", "wrong file", 1)
        assert seals.verify_ledger(session, both.install.keys).sound
        number = session.scalars(select(Person.number).where(Person.state == PersonState.REMOVED)).one()
    assert client.get(undo).status_code == 404
    record = client.get(f"/admin/readers/{number}").text
    assert ("can be imported again" in record, "Removed on" in record, "rased" in record) == (True, True, False)
    listed = client.get("/admin/readers").text  # its counts may be cached, so this is the first visit
    assert "<dt>Removed by undoing an import</dt>" in listed
    assert re.search(r"<option value=\"1\">1, [^<]+: audience.csv</option>", listed)
    again = upload(client, rows)
    assert table_of(post_step(both, client, again, "try")) == {"Consent with evidence": "1", "Already on the list": "1"}


def test_after_undoing_an_import_the_page_says_who_was_kept_and_why(world: Any) -> None:
    client = world.signed_in_client("admin")
    path = upload(client, "email,confirmed_at\nbo@county.example,2024-01-01\ncy@county.example,2024-01-01\n")
    post_step(world, client, path, "try")
    post_step(world, client, path, "commit")
    with world.database.read() as session:
        number = session.scalars(select(Person.number).order_by(Person.number.desc())).first()
    post_form(client, f"/admin/readers/{number}/leave", reason="asked")
    undo = client.post(
        "/admin/import/finished/1/undo", data=fetch_token(client) | {"reason": "wrong file", "number": "1"}
    )
    page = client.get(undo.location).text
    assert "Import 1 was undone. 1 person was removed from the list. Kept 1 person who has unsubscribed or was" in page
    assert "Kept: 1 unsubscribed since</small>" in client.get("/admin/audit").text


def test_someone_who_was_kept_with_a_corrected_address_is_counted_and_listed(both: Any) -> None:
    client, inbox = both.signed_in_client("admin"), Inbox(both)
    path = upload(client, "email,confirmed_at\nbo@county.example,2024-01-01\ncy@county.example,2024-01-01\n")
    post_step(both, client, path, "try")
    post_step(both, client, path, "commit")
    with both.database.read() as session:
        number = session.scalars(select(func.max(Person.number))).one()
    post_form(client, f"/admin/readers/{number}/correct", address="dy@county.example", reason="typo")
    (link,) = [read_link(mail) for mail in inbox.new() if mail["To"] == "dy@county.example"]
    both.client.post(link)
    assert "Import 1 (audience.csv), " in client.get(f"/admin/readers/{number}").text
    preview = client.get("/admin/import/finished/1/undo").text
    row = '<th scope="row">Confirmed or active since then</th><td class="num" data-label="Count">1</td><td>Kept.</td>'
    assert row in preview
    undo = client.post(
        "/admin/import/finished/1/undo", data=fetch_token(client) | {"reason": "wrong file", "number": "1"}
    )
    page = client.get(undo.location).text
    assert "Kept 1 person who has confirmed or been active since." in page
    (listed,) = re.findall(r'<a href="([^"]+)">Show them</a>', page)
    numbers = re.findall(r'data-label="Subscriber"><a href="/admin/readers/(\d+)"', client.get(listed).text)
    assert numbers == [str(number)]


def test_an_undo_counts_the_corrections_that_it_cancels_and_its_reason_is_recorded(both: Any) -> None:
    client, inbox = both.signed_in_client("admin"), Inbox(both)
    path = upload(client, "email,confirmed_at\nbo@county.example,2024-01-01\ncy@county.example,2024-01-01\n")
    post_step(both, client, path, "try")
    post_step(both, client, path, "commit")
    with both.database.read() as session:
        number = session.scalars(select(func.max(Person.number))).one()
    record = client.get(f"/admin/readers/{number}").text
    assert "Where: an imported file. Method: confirmed, according to the imported file. " in record
    assert "Agreed to: a text not included in the imported file." in record
    assert "For imported people, “State since” is the day of the import" in client.get("/admin/readers").text
    assert "Service: unknown" in client.get("/admin/audit").text
    page, form = "/admin/import/finished/1/undo", {"reason": "wrong file", "number": "1"}
    assert "will be canceled" not in client.get(page).text
    post_form(client, f"/admin/readers/{number}/correct", address="dy@county.example", reason="typo")
    mails = [mail for mail in inbox.new() if str(mail["To"]) in {"cy@county.example", "dy@county.example"}]
    links = {str(mail["To"]): read_link(mail) for mail in mails}
    row = 'data-label="Count">1</td><td>The pending address correction will be canceled.</td>'
    assert row in client.get(page).text
    client.post(page, data=fetch_token(client) | form)
    assert len(links) == 2
    for link in links.values():
        for method in ("GET", "POST"):
            answer = both.client.open(link, method=method)
            assert (answer.status_code, "has been erased" in answer.text) == (410, False)
    assert "This request is no longer open" in both.client.get(links["dy@county.example"]).text
    record = client.get(f"/admin/readers/{number}").text
    assert "Method: import undone. Reason: wrong file." in record
    assert "Deleted, but still counted" in client.get("/admin/readers").text
    assert "The consent history keeps it as evidence." in record


def test_an_undo_that_fails_at_once_is_not_reported_as_done(both: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    client = both.signed_in_client("admin")
    path = upload(client, "email,confirmed_at\nbo@county.example,2024-01-01\n")
    post_step(both, client, path, "try")
    post_step(both, client, path, "commit")

    def fail(*_: object) -> None:
        raise OSError("full")

    page, form = "/admin/import/finished/1/undo", fetch_token(client) | {"reason": "wrong file", "number": "1"}
    with monkeypatch.context() as patch:
        patch.setattr(import_undo, "_reverse_people", fail)
        with pytest.raises(OSError, match="full"):
            begin_undo(both.install, EVE, 1, "wrong file", now=NOW)
    listed = client.get("/admin/import").text
    assert "1 of its people haven’t been removed yet. They don’t get email." in listed
    assert "The undo was interrupted" in client.get(page).text
    assert "Import 1 was undone." in client.post(page, data=form, follow_redirects=True).text


def test_the_preview_of_an_undo_reads_no_chain_of_people_whom_the_import_alone_brought(
    both: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = both.signed_in_client("admin")
    path = upload(client, f"email,confirmed_at\nbo@county.example,2024-01-01\n{ADA_ADDRESS},2024-01-01\n")
    post_step(both, client, path, "try")
    post_step(both, client, path, "commit")
    monkeypatch.setattr(import_undo, "decide_undo", None)
    assert import_undo.count_undo(both.database, 1, now=NOW) == import_undo.UndoResult(removed=1)


def wait_until_counted(client: Any, undo: str) -> str:
    while "Refresh" in (shown := client.get(undo)).headers:
        time.sleep(0.05)
    return str(shown.text)


def test_the_people_of_a_large_import_are_counted_aside_before_its_undo(
    both: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = both.signed_in_client("admin")
    path = upload(client, "email,confirmed_at\nbo@county.example,2024-01-01\ncy@county.example,2024-01-01\n")
    post_step(both, client, path, "try")
    post_step(both, client, path, "commit")
    undo, may_count, count_undo = "/admin/import/finished/1/undo", Event(), import_undo.count_undo
    counted: list[int] = []

    def count_late(*arguments: Any, now: datetime) -> import_undo.UndoResult:
        counted.append(arguments[1])
        may_count.wait()
        return count_undo(*arguments, now=now)

    monkeypatch.setattr(undo_actions, "MAX_COUNTED_AT_ONCE", 1)
    monkeypatch.setattr(import_undo, "count_undo", count_late)
    with monkeypatch.context() as outdated:
        outdated.setattr(undo_actions, "_PREVIEW_LIFETIME", -1.0)  # a count may take longer than its result is kept
        for _ in range(2):
            counting = client.get(undo)
            assert ("Counting" in counting.text, "<form" in counting.text.partition("<main")[2]) == (True, False)
            assert "Refresh" in counting.headers
    form = fetch_token(client) | {"reason": "wrong file"}
    refused = client.post(undo, data=form | {"number": "2"})
    assert (refused.status_code, "Counting" in refused.text, 'role="alert"' in refused.text) == (409, True, True)
    assert "Refresh" not in refused.headers
    may_count.set()
    shown = wait_until_counted(client, undo)
    added = '<th scope="row">Added by this import</th><td class="num" data-label="Count">2</td>'
    assert (added in shown, added in client.get(undo).text) == (True, True)
    assert added in client.post(undo, data=form | {"number": "2"}).text
    assert counted == [1]
    monkeypatch.setattr(import_undo, "_reverse_people", None)
    with pytest.raises(TypeError):
        begin_undo(both.install, EVE, 1, "wrong file", now=NOW)
    assert "The undo was interrupted" in wait_until_counted(client, undo)
    assert counted == [1, 1]


def poll(count: Callable[[], ImportUndoPreview | None]) -> ImportUndoPreview:
    while (preview := count()) is None:
        time.sleep(0.05)
    return preview


def test_a_failed_count_of_a_large_import_is_begun_again(both: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    client = both.signed_in_client("admin")
    path = upload(client, "email,confirmed_at\nbo@county.example,2024-01-01\ncy@county.example,2024-01-01\n")
    post_step(both, client, path, "try")
    post_step(both, client, path, "commit")
    monkeypatch.setattr(undo_actions, "MAX_COUNTED_AT_ONCE", 1)
    count = partial(begin_preview, both.install, EVE, 1, now=NOW)
    with monkeypatch.context() as patch:
        patch.setattr(import_undo, "count_undo", None)
        with pytest.raises(TypeError):
            poll(count)
    assert poll(count).result.removed == 2


def test_an_undo_needs_a_fresh_sign_in_and_an_admin(world: Any) -> None:
    client = world.signed_in_client("admin")
    path = upload(client, "email,confirmed_at\nbo@county.example,2024-01-01\n")
    post_step(world, client, path, "try")
    post_step(world, client, path, "commit")
    stale = world.client
    stale.set_cookie(*world.session_cookie("admin", fresh_at=NOW - CONFIRMATION_LIFETIME))
    assert "Sign in again to undo it" in stale.get("/admin/import/finished/1/undo").text
    stale.post("/admin/import/finished/1/undo", data=fetch_token(stale) | {"reason": "wrong file", "number": "1"})
    with world.database.read() as session:
        assert count_audience(session) == 2
    editor = world.signed_in_client("editor")
    assert editor.get("/admin/import/finished/1/undo").status_code == 403


def test_departures_that_a_list_names_are_counted_where_an_admin_looks(world: Any) -> None:
    client = world.signed_in_client("admin")
    gone = "\n".join(["Email Address,UNSUB_TIME", *[f"gone{n}@county.example,2024-01-01" for n in range(11)]])
    path = upload(client, gone, "unsubscribed_members.csv")
    post_step(world, client, path, "try")
    assert table_of(post_step(world, client, path, "commit")) == {"Unsubscribed or bounced elsewhere": "11"}
    with world.database.read() as session:
        assert session.scalar(select(func.count()).select_from(Suppression)) == 11
        assert session.scalar(select(func.count()).select_from(Person)) == 1
    assert 'Suppressed import rows</dt><dd><a href="/admin/import">11</a></dd>' in client.get("/admin/readers").text
    assert "11 rows in all imports" in client.get("/admin/import").text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "The file is empty"),
        ("name,city\nAda,London\n", "No column contains email addresses"),
        ("PK\x03\x04x", "The ZIP file is damaged"),
    ],
)
def test_what_is_no_list_is_refused_and_not_kept(world: Any, text: str, why: str) -> None:
    client = world.signed_in_client("admin")
    file = (io.BytesIO(text.encode()), "x.csv")
    answer = client.post("/admin/import", data=fetch_token(client) | {"file": file}, content_type="multipart/form-data")
    assert (answer.status_code, why in answer.text) == (400, True)
    assert not list(world.install.settings.uploads_folder.iterdir())
    with world.database.read() as session:
        row = session.scalars(select(AuditEntry)).one()
    assert (row.act, why in row.detail["because"]) == ("failed: list uploaded", True)


def test_uploads_go_a_week_after_their_last_use(world: Any) -> None:
    client = world.signed_in_client("admin")
    upload(client, "email\nada2@county.example\n")
    now = datetime.now(UTC)
    assert delete_stale_uploads(world.install, now + timedelta(days=6)) == "0 old uploads removed"
    assert delete_stale_uploads(world.install, now + timedelta(days=8)) == "1 old uploads removed"
    assert "Uploaded" not in re.findall(r"<h2>(.*?)</h2>", client.get("/admin/import").text)


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("unsubscribed_segment_export_01.csv", "unsubscribed_segment_export_01.csv"),
        ("..\\..\\etc/passwd", "passwd"),
        ("ada@example.org.csv", "list.csv"),
        ("../upload.json", "list.csv"),
        ("upload.new", "list.csv"),
        ("Liste für alle.csv", "Liste f_r alle.csv"),
        ("...", "list.csv"),
    ],
)
def test_a_file_keeps_its_name_without_folder_and_address(name: str, kept: str) -> None:
    assert make_safe_file_name(name) == kept


@pytest.mark.parametrize("path", ["/admin/import", "/admin/import/0123456789abcdef"])
def test_an_editor_brings_no_list(world: Any, path: str) -> None:
    assert world.signed_in_client("editor").get(path).status_code == 403


def test_a_list_of_more_than_two_megabytes_comes_in_over_http(world: Any) -> None:
    client = world.signed_in_client("admin")
    name, value = world.session_cookie("admin")
    wide = "".join(f"p{n}@county.example,{'x' * 90_000}\n" for n in range(30))
    with open_page_server(world.app, "127.0.0.1", 0) as serving:
        page = HTTPConnection("127.0.0.1", serving.port, timeout=60)
        page.request("GET", "/admin/import", headers={"Cookie": f"{name}={value}"})
        shown = page.getresponse()
        form_cookie = re.findall(r"(\S*desk-form=[^;]+)", str(shown.headers))[0]
        token = form_token(shown.read().decode())["csrf_token"]
        parts = (
            f'--b\r\nContent-Disposition: form-data; name="csrf_token"\r\n\r\n{token}\r\n'
            f'--b\r\nContent-Disposition: form-data; name="file"; filename="wide.csv"\r\n\r\nemail,note\n{wide}\r\n--b--\r\n'
        )
        headers = {
            "Cookie": f"{name}={value}; {form_cookie}",
            "Content-Type": "multipart/form-data; boundary=b",
            "Referer": "https://localhost/admin/import",
            "Host": "localhost",
        }
        page.request("POST", "/admin/import", parts, headers)
        answer = page.getresponse()
        assert (answer.status, len(parts) > 2_500_000) == (303, True)
        page.close()
    assert "wide.csv" in client.get("/admin/import").text
