"""What goes out: one person's record for themselves, and the list for whoever the operator names.

A record's fields are named after ISO/IEC TS 27560:2023 (header, processing, parties, events), as the guide of
the W3C's Data Privacy Vocabulary spells them.
"""

import csv
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import IO, Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from subscribers import disclosures, records, roll
from subscribers.db import ConsentEvent, ListExport, ListExportPart, Person
from subscribers.disclosures import Passage
from subscribers.transfer.books import Books
from subscribers.vault import Keys, open_

SCHEMA = "ISO/IEC TS 27560:2023"
COLUMNS = ("email", "asked_at", "asked_where")
_PART = 8192  # people's numbers in one row of an export's parts: 1 kB

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Controller:
    """Who answers for the list, as a record names them."""

    name: str
    contact: str
    postal_address: str
    url: str


@dataclass(frozen=True, slots=True)
class Handed:
    """To whom a list goes and why: both stand in the disclosures that its people see."""

    to_whom: str
    why: str
    reference: str = ""


def record(
    session: Session,
    keys: Keys,
    number: int,
    *,
    controller: Controller,
    now: datetime,
    others: Iterable[dict[str, Any]] = (),
) -> dict[str, Any] | None:
    """Give all that is held of one person, as JSON values; None where there is no such person.

    Args:
        session: for looking.
        keys: the keys, to open the address.
        number: the person's number.
        controller: who answers for the list.
        now: the moment of the export.
        others: further passages of the address in the form of `passage_as_json`, such as the mails that were
            handed over: those are not kept here.

    Raises:
        VaultError: the sealed address does not open.
    """
    person = session.get(Person, number)
    if person is None:
        return None
    sealed = None if person.ciphertext is None else (person.ciphertext, person.key_id or "")
    chain = select(ConsentEvent).where(ConsentEvent.person == number).order_by(ConsentEvent.seq)
    events = session.scalars(chain).all()
    return {
        "schema_version": SCHEMA,
        "record_id": f"person-{number}",
        "pii_principal_id": str(number),
        "exported_at": _time(now),
        "pii_information": {
            "email_address": None if sealed is None else open_(keys, sealed, number),
            "choices": person.choices,
        },
        "state": str(person.state),
        "may_be_mailed": roll.may_mail(session, number),
        "asked_at": _time(person.asked_at),
        "asked_where": person.asked_where,
        "pii_processing": records.processing(events),
        "parties": [_party(controller)],
        "events": [_event(event) for event in events],
        "recipient_third_parties": [*map(passage_as_json, disclosures.of(session, number)), *others],
    }


def passage_as_json(passage: Passage) -> dict[str, Any]:
    """Name one passage of the address to somebody; `times` counts old ones that were folded into one."""
    return {
        "disclosed_at": _time(passage.at),
        "recipient": passage.to_whom,
        "purpose": passage.why,
        "reference": passage.reference,
        "times": passage.times,
    }


def export_list(
    books: Books,
    keys: Keys,
    file: IO[str],
    handed: Handed,
    *,
    now: datetime,
    progress: Progress | None = None,
) -> int:
    """Write everyone who may be mailed now to `file`, as CSV, in constant memory.

    Each part is on record before its addresses are written: a crash leaves people who were told of one
    disclosure too many, never of one too few.

    Returns:
        How many people the file names.

    Raises:
        VaultError: an address does not open.
    """
    writer = csv.writer(file, lineterminator="\r\n")
    writer.writerow(COLUMNS)
    with books.write() as session:
        export = ListExport(
            at=now, to_whom=handed.to_whom, why=handed.why, reference=handed.reference, people=0
        )
        session.add(export)
        session.flush()
        name = export.id
    people = 0
    for readers in _parts(books):
        with books.write() as session:
            bits = _bits(reader.number for reader in readers)
            session.add(ListExportPart(export=name, first=_first(readers[0].number), bits=bits))
        for reader in readers:
            writer.writerow(
                (_plain(reader.address(keys)), _time(reader.asked_at), _plain(reader.asked_where))
            )
        people += len(readers)
        if progress is not None:
            progress(people)
    with books.write() as session:
        row = session.get_one(ListExport, name)
        row.people, row.done_at = people, now
    return people


def _parts(books: Books) -> Iterator[list[roll.Reader]]:
    """Give everyone on the roll, those of one part of numbers at a time; no session stays open between two."""
    after = 0
    part: list[roll.Reader] = []
    while True:
        with books.read() as session:
            page = roll.page(session, after=after)
        for reader in page:
            if part and _first(reader.number) != _first(part[0].number):
                yield part
                part = []
            part.append(reader)
        if not page:
            break
        after = page[-1].number
    if part:
        yield part


def _first(number: int) -> int:
    return number - number % _PART


def _bits(numbers: Iterable[int]) -> bytes:
    bits = bytearray(_PART // 8)
    for number in numbers:
        place = number % _PART
        bits[place // 8] |= 1 << place % 8
    return bytes(bits)


def _plain(text: str) -> str:
    """Keep a spreadsheet from taking a value for a formula (an address may begin with = or +)."""
    return f"'{text}" if text[:1] in {"=", "+", "-", "@", "\t", "\r"} else text


def _party(controller: Controller) -> dict[str, str]:
    return {
        "role": "controller",
        "name": controller.name,
        "email": controller.contact,
        "address": controller.postal_address,
        "url": controller.url,
    }


def _event(event: ConsentEvent) -> dict[str, Any]:
    """Name a link of the chain as the standard does; `details` is the link's content as it was hashed."""
    return {
        "event_time": _time(event.at),
        "event_type": str(event.kind),
        "entity_id": json.loads(event.body).get("actor", "the person"),
        "details": json.loads(event.body),
        "sequence": event.seq,
        "previous_hash": event.previous,
        "hash": event.hash,
    }


def _time(at: datetime) -> str:
    return at.isoformat(timespec="milliseconds")
