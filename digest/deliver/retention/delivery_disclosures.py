"""A person's deliveries as disclosures, and after an erasure.

Each that reached handing over says who got an address, for what, when, under which id. Those of an erased person stay
countable, and lead to nobody.
"""

from collections.abc import Callable, Mapping
from datetime import datetime

from sqlalchemy import case, delete, select, update
from sqlalchemy.orm import Session

from digest.deliver.providers.registry import describe_recipient
from digest.deliver.retention import provider_erasures
from digest.settings import Settings
from digest.store.delivery_models import Delivery, DeliveryState, Event, Notice
from digest.store.models import Edition
from subscribers.address import Address
from subscribers.consent.disclosures import AddressDisclosure
from subscribers.crypto.keys import KeyRing
from subscribers.lifecycle.erasure import ForgetElsewhere

_PURPOSE_TEXTS = {
    "edition": "To deliver an edition",
    "confirm": "To ask whether you want our mail",
    "remind": "To remind you of that question",
    "ask": "To ask, once, whether you want our mail: a list named your address",
    "known": "To say that you are on the list already",
    "link": "To send you the link to your choices",
    "welcome": "To send you your receipt",
    "data": "To send you the link to your data",
    "move": "To ask whether a new address is yours",
    "moving": "To tell you that your address is about to change",
    "choices": "To tell you that your choices changed",
    "leave": "To answer that you want to leave",
    "undo": "To send you a link that takes your leaving back",
}


def delivery_disclosures(session: Session, person_number: int, settings: Settings) -> tuple[AddressDisclosure, ...]:
    """List the mails to one person that were handed over, latest first: that is when the address was disclosed.

    Old ones are among the totals that `subscribers.consent.disclosures` gives (`digest.deliver.retention.delivery_totals`).
    """
    handed_over = select(Delivery).where(Delivery.person == person_number, Delivery.handed_at.is_not(None))
    rows = list(session.scalars(handed_over.order_by(Delivery.handed_at.desc())))
    names = {row.purpose.partition(":")[2] for row in rows}
    editions = session.execute(select(Edition.name, Edition.number).where(Edition.name.in_(names)))
    numbers = {row.name: row.number for row in editions}
    return tuple(
        AddressDisclosure(
            row.handed_at,
            describe_recipient(row.transport, settings),
            _describe_delivery(row.purpose, numbers),
            row.message_id,
        )
        for row in rows
        if row.handed_at is not None
    )


def _describe_delivery(purpose: str, numbers: Mapping[str, int]) -> str:
    kind, _, name = purpose.partition(":")
    if kind == "edition":
        return f"To deliver No. {numbers[name]}" if name in numbers else f"To deliver {name}"
    return describe_purpose(purpose)


def describe_purpose(purpose: str) -> str:
    """Say what mails of a kind were for, the same words for each of them: as their total says it."""
    kind = purpose.partition(":")[0]
    return _PURPOSE_TEXTS.get(kind, f"To send you a mail ({kind})")


def make_erasure_callback(keys: KeyRing, clock: Callable[[], datetime]) -> ForgetElsewhere:
    """Return the callback that erases a person from the deliveries, and queues the same at the providers that know them."""

    def erase(session: Session, number: int, address: Address | None) -> None:
        if address is not None:
            provider_erasures.queue_provider_erasures(session, keys, number, address, now=clock())
        erase_from_deliveries(session, number, address)

    return erase


def erase_from_deliveries(session: Session, number: int, address: Address | None) -> None:
    """Detach a person's deliveries from them: waiting ones are withdrawn, what their events quote is emptied.

    The owner of a message that is being handed over at this moment still writes down its result. The address is
    not needed here; see `subscribers.lifecycle.erasure.ForgetElsewhere`.
    """
    del address
    mine = Delivery.person == number
    ids = select(Delivery.id).where(mine)
    waiting = ids.where(Delivery.state == DeliveryState.WAITING)
    unsynchronized = {"synchronize_session": False}
    session.execute(delete(Notice).where(Notice.delivery.in_(waiting)), execution_options=unsynchronized)
    session.execute(update(Event).where(Event.delivery.in_(ids)).values(detail={}), execution_options=unsynchronized)
    withdrawn = case((Delivery.state == DeliveryState.WAITING, DeliveryState.WITHDRAWN.value), else_=Delivery.state)
    emptied = {"person": None, "state": withdrawn, "domain_tag": None, "reply": "", "message_id": ""}
    session.execute(update(Delivery).where(mine).values(**emptied), execution_options=unsynchronized)
