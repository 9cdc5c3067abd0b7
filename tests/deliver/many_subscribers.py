"""Add many new people with a few statements."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.orm import Session

from subscribers.address import read_address
from subscribers.consent import ledger
from subscribers.crypto.keys import KeyRing
from subscribers.crypto.stored_addresses import make_lookup_hash
from subscribers.signup.manual_signup import ConsentEvidence
from subscribers.store import people
from subscribers.store.compiled_statements import transpose_rows
from subscribers.store.models import Person, PersonState
from subscribers.transfer.import_store import reserve_person_numbers


def add_many_subscribers(
    session: Session, keys: KeyRing, addresses: Sequence[str], *, evidence: ConsentEvidence, now: datetime
) -> list[int]:
    """Add people as `add_subscriber` does; return their numbers. All are new, and nobody is suppressed."""
    numbers = list(reserve_person_numbers(session, len(addresses)))
    body = ledger.encode_canonical_json(evidence.as_json())
    rows, events = [], []
    for number, address in zip(numbers, map(read_address, addresses), strict=True):
        person = Person(
            number=number,
            lookup=make_lookup_hash(keys, address),
            lookup_key=keys.current("lookup").id,
            choices={},
            asked_at=evidence.agreed_at,
            asked_where=evidence.page[:200],
            link_generation=0,
        )
        people.encrypt_person_address(keys, person, address)
        commitment = people.make_person_address_commitment(keys, person, address)
        link = ledger.build_chain_link(
            number, PersonState.REQUESTED, evidence.kind, body, now, seq=1, previous="", commitment=commitment
        )
        columns = {column.key: getattr(person, column.key) for column in Person.__table__.columns}
        rows.append(columns | link.person)
        events.append(link.event)
    dialect = session.get_bind().dialect
    ledger.insert_people_with_first_links(
        session, ledger.prepare_people_with_first_links(dialect, transpose_rows(rows), transpose_rows(events))
    )
    return numbers
