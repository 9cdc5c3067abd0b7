"""Deliveries changed in the database by hand or by a trigger: no one gets another's email, and no one else waits."""

import hmac
import json
from base64 import b32encode
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from sqlalchemy import select, text
from structlog.testing import capture_logs

from digest.deliver.compose.identifiers import make_delivery_id
from digest.deliver.plan.planning import plan_deliveries
from digest.deliver.providers.base import HandoverStatus, OutgoingMessage
from digest.deliver.send.claims.delivery_claims import CHANGED_ROW
from digest.deliver.send.notices import notice_queue, notice_sending
from digest.deliver.send.run.edition_sending import run_edition
from digest.store.delivery_models import Delivery, DeliveryState, QueuedNoticeEmail
from subscribers.crypto import link_tokens
from subscribers.mail_requests import MailRequest
from tests.deliver.conftest import EDITION_NAME, KEYS, DeliverySetup
from tests.deliver.scripted_provider import ScriptedProvider, same_outcome_for_all
from tests.moments import RELEASE

ADA, BO, CY = "ada@example.org", "bo@example.org", "cy@example.org"


def change(world: DeliverySetup, statements: str, **values: Any) -> None:
    """Change rows as someone does who has the database and no key."""
    with world.database.write() as session:
        for statement in statements.split(";"):
            named = {name: value for name, value in values.items() if f":{name}" in statement}
            session.execute(text(statement), named)


def queue_links(world: DeliverySetup, *people: int) -> list[str]:
    """Queue a "my data" link to each person; return the IDs of the deliveries."""
    queue = notice_queue.make_notice_queue(KEYS, world.settings, world.clock)
    expires_at = (world.clock() + timedelta(hours=1)).isoformat()
    with world.database.write() as session:
        for person in people:
            facts = {"token": f"{person}" * 22, "expires_at": expires_at}
            queue(session, MailRequest("data", person, str(person), facts))
    return [make_delivery_id(KEYS, f"data:{person}", person) for person in people]


def send_notices(world: DeliverySetup) -> Sequence[OutgoingMessage]:
    provider = ScriptedProvider(same_outcome_for_all(HandoverStatus.ACCEPTED))
    notice_sending.send_due_notices(world.database, provider, world.keys, world.settings, clock=world.clock)
    return provider.received_messages


def send_edition(world: DeliverySetup) -> Sequence[OutgoingMessage]:
    provider, clock = ScriptedProvider(same_outcome_for_all(HandoverStatus.ACCEPTED)), world.clock
    run_edition(world.database, EDITION_NAME, provider, world.keys, world.settings, clock=clock, sleep=clock.sleep)
    return provider.received_messages


def addresses(messages: Sequence[OutgoingMessage]) -> list[str]:
    return sorted(message.address for message in messages)


# What becomes of Ada's link; Bo's and Cy's are left alone.
NOTICE_CHANGES = {
    "the person": "UPDATE delivery SET person = :bo WHERE id = :row",
    "the person, to the editors": (
        "UPDATE delivery SET person = NULL, purpose = 'contact:1' WHERE id = :row;"
        "UPDATE notice SET kind = 'contact' WHERE delivery = :row"
    ),
    "the kind": "UPDATE notice SET kind = 'link' WHERE delivery = :row",
    "the kind and purpose": (
        "UPDATE notice SET kind = 'link' WHERE delivery = :row;UPDATE delivery SET purpose = 'link:1' WHERE id = :row"
    ),
    "the serial": "UPDATE delivery SET purpose = 'data:99' WHERE id = :row",
    "the Message-ID": "UPDATE delivery SET message_id = :header WHERE id = :row",
    "the Message-ID, to another's": (
        "UPDATE delivery SET message_id = (SELECT message_id FROM delivery AS other WHERE other.id = :other) WHERE id = :row"
    ),
    "the facts, to another's": (
        "UPDATE notice SET ciphertext = (SELECT ciphertext FROM notice AS other WHERE other.delivery = :other) "
        "WHERE delivery = :row"
    ),
    "the key": "UPDATE notice SET key_id = '1-0000000000' WHERE delivery = :row",
    "the facts": "UPDATE notice SET ciphertext = :bytes WHERE delivery = :row",
}


@pytest.mark.parametrize("what", NOTICE_CHANGES)
def test_a_changed_notice_is_refused_and_the_others_are_sent(world: DeliverySetup, what: str) -> None:
    ada, bo, cy = world.add_subscribers(ADA, BO, CY)
    row, other, _ = queue_links(world, ada, bo, cy)
    change(
        world, NOTICE_CHANGES[what], row=row, other=other, bo=bo, bytes=b"x" * 40, header="<a\r\nBcc: eve@example.org>"
    )
    with capture_logs() as lines:
        assert addresses(send_notices(world)) == [BO, CY]
    assert [line["delivery"] for line in lines if line["log_level"] == "error"] == [row]
    with world.database.read() as session:
        delivery = session.get_one(Delivery, row)
        assert (delivery.state, delivery.reply, delivery.handed_at) == (DeliveryState.REFUSED, CHANGED_ROW, None)
        assert session.scalars(select(QueuedNoticeEmail)).all() == []
    assert send_notices(world) == []


def test_a_delivery_id_names_no_file_outside_the_outbox(one_world: DeliverySetup) -> None:
    world = one_world
    (ada,) = world.add_subscribers(ADA)
    (row,) = queue_links(world, ada)
    change(
        world,
        "UPDATE delivery SET purpose = 'data:0' WHERE id = :row;"
        "INSERT INTO delivery (id, purpose, person, state, due_at, next_try_at, tries, message_id, transport, reply) "
        "SELECT :path, :purpose, person, state, due_at, next_try_at, 0, message_id, '', '' FROM delivery WHERE id = :row;"
        "UPDATE notice SET delivery = :path WHERE delivery = :row",
        row=row,
        path="../../outside",
        purpose=f"data:{ada}",
    )
    assert send_notices(world) == []
    with world.database.read() as session:
        assert session.get_one(Delivery, "../../outside").state is DeliveryState.REFUSED


@pytest.mark.takes_turns
def test_a_notice_queued_by_any_earlier_version_is_still_sent(world: DeliverySetup) -> None:
    """The rows are as every version since 0.1 wrote them, and made here without the product's functions."""
    (ada,) = world.add_subscribers(ADA)
    digest = hmac.digest(KEYS.current("return-path").secret, b"delivery\0data:5\0%d" % ada, "sha256")
    row = b32encode(digest[:20]).decode().lower()[:26]
    facts = {"token": "t" * 22, "expires_at": (world.clock() + timedelta(hours=1)).isoformat()}
    vault, nonce = KEYS.current("vault"), b"n" * 12
    ciphertext = nonce + AESGCM(vault.secret).encrypt(nonce, json.dumps(facts).encode(), f"notice {row}".encode())
    with world.database.write() as session:
        delivery = Delivery(id=row, purpose="data:5", person=ada, state=DeliveryState.WAITING, due_at=RELEASE)
        delivery.next_try_at, delivery.message_id = RELEASE, f"<data.{row[:20]}@weekly.news.example.org>"
        session.add(delivery)
        session.flush()
        session.add(QueuedNoticeEmail(delivery=row, kind="data", ciphertext=ciphertext, key_id=vault.id))
    assert addresses(send_notices(world)) == [ADA]


@pytest.mark.takes_turns
def test_a_notice_queued_before_a_key_rotation_is_still_sent(world: DeliverySetup) -> None:
    (ada,) = world.add_subscribers(ADA)
    queue_links(world, ada)
    rotated = DeliverySetup(world.database, world.settings, KEYS.with_new_key("return-path"), world.clock)
    assert addresses(send_notices(rotated)) == [ADA]


@pytest.mark.takes_turns
def test_a_notice_is_still_sent_after_the_list_id_changes(world: DeliverySetup) -> None:
    (ada,) = world.add_subscribers(ADA)
    queue_links(world, ada)
    sender = world.settings.file.sender.model_copy(update={"list_id": "other.example.org"})
    file = world.settings.file.model_copy(update={"sender": sender})
    renamed = DeliverySetup(world.database, world.settings.model_copy(update={"file": file}), KEYS, world.clock)
    (message,) = send_notices(renamed)
    assert b"@weekly.news.example.org>" in message.to_bytes()


def test_an_accepted_notice_isnt_sent_again_by_its_times_and_tries(world: DeliverySetup) -> None:
    (ada,) = world.add_subscribers(ADA)
    (row,) = queue_links(world, ada)
    assert len(send_notices(world)) == 1
    change(
        world,
        "UPDATE delivery SET tries = 0, due_at = '2026-01-01 00:00:00', next_try_at = '2026-01-01 00:00:00', "
        "handed_at = NULL, first_handed_at = NULL, state = 'waiting' WHERE id = :row",
        row=row,
    )
    assert send_notices(world) == []


def test_an_unknown_key_in_a_subscribers_row_stops_no_other_email(world: DeliverySetup) -> None:
    ada, bo = world.add_subscribers(ADA, BO)
    queue_links(world, ada, bo)
    change(world, "UPDATE person SET key_id = '1-0000000000' WHERE number = :ada", ada=ada)
    assert addresses(send_notices(world)) == [BO]
    assert addresses(send_edition(world)) == [BO]


EDITION_CHANGES = {
    "the person, to someone else on the list": "UPDATE delivery SET person = :dee WHERE person = :ada",
    "the person, to someone who left": "UPDATE delivery SET person = :eve WHERE person = :ada",
    "the purpose": "UPDATE delivery SET person = :dee, purpose = 'edition:2026-W01' WHERE person = :ada",
    "the Message-ID": "UPDATE delivery SET message_id = 'changed' WHERE person = :ada",
    "the variant": "UPDATE delivery SET variant = 'changed' WHERE person = :ada",
    "the address": (
        "UPDATE person SET ciphertext = (SELECT ciphertext FROM person AS other WHERE other.number = :bo) WHERE number = :ada"
    ),
    "the address and key": (
        "UPDATE person SET ciphertext = (SELECT ciphertext FROM person AS other WHERE other.number = :eve), "
        "key_id = (SELECT key_id FROM person AS other WHERE other.number = :eve) WHERE number = :ada"
    ),
}


@pytest.mark.parametrize("what", EDITION_CHANGES)
def test_no_changed_row_of_an_edition_sends_tokens_to_another_address(world: DeliverySetup, what: str) -> None:
    people = world.add_subscribers(ADA, BO, "eve@example.org")
    names = dict(zip(("ada", "bo", "eve"), people, strict=True))
    change(world, "UPDATE person SET state = 'withdrawn' WHERE number = :eve", eve=names["eve"])
    plan_deliveries(world.database, EDITION_NAME, KEYS, world.settings, now=world.clock())
    (names["dee"],) = world.add_subscribers("dee@example.org")
    change(world, EDITION_CHANGES[what], **names)
    messages = send_edition(world)
    owners = dict(zip([ADA, BO, "dee@example.org"], [names["ada"], names["bo"], names["dee"]], strict=True))
    assert BO in addresses(messages)
    for message in messages:
        token = message.placeholders.leave_token
        assert link_tokens.read_link_token(KEYS, token, "leave") == (owners[message.address], 0)
