"""A correction of a sent edition, for tests of its emails."""

from collections.abc import Sequence

from sqlalchemy import select

from digest.deliver.send.notices import notice_queue
from digest.store.correction_models import Correction
from digest.store.models import Edition
from subscribers.mail_requests import MailRequest
from tests.deliver.conftest import KEYS, DeliverySetup


def store_correction(world: DeliverySetup, people: Sequence[int]) -> None:
    """Store an approved correction of the edition, and queue its emails to people."""
    texts = {"headline": "Maps", "was": "41,000", "becomes": "4,100", "why": "Ten times too many.", "signature": "Dana"}
    facts = texts | {"number": "12", "address": "https://news.example.org/editions/2026-W47"}
    with world.database.write() as session:
        edition = session.scalars(select(Edition)).one()
        correction = Correction(
            edition_id=edition.id,
            seq=1,
            at=world.clock(),
            actor="staff 1",
            signed="Dana",
            url="https://fema.example/",
            section="featured",
            headline="Maps",
            field="headline",
            was="41,000",
            becomes="4,100",
            note="Ten times too many.",
            is_carried=False,
            mail_approved_at=world.clock(),
        )
        session.add(correction)
        session.flush()
        requests = [MailRequest("correction", person, str(correction.id), facts) for person in people]
    rows = notice_queue.prepare_notices(KEYS, world.settings, requests, world.clock())
    with world.database.write() as session:
        assert notice_queue.insert_notices(session, rows) == len(people)
