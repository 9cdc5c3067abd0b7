"""Sending an edition: claim, ask again, splice, hand over, record; resumable at every step.

One durable commit carries what came of the last batch and the claim of the next. A crash leaves at most one
batch without a word, and its rows become `uncertain` when the lease runs out.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import structlog
from sqlalchemy import select

from digest.db import Database, DeliveryState, Edition, EditionState
from digest.deliver import claims
from digest.deliver.claims import Lane, Owed
from digest.deliver.handing import Handed, Outgoing, Result, Transport
from digest.deliver.moves import Move, move
from digest.deliver.owner import this_process
from digest.deliver.personalising import fill, require_one_click
from digest.deliver.planning import Books, books, plan, purpose_of
from digest.deliver.variants import Variants, variants_of
from digest.edition import approval
from digest.settings import Settings
from subscribers import roll
from subscribers.vault import Keys, VaultError

LEASE_BEYOND_PATIENCE = timedelta(minutes=1)  # for splicing and a slow disk
LONGEST_WAIT = 60.0  # seconds that a run sleeps when a provider asks for it; for longer it ends
AFTER_A_DOUBT = 30.0  # seconds of rest when a whole batch got no answer; a second such batch ends the run

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


@dataclass(slots=True)
class _Run:
    """One run of one edition over one transport; it lives as long as `send`."""

    database: Database
    edition: str
    transport: Transport
    keys: Keys
    variants: Variants
    now: Callable[[], datetime]
    sleep: Callable[[float], None]
    progress: Callable[[int, int], None]
    limit: int | None
    lane: Lane
    total: int = 0
    results: Counter[Result] = field(default_factory=Counter)
    stopped: str = ""
    in_doubt: bool = False  # the last batch got no answer at all


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
    3. Claim, ask for consent again, hand over and record, until nothing is due.
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
    run = _Run(
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
    _hand_over(run)
    return _finish(run)


def _begin(database: Database, name: str, keys: Keys, settings: Settings) -> Variants:
    with database.write() as session:
        edition = session.scalar(select(Edition).where(Edition.name == name))
        if edition is None:
            raise SendError(f"No edition is called {name}. See 'digest status'.")
        if edition.state not in {EditionState.APPROVED, EditionState.SENDING, EditionState.SENT}:
            raise SendError(f"{name} is {edition.state}: only an approved edition is sent.")
        fragments = approval.verify(session, edition, settings=settings, keys=keys)
        if edition.state is EditionState.APPROVED:
            edition.state = EditionState.SENDING
        return variants_of(edition, fragments, settings)


def _hand_over(run: _Run) -> None:
    moves: list[tuple[str, Move]] = []
    gone: list[str] = []
    while True:
        owed = _record_and_claim(run, moves, gone)
        if not owed:
            return
        try:
            owed, gone = _ask_again(run, owed)
            messages, spoiled = _messages(run, owed)
        except BaseException:
            with run.database.write() as session:  # nothing of this batch has left
                claims.put_back(session, run.lane.owner, [o.delivery for o in owed], withdrawn=False)
            raise
        # Should the transport raise, its rows stay as they are: what had left, nobody knows. Their lease runs out.
        handed = run.transport.hand_all(messages) if messages else Handed(())
        moves = _moves(run, [o for o in owed if o.delivery not in spoiled], handed)
        moves += [
            (delivery, Move(DeliveryState.REFUSED, why, tried=False)) for delivery, why in spoiled.items()
        ]
        _heed(run, handed)


def _messages(run: _Run, owed: Sequence[Owed]) -> tuple[list[Outgoing], dict[str, str]]:
    """Make the messages; give too, by delivery, why a message could not be made."""
    messages, spoiled = [], {}
    for o in owed:
        try:
            messages.append(_outgoing(run, o))
        except VaultError as exc:  # a damaged row must not hold up everybody behind it
            log.error("address does not open", person=o.reader.number, delivery=o.delivery)  # noqa: TRY400 - no trace needed
            spoiled[o.delivery] = str(exc)
    return messages, spoiled


def _record_and_claim(run: _Run, moves: Sequence[tuple[str, Move]], gone: Sequence[str]) -> tuple[Owed, ...]:
    """Write what came of the last batch and claim the next, in one durable commit."""
    with run.database.write() as session:
        now = run.now()
        claims.record(session, run.lane.owner, moves)
        claims.put_back(session, run.lane.owner, gone, withdrawn=True)
        room = run.transport.batch if run.limit is None else min(run.transport.batch, run.limit - _tried(run))
        if run.stopped or room <= 0:
            return ()
        return claims.claim(session, run.lane, run.variants, now=now, limit=room)


def _tried(run: _Run) -> int:
    return run.results.total() - run.results[Result.UNTOUCHED]


def _ask_again(run: _Run, owed: Sequence[Owed]) -> tuple[tuple[Owed, ...], list[str]]:
    """Ask for consent at the moment of handing over; give who is still there, and the ids of who is not."""
    with run.database.read() as session:
        still = roll.still(session, [o.reader.number for o in owed])
    return (
        tuple(o for o in owed if o.reader.number in still),
        [o.delivery for o in owed if o.reader.number not in still],
    )


def _outgoing(run: _Run, owed: Owed) -> Outgoing:
    letter = run.variants.letter(owed.reader.choices)
    assert letter is not None, "the claim puts aside whom no section is left for"
    zone = run.variants.settings.file.publication.zone
    return Outgoing(
        delivery=owed.delivery,
        box="edition",
        letter=letter,
        filled=fill(owed.reader, owed.message_id, keys=run.keys, zone=zone),
    )


def _moves(run: _Run, owed: Sequence[Owed], handed: Handed) -> list[tuple[str, Move]]:
    now = run.now()
    run.results.update(outcome.result for outcome in handed.outcomes)
    return [
        (o.delivery, move(outcome, delivery=o.delivery, tries=o.tries, due_at=o.due_at, now=now))
        for o, outcome in zip(owed, handed.outcomes, strict=True)
    ]


def _heed(run: _Run, handed: Handed) -> None:
    """Do for the whole run what the answer asks for: stop, wait, or go on."""
    run.progress(_tried(run), run.total)
    doubt = bool(handed.outcomes) and all(o.result is Result.UNCERTAIN for o in handed.outcomes)
    if handed.stop:
        run.stopped = handed.stop
    elif doubt and run.in_doubt:
        run.stopped = (
            f"two batches in a row got no answer ({handed.outcomes[0].reply or 'connection lost'}). "
            "Look at the mail server, then send again: the rest still waits."
        )
    elif handed.wait > LONGEST_WAIT:
        run.stopped = f"the provider asks to wait for {handed.wait:.0f} seconds. Send again after that."
    elif (wait := max(handed.wait, AFTER_A_DOUBT if doubt else 0.0)) > 0:
        run.sleep(wait)
    run.in_doubt = doubt


def _finish(run: _Run) -> Report:
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
