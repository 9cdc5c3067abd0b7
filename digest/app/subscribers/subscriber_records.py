"""A subscriber's record for admins, and access to the subscriber's address.

Access lasts for 15 minutes and is recorded as a disclosure.
"""

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from digest.app.accounts.sign_in import SignedInStaff
from digest.app.subscribers.subscriber_actions import STAFF_RECIPIENT, UnknownPersonError
from digest.deliver.events.failure_causes import FailureCause, find_refusal_cause
from digest.deliver.events.server_replies import quote_refusal
from digest.deliver.retention.delivery_disclosures import list_delivery_disclosures
from digest.deliver.retention.delivery_seals import SEALED_TABLES
from digest.edition.part_titles import list_part_titles
from digest.installation.audited_actions import CONFIRMATION_LIFETIME, Action
from digest.installation.opened_installation import Installation
from digest.settings import Settings
from digest.store.delivery_models import Delivery, DeliveryState, StoredDeliveryEvent
from digest.store.models import Edition
from digest.store.staff import map_staff_display_names
from subscribers.consent import chain_verification, disclosures, ledger, readable_record, sealed_rows
from subscribers.consent.consent_texts import hash_consent_text, list_consent_texts, read_consent_text_of_event
from subscribers.consent.disclosures import AddressDisclosure
from subscribers.consent.preferences import Preferences, describe_preferences
from subscribers.crypto.keys import KeyRing
from subscribers.lifecycle import address_change, undo
from subscribers.lifecycle.address_change import PendingCorrection
from subscribers.store import people
from subscribers.store.models import ConsentEvent, ConsentKind, Disclosure, ImportBatch, Person, PersonState
from subscribers.subscriber_language import ENGLISH

SHOW_RECORD = Action("subscriber record opened")
SHOW_ADDRESS = Action("subscriber address shown")
MAX_MAILS = 20  # emails shown per person, unless all are requested
MAX_ALL_MAILS = 500
MAX_ADDRESSES = 100  # that can be revealed at the same time


@dataclass(frozen=True, slots=True)
class ConsentChainEntry:
    """An event in a consent chain: its kind, and its plain-text fields.

    `words` is the text that the event proves, and `is_consent` is True if the event is a consent.
    `batch` and `row` identify the import that added it. `before` and `after` describe changed
    preferences.
    """

    at: datetime
    kind: ConsentKind
    fields: dict[str, str]
    words: str = ""
    is_consent: bool = False
    batch: int | None = None
    row: int | None = None
    before: str = ""
    after: str = ""


@dataclass(frozen=True, slots=True)
class SentEmail:
    """An email that was sent to a person, and its events.

    It's an edition, given by its number, or a transactional email, given by its kind. `events` are
    pairs of a kind and a cause. If the email was refused, `reply` is the server's reason.
    """

    at: datetime
    edition_number: int | None
    kind: str
    state: DeliveryState
    tries: int
    cause: FailureCause
    reply: str
    events: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class RevealedAddress:
    """An address that may be shown until a certain time, and the reason given for viewing it."""

    mailbox: str
    until: datetime
    reason: str


@dataclass(frozen=True, slots=True)
class SubscriberRecord:
    """Everything on a person's page for admins.

    `unsubscribed_at` is when the member unsubscribed the person, and `restorable_until` is how long
    the member can undo that. Both are None if they can't. `fault` describes a problem with the
    chain or the address, or is empty. `names` maps actors to the names of staff.
    """

    number: int
    state: PersonState
    since: datetime
    asked_at: datetime
    asked_where: str
    batch: int | None
    import_name: str
    in_progress: bool
    choices: str
    preferences: Preferences
    links: tuple[ConsentChainEntry, ...]
    fault: str
    has_address: bool
    address: RevealedAddress | None
    mails: tuple[SentEmail, ...]
    mail_count: int
    disclosures: tuple[AddressDisclosure, ...]
    disclosure_count: int
    names: dict[str, str]
    unsubscribed_at: datetime | None
    restorable_until: datetime | None
    may_correct_address: bool
    correction: PendingCorrection | None

    @property
    def may_undo_preferences(self) -> bool:
        """True if an admin made the last change to the preferences, and the subscriber can be emailed."""
        changes = (link for link in reversed(self.links) if link.kind is ConsentKind.CHOICES_CHANGED)
        last = next(changes, None)
        is_by_admin = last is not None and ledger.is_by_admin(last.fields)
        return is_by_admin and self.has_address and self.state is PersonState.SUBSCRIBED


def view_subscriber_record(
    installation: Installation, staff: SignedInStaff, number: int, *, everything: bool = False, now: datetime
) -> SubscriberRecord:
    """Return a person's record for their page.

    It contains the address, and the new one of a pending correction, only while the address is
    revealed and the sign-in is fresh.

    Raises:
        NotPermittedError: the member isn't an admin.
        UnknownPersonError: no subscriber has this number.
    """
    SHOW_RECORD.check_role(installation, staff.actor, f"person {number}", now=now)
    settings, keys = installation.settings, installation.keys
    limit = MAX_ALL_MAILS if everything else MAX_MAILS
    with installation.read() as session:
        person = session.get(Person, number)
        if person is None:
            raise UnknownPersonError("No subscriber has this number.")
        chain = session.scalars(
            select(ConsentEvent).where(ConsentEvent.person == number).order_by(ConsentEvent.seq)
        ).all()
        passages = sorted(
            (*disclosures.list_disclosures(session, number), *list_delivery_disclosures(session, number, settings)),
            key=lambda passage: passage.at,
            reverse=True,
        )
        preferences = Preferences.from_stored(person.choices)
        query = select(func.count()).where(Delivery.person == number)
        mail_count = session.scalar(query) or 0
        versions = {text.hash: text.version for text in list_consent_texts(session)}
        links = tuple(_read_link(event, settings, versions) for event in chain)
        # Someone who confirmed since, or was kept when it was undone, no longer belongs to the import.
        imports = [link.batch for link in links if link.kind in ledger.IMPORT_KINDS]
        batch_number = person.batch or next(filter(None, reversed(imports)), None)
        batch = session.get(ImportBatch, batch_number) if batch_number is not None else None
        address = _find_shown_addresses(session, keys, staff, [number], now).get(number)
        correction = address_change.find_pending_correction(session, keys, number, now=now)
        if correction is not None and address is None:
            correction = replace(correction, new=None)
        slip = undo.find_restorable_unsubscribe(session, person, staff.actor.name, now=now)
        return SubscriberRecord(
            number=number,
            state=person.state,
            since=ledger.find_state_start((event.kind, event.at) for event in chain) or person.asked_at,
            asked_at=person.asked_at,
            asked_where=person.asked_where,
            batch=batch_number,
            import_name=batch.name if batch is not None else "",
            in_progress=batch is not None and person.batch == batch.id and batch.done_at is None,
            choices=_describe_choices(preferences.drop_ended_pause(now.astimezone(settings.zone).date()), settings),
            preferences=preferences,
            links=links,
            fault=_find_fault(session, keys, number),
            has_address=person.ciphertext is not None,
            address=address,
            mails=_list_mails(session, number, limit),
            mail_count=mail_count,
            disclosures=tuple(passages[:limit]),
            disclosure_count=len(passages),
            names=map_staff_display_names(session, with_numbers=True),
            unsubscribed_at=slip.at if slip else None,
            may_correct_address=address_change.may_correct_address(session, person),
            correction=correction,
            restorable_until=slip.at + ledger.UNDO_PERIOD if slip else None,
        )


def _read_link(event: ConsentEvent, settings: Settings, versions: Mapping[str, str]) -> ConsentChainEntry:
    """Return an event of a consent chain as an entry of the record.

    `versions` maps hashes of consent texts to their versions.
    """
    body: dict[str, Any] = json.loads(event.body)
    texts = {name: value for name, value in body.items() if isinstance(value, str)}
    if "reason" in texts:
        texts["reason"] = ledger.UNSUBSCRIBE_REASONS.get(texts["reason"], texts["reason"])
    batch, row = (value if isinstance(value := body.get(name), int) else None for name in ("batch", "row"))
    if batch is not None:
        texts |= {name: readable_record.rephrase_imported_value(name, text) for name, text in texts.items()}
    words, is_consent = read_consent_text_of_event(body), event.kind in ledger.GRANT_KINDS
    texts["wording_version"] = versions.get(hash_consent_text(words), "")
    entry = ConsentChainEntry(event.at, event.kind, texts, words, is_consent, batch, row)
    if event.kind is not ConsentKind.CHOICES_CHANGED:
        return entry
    before, after = (_describe_choices(Preferences.from_stored(body.get(at)), settings) for at in ("before", "after"))
    return replace(entry, before=before, after=after)


def _describe_choices(preferences: Preferences, settings: Settings) -> str:
    return describe_preferences(preferences, list_part_titles(settings, ENGLISH))


def _find_fault(session: Session, keys: KeyRing, number: int) -> str:
    chunk = chain_verification.load_chain(session, number)
    broken = chain_verification.find_broken_link(chunk)
    if broken is not None:
        return f"Event {broken.seq} failed verification ({broken.fault})."
    faults = chain_verification.find_stored_address_faults(keys, chunk)
    if faults:
        return f"The address failed verification ({faults[0].fault})."
    changed = sealed_rows.find_changed_rows(session, keys, (*SEALED_TABLES, sealed_rows.TOTALS), number)
    return f"The disclosures of this address failed verification ({'; '.join(changed)})." if changed else ""


def _list_mails(session: Session, number: int, limit: int) -> tuple[SentEmail, ...]:
    newest_first = func.coalesce(Delivery.handed_at, Delivery.due_at).desc()
    mine = select(Delivery).where(Delivery.person == number).order_by(newest_first, Delivery.id).limit(limit)
    rows = session.scalars(mine).all()
    events: defaultdict[str | None, list[StoredDeliveryEvent]] = defaultdict(list)
    ids = [row.id for row in rows]
    reported = select(StoredDeliveryEvent).where(StoredDeliveryEvent.delivery.in_(ids))
    for event in session.scalars(reported.order_by(StoredDeliveryEvent.at, StoredDeliveryEvent.id)):
        events[event.delivery].append(event)
    names = [row.purpose.partition(":")[2] for row in rows if row.purpose.startswith("edition:")]
    query = select(Edition.name, Edition.number).where(Edition.name.in_(names))
    numbers = {row.name: row.number for row in session.execute(query)}
    return tuple(_describe_mail(row, numbers, events[row.id]) for row in rows)


def _describe_mail(
    row: Delivery,
    numbers: Mapping[str, int],
    events: Sequence[StoredDeliveryEvent],
) -> SentEmail:
    kind, _, name = row.purpose.partition(":")
    with_cause = [event for event in events if event.cause]
    deciding = max(with_cause, key=lambda event: event.id, default=None)
    detail = deciding.detail if deciding is not None else {}
    status, reason = detail.get("status", ""), detail.get("reason", "")
    was_refused = row.state in (DeliveryState.REFUSED, DeliveryState.EXPIRED)
    reply = quote_refusal(row.reply, status, reason)
    return SentEmail(
        at=row.handed_at or row.due_at,
        edition_number=numbers.get(name),
        kind=kind,
        state=row.state,
        tries=row.tries,
        cause=find_refusal_cause(reply, [deciding.cause] if deciding is not None else []),
        reply=reply if was_refused else "",
        events=tuple((event.kind, event.cause) for event in events),
    )


def require_subscriber(installation: Installation, staff: SignedInStaff, number: int, *, now: datetime) -> None:
    """Raise `UnknownPersonError` unless a person has this number.

    Raises:
        NotPermittedError: the member isn't an admin.
        UnknownPersonError: no subscriber has this number.
    """
    SHOW_RECORD.check_role(installation, staff.actor, _name_subject(number), now=now)
    with installation.read() as session:
        if session.get(Person, number) is None:
            raise UnknownPersonError("No subscriber has this number.")


def can_be_restored(installation: Installation, staff: SignedInStaff, number: int, *, now: datetime) -> bool:
    """Return True if a member who unsubscribes a person now could undo that.

    Raises:
        NotPermittedError: the member isn't an admin.
        UnknownPersonError: no subscriber has this number.
    """
    require_subscriber(installation, staff, number, now=now)
    with installation.read() as session:
        return undo.may_admin_undo_unsubscribe(session, session.get_one(Person, number), now=now)


def reveal_addresses(
    installation: Installation, staff: SignedInStaff, numbers: Sequence[int], reason: str, *, now: datetime
) -> int:
    """Reveal the addresses of up to 100 people to a member for 15 minutes.

    Return the number of addresses revealed. Each is recorded as a disclosure before it's shown, and
    its owner can see the disclosure with the reason.

    Raises:
        NotPermittedError: the member isn't an admin.
        UnknownPersonError: none of these people has a stored address.
    """
    subject = _name_subject(numbers[0]) if len(numbers) == 1 else f"{len(numbers)} people"
    with SHOW_ADDRESS.transaction(installation, staff.actor, subject, now=now) as (session, draft):
        query = select(Person.number).where(Person.number.in_(numbers[:MAX_ADDRESSES]), Person.ciphertext.is_not(None))
        people = list(session.scalars(query.order_by(Person.number)))
        if not people:
            raise UnknownPersonError("This subscriber's address is no longer stored.")
        disclosures.record_disclosures(
            session, people, to_whom=STAFF_RECIPIENT, why=reason, reference=staff.sign_in, now=now
        )
        draft.detail, draft.changed = {"why": reason}, False
        # There's one row per person, because the log is searched by subject.
        for number in people:
            draft.subject = _name_subject(number)
            draft.record(session)
        return len(people)


def _name_subject(number: int) -> str:
    return f"person {number}"


def find_revealed_addresses(
    installation: Installation, staff: SignedInStaff, numbers: Sequence[int], *, now: datetime
) -> dict[int, RevealedAddress]:
    """Return the addresses that are currently revealed to a member, of up to 100 people."""
    with installation.read() as session:
        return _find_shown_addresses(session, installation.keys, staff, numbers, now)


def _find_shown_addresses(
    session: Session, keys: KeyRing, staff: SignedInStaff, numbers: Sequence[int], now: datetime
) -> dict[int, RevealedAddress]:
    """Return the addresses revealed within the last 15 minutes, if the sign-in is still fresh."""
    if not staff.is_fresh(now):
        return {}
    looks = select(Disclosure.person, Disclosure.at, Disclosure.why).where(
        Disclosure.person.in_(numbers),
        Disclosure.at > now - CONFIRMATION_LIFETIME,
        Disclosure.reference == staff.sign_in,
        Disclosure.to_whom == STAFF_RECIPIENT,
    )
    query = looks.order_by(Disclosure.at, Disclosure.id)
    rows = session.execute(query)
    latest = {row.person: (row.at, row.why) for row in rows}
    shown_addresses = {}
    for person in session.scalars(select(Person).where(Person.number.in_(latest))):
        address = people.decrypt_person_address(keys, person)
        if address is not None:
            looked_at, why = latest[person.number]
            shown_addresses[person.number] = RevealedAddress(
                address.mailbox, min(looked_at, staff.fresh_at) + CONFIRMATION_LIFETIME, why
            )
    return shown_addresses
