"""What a person agreed to, read back from their chain."""

import json
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from subscribers.store.models import ConsentEvent

PERMISSION_METHOD = "re-permission mail"  # the method of a request that was not theirs: we asked them


def read_event_body(session: Session, person: int, seq: int) -> dict[str, Any]:
    """Return what one link of a person's chain says.

    Raises:
        LookupError: the chain has no such link.
    """
    query = select(ConsentEvent.body).where(ConsentEvent.person == person, ConsentEvent.seq == seq)
    body = session.scalar(query)
    if body is None:
        raise LookupError(f"the chain of person {person} has no link {seq}")
    fields: dict[str, Any] = json.loads(body)
    return fields
