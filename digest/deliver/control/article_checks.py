"""What the last look at an edition's articles found, right before its release; one stored result an edition.

A look holds for one approval: whoever approves anew has the articles looked at anew.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from digest.deliver.control import installation_hold
from digest.edition.queries import explain_missed_release
from digest.store.models import Edition, EditionState

REPEAT_AFTER = timedelta(minutes=10)  # while a gone article keeps an edition from going: it may be back


@dataclass(frozen=True, slots=True)
class LookFinding:
    """One article that is gone, or of which nothing could be learned: where it stands, and what came of asking."""

    url: str
    headline: str
    what: str  # "404", why a visitor can't read it, or why nothing is known


@dataclass(frozen=True, slots=True)
class ArticleCheck:
    """One look at all articles of an edition.

    `pause_reason` is that of the pause that it caused, or empty; `told` are the addresses whose loss the editors were told,
    and `occasion` is that of the last email about it.
    """

    at: datetime
    approved_at: datetime | None
    looked_at: int
    gone: tuple[LookFinding, ...] = ()
    unanswered: tuple[LookFinding, ...] = ()
    pause_reason: str = ""
    told: tuple[str, ...] = ()
    occasion: str = ""

    @property
    def sentence(self) -> str:
        """Say it in one sentence."""
        parts = [f"{self.looked_at} articles checked again"]
        parts += [f"{len(self.gone)} gone"] if self.gone else []
        parts += [f"{len(self.unanswered)} without a response"] if self.unanswered else []
        return ", ".join(parts)


def read_look(session: Session, edition: str) -> ArticleCheck | None:
    """Return the last look at an edition, or None."""
    stored = installation_hold.read_installation_state(session, _state_key(edition))
    return None if stored is None else _parse_look(stored)


def write_look(session: Session, edition: str, look: ArticleCheck) -> None:
    """Store a look in place of the one before."""
    stored = asdict(look) | {
        "at": look.at.isoformat(),
        "approved_at": look.approved_at.isoformat() if look.approved_at else "",
    }
    installation_hold.write_installation_state(session, _state_key(edition), stored, now=look.at)


def _state_key(edition: str) -> str:
    return f"last look {edition}"


def _parse_look(stored: Mapping[str, Any]) -> ArticleCheck:
    return ArticleCheck(
        at=datetime.fromisoformat(stored["at"]),
        approved_at=datetime.fromisoformat(stored["approved_at"]) if stored["approved_at"] else None,
        looked_at=stored["looked_at"],
        gone=tuple(LookFinding(**finding) for finding in stored["gone"]),
        unanswered=tuple(LookFinding(**finding) for finding in stored["unanswered"]),
        pause_reason=stored["pause_reason"],
        told=tuple(stored["told"]),
        occasion=stored.get("occasion", ""),  # of a look by an older version, not known
    )


def awaits_look(session: Session, edition: Edition, *, minutes: int, now: datetime) -> bool:
    """Whether an approved edition that is about to go has not been looked at as it was approved. 0 minutes: none has to be."""
    if not minutes or edition.release_at - timedelta(minutes=minutes) > now or explain_missed_release(edition, now):
        return False
    return lacks_look(session, edition)


def lacks_look(session: Session, edition: Edition) -> bool:
    """Whether an edition is approved, and was not looked at as it was approved."""
    look = read_look(session, edition.name)
    return edition.state is EditionState.APPROVED and (look is None or look.approved_at != edition.approved_at)


def find_due_looks(session: Session, *, minutes: int, now: datetime) -> list[str]:
    """Find the editions to look at now: those that await it, and every ten minutes those that a gone article holds up."""
    if not minutes:
        return []
    soon = (Edition.state == EditionState.APPROVED, Edition.release_at <= now + timedelta(minutes=minutes))
    return [
        edition.name
        for edition in session.scalars(select(Edition).where(*soon).order_by(Edition.release_at))
        if awaits_look(session, edition, minutes=minutes, now=now) or _is_to_be_repeated(session, edition, now)
    ]


def _is_to_be_repeated(session: Session, edition: Edition, now: datetime) -> bool:
    look = read_look(session, edition.name)
    return look is not None and is_paused_by(edition, look) and now - look.at >= REPEAT_AFTER


def is_paused_by(edition: Edition, look: ArticleCheck) -> bool:
    """Whether an edition rests because of what a look found, and for nothing else."""
    return edition.paused_at is not None and bool(look.pause_reason) and edition.paused_because == look.pause_reason


def find_untold(look: ArticleCheck) -> tuple[LookFinding, ...]:
    """Return what is gone and was not told yet."""
    return tuple(finding for finding in look.gone if finding.url not in look.told)


def follow_look(look: ArticleCheck, before: ArticleCheck | None, *, stops: bool) -> ArticleCheck:
    """Return a new look with what it takes over from the one before: whom was told of what. `stops`: a gone article pauses."""
    gone = {finding.url for finding in look.gone}
    told = tuple(filter(gone.__contains__, before.told)) if before else ()
    pause_reason = describe_gone(look.gone) if stops and look.gone else ""
    return replace(look, told=told, pause_reason=pause_reason, occasion=before.occasion if before else "")


def describe_gone(gone: tuple[LookFinding, ...]) -> str:
    """Say what is gone, and what to do."""
    named = "; ".join(f"“{finding.headline}” ({finding.what})" for finding in gone[:3])
    more = f"; and {len(gone) - 3} more" if len(gone) > 3 else ""
    subject, them = ("an article", "it") if len(gone) == 1 else (f"{len(gone)} articles", "them")
    return (
        f"visitors can't read {subject} anymore: {named}{more}. Remove {them} and approve the edition again, "
        "or resume sending."
    )
