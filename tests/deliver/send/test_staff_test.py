"""Tests: the edition sent to the team, the same except for personal parts, and not counted."""

import quopri
import re
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import replace
from email.message import EmailMessage
from typing import Any

import pytest
from pydantic import SecretStr
from sqlalchemy import select, update

from digest.deliver.compose import return_path
from digest.deliver.compose.identifiers import make_message_id
from digest.deliver.compose.message import encode_quoted_printable
from digest.deliver.compose.variants import format_signup_text
from digest.deliver.control import installation_hold
from digest.deliver.plan.delivery_plan import count_deliveries, make_edition_delivery_purpose
from digest.deliver.providers.base import BatchOutcome, HandoverStatus, MessageOutcome, OutgoingMessage
from digest.deliver.providers.registry import open_provider
from digest.deliver.send import staff_test
from digest.deliver.send.run import edition_sending
from digest.deliver.send.run.edition_sending import SendError
from digest.deliver.send.staff_test import StaffTestReport
from digest.edition.approval import approved_versions as approval
from digest.edition.approval.approved_versions import ApprovalError
from digest.edition.content.slotted_text import SlottedText
from digest.settings import Settings
from digest.store import staff
from digest.store.approval_models import ApprovedRenderedFragment
from digest.store.delivery_models import Delivery, DeliveryState, RunLease, StaffMember
from digest.store.models import Edition, EditionState, RenderedEditionFragment
from digest.store.process_identity import identify_current_process
from subscribers.crypto import link_tokens
from subscribers.subscriber_language import ENGLISH
from tests.deliver.conftest import EDITION_NAME, KEYS, DeliverySetup
from tests.deliver.fake_sendgrid import API_KEY, FakeSendGrid
from tests.deliver.scripted_provider import ScriptedProvider
from tests.deliver.smtp_servers import RecordingHandler, run_smtp_server
from tests.moments import RELEASE

ADA, SAM, EVE = "ada@reader.example", "sam@newsroom.example", "eve@newsroom.example"
SIGNATURE = re.compile(rb"DKIM-Signature:.*?\r\n(?![ \t])", re.DOTALL)
NOTICES = staff_test.NOTICE_TEXT, staff_test.NOTICE_HTML
SUBJECT = re.compile(rb"^Subject: .*?\r\n(?=\S)", re.DOTALL | re.MULTILINE)


def scripted(*answers: BatchOutcome | BaseException) -> ScriptedProvider:
    """Return a provider that takes one message at a time and gives these answers, or raises them."""
    remaining = list(answers)

    def answer(_: Sequence[OutgoingMessage]) -> BatchOutcome:
        outcome = remaining.pop(0)
        if isinstance(outcome, BaseException):
            raise outcome
        return outcome

    return ScriptedProvider(answer, batch_size=1)


def hire(world: DeliverySetup, *emails: str, proven: bool = True) -> list[int]:
    with world.database.write() as session:
        members = [
            StaffMember(
                email=email, role="editor", added_at=RELEASE, added_by="test", proven_at=RELEASE if proven else None
            )
            for email in emails
        ]
        session.add_all(members)
        session.flush()
        return [member.id for member in members]


def sent(
    world: DeliverySetup, provider: Any, settings: Settings | None = None, *, to: Sequence[str] = ()
) -> StaffTestReport:
    with world.database.read() as session:
        test = staff_test.compose_staff_test(
            session, EDITION_NAME, KEYS, settings or world.settings, to=to, now=world.clock()
        )
    return staff_test.hand_over_staff_test(
        world.database, test, provider, KEYS, settings or world.settings, clock=world.clock
    )


def real(world: DeliverySetup, provider: Any, settings: Settings) -> None:
    edition_sending.run_edition(world.database, EDITION_NAME, provider, KEYS, settings, clock=world.clock)


def staff_rows(world: DeliverySetup) -> list[Delivery]:
    with world.database.read() as session:
        return list(session.scalars(select(Delivery).where(Delivery.purpose.startswith("test:"))))


def masked(world: DeliverySetup, raw: bytes, to: str, delivery: Delivery, number: int, kind: str) -> bytes:
    """Replace each value that is one person's own by a placeholder, and remove the notices, signatures, and subject."""
    zone = world.settings.file.publication.zone
    signup_place = "the team’s pages" if kind else "hls.today"
    signup = format_signup_text(RELEASE if kind else RELEASE.replace(month=8, day=12), signup_place, zone, ENGLISH)
    leave: link_tokens.LinkPurpose = "test leave" if kind else "leave"
    preferences: link_tokens.LinkPurpose = "test preferences" if kind else "preferences"
    values = {
        b"to": to,
        b"message id": make_message_id(delivery.purpose, delivery.id, world.settings.file.sender.list_id),
        b"leave": link_tokens.make_link_token(KEYS, number, leave, address=to),
        b"preferences": link_tokens.make_link_token(KEYS, number, preferences, address=to),
        b"asked": quopri.encodestring(signup.encode()).decode(),
    }
    raw = SUBJECT.sub(b"", SIGNATURE.sub(b"", raw))
    for notice in NOTICES if kind else ():
        (encoded,) = encode_quoted_printable(SlottedText(notice))
        assert isinstance(encoded, bytes)
        assert raw.count(encoded) == 1
        raw = raw.replace(encoded, b"")
    (boundary,) = re.findall(rb'boundary="([^"]+)"', raw)  # it's computed from the body
    raw = raw.replace(boundary, b"{boundary}")
    for name, value in values.items():
        assert value.encode() in raw, name
        raw = raw.replace(value.encode(), b"{" + name + b"}")
    return raw


def test_over_smtp_a_test_is_the_edition_byte_for_byte_but_for_what_is_one_persons(
    one_world: DeliverySetup, keyed: Settings, arrived: Callable[[bytes], EmailMessage]
) -> None:
    world = one_world
    (ada,), (sam,) = world.add_subscribers(ADA), hire(world, SAM)
    box = RecordingHandler()
    with run_smtp_server(box) as port:
        url = SecretStr(f"smtp://127.0.0.1:{port}?starttls=off&connections=2")
        with closing(open_provider(keyed.model_copy(update={"mail_url": url}))) as provider:
            report = sent(world, provider, keyed)
            real(world, provider, keyed)
    assert report.tested == (staff_test.StaffTestResult(SAM, DeliveryState.ACCEPTED, report.tested[0].reply),)
    (test_path, to_staff, test), (real_path, to_subscriber, edition) = box.messages
    assert (to_staff, to_subscriber) == ([SAM], [ADA])
    with world.database.read() as session:
        rows = {row.person: row for row in session.scalars(select(Delivery))}
    assert str(arrived(test)["Subject"]) == f"[Test] {arrived(edition)['Subject']}"
    assert masked(world, test, SAM, rows[None], sam, "test ") == masked(world, edition, ADA, rows[ada], ada, "")
    assert len(SIGNATURE.findall(test)) == len(SIGNATURE.findall(edition)) == 2
    assert str(arrived(test)["Date"]) == str(arrived(edition)["Date"])
    assert return_path.extract_delivery_ids(KEYS, test_path or "") == {rows[None].id}
    assert return_path.extract_delivery_ids(KEYS, real_path or "") == {rows[ada].id}
    assert rows[None].purpose.startswith(f"test:{EDITION_NAME}:")
    assert rows[None].message_id != rows[ada].message_id


def test_sendgrid_gets_for_a_test_what_it_gets_for_a_subscriber(one_world: DeliverySetup) -> None:
    world = one_world
    world.add_subscribers(ADA)
    hire(world, SAM)
    with FakeSendGrid() as fake:
        changed = {
            "mail_url": SecretStr("sendgrid:"),
            "sendgrid_api_key": SecretStr(API_KEY),
            "sendgrid_host": fake.host,
        }
        with closing(open_provider(world.settings.model_copy(update=changed))) as provider:
            assert sent(world, provider).arrived
            real(world, provider, world.settings)
    test, edition = fake.accepted_bodies
    (mine,), (theirs,) = test.pop("personalizations"), edition.pop("personalizations")
    for body, person in ((test, mine), (edition, theirs)):  # the marks are new for each request
        for number, mark in enumerate(person["substitutions"]):
            for part in body["content"]:
                part["value"] = part["value"].replace(mark, f"<{number}>")
        person["substitutions"] = list(person["substitutions"].values())
    for part, notice in zip(test["content"], NOTICES, strict=True):
        assert part["value"].count(notice) == 1
        part["value"] = part["value"].replace(notice, "")
    assert test.pop("subject") == f"[Test] {edition.pop('subject')}"
    assert test == edition
    assert mine.keys() == theirs.keys()
    assert (mine["to"], theirs["to"]) == ([{"email": SAM}], [{"email": ADA}])
    assert len(mine["substitutions"]) == len(theirs["substitutions"]) == 4
    assert mine["headers"].keys() == theirs["headers"].keys()
    assert staff_rows(world)[0].id == mine["custom_args"]["delivery_id"]


def test_a_draft_is_tested_as_it_stands_and_stays_a_draft_that_is_owed_to_nobody(world: DeliverySetup) -> None:
    world.add_subscribers(ADA)
    hire(world, SAM)
    with world.database.write() as session:
        edition = session.scalars(select(Edition)).one()
        approval.revoke_all_approvals(session, edition, actor="eve", now=RELEASE)
        session.execute(
            update(RenderedEditionFragment)
            .where(RenderedEditionFragment.name == "section:events", RenderedEditionFragment.kind == "text")
            .values(body="Anew.\n")
        )
    report = sent(world, open_provider(world.settings))
    assert report.arrived
    (file,) = (world.settings.outbox_folder / "test").glob("*.eml")
    assert b"Anew." in file.read_bytes()
    with world.database.read() as session:
        edition = session.scalars(select(Edition)).one()
        counted = count_deliveries(session, make_edition_delivery_purpose(EDITION_NAME))
    assert (edition.state, edition.planned, edition.planned_at) == (EditionState.DRAFT, None, None)
    assert (counted.planned, sum(counted.by_state.values())) == (0, 0)


@pytest.mark.takes_turns
def test_a_test_before_during_or_after_changes_no_delivery_counts_of_the_edition(world: DeliverySetup) -> None:
    world.add_subscribers(ADA, "bo@reader.example")
    hire(world, SAM, EVE)
    provider = open_provider(world.settings)
    sent(world, provider)
    edition_sending.run_edition(
        world.database, EDITION_NAME, provider, KEYS, world.settings, clock=world.clock, limit=1
    )
    sent(world, provider)
    real(world, provider, world.settings)
    sent(world, provider)
    with world.database.read() as session:
        counted = count_deliveries(session, make_edition_delivery_purpose(EDITION_NAME))
        assert session.scalars(select(Edition.state)).one() is EditionState.SENT
    assert (counted.planned, counted[DeliveryState.ACCEPTED], counted.is_balanced) == (2, 2, True)
    assert [row.person for row in staff_rows(world)] == [None] * 6
    assert len({row.id for row in staff_rows(world)}) == len({row.message_id for row in staff_rows(world)}) == 6


def test_what_is_approved_and_was_changed_is_not_sent_as_a_test_either(world: DeliverySetup) -> None:
    hire(world, SAM)
    with world.database.write() as session:
        session.execute(update(ApprovedRenderedFragment).values(body="tampered with"))
    with pytest.raises(ApprovalError, match="differs from the approved version"):
        sent(world, scripted())
    assert staff_rows(world) == []


def test_only_proven_addresses_of_the_staff_get_one_and_no_message_repeats_an_address(world: DeliverySetup) -> None:
    world.add_subscribers(ADA)
    with pytest.raises(SendError, match="No one on the team has verified their address yet"):
        sent(world, scripted())
    hire(world, EVE, proven=False)
    with pytest.raises(SendError, match="Open the link in the invitation email"):
        sent(world, scripted())
    hire(world, SAM, "kim@newsroom.example")
    for to, why in (
        ([ADA], "Test address 1 doesn't belong to a team member"),
        ([SAM, "nonsense"], "Test address 2 doesn't belong to a team member"),
        ([EVE], "Team member 1 hasn't verified their address yet"),
    ):
        with pytest.raises(SendError, match=why) as caught:
            sent(world, scripted(), to=to)
        assert "@" not in str(caught.value)
    provider = scripted(*[BatchOutcome((MessageOutcome(HandoverStatus.ACCEPTED),))] * 3)
    assert [result.email for result in sent(world, provider, to=[SAM.upper(), SAM]).tested] == [SAM]
    assert [result.email for result in sent(world, provider).tested] == [SAM, "kim@newsroom.example"]
    assert [message.address for message in provider.received_messages] == [SAM, SAM, "kim@newsroom.example"]


@pytest.mark.takes_turns
def test_who_is_removed_while_a_test_runs_gets_none(world: DeliverySetup) -> None:
    _, eve = hire(world, SAM, EVE)

    def remove_eve(_: Sequence[OutgoingMessage]) -> BatchOutcome:
        with world.database.write() as session:
            staff.remove_staff_member(session, session.get_one(StaffMember, eve), actor="test", now=RELEASE)
        return BatchOutcome((MessageOutcome(HandoverStatus.ACCEPTED),))

    report = sent(world, ScriptedProvider(remove_eve, batch_size=1))
    assert [(result.email, result.state) for result in report.tested] == [
        (SAM, DeliveryState.ACCEPTED),
        (EVE, DeliveryState.WITHDRAWN),
    ]
    assert len(staff_rows(world)) == 1


STATES = {
    HandoverStatus.ACCEPTED: DeliveryState.ACCEPTED,
    HandoverStatus.REFUSED: DeliveryState.REFUSED,
    HandoverStatus.UNCERTAIN: DeliveryState.UNCERTAIN,
    HandoverStatus.TRY_LATER: DeliveryState.EXPIRED,
    HandoverStatus.NOT_TRIED: DeliveryState.CANCELLED,
}


@pytest.mark.takes_turns
@pytest.mark.parametrize("result", list(HandoverStatus))
def test_what_came_of_it_is_said_and_written_down_and_nothing_is_tried_again(
    world: DeliverySetup, result: HandoverStatus
) -> None:
    hire(world, SAM)
    report = sent(world, scripted(BatchOutcome((MessageOutcome(result, "421 4.7.0 said"),))))
    assert report.tested == (staff_test.StaffTestResult(SAM, STATES[result], "421 4.7.0 said"),)
    assert report.arrived is (result is HandoverStatus.ACCEPTED)
    (row,) = staff_rows(world)
    assert (row.state, row.reply, row.owner) == (STATES[result], "421 4.7.0 said", None)


def test_what_stops_a_run_stops_a_test_and_the_rest_is_named_as_not_tried(world: DeliverySetup) -> None:
    hire(world, SAM, EVE)
    stop = BatchOutcome(
        (MessageOutcome(HandoverStatus.NOT_TRIED, "no"),), stop_reason="AUTH refused. Look at DIGEST_MAIL_URL."
    )
    report = sent(world, scripted(stop))
    assert report.stopped == "AUTH refused. Look at DIGEST_MAIL_URL."
    assert [result.state for result in report.tested] == [DeliveryState.CANCELLED] * 2
    assert len(staff_rows(world)) == 1


@pytest.mark.takes_turns
def test_while_the_installation_is_held_no_test_leaves(world: DeliverySetup) -> None:
    hire(world, SAM)
    with world.database.write() as session:
        installation_hold.pause_all_sending(session, "a restored copy", actor="eve", now=RELEASE)
    report = sent(world, scripted())
    assert "All sending has been paused by eve" in report.stopped
    assert staff_rows(world) == []


def test_what_a_crash_leaves_claimed_is_uncertain_at_the_next_test(world: DeliverySetup) -> None:
    hire(world, SAM)
    with pytest.raises(KeyboardInterrupt):
        sent(world, scripted(KeyboardInterrupt()))
    (row,) = staff_rows(world)
    assert row.state is DeliveryState.HANDING_OVER
    dead = replace(identify_current_process(), nonce="another")
    with world.database.write() as session:
        session.execute(update(Delivery).values(owner=str(dead)))
        session.execute(update(RunLease).values(owner=str(dead)))
    sent(world, scripted(BatchOutcome((MessageOutcome(HandoverStatus.ACCEPTED),))))
    assert sorted(str(row.state) for row in staff_rows(world)) == ["accepted", "uncertain"]
