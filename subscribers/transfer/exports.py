"""Exports: a person's record for the person themselves, and the list for a recipient whom the team chooses.

The fields of a record are named as in ISO/IEC TS 27560:2023 (header, processing, parties, events),
with the spelling used in the guide to the W3C's Data Privacy Vocabulary.
"""

import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from itertools import groupby
from types import MappingProxyType
from typing import IO, Any, Literal

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

from subscribers.consent import audience, disclosures, readable_record
from subscribers.consent.consent_texts import read_claimed_consent_text
from subscribers.consent.ledger import CONSENT_KINDS, IMPORTED_SUFFIX, find_last_consent, format_ledger_time
from subscribers.consent.preferences import Preferences
from subscribers.consent.subscriber_list import SubscriberFilter, build_filter_conditions
from subscribers.crypto.keys import DecryptionError, KeyRing
from subscribers.errors import RefusalError
from subscribers.store import people
from subscribers.store.database import PeopleDatabase
from subscribers.store.models import ConsentEvent, ConsentKind, ListExport, ListExportPart, Person, PersonState
from subscribers.transfer.spreadsheet_csv import SpreadsheetCsvWriter

RECORD_SCHEMA = "ISO/IEC TS 27560:2023"
# Imports recognize each column by its name (`formats.toml`).
EXPORT_COLUMNS = (
    *("email", "status", "asked_at", "asked_where"),
    *("consent_at", "consent_method", "consent_text", "consent_version", "consent_language"),
    *("sections_left_out", "topics_left_out", "frequency", "time_zone", "send_hour"),
    *("short_edition", "text_only", "breaking_news", "paused_until"),
)
EVERYONE = SubscriberFilter()
# People in other states may not be exported.
EXPORTABLE_STATES = frozenset({None, PersonState.SUBSCRIBED})
# The number of people per row of an export's parts, which takes 1 kB.
_PART_SIZE = 8192

# These values are empty in a list export.
_DEFAULT_PREFERENCES = {
    "frequency": "weekly",
    **dict.fromkeys(("short_edition", "text_only", "breaking_news"), "no"),
}

ExportProgress = Callable[[int], None]


class ExportStateError(RefusalError):
    """Raised when the addresses of people in the requested state may not be exported."""


@dataclass(frozen=True, slots=True)
class DataController:
    """The organization responsible for the list, as described in records."""

    name: str
    contact: str
    postal_address: str
    url: str


@dataclass(slots=True)
class ListExportResult:
    """The number of people in an export, and the numbers of the people omitted because their row is damaged."""

    people: int = 0
    damaged: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class ExportRecipient:
    """The recipient of a list and the reason for the export, both of which the people on it see as a disclosure."""

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
    """Return all data stored about a person as a JSON value, or None if the person doesn't exist.

    Args:
        session: read session.
        keys: keys for decrypting the address.
        number: the person's number.
        controller: the organization responsible for the list.
        now: time of the export.
        other_disclosures: further disclosures in the form of `convert_disclosure_to_json`, such as
            emails, which aren't stored in this package.
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


def build_portable_copy(
    session: Session,
    keys: KeyRing,
    number: int,
    form: Literal["csv", "json"],
    topic_names: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """Return the data that a person provided, as CSV or JSON (GDPR, Article 20).

    The fields are those of a list export. `topic_names` is the same as for `export_list`. An
    address that can't be decrypted is empty.

    Raises:
        sqlalchemy.exc.NoResultFound: the person doesn't exist.
    """
    person = session.get_one(Person, number)
    address = people.decrypt_person_address(keys, person)
    member = audience.AudienceMember(
        number=number,
        encrypted_address=(b"", ""),
        preferences=Preferences.from_stored(person.choices),
        asked_at=person.asked_at,
        asked_where=person.asked_where,
        domain_tag=None,
        lookup=(None, None),
    )
    row = _ExportedPerson(member, *_load_consents(session, [number]).get(number, (None, {})))
    values = ["" if value is None else str(value) for value in row.describe(topic_names)]
    copy = dict(zip(EXPORT_COLUMNS, [address.mailbox if address else "", str(person.state), *values], strict=True))
    copy |= {name: value for name, value in _DEFAULT_PREFERENCES.items() if not copy[name]}
    if form == "json":
        return json.dumps(copy, indent=2, ensure_ascii=False) + "\n"
    file = io.StringIO(newline="")
    writer = SpreadsheetCsvWriter(file)
    writer.write_row(copy.keys())
    writer.write_row(copy.values())
    return file.getvalue()


def convert_disclosure_to_json(disclosure: disclosures.AddressDisclosure) -> dict[str, Any]:
    """Return a disclosure as a JSON value.

    `times` is more than 1 for a total of old disclosures.
    """
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
    list_filter: SubscriberFilter = EVERYONE,
    topic_names: Mapping[str, str] = MappingProxyType({}),
    progress: ExportProgress = lambda *_: None,
) -> ListExportResult:
    """Write everyone who may be emailed now and matches the filter to `file` as CSV.

    No one else may be exported. Addresses of people who unsubscribed may not be passed on (15 USC
    7704(a)(4)(A)(iv)), and the privacy page promises people who never confirmed that their address
    is only used to ask them. They couldn't see the export in their data, either. People whose row
    can't be decrypted are omitted and listed. Each part is recorded before its addresses are
    written, so that after a crash, there's one recorded disclosure too many, but never one too few.
    The memory needed doesn't depend on the size of the list. `topic_names` maps the keys of topics
    to their names, because the keys of long names can't be read.

    Raises:
        ExportStateError: people in the state of the filter may not be exported.
    """
    if list_filter.state not in EXPORTABLE_STATES:
        raise ExportStateError(
            "Addresses of people who never confirmed, unsubscribed, or are suppressed may not be exported. Choose "
            "another state."
        )
    conditions = build_filter_conditions(replace(list_filter, state=PersonState.SUBSCRIBED))
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
        _stream_people(database, conditions), key=lambda row: row.member.number // _PART_SIZE * _PART_SIZE
    ):
        subscribers = _decrypt_addresses(keys, part, result.damaged)
        with database.write() as session:
            bits = _number_bitmap(row.member.number for row, _ in subscribers)
            session.add(ListExportPart(export=name, first=first, bits=bits))
        for row, address in subscribers:
            writer.write_row((address, str(PersonState.SUBSCRIBED), *row.describe(topic_names)))
        result.people += len(subscribers)
        progress(result.people)
    with database.write() as session:
        finished = session.get_one(ListExport, name)
        finished.people, finished.done_at = result.people, now
    return result


@dataclass(frozen=True, slots=True)
class _ExportedPerson:
    """A person in an export, with their last consent, if any."""

    member: audience.AudienceMember
    consented_at: datetime | None
    consent: dict[str, Any]

    def describe(self, topic_names: Mapping[str, str]) -> Iterator[object]:
        """Yield the values of the `EXPORT_COLUMNS` that follow the status."""
        consent, preferences = self.consent, self.member.preferences
        yield format_ledger_time(self.member.asked_at)
        yield self.member.asked_where.removesuffix(IMPORTED_SUFFIX)
        agreed_at = self.consented_at and format_ledger_time(self.consented_at)
        yield consent.get("agreed_at") or agreed_at
        yield consent.get("method")
        yield read_claimed_consent_text(consent)
        yield consent.get("wording_version")
        yield consent.get("language")
        yield ", ".join(sorted(preferences.omit))
        yield ", ".join(sorted(topic_names.get(key, key) for key in preferences.omit_topics))
        yield (
            f"fortnightly {preferences.start}"
            if preferences.start
            else preferences.frequency
            if preferences.frequency != "weekly"
            else ""
        )
        yield preferences.zone
        yield preferences.hour
        yield "yes" if preferences.short else ""
        yield "yes" if preferences.text_only else ""
        yield "yes" if preferences.breaking_news else ""
        yield preferences.pause_until


def _decrypt_addresses(
    keys: KeyRing, people_of_part: Iterable[_ExportedPerson], damaged: list[int]
) -> list[tuple[_ExportedPerson, str]]:
    """Decrypt people's addresses.

    People with damaged addresses or preferences are added to `damaged`.
    """
    opened = []
    for row in people_of_part:
        try:
            address = row.member.decrypt_address(keys)
        except DecryptionError:
            damaged.append(row.member.number)
            continue
        if row.member.preferences.is_readable:
            opened.append((row, address))
        else:
            damaged.append(row.member.number)
    return opened


def _stream_people(database: PeopleDatabase, conditions: Sequence[ColumnElement[bool]]) -> Iterator[_ExportedPerson]:
    """Yield everyone who meets the conditions, in order of number.

    No session stays open between pages.
    """
    after = 0
    while True:
        with database.read() as session:
            page = audience.load_people_page(session, conditions, after_number=after)
            consents = _load_consents(session, [member.number for member in page])
        if not page:
            return
        for member in page:
            yield _ExportedPerson(member, *consents.get(member.number, (None, {})))
        after = page[-1].number


def _load_consents(
    session: Session,
    numbers: Sequence[int],
) -> dict[int, tuple[datetime, dict[str, Any]]]:
    """Return the time and body of each person's last consent (for at most 1,000 people), by number."""
    kinds = CONSENT_KINDS | {ConsentKind.ADDRESS_CHANGED}
    query = (
        select(ConsentEvent)
        .where(ConsentEvent.person.in_(numbers), ConsentEvent.kind.in_(kinds))
        .order_by(ConsentEvent.person, ConsentEvent.seq)
    )
    chains = groupby(session.scalars(query), key=lambda event: event.person)
    consents = {person: find_last_consent(chain) for person, chain in chains}
    return {person: consent for person, consent in consents.items() if consent}


def _number_bitmap(numbers: Iterable[int]) -> bytes:
    bits = bytearray(_PART_SIZE // 8)
    for number in numbers:
        place = number % _PART_SIZE
        bits[place // 8] |= 1 << place % 8
    return bytes(bits)


def _event_as_json(event: ConsentEvent) -> dict[str, Any]:
    """Return an event as JSON, with the standard's names.

    `details` is the content that was hashed.
    """
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
