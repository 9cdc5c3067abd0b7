"""The deliveries of an erased person: they stay countable, and lead to nobody."""

from collections.abc import Callable
from datetime import datetime

from sqlalchemy import case, delete, select, update
from sqlalchemy.orm import Session

from digest.deliver.retention import provider_erasures
from digest.store.delivery_models import Delivery, DeliveryState, Event, Notice
from subscribers.address import Address
from subscribers.crypto.keys import KeyRing
from subscribers.lifecycle.erasure import ForgetElsewhere


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
