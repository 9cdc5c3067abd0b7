"""Subscribers, for admins: the list without addresses, the record, who can see an address, and every action on a subscriber."""

import re
from datetime import UTC, datetime, timedelta
from html import unescape
from pathlib import Path
from typing import Any

import pytest
from flask import get_template_attribute
from sqlalchemy import func, select

from digest import templating
from digest.app.subscribers import list_transfers
from digest.app.subscribers.subscriber_records import ConsentChainEntry
from digest.deliver.send.notices import notice_sending as notices
from digest.installation.audited_actions import CONFIRMATION_LIFETIME, ActionEntryPoint, Actor, Role
from digest.store.delivery_models import Delivery, DeliveryState, StoredDeliveryEvent
from digest.store.models import AuditEntry, EditionState
from digest.store.staff import require_staff_member, staff_actor
from digest.web.filters import refusal_sentence
from subscribers.address import read_address
from subscribers.consent import disclosures, suppression
from subscribers.consent.consent_texts import ConsentText, register_consent_text
from subscribers.consent.preferences import Preferences, change_preferences
from subscribers.lifecycle import my_data
from subscribers.signup.manual_signup import ConsentEvidence, add_subscriber
from subscribers.store.models import ConsentEvent, ConsentKind, Disclosure, Person, PersonState
from subscribers.subscriber_language import ENGLISH
from subscribers.transfer.options import ImportOptions
from tests.moments import DRAFTING as NOW
from tests.sent_emails import plain_text, send_notices
from tests.web.conftest import ADA_ADDRESS, MEMBERS, sample_evidence
from tests.web.forms import hidden_fields, post_form

BO_ADDRESS = "bo.bell@county.example"


def add(world: Any, address: str, **changed: Any) -> int:
    evidence = ConsentEvidence(**({"page": "Border expo"} | _evidence_fields() | changed))
    with world.database.write() as session:
        return add_subscriber(session, world.install.keys, address, evidence=evidence, now=NOW).number


def _evidence_fields() -> dict[str, Any]:
    given = sample_evidence()
    return {
        name: getattr(given, name)
        for name in ("wording", "wording_version", "language", "method", "actor", "agreed_at")
    }


def state_of(world: Any, number: int) -> PersonState:
    with world.database.read() as session:
        state: PersonState = session.get_one(Person, number).state
        return state


def acts(world: Any) -> list[tuple[str, str]]:
    with world.database.read() as session:
        rows = session.execute(select(AuditEntry.act, AuditEntry.subject).order_by(AuditEntry.id))
        return [tuple(row) for row in rows]


def stale_admin(world: Any) -> Any:
    client = world.client
    client.set_cookie(*world.session_cookie("admin", fresh_at=NOW - CONFIRMATION_LIFETIME))
    return client


def test_the_list_shows_subscribers_by_number_and_no_part_of_an_address(both: Any) -> None:
    bo = add(both, BO_ADDRESS)
    both.edition(state=EditionState.SENT)
    with both.database.write() as session:
        session.add(_delivery("d1", "edition:2026-W47", both.ada, DeliveryState.ACCEPTED))
    page = both.signed_in_client("admin").get("/admin/readers").text
    assert "<h1>2 subscribers</h1>" in page
    assert "everyone who’s subscribed now, paused or not" in page
    assert re.search(r"<dt>Get email</dt><dd><a [^>]*>2</a></dd>", page)
    assert f">{both.ada}</a>" in page
    assert page.index(f"/admin/readers/{bo}") < page.index(f"/admin/readers/{both.ada}")
    assert "Border expo" in page
    assert "No. 147, accepted" in page
    assert not {"ada.", "lovelace", "analytical", "bo.bell", "county.example<"} & set(re.findall(r"[\w.@<]+", page))
    assert "analytical" not in page
    assert "bell" not in page


@pytest.mark.parametrize("typed", ["{}", "subscriber {}", "#{}", " Subscriber #{} ", "0{}"])
def test_a_record_opens_by_its_number(world: Any, typed: str) -> None:
    answer = post_form(world.signed_in_client("admin"), "/admin/readers/open", number=typed.format(world.ada))
    assert (answer.status_code, answer.headers.get("Location")) == (303, f"/admin/readers/{world.ada}")


@pytest.mark.parametrize(
    ("typed", "status", "said"),
    [
        ("1,042", 404, "No subscriber has this number."),
        ("", 400, "Enter a subscriber number, such as 1042."),
        (ADA_ADDRESS, 400, "Enter a subscriber number, such as 1042."),
        ("٣", 400, "Enter a subscriber number, such as 1042."),
        ("9" * 30, 400, "number-said"),
    ],
)
def test_no_record_opens_by_what_is_no_number_of_a_subscriber(world: Any, typed: str, status: int, said: str) -> None:
    answer = post_form(world.signed_in_client("admin"), "/admin/readers/open", number=typed)
    assert (answer.status_code, said in answer.text) == (status, True)
    assert ADA_ADDRESS not in answer.text
    assert ('value="1,042"' in answer.text) == (typed == "1,042")
    assert post_form(world.desk, "/admin/readers/open", number=str(world.ada)).status_code == 403


def test_people_who_cannot_be_exported_lead_to_the_suppression_list(world: Any) -> None:
    admin = world.signed_in_client("admin")
    hint = "To tell another installation whom it must not email"
    pages = [admin.get(f"/admin/readers?state={state}").text for state in ("subscribed", "suppressed")]
    assert [(hint in page, "Export these subscribers…" in page) for page in pages] == [(False, True), (True, False)]


def test_an_export_takes_the_same_filter(both: Any) -> None:
    bo = add(both, BO_ADDRESS)
    with both.database.write() as session:
        change_preferences(session, bo, Preferences(pause_until=NOW.date() + timedelta(days=3)), NOW)
    admin = both.signed_in_client("admin")
    figures = admin.get("/admin/readers").text
    assert re.findall(r"<dt>Paused</dt><dd><a [^>]+>(\d+)<", figures) == ["1"]
    path = "/admin/readers/export?state=paused&until=2026-11-19"
    page = admin.get(path).text
    assert '<th scope="row">State</th><td>Paused</td>' in page
    file = post_form(admin, path, reason="to ask them", to="us").text
    assert (BO_ADDRESS in file, ADA_ADDRESS in file) == (True, False)
    with both.database.read() as session:
        row = session.scalars(select(AuditEntry).where(AuditEntry.act == "list exported")).one()
    assert (row.detail["paused on"], row.detail["before"]) == ("2026-11-19", "2026-11-20")


def test_every_count_of_a_state_leads_to_its_list(world: Any) -> None:
    add(world, BO_ADDRESS)
    with world.database.write() as session:
        session.get_one(Person, world.ada).state = PersonState.WITHDRAWN
    admin = world.signed_in_client("admin")
    paths = re.findall(r'<dd><a href="([^"]+)">1</a></dd>', admin.get("/admin/readers").text)
    assert [f'/admin/readers/{world.ada}">' in admin.get(path).text for path in paths] == [False, True]


def test_a_filter_by_sign_up_day_leaves_out_erased_people(world: Any) -> None:
    bo = add(world, BO_ADDRESS)
    with world.database.write() as session:
        session.get_one(Person, world.ada).state = PersonState.ERASED
    page = world.signed_in_client("admin").get("/admin/readers?since=2020-01-01").text
    assert re.findall(r'<a href="/admin/readers/(\d+)">', page) == [str(bo)]
    assert "Imported people without a sign-up time count as signed up on the day of the import." in page


def test_filters_by_state_place_domain_and_day_lead_to_a_url_without_the_domain(both: Any) -> None:
    bo = add(both, BO_ADDRESS)
    admin = both.signed_in_client("admin")

    def listed(**fields: str) -> list[int]:
        answer = post_form(admin, "/admin/readers/filter", reason="Their server blocks us", **fields)
        assert answer.status_code == 303
        assert "county" not in answer.headers["Location"]
        return [
            int(number)
            for number in re.findall(r'<a href="/admin/readers/(\d+)">', admin.get(answer.headers["Location"]).text)
        ]

    assert listed(domain="County.Example") == [bo]
    assert listed(domain="nowhere.example") == []
    assert listed(signup_source="Border expo") == [bo]
    assert listed(state="subscribed") == [bo, both.ada]
    assert listed(state="withdrawn") == []
    with both.database.write() as session:
        pause = Preferences(pause_until=NOW.date() + timedelta(days=3))
        change_preferences(session, bo, pause, NOW)
    assert listed(state="paused") == [bo]
    everyone = listed(state="subscribed")
    assert bo in everyone
    assert listed(state="mailed") == [number for number in everyone if number != bo]
    page = admin.get("/admin/readers?state=paused").text
    assert "<h2>1 match <small>of 2 records, newest first" in page
    assert listed(part="topics:border", frequency="weekly") == [bo, both.ada]
    assert listed(frequency="monthly") == []
    assert listed(state="paused", signup_source="the form") == [bo], "a source that isn't offered doesn't count"
    assert listed(until="2026-05-01") == []
    assert listed(since="2026-05-02", until="2026-05-02") == [bo, both.ada]
    assert listed(state="subscribed", domain="county.example", since="2026-05-01") == [bo]
    assert listed(since="2026-11-30") == []
    assert listed(state="nonsense", since="yesterday") == [bo, both.ada]


@pytest.mark.parametrize(
    "signup_source", [BO_ADDRESS, BO_ADDRESS.replace("@", "%40"), BO_ADDRESS.replace("@", "\uff20"), "nowhere"]
)
def test_a_forged_filter_puts_no_address_into_the_url(world: Any, signup_source: str) -> None:
    add(world, BO_ADDRESS)
    admin = world.signed_in_client("admin")
    answer = post_form(admin, "/admin/readers/filter", signup_source=signup_source)
    assert (answer.status_code, answer.headers["Location"]) == (303, "/admin/readers#list")
    assert BO_ADDRESS not in admin.get("/admin/readers", query_string={"signup_source": signup_source}).text


def test_the_list_shows_the_day_that_it_is_filtered_by(world: Any) -> None:
    add(world, BO_ADDRESS, agreed_at=datetime(2025, 3, 2, 15, tzinfo=UTC))
    admin = world.signed_in_client("admin")
    page = admin.get("/admin/readers?signup_source=Border+expo&since=2025-03-02").text
    assert '<td data-label="State since:">Nov. 19, 2026</td>' in page
    assert '<td data-label="Signed up:">March 2, 2025</td>' in page
    assert "/admin/readers/1" not in admin.get("/admin/readers?signup_source=Border+expo&since=2025-03-03").text


def test_a_domain_is_searched_for_like_a_part_of_an_address(world: Any) -> None:
    fields = {"domain": "county.example", "reason": "Their server blocks us"}
    add(world, BO_ADDRESS)
    stale = stale_admin(world)
    refused = post_form(stale, "/admin/readers/filter", **fields)
    assert (refused.status_code, refused.location.startswith("/desk/confirm")) == (303, True)
    assert post_form(stale, "/admin/readers/filter", domain="gmail.com").location.startswith("/admin/readers?domain")
    admin = world.signed_in_client("admin")
    for reason, said in (
        ("", "The reason is missing."),
        ("ada@county.example asked", "The reason contains an address or an @"),
    ):
        answer = post_form(
            admin, "/admin/readers/filter", domain="county.example", reason=reason, signup_source="Border expo"
        )
        assert (answer.status_code, said in answer.text) == (400, True), answer.text
        invalid = re.findall(r'name="(\w+)"[^>]* aria-invalid="true"', answer.text)
        assert (invalid, "<option selected>Border expo" in answer.text) == (["reason"], True)
    assert post_form(admin, "/admin/readers/filter", **fields).location.startswith("/admin/readers?domain")
    assert acts(world) == [("refused: addresses searched", "the list"), ("addresses searched", "the list")]
    with world.database.read() as session:
        details = session.scalars(select(AuditEntry.detail).where(AuditEntry.act == "addresses searched")).all()
    assert details == [{"why": "Their server blocks us"}]


def test_a_domain_that_is_none_is_said_on_the_page(world: Any) -> None:
    answer = post_form(world.signed_in_client("admin"), "/admin/readers/filter", domain="not a domain")
    assert (answer.status_code, "a domain. Enter the part after the @" in answer.text) == (400, True)


def test_an_empty_list_says_what_to_do(world: Any) -> None:
    admin = world.signed_in_client("admin")
    post_form(admin, f"/admin/readers/{world.ada}/erase", reason="asked by letter", number=str(world.ada))
    assert "No matching subscribers" in admin.get("/admin/readers?state=subscribed").text


def test_a_subscriber_is_found_by_the_whole_address_in_whatever_case(both: Any) -> None:
    admin = both.signed_in_client("admin")
    found = post_form(admin, "/admin/readers/find", address=ADA_ADDRESS.title())
    assert (found.status_code, found.headers["Location"]) == (303, f"/admin/readers/{both.ada}")
    missed = post_form(admin, "/admin/readers/find", address="nobody@analytical.example")
    assert (missed.status_code, "No subscriber has this address" in missed.text) == (404, True)
    assert 'name="address" value="nobody@analytical.example"' in missed.text, "to be corrected"
    assert (missed.headers["Cache-Control"], "nobody@" in admin.get("/admin/readers").text) == ("no-store", False)
    assert acts(both) == [
        ("subscriber looked up", f"person {both.ada}"),
        ("failed: subscriber looked up", "an address"),
    ]


def test_an_address_is_shown_after_a_reason_for_a_quarter_of_an_hour_and_its_owner_sees_that(both: Any) -> None:
    admin = both.signed_in_client("admin")
    record = f"/admin/readers/{both.ada}"
    assert ADA_ADDRESS not in admin.get(record).text
    refused = post_form(admin, f"{record}/address", why="other", other="wrote from bo@x.example")
    assert (refused.status_code, "The reason contains an address or an @" in refused.text) == (400, True)
    assert ADA_ADDRESS not in admin.get(record).text
    assert post_form(admin, f"{record}/address", why="The subscriber asked").status_code == 303
    page = admin.get(record).text
    assert f"<b>{ADA_ADDRESS}</b>" in page
    assert "The address is shown until 5:45 p.m. ET." in page
    assert ADA_ADDRESS not in admin.get(f"{record}?address=hidden").text
    assert ADA_ADDRESS not in admin.get("/admin/readers").text
    with both.database.read() as session:
        (seen,) = disclosures.list_disclosures(session, both.ada)
    assert (seen.to_whom, seen.why, seen.reference) == ("our staff", "The subscriber asked", "team member 1, sign-in 1")
    assert acts(both)[-1] == ("subscriber address shown", f"person {both.ada}")


def test_a_look_belongs_to_one_sign_in_and_ends_with_it(world: Any) -> None:
    admin, record = world.signed_in_client("admin"), f"/admin/readers/{world.ada}"
    post_form(admin, f"{record}/address", why="The subscriber asked")
    assert ADA_ADDRESS in admin.get(record).text
    assert ADA_ADDRESS not in world.signed_in_client("admin").get(record).text
    with world.database.write() as session:
        session.scalars(select(Disclosure)).one().at = NOW - timedelta(minutes=15)
    assert ADA_ADDRESS not in admin.get(record).text


def test_what_shows_or_moves_an_address_asks_for_a_fresh_sign_in(world: Any) -> None:
    admin, record = stale_admin(world), f"/admin/readers/{world.ada}"
    assert admin.get(record).status_code == admin.get("/admin/readers").status_code == 200
    for path in (f"{record}/address", f"{record}/erase", f"{record}/request", "/admin/readers/add"):
        assert admin.get(path).headers["Location"] == f"/desk/confirm?next={path}"
    for path in (f"{record}/address", f"{record}/leave", f"{record}/request/json", "/admin/readers/find"):
        answer = post_form(admin, path, back=record, why="The subscriber asked", reason="asked", address=ADA_ADDRESS)
        assert answer.headers["Location"] == f"/desk/confirm?next={record}", path
    assert state_of(world, world.ada) is PersonState.SUBSCRIBED
    assert acts(world) == []


def test_an_editor_sees_nothing_of_it(world: Any) -> None:
    editor = world.desk
    for path in ("/admin/readers", f"/admin/readers/{world.ada}", "/admin/readers/add"):
        assert editor.get(path).status_code == 403


def test_the_record_tells_consent_mails_and_passages_in_words(both: Any) -> None:
    both.edition(state=EditionState.SENT)
    with both.database.write() as session:
        session.add(_delivery("d1", "edition:2026-W47", both.ada, DeliveryState.REFUSED, reply="550 5.1.1 unknown"))
        session.add(_delivery("d2", "welcome:1", both.ada, DeliveryState.ACCEPTED, tries=2))
        session.add(
            StoredDeliveryEvent(delivery="d2", kind="complained", at=NOW, received_at=NOW, fingerprint="f", detail={})
        )
    page = both.signed_in_client("admin").get(f"/admin/readers/{both.ada}").text
    assert "Subscribed since May 3, 2026" in page
    assert "Record verified (1 event)" in page
    assert "<b>Added</b> by an admin who vouched for their consent." in page
    assert "“Send me the weekly mail.” This isn’t a version of your consent text." in page
    assert re.search(r"No\. 147</th><td[^>]*>Refused \(mailbox doesn.t exist\)", page)
    assert re.search(r"Welcome and consent receipt</th><td[^>]*>Accepted on attempt 2, then reported as spam", page)
    assert "To send you No. 147" in page
    assert "All sections." in page


def test_a_record_calls_nothing_agreed_words_that_nobody_agreed_to(world: Any) -> None:
    client, staff = world.signed_in_client("admin"), _admin(world)
    file = world.install.settings.home / "audience.csv"
    file.write_text(
        "Email Address,OPTIN_TIME,CONFIRM_TIME\n"
        "eve@county.example,2024-03-02 14:11:05,2024-03-02 14:12:00\nbo@county.example,,\n"
        "cy@county.example,2024-03-01,2024-03-02\n",
        "utf-8",
    )
    list_transfers.import_list(world.install, staff, file, ImportOptions(), now=NOW, progress=lambda *_: None)
    agreed, listed = (client.get(f"/admin/readers/{number}").text for number in (world.ada + 1, world.ada + 2))
    assert "Agreed to: “" not in agreed
    assert "Agreed to: a text not included in the export from Mailchimp." in agreed
    assert "Import 1 (audience.csv from Mailchimp), Mailchimp (imported)" in agreed
    assert "Signed up: March 2, 2024, 9:11 a.m. ET. Agreed: March 2, 2024, 9:12 a.m. ET." in agreed
    assert re.search(r"Import 1, row 2, by [^ ]+ \(team member \d+\)\.", agreed)
    assert ("Agreed to" in listed, "Import 1, row 3" in listed) == (False, True)
    dated = client.get(f"/admin/readers/{world.ada + 3}").text
    assert "Signed up: March 1, 2024. Agreed: March 2, 2024. " in dated, "the file has no hours"
    # What the person themselves is shown.
    with world.database.read() as session:
        history = my_data.list_consent_history(session, world.ada + 1, ENGLISH)
    assert [(entry.wording, entry.words_unknown) for entry in history] == [("", True)]


def _admin(world: Any) -> Actor:
    with world.database.read() as session:
        return Actor(
            staff_actor(require_staff_member(session, MEMBERS["admin"])), Role.ADMIN, ActionEntryPoint.DESK, NOW
        )


def test_the_words_of_a_question_are_no_agreed_words(world: Any) -> None:
    link = ConsentChainEntry(NOW, ConsentKind.REQUESTED, {"wording_version": "3"}, words="Yes.")
    with world.app.test_request_context():
        evidence = get_template_attribute("web/admin/subscribers/subscriber_words.html", "evidence")(link, {})
    assert evidence.strip() == "Shown: “Yes.” Consent text 3."


def test_a_record_that_was_tampered_with_says_so(both: Any) -> None:
    with both.database.write() as session:
        session.get_one(Person, both.ada).state = PersonState.WITHDRAWN
    page = both.signed_in_client("admin").get(f"/admin/readers/{both.ada}").text
    assert "This record failed verification" in page
    assert "the state is subscribed in the record but withdrawn in the row" in page


@pytest.mark.parametrize(
    ("act", "state", "audited"),
    [
        ("leave", PersonState.WITHDRAWN, "subscriber withdrawn"),
        ("stop", PersonState.SUPPRESSED, "address suppressed"),
        ("links", PersonState.SUBSCRIBED, "links renewed"),
        ("erase", PersonState.ERASED, "subscriber erased"),
    ],
)
def test_acts_on_a_subscriber_ask_why_and_stand_in_the_audit_log(
    both: Any, act: str, state: PersonState, audited: str
) -> None:
    admin, record = both.signed_in_client("admin"), f"/admin/readers/{both.ada}"
    assert post_form(admin, f"{record}/{act}", reason=" ", number=str(both.ada)).status_code == 400
    assert (state_of(both, both.ada), acts(both)) == (PersonState.SUBSCRIBED, [])
    answer = post_form(admin, f"{record}/{act}", reason="asked by phone", number=str(both.ada))
    assert (answer.status_code, answer.headers["Location"]) == (303, record)
    assert state_of(both, both.ada) is state
    assert acts(both) == [(audited, f"person {both.ada}")]
    assert 'class="note ok"' in admin.get(record).text
    assert 'class="note ok"' not in admin.get(record).text, "later, it may no longer be true"


def test_a_record_says_who_renewed_the_links_and_why(both: Any) -> None:
    admin, record = both.signed_in_client("admin"), f"/admin/readers/{both.ada}"
    post_form(admin, f"{record}/links", reason="forwarded an email", number=str(both.ada))
    history = " ".join(re.sub(r"<[^>]+>", " ", admin.get(record).text).split())
    assert "Renewed links. Links in earlier emails work only for unsubscribing." in history
    assert "Reason: forwarded an email (entered by an admin). By: ann (team member" in history
    assert "failed verification" not in history


@pytest.mark.parametrize("act", ["leave", "stop", "links", "erase"])
def test_an_act_that_finds_nothing_to_do_says_so_and_is_not_audited(both: Any, act: str) -> None:
    admin, record = both.signed_in_client("admin"), f"/admin/readers/{both.ada}"
    first, number = "erase" if act == "links" else act, str(both.ada)
    post_form(admin, f"{record}/{first}", reason="asked by phone", number=number)
    audited, links = acts(both), chain_length(both)
    answer = post_form(admin, f"{record}/{act}", reason="asked by phone", number=number)
    assert "No change. This" in admin.get(answer.headers["Location"]).text
    assert (acts(both), chain_length(both)) == (audited, links)


def chain_length(world: Any) -> int:
    with world.database.read() as session:
        return session.scalar(select(func.count()).where(ConsentEvent.person == world.ada)) or 0


def test_nothing_is_asked_about_a_number_that_is_nobodys(world: Any) -> None:
    admin = world.signed_in_client("admin")
    for page in ("leave", "stop", "links", "erase", "address", "request", "correct", "preferences", ""):
        answer = admin.get(f"/admin/readers/999999/{page}".rstrip("/"))
        assert (answer.status_code, "No subscriber has the number 999,999." in answer.text) == (404, True), page
        assert '<a class="btn go" href="/admin/readers">Find a subscriber</a>' in answer.text
    for page in ("leave", "stop", "links", "erase", "address", "request"):
        assert admin.get(f"/admin/readers/{world.ada}/{page}").status_code == 200


def test_a_refusal_begins_with_a_capital_letter_on_a_page(world: Any) -> None:
    admin, evidence = world.signed_in_client("admin"), {"wording": "Yes", "where": "Expo", "method": "list"}
    post_form(admin, f"/admin/readers/{world.ada}/stop", reason="asked")
    refused = post_form(admin, "/admin/readers/add", address=ADA_ADDRESS, on="2026-05-01", **evidence)
    assert (refused.status_code, "<p>This address is suppressed" in refused.text) == (400, True)


def test_every_page_writes_its_refusal_as_a_sentence() -> None:
    assert refusal_sentence("too far") == "Too far."
    assert refusal_sentence("No backup folder is set.") == "No backup folder is set."
    pages = Path(templating.__file__).parent.parent / "templates" / "web"
    raw = [
        page.name
        for page in pages.rglob("*.html")
        if re.search(r"\{\{ *refusal *\}\}", page.read_text(encoding="utf-8"))
    ]
    assert (len(list(pages.rglob("*.html"))) > 50, raw) == (True, [])


def test_why_mail_was_stopped_stands_in_the_record(world: Any) -> None:
    admin, record = world.signed_in_client("admin"), f"/admin/readers/{world.ada}"
    post_form(admin, f"{record}/stop", reason="threatened to sue")
    assert "Reason: threatened to sue (entered by an admin)." in admin.get(record).text


def test_nobody_is_erased_without_their_number_being_typed(world: Any) -> None:
    admin = world.signed_in_client("admin")
    for typed in ("", "7", f"{world.ada}0"):
        assert post_form(admin, f"/admin/readers/{world.ada}/erase", reason="asked", number=typed).status_code == 400
    assert state_of(world, world.ada) is PersonState.SUBSCRIBED


def test_an_address_that_is_stopped_by_number_stays_away(world: Any) -> None:
    post_form(world.signed_in_client("admin"), f"/admin/readers/{world.ada}/stop", reason="asked")
    with world.database.read() as session:
        found = suppression.find_suppression(session, world.install.keys, read_address(ADA_ADDRESS))
    assert found is not None
    assert found.reason == "by an admin"


def test_an_erased_subscriber_has_no_address_to_show_and_no_act_left(world: Any) -> None:
    admin, record = world.signed_in_client("admin"), f"/admin/readers/{world.ada}"
    post_form(admin, f"{record}/address", why="The subscriber asked")
    post_form(admin, f"{record}/erase", reason="asked by letter", number=str(world.ada))
    page = admin.get(record).text
    assert ADA_ADDRESS not in page
    assert "Erased on" in page
    assert "Removed from the list when the subscriber was erased. The consent history keeps it as evidence." in page
    assert "As the subscriber sees them" not in page
    assert "Show address" not in page
    assert "acts-title" not in page
    assert 'aria-labelledby="source-title"' in page
    assert f"{record}/erase" not in page
    assert post_form(admin, f"{record}/address", why="The subscriber asked").status_code == 409


def test_a_data_request_is_answered_by_a_link_in_one_step_and_by_files(both: Any) -> None:
    admin, record = both.signed_in_client("admin"), f"/admin/readers/{both.ada}"
    mailed = post_form(admin, f"{record}/request/mail")
    assert "is on its way" in admin.get(mailed.headers["Location"]).text
    post_form(admin, f"{record}/request/mail")
    assert "a link sent in the last 24 hours still works" in admin.get(record).text
    with both.database.read() as session:
        assert notices.has_due_notices(session, now=NOW)
        purposes = session.scalars(select(Delivery.purpose)).all()
    assert [purpose.partition(":")[0] for purpose in purposes] == ["data"]
    paper, machine = post_form(admin, f"{record}/request/html"), post_form(admin, f"{record}/request/json")
    assert ADA_ADDRESS in paper.text
    assert machine.json["pii_information"]["email_address"] == ADA_ADDRESS
    assert machine.headers["Content-Disposition"] == f'attachment; filename="subscriber-{both.ada}.json"'
    assert machine.headers["Cache-Control"] == "no-store"
    with both.database.read() as session:
        seen = disclosures.list_disclosures(session, both.ada)
    assert [passage.why for passage in seen] == ["to answer your request for your data"] * 2
    files = ("answer to print", "complete record as JSON")
    assert [passage.reference.rpartition(", ")[2] for passage in seen] == list(files)
    assert acts(both) == [("data link mailed", f"person {both.ada}"), *[("subscriber shown", f"person {both.ada}")] * 2]
    log = admin.get("/admin/audit").text
    assert [name for name in files if f"File: {name}" not in log] == []
    assert ADA_ADDRESS not in admin.get(record).text, "a file for the subscriber shows no address on pages"


def test_the_email_about_a_request_by_phone_does_not_claim_that_it_was_made_on_a_page(world: Any) -> None:
    post_form(world.signed_in_client("admin"), f"/admin/readers/{world.ada}/request/mail")
    (email,) = send_notices(world.install, now=NOW)
    text = " ".join(plain_text(email).split())
    assert "You asked the HLS.Today team for your data. Use this link" in text
    assert "preferences page" not in text


EVIDENCE = {"on": "2026-06-16", "where": "Roundtable", "method": "signed list", "wording": "Send me the weekly mail."}


@pytest.mark.parametrize(
    ("page", "fields", "way_to_keep", "typed"),
    [
        ("add", EVIDENCE, "select the button again", "bo@gmial.com"),
        ("1/correct", {"reason": "misheard"}, "enter it again", None),
    ],
)
def test_a_likely_typo_in_the_domain_is_asked_about_once(
    both: Any, page: str, fields: dict[str, str], way_to_keep: str, typed: str | None
) -> None:
    admin, path = both.signed_in_client("admin"), f"/admin/readers/{page}"
    asked = post_form(admin, path, address="bo@gmial.com", **fields)
    assert (asked.status_code, "Did you mean gmail.com?" in asked.text) == (400, True)
    assert f"Correct the address, or {way_to_keep} if it’s right." in unescape(asked.text)
    (field,) = re.findall(r'<input[^>]* name="address"[^>]*>', asked.text)
    assert (f'value="{typed}"' in field) == (typed is not None)
    kept = hidden_fields(asked.text)["kept"]
    assert post_form(admin, path, address="bo@hotmial.com", kept=kept, **fields).status_code == 400
    assert post_form(admin, path, address="bo@gmial.com", kept=kept, **fields).status_code == 303


def test_words_that_were_typed_in_are_no_version_of_the_publications_text(both: Any) -> None:
    admin = both.signed_in_client("admin")
    with both.database.write() as session:
        register_consent_text(session, ConsentText("en", "Yes, email me Test once a week."), NOW)
    fields = {"address": BO_ADDRESS, "on": "2026-06-16", "where": "Roundtable", "method": "signed list"}
    added = post_form(admin, "/admin/readers/add", wording="Send me the weekly mail.", **fields)
    page = admin.get(added.headers["Location"]).text
    assert "“Send me the weekly mail.” This isn’t a version of your consent text." in page
    assert "Consent text 1" not in page
    fields["address"] = "cy@example.org"
    added = post_form(admin, "/admin/readers/add", wording="Yes, email me Test once a week.", **fields)
    assert "“Yes, email me Test once a week.” Consent text 1." in admin.get(added.headers["Location"]).text


def test_a_subscriber_is_added_with_evidence(both: Any) -> None:
    admin = both.signed_in_client("admin")
    fields = {"address": BO_ADDRESS, "on": "2026-06-16", "where": "Port security roundtable"}
    fields |= {"method": "signed list", "wording": "Send me the weekly mail."}
    answer = post_form(admin, "/admin/readers/add", **fields)
    assert answer.status_code == 303
    page = admin.get(answer.headers["Location"]).text
    assert "Subscriber added." in page
    assert "Port security roundtable" in page
    assert BO_ADDRESS not in page
    known = post_form(admin, "/admin/readers/add", **fields)
    assert "was already subscribed" in admin.get(known.headers["Location"]).text


@pytest.mark.parametrize(
    ("changed", "why"),
    [
        ({"address": "nobody"}, "The address has no @"),
        ({"on": "soon"}, "Enter the date the person agreed"),
        ({"on": "2027-01-01"}, "is in the future"),
        ({"on": "0001-01-01"}, "is from before email existed"),
        ({"wording": " "}, "Describe the evidence in words"),
        ({"where": "bo@x.example"}, "include email addresses"),
    ],
)
def test_a_subscriber_without_evidence_is_not_added(world: Any, changed: dict[str, str], why: str) -> None:
    fields = {"address": BO_ADDRESS, "on": "2026-06-16", "where": "Expo", "method": "list", "wording": "Yes."} | changed
    answer = post_form(world.signed_in_client("admin"), "/admin/readers/add", **fields)
    assert (answer.status_code, why in answer.text) == (400, True)
    with world.database.read() as session:
        assert session.scalars(select(Person.number)).all() == [world.ada]


def _delivery(id_: str, purpose: str, person: int, state: DeliveryState, **changed: Any) -> Delivery:
    fields = {"due_at": NOW, "next_try_at": NOW, "handed_at": NOW, "tries": 1, "transport": "smtp"} | changed
    return Delivery(id=id_, purpose=purpose, person=person, state=state, **fields)
