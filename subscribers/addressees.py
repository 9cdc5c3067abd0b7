"""Who may get a single mail now: asked when it is claimed, and again at the moment of handing over."""

from collections.abc import Sequence
from datetime import datetime

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from subscribers import mydata, onetime, roll, suppression
from subscribers.addresses import read_address
from subscribers.asking import CLOSED_FOR
from subscribers.db import Person
from subscribers.vault import Keys, VaultError, open_

UNCONFIRMED = frozenset(
    {"confirm", "remind", "ask"}
)  # these go to people who have not consented yet, to ask whether they do

log = structlog.get_logger("notices")


def still(
    session: Session, keys: Keys, wanted: Sequence[tuple[int, str]], *, now: datetime
) -> dict[tuple[int, str], str]:
    """Give those of `wanted` (person, kind of mail) who may get it now, each with the address as mail goes to it.

    A confirmation needs an open link and nobody's complaint; all else goes to those on the roll only. Who is gone,
    or whose address does not open, is missing.
    """
    found = {}
    for number, kind in wanted:
        address = _address(session, keys, number)
        if address is not None and _may(session, keys, number, address, kind, now=now):
            found[number, kind] = address
    return found


def _address(session: Session, keys: Keys, number: int) -> str | None:
    query = select(Person.ciphertext, Person.key_id).where(Person.number == number)
    row = session.execute(query).one_or_none()
    if row is None or row.ciphertext is None:
        return None
    try:
        return open_(keys, (row.ciphertext, row.key_id), number)
    except VaultError:  # a damaged row must not hold up everybody behind it
        log.error("address does not open", person=number)  # noqa: TRY400 - no trace needed
        return None


def _may(session: Session, keys: Keys, number: int, address: str, kind: str, *, now: datetime) -> bool:
    if kind == "data":  # a right that leaving does not end
        return mydata.may_ask(session.get(Person, number))
    if kind not in UNCONFIRMED:
        return roll.may_mail(session, number)
    if onetime.open_for(session, number, "confirm", now=now) is None:
        return False
    barred = suppression.find(session, keys, read_address(address))
    return barred is None or barred.reason not in CLOSED_FOR
