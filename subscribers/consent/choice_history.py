"""What readers had chosen at a moment of the past: today's choices, and the changes of the ledger since."""

import json
from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from subscribers.consent.preferences import Preferences
from subscribers.store.models import ConsentEvent, ConsentKind, Person


def find_choices_at(session: Session, moments: Mapping[int, datetime]) -> dict[int, Preferences]:
    """Return what people (at most 1,000, by number) had chosen at each one's moment; nothing for whom there is no row of."""
    if not moments:
        return {}
    people = select(Person.number, Person.choices).where(Person.number.in_(moments))
    choices = {number: Preferences.from_stored(stored) for number, stored in session.execute(people)}
    changes = (
        select(ConsentEvent.person, ConsentEvent.at, ConsentEvent.body)
        .where(
            ConsentEvent.person.in_(moments),
            ConsentEvent.kind == ConsentKind.CHOICES_CHANGED,
            ConsentEvent.at > min(moments.values()),
        )
        .order_by(ConsentEvent.seq.desc())
    )
    # From the last change back to the first one after the moment: what stood before that.
    for person, at, body in session.execute(changes):
        if at > moments[person]:
            choices[person] = Preferences.from_json(json.loads(body)["before"])
    return {number: choices.get(number, Preferences()) for number in moments}
