"""Removing all personal data after an erasure or after an import is undone."""

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import delete
from sqlalchemy.orm import Session

from subscribers.consent import evidence
from subscribers.store import one_time_tokens, people
from subscribers.store.signup_models import StoredAddressChange


def clear_all_personal_data(
    session: Session,
    numbers: Collection[int],
    *,
    keep_lookup: bool = False,
    now: datetime,
) -> None:
    """Remove everything that identifies the given people (at most 1,000).

    Their disclosures can still be counted, without names. For `keep_lookup`, see
    `people.clear_personal_data`. Links in emails keep their hashes for a while, so that their pages
    can say that the data was erased.
    """
    people.clear_personal_data(session, numbers, keep_lookup=keep_lookup)
    one_time_tokens.revoke_all_tokens(session, numbers, now=now)
    session.execute(delete(StoredAddressChange).where(StoredAddressChange.person.in_(numbers)))
    evidence.delete_evidence_of(session, numbers)
    session.flush()
