"""Sending an edition: from approved to sent, resumable at every step. The handing over itself is `rounds`."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy import select
from sqlalchemy.orm import Session

from digest.db import Database, Edition, EditionState
from digest.deliver import alarms, canary, claims, holding, memos, steering
from digest.deliver.claims import Lane
from digest.deliver.handing import Result, Transport
from digest.deliver.orders import hindrance
from digest.deliver.pace import Pace
from digest.deliver.patience import Patient
from digest.deliver.personalising import require_one_click
from digest.deliver.planning import HANDED_OVER, Books, books, plan, purpose_of
from digest.deliver.pulse import Heart
from digest.deliver.rounds import hand_over
from digest.deliver.run import Run
from digest.deliver.variants import Variants, variants_of
from digest.edition import approval
from digest.owner import this_process
from digest.settings import Settings
from subscribers.journal import Journal
from subscribers.vault import Keys

LEASE_BEYOND_PATIENCE = timedelta(minutes=1)  # for splicing and a slow disk

log = structlog.get_logger("sending")


class SendError(Exception):
    """The edition cannot be sent; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Report:
    """What one run did.

    `stopped` is empty or says what went wrong or who stopped it; `waits` says what the rest waits for where nothing
    is wrong; `next_at` is when something is due next.
    """

    edition: str
    state: EditionState
    results: Counter[Result]
    books: Books
    stopped: str = ""
    waits: str = ""
    next_at: datetime | None = None

    @property
    def handed_over(self) -> int:
        """How many messages left the house in this run."""
        return self.results[Result.ACCEPTED] + self.results[Result.UNCERTAIN]


def send(
    database: Database,
    name: str,
    transport: Transport,
    keys: Keys,
    settings: Settings,
    *,
    now_fn: Callable[[], datetime],
    progress: Callable[[int, int], None] | None = None,
    limit: int | None = None,
    sleep: Callable[[float], object] = time.sleep,
    stopping: Callable[[], bool] = lambda: False,
) -> Report:
    """Send an approved edition, or go on with one that is being sent.

    1. Prove that the fragments are what was approved, and mark the edition as being sent.
    2. Plan: one delivery for everybody on the roll (once); choose who goes ahead; see whether the list is sound.
    3. Claim, ask for consent again, hand over and record, until nothing is due or something says stop. What a
       crashed run left without a word is `uncertain`.
    4. Mark the edition as sent when nothing waits and nothing is being handed over.

    Args:
        database: where the books are.
        name: the edition.
        transport: the way out; it is not closed here.
        keys: the installation's keys.
        settings: the settings.
        now_fn: the clock, UTC.
        progress: called with (messages dealt with, planned) after every batch.
        limit: hand over at most so many messages in this run.
        sleep: waits for so many seconds; it may come back early once `stopping` is true.
        stopping: whether the process is about to end: then nothing more is handed over.

    Raises:
        SendError: there is no such edition, it is a draft, held, paused or cancelled, or the installation is held.
        ApprovalError: it is not what was approved.
        LetterError: the base URL is too long for List-Unsubscribe.
    """
    require_one_click(settings.base)
    now, watched = now_fn(), transport.name != "outbox"
    patient = Patient(sleep, stopping)
    variants = patient(lambda: _begin(database, name, keys, settings))
    planned = patient(lambda: plan(database, name, keys, settings, now=now))
    begun = patient(lambda: _fix(database, name, keys, settings, now=now, watched=watched))
    lease = timedelta(seconds=transport.patience) + LEASE_BEYOND_PATIENCE
    run = Run(
        database=database,
        edition=name,
        transport=transport,
        keys=keys,
        variants=variants,
        settings=settings,
        journal=Journal(settings.left_log, keys),
        now=now_fn,
        patient=patient,
        progress=progress or (lambda _done, _planned: None),
        limit=limit,
        lane=Lane(purpose_of(name), str(this_process()), transport.name, lease),
        pace=Pace.of(settings.file.limits, keys),
        heart=Heart(name, now),
        counts_since=begun,
        total=planned.planned,
        before=sum(planned[state] for state in HANDED_OVER),
    )
    hand_over(run)
    return _finish(run)


def _begin(database: Database, name: str, keys: Keys, settings: Settings) -> Variants:
    with database.write() as session:
        edition = session.scalar(select(Edition).where(Edition.name == name).with_for_update())
        if edition is None:
            raise SendError(f"No edition is called {name}. See 'digest status'.")
        if why := hindrance(name, edition, memos.recall(session, holding.MEMO)):
            raise SendError(f"Nothing is sent: {why}")
        if edition.state not in {EditionState.APPROVED, EditionState.SENDING, EditionState.SENT}:
            raise SendError(f"{name} is {edition.state}: only an approved edition is sent.")
        fragments = approval.verify(session, edition, settings=settings, keys=keys)
        if edition.state is EditionState.APPROVED:
            edition.state = EditionState.SENDING
        return variants_of(edition, fragments, settings)


def _fix(
    database: Database, name: str, keys: Keys, settings: Settings, *, now: datetime, watched: bool
) -> datetime:
    """Before anything leaves: name earlier doubts, choose who goes ahead, and see whether the list is sound.

    Gives the moment since which what is said counts against the edition. `watched` is whether there is anybody
    out there to say something.
    """
    alerts = settings.file.alerts
    with database.write() as session:
        claims.release_the_dead(session, purpose_of(name), this_process(), now=now)
        edition = session.scalars(select(Edition).where(Edition.name == name).with_for_update()).one()
        if edition.canary is None:
            canary.choose(session, keys, edition, now=now, watched=watched and bool(alerts.canary_minutes))
            odd = alarms.drift(_planned_before(session, edition), edition.planned or 0, alerts)
            if odd and watched:
                steering.pause(session, name, odd, actor="digest", now=now)
                log.error("sending paused", edition=name, why=odd)
        return edition.resumed_at or edition.planned_at or now


def _planned_before(session: Session, edition: Edition) -> int | None:
    query = (
        select(Edition.planned)
        .where(Edition.state == EditionState.SENT, Edition.release_at < edition.release_at)
        .order_by(Edition.release_at.desc())
        .limit(1)
    )
    return session.scalar(query)


def _finish(run: Run) -> Report:
    report = run.patient(lambda: _close(run))
    if report.state is EditionState.CANCELLED:  # what came back to wait while it was being cancelled
        steering.cancel_the_waiting(run.database, run.edition)
    log.info(
        "send ended",
        edition=run.edition,
        state=str(report.state),
        stopped=run.stopped,
        waits=run.waits,
        **{str(k): v for k, v in run.results.items()},
    )
    return report


def _close(run: Run) -> Report:
    with run.database.write() as session:
        claims.release_the_dead(session, run.lane.purpose, this_process(), now=run.now())
        # Held, so that whoever puts deliveries back to wait at this moment (`settling`) comes before or after.
        edition = session.scalars(select(Edition).where(Edition.name == run.edition).with_for_update()).one()
        found = books(session, run.lane.purpose)
        if not found.open and edition.state is EditionState.SENDING:
            edition.state, edition.sent_at = EditionState.SENT, run.now()
        due = claims.next_due(session, run.lane.purpose)
        next_at = max(due, run.not_before) if due and run.not_before else due
        run.heart.beat(
            session,
            run.tried,
            run.now(),
            running=False,
            waits=run.stopped or run.waits,
            until=next_at if found.open else None,
        )
        return Report(
            edition=run.edition,
            state=edition.state,
            results=run.results,
            books=found,
            stopped=run.stopped,
            waits=run.waits,
            next_at=next_at,
        )
