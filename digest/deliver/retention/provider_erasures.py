"""Erasures at providers: each provider that got an erased person's address is asked to erase it.

The address is queued, encrypted, in the transaction that erases it elsewhere. A nightly job
forwards it. Each attempt is a disclosure that no longer names a person. See
docs/decisions/0019-the-provider.md.
"""

import base64
import secrets
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cache

from sqlalchemy import Select, delete, exists, func, select
from sqlalchemy.orm import Session

from digest.deliver.control import installation_hold
from digest.deliver.providers.kind import ErasureOutcome, ProviderKind
from digest.deliver.providers.registry import find_provider, load_provider_kinds
from digest.store.audit import record_audit
from digest.store.delivery_models import Delivery, ProviderErasure
from digest.store.engine import Database
from subscribers.address import Address
from subscribers.consent import disclosures
from subscribers.crypto.encrypted_values import decrypt_json, encrypt_json
from subscribers.crypto.keys import DecryptionError, KeyRing
from subscribers.english_text import count_with_noun
from subscribers.loggers import get_logger
from subscribers.store.models import DisclosureTotal

ERASURE_KEPT_FOR = timedelta(days=30)  # an address isn't kept longer, even if the provider doesn't accept it
MAX_RETRY_DAYS = 4  # maximum between two attempts
NIGHT_SLACK = timedelta(hours=1)  # nightly runs aren't exactly a day apart
MAX_ERASURES_PER_RUN = 500  # per night; each takes several requests
log = get_logger("erasures")


@dataclass(slots=True)
class ErasureReport:
    """The result of a run: the numbers of erasures accepted, still waiting, and given up after 30 days."""

    provider_title: str
    accepted: int = 0
    waiting: int = 0
    given_up: int = 0
    trouble: str = ""

    def __str__(self) -> str:
        """Return a one-line description of the result."""
        given_up = f", {self.given_up:,} given up after {ERASURE_KEPT_FOR.days} days" if self.given_up else ""
        counts = f"erasures for {self.provider_title}: {self.accepted:,} passed on, {self.waiting:,} waiting{given_up}"
        return f"{counts}; {self.trouble}" if self.trouble else counts


def queue_provider_erasures(
    session: Session,
    keys: KeyRing,
    number: int,
    address: Address,
    *,
    now: datetime,
) -> bool:
    """Queue a person's address for erasure at each provider that got it.

    Return True if any did. Call this while the person's deliveries still refer to them.
    """
    providers = [kind for kind in load_provider_kinds() if _provider_knows_person(session, kind, number)]
    for provider in providers:
        mark = base64.b32encode(secrets.token_bytes(16)).decode().rstrip("=").lower()
        ciphertext, key_id = encrypt_json(keys, {"address": address.mailbox}, bound_to=_encryption_context(mark))
        session.add(
            ProviderErasure(
                provider=provider.name, mark=mark, ciphertext=ciphertext, key_id=key_id, asked_at=now, next_try_at=now
            )
        )
    session.flush()
    return bool(providers)


def _provider_knows_person(session: Session, provider: ProviderKind, number: int) -> bool:
    """Return True if a provider that supports erasures has ever received this person's address."""
    if provider.erasures is None:
        return False
    handed = (Delivery.transport == provider.name) & Delivery.handed_at.is_not(None)
    recent = exists().where(Delivery.person == number, handed)
    recipient = DisclosureTotal.to_whom.startswith(provider.erasures.recipient_prefix)
    old = exists().where(DisclosureTotal.person == number, recipient)
    return bool(session.scalar(select(recent | old)))


def _encryption_context(mark: str) -> str:
    return f"erasure {mark}"


def forward_erasures(
    database: Database,
    keys: KeyRing,
    provider: ProviderKind,
    erase: Callable[[str], ErasureOutcome] | None,
    *,
    recipient: str,
    now: datetime,
    limit: int = MAX_ERASURES_PER_RUN,
) -> ErasureReport:
    """Forward up to `limit` due erasures to a provider, one address at a time.

    None is forwarded while all sending is paused. If `erase` is None, because the settings don't give
    access, queued erasures wait. `recipient` names the provider in the disclosure of each attempt.
    """
    report = ErasureReport(provider.title, given_up=_give_up_old_erasures(database, provider, now))
    tried_count = 0
    while (
        erase is not None
        and tried_count < limit
        and (due := _claim_next_erasure(database, provider, recipient, now)) is not None
    ):
        tried_count += 1
        address = _decrypt_address(keys, due)
        if address is None:
            continue
        outcome = erase(address)
        if not outcome.trouble:
            _finish_erasure(database, due, outcome.reference, now)
            report.accepted += 1
            continue
        report.trouble = outcome.trouble
        if outcome.concerns_all:
            break
    waiting = select(func.count()).where(ProviderErasure.provider == provider.name)
    with database.read() as session:
        report.waiting = session.scalar(waiting) or 0
    return report


def list_stuck_erasure_warnings(session: Session) -> Iterator[str]:
    """Yield a warning for each provider with erasures that it hasn't accepted in two or more attempts."""
    for name, count, first in session.execute(_select_stuck_erasures()):
        provider = find_provider(name)
        if provider is not None and provider.erasures is not None:
            yield (
                f"{provider.title} hasn't processed {count_with_noun(count, 'erasure request')}. The first expires on "
                f"{first + ERASURE_KEPT_FOR:%Y-%m-%d}. Check last night's log for the reason. The API key needs "
                f"{provider.erasures.needed_permission}."
            )


@cache  # every page of the editor needs it
def _select_stuck_erasures() -> Select[str, int, datetime]:
    return (
        select(ProviderErasure.provider, func.count(), func.min(ProviderErasure.asked_at))
        .where(ProviderErasure.tries >= 2)
        .group_by(ProviderErasure.provider)
        .order_by(ProviderErasure.provider)
    )


def _claim_next_erasure(
    database: Database, provider: ProviderKind, recipient: str, now: datetime
) -> ProviderErasure | None:
    """Claim the next due erasure, storing the time of its next attempt before this one starts."""
    query = (
        select(ProviderErasure)
        .where(ProviderErasure.provider == provider.name, ProviderErasure.next_try_at <= now)
        .order_by(ProviderErasure.next_try_at, ProviderErasure.id)
        .limit(1)
        .with_for_update(skip_locked=True)
    )
    with database.write() as session:
        if installation_hold.read_current_hold(session) is not None:
            return None
        due = session.scalars(query).first()
        if due is None:
            return None
        due.tries += 1
        due.next_try_at = now + choose_erasure_retry_delay(due.tries)
        reason = "To have an erased address erased there too"
        disclosures.record_disclosures(session, [None], to_whom=recipient, why=reason, reference=due.mark, now=now)
        return due


def choose_erasure_retry_delay(tries: int) -> timedelta:
    """Return the delay after `tries` attempts: one night, two nights, and then four nights each time."""
    return timedelta(days=min(1 << min(tries - 1, 10), MAX_RETRY_DAYS)) - NIGHT_SLACK


def _decrypt_address(keys: KeyRing, erasure: ProviderErasure) -> str | None:
    try:
        values = decrypt_json(keys, (erasure.ciphertext, erasure.key_id), bound_to=_encryption_context(erasure.mark))
    except DecryptionError:  # a damaged row must not block the rows after it
        log.error("an erasure can't be decrypted", erasure=erasure.mark)  # noqa: TRY400 - no trace needed
        return None
    return str(values["address"])


def _finish_erasure(database: Database, erasure: ProviderErasure, job: str, now: datetime) -> None:
    with database.write() as session:
        session.execute(delete(ProviderErasure).where(ProviderErasure.id == erasure.id))
        detail = {"provider": erasure.provider, "job": job, "tries": erasure.tries}
        record_audit(session, "erasure passed on", f"erasure {erasure.mark}", detail, actor="scheduler", now=now)


def _give_up_old_erasures(database: Database, provider: ProviderKind, now: datetime) -> int:
    """Delete the addresses that a provider hasn't accepted in 30 days.

    Each deletion is recorded in the audit log.
    """
    with database.write() as session:
        old = list(
            session.scalars(
                select(ProviderErasure)
                .where(ProviderErasure.provider == provider.name, ProviderErasure.asked_at <= now - ERASURE_KEPT_FOR)
                .limit(MAX_ERASURES_PER_RUN)
            )
        )
        for row in old:
            detail = {"provider": row.provider, "tries": row.tries}
            record_audit(session, "erasure not passed on", f"erasure {row.mark}", detail, actor="scheduler", now=now)
            session.delete(row)
    return len(old)
