"""What goes out: one person's record for themselves, and the list for whoever the operator names.

A record's fields are named after ISO/IEC TS 27560:2023 (header, processing, parties, events), as the guide of
the W3C's Data Privacy Vocabulary spells them.
"""

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from itertools import groupby
from typing import IO, Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from subscribers.consent import audience, disclosures, readable_record
from subscribers.consent.ledger import format_ledger_time
from subscribers.crypto.keys import DecryptionError, KeyRing
from subscribers.store import people
from subscribers.store.database import PeopleDatabase
from subscribers.store.models import ConsentEvent, ListExport, ListExportPart, Person
from subscribers.transfer.spreadsheet_csv import SpreadsheetCsvWriter

RECORD_SCHEMA = "ISO/IEC TS 27560:2023"
EXPORT_COLUMNS = ("email", "asked_at", "asked_where")
_PART_SIZE = 8192  # people's numbers in one row of an export's parts: 1 kB

ExportProgress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class DataController:
    """Who answers for the list, as a record names them."""

    name: str
    contact: str
    postal_address: str
    url: str


@dataclass(slots=True)
class ListExportResult:
    """How many people an export names, and the numbers of those whom it leaves out because their row is damaged."""

    people: int = 0
    damaged: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ExportRecipient:
    """To whom a list goes and why: both stand in the disclosures that its people see."""

    to_whom: str
    why: str
    reference: str = ""


def build_person_record(
    session: Session,
    keys: KeyRing,
    number: int,
    *,
    controller: DataController,
    now: datetime,
    other_disclosures: Iterable[dict[str, Any]] = (),
) -> dict[str, Any] | None:
    """Return all that is held of one person, as JSON values; None where there is no such person.

    Args:
        session: for looking.
        keys: the keys, to open the address.
        number: the person's number.
        controller: who answers for the list.
        now: the moment of the export.
        other_disclosures: further disclosures of the address in the form of `convert_disclosure_to_json`, such as the mails that were
            handed over: those are not kept here.
    """
    person = session.get(Person, number)
    if person is None:
        return None
    address = people.decrypt_person_address(keys, person)
    chain = select(ConsentEvent).where(ConsentEvent.person == number).order_by(ConsentEvent.seq)
    events = session.scalars(chain).all()
    return {
        "schema_version": RECORD_SCHEMA,
        "record_id": f"person-{number}",
        "pii_principal_id": str(number),
        "exported_at": format_ledger_time(now),
        "pii_information": {
            "email_address": address.mailbox if address else None,
            "email_address_damaged": address is None and person.ciphertext is not None,
            "choices": person.choices,
        },
        "state": str(person.state),
        "may_be_mailed": audience.may_email_person(session, number),
        "asked_at": format_ledger_time(person.asked_at),
        "asked_where": person.asked_where,
        "pii_processing": readable_record.describe_purposes_and_legal_basis(events),
        "parties": [
            {
                "role": "controller",
                "name": controller.name,
                "email": controller.contact,
                "address": controller.postal_address,
                "url": controller.url,
            }
        ],
        "events": [_event_as_json(event) for event in events],
        "recipient_third_parties": [
            *map(convert_disclosure_to_json, disclosures.list_disclosures(session, number)),
            *other_disclosures,
        ],
    }


def convert_disclosure_to_json(disclosure: disclosures.AddressDisclosure) -> dict[str, Any]:
    """Name one disclosure of the address to somebody; `times` counts old ones that were folded into one."""
    return {
        "disclosed_at": format_ledger_time(disclosure.at),
        "recipient": disclosure.to_whom,
        "purpose": disclosure.why,
        "reference": disclosure.reference,
        "times": disclosure.times,
    }


def export_list(
    database: PeopleDatabase,
    keys: KeyRing,
    file: IO[str],
    recipient: ExportRecipient,
    *,
    now: datetime,
    progress: ExportProgress = lambda *_: None,
) -> ListExportResult:
    """Write everyone who may be mailed now to `file`, as CSV, in constant memory; who does not open is left out and named.

    Each part is on record before its addresses are written: a crash leaves people who were told of one
    disclosure too many, never of one too few.
    """
    writer = SpreadsheetCsvWriter(file)
    writer.write_row(EXPORT_COLUMNS)
    with database.write() as session:
        export = ListExport(
            at=now, to_whom=recipient.to_whom, why=recipient.why, reference=recipient.reference, people=0
        )
        session.add(export)
        session.flush()
        name = export.id
    result = ListExportResult()
    for first, part in groupby(
        _stream_audience(database), key=lambda subscriber: subscriber.number // _PART_SIZE * _PART_SIZE
    ):
        subscribers = _decrypt_addresses(keys, part, result.damaged)
        with database.write() as session:
            bits = _number_bitmap(subscriber.number for subscriber, _ in subscribers)
            session.add(ListExportPart(export=name, first=first, bits=bits))
        for subscriber, address in subscribers:
            writer.write_row((address, format_ledger_time(subscriber.asked_at), subscriber.asked_where))
        result.people += len(subscribers)
        progress(result.people)
    with database.write() as session:
        row = session.get_one(ListExport, name)
        row.people, row.done_at = result.people, now
    return result


def _decrypt_addresses(
    keys: KeyRing, members: Iterable[audience.AudienceMember], damaged: list[int]
) -> list[tuple[audience.AudienceMember, str]]:
    """Open the addresses of some people; who does not open is added to `damaged`."""
    opened = []
    for member in members:
        try:
            opened.append((member, member.decrypt_address(keys)))
        except DecryptionError:
            damaged.append(member.number)
    return opened


def _stream_audience(database: PeopleDatabase) -> Iterator[audience.AudienceMember]:
    """Yield everyone in the audience, by their numbers; no session stays open between two pages."""
    after = 0
    while True:
        with database.read() as session:
            page = audience.load_audience_page(session, after_number=after)
        if not page:
            return
        yield from page
        after = page[-1].number


def _number_bitmap(numbers: Iterable[int]) -> bytes:
    bits = bytearray(_PART_SIZE // 8)
    for number in numbers:
        place = number % _PART_SIZE
        bits[place // 8] |= 1 << place % 8
    return bytes(bits)


def _event_as_json(event: ConsentEvent) -> dict[str, Any]:
    """Name a link of the chain as the standard does; `details` is the link's content as it was hashed."""
    return {
        "event_time": format_ledger_time(event.at),
        "event_type": str(event.kind),
        "entity_id": json.loads(event.body).get("actor", "the person"),
        "details": json.loads(event.body),
        "sequence": event.seq,
        "previous_hash": event.previous,
        "hash": event.hash,
        "address_commitment": event.commitment,
    }
