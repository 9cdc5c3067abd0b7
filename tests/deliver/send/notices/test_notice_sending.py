"""Transactional emails are queued with their cause, claimed, checked again, and sent once."""

import re
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from datetime import datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from math import inf

import pytest
from aiosmtpd.smtp import SMTP, Envelope
from aiosmtpd.smtp import Session as SmtpSession
from pydantic import SecretStr
from sqlalchemy import select, text, update
from structlog.testing import capture_logs

from digest.app.sending.background_tasks import NOTICE_RETRY_DELAY, send_due_transactional_emails
from digest.app.subscribers.consent_texts import build_consent_text
from digest.deliver.control import installation_hold
from digest.deliver.plan.planning import plan_deliveries
from digest.deliver.providers.base import BatchOutcome, HandoverStatus, MessageOutcome, OutgoingMessage
from digest.deliver.providers.kind import ProviderSettingsError
from digest.deliver.providers.registry import open_provider
from digest.deliver.providers.smtp import provider as smtp_provider
from digest.deliver.send.claims.run_lease import LeaseKeeper
from digest.deliver.send.limits.rate_limiter import RateLimiter
from digest.deliver.send.notices import correction_sending, notice_queue
from digest.deliver.send.notices import notice_sending as notices
from digest.installation.opened_installation import Installation
from digest.settings import Settings, UsageLimitSettings
from digest.store.delivery_models import Delivery, DeliveryState, QueuedNoticeEmail
from subscribers.address import read_address
from subscribers.consent import suppression
from subscribers.consent.evidence import RequestOrigin
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.crypto import key_file
from subscribers.lifecycle import address_change
from subscribers.mail_requests import MailRequest
from subscribers.signup import confirmation, request_queue
from subscribers.signup.rate_limits import SignupLimits
from subscribers.signup.request_processor import RequestProcessor
from subscribers.signup.request_queue import FormSubmission
from subscribers.store import one_time_tokens
from subscribers.store.models import Person, PersonState, Suppression
from subscribers.subscriber_language import ENGLISH
from tests.deliver.conftest import EDITION_NAME, KEYS, DeliverySetup
from tests.deliver.delivery_reads import (
    keep_old_snapshot,
    note_what_is_read,
    reads_stay_the_same,
    store_earlier_edition,
)
from tests.deliver.scripted_provider import ScriptedProvider, same_outcome_for_all
from tests.deliver.silent_runs import silence_runs
from tests.deliver.smtp_servers import run_smtp_server
from tests.deliver.stored_corrections import store_correction
from tests.moments import RELEASE
from tests.query_plans import record_plans

BO = "bo.peep@county.example"
MACHINE = RequestOrigin("93.184.216.34", "Browser/1")


def ask(world: DeliverySetup, *addresses: str) -> None:
    """Have forms come in, and be answered."""
    queue_notice = notice_queue.make_notice_queue(KEYS, world.settings, world.clock)
    for address in addresses or (BO,):
        form = request_queue.prepare_request(
            KEYS,
            FormSubmission(
                kind="subscribe",
                address=read_address(address),
                sent_at=world.clock(),
                page="https://hls.today/",
                where="hls.today",
                wording=build_consent_text(Settings()),
                origin=MACHINE,
            ),
        )
        with world.database.write() as session:
            request_queue.enqueue_request(session, form, SignupLimits())
    RequestProcessor(world.database, KEYS, SignupLimits(), timedelta(days=90), queue_notice).process_pending(
        world.clock
    )


def send(world: DeliverySetup, provider: object) -> dict[HandoverStatus, int]:
    return notices.send_due_notices(
        world.database,
        provider,  # type: ignore[arg-type]  # it is a Provider
        KEYS,
        world.settings,
        clock=world.clock,
    )


def deliveries(world: DeliverySetup) -> list[Delivery]:
    with world.database.read() as session:
        return list(session.scalars(select(Delivery).order_by(Delivery.purpose)))


def waiting_notices(world: DeliverySetup) -> int:
    with world.database.read() as session:
        return len(session.scalars(select(QueuedNoticeEmail.delivery)).all())


def checked(raw: bytes) -> EmailMessage:
    """Parse a notice as a mail program does, after checking its bytes as a strict server would."""
    assert not re.search(rb"(?<!\r)\n|\r(?!\n)", raw), "RFC 5321, 2.3.8: a bare CR or LF"
    assert raw.isascii()
    assert max(map(len, raw.split(b"\r\n"))) <= 78
    assert b"~" not in raw.replace(b"~~", b"")
    message = message_from_bytes(raw, policy=policy.default)
    assert isinstance(message, EmailMessage)
    assert not list(message.defects)
    assert message["Auto-Submitted"] == "auto-generated"
    assert [p.get_content_type() for p in message.iter_parts()] == ["text/plain", "text/html"]
    assert message["Precedence"] is None
    return message


def body(message: EmailMessage, kind: str) -> str:
    part = message.get_body((kind,))
    assert part is not None
    return str(part.get_content())


def confirmed(world: DeliverySetup, provider: ScriptedProvider) -> None:
    """Press the button that the last mail leads to."""
    text = body(checked(provider.received_messages[-1].to_bytes()), "plain")
    token = text.partition("/confirm/")[2][:22]
    with world.database.write() as session:
        confirmation.confirm_subscription(
            session,
            KEYS,
            token,
            origin=MACHINE,
            evidence_retention=timedelta(days=90),
            queue=notice_queue.make_notice_queue(KEYS, world.settings, world.clock),
            language=ENGLISH,
            now=world.clock(),
        )


@pytest.mark.takes_turns
def test_a_confirmation_says_what_is_agreed_to_and_leads_to_the_page(world: DeliverySetup) -> None:
    ask(world)
    provider = ScriptedProvider(same_outcome_for_all(HandoverStatus.ACCEPTED))
    assert send(world, provider) == {HandoverStatus.ACCEPTED: 1}
    (outgoing,) = provider.received_messages
    message = checked(outgoing.to_bytes())
    assert (outgoing.outbox_folder, message["To"]) == ("notice", BO)
    assert message["Subject"] == "Confirm your subscription to HLS.Today"
    assert message["List-Unsubscribe"] is None
    assert message["List-Id"] is None
    wording = build_consent_text(Settings()).text
    for kind in ("plain", "html"):
        text = " ".join(body(message, kind).split())
        assert wording in text
        assert "https://news.example.org/confirm/" in text
        assert "Friday, November 27, 2026" in text
        assert "1 Main St, Springfield" in text
    links = re.findall(r'(?:href|src)="([^"]*)"', body(message, "html"))
    assert {link.rpartition("/")[0] for link in links} == {
        "https://news.example.org/confirm",
        "https://news.example.org",
    }
    (delivery,) = deliveries(world)
    assert (delivery.purpose, delivery.state) == ("confirm:1", DeliveryState.ACCEPTED)
    assert waiting_notices(world) == 0


def test_the_welcome_carries_the_receipt_and_the_way_out(world: DeliverySetup) -> None:
    ask(world)
    provider = ScriptedProvider(same_outcome_for_all(HandoverStatus.ACCEPTED))
    send(world, provider)
    confirmed(world, provider)
    assert send(world, provider) == {HandoverStatus.ACCEPTED: 1}
    message = checked(provider.received_messages[-1].to_bytes())
    assert re.fullmatch(r"<https://news\.example\.org/u/[\w-]{22}>", message["List-Unsubscribe"])
    assert message["List-Unsubscribe-Post"] == "List-Unsubscribe=One-Click"
    wording = build_consent_text(Settings())
    for kind in ("plain", "html"):
        text = " ".join(body(message, kind).split())
        assert wording.text in text
        assert wording.hash not in text  # it stands where the reader sees all their data
        assert "/preferences/" in text
        assert "November 20, 2026, 6 a.m. ET" in text
    assert [d.purpose for d in deliveries(world)] == ["confirm:1", "welcome:2"]


@pytest.mark.takes_turns
def test_what_a_mail_is_written_from_is_kept_encrypted(world: DeliverySetup) -> None:
    ask(world)
    with world.database.read() as session:
        (row,) = session.scalars(select(QueuedNoticeEmail))
    assert b"hls.today" not in row.ciphertext
    assert b"token" not in row.ciphertext


def test_every_try_has_the_same_bytes_and_the_last_one_drops_what_it_was_written_from(one_world: DeliverySetup) -> None:
    world = one_world
    ask(world)
    later = ScriptedProvider(same_outcome_for_all(HandoverStatus.TRY_LATER))
    tries = 0
    while waiting_notices(world):
        send(world, later)
        tries += 1
        (delivery,) = deliveries(world)
        world.clock.now = max(delivery.next_try_at, world.clock.now)
    assert delivery.state is DeliveryState.EXPIRED
    assert len({m.to_bytes() for m in later.received_messages}) == 1
    assert 15 < tries < 30
    assert world.clock() <= RELEASE + timedelta(hours=72)


def test_a_doubt_is_final_and_asking_again_is_the_way_out(world: DeliverySetup) -> None:
    ask(world)
    send(world, ScriptedProvider(same_outcome_for_all(HandoverStatus.UNCERTAIN)))
    assert [d.state for d in deliveries(world)] == [DeliveryState.UNCERTAIN]
    world.clock.now += timedelta(hours=1)
    ask(world)
    provider = ScriptedProvider(same_outcome_for_all(HandoverStatus.ACCEPTED))
    assert send(world, provider) == {HandoverStatus.ACCEPTED: 1}
    assert provider.received_messages[0].to_bytes().count(b"Reminder to confirm") >= 1


@pytest.mark.takes_turns
def test_a_server_that_says_no_to_everything_is_left_alone_for_a_while(world: DeliverySetup) -> None:
    ask(world, BO, "cy@county.example")
    down = ScriptedProvider(same_outcome_for_all(HandoverStatus.NOT_TRIED, stop="the server is down"))
    send(world, down)
    assert len(down.received_messages) == 2
    send(world, down)
    assert len(down.received_messages) == 2
    world.clock.now += timedelta(minutes=1)
    assert send(world, ScriptedProvider(same_outcome_for_all(HandoverStatus.ACCEPTED))) == {HandoverStatus.ACCEPTED: 2}


def test_what_a_dead_process_left_claimed_is_uncertain(world: DeliverySetup) -> None:
    ask(world)

    def crash(_: Sequence[OutgoingMessage]) -> BatchOutcome:
        raise MemoryError

    with pytest.raises(MemoryError):
        send(world, ScriptedProvider(crash))
    assert [d.state for d in deliveries(world)] == [DeliveryState.HANDING_OVER]
    silence_runs(world.database)
    assert send(world, ScriptedProvider(same_outcome_for_all(HandoverStatus.ACCEPTED))) == {}
    assert [d.state for d in deliveries(world)] == [DeliveryState.UNCERTAIN]
    assert waiting_notices(world) == 0


def test_a_link_that_ran_out_or_was_used_is_not_mailed_any_more(world: DeliverySetup) -> None:
    ask(world, BO, "cy@county.example")
    with world.database.write() as session:
        numbers = session.scalars(select(Delivery.person)).all()
        assert numbers[0] is not None
        one_time_tokens.revoke_tokens(session, numbers[0], "confirm", now=world.clock())
    provider = ScriptedProvider(same_outcome_for_all(HandoverStatus.ACCEPTED))
    assert send(world, provider) == {HandoverStatus.ACCEPTED: 1}
    states = sorted(d.state for d in deliveries(world))
    assert states == [DeliveryState.ACCEPTED, DeliveryState.WITHDRAWN]


@pytest.mark.takes_turns
def test_who_complains_between_claim_and_handing_over_gets_nothing(world: DeliverySetup) -> None:
    ask(world)
    provider = ScriptedProvider(same_outcome_for_all(HandoverStatus.ACCEPTED))
    clock, has_complained = world.clock, False

    def complaining_clock() -> object:
        nonlocal has_complained
        is_claimed = [d.state for d in deliveries(world)] == [DeliveryState.RESERVED]
        if is_claimed and not has_complained:  # the second look at consent follows
            has_complained = True
            with world.database.write() as session:
                suppression.suppress_address(
                    session,
                    KEYS,
                    read_address(BO),
                    reason="complained",
                    actor="hook",
                    now=clock(),
                    unsubscribe_log=UnsubscribeLog(world.settings.left_log, KEYS),
                )
        return clock()

    notices.send_due_notices(world.database, provider, KEYS, world.settings, clock=complaining_clock)  # type: ignore[arg-type]
    assert provider.received_messages == []
    assert [d.state for d in deliveries(world)] == [DeliveryState.WITHDRAWN]


def test_damaged_rows_hold_up_nobody(world: DeliverySetup) -> None:
    ask(world, BO, "cy@county.example", "dee@county.example")
    with world.database.write() as session:
        first, second, _ = session.scalars(select(Delivery).order_by(Delivery.person))
        session.execute(update(Person).where(Person.number == first.person).values(ciphertext=b"x" * 40))
        session.execute(
            update(QueuedNoticeEmail).where(QueuedNoticeEmail.delivery == second.id).values(ciphertext=b"x" * 40)
        )
    assert send(world, ScriptedProvider(same_outcome_for_all(HandoverStatus.ACCEPTED))) == {HandoverStatus.ACCEPTED: 1}
    assert waiting_notices(world) == 0


@pytest.mark.takes_turns
def test_a_template_that_is_broken_loses_no_mail(world: DeliverySetup) -> None:
    ask(world)
    own = world.settings.home / "templates"
    (own / "mail" / "confirm").mkdir(parents=True)
    (own / "mail" / "confirm" / "subject.txt").write_text("{{ nothing_of_the_kind }}")
    broken = replace(world, settings=world.settings.model_copy(update={"templates": own}))
    with pytest.raises(Exception, match="nothing_of_the_kind"):
        send(broken, ScriptedProvider(same_outcome_for_all(HandoverStatus.ACCEPTED)))
    assert [d.state for d in deliveries(world)] == [DeliveryState.WAITING]
    assert send(world, ScriptedProvider(same_outcome_for_all(HandoverStatus.ACCEPTED))) == {HandoverStatus.ACCEPTED: 1}


def test_while_the_settings_forbid_sending_mails_wait_and_the_way_out_is_not_tried_every_second(
    world: DeliverySetup,
) -> None:
    ask(world)
    key_file.create_file(world.settings.key_file, KEYS.to_json())
    shut = world.settings.model_copy(update={"mail_url": SecretStr("smtp://mail.example.net:587")})
    with pytest.raises(ProviderSettingsError, match="example"):
        send_due_transactional_emails(Installation(shut, world.database), clock=world.clock)
    assert send_due_transactional_emails(Installation(shut, world.database), clock=world.clock) == {}
    (delivery,) = deliveries(world)
    assert (delivery.state, delivery.next_try_at) == (DeliveryState.WAITING, RELEASE + NOTICE_RETRY_DELAY)


def test_a_subscriber_who_is_mailed_twice_for_one_thing_cannot_be(world: DeliverySetup) -> None:
    (number,) = world.add_subscribers("ada@example.org")
    queue = notice_queue.make_notice_queue(KEYS, world.settings, world.clock)
    with world.database.write() as session:
        queue(session, MailRequest("known", number, "2026-11-20"))
    with pytest.raises(Exception, match=r"(?i)unique"), world.database.write() as session:
        queue(session, MailRequest("known", number, "2026-11-20"))


@pytest.mark.parametrize("kind", ["known", "link"])
def test_a_subscriber_gets_the_link_to_their_choices(one_world: DeliverySetup, kind: str) -> None:
    world = one_world
    (number,) = world.add_subscribers("ada@example.org")
    with world.database.write() as session:
        note = MailRequest("known" if kind == "known" else "link", number, "2026-11-20")
        notice_queue.make_notice_queue(KEYS, world.settings, world.clock)(session, note)
    provider = ScriptedProvider(same_outcome_for_all(HandoverStatus.ACCEPTED))
    send(world, provider)
    message = checked(provider.received_messages[0].to_bytes())
    for part in ("plain", "html"):
        assert re.search(r"https://news\.example\.org/preferences/[\w-]{22}", body(message, part))


class Inbox:
    """A mail server that takes everything."""

    def __init__(self) -> None:
        self.got: list[tuple[list[str], bytes]] = []

    async def handle_DATA(self, _server: SMTP, _session: SmtpSession, envelope: Envelope) -> str:  # noqa: N802
        assert isinstance(envelope.content, bytes)
        self.got.append((envelope.rcpt_tos, envelope.content))
        return "250 taken"


def test_notices_go_over_smtp_one_recipient_each(one_world: DeliverySetup) -> None:
    world = one_world
    ask(world, BO, "cy@county.example")
    inbox = Inbox()
    with run_smtp_server(inbox) as port:
        url = SecretStr(f"smtp://127.0.0.1:{port}?starttls=off")
        provider = open_provider(world.settings.model_copy(update={"mail_url": url}))
        assert send(world, provider) == {HandoverStatus.ACCEPTED: 2}
        provider.close()
    assert sorted(rcpt for rcpt, _ in inbox.got) == [[BO], ["cy@county.example"]]
    for _, raw in inbox.got:
        checked(raw)


def test_a_process_that_falls_silent_in_the_middle_loses_no_notice_and_the_rest_leaves_a_minute_later(
    one_world: DeliverySetup, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So it is on a machine that is slow or asleep: a lease that ran out delays emails, and repeats none."""
    world, inbox = one_world, Inbox()
    ask(world, *(f"person{number}@county.example" for number in range(5)))
    monkeypatch.setattr(smtp_provider, "MAX_AHEAD_SECONDS", inf)  # however busy this machine is
    with run_smtp_server(inbox) as port:
        url = SecretStr(f"smtp://127.0.0.1:{port}?starttls=off")
        with closing(open_provider(world.settings.model_copy(update={"mail_url": url}))) as provider:
            with monkeypatch.context() as patch:
                patch.setattr(LeaseKeeper, "is_valid", property(lambda _: len(inbox.got) != 2))
                assert send(world, provider) == {HandoverStatus.ACCEPTED: 2, HandoverStatus.NOT_TRIED: 3}
            world.clock.now += timedelta(minutes=1)
            assert send(world, provider) == {HandoverStatus.ACCEPTED: 3}
    assert len({recipient for (recipient,), _ in inbox.got}) == len(inbox.got) == 5


def _no_mailbox() -> ScriptedProvider:
    return ScriptedProvider(
        same_outcome_for_all(HandoverStatus.REFUSED, reply="550 5.1.1 <address>: no such user"), name="smtp"
    )


def test_an_address_whose_confirmation_the_server_refuses_is_not_mailed_again(world: DeliverySetup) -> None:
    ask(world)
    assert send(world, _no_mailbox()) == {HandoverStatus.REFUSED: 1}
    with world.database.read() as session:
        assert session.scalars(select(Person.state)).one() is PersonState.SUPPRESSED
        assert session.scalars(select(Suppression.reason)).one() == "bounced"


def test_what_a_new_address_answers_is_not_held_against_the_old_one(world: DeliverySetup) -> None:
    (ada,) = world.add_subscribers("ada@example.org")
    with world.database.write() as session:
        queue = notice_queue.make_notice_queue(KEYS, world.settings, world.clock)
        address_change.request_address_change(
            session, KEYS, ada, read_address("new@example.net"), queue, SignupLimits(), now=world.clock()
        )
    refused: list[str] = []

    def answer(messages: Sequence[OutgoingMessage]) -> BatchOutcome:
        new = [m.address == "new@example.net" for m in messages]
        refused.extend(m.address for m, no in zip(messages, new, strict=True) if no)
        yes, no = (
            MessageOutcome(HandoverStatus.ACCEPTED),
            MessageOutcome(HandoverStatus.REFUSED, "550 5.1.1 no such user"),
        )
        return BatchOutcome(tuple(no if n else yes for n in new))

    send(world, ScriptedProvider(answer, name="smtp"))
    assert refused == ["new@example.net"]
    with world.database.read() as session:
        assert session.get_one(Person, ada).state is PersonState.SUBSCRIBED


def test_while_the_installation_is_held_no_notice_leaves(world: DeliverySetup) -> None:
    ask(world)
    with world.database.write() as session:
        installation_hold.pause_all_sending(session, "a copy", actor="eve", now=world.clock())
        assert not notices.has_due_notices(session, now=world.clock())
    assert send(world, ScriptedProvider(same_outcome_for_all(HandoverStatus.ACCEPTED))) == {}
    with world.database.write() as session:
        installation_hold.resume_all_sending(session)
    assert send(world, ScriptedProvider(same_outcome_for_all(HandoverStatus.ACCEPTED))) == {HandoverStatus.ACCEPTED: 1}


def test_the_log_says_why_notices_wait_without_an_address(one_world: DeliverySetup) -> None:
    ask(one_world)
    with one_world.database.write() as session:
        installation_hold.pause_all_sending(session, f"{BO} asked", actor="eve", now=one_world.clock())
    with capture_logs() as lines:
        send(one_world, ScriptedProvider(same_outcome_for_all(HandoverStatus.ACCEPTED)))
    (line,) = [line for line in lines if line["event"] == "transactional emails are waiting"]
    assert BO not in line["why"]


def test_corrections_go_at_the_rate_of_editions_and_a_confirmation_waits_for_no_limit_but_counts(
    world: DeliverySetup,
) -> None:
    limits = UsageLimitSettings(send_per_second=4, domains_per_hour={"slow.example": 60})
    file = world.settings.file.model_copy(update={"limits": limits})
    world = replace(world, settings=world.settings.model_copy(update={"file": file}))
    places = ["county.example"] * 9 + ["slow.example"] * 3
    people = world.add_subscribers(*(f"reader{number}@{place}" for number, place in enumerate(places)))
    store_correction(world, people)
    left: list[tuple[datetime, str]] = []

    def accept(messages: Sequence[OutgoingMessage]) -> BatchOutcome:
        left.extend((world.clock(), message.placeholders.to.partition("@")[2]) for message in messages)
        return same_outcome_for_all(HandoverStatus.ACCEPTED)(messages)

    def send_corrections() -> None:
        provider, sleep = ScriptedProvider(accept), world.clock.sleep
        correction_sending.send_due_corrections(
            world.database, provider, KEYS, world.settings, clock=world.clock, sleep=sleep
        )

    assert send(world, ScriptedProvider(accept)) == {}  # a correction is not of the notices that wait for nothing
    send_corrections()
    assert [place for _, place in left].count("county.example") == 9
    assert [place for _, place in left].count("slow.example") == 1
    for first, _ in left:
        assert sum(first <= moment < first + timedelta(seconds=1) for moment, _ in left) <= 4
    for _ in range(3):
        world.clock.sleep(70)
        send_corrections()
    assert {delivery.state for delivery in deliveries(world)} == {DeliveryState.ACCEPTED}
    assert (len(left), waiting_notices(world)) == (12, 0)

    left.clear()
    ask(world, *(f"new{number}@county.example" for number in range(5)))
    assert send(world, ScriptedProvider(accept)) == {HandoverStatus.ACCEPTED: 5}
    assert len({moment for moment, _ in left}) == 1
    with world.database.write() as session:
        limiter = RateLimiter.from_settings(world.database, limits, KEYS)
        allowance = limiter.find_allowance(session, 1, world.clock)
    assert allowance.messages == 0
    assert allowance.available_at is not None
    assert allowance.available_at > world.clock() + timedelta(seconds=1), "this second is full"


def test_a_process_that_is_told_to_stop_claims_no_notice_and_the_next_one_does(one_world: DeliverySetup) -> None:
    ask(one_world)
    provider = ScriptedProvider(same_outcome_for_all(HandoverStatus.ACCEPTED))
    notices.send_due_notices(
        one_world.database, provider, KEYS, one_world.settings, clock=one_world.clock, stopping=lambda: True
    )
    assert (len(provider.received_messages), waiting_notices(one_world)) == (0, 1)
    assert send(one_world, provider) == {HandoverStatus.ACCEPTED: 1}


@pytest.mark.takes_turns
def test_a_correction_that_is_told_to_stop_leaves_the_rest_waiting(world: DeliverySetup) -> None:
    store_correction(world, world.add_subscribers(*(f"reader{number}@county.example" for number in range(30))))
    provider = ScriptedProvider(same_outcome_for_all(HandoverStatus.ACCEPTED))
    correction_sending.send_due_corrections(
        world.database,
        provider,
        KEYS,
        world.settings,
        clock=world.clock,
        sleep=world.clock.sleep,
        stopping=lambda: bool(provider.received_messages),
    )
    assert (len(provider.received_messages), waiting_notices(world)) == (20, 10)
    correction_sending.send_due_corrections(world.database, provider, KEYS, world.settings, clock=world.clock)
    assert (len(provider.received_messages), waiting_notices(world)) == (30, 0)


def test_a_claim_of_corrections_reads_no_more_at_the_end_beside_an_old_snapshot(
    postgresql_world: DeliverySetup,
) -> None:
    world = postgresql_world
    store_earlier_edition(world.database)
    store_correction(world, world.add_subscribers(*(f"reader{number}@county.example" for number in range(400))))
    accept = same_outcome_for_all(HandoverStatus.ACCEPTED)
    read_by_claim = []

    def note_claim(messages: Sequence[OutgoingMessage]) -> BatchOutcome:
        read_by_claim.append(read[-2])  # another commit marks what leaves
        return accept(messages)

    provider = ScriptedProvider(note_claim)
    with keep_old_snapshot(world.database), note_what_is_read(world.database) as read:
        correction_sending.send_due_corrections(world.database, provider, KEYS, world.settings, clock=world.clock)
    assert (len(read_by_claim), waiting_notices(world)) == (20, 0)
    assert reads_stay_the_same(read_by_claim[1:]), read_by_claim


def test_a_look_for_due_notices_reads_no_delivery_of_an_edition(postgresql_world: DeliverySetup) -> None:
    world = postgresql_world
    store_earlier_edition(world.database)
    world.add_subscribers(*(f"reader{number}@county.example" for number in range(300)))
    plan_deliveries(world.database, EDITION_NAME, KEYS, world.settings, now=world.clock())
    ask(world)
    with note_what_is_read(world.database) as read:
        with world.database.write() as session:
            session.execute(text("ANALYZE notice"))
        read.clear()
        with world.database.write() as session:
            assert notices.has_due_notices(session, now=world.clock())
        assert send(world, ScriptedProvider(same_outcome_for_all(HandoverStatus.ACCEPTED))) == {
            HandoverStatus.ACCEPTED: 1
        }
        with world.database.write() as session:
            assert not notices.has_due_notices(session, now=world.clock())
    assert max(entries for entries, _ in read) < 20, read


@pytest.mark.sqlite  # which plans by rules
def test_a_look_for_due_notices_on_sqlite_begins_at_the_notices(one_world: DeliverySetup) -> None:
    ask(one_world)
    statements: list[str] = []
    with one_world.database.write() as session:
        driver = session.connection().connection.driver_connection
        assert driver is not None
        driver.set_trace_callback(statements.append)
        assert notices.has_due_notices(session, now=one_world.clock())
        driver.set_trace_callback(None)
        looks = [each for each in statements if "FROM notice" in each]
        plans = [[row.detail for row in session.execute(text(f"EXPLAIN QUERY PLAN {look}"))] for look in looks]
    assert plans
    for plan in plans:
        assert "USING INDEX ix_notice_urgent" in str(plan)
        assert "ix_delivery_next" not in str(plan)


@pytest.mark.sqlite
def test_retried_warnings_on_sqlite_are_counted_from_the_notices(one_world: DeliverySetup) -> None:
    with one_world.database.read() as session, record_plans(session) as plans:
        assert notice_queue.count_retried_admin_warnings(session) == 0
    (plan,) = plans
    assert "USING INDEX ix_notice_urgent" in plan
    assert "ix_delivery_next" not in plan
