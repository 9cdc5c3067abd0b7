"""Erasure passed on: whom we erase, SendGrid is asked to erase too, if it ever got their address from us.

The address is queued, encrypted, in the transaction that erases it everywhere else here. A nightly step passes it
on; each try is a disclosure, of somebody who is nobody any more. See docs/decisions/0019-the-provider.md.
"""

import base64
import json
import secrets
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import structlog
from sqlalchemy import delete, exists, func, select
from sqlalchemy.orm import Session

from digest.db import Audit, Database
from digest.deliver import holding
from digest.deliver.passages import SENDGRID
from digest.deliver.replies import scrub
from digest.deliver.transports.sendgrid_api import Answer, Api, trouble
from digest.delivery_db import Delivery, ProviderErasure
from subscribers import disclosures
from subscribers.addresses import Address
from subscribers.db import DisclosureTotal
from subscribers.sealed import open_json, seal_json
from subscribers.vault import Keys, VaultError

PROVIDER = "sendgrid"
KEPT = timedelta(days=30)  # an address that nobody takes is not kept for longer
LONGEST_PAUSE = 4  # days between two tries
AN_HOUR = timedelta(hours=1)  # nights are not exactly a day apart
MOST = 500  # erasures a night, each with four requests
NEEDS = "Suppressions, and recipients.erasejob.create, which Twilio's support gives to accounts from before July 2023"
# On these an address serves nobody once it is erased here. Complaints and departures are the person's own word to
# SendGrid, which keeps others who mail through the account from writing: they stay.
LISTS = ("bounces", "blocks", "invalid_emails")

log = structlog.get_logger("erasures")


@dataclass(slots=True)
class Passed:
    """What a night came to: erasures that SendGrid took, that wait on, and that were given up after 30 days."""

    taken: int = 0
    waiting: int = 0
    given_up: int = 0
    trouble: str = ""

    def __str__(self) -> str:
        """Say it in one line."""
        given_up = f", {self.given_up:,} given up after {KEPT.days} days" if self.given_up else ""
        said = f"erasures for SendGrid: {self.taken:,} passed on, {self.waiting:,} waiting{given_up}"
        return f"{said}; {self.trouble}" if self.trouble else said


def queue(session: Session, keys: Keys, number: int, address: Address, *, now: datetime) -> bool:
    """Queue the address of a person who is being erased, if SendGrid got it from us; say whether it did.

    Call it while the person's deliveries still lead to them.
    """
    if not _knows(session, number):
        return False
    mark = base64.b32encode(secrets.token_bytes(16)).decode().rstrip("=").lower()
    ciphertext, key_id = seal_json(keys, {"address": address.mailbox}, bound_to=_bound(mark))
    session.add(
        ProviderErasure(
            provider=PROVIDER, mark=mark, ciphertext=ciphertext, key_id=key_id, asked_at=now, next_try_at=now
        )
    )
    session.flush()
    return True


def _knows(session: Session, number: int) -> bool:
    handed = (Delivery.transport == PROVIDER) & Delivery.handed_at.is_not(None)
    mailed = exists().where(Delivery.person == number, handed)
    long_ago = exists().where(DisclosureTotal.person == number, DisclosureTotal.to_whom.startswith(SENDGRID))
    return bool(session.scalar(select(mailed | long_ago)))


def _bound(mark: str) -> str:
    return f"erasure {mark}"


def pass_on(
    database: Database, keys: Keys, api: Api | None, *, to_whom: str, now: datetime, most: int = MOST
) -> Passed:
    """Pass on what is due, one address at a time; nothing while the installation is held, or without a key.

    Args:
        database: the database.
        keys: the keys of the installation.
        api: SendGrid's API; None where there is no key for it, and what is queued waits.
        to_whom: SendGrid as readers see it named.
        now: the moment.
        most: how many are tried at most.
    """
    passed = Passed(given_up=_give_up(database, now))
    tried = 0
    while api is not None and tried < most and (due := _claim(database, to_whom, now)) is not None:
        tried += 1
        address = _open(keys, due)
        if address is None:
            continue
        answer = _tell(api, address)
        if answer.status == 202:
            _done(database, due, _job(answer), now)
            passed.taken += 1
            continue
        passed.trouble = trouble(replace(answer, said=scrub(answer.said, address)), needs=NEEDS)
        if answer.status != 400:  # what is not about this one address, is about all
            break
    with database.read() as session:
        passed.waiting = session.scalar(select(func.count()).select_from(ProviderErasure)) or 0
    return passed


def stuck(session: Session) -> str:
    """Say in a sentence which erasures SendGrid did not take in two nights; empty where there are none."""
    query = select(func.count(), func.min(ProviderErasure.asked_at)).where(ProviderErasure.tries >= 2)
    count, first = session.execute(query).one()
    if not count:
        return ""
    return (
        f"SendGrid has not taken {count:,} of the erasures it was asked for, and the first is given up on "
        f"{first + KEPT:%Y-%m-%d}: the log of the night says why. The key needs {NEEDS}."
    )


def _claim(database: Database, to_whom: str, now: datetime) -> ProviderErasure | None:
    """Take the next that is due, with its next try written down before this one begins."""
    query = select(ProviderErasure).where(ProviderErasure.next_try_at <= now)
    with database.write() as session:
        if holding.held(session) is not None:
            return None
        due = session.scalars(
            query.order_by(ProviderErasure.next_try_at, ProviderErasure.id)
            .limit(1)
            .with_for_update(skip_locked=True)
        ).first()
        if due is None:
            return None
        due.tries += 1
        due.next_try_at = now + pause(due.tries)
        why, reference = "To have an erased address erased there too", due.mark
        disclosures.record(session, [None], to_whom=to_whom, why=why, reference=reference, now=now)
        return due


def pause(tries: int) -> timedelta:
    """Say how long to rest after so many tries: one night, two, then four."""
    return timedelta(days=min(1 << min(tries - 1, 10), LONGEST_PAUSE)) - AN_HOUR


def _open(keys: Keys, due: ProviderErasure) -> str | None:
    try:
        said = open_json(keys, (due.ciphertext, due.key_id), bound_to=_bound(due.mark))
    except VaultError:  # a damaged row must not hold up those behind it
        log.error("an erasure does not open", erasure=due.mark)  # noqa: TRY400 - no trace needed
        return None
    return str(said["address"])


def _tell(api: Api, address: str) -> Answer:
    """Take an address off SendGrid's lists, then have all else erased: 202 says that both is done."""
    for name in LISTS:
        answer = api.call("delete", f"suppression/{name}", body={"emails": [address]})
        if not 200 <= answer.status < 300 and answer.status != 404:  # 404: it does not stand there
            return answer
    return api.call("post", "recipients/erasejob", body={"email_addresses": [address]})


def _job(answer: Answer) -> str:
    try:
        said = json.loads(answer.body)
    except (ValueError, RecursionError):
        return ""
    job = said.get("job_id") if isinstance(said, dict) else None
    return scrub(job)[:80] if isinstance(job, str) else ""


def _done(database: Database, due: ProviderErasure, job: str, now: datetime) -> None:
    with database.write() as session:
        session.execute(delete(ProviderErasure).where(ProviderErasure.id == due.id))
        detail = {"provider": PROVIDER, "job": job, "tries": due.tries}
        session.add(_note("erasure passed on", due.mark, detail, now))


def _give_up(database: Database, now: datetime) -> int:
    """Let go of addresses that nobody took in 30 days; the audit log says so."""
    with database.write() as session:
        old = list(
            session.scalars(select(ProviderErasure).where(ProviderErasure.asked_at <= now - KEPT).limit(MOST))
        )
        for row in old:
            detail = {"provider": row.provider, "tries": row.tries}
            session.add(_note("erasure not passed on", row.mark, detail, now))
            session.delete(row)
    return len(old)


def _note(act: str, mark: str, detail: dict[str, Any], now: datetime) -> Audit:
    return Audit(at=now, actor="scheduler", act=act, subject=f"erasure {mark}", detail=detail)
