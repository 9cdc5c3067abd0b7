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

from digest.deliver.control import installation_hold
from digest.deliver.providers.replies import scrub_addresses
from digest.deliver.providers.sendgrid.api import SendGridApi, SendGridResponse, describe_api_failure
from digest.deliver.retention.delivery_disclosures import SENDGRID_NAME
from digest.store.delivery_models import Delivery, ProviderErasure
from digest.store.engine import Database
from digest.store.models import AuditEntry
from subscribers.address import Address
from subscribers.consent import disclosures
from subscribers.crypto.encrypted_values import decrypt_json, encrypt_json
from subscribers.crypto.keys import DecryptionError, KeyRing
from subscribers.store.models import DisclosureTotal

PROVIDER = "sendgrid"
ERASURE_KEPT_FOR = timedelta(days=30)  # an address that nobody takes is not kept for longer
MAX_RETRY_DAYS = 4  # days between two tries
NIGHT_SLACK = timedelta(hours=1)  # nights are not exactly a day apart
MAX_ERASURES_PER_RUN = 500  # erasures a night, each with four requests
NEEDED_PERMISSION = (
    "Suppressions, and recipients.erasejob.create, which Twilio's support gives to accounts from before July 2023"
)
# On these an address serves nobody once it is erased here. Complaints and departures are the person's own word to
# SendGrid, which keeps others who mail through the account from writing: they stay.
SUPPRESSION_LISTS = ("bounces", "blocks", "invalid_emails")

log = structlog.get_logger("erasures")


@dataclass(slots=True)
class ErasureReport:
    """What a night came to: erasures that SendGrid took, that wait on, and that were given up after 30 days."""

    accepted: int = 0
    waiting: int = 0
    given_up: int = 0
    trouble: str = ""

    def __str__(self) -> str:
        """Say it in one line."""
        given_up = f", {self.given_up:,} given up after {ERASURE_KEPT_FOR.days} days" if self.given_up else ""
        said = f"erasures for SendGrid: {self.accepted:,} passed on, {self.waiting:,} waiting{given_up}"
        return f"{said}; {self.trouble}" if self.trouble else said


def queue_provider_erasure(session: Session, keys: KeyRing, number: int, address: Address, *, now: datetime) -> bool:
    """Queue the address of a person who is being erased, if SendGrid got it from us; say whether it did.

    Call it while the person's deliveries still lead to them.
    """
    if not _provider_knows_person(session, number):
        return False
    mark = base64.b32encode(secrets.token_bytes(16)).decode().rstrip("=").lower()
    ciphertext, key_id = encrypt_json(keys, {"address": address.mailbox}, bound_to=_encryption_context(mark))
    session.add(
        ProviderErasure(
            provider=PROVIDER, mark=mark, ciphertext=ciphertext, key_id=key_id, asked_at=now, next_try_at=now
        )
    )
    session.flush()
    return True


def _provider_knows_person(session: Session, number: int) -> bool:
    handed = (Delivery.transport == PROVIDER) & Delivery.handed_at.is_not(None)
    mailed = exists().where(Delivery.person == number, handed)
    long_ago = exists().where(DisclosureTotal.person == number, DisclosureTotal.to_whom.startswith(SENDGRID_NAME))
    return bool(session.scalar(select(mailed | long_ago)))


def _encryption_context(mark: str) -> str:
    return f"erasure {mark}"


def forward_erasures(
    database: Database,
    keys: KeyRing,
    api: SendGridApi | None,
    *,
    recipient: str,
    now: datetime,
    limit: int = MAX_ERASURES_PER_RUN,
) -> ErasureReport:
    """Pass on what is due, one address at a time; nothing while the installation is held, or without a key.

    Args:
        database: the database.
        keys: the keys of the installation.
        api: SendGrid's API; None where there is no key for it, and what is queued waits.
        recipient: SendGrid as readers see it named.
        now: the moment.
        limit: how many are tried at most.
    """
    passed = ErasureReport(given_up=_give_up_old_erasures(database, now))
    tried = 0
    while api is not None and tried < limit and (due := _claim_next_erasure(database, recipient, now)) is not None:
        tried += 1
        address = _decrypt_address(keys, due)
        if address is None:
            continue
        answer = _request_erasure(api, address)
        if answer.status == 202:
            _finish_erasure(database, due, _job_id(answer), now)
            passed.accepted += 1
            continue
        passed.trouble = describe_api_failure(
            replace(answer, text=scrub_addresses(answer.text, address)), needed_permission=NEEDED_PERMISSION
        )
        if answer.status != 400:  # what is not about this one address, is about all
            break
    with database.read() as session:
        passed.waiting = session.scalar(select(func.count()).select_from(ProviderErasure)) or 0
    return passed


def stuck_erasures_warning(session: Session) -> str:
    """Say in a sentence which erasures SendGrid did not take in two nights; empty where there are none."""
    query = select(func.count(), func.min(ProviderErasure.asked_at)).where(ProviderErasure.tries >= 2)
    count, first = session.execute(query).one()
    if not count:
        return ""
    return (
        f"SendGrid has not taken {count:,} of the erasures it was asked for, and the first is given up on "
        f"{first + ERASURE_KEPT_FOR:%Y-%m-%d}: the log of the night says why. The key needs {NEEDED_PERMISSION}."
    )


def _claim_next_erasure(database: Database, recipient: str, now: datetime) -> ProviderErasure | None:
    """Take the next that is due, with its next try written down before this one begins."""
    query = select(ProviderErasure).where(ProviderErasure.next_try_at <= now)
    with database.write() as session:
        if installation_hold.current_hold(session) is not None:
            return None
        due = session.scalars(
            query.order_by(ProviderErasure.next_try_at, ProviderErasure.id).limit(1).with_for_update(skip_locked=True)
        ).first()
        if due is None:
            return None
        due.tries += 1
        due.next_try_at = now + erasure_retry_delay(due.tries)
        why, reference = "To have an erased address erased there too", due.mark
        disclosures.record_disclosures(session, [None], to_whom=recipient, why=why, reference=reference, now=now)
        return due


def erasure_retry_delay(tries: int) -> timedelta:
    """Say how long to rest after so many tries: one night, two, then four."""
    return timedelta(days=min(1 << min(tries - 1, 10), MAX_RETRY_DAYS)) - NIGHT_SLACK


def _decrypt_address(keys: KeyRing, erasure: ProviderErasure) -> str | None:
    try:
        said = decrypt_json(keys, (erasure.ciphertext, erasure.key_id), bound_to=_encryption_context(erasure.mark))
    except DecryptionError:  # a damaged row must not hold up those behind it
        log.error("an erasure does not open", erasure=erasure.mark)  # noqa: TRY400 - no trace needed
        return None
    return str(said["address"])


def _request_erasure(api: SendGridApi, address: str) -> SendGridResponse:
    """Take an address off SendGrid's lists, then have all else erased: 202 says that both is done."""
    for name in SUPPRESSION_LISTS:
        answer = api.call("delete", f"suppression/{name}", body={"emails": [address]})
        if not 200 <= answer.status < 300 and answer.status != 404:  # 404: it does not stand there
            return answer
    return api.call("post", "recipients/erasejob", body={"email_addresses": [address]})


def _job_id(response: SendGridResponse) -> str:
    try:
        said = json.loads(response.body)
    except (ValueError, RecursionError):
        return ""
    job = said.get("job_id") if isinstance(said, dict) else None
    return scrub_addresses(job)[:80] if isinstance(job, str) else ""


def _finish_erasure(database: Database, erasure: ProviderErasure, job: str, now: datetime) -> None:
    with database.write() as session:
        session.execute(delete(ProviderErasure).where(ProviderErasure.id == erasure.id))
        detail = {"provider": PROVIDER, "job": job, "tries": erasure.tries}
        session.add(_audit_entry("erasure passed on", erasure.mark, detail, now))


def _give_up_old_erasures(database: Database, now: datetime) -> int:
    """Let go of addresses that nobody took in 30 days; the audit log says so."""
    with database.write() as session:
        old = list(
            session.scalars(
                select(ProviderErasure)
                .where(ProviderErasure.asked_at <= now - ERASURE_KEPT_FOR)
                .limit(MAX_ERASURES_PER_RUN)
            )
        )
        for row in old:
            detail = {"provider": row.provider, "tries": row.tries}
            session.add(_audit_entry("erasure not passed on", row.mark, detail, now))
            session.delete(row)
    return len(old)


def _audit_entry(act: str, mark: str, detail: dict[str, Any], now: datetime) -> AuditEntry:
    return AuditEntry(at=now, actor="scheduler", act=act, subject=f"erasure {mark}", detail=detail)
