"""A message's Date is the time of its first attempt, regardless of the send time and of retries."""

from datetime import datetime, timedelta
from email import message_from_bytes
from email.utils import parsedate_to_datetime

import pytest

from digest.app.sending import uncertain_delivery_actions
from digest.deliver.providers.base import HandoverStatus
from digest.deliver.send.notices import notice_queue
from digest.deliver.send.notices import notice_sending as notices
from digest.deliver.send.run.edition_sending import run_edition
from digest.deliver.send.uncertain.uncertain_deliveries import UncertainResolution, list_uncertain_deliveries
from digest.installation.opened_installation import Installation
from subscribers.mail_requests import MailRequest
from tests.actors import ADMIN
from tests.deliver.conftest import EDITION_NAME, KEYS, DeliverySetup
from tests.deliver.scripted_provider import ScriptedProvider, same_outcome_for_all
from tests.moments import RELEASE

ACCEPTED, LATER = HandoverStatus.ACCEPTED, HandoverStatus.TRY_LATER
HOUR = timedelta(hours=1)


def send_edition(world: DeliverySetup, result: HandoverStatus = ACCEPTED, *, stop: str = "") -> list[bytes]:
    """Send what is due; every message comes to `result`. Return what the provider got."""
    provider = ScriptedProvider(same_outcome_for_all(result, stop=stop))
    run_edition(
        world.database, EDITION_NAME, provider, KEYS, world.settings, clock=world.clock, sleep=world.clock.sleep
    )
    return [message.to_bytes() for message in provider.received_messages]


def date_of(message: bytes) -> datetime:
    return parsedate_to_datetime(message_from_bytes(message)["Date"])


@pytest.mark.takes_turns
@pytest.mark.parametrize("lateness", [-2 * 24 * HOUR, timedelta(), 5 * HOUR], ids=["early", "on time", "late"])
def test_it_is_the_moment_of_handing_over(world: DeliverySetup, lateness: timedelta) -> None:
    world.add_subscribers("ada@example.org")
    world.clock.now += lateness
    (message,) = send_edition(world)
    assert date_of(message) == RELEASE + lateness
    assert b"\r\nDate: " in message
    assert b" -0500\r\n" in message, "in the publication's zone"


@pytest.mark.takes_turns
def test_a_retry_and_a_doubt_that_is_resolved_repeat_the_bytes(world: DeliverySetup) -> None:
    world.add_subscribers("ada@example.org")
    first = send_edition(world, LATER)
    world.clock.now += HOUR
    second = send_edition(world, HandoverStatus.UNCERTAIN)
    ids = [d.delivery_id for d in list_uncertain_deliveries(world.database, EDITION_NAME, now=world.clock())]
    again, installation = UncertainResolution.SEND_AGAIN, Installation(world.settings, world.database)
    uncertain_delivery_actions.resolve_uncertain(
        installation, EDITION_NAME, ids, again, reason="the log", actor=ADMIN, clock=world.clock
    )
    world.clock.now += HOUR
    third = send_edition(world)
    assert len(first) == 1
    assert first == second == third
    assert date_of(third[0]) == RELEASE


@pytest.mark.takes_turns
def test_what_was_claimed_and_never_left_is_dated_when_it_leaves(world: DeliverySetup) -> None:
    world.add_subscribers("ada@example.org")
    send_edition(world, HandoverStatus.NOT_TRIED, stop="the server is away")
    world.clock.now += HOUR
    (message,) = send_edition(world)
    assert date_of(message) == RELEASE + HOUR


@pytest.mark.takes_turns
def test_what_was_put_off_and_then_not_even_tried_keeps_its_date(world: DeliverySetup) -> None:
    world.add_subscribers("ada@example.org")
    (first,) = send_edition(world, LATER)
    world.clock.now += HOUR
    send_edition(world, HandoverStatus.NOT_TRIED, stop="the server is away")
    world.clock.now += HOUR
    assert send_edition(world) == [first]


def test_a_notice_that_waited_is_dated_when_it_leaves_and_keeps_that(world: DeliverySetup) -> None:
    queue = notice_queue.make_notice_queue(KEYS, world.settings, world.clock)
    with world.database.write() as session:
        queue(session, MailRequest("contact", None, "1", {"message": "Hello.", "reply": ""}))
    world.clock.now += HOUR
    later, accepted = (ScriptedProvider(same_outcome_for_all(result)) for result in (LATER, ACCEPTED))
    for provider in (later, accepted):
        notices.send_due_notices(world.database, provider, KEYS, world.settings, clock=world.clock)
        world.clock.now += HOUR
    (first,), (second,) = later.received_messages, accepted.received_messages
    assert first.to_bytes() == second.to_bytes()
    assert date_of(first.to_bytes()) == RELEASE + HOUR
