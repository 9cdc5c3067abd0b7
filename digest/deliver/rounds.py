"""Handing an edition over, in rounds: record and claim, ask again, send couriers off, wait for one to return.

Every connection has a courier, a thread that makes and hands over; the calling thread keeps the books. One durable
commit carries what came of the errands of all couriers who are back, and the claims for their next: under load many
share it. Nothing is handed over before its claim is durable, so a crash leaves at most what the couriers carry, one
message a connection over SMTP, without a word; those rows become `uncertain`.

What the run may do is asked in the transaction of every claim (`orders`), how much at once is the pace's to say
(`pace`), and while the database is away the run waits for it (`patience`).
"""

from collections.abc import Sequence
from contextlib import closing, suppress
from datetime import datetime, timedelta

import structlog
from sqlalchemy.orm import Session

from digest.deliver import alarms, canary, claims, events, refusals, return_path, steering
from digest.deliver.claims import Owed
from digest.deliver.couriers import Couriers, Done, Errand
from digest.deliver.handing import Outgoing, Result
from digest.deliver.moves import Move, move
from digest.deliver.orders import orders
from digest.deliver.pacing import Room, slows
from digest.deliver.personalising import fill
from digest.deliver.refusals import said_by_server
from digest.deliver.run import Run
from digest.deliver.steering import SteeringError
from digest.deliver.transports.several import each
from digest.delivery_db import DeliveryState
from subscribers import roll

LONGEST_WAIT = 60.0  # seconds that a run sleeps; for longer it ends, and says from when it may go on
AFTER_A_DOUBT = 30.0  # seconds of rest when no connection got an answer; a second such round ends the run
LOOK_EVERY = timedelta(seconds=5)  # between two looks at what was said of the edition
LOOK_AFTER = 5  # refusals that make the run look at once

log = structlog.get_logger("sending")


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
    _look(run)
    owed = run.patient(lambda: _record_and_claim(run, couriers))
    couriers.send(run.patient(lambda: _ask_again(run, owed)))
    if couriers.busy:
        _take_in(run, couriers, couriers.returned())
        return True
    if couriers.doubted and not couriers.idle:
        _despair(run, couriers)
    if run.rest and not run.over:
        run.patient.sleep(run.rest)
        run.rest = 0.0
        return True
    return run.unwritten


def _look(run: Run) -> None:
    """Let the edition rest if too much was said against it."""
    now = run.now()
    lately = run.looked_at is not None and run.looked_at <= now < run.looked_at + LOOK_EVERY
    if lately and run.troubles < LOOK_AFTER:
        return

    def found() -> str:
        with run.database.read() as session:
            said = alarms.trouble(session, run.lane.purpose, run.counts_since)
        return alarms.verdict(said, run.before + run.tried, run.settings.file.alerts)

    because = run.patient(found)
    run.looked_at, run.troubles = now, 0
    if because:
        with suppress(SteeringError), run.database.write() as session:  # it may be over meanwhile
            if steering.pause(session, run.edition, because, actor="digest", now=now):
                log.error("sending paused", edition=run.edition, why=because)


def _record_and_claim(run: Run, couriers: Couriers) -> tuple[Owed, ...]:
    """Write what came of the last errands and claim the next, in one durable commit. It may be taken twice."""
    room = _places(run, couriers)
    if room <= 0 and not run.unwritten and not run.patient.shaken:
        return ()
    now = run.now()
    with run.database.write() as session:
        _record(run, session, couriers)
        owed = _claim(run, session, couriers, room) if room > 0 else ()
        run.pace.count(session, len(owed), now)
        if run.heart.due(now):
            run.heart.beat(session, run.tried + len(couriers.out), now)
    run.moves, run.said, run.gone, run.unsent = [], [], [], [o.delivery for o in owed]
    run.patient.shaken = False
    return owed


def _places(run: Run, couriers: Couriers) -> int:
    """Say how many errands could be given out now."""
    if not run.over and run.patient.stopping():
        run.stopped = "it was told to stop. Send again: the rest still waits."
    if run.over or run.rest:
        return 0
    if run.limit is None:
        return couriers.room
    return min(couriers.room, run.limit - run.tried - len(couriers.out))


def _record(run: Run, session: Session, couriers: Couriers) -> None:
    owner = run.lane.owner
    claims.record(session, owner, run.moves)
    claims.put_back(session, owner, run.gone, withdrawn=True)
    claims.put_back(session, owner, run.unsent, withdrawn=False)
    if run.patient.shaken:
        claims.put_back_strays(session, run.lane, couriers.out.keys() | run.lost)
    if run.said:
        events.apply(session, run.said, keys=run.keys, journal=run.journal, now=run.now())


def _claim(run: Run, session: Session, couriers: Couriers, room: int) -> tuple[Owed, ...]:
    """Claim what may go now; where nothing may, note why and until when."""
    now = run.now()
    told = orders(session, run.edition, now)
    if told.stop:
        run.waits = told.stop
        return ()
    if told.phase.until is not None:
        _wait(run, Room(0, told.phase.until, _AHEAD))
        return ()
    allowed = run.pace.room(session, room, now)
    if not allowed.messages:
        _wait(run, allowed)
        return ()
    found = claims.claim(
        session,
        run.lane,
        run.variants,
        run.pace.lines,
        now=now,
        horizon=told.phase.horizon,
        limit=allowed.messages,
    )
    if told.phase.first and not found and not couriers.busy:
        watch = timedelta(minutes=run.settings.file.alerts.canary_minutes)
        _wait(run, Room(0, canary.over(session, run.edition, now=now, watch=watch), _AHEAD))
    return found


_AHEAD = "the first readers have it, and the rest follows unless something goes wrong"


def _wait(run: Run, until: Room) -> None:
    """Rest until messages may leave again; end the run where that is far off."""
    assert until.free_at is not None, "where there is no room, it is known from when there will be"
    seconds = (until.free_at - run.now()).total_seconds()
    if seconds <= LONGEST_WAIT:
        run.rest = max(run.rest, seconds, 0.01)
    else:
        run.waits, run.not_before = until.why, until.free_at


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
            _learn(run, done)
            _heed(run, couriers, done)
        else:
            _strand(run, done)
    errors = [done.error for done in returned if done.error is not None]
    if errors:
        raise errors[0]
    run.progress(run.tried, run.total)


def _strand(run: Run, done: Done) -> None:
    """After a fault: what had not left waits again. What may have left stays as it is, and its lease runs out."""
    deliveries = [e.owed.delivery for e in done.errands]
    if done.left:
        run.lost.update(deliveries)
    else:
        run.unsent += deliveries


def _learn(run: Run, done: Done) -> None:
    """Note what came of one courier's errands: the moves of deliveries, and what servers said of addresses."""
    now = run.now()
    for owed, outcome in zip(done.carried, done.handed.outcomes, strict=True):
        moved = move(outcome, delivery=owed.delivery, tries=owed.tries, due_at=owed.due_at, now=now)
        run.results[outcome.result] += 1
        run.moves.append((owed.delivery, moved))
        if outcome.result in _NO:
            _heed_refusal(run, owed, moved, now)
    run.moves += [(id_, Move(DeliveryState.REFUSED, why, tried=False)) for id_, why in done.spoiled.items()]


_NO = frozenset({Result.REFUSED, Result.LATER})


def _heed_refusal(run: Run, owed: Owed, moved: Move, now: datetime) -> None:
    over_smtp = run.lane.transport == refusals.BY
    said = said_by_server(owed.delivery, owed.tries, moved, now) if over_smtp else None
    if said is not None:
        run.said.append(said)
        run.troubles += 1
    elif slows(moved.reply) and run.pace.lines.slow(owed.reader.domain_tag, now):
        log.warning("a domain asks for less; it gets half as many", delivery=owed.delivery, said=moved.reply)


def _heed(run: Run, couriers: Couriers, done: Done) -> None:
    """Stop, rest, or go on, as one courier's answer asks for."""
    handed = done.handed
    if handed.stop and handed.here_alone and couriers.staff > 1:
        couriers.dismiss(done.courier)  # many a server takes fewer connections than we would like
        log.warning("one connection fewer", why=handed.stop, left=couriers.staff)
    elif handed.stop:
        run.stopped = run.stopped or handed.stop
    if handed.wait:
        _wait(run, Room(0, run.now() + timedelta(seconds=handed.wait), "the provider asks for patience"))
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
                _learn(run, done)
            else:
                _strand(run, done)
    run.stopped = "a fault"
    run.patient(lambda: _record_and_claim(run, couriers))
