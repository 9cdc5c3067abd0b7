"""Erasing: the address goes for good, with all that leads to it; what keeps it from coming back stays.

One way for everybody who may wish it: the person's own page, an admin's hand, the departure log after a restore.
"""

from collections.abc import Callable, Mapping
from datetime import datetime

from sqlalchemy.orm import Session

from subscribers.address import Address
from subscribers.consent import disclosures, ledger, suppression
from subscribers.consent.ledger import ERASED_ROWS_FIELD
from subscribers.consent.personal_data import clear_all_traces
from subscribers.consent.unsubscribe_log import PendingUnsubscribeLogEntry, UnsubscribeLog
from subscribers.crypto.keys import KeyRing
from subscribers.signup import request_queue
from subscribers.store import people
from subscribers.store.models import EMPTIED_STATES, ConsentKind, Person

ForgetElsewhere = Callable[[Session, int, Address | None], Mapping[str, int]]
"""Lets go of a person elsewhere (their email, a provider), in the same transaction, while the address is still known.

It returns how many sealed rows lost their salt by that, by table.
"""


def erase_person(
    session: Session,
    keys: KeyRing,
    unsubscribe_log: UnsubscribeLog,
    number: int,
    *,
    method: str,
    forget_elsewhere: ForgetElsewhere,
    now: datetime,
    address: Address | None = None,
) -> bool:
    """Erase a person: all that leads to them goes; their chain, which holds no address, and the suppression hash stay.

    Return False where they had been erased before, or are not there.

    The suppression needs the address once more. It is taken from the vault; where the address was emptied already
    (30 days after leaving), or does not open, and the caller does not know it either, the look-up hash stays as the bar.

    `session` is a write transaction; the caller commits, and answers only after that. `method` says how ("page",
    "admin: reason") and holds no address; `address` is the person's, where the caller has it.

    Raises:
        OSError: the departure log could not be written.
    """
    unlocked = session.get(Person, number)
    if unlocked is None or unlocked.state in EMPTIED_STATES:
        return False
    # Mails before people, as events do it (`digest.deliver.events.event_processor`): in another order the two could wait for each other.
    released = dict(forget_elsewhere(session, number, people.decrypt_person_address(keys, unlocked) or address))
    person = ledger.lock_person(session, number)
    if person is None or person.state in EMPTIED_STATES:
        return False
    full_address = people.decrypt_person_address(keys, person) or address
    if full_address is not None:
        request_queue.delete_requests_from(session, keys, full_address)
        hashes = suppression.hash_address(session, keys, full_address)
        suppression.suppress_hashes(session, hashes.suppressions, "erased", now)
    released |= disclosures.detach_disclosures(session, number)
    ledger.append_event(session, person, ConsentKind.ERASED, _describe_erasure(method, released), now)
    unsubscribe_log.append(PendingUnsubscribeLogEntry.of_person(person, "erased"), at=now)
    clear_all_traces(session, [number], keep_lookup=full_address is None, now=now)
    return True


def _describe_erasure(method: str, released: Mapping[str, int]) -> dict[str, object]:
    """Say how somebody was erased, and how many rows lead to nobody from now on: the check of the seals counts them."""
    sealed = {table: rows for table, rows in sorted(released.items()) if rows}
    return {"method": method} | ({ERASED_ROWS_FIELD: sealed} if sealed else {})
