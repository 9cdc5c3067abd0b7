"""The page of an edition that's being sent: its counts, triggered stop rules, and buttons, without a browser."""

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import select, update

from digest.app.editions.count_cache import CountCache
from digest.app.sending import send_control as sending
from digest.app.sending.sending_view import SendingView, view_sending
from digest.deliver.control import installation_hold, set_aside_domains
from digest.deliver.plan.canary import CANARY_DUE_AT
from digest.deliver.send.claims.send_progress import MinuteCount, ProgressWriter, add_to_minute_counts
from digest.deliver.send.refusals.refused_deliveries import MIN_NAMED
from digest.installation import sending_pause
from digest.installation.action_reasons import ReasonError
from digest.installation.audited_actions import ActionEntryPoint, Actor, Role
from digest.settings import UsageLimitSettings
from digest.store.audit import record_audit
from digest.store.delivery_models import Delivery, DeliveryState, StoredDeliveryEvent
from digest.store.models import AuditEntry, Edition, EditionState
from digest.store.schedule_slots import find_or_record_schedule_start, record_unscheduled_pages_seen
from digest.web.desk.sending.sending_pages import draw_minute_chart, list_progress_bar_parts
from subscribers.address import Address
from subscribers.crypto.stored_addresses import make_domain_tag
from subscribers.signup.manual_signup import add_subscriber
from tests.actors import EDITOR
from tests.moments import DRAFTING as NOW
from tests.web.conftest import ADA_ADDRESS, sample_evidence

PATH = "/desk/editions/2026-W47/sending"
ASIDE_PATH = "/desk/editions/2026-W47/set-aside"
PURPOSE = "edition:2026-W47"
ADMIN = Actor("staff:1", Role.ADMIN, ActionEntryPoint.DESK)


def deliver(world: Any, many: int, state: DeliveryState, **values: Any) -> list[str]:
    """Write deliveries of the edition; give their ids."""
    defaults = {"due_at": NOW, "next_try_at": NOW, "domain_tag": "0" * 32, "reply": ""} | values
    with world.database.write() as session:
        first = len(session.scalars(select(Delivery.id)).all())
        ids = [f"d{first + number:05}" for number in range(many)]
        session.add_all(Delivery(id=id_, purpose=PURPOSE, state=state, **defaults) for id_ in ids)
    return ids


def set_edition(world: Any, **values: Any) -> None:
    with world.database.write() as session:
        session.execute(update(Edition).values(**values))


class WatchedEdition:
    """A view of an edition that is counted aside; what a thread would do waits in `aside`."""

    def __init__(self, world: Any) -> None:
        self.world = world
        self.aside: list[Callable[[], object]] = []
        self.counts = CountCache(max_at_once=10, start_aside=self.aside.append)

    def look(self, second: int) -> tuple[int, int]:
        """Look in a second; return how many wait, and of which second that is."""
        now = NOW + timedelta(seconds=second)
        view = view_sending(self.world.install, "2026-W47", ADMIN, recent=self.counts, now=now)
        assert view.counts.is_balanced
        return view.counts[DeliveryState.WAITING], (view.counted_at - NOW).seconds

    def run_aside(self) -> None:
        """Do what a thread would do."""
        self.aside.pop()()


@pytest.fixture
def going(both: Any) -> Any:
    """Give an edition half of which is out: 297 of the first 300 well, 3 refused, and the rest on its way."""
    both.edition()
    deliver(both, 27, DeliveryState.ACCEPTED, next_try_at=CANARY_DUE_AT)
    deliver(both, 3, DeliveryState.REFUSED, next_try_at=CANARY_DUE_AT, reply="550 5.1.1 no such user")
    deliver(both, 20, DeliveryState.ACCEPTED)
    deliver(both, 1, DeliveryState.UNCERTAIN)
    deliver(both, 2, DeliveryState.HANDING_OVER)
    deliver(both, 40, DeliveryState.WAITING)
    deliver(both, 7, DeliveryState.WAITING, next_try_at=NOW + timedelta(hours=3))
    set_edition(
        both,
        state=EditionState.SENDING,
        planned=100,
        planned_at=NOW - timedelta(minutes=10),
        canary=30,
        canary_until=NOW - timedelta(minutes=5),
    )
    return both


def page_of(world: Any, role: Any = "editor") -> str:
    answer = world.signed_in_client(role).get(PATH)
    assert answer.status_code == 200
    text: str = answer.text
    return text


def test_paused_subscribers_are_not_said_to_be_missing(both: Any) -> None:
    both.edition(state=EditionState.SENT)
    deliver(both, 131, DeliveryState.ACCEPTED)
    deliver(both, 40, DeliveryState.SKIPPED)
    deliver(both, 5, DeliveryState.WITHDRAWN)
    set_edition(both, planned=176, planned_at=NOW, sent_at=NOW)
    page = page_of(both, "admin")
    assert "<h1>131 of 131 accepted</h1>" in page
    words = " ".join(re.sub(r"<[^>]+>", "", page).split())
    assert "And 5 unsubscribed before sending and 40 paused or had no content in their sections." in words
    assert re.search(r'result=skipped">40</a>', page)
    deliveries = both.signed_in_client("admin").get("/admin/deliveries").text
    assert "accepted 131 of 131 emails for No. 147." in re.sub(r"</?a[^>]*>", "", deliveries)
    assert "<b>131</b> of 131 emails accepted." in both.desk.get("/desk/editions/2026-W47").text


@pytest.mark.parametrize("stops_all", [False, True])
def test_after_resuming_the_page_does_not_say_what_the_last_run_waited_for(going: Any, *, stops_all: bool) -> None:
    reason = "All sending is paused" if stops_all else "The edition is paused"
    with going.database.write() as session:
        writer = ProgressWriter("2026-W47", NOW - timedelta(minutes=2))
        writer.write_progress(session, 80, NOW, running=False, wait_reason=reason, resumes_at=NOW + timedelta(hours=3))
    install, confirmed = going.install, replace(ADMIN, confirmed_at=NOW)
    if stops_all:
        sending_pause.pause_all_sending(install, reason="", actor=confirmed, now=NOW)
        sending_pause.resume_all_sending(install, actor=confirmed, now=NOW)
    else:
        sending.pause_edition(install, "2026-W47", reason="", actor=ADMIN, now=NOW)
        sending.resume_edition(install, "2026-W47", actor=ADMIN, now=NOW)
    page = page_of(going)
    assert "Sending starts within seconds." in page
    assert reason not in page
    assert "It resumes" not in page


def test_the_list_says_when_a_late_edition_was_really_sent_and_when_sending_resumes(going: Any) -> None:
    set_edition(going, planned_at=datetime(2026, 11, 20, 12, tzinfo=UTC))
    assert "Started " not in going.desk.get("/desk/sent").text
    set_edition(going, planned_at=datetime(2026, 11, 23, 20, 56, tzinfo=UTC))
    with going.database.write() as session:
        writer = ProgressWriter("2026-W47", NOW - timedelta(minutes=2))
        writer.write_progress(session, 80, NOW, running=False, wait_reason="", resumes_at=NOW + timedelta(hours=3))
    page = going.desk.get("/desk/sent").text
    assert "Nov. 20, 6:00 a.m.<small>Started Nov. 23, 3:56 p.m.</small>" in page
    assert "<small>resumes Thu, 8:30 p.m. EST</small>" in page


def test_where_nothing_runs_after_resuming_the_page_says_so(going: Any) -> None:
    before = NOW - timedelta(minutes=3)
    with going.database.write() as session:
        writer = ProgressWriter("2026-W47", before - timedelta(minutes=2))
        writer.write_progress(session, 80, before, running=False, wait_reason="The edition is paused")
    sending.pause_edition(going.install, "2026-W47", reason="", actor=ADMIN, now=before)
    sending.resume_edition(going.install, "2026-W47", actor=ADMIN, now=before)
    is_off = "Automatic sending is off, so the remaining emails wait until an admin sends them."
    assert is_off in page_of(going)
    find_or_record_schedule_start(going.database, before)
    for seen_at in (None, NOW):
        if seen_at:
            record_unscheduled_pages_seen(going.database, seen_at, seen_at)
        page = page_of(going)
        assert "within seconds" not in page
        assert ("Sending should have started by now." in page, is_off in page) == (not seen_at, bool(seen_at))


def test_emails_that_are_all_due_later_do_not_start_within_seconds(both: Any) -> None:
    both.edition()
    deliver(both, 3, DeliveryState.ACCEPTED)
    deliver(both, 2, DeliveryState.WAITING, next_try_at=NOW + timedelta(hours=3))
    set_edition(both, state=EditionState.SENDING, planned=5, planned_at=NOW)
    page = page_of(both)
    assert "within seconds" not in page
    assert "2 emails are due later" in page


def test_the_page_counts_all_that_is_planned_and_says_how_long_it_takes(going: Any) -> None:
    with going.database.write() as session:
        writer = ProgressWriter("2026-W47", NOW - timedelta(minutes=2))
        writer.write_progress(session, 80, NOW)
    page = page_of(going)
    assert "<h1>51 of 100 done</h1>" in page
    assert "47 accepted, 3 refused, 1 with unknown status, 2 being sent, 47 waiting" in page
    assert "About 1 minute left. The last email due now will be sent at about 5:31 p.m." in page
    assert "7 emails are due later, the next Nov. 19, 8:30 p.m." in page
    assert "40 on average" in page
    assert "Sent to the canary: 27 accepted, 3 refused. Sending to the rest started Nov. 19, 5:25 p.m." in page
    assert "1 with unknown status" in page
    assert "an admin can resolve them by hand or with the mail server’s log under Admin → Deliveries." in page
    assert "digest uncertain 2026-W47" in page_of(going, "admin")


def test_before_the_wait_is_over_the_page_says_what_the_rest_waits_for(going: Any) -> None:
    set_edition(going, canary_until=NOW + timedelta(minutes=5))
    assert "The rest will be sent Nov. 19, 5:35 p.m. unless a stop rule is triggered." in page_of(going)
    set_edition(going, canary_until=None)
    assert "Sending to the canary first: 27 accepted, 3 refused. The rest will wait for the results." in page_of(going)


def test_receivers_are_told_by_domain_tag_and_named_only_where_no_subscriber_is_needed_for_it(going: Any) -> None:
    known = make_domain_tag(going.install.keys, Address("x", "gmail.com"))
    ids = deliver(going, 5, DeliveryState.REFUSED, domain_tag=known, reply="550 5.7.1 not on the list")
    with going.database.write() as session:
        session.add_all(
            StoredDeliveryEvent(
                delivery=id_, kind="bounced", cause="policy", at=NOW, received_at=NOW, fingerprint=id_, detail={}
            )
            for id_ in ids
        )
    rows = re.findall(r'<th scope="row">([^<]+)</th><td><b>([^<]*)<.*?data-label="Emails">(\d+)<', page_of(going))
    assert rows == [
        ("gmail.com", "Blocked by policy or reputation", "5"),
        ("Unnamed provider 000000", "No such mailbox", "3"),
    ]


def test_only_admins_see_the_name_of_a_small_provider(going: Any) -> None:
    with going.database.write() as session:
        people = [
            add_subscriber(
                session, going.install.keys, f"r{n}@county.example", evidence=sample_evidence(), now=NOW
            ).number
            for n in range(MIN_NAMED)
        ]
    ids = deliver(
        going,
        MIN_NAMED,
        DeliveryState.REFUSED,
        domain_tag=make_domain_tag(going.install.keys, Address("x", "county.example")),
    )
    with going.database.write() as session:
        for id_, person in zip(ids, people, strict=True):
            session.execute(update(Delivery).where(Delivery.id == id_).values(person=person))
    assert "county.example" not in page_of(going)
    page = page_of(going, "admin")
    assert '<th scope="row">county.example</th>' in page
    counts = CountCache(max_at_once=1)
    for actor, is_named in ((ADMIN, True), (EDITOR, False)):
        names = view_sending(going.install, "2026-W47", actor, recent=counts, now=NOW).domain_names.values()
        assert ("county.example" in names) is is_named


def test_an_alarm_that_rings_stands_out_with_what_each_answer_does(going: Any) -> None:
    reason = "5 of 51 addresses are gone. Check where the list comes from."
    set_edition(going, paused_at=NOW, paused_because=reason)
    with going.database.write() as session:
        record_audit(session, "paused", "2026-W47", {"because": reason}, actor="digest", now=NOW)
        for id_ in (f"d{number:05}" for number in range(30)):
            session.add(
                StoredDeliveryEvent(
                    delivery=id_, kind="bounced", cause="hard", at=NOW, received_at=NOW, fingerprint=id_, detail={}
                )
            )
    page = page_of(going)
    assert "<h1>Sending paused automatically</h1>" in page
    assert f"{reason} 49 subscribers are waiting." in page
    assert re.search(r'<tr class="on"><th scope="row">No such mailbox</th><td class="r"><b class="bad">30 \(', page)
    for answer in ("If you resume,", "If you cancel the rest,"):
        assert answer in page
    assert f"A stop rule paused sending: {reason}" in page
    assert page.count(reason) == 2, "under the heading, and in what happened"
    assert (
        f"No. 147 is paused: {reason} You can resume sending on the edition’s page."
        in going.desk.get("/desk/sent").text
    )
    assert page.count(">Resume sending</button>") == 1


def test_an_editor_pauses_and_resumes_and_the_page_says_who(going: Any) -> None:
    client = going.desk
    fields = dict(re.findall(r'name="(csrf_token)" value="([^"]+)"', client.get(PATH).text))
    answer = client.post("/desk/editions/2026-W47/pause", data=fields)
    assert (answer.status_code, answer.headers["Location"]) == (303, PATH)
    page = client.get(PATH).text
    assert "Paused: 51 of 100 done" in page
    assert "Eve paused sending." in page
    client.post("/desk/editions/2026-W47/resume", data=fields)
    page = client.get(PATH).text
    assert "51 of 100 done" in page
    assert "Eve resumed sending." in page


def test_stopping_everything_takes_no_reason_with_an_address(going: Any) -> None:
    admin = going.signed_in_client("admin")
    fields = dict(re.findall(r'name="(csrf_token)" value="([^"]+)"', admin.get(PATH).text))
    reason = {"reason": f"{ADA_ADDRESS} asked"}
    refused = admin.post("/desk/editions/2026-W47/hold", data=fields | reason)
    assert (refused.status_code, "contains an address" in refused.text) == (400, True)
    with pytest.raises(ReasonError):
        sending_pause.pause_all_sending(
            going.install, reason=f"{ADA_ADDRESS} asked", actor=replace(ADMIN, confirmed_at=NOW), now=NOW
        )
    with pytest.raises(ReasonError):
        sending.pause_edition(going.install, "2026-W47", reason=f"{ADA_ADDRESS} asked", actor=ADMIN, now=NOW)
    with going.database.read() as session:
        assert installation_hold.read_current_hold(session) is None
        assert ADA_ADDRESS not in str(session.scalars(select(AuditEntry.detail)).all())


def test_only_an_admin_stops_everything_and_lets_it_leave_again(going: Any) -> None:
    editor, admin = going.desk, going.signed_in_client("admin")
    fields = dict(re.findall(r'name="(csrf_token)" value="([^"]+)"', editor.get(PATH).text))
    assert "Pause all sending" not in editor.get(PATH).text
    assert editor.post("/desk/editions/2026-W47/hold", data=fields).status_code == 403
    page = admin.get(PATH).text
    assert "Pause all sending" in page
    fields = dict(re.findall(r'name="(csrf_token)" value="([^"]+)"', page))
    assert admin.post("/desk/editions/2026-W47/hold", data=fields).status_code == 303
    with going.database.read() as session:
        assert installation_hold.read_current_hold(session) is not None
    page = admin.get(PATH).text
    assert "<h1>All sending is paused</h1>" in page
    assert 'class="attention bad"' not in page, "the heading says so"
    assert "ann paused all sending Nov. 19, 5:30 p.m." in page
    assert "an admin can resume all sending" in editor.get(PATH).text
    assert admin.post("/desk/editions/2026-W47/release", data=fields).status_code == 303
    with going.database.read() as session:
        assert installation_hold.read_current_hold(session) is None


def test_cancelling_asks_for_the_number_and_says_first_what_it_does(going: Any) -> None:
    client = going.signed_in_client("admin")
    page = client.get(PATH).text
    assert "49 subscribers won\u2019t get No. 147. 51 emails have already been sent." in page
    fields = dict(re.findall(r'name="(csrf_token)" value="([^"]+)"', page))
    refused = client.post("/desk/editions/2026-W47/cancel", data=fields | {"number": "146"})
    assert refused.status_code == 422
    assert "The number doesn’t match. To cancel this edition, type 147" in refused.text
    with going.database.read() as session:
        assert session.scalars(select(Edition.state)).one() is EditionState.SENDING
    assert client.post("/desk/editions/2026-W47/cancel", data=fields | {"number": " 147 "}).status_code == 303
    page = client.get(PATH).text
    assert "<h1>Canceled: 47 subscribers didn\u2019t get No. 147</h1>" in page
    assert "Ann canceled the rest." in page
    assert 'id="number"' not in page
    with going.database.read() as session:
        acts = session.scalars(select(AuditEntry.act)).all()
    assert acts.count("cancelled") == 1


@pytest.fixture
def aside(going: Any) -> tuple[Any, list[str]]:
    """Give an edition of which everything else is out: emails to two providers are set aside."""
    names = ("gmail.com", "small.example")
    tags = [make_domain_tag(going.install.keys, Address("x", name)) for name in names]
    with going.database.write() as session:
        session.execute(update(Delivery).values(state=DeliveryState.ACCEPTED))
        reasons = dict.fromkeys(tags, "mailbox providers rejected 5 of 20 emails by policy.")
        set_aside_domains.set_domains_aside(session, "2026-W47", reasons, now=NOW)
    for place, (tag, many) in enumerate(zip(tags, (40, 2), strict=True)):
        parked_at = set_aside_domains.PARKED_FROM + timedelta(seconds=place)
        deliver(going, many, DeliveryState.WAITING, domain_tag=tag, next_try_at=parked_at)
    set_edition(going, planned=142)
    return going, tags


def test_emails_set_aside_are_named_and_counted_and_sent_by_one_click(aside: tuple[Any, list[str]]) -> None:
    world, tags = aside
    desk = world.desk
    page = desk.get(PATH).text
    assert "42 emails set aside</h2>" in page
    assert "Everything else has been sent. The remaining emails are set aside until you decide." in page
    assert re.findall(r'data-label="Waiting">(\d+)<', page) == ["40", "2"]
    assert "gmail.com</label>" in page
    assert "small.example" not in page
    assert f"Unnamed provider {tags[1][:6]}</label>" in page
    assert "9000" not in page
    assert "No. 147: emails to 2 receiving domains are set aside, because" in desk.get("/desk/sent").text
    admin = world.signed_in_client("admin")
    assert "Emails to 2 receiving domains are set aside." in admin.get("/admin/deliveries").text
    fields = dict(re.findall(r'name="(csrf_token)" value="([^"]+)"', page))
    answer = desk.post(f"{ASIDE_PATH}/send", data=fields | {"domain": tags})
    assert (answer.status_code, answer.headers["Location"]) == (303, PATH)
    page = desk.get(PATH).text
    assert "set aside</h2>" not in page
    assert "Eve decided to send emails that were set aside." in page
    assert desk.post(f"{ASIDE_PATH}/send", data=fields | {"domain": tags}).status_code == 409
    assert desk.post(f"{ASIDE_PATH}/send", data=fields).status_code == 409


def test_only_an_admin_drops_emails_and_only_those_chosen(aside: tuple[Any, list[str]]) -> None:
    world, tags = aside
    desk = world.desk
    page = desk.get(PATH).text
    assert "Only admins can drop emails." in page
    assert "Drop these emails" not in page
    fields = dict(re.findall(r'name="(csrf_token)" value="([^"]+)"', page))
    assert desk.post(f"{ASIDE_PATH}/drop", data=fields | {"domain": tags}).status_code == 403
    admin = world.signed_in_client("admin")
    page = admin.get(PATH).text
    assert "Drop these emails" in page
    fields = dict(re.findall(r'name="(csrf_token)" value="([^"]+)"', page))
    assert admin.post(f"{ASIDE_PATH}/drop", data=fields | {"domain": tags[:1]}).status_code == 303
    page = desk.get(PATH).text
    assert "2 emails set aside</h2>" in page
    assert "Ann dropped emails that were set aside." in page


def test_an_editor_is_told_who_may_cancel(going: Any) -> None:
    assert "Only admins can cancel. You can pause" in page_of(going)
    assert 'id="number"' not in page_of(going)
    fields = dict(re.findall(r'name="(csrf_token)" value="([^"]+)"', page_of(going)))
    assert going.desk.post("/desk/editions/2026-W47/cancel", data=fields | {"number": "147"}).status_code == 403


def test_without_scripts_the_page_renews_itself_until_somebody_says_no(going: Any) -> None:
    renewed = '<noscript><meta http-equiv="refresh" content="5"></noscript>'
    assert renewed in page_of(going)
    still = going.desk.get(f"{PATH}?renew=no").text
    assert renewed not in still
    assert "/script/" not in still
    assert "Reload this page" in still


def test_afterwards_the_page_says_what_came_of_it(going: Any) -> None:
    set_edition(going, state=EditionState.SENT, sent_at=NOW)
    page = page_of(going)
    assert "<h1>47 of 100 accepted</h1>" in page
    assert "The last email for No. 147 was sent Thursday, November 19, 5:30 p.m. ET." in page
    assert "updates every" not in page
    assert 'id="cancel"' not in page


def test_before_its_time_the_page_says_when_it_leaves_and_a_draft_does_not(world: Any) -> None:
    world.edition(state=EditionState.APPROVED)
    page = page_of(world)
    assert "<h1>No. 147 will be sent to 1 subscriber</h1>" in page
    assert "It will be sent Friday, November 20, 6 a.m. ET." in page
    set_edition(world, state=EditionState.DRAFT)
    assert "isn\u2019t approved yet" in page_of(world)


def test_the_desk_opens_at_what_goes_out(going: Any) -> None:
    answer = going.desk.get("/desk/")
    assert (answer.status_code, answer.headers["Location"]) == (302, PATH)
    assert "View progress" in going.desk.get("/desk/editions/2026-W47").text
    assert PATH in going.desk.get("/desk/sent").text


def test_what_the_page_reads_holds_no_subscribers_address(going: Any) -> None:
    view = view_sending(going.install, "2026-W47", ADMIN, now=NOW)
    assert view.due_later == 7
    assert "@" not in page_of(going).replace("http-equiv", "")


def settle_waiting(world: Any, many: int) -> None:
    """Let that many of the waiting be accepted, as a send does: no act, and no row of the audit log."""
    with world.database.write() as session:
        waiting = select(Delivery.id).where(Delivery.state == DeliveryState.WAITING).limit(many)
        session.execute(update(Delivery).where(Delivery.id.in_(waiting)).values(state=DeliveryState.ACCEPTED))


@pytest.fixture
def watched(going: Any) -> WatchedEdition:
    """Give the edition as one that is too large to be counted for every look."""
    return WatchedEdition(going)


def test_a_large_edition_is_counted_again_in_the_background_and_is_never_old(watched: WatchedEdition) -> None:
    assert watched.look(0) == (47, 0)
    settle_waiting(watched.world, 10)
    assert watched.look(3) == (47, 0)
    assert watched.aside == []
    assert watched.look(5) == (47, 0), "nobody waits for the count"
    assert watched.look(6) == (47, 0)
    assert len(watched.aside) == 1, "one count at a time"
    watched.run_aside()
    assert watched.look(7) == (37, 5)
    settle_waiting(watched.world, 10)
    assert watched.look(15) == (27, 15), "a look waits rather than show what is ten seconds old"


def test_after_an_act_a_large_edition_is_counted_at_once(watched: WatchedEdition) -> None:
    watched.look(0)
    settle_waiting(watched.world, 7)
    watched.look(5)  # begins a count, which is overtaken
    sending.pause_edition(watched.world.install, "2026-W47", reason="", actor=ADMIN, now=NOW)
    assert watched.look(6) == (40, 6)
    watched.run_aside()
    assert watched.look(7) == (40, 6)
    sending.cancel_edition(watched.world.install, "2026-W47", actor=ADMIN, now=NOW)
    assert watched.look(8) == (0, 8)
    again = update(Delivery).where(Delivery.state == DeliveryState.UNCERTAIN).values(state=DeliveryState.WAITING)
    with watched.world.database.write() as session:  # as a terminal does it, in another process
        session.execute(again)
        record_audit(session, "uncertain requeued", "2026-W47", {}, actor="terminal:ann", now=NOW)
    assert watched.look(9) == (1, 9)


def test_a_background_count_that_fails_is_made_again(watched: WatchedEdition) -> None:
    watched.look(0)
    watched.look(5)
    set_edition(watched.world, name="2026-W48")
    watched.run_aside()
    set_edition(watched.world, name="2026-W47")
    watched.look(6)
    assert len(watched.aside) == 1


def test_a_small_edition_is_counted_at_each_look(going: Any) -> None:
    counts = CountCache()
    assert view_sending(going.install, "2026-W47", ADMIN, recent=counts, now=NOW).counts.open == 49
    settle_waiting(going, 10)
    assert view_sending(going.install, "2026-W47", ADMIN, recent=counts, now=NOW).counts.open == 39


def test_the_page_of_a_large_edition_says_of_which_moment_its_numbers_are(watched: WatchedEdition) -> None:
    world = watched.world
    world.app.extensions["digest"] = replace(world.app.extensions["digest"], recent_counts=watched.counts)
    watched.look(-3)
    settle_waiting(world, 10)
    for role, minute, waiting in ("admin", "5:29", 47), ("editor", "5:30", 37):  # editors' views are counted separately
        page = page_of(world, role)
        assert f"As of <b>Nov. 19, {minute} p.m.</b>" in page
        assert f"{waiting} waiting" in page
    for path in ("/desk/sent", "/admin/deliveries"):
        assert world.signed_in_client("admin").get(path).status_code == 200


def test_minutes_count_each_message_once_and_the_last_hour_stays() -> None:
    minutes = add_to_minute_counts((), 5, NOW)
    minutes = add_to_minute_counts(minutes, 3, NOW + timedelta(seconds=59))
    minutes = add_to_minute_counts(minutes, 0, NOW + timedelta(minutes=1))
    assert minutes == (MinuteCount(NOW, 8),)
    for number in range(1, 70):
        minutes = add_to_minute_counts(minutes, number, NOW + timedelta(minutes=number))
    assert len(minutes) == 60
    assert minutes[-1] == MinuteCount(NOW + timedelta(minutes=69), 69)


def test_the_progress_of_a_second_run_goes_on_from_the_first(both: Any) -> None:
    with both.database.write() as session:
        first = ProgressWriter("2026-W47", NOW)
        first.write_progress(session, 10, NOW)
        first.write_progress(session, 8, NOW)  # two came back
        first.write_progress(session, 12, NOW)
        ProgressWriter("2026-W47", NOW).write_progress(session, 5, NOW + timedelta(minutes=1))
    both.edition()
    progress = view_sending(both.install, "2026-W47", ADMIN, now=NOW).progress
    assert progress is not None
    assert progress.minutes == (MinuteCount(NOW, 12), MinuteCount(NOW + timedelta(minutes=1), 5))


@given(st.dictionaries(st.sampled_from(list(DeliveryState)), st.integers(0, 10_000_000)))
def test_the_bar_fits_and_shows_every_result_there_is(counts: dict[DeliveryState, int]) -> None:
    view = SimpleNamespace(counts=Counter(counts))
    parts = list_progress_bar_parts(cast("SendingView", view))
    assert [part.x for part in parts[1:]] == pytest.approx([part.x + part.width for part in parts[:-1]])
    assert all((part.width > 3) == (part.count > 0) for part in parts)
    if any(part.count for part in parts):
        assert parts[-1].x + parts[-1].width == pytest.approx(1000)


def test_the_chart_shows_a_minute_without_mail_as_a_gap(world: Any) -> None:
    minutes = (MinuteCount(NOW, 60), MinuteCount(NOW + timedelta(minutes=2), 610))
    zone = world.install.settings.file.publication.zone
    drawn = draw_minute_chart(minutes, zone, UsageLimitSettings())
    assert drawn.minutes == (("5:30 p.m.", 60), ("5:31 p.m.", 0), ("5:32 p.m.", 610))
    assert [bar.height for bar in drawn.chart.bars] == [8.8, 0, 90.0]
    assert [tick.words for tick in drawn.chart.ticks] == ["0", "200", "400", "600", "800"]
    assert drawn.chart.sentence == (
        "Emails per minute from 5:30 p.m. to 5:32 p.m., with 610 at most (5:32 p.m.) and 610 in the last minute"
    )
    assert all(drawn.chart.left <= bar.x <= drawn.chart.right - bar.width for bar in drawn.chart.bars)
    assert drawn.chart.limit is None
    limited = draw_minute_chart(minutes, zone, UsageLimitSettings(send_per_second=15)).chart
    assert limited.ticks[-1].words == "1,500"
    assert limited.limit is not None
    assert limited.limit.words == "your limit, 900"
    assert limited.ticks[2].y < limited.limit.y < limited.ticks[1].y, "between 500 and 1,000"
    assert draw_minute_chart(minutes, zone, UsageLimitSettings(send_per_second=100)) == drawn
