"""Looking for a part of an address: every one is opened in turn, for none can be found otherwise.

It takes some three seconds of processor time for a million.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import structlog
from sqlalchemy import bindparam, select

from subscribers.crypto.keys import DecryptionError, KeyRing
from subscribers.crypto.stored_addresses import decrypt_address
from subscribers.errors import RefusalError
from subscribers.store.database import PeopleDatabase
from subscribers.store.models import Person, table_of

MIN_PART_LENGTH, MAX_PART_LENGTH = 4, 100  # characters
PAGE_SIZE = 2000  # addresses of one query, and of one step

log = structlog.get_logger("people")
_TABLE = table_of(Person)
_NEXT_ADDRESSES = (
    select(_TABLE.c.number, _TABLE.c.ciphertext, _TABLE.c.key_id)
    .where(_TABLE.c.number > bindparam("after"), _TABLE.c.ciphertext.is_not(None))
    .order_by(_TABLE.c.number)
    .limit(PAGE_SIZE)
)


class SearchPartError(RefusalError):
    """The text cannot be searched for; the message says why, without it."""


@dataclass(frozen=True, slots=True)
class SearchStep:
    """How many addresses one step looked at, and the numbers of those that hold the part."""

    looked_at: int
    found: tuple[int, ...]


def read_search_part(text: str) -> str:
    """Return a part of an address as it is searched for.

    Raises:
        SearchPartError: it is too short, too long, or none.
    """
    part = text.strip().lower()
    if not MIN_PART_LENGTH <= len(part) <= MAX_PART_LENGTH or not part.isascii() or not part.isprintable():
        raise SearchPartError(
            f"Give {MIN_PART_LENGTH} to {MAX_PART_LENGTH} letters, digits or signs as they stand in an address; "
            "a domain in other letters stands there as xn--…"
        )
    return part


def search_addresses(database: PeopleDatabase, keys: KeyRing, part: str) -> Iterator[SearchStep]:
    """Open every address, by number, and yield step by step who has `part` in theirs, in whatever case.

    A damaged address is passed over and named in the log by its number.

    Raises:
        KeyFileError: an address was encrypted with a key that is not in the key file.
    """
    after = 0
    while True:
        with database.read() as session:
            rows = session.connection().execute(_NEXT_ADDRESSES, {"after": after}).all()
        if not rows:
            return
        found = [row.number for row in rows if _holds_part(keys, row.number, (row.ciphertext, row.key_id), part)]
        yield SearchStep(len(rows), tuple(found))
        after = rows[-1].number


def _holds_part(keys: KeyRing, number: int, encrypted: tuple[bytes, str], part: str) -> bool:
    try:
        return part in decrypt_address(keys, encrypted, number).lower()
    except DecryptionError:
        log.error("address does not open", person=number)  # noqa: TRY400 - no trace needed
        return False
