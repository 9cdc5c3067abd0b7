"""Transactional emails respect a wait that the provider requested from another process."""

from datetime import timedelta
from pathlib import Path

from sqlalchemy import func, select

from digest.deliver.control.provider_wait import note_provider_wait
from digest.deliver.send.notices.notice_queue import make_notice_queue
from digest.store.delivery_models import Delivery
from digest.store.engine import Database
from subscribers.mail_requests import MailRequest
from tests.moments import DRAFTING as NOW
from tests.sent_emails import send_notices
from tests.web.conftest import build_web_setup


def test_transactional_emails_wait_as_long_as_the_provider_asked_any_process_to(
    one_database: Database, tmp_path: Path
) -> None:
    world = build_web_setup(one_database, tmp_path)
    queue = make_notice_queue(world.install.keys, world.install.settings, lambda: NOW)
    with one_database.write() as session:
        queue(session, MailRequest("known", world.ada, "2026-11-20"))
        note_provider_wait(session, "outbox", NOW + timedelta(minutes=5), now=NOW)
    assert send_notices(world.install, now=NOW + timedelta(minutes=4)) == []
    assert len(send_notices(world.install, now=NOW + timedelta(minutes=5))) == 1
    with one_database.read() as session:
        assert session.scalar(select(func.count()).select_from(Delivery)) == 1
