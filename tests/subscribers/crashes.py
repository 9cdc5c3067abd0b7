"""A process that ends in the middle of its work, as far as the database can tell."""

from collections.abc import Iterator
from contextlib import contextmanager

from sqlalchemy import event
from sqlalchemy.orm import Session


class Crash(Exception):  # noqa: N818 - it's no error of ours
    """The process ends here."""


@contextmanager
def crash_at(commit: int) -> Iterator[None]:
    """Fail before the commit of this number, counted from 1."""
    seen = 0

    def count(_session: Session) -> None:
        nonlocal seen
        seen += 1
        if seen == commit:
            raise Crash

    event.listen(Session, "before_commit", count)
    try:
        yield
    finally:
        event.remove(Session, "before_commit", count)
