"""Integrity emails: sent to the admins with a verified address, as often as the settings say."""

import re
from datetime import UTC, datetime, timedelta
from email import message_from_bytes, policy
from email.message import EmailMessage
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import select, update

from digest.app.sending import background_tasks
from digest.app.upkeep import nightly_steps
from digest.app.upkeep.nightly_steps import is_seal_email_due
from digest.installation.opened_installation import Installation
from digest.settings import AlertSettings
from digest.store import staff
from digest.store.delivery_models import Delivery, DeliveryState, StaffMember
from digest.store.models import AuditEntry
from subscribers.address import read_address
from subscribers.store.models import ConsentEvent, Seal
from tests.row_keys import change_rows

NIGHT = datetime(2026, 11, 20, 8, 30, tzinfo=UTC)
DAY = timedelta(days=1)
EASTERN = ZoneInfo("America/New_York")


def _staff(world: Any, email: str, role: staff.StaffRole, *, proven: bool = True) -> None:
    with world.database.write() as session:
        member = staff.add_staff_member(
            session, read_address(email), role, lambda *_: None, actor="terminal:eve", now=NIGHT
        )
        member.proven_at = NIGHT if proven else None


def _nights(world: Any, *nights: int) -> list[str]:
    return [nightly_steps.seal_ledger_and_email_admins(world.install, NIGHT + night * DAY) for night in nights]


def _mails(world: Any) -> list[EmailMessage]:
    background_tasks.send_due_transactional_emails(world.install, clock=lambda: NIGHT + 30 * DAY)
    files = (world.install.settings.outbox_folder / "notice").glob("*.eml")
    return [message_from_bytes(file.read_bytes(), policy=policy.default) for file in files]


def _text(message: EmailMessage, kind: str = "plain") -> str:
    part = message.get_body((kind,))
    assert part is not None
    return str(part.get_content())


def _seals(world: Any) -> list[str]:
    with world.database.read() as session:
        return list(session.scalars(select(Seal.hash).order_by(Seal.id)))


def _with_alerts(world: Any, **alerts: Any) -> Installation:
    settings = world.install.settings
    file = settings.file.model_copy(update={"alerts": AlertSettings(**alerts)})
    return Installation(settings.model_copy(update={"file": file}), world.database)


def test_every_proven_admin_gets_the_seal_once_a_week_and_nobody_else(both: Any) -> None:
    _staff(both, "root@news.example.org", "admin")
    _staff(both, "boss@news.example.org", "admin")
    _staff(both, "new@news.example.org", "admin", proven=False)
    _staff(both, "sam@news.example.org", "editor")
    outcomes = _nights(both, *range(8))
    assert ["emailed to admins: 2" in outcome for outcome in outcomes] == [True, *[False] * 6, True]
    mails = _mails(both)
    assert sorted(str(mail["To"]) for mail in mails) == ["boss@news.example.org"] * 2 + ["root@news.example.org"] * 2
    every_night = _seals(both)
    assert len(every_night) == 8
    told = [re.findall(r"\b[0-9a-f]{64}\b", _text(mail)) for mail in mails]
    assert sorted(told) == sorted([[every_night[0]]] * 2 + [[every_night[7]]] * 2)
    for mail in mails:
        (seal,) = re.findall(r"\b[0-9a-f]{64}\b", _text(mail))
        assert f"digest subscribers verify --seal {seal[:12]}" in _text(mail).splitlines()
        assert seal in _text(mail, "html")
        assert mail["List-Unsubscribe"] is None
        assert str(mail["Subject"]) == "Consent records verified (keep this email)"
    with both.database.read() as session:
        mailed = select(AuditEntry).where(AuditEntry.act == "seal mailed").order_by(AuditEntry.id)
        audits = session.scalars(mailed).all()
    assert [audit.detail for audit in audits] == [
        {"seal": every_night[0], "admins": [1, 2]},
        {"seal": every_night[7], "admins": [1, 2]},
    ]


def test_a_fault_is_mailed_on_the_night_that_finds_it_and_not_every_night_after(world: Any) -> None:
    _staff(world, "root@news.example.org", "admin")
    _nights(world, 0, 1)
    with world.database.write() as session:
        session.execute(update(ConsentEvent).values(body="{}"))
    outcomes = _nights(world, 2, 3)
    assert ["emailed to admins: 1" in outcome for outcome in outcomes] == [True, False]
    calm, alarmed = sorted(_mails(world), key=lambda mail: len(str(mail["Subject"])))
    assert "failed verification" not in str(calm["Subject"])
    assert str(alarmed["Subject"]) == "Consent records failed verification (keep this email)"
    assert "The records failed verification." in _text(alarmed)


def test_the_settings_say_how_often(world: Any) -> None:
    _staff(world, "root@news.example.org", "admin")
    nightly, never = _with_alerts(world, seal_mail_days=1), _with_alerts(world, seal_mail_days=0)
    assert "mailed" in nightly_steps.seal_ledger_and_email_admins(nightly, NIGHT)
    assert "mailed" in nightly_steps.seal_ledger_and_email_admins(nightly, NIGHT + DAY)
    assert "mailed" not in nightly_steps.seal_ledger_and_email_admins(never, NIGHT + 99 * DAY)


def test_without_a_proven_admin_the_first_who_proves_gets_the_next_seal(world: Any) -> None:
    _staff(world, "root@news.example.org", "admin", proven=False)
    _nights(world, 0, 1)
    with world.database.write() as session:
        change_rows(session, StaffMember, proven_at=NIGHT)
    assert "emailed to admins: 1" in _nights(world, 2)[0]


def test_who_is_let_go_before_the_mail_is_handed_over_gets_none(world: Any) -> None:
    _staff(world, "root@news.example.org", "admin")
    _nights(world, 0)
    with world.database.write() as session:
        member = session.scalars(select(StaffMember)).one()
        staff.remove_staff_member(session, member, actor="terminal:eve", now=NIGHT)
    assert _mails(world) == []
    with world.database.read() as session:
        assert session.scalars(select(Delivery.state)).all() == [DeliveryState.WITHDRAWN]


@pytest.mark.parametrize(
    ("last", "sound", "now", "due"),
    [
        (None, True, NIGHT, True),
        (NIGHT, True, NIGHT + 7 * DAY, True),
        (
            NIGHT,
            True,
            NIGHT + 7 * DAY - timedelta(hours=1),
            True,
        ),  # the same hour by the wall, after the clocks changed
        (NIGHT, True, NIGHT + 6 * DAY, False),
        (NIGHT, False, NIGHT + DAY, True),
    ],
)
def test_when_a_seal_goes_out(last: datetime | None, sound: bool, now: datetime, due: bool) -> None:  # noqa: FBT001
    state = {"at": last.isoformat(), "sound": True} if last else None
    assert is_seal_email_due(state, sound=sound, days=7, zone=EASTERN, now=now) is due
