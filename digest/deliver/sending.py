"""Sending an edition: from approved to sent, resumable at every step. The handing over itself is `rounds`."""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog
from sqlalchemy import select

from digest.db import Database, Edition, EditionState
from digest.deliver import claims
from digest.deliver.claims import Lane
from digest.deliver.handing import Result, Transport
from digest.deliver.owner import this_process
from digest.deliver.personalising import require_one_click
from digest.deliver.planning import Books, books, plan, purpose_of
from digest.deliver.rounds import Run, hand_over
from digest.deliver.variants import Variants, variants_of
from digest.edition import approval
from digest.settings import Settings
from subscribers.vault import Keys

LEASE_BEYOND_PATIENCE = timedelta(minutes=1)  # for splicing and a slow disk

log = structlog.get_logger("sending")


class SendError(Exception):
    """The edition cannot be sent; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Report:
    """What one run did. `stopped` is empty or says why it ended early; `next_at` when something is due next."""

    edition: str
    state: EditionState
    results: Counter[Result]
    books: Books
    stopped: str = ""
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
    sleep: Callable[[float], None] = time.sleep,
) -> Report:
    """Send an approved edition, or go on with one that is being sent.

    1. Prove that the fragments are what was approved, and mark the edition as being sent.
    2. Plan: one delivery for everybody on the roll (once).
    3. Claim, ask for consent again, hand over and record, until nothing is due. What a crashed run left
       without a word is `uncertain`.
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
        sleep: waits for so many seconds; tests give their own.

    Raises:
        SendError: there is no such edition, or it is a draft, held or cancelled.
        ApprovalError: it is not what was approved.
        LetterError: the base URL is too long for List-Unsubscribe.
    """
    require_one_click(settings.base)
    variants = _begin(database, name, keys, settings)
    planned = plan(database, name, keys, settings, now=now_fn())
    purpose = purpose_of(name)
    lease = timedelta(seconds=transport.patience) + LEASE_BEYOND_PATIENCE
    run = Run(
        database=database,
        edition=name,
        transport=transport,
        keys=keys,
        variants=variants,
        now=now_fn,
        sleep=sleep,
        progress=progress or (lambda _done, _planned: None),
        limit=limit,
        lane=Lane(purpose, str(this_process()), transport.name, lease),
        total=planned.planned,
    )
    with database.write() as session:  # doubts of an earlier run that crashed get their name at once
        claims.release_the_dead(session, purpose, this_process(), now=now_fn())
    hand_over(run)
    return _finish(run)


def _begin(database: Database, name: str, keys: Keys, settings: Settings) -> Variants:
    with database.write() as session:
        edition = session.scalar(select(Edition).where(Edition.name == name).with_for_update())
        if edition is None:
            raise SendError(f"No edition is called {name}. See 'digest status'.")
        if edition.state not in {EditionState.APPROVED, EditionState.SENDING, EditionState.SENT}:
            raise SendError(f"{name} is {edition.state}: only an approved edition is sent.")
        fragments = approval.verify(session, edition, settings=settings, keys=keys)
        if edition.state is EditionState.APPROVED:
            edition.state = EditionState.SENDING
        return variants_of(edition, fragments, settings)


def _finish(run: Run) -> Report:
    with run.database.write() as session:
        claims.release_the_dead(session, run.lane.purpose, this_process(), now=run.now())
        edition = session.scalars(select(Edition).where(Edition.name == run.edition)).one()
        found = books(session, run.lane.purpose)
        if not found.open and edition.state is EditionState.SENDING:
            edition.state, edition.sent_at = EditionState.SENT, run.now()
        report = Report(
            edition=run.edition,
            state=edition.state,
            results=run.results,
            books=found,
            stopped=run.stopped,
            next_at=claims.next_due(session, run.lane.purpose),
        )
    log.info(
        "send ended",
        edition=run.edition,
        state=str(report.state),
        stopped=run.stopped,
        **{str(k): v for k, v in run.results.items()},
    )
    return report
