"""Handing an edition over, in rounds: record and claim, ask again, send couriers off, wait for one to return.

Every connection has a courier, a thread that makes and hands over; the calling thread keeps the books. One durable
commit carries what came of the errands of all couriers who are back, and the claims for their next: under load many
share it. Nothing is handed over before its claim is durable, so a crash leaves at most what the couriers carry, one
message a connection over SMTP, without a word; those rows become `uncertain`.
"""

from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime

import structlog

from digest.db import Database
from digest.deliver import claims, return_path
from digest.deliver.claims import Lane, Owed
from digest.deliver.couriers import Couriers, Done, Errand
from digest.deliver.handing import Outgoing, Result, Transport
from digest.deliver.moves import Move, move
from digest.deliver.personalising import fill
from digest.deliver.transports.several import each
from digest.deliver.variants import Variants
from digest.delivery_db import DeliveryState
from subscribers import roll
from subscribers.vault import Keys

LONGEST_WAIT = 60.0  # seconds that a run sleeps when a provider asks for it; for longer it ends
AFTER_A_DOUBT = 30.0  # seconds of rest when no connection got an answer; a second such round ends the run

log = structlog.get_logger("sending")


@dataclass(slots=True)
class Run:
    """One run of one edition over one transport; it lives as long as `send`.

    `moves`, `gone` and `unsent` are what the next commit writes down: what came of deliveries, whose readers
    left at the last moment, and which were claimed and never left.
    """

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
    moves: list[tuple[str, Move]] = field(default_factory=list)
    gone: list[str] = field(default_factory=list)
    unsent: list[str] = field(default_factory=list)
    stopped: str = ""
    rest: float = 0.0  # seconds for which nothing shall be handed over
    in_doubt: bool = False  # no connection got an answer, and none came since

    @property
    def unwritten(self) -> bool:
        """Whether the next commit has something to write down."""
        return bool(self.moves or self.gone or self.unsent)


def hand_over(run: Run) -> None:
    """Hand over whatever is due, until nothing is or the run has to stop; the run's counts tell what came of it."""
    with closing(Couriers(each(run.transport), lambda errand: _outgoing(run, errand))) as couriers:
        try:
            while _round(run, couriers):
                pass
        except BaseException:
            _settle(run, couriers)
            raise


def _round(run: Run, couriers: Couriers) -> bool:
    """Write down what is known, send couriers off with what is due, wait for one to return; False at the end."""
    owed = _record_and_claim(run, couriers)
    couriers.send(_ask_again(run, owed))
    if couriers.busy:
        _take_in(run, couriers, couriers.returned())
        return True
    if couriers.doubted and not couriers.idle:
        _despair(run, couriers)
    if run.rest and not run.stopped:
        run.sleep(run.rest)
        run.rest = 0.0
        return True
    return run.unwritten


def _record_and_claim(run: Run, couriers: Couriers) -> tuple[Owed, ...]:
    """Write what came of the last errands and claim the next, in one durable commit."""
    room = couriers.room
    if run.limit is not None:
        room = min(room, run.limit - _tried(run) - couriers.errands_out)
    if run.stopped or run.rest:
        room = 0
    if room <= 0 and not run.unwritten:
        return ()
    with run.database.write() as session:
        claims.record(session, run.lane.owner, run.moves)
        claims.put_back(session, run.lane.owner, run.gone, withdrawn=True)
        claims.put_back(session, run.lane.owner, run.unsent, withdrawn=False)
        now = run.now()
        owed = claims.claim(session, run.lane, run.variants, now=now, limit=room) if room > 0 else ()
    run.moves, run.gone, run.unsent = [], [], [o.delivery for o in owed]
    return owed


def _tried(run: Run) -> int:
    return run.results.total() - run.results[Result.UNTOUCHED]


def _ask_again(run: Run, owed: Sequence[Owed]) -> list[Errand]:
    """Ask for consent at the moment of handing over; give the errands for those who are still there."""
    if not owed:
        return []
    with run.database.read() as session:
        still = roll.still(session, [o.reader.number for o in owed])
    errands = []
    for o in owed:
        if o.reader.number in still:
            letter = run.variants.letter(o.reader.choices)
            assert letter is not None, "the claim puts aside whom no section is left for"
            errands.append(Errand(o, letter))
    run.unsent = []
    run.gone = [o.delivery for o in owed if o.reader.number not in still]
    return errands


def _outgoing(run: Run, errand: Errand) -> Outgoing:
    """Make a message; the courier calls it, in its own thread."""
    owed, file = errand.owed, run.variants.settings.file
    domain = file.sender.bounce_domain
    return Outgoing(
        delivery=owed.delivery,
        box="edition",
        letter=errand.letter,
        filled=fill(owed.reader, owed.message_id, keys=run.keys, zone=file.publication.zone),
        bounces_to=return_path.make(run.keys, owed.delivery, domain) if domain else "",
    )


def _take_in(run: Run, couriers: Couriers, returned: Sequence[Done]) -> None:
    """Learn what came of errands, and do for the whole run what the answers ask for."""
    for done in returned:
        if done.error is None:
            run.moves += _moves(run, done)
            _heed(run, couriers, done)
        elif not done.left:
            run.unsent += [e.owed.delivery for e in done.errands]
        # Else its rows stay as they are: what had left, nobody knows. Their lease runs out.
    errors = [done.error for done in returned if done.error is not None]
    if errors:
        raise errors[0]
    run.progress(_tried(run), run.total)


def _moves(run: Run, done: Done) -> list[tuple[str, Move]]:
    now = run.now()
    run.results.update(outcome.result for outcome in done.handed.outcomes)
    moves = [
        (o.delivery, move(outcome, delivery=o.delivery, tries=o.tries, due_at=o.due_at, now=now))
        for o, outcome in zip(done.carried, done.handed.outcomes, strict=True)
    ]
    spoiled = done.spoiled.items()
    return moves + [(id_, Move(DeliveryState.REFUSED, why, tried=False)) for id_, why in spoiled]


def _heed(run: Run, couriers: Couriers, done: Done) -> None:
    """Stop, rest, or go on, as one courier's answer asks for."""
    handed = done.handed
    if handed.stop and handed.here_alone and couriers.staff > 1:
        couriers.dismiss(done.courier)  # many a server takes fewer connections than we would like
        log.warning("one connection fewer", why=handed.stop, left=couriers.staff)
    elif handed.stop:
        run.stopped = run.stopped or handed.stop
    if handed.wait > LONGEST_WAIT:
        run.stopped = f"the provider asks to wait for {handed.wait:.0f} seconds. Send again after that."
    run.rest = max(run.rest, handed.wait)
    results = {outcome.result for outcome in handed.outcomes}
    if results == {Result.UNCERTAIN}:
        couriers.doubt(done.courier)
    elif results - {Result.UNCERTAIN, Result.UNTOUCHED}:  # an answer
        couriers.trust()
        run.in_doubt = False


def _despair(run: Run, couriers: Couriers) -> None:
    """Rest when every connection lost its answer; stop when it is no better after that."""
    if run.in_doubt:
        run.stopped = run.stopped or (
            "twice in a row there was no answer after a message was sent. "
            "Look at the mail server, then send again: the rest still waits."
        )
    run.in_doubt, run.rest = True, max(run.rest, AFTER_A_DOUBT)
    couriers.trust()


def _settle(run: Run, couriers: Couriers) -> None:
    """After a fault or an interruption: let those who are out come back, and write down what came of it."""
    while couriers.busy:
        for done in couriers.returned():
            if done.error is None:
                run.moves += _moves(run, done)
            elif not done.left:
                run.unsent += [e.owed.delivery for e in done.errands]
    run.stopped = "a fault"
    _record_and_claim(run, couriers)
