"""Subscribers unsubscribe with one click while another process sends, and then get nothing.

What is promised: consent is asked once more after the claim, right before a message is handed over. Whoever has the
answer to their click by then gets nothing. What was handed over before can't be called back, whenever it is accepted.
So that many leave between a claim and that question, the sending process rests there, for a known time.
"""

import http.client
import random
import time
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from flask import Flask
from sqlalchemy import select

from benchmarks.sample_installation import KEYS, RELEASE, create_ready_database
from digest.installation.opened_installation import Installation
from digest.settings import Settings
from digest.store.delivery_models import Delivery, DeliveryState
from digest.store.engine import Database
from digest.web.app import create_app
from digest.web.server import open_page_server
from subscribers.crypto import link_tokens
from subscribers.signup import manual_signup
from subscribers.signup.manual_signup import ConsentEvidence
from tests.deliver.kill_harness import WAIT_TIMEOUT, KillableSend, open_killable_send, smtp_route, wait_until

SUBSCRIBERS = 80
LEAVING = 30
RESTS = (
    0.03  # seconds between a claim and the question, for each connection: so a send takes as long over four as over one
)
SLOW = 0.005  # seconds that the receiver takes before it has a message, and again before it answers


@pytest.fixture(params=[1, 4])
def at(request: pytest.FixtureRequest, database: Database, tmp_path: Path) -> Iterator[KillableSend]:
    """Give an installation whose readers have consented, on either database, over one connection and four."""
    url = database.engine.url.render_as_string(hide_password=False)
    with open_killable_send(smtp_route(request.param), tmp_path, url, SUBSCRIBERS, SLOW) as laid:
        create_ready_database(laid.options.settings, 0, kilobytes=4).close()
        with laid.database.write() as session:
            for number in range(1, SUBSCRIBERS + 1):
                address = f"reader{number}@example.org"
                assert (
                    manual_signup.add_subscriber(session, KEYS, address, evidence=_evidence(), now=RELEASE).number
                    == number
                )
        yield laid


def _evidence() -> ConsentEvidence:
    at = RELEASE - timedelta(days=100)
    return ConsentEvidence(
        wording="Yes.", wording_version="1", language="en", page="hls.today", method="form", actor="test", agreed_at=at
    )


def _pages(settings: Settings, database: Database) -> Flask:
    settings.key_file.touch(mode=0o600)
    settings.key_file.write_text(KEYS.to_json())
    return create_app(Installation(settings, database))


def _leave(port: int, number: int) -> float:
    """Click; give the moment at which the answer was there."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=WAIT_TIMEOUT)
    try:
        connection.request(
            "POST",
            f"/u/{link_tokens.make_link_token(KEYS, number, 'leave', address='')}",
            "List-Unsubscribe=One-Click",
            {"Content-Type": "application/x-www-form-urlencoded"},
        )
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200
        return time.time()
    finally:
        connection.close()


def _claimed(at: KillableSend) -> list[int]:
    with at.database.read() as session:
        query = select(Delivery.person).where(Delivery.state == DeliveryState.RESERVED)
        return [number for number in session.scalars(query) if number is not None]


def _handed(at: KillableSend) -> dict[int, datetime]:
    with at.database.read() as session:
        rows = session.execute(select(Delivery.person, Delivery.handed_at)).all()
    return {row[0]: row[1] for row in rows if row[0] is not None and row[1] is not None}


def test_whoever_has_the_answer_to_their_click_is_not_handed_over_any_more(at: KillableSend) -> None:
    chance = random.Random(8058)
    unsubscribed_at: dict[int, float] = {}
    with open_page_server(_pages(at.options.settings, at.database), "127.0.0.1", 0) as serving:
        rests = RESTS * at.route.max_in_doubt
        process = at.start_process(delay_after_claim=rests)
        wait_until(lambda: at.receiver.count_accepted() > 0, process.is_alive)  # from here on everybody is owed one
        while process.is_alive() and len(unsubscribed_at) < LEAVING:
            staying = set(range(1, SUBSCRIBERS + 1)) - unsubscribed_at.keys()
            # Every second one is somebody who has been claimed at this moment, where there is one; the others have nothing yet.
            claimed = sorted(staying.intersection(_claimed(at))) if len(unsubscribed_at) % 2 else []
            number = chance.choice(
                claimed or sorted(staying - at.receiver.count_by_subscriber().keys()) or sorted(staying)
            )
            unsubscribed_at[number] = _leave(serving.port, number)
            time.sleep(chance.uniform(0, 0.01))
        process.join(WAIT_TIMEOUT)
    assert process.exitcode == 0
    counts = at.check_against_receiver()
    states, handed = at.delivery_states(), _handed(at)
    got = at.receiver.count_by_subscriber().keys()
    for number, answered in unsubscribed_at.items():
        if number in got:
            asked_after = handed[number] + timedelta(seconds=rests)
            assert asked_after.timestamp() <= answered, (
                "asked for consent after the answer, and handed over all the same"
            )
        else:
            assert states[number] is DeliveryState.WITHDRAWN
    assert got | unsubscribed_at.keys() == set(range(1, SUBSCRIBERS + 1)), "somebody who stayed got nothing"
    assert counts[DeliveryState.WITHDRAWN] == SUBSCRIBERS - len(got) > 0
