"""Readers leave by one click while a send runs in another process: who has left is not handed over any more.

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

from benchmarks.people import KEYS, RELEASE, prepare
from digest.db import Database
from digest.delivery_db import Delivery, DeliveryState
from digest.install import Install
from digest.settings import Settings
from digest.web.app import create_app
from digest.web.serving import serve
from subscribers import signup, tokens
from subscribers.signup import Evidence
from tests.deliver.killing import PATIENCE, Ground, ground, number_of, smtp, until

READERS = 80
LEAVING = 30
RESTS = 0.03  # seconds between a claim and the question
SLOW = 0.005  # seconds that the receiver takes before it has a message, and again before it answers


@pytest.fixture(params=[1, 4])
def at(request: pytest.FixtureRequest, database: Database, tmp_path: Path) -> Iterator[Ground]:
    """Give an installation whose readers have consented, on either database, over one connection and four."""
    url = database.engine.url.render_as_string(hide_password=False)
    with ground(smtp(request.param), tmp_path, url, READERS, SLOW) as laid:
        prepare(laid.sending.settings, 0, kilobytes=4).close()
        with laid.database.write() as session:
            for number in range(1, READERS + 1):
                address = f"reader{number}@example.org"
                assert signup.add(session, KEYS, address, evidence=_evidence(), now=RELEASE).number == number
        yield laid


def _evidence() -> Evidence:
    at = RELEASE - timedelta(days=100)
    return Evidence(
        wording="Yes.",
        wording_version="1",
        language="en",
        page="hls.today",
        method="form",
        actor="test",
        at=at,
    )


def _pages(settings: Settings, database: Database) -> Flask:
    settings.key_file.touch(mode=0o600)
    settings.key_file.write_text(KEYS.to_json())
    return create_app(Install(settings, database))


def _leave(port: int, number: int) -> float:
    """Click; give the moment at which the answer was there."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
    try:
        connection.request(
            "POST",
            f"/u/{tokens.make(KEYS, number, 'leave')}",
            "List-Unsubscribe=One-Click",
            {"Content-Type": "application/x-www-form-urlencoded"},
        )
        answer = connection.getresponse()
        answer.read()
        assert answer.status == 200
        return time.time()
    finally:
        connection.close()


def _claimed(at: Ground) -> list[int]:
    with at.database.read() as session:
        query = select(Delivery.person).where(Delivery.state == DeliveryState.HANDING_OVER)
        return [number for number in session.scalars(query) if number is not None]


def _handed(at: Ground) -> dict[int, datetime]:
    with at.database.read() as session:
        rows = session.execute(select(Delivery.person, Delivery.handed_at)).all()
    return {row[0]: row[1] for row in rows if row[0] is not None and row[1] is not None}


def test_whoever_has_the_answer_to_their_click_is_not_handed_over_any_more(at: Ground) -> None:
    chance = random.Random(8058)
    left: dict[int, float] = {}
    with serve(_pages(at.sending.settings, at.database), "127.0.0.1", 0) as serving:
        process = at.start(dawdle=RESTS)
        until(lambda: at.receiver.count() > 0, process.is_alive)  # from here on everybody is owed one
        while process.is_alive() and len(left) < LEAVING:
            staying = set(range(1, READERS + 1)) - left.keys()
            # Every second one is somebody who has been claimed at this moment, where there is one.
            claimed = sorted(staying.intersection(_claimed(at))) if len(left) % 2 else []
            number = chance.choice(claimed or sorted(staying))
            left[number] = _leave(serving.port, number)
            time.sleep(chance.uniform(0, 0.01))
        process.join(PATIENCE)
    assert process.exitcode == 0
    found = at.hold_to_account()
    states, handed = at.states(), _handed(at)
    got = {number_of(taken.recipient) for taken in at.receiver.taken()}
    for number, answered in left.items():
        if number in got:
            asked_after = handed[number] + timedelta(seconds=RESTS)
            assert asked_after.timestamp() <= answered, (
                "asked for consent after the answer, and handed over all the same"
            )
        else:
            assert states[number] is DeliveryState.WITHDRAWN
    assert got | left.keys() == set(range(1, READERS + 1)), "somebody who stayed got nothing"
    assert found[DeliveryState.WITHDRAWN] == READERS - len(got) > 0
