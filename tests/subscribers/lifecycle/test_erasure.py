"""After an erasure, however it was requested, nothing leads to the person anymore."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from sqlalchemy import select, text, update

from digest.app.sending import background_tasks
from digest.cli import digest
from digest.deliver.retention.delivery_disclosures import make_delivery_erasure_callback
from digest.deliver.send.notices import notice_queue
from digest.store.delivery_models import Delivery, DeliveryState, QueuedNoticeEmail, StoredDeliveryEvent
from digest.store.engine import Database
from digest.store.models import EditionState
from subscribers.address import read_address
from subscribers.consent import disclosures, ledger
from subscribers.consent.consent_texts import ConsentText
from subscribers.consent.evidence import RequestOrigin, make_evidence_salt, store_evidence
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.lifecycle import address_change, my_data
from subscribers.lifecycle.erasure import erase_person
from subscribers.mail_requests import MailRequest
from subscribers.signup import request_queue
from subscribers.signup.rate_limits import SignupLimits
from subscribers.signup.request_queue import FormSubmission
from subscribers.store import one_time_tokens
from subscribers.store.models import Base, ConsentEvent, Disclosure, DisclosureTotal, Person, PersonState
from subscribers.store.signup_models import OneTimeToken, RequestEvidence, SignupRequest, StoredAddressChange
from tests.moments import DRAFTING as NOW
from tests.web.conftest import ADA_ADDRESS, build_web_setup

BO = "bo@relocated.example"
# What may still name the number of an emptied row: its chain, and hashes of spent links, so that their pages can say it.
STAYS = {"consent_event", "one_time"}


def _live(world: Any) -> dict[str, Any]:
    """Have everything happen to Ada that leaves a row; give what must be found nowhere afterwards."""
    keys, settings = world.install.keys, world.install.settings
    world.edition(state=EditionState.SENT)
    put = notice_queue.make_notice_queue(keys, settings, lambda: NOW)
    with world.database.write() as session:
        person = session.get_one(Person, world.ada)
        for name, state in (("2026-W47", DeliveryState.REFUSED), ("2026-W48", DeliveryState.WAITING)):
            row = Delivery(
                id=f"d{name}",
                purpose=f"edition:{name}",
                person=world.ada,
                state=state,
                due_at=NOW,
                next_try_at=NOW,
                domain_tag=person.domain_tag,
                message_id=f"<{name}.mark@news.example.org>",
                reply="550 5.1.1 the user of desk seven is unknown",
                handed_at=NOW if state is DeliveryState.REFUSED else None,
            )
            session.add(row)
        session.flush()
        detail = {"reason": "550 the user of desk seven is unknown"}
        session.add(
            StoredDeliveryEvent(
                delivery="d2026-W47", kind="bounced", at=NOW, received_at=NOW, fingerprint="f", detail=detail
            )
        )
        disclosures.record_disclosures(session, [world.ada], to_whom="our staff", why="a look", reference="", now=NOW)
        old = {"to_whom": "our staff", "why": "a look", "times": 3, "first_at": NOW, "last_at": NOW}
        session.add(DisclosureTotal(person=world.ada, **old))
        first = session.scalars(select(ConsentEvent).order_by(ConsentEvent.id)).first()
        assert first is not None
        store_evidence(
            session, keys, first, RequestOrigin("203.0.113.77", "Desk/7"), salt=make_evidence_salt(), until=NOW
        )
        my_data.request_data_link(session, world.ada, put, now=NOW)
        address_change.request_address_change(session, keys, world.ada, read_address(BO), put, SignupLimits(), now=NOW)
        put(session, MailRequest("known", world.ada, "today"))
        submission = FormSubmission(
            "subscribe",
            read_address(ADA_ADDRESS),
            NOW,
            "/subscribe",
            "hls.today",
            ConsentText("en", "Yes, send me HLS."),
            RequestOrigin("203.0.113.77", "Desk/7"),
        )
        request_queue.enqueue_request(session, request_queue.prepare_request(keys, submission), SignupLimits())
        session.flush()
        moves = list(session.scalars(select(StoredAddressChange.ciphertext)))
        return {
            "address": ADA_ADDRESS,
            "local part": "lovelace",
            "domain": "analytical",
            "new address": "relocated",
            "look-up": person.lookup,
            "sealed address": person.ciphertext,
            "domain tag": person.domain_tag,
            "sealed move": moves[0],
            "a server's words": "desk seven",
            "message id": "2026-W47.mark",
        }


def _by_page(world: Any) -> None:
    with world.database.write() as session:
        token = one_time_tokens.issue_token(session, "my data", world.ada, now=NOW, expires_at=NOW + timedelta(days=1))
    assert "We’ve erased your data" in world.client.post(f"/my-data/{token}/erase").text


def _by_command(world: Any) -> None:
    url = world.database.engine.url.render_as_string(hide_password=False)
    home = str(world.install.settings.home)
    run = CliRunner(env={"DIGEST_HOME": home, "DIGEST_DATABASE_URL": url})
    result = run.invoke(digest, ["subscribers", "erase", "-", "--reason", "by letter"], input=ADA_ADDRESS + "\n")
    assert result.exit_code == 0, result.output


WAYS: list[Callable[[Any], None]] = [_by_page, _by_command]


@pytest.mark.parametrize("way", WAYS)
def test_no_row_of_any_table_leads_to_who_is_erased(both: Any, way: Callable[[Any], None]) -> None:
    marks = _live(both)
    way(both)
    with both.database.read() as session:
        for table in Base.metadata.sorted_tables:
            for column in table.c:
                names_person = column.name == "person" or any(
                    key.target_fullname == "person.number" for key in column.foreign_keys
                )
                if names_person and table.name not in STAYS:
                    assert session.execute(select(table).where(column == both.ada)).all() == [], table.name
        open_ = select(OneTimeToken).where(OneTimeToken.person == both.ada, OneTimeToken.ended_at.is_(None))
        assert session.scalars(open_).all() == []
        for model in (QueuedNoticeEmail, StoredAddressChange, RequestEvidence, SignupRequest):
            assert session.scalars(select(model)).all() == [], model.__tablename__
        states = {row.id: row.state for row in session.scalars(select(Delivery))}
        person = session.get_one(Person, both.ada)
        assert len(session.scalars(select(Disclosure)).all()) >= 1  # the counts stay
    assert states["d2026-W47"] is DeliveryState.REFUSED
    assert states["d2026-W48"] is DeliveryState.WITHDRAWN
    assert DeliveryState.WAITING not in states.values()
    assert (person.state, person.ciphertext, person.lookup) == (PersonState.ERASED, None, None)
    remains = {name: repr(rows) for name, rows in both.dump().items()}
    for what, mark in marks.items():
        sought = repr(mark)[1:-1].lstrip("'") if isinstance(mark, bytes) else str(mark)
        assert [name for name, rows in remains.items() if sought in rows] == [], what
    assert [d.kind for d in _journal(both).read()] == ["erased"]
    background_tasks.process_signup_requests(both.install, clock=lambda: NOW)
    background_tasks.send_due_transactional_emails(both.install, clock=lambda: NOW)
    assert list((both.install.settings.outbox_folder / "notice").glob("*.eml")) == []


def _journal(world: Any) -> UnsubscribeLog:
    return UnsubscribeLog(world.install.settings.left_log, world.install.keys)


def test_an_erasure_and_an_event_about_the_same_mail_never_wait_for_each_other(
    postgresql: Database, tmp_path: Path
) -> None:
    world = build_web_setup(postgresql, tmp_path)
    _live(world)
    keys, unsubscribe_log = world.install.keys, _journal(world)

    def erase_now() -> bool:
        with postgresql.write() as session:
            return erase_person(
                session,
                keys,
                unsubscribe_log,
                world.ada,
                method="page",
                forget_elsewhere=make_delivery_erasure_callback(keys, lambda: NOW),
                now=NOW,
            )

    blocked = text("SELECT count(*) FROM pg_locks WHERE NOT granted")
    with ThreadPoolExecutor(1) as threads:
        with postgresql.write() as session:  # as the door of events: the delivery first, then the person
            session.execute(update(Delivery).where(Delivery.id == "d2026-W47").values(state=DeliveryState.ACCEPTED))
            erasing = threads.submit(erase_now)
            while not erasing.done():
                with postgresql.read() as other:
                    if other.scalar(blocked):
                        break
            assert ledger.lock_person(session, world.ada) is not None
        assert erasing.result()
