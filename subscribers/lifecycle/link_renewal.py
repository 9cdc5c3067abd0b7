"""Renewing a person's links: those of the mails so far then leave, and do no more."""

from sqlalchemy.orm import Session

from subscribers.consent import ledger
from subscribers.crypto.link_tokens import next_generation


def renew_links(session: Session, number: int) -> int:
    """Begin a new generation of links for a person who is there; return it.

    A restored copy knows nothing of a renewal that came after it was made.

    Raises:
        LookupError: there is no such person.
    """
    person = ledger.lock_person(session, number)
    if person is None:
        raise LookupError(f"person {number} is not there")
    person.link_generation = next_generation(person.link_generation)
    session.flush()
    return person.link_generation
