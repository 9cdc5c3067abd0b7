"""The week as a few idempotent steps, that the command line, the desk and the scheduler all call.

collect → draft → check → approve → release. Each opens what it needs and leaves the rest to its stage.
"""

import json
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from sqlalchemy import select
from sqlalchemy.orm import Session

from digest.collect import visits
from digest.collect.fetch import open_getter
from digest.collect.fetched import Getter
from digest.collect.readership import import_readership
from digest.db import Edition, EditionState, Media, Story
from digest.deliver import holding, memos, sending, testmail
from digest.deliver.orders import hindrance
from digest.deliver.personalising import specimen
from digest.deliver.planning import Books, books, purpose_of
from digest.deliver.pulse import Pulse, pulse
from digest.deliver.pulse import in_words as in_words_of
from digest.deliver.transports import open_transport
from digest.edition import approval, drafting
from digest.edition.arranging import long_date
from digest.edition.content import Content
from digest.edition.editions import current, gone_before, missed, pieces_of
from digest.edition.preflight import Examined, Finding, Level, PictureFacts, Sent, check
from digest.edition.rendering import page
from digest.install import Install
from subscribers import roll
from subscribers.db import PersonState


class UnknownEdition(LookupError):  # noqa: N818  (it reads as what it is: the name is unknown)
    """No edition has that name; the message lists those that exist."""


def edition_named(session: Session, name: str) -> Edition:
    """Find an edition; `current` is the one that goes out next, or went out last.

    Raises:
        UnknownEdition: there is none of that name.
    """
    if name == "current":
        edition = current(session)
    else:
        edition = session.scalar(select(Edition).where(Edition.name == name))
    if edition is None:
        names = session.scalars(select(Edition.name).order_by(Edition.release_at.desc()).limit(5)).all()
        there = f"The last are {', '.join(names)}." if names else "There is none yet: run 'digest draft'."
        raise UnknownEdition(f"No edition is called {name}. {there}")
    return edition


def collect(install: Install, *, now: datetime) -> list[visits.Report]:
    """Visit every source that is due, then bring the readership in."""
    with open_getter(install.settings) as getter:
        reports = visits.collect(install.database, getter, install.settings, now=now)
        import_readership(install.database, getter, install.settings, now=now)
    return reports


def draft(install: Install, *, now: datetime, actor: str, getter: Getter | None = None) -> drafting.Drafted:
    """Draft the next edition; `getter` is given by the demo, whose pictures are bundled."""
    if getter is None:
        with open_getter(install.settings) as door:
            return draft(install, now=now, actor=actor, getter=door)
    return drafting.draft(install.database, getter, install.settings, now=now, actor=actor)


def examined(install: Install, session: Session, edition: Edition) -> Examined:
    """Gather what preflight looks at: the final bytes of a message, the pictures, the editions before."""
    content = Content.from_json(edition.content)
    media = session.execute(select(Media.hash, Media.content_type, Media.size, Media.width, Media.height))
    return Examined(
        message=specimen(session, edition, install.settings),
        content=content,
        file=install.settings.file,
        base=install.settings.base,
        pictures={m.hash: PictureFacts(m.content_type, m.size, m.width, m.height) for m in media},
        earlier=_earlier(session, edition, install.settings.file.select.repeat_editions),
        held_because=edition.held_because,
    )


def _earlier(session: Session, edition: Edition, editions: int) -> tuple[Sent, ...]:
    recent = gone_before(edition.release_at).order_by(Edition.release_at.desc()).limit(editions)
    return tuple(
        Sent(before.name, story.url, story.title)
        for before in session.scalars(recent)
        for story in session.scalars(
            select(Story).where(Story.edition_id == before.id, Story.section.is_not(None))
        )
    )


def preflight(install: Install, name: str, *, online: bool = False) -> tuple[Finding, ...]:
    """Check an edition; `online` tries its links too.

    Raises:
        UnknownEdition: there is none of that name.
    """
    with install.database.read() as session:
        facts = examined(install, session, edition_named(session, name))
    if not online:
        return check(facts)
    with open_getter(install.settings) as getter:
        return check(replace(facts, getter=getter))


def approve(install: Install, name: str, mark: str, *, actor: str, now: datetime) -> str:
    """Approve an edition by the content mark that was looked at; give its name.

    Raises:
        UnknownEdition: there is none of that name.
        ApprovalError: it is no draft, changed since, or preflight finds errors.
    """
    errors = [f for f in preflight(install, name) if f.level == Level.ERROR]
    if errors:
        listed = "; ".join(f"{f.rule}: {f.message}" for f in errors[:3])
        raise approval.ApprovalError(f"{name} has {len(errors)} thing(s) to fix first. {listed}")
    with install.database.write() as session:
        edition = edition_named(session, name)
        approval.approve(
            session, edition, mark, settings=install.settings, keys=install.keys, actor=actor, now=now
        )
        return edition.name


def void(install: Install, name: str, *, actor: str, now: datetime) -> str:
    """Take an approval back; give the edition's name.

    Raises:
        UnknownEdition: there is none of that name.
        ApprovalError: nothing is approved, or sending has begun.
    """
    with install.database.write() as session:
        edition = edition_named(session, name)
        approval.void(session, edition, actor=actor, now=now)
        return edition.name


@dataclass(frozen=True, slots=True)
class Standing:
    """Where an edition stands. `sentence` says to whom and when it goes, `mark` what it is.

    `hindrance` says why nothing of it leaves (it is paused, or all is held), `sending` how the last run gets on.
    """

    name: str
    number: int
    state: EditionState
    mark: str
    release: str
    sentence: str
    books: Books
    hindrance: str
    pulse: Pulse | None
    sending: str


def standing(install: Install, name: str, *, now: datetime) -> Standing:
    """Say where an edition stands.

    Raises:
        UnknownEdition: there is none of that name.
    """
    zone = install.settings.file.publication.zone
    with install.database.read() as session:
        edition = edition_named(session, name)
        readers = roll.standings(session)[PersonState.SUBSCRIBED]
        local = edition.release_at.astimezone(zone)
        release = f"{long_date(local.date())}, {local:%H:%M %Z}"
        when = f"on {release}" if edition.release_at > now else f"at once: it was due {release}"
        found, last = books(session, purpose_of(edition.name)), pulse(session, edition.name)
        hindered = hindrance(edition.name, edition, memos.recall(session, holding.MEMO))
        return Standing(
            name=edition.name,
            number=edition.number,
            state=edition.state,
            mark=approval.current_mark(session, edition, install.settings),
            release=release,
            sentence=f"No. {edition.number} goes to {readers:,} readers {when}.",
            books=found,
            hindrance=hindered,
            pulse=last,
            sending="" if hindered else in_words_of(last, found.open, now, zone),
        )


Form = Literal["html", "text", "eml", "json", "web"]


def shown(install: Install, name: str, form: Form) -> bytes:
    """Give an edition as readers get it (html, text, eml), as the archive shows it (web), or as data (json).

    Raises:
        UnknownEdition: there is none of that name.
    """
    with install.database.read() as session:
        edition = edition_named(session, name)
        if form == "eml":
            return specimen(session, edition, install.settings)
        if form == "json":
            return (json.dumps(edition.content, indent=2, ensure_ascii=False) + "\n").encode()
        return page(pieces_of(session, edition), form).encode()


def send(
    install: Install,
    name: str,
    *,
    clock: Callable[[], datetime],
    progress: Callable[[int, int], None] | None = None,
    sleep: Callable[[float], object] = time.sleep,
    stopping: Callable[[], bool] = lambda: False,
) -> sending.Report:
    """Send an approved edition, or go on with one that was cut short; say what this run did.

    Raises:
        UnknownEdition: there is none of that name.
        SendError: it is not approved.
        ApprovalError: it is not what was approved.
        TransportError: the settings do not say how to send, or forbid it.
    """
    with install.database.read() as session:
        name = edition_named(session, name).name
    with closing(open_transport(install.settings)) as transport:
        return sending.send(
            install.database,
            name,
            transport,
            install.keys,
            install.settings,
            now_fn=clock,
            progress=progress,
            sleep=sleep,
            stopping=stopping,
        )


def send_test(
    install: Install, name: str, *, to: Sequence[str] = (), actor: str, clock: Callable[[], datetime]
) -> testmail.Report:
    """Send an edition as it stands, a draft too, to the staff whose address is proven: to all, or to those named.

    Raises:
        UnknownEdition: there is none of that name.
        SendError: there is nothing to send, or nobody to send it to.
        ApprovalError: it is approved, and not what was approved.
        TransportError: the settings do not say how to send, or forbid it.
    """
    with install.database.read() as session:
        name = edition_named(session, name).name
    with closing(open_transport(install.settings)) as transport:
        return testmail.send(
            install.database,
            name,
            transport,
            install.keys,
            install.settings,
            to=to,
            actor=actor,
            now_fn=clock,
        )


@dataclass(frozen=True, slots=True)
class Releases:
    """What is to be sent now, by name, and what a person decides about: what was missed, with what to do."""

    ready: tuple[str, ...]
    missed: dict[str, str]


def releases(install: Install, *, now: datetime) -> Releases:
    """Find what to send: approved editions whose time has come, and those that were cut short.

    None that is paused is ready, and none at all while the installation is held.
    """
    due = select(Edition).where(
        Edition.paused_at.is_(None),
        (Edition.state == EditionState.SENDING)
        | ((Edition.state == EditionState.APPROVED) & (Edition.release_at <= now)),
    )
    with install.database.read() as session:
        held = holding.held(session) is not None
        found = session.scalars(due.order_by(Edition.release_at)).all()
    late = {e.name: words for e in found if (words := missed(e, now))}
    return Releases(() if held else tuple(e.name for e in found if e.name not in late), late)


def in_words(found: Books) -> str:
    """Say the books in one sentence; states in which nobody is are left out."""
    counts = [f"{count:,} {state}" for state, count in found.states.items() if count]
    return f"{found.planned:,} planned" + "".join(f", {c}" for c in counts) + "."
