"""Holding: nothing leaves the installation, no edition, no notice, no word about anybody to a provider, until it is released.

A pause concerns one edition (`steering`); holding concerns all that leaves, for a copy that must not mail anybody,
or for an hour in which nobody knows what is wrong.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy.orm import Session

from digest.db import Audit
from digest.deliver import memos

MEMO = "held"


@dataclass(frozen=True, slots=True)
class Held:
    """Why nothing leaves, who said so, and since when."""

    because: str
    actor: str
    since: datetime

    def __str__(self) -> str:
        """Say it as one sentence, with what to do."""
        why = f": {self.because}" if self.because else ""
        return f"held by {self.actor} since {self.since:%Y-%m-%d %H:%M} UTC{why}. 'digest release' lets mail leave again."


def held(session: Session) -> Held | None:
    """Say whether the installation is held."""
    found = memos.recall(session, MEMO)
    return None if found is None else read(found)


def read(memo: Mapping[str, str]) -> Held:
    """Read what holds the installation out of its memo."""
    return Held(memo["because"], memo["actor"], datetime.fromisoformat(memo["since"]))


def hold(session: Session, because: str, *, actor: str, now: datetime) -> Held:
    """Hold the installation; one that is held already stays held as it was."""
    standing = held(session)
    if standing is not None:
        return standing
    memos.remember(session, MEMO, {"because": because, "actor": actor, "since": now.isoformat()}, now=now)
    _note(session, "held", {"because": because} if because else {}, actor=actor, now=now)
    return Held(because, actor, now)


def release(session: Session, *, actor: str, now: datetime) -> Held | None:
    """Let mail leave again; give what held it, or None where nothing did."""
    standing = held(session)
    if standing is not None:
        memos.forget(session, MEMO)
        _note(session, "released", {}, actor=actor, now=now)
    return standing


def _note(session: Session, act: str, detail: dict[str, str], *, actor: str, now: datetime) -> None:
    session.add(Audit(at=now, actor=actor, act=act, subject="installation", detail=detail))
    session.flush()
