"""Deliveries, for admins: counts that add up, refusals by reason and recipient, uncertain deliveries, and the pause."""

import io
import re
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import select

from digest.app.sending.uncertain_delivery_actions import resolve_uncertain
from digest.app.upkeep.nightly_steps import cache_finished_delivery_counts
from digest.deliver.control import installation_hold
from digest.deliver.send.uncertain.uncertain_deliveries import UncertainResolution
from digest.installation import sending_pause
from digest.store.delivery_models import Delivery, DeliveryState, QueuedNoticeEmail, StoredDeliveryEvent
from digest.store.models import AuditEntry, Edition, EditionState
from subscribers.address import read_address
from subscribers.crypto.stored_addresses import make_domain_tag
from subscribers.signup.manual_signup import add_subscriber
from tests.actors import ADMIN
from tests.deliver.postfix_lines import iso_line, log_text, queue_lines
from tests.moments import DRAFTING as NOW
from tests.moments import RELEASE
from tests.web.conftest import sample_evidence
from tests.web.forms import post_form

OLD, NEW = "2026-W45", "2026-W47"


def delivery(number: int, purpose: str, state: DeliveryState, person: int | None, **changed: Any) -> Delivery:
    handed_at = NOW - timedelta(days=2)
    fields: dict[str, Any] = {"due_at": handed_at, "next_try_at": handed_at, "handed_at": handed_at, "tries": 1}
    fields |= {"transport": "sendgrid", "reply": ""}
    return Delivery(id=f"d{number:025d}", purpose=purpose, person=person, state=state, **(fields | changed))


def fill(world: Any) -> list[int]:
    """Store two editions that went out, to six readers, with all that can come of it, and some notices and tests."""
    world.edition(name=OLD, number=145, state=EditionState.SENT, release_at=RELEASE - timedelta(days=14))
    world.edition(name=NEW, number=147, state=EditionState.SENT, release_at=NOW - timedelta(days=2))
    keys = world.install.keys
    with world.database.write() as session:
        people = [
            add_subscriber(session, keys, f"r{n}@gmail.com", evidence=sample_evidence(), now=NOW).number
            for n in range(6)
        ]
        gmail, county = (
            make_domain_tag(keys, read_address(f"a@{domain}")) for domain in ("gmail.com", "county.example")
        )
        states = [DeliveryState.ACCEPTED, DeliveryState.REFUSED, DeliveryState.REFUSED, *[DeliveryState.UNCERTAIN] * 3]
        replies = ["", "550 5.1.1 no such user", "552 5.2.2 full", "", "", "the connection broke"]
        tags = [gmail, gmail, county, gmail, gmail, gmail]
        for place, person in enumerate(people):
            fields = {"reply": replies[place], "domain_tag": tags[place]}
            session.add(delivery(place, f"edition:{NEW}", states[place], person, **fields))
            session.add(delivery(100 + place, f"edition:{OLD}", DeliveryState.ACCEPTED, person))
        session.add(delivery(200, "welcome:1", DeliveryState.ACCEPTED, people[0]))
        session.add(delivery(201, "welcome:2", DeliveryState.WAITING, people[1]))
        session.add(delivery(202, f"test:{NEW}:abcd", DeliveryState.ACCEPTED, None))
        session.add(
            StoredDeliveryEvent(
                delivery=f"d{0:025d}", kind="complained", at=NOW, received_at=NOW, fingerprint="a", detail={}
            )
        )
        session.flush()
        for row in session.scalars(select(Edition)):
            row.planned = 6
    return people


def cells(page: str, edition_number: int) -> list[str]:
    row = re.findall(rf"<tr><th scope=\"row\">[^\n]*No\. {edition_number}</a>.*?</tr>", page, re.DOTALL)[0]
    return re.findall(r'<td class="num"[^>]*>(?:<a [^>]*>)?([^<]*)(?:</a>)?</td>', row)


def test_every_edition_stands_with_counts_that_add_up_and_what_came_of_the_newest(both: Any) -> None:
    people = fill(both)
    page = both.signed_in_client("admin").get("/admin/deliveries").text
    assert cells(page, 147) == ["6", "1", "2", "3", "0", "0", "0"]
    assert cells(page, 145) == ["6", "6", "0", "0", "0", "0", "0"]
    rows = re.findall(
        r'<th scope="row">([^<]*)</th><td><b>([^<]*)</b> <small>“([^”]*)”.*?"Emails"><a href="[^"]*">(\d+)<', page
    )
    assert sorted((*row[1:], row[0].partition(" provider")[0]) for row in rows) == [
        ("Mailbox full", "552 5.2.2 full", "1", "Unnamed"),
        ("No such mailbox", "550 5.1.1 no such user", "1", "gmail.com"),
    ]
    assert "county" not in page
    assert "With fewer, the name could point to a person." in page
    assert "1 subscriber reported it as spam" in re.sub(r"</?a[^>]*>", "", page)
    assert re.search(
        r"Welcome and consent receipt</th><td[^>]*>2</td><td>1 (accepted|waiting), 1 (accepted|waiting)<", page
    )
    assert f'<th scope="row">{NEW}</th><td>1 accepted</td>' in page
    assert all(f"/admin/readers/{person}" in page for person in people[3:])
    older = both.signed_in_client("admin").get(f"/admin/deliveries?edition={OLD}").text
    assert "No refused emails" in older
    assert both.signed_in_client("admin").get("/admin/deliveries?edition=2019-W01").status_code == 404


def test_doubts_are_settled_by_a_word_each_with_a_reason(both: Any) -> None:
    fill(both)
    admin, path = both.signed_in_client("admin"), f"/admin/deliveries/{NEW}/doubts"
    words = {f"word-d{3:025d}": "arrived", f"word-d{4:025d}": "again", f"word-d{5:025d}": ""}
    assert post_form(admin, path, **words, reason="").status_code == 400
    refused = post_form(admin, path, **words, reason="ada@example.org asked")
    checked = re.findall(r'name="(word-[^"]+)" value="([^"]*)" checked', refused.text)
    assert (refused.status_code, dict(checked)) == (400, words), "what was chosen stays"
    assert re.findall(r'name="reason" value="([^"]*)"', refused.text) == ["ada@example.org asked"]
    answer = post_form(admin, path, **words, reason="looked into the log")
    assert answer.headers["Location"] == f"/admin/deliveries?edition={NEW}&settled=2"
    assert "2 deliveries resolved." in admin.get(answer.headers["Location"]).text
    with both.database.read() as session:
        states = dict(
            session.execute(select(Delivery.id, Delivery.state).where(Delivery.purpose == f"edition:{NEW}")).all()
        )
        audit = session.scalars(select(AuditEntry).order_by(AuditEntry.id)).all()
        edition = session.scalars(select(Edition).where(Edition.name == NEW)).one()
    assert [states[f"d{place:025d}"] for place in (3, 4, 5)] == ["accepted", "waiting", "uncertain"]
    assert [(row.act, row.subject) for row in audit] == [
        ("uncertain taken as accepted", NEW),
        ("uncertain sent again", NEW),
    ]
    assert audit[0].detail["because"] == "looked into the log"
    assert edition.state is EditionState.SENDING


def test_what_is_settled_already_or_of_another_edition_stays_as_it_is(world: Any) -> None:
    fill(world)
    admin = world.signed_in_client("admin")
    words = {f"word-d{0:025d}": "again", f"word-d{101:025d}": "again", "word-nonsense": "arrived"}
    answer = post_form(admin, f"/admin/deliveries/{NEW}/doubts", **words, reason="asked")
    assert "No deliveries were resolved" in admin.get(answer.headers["Location"]).text
    with world.database.read() as session:
        assert session.get_one(Delivery, f"d{0:025d}").state is DeliveryState.ACCEPTED


def test_silence_beside_reported_neighbours_is_said(world: Any) -> None:
    fill(world)
    page = world.signed_in_client("admin").get("/admin/deliveries").text
    assert page.count("Probably not accepted") == 3


def test_old_counts_are_kept_every_night_and_anew_where_a_doubt_is_settled(both: Any) -> None:
    fill(both)
    with both.database.write() as session:
        session.get_one(Delivery, f"d{103:025d}").state = DeliveryState.UNCERTAIN
    assert cache_finished_delivery_counts(both.install, NOW) == "deliveries of 1 editions counted"
    with both.database.write() as session:
        session.get_one(Delivery, f"d{104:025d}").state = DeliveryState.REFUSED
    admin = both.signed_in_client("admin")
    assert cells(admin.get("/admin/deliveries").text, 145)[1:4] == ["5", "0", "1"]
    resolve_uncertain(
        both.install, OLD, [f"d{103:025d}"], UncertainResolution.ACCEPTED, reason="x", actor=ADMIN, clock=lambda: NOW
    )
    assert cells(admin.get("/admin/deliveries").text, 145)[1:4] == ["5", "1", "0"]


def test_all_mail_is_held_with_a_reason_and_released(both: Any) -> None:
    admin = both.signed_in_client("admin")
    assert "No editions sent yet" in admin.get("/admin/deliveries").text
    assert post_form(admin, "/admin/deliveries/hold", reason=" ").status_code == 400
    assert post_form(admin, "/admin/deliveries/hold", reason="a wrong list").status_code == 303
    page = admin.get("/admin/deliveries").text
    assert "All sending is paused" in page
    assert not re.search(r"by staff \d|staff \d holds", page), "a colleague is named, not numbered"
    assert "emails wait. You paused it (“a wrong list”). Once that’s settled, <a href" in page
    asked = "(“a wrong list”). Ask whether that’s resolved. Once that’s settled, an admin can resume"
    assert asked in both.desk.get("/desk/calendar").text
    assert post_form(admin, "/admin/deliveries/release").status_code == 303
    for is_first_look in (True, False):
        page = admin.get("/admin/deliveries").text
        assert ("Sending was resumed." in page, "You can undo a pause by resuming." in page) == (is_first_look, True)
    with both.database.read() as session:
        assert installation_hold.read_current_hold(session) is None
        acts = session.scalars(select(AuditEntry.act).order_by(AuditEntry.id)).all()
    assert acts == ["held", "released"]


@pytest.mark.parametrize("path", ["/admin/deliveries", "/admin/deliveries?edition=2026-W47"])
def test_an_editor_does_not_see_deliveries(world: Any, path: str) -> None:
    assert world.desk.get(path).status_code == 403


def test_doubts_of_notices_are_settled_as_arrived_or_lost_and_none_is_sent_again(both: Any) -> None:
    people = fill(both)
    kinds = {210: "ask:1", 211: "data:2", 212: "correction:3", 213: "seal:1-x", 214: f"test:{NEW}:efgh"}
    with both.database.write() as session:
        for number, purpose in kinds.items():
            person = people[0] if number < 213 else None
            session.add(delivery(number, purpose, DeliveryState.UNCERTAIN, person, reply="no answer"))
    admin, path = both.signed_in_client("admin"), "/admin/deliveries/notices/doubts"
    page = admin.get("/admin/deliveries").text
    assert ">5 with unknown status <small>Transactional" in page
    for held in ("Permission request", "Link to their data", "Integrity email", "Test of an edition"):
        assert re.search(rf"<td>{held}", page)
    decisions = {210: "arrived", 211: "lost", 212: "", 213: "again", 214: "lost", 3: "arrived", 200: "lost"}
    words = {f"word-d{number:025d}": word for number, word in decisions.items()}
    assert post_form(admin, path, **words, reason="").status_code == 400
    answer = post_form(admin, path, **words, reason="asked them")
    assert "3 deliveries resolved." in admin.get(answer.headers["Location"]).text
    with both.database.read() as session:
        states = [session.get_one(Delivery, f"d{number:025d}").state for number in decisions]
        audit = session.scalars(select(AuditEntry).order_by(AuditEntry.id)).all()
    assert [str(state) for state in states] == [
        *("accepted", "expired", "uncertain", "uncertain", "expired"),
        *("uncertain", "accepted"),
    ]
    assert [(row.act, row.subject, len(row.detail["deliveries"])) for row in audit] == [
        ("uncertain taken as accepted", "notices", 1),
        ("uncertain taken as lost", "notices", 2),
    ]
    assert audit[0].detail["because"] == "asked them"


def test_a_correction_whose_content_is_kept_can_be_sent_again(both: Any) -> None:
    people = fill(both)
    with both.database.write() as session:
        for number, purpose in ((210, "correction:3"), (211, "data:2")):
            session.add(delivery(number, purpose, DeliveryState.UNCERTAIN, people[0], reply="no answer"))
            session.flush()
            kind = purpose.partition(":")[0]
            session.add(QueuedNoticeEmail(delivery=f"d{number:025d}", kind=kind, ciphertext=b"", key_id="vault 1"))
    admin, path = both.signed_in_client("admin"), "/admin/deliveries/notices/doubts"
    page = admin.get("/admin/deliveries").text
    offered = [f'name="word-d{number:025d}" value="again"' in page for number in (210, 211)]
    assert offered == [True, False]
    words = {f"word-d{number:025d}": "again" for number in (210, 211)}
    assert post_form(admin, path, **words, reason="not in the log").status_code == 303
    with both.database.read() as session:
        states = [str(session.get_one(Delivery, f"d{number:025d}").state) for number in (210, 211)]
    assert states == ["waiting", "uncertain"]


def test_silent_doubts_are_sent_again_together(world: Any) -> None:
    fill(world)
    admin, path = world.signed_in_client("admin"), f"/admin/deliveries/{NEW}/silence"
    assert post_form(admin, path, reason="").status_code == 400
    assert post_form(admin, path, reason="not reported").headers["Location"].endswith("settled=3")
    with world.database.read() as session:
        states = session.scalars(select(Delivery.state).where(Delivery.id.in_([f"d{n:025d}" for n in (3, 4, 5)]))).all()
    assert states == [DeliveryState.WAITING] * 3


def write_log(world: Any) -> bytes:
    """Write what a mail server's log says of the doubts: that it took one of them; the other two are not in it."""
    ids = {f"d{n:025d}": f"<{NEW}.{n}@weekly.news.example>" for n in (0, 3, 4, 5)}
    with world.database.write() as session:
        for row in session.scalars(select(Delivery).where(Delivery.id.in_(ids))):
            row.message_id, row.transport = ids[row.id], "smtp"
            handed_at = row.handed_at
    times = [handed_at + timedelta(minutes=n) for n in range(-120, 121, 30)]
    lines = [iso_line(at, "anvil", "statistics") for at in times if at <= handed_at]
    for queue, number in (("4Xq1aZ2bY3z", 0), ("4Xq1aZ2bY4z", 3)):
        lines += queue_lines(iso_line, handed_at, queue, ids[f"d{number:025d}"])
    return log_text([*lines, *(iso_line(at, "anvil", "statistics") for at in times if at > handed_at)])


def test_a_mail_servers_log_is_uploaded_shown_and_settles(both: Any) -> None:
    fill(both)
    log = write_log(both)
    admin = both.signed_in_client("admin")
    assert post_form(admin, f"/admin/deliveries/{NEW}/log").status_code == 400
    letter = (io.BytesIO(b"Dear all,\n"), "letter.txt")
    refused = post_form(admin, f"/admin/deliveries/{NEW}/log", file=letter)
    assert (refused.status_code, "“letter.txt” has no lines that start with a time" in refused.text) == (400, True)
    assert ".log-" not in refused.text
    shown = post_form(admin, f"/admin/deliveries/{NEW}/log", file=(io.BytesIO(log), "mail.log"))
    place = shown.headers["Location"]
    page = admin.get(place).text
    assert re.findall(r'<td class="num">(\d+)</td>', page) == ["1", "0", "0", "2", "0"]
    assert "reader@county.example" not in page
    assert both.signed_in_client("admin").get(place).status_code == 404
    assert post_form(admin, place, reason="the log").headers["Location"].endswith("settled=3")
    assert admin.get(place).status_code == 404
    with both.database.read() as session:
        states = [session.get_one(Delivery, f"d{n:025d}").state for n in (3, 4, 5)]
    assert states == ["accepted", "waiting", "waiting"]
    assert not [each.name for each in both.install.settings.home.iterdir() if each.name.startswith(".log-")]


@pytest.mark.parametrize(
    "path",
    ["correct", "pause", "preferences", "request", "restore", "/admin/readers/ask", "/admin/readers/silent"],
)
def test_a_page_that_promises_an_email_says_that_it_waits_while_all_sending_is_paused(world: Any, path: str) -> None:
    admin, _ = world.signed_in_client("admin"), world.session_cookie()
    path = path if path.startswith("/") else f"/admin/readers/{world.ada}/{path}"
    words = "All sending is paused, so emails wait until an admin resumes sending."
    assert words not in admin.get(path).text
    sending_pause.pause_all_sending(world.install, reason="", actor=ADMIN, now=NOW)
    page = admin.get(path)
    assert (page.status_code, words in page.text) == (200, True)


@pytest.mark.parametrize("path", ["/admin/staff", "/admin/staff/2", "/admin/staff/2/reset"])
def test_invitations_and_sign_in_links_wait_only_in_what_may_be_a_copy(world: Any, path: str) -> None:
    admin, _ = world.signed_in_client("admin"), world.session_cookie()
    waits = []
    for may_be_copy in (False, True):
        with world.database.write() as session:
            installation_hold.pause_all_sending(session, "a doubt", actor="eve", now=NOW, may_be_copy=may_be_copy)
        waits.append("so emails wait until an admin resumes sending" in admin.get(path).text)
    assert waits == [False, True]
