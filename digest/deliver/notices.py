"""Mails that are no edition: each a delivery of its own purpose (`confirm:…`, `welcome:…`), over the same transports.

`queue` writes the delivery into the transaction of whatever brought it about. `send` claims what is due, asks
again whether it may go, writes the letter and hands it over; what came of it is recorded as with an edition. What
a mail is written from, a token among it, is kept encrypted and goes with the last try.
"""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import structlog
from sqlalchemy import ColumnElement, delete, exists, or_, select, update
from sqlalchemy.orm import Session

from digest.db import Database
from digest.deliver import claims, events, holding, refusals, return_path
from digest.deliver.events import Said
from digest.deliver.handing import Handed, Outgoing, Result, Transport
from digest.deliver.identity import delivery_id, message_id
from digest.deliver.letters import Filled
from digest.deliver.moves import Move, move
from digest.deliver.refusals import said_by_server
from digest.deliver.stationery import TO_SUBSCRIBERS, Stationery
from digest.deliver.upcoming import latest, upcoming
from digest.delivery_db import Delivery, DeliveryState, Notice
from digest.edition.arranging import long_date
from digest.edition.disarm import plain
from digest.owner import this_process
from digest.settings import Settings
from subscribers import addressees, tokens
from subscribers.db import Person
from subscribers.journal import Journal
from subscribers.notes import Note, Queue
from subscribers.sealed import open_json, seal_json
from subscribers.vault import Keys, VaultError

BATCH = 20  # messages claimed at once: each is a letter of its own
LEASE_BEYOND_PATIENCE = timedelta(minutes=2)
REST = timedelta(
    minutes=1
)  # after a server said no to everything; and what a provider's longer wish is held against

TO_US = frozenset({"contact", "staff"})  # to the editors, where the note names no address
_PAGES = {
    "data": "my-data",
    "move": "address",
    "staff": "staff",
}  # which page a token opens; all others confirm
_PLAIN = (
    "wording",
    "where",
    "wording_version",
    "wording_hash",
    "masked",
    "reply",
    "role",
)  # facts that stand as they are

log = structlog.get_logger("notices")


def queue(keys: Keys, settings: Settings, clock: Callable[[], datetime]) -> Queue:
    """Give the callable that readers' pages and the answering of forms queue their mails with."""

    def put(session: Session, note: Note) -> None:
        purpose = f"{note.kind}:{note.serial}"
        named = delivery_id(keys, purpose, note.person or 0)
        now = clock()
        ciphertext, key_id = seal_json(keys, note.facts, bound_to=f"notice {named}")
        tag = session.scalar(select(Person.domain_tag).where(Person.number == note.person))
        delivery = Delivery(
            id=named,
            purpose=purpose,
            person=note.person,
            state=DeliveryState.WAITING,
            due_at=now,
            next_try_at=now,
            domain_tag=tag,
            message_id=message_id(purpose, named, settings.file.sender.list_id),
        )
        session.add(delivery)
        session.flush()
        session.add(Notice(delivery=named, kind=note.kind, ciphertext=ciphertext, key_id=key_id))
        session.flush()

    return put


def anything_due(session: Session, *, now: datetime) -> bool:
    """Say whether `send` has something to do; while the installation is held it has not."""
    if holding.held(session) is not None:
        return False
    late = (Delivery.state == DeliveryState.HANDING_OVER) & (Delivery.lease_until < now)
    query = select(exists().where(_ours(), or_(_waits(now), late)))
    return bool(session.scalar(query))


def postpone(database: Database, *, now: datetime, by: timedelta) -> None:
    """Let everything that is due wait: the way out is shut, and asking it every second would not open it."""
    due = select(Delivery.id).join(Notice, Notice.delivery == Delivery.id).where(_waits(now))
    with database.write() as session:
        session.execute(update(Delivery).where(Delivery.id.in_(due)).values(next_try_at=now + by))


def _ours() -> ColumnElement[bool]:
    return Delivery.id.in_(select(Notice.delivery))


def _waits(now: datetime) -> ColumnElement[bool]:
    return (Delivery.state == DeliveryState.WAITING) & (Delivery.next_try_at <= now)


@dataclass(frozen=True, slots=True)
class _Owed:
    """A claimed notice: whose, what kind, and what it is written from."""

    delivery: str
    message_id: str
    tries: int
    due_at: datetime
    kind: str
    person: int | None
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _Run:
    """One run over one transport; it lives as long as `send`."""

    database: Database
    transport: Transport
    keys: Keys
    settings: Settings
    stationery: Stationery
    journal: Journal
    now: Callable[[], datetime]
    owner: str

    @property
    def zone(self) -> ZoneInfo:
        """The publication's zone."""
        return self.settings.file.publication.zone


def send(
    database: Database,
    transport: Transport,
    keys: Keys,
    settings: Settings,
    *,
    now_fn: Callable[[], datetime],
) -> Counter[Result]:
    """Hand over every notice that is due, until none is or the transport asks to stop; count what came of them.

    Raises:
        jinja2.TemplateError: a template of the operator's own is broken; what was claimed waits on.
    """
    run = _Run(
        *(database, transport, keys, settings, Stationery.of(settings)),
        *(Journal(settings.left_log, keys), now_fn, str(this_process())),
    )
    results: Counter[Result] = Counter()
    with database.write() as session:
        claims.settle_the_dead(session, _ours(), this_process(), now=now_fn())
        _drop_finished(session)
    while owed := _claim(run):
        handed, moves = _hand_over(run, owed)
        said = _refusals(run, owed, moves)
        with database.write() as session:
            claims.record(session, run.owner, moves)
            events.apply(session, said, keys=keys, journal=run.journal, now=now_fn())
            _drop_finished(session)
        results.update(outcome.result for outcome in handed.outcomes)
        if handed.stop or handed.wait:
            log.warning("notices wait", why=handed.stop or f"the provider asks for {handed.wait:.0f} s")
            break
    return results


def _claim(run: _Run) -> list[_Owed]:
    """Claim what is due; what may not go any more is `withdrawn`. While the installation is held nothing is due."""
    now = run.now()
    with run.database.write() as session:
        if holding.held(session) is not None:
            return []
        rows = _due(session, now)
        may = _addresses(run, session, [(row.person, row.kind) for row in rows], now)
        owed = [_owed(run, row) for row in rows if (row.person, row.kind) in may]
        going = [o for o in owed if o is not None]
        leased = {
            "state": DeliveryState.HANDING_OVER,
            "owner": run.owner,
            "lease_until": now + timedelta(seconds=run.transport.patience) + LEASE_BEYOND_PATIENCE,
            "handed_at": now,
            "transport": run.transport.name,
        }
        _set(session, [o.delivery for o in going], leased)
        _set(
            session, [row.id for row in rows], {"state": DeliveryState.WITHDRAWN}
        )  # the rest: these wait no more
        _drop_finished(session)
    return going


def _due(session: Session, now: datetime) -> list[Any]:
    columns = (Delivery.id, Delivery.person, Delivery.message_id, Delivery.tries, Delivery.due_at)
    query = (
        select(*columns, Notice.kind, Notice.ciphertext, Notice.key_id)
        .join(Notice, Notice.delivery == Delivery.id)
        .where(_waits(now))
        .order_by(Delivery.next_try_at)
        .limit(BATCH)
        .with_for_update(skip_locked=True, of=Delivery)
    )
    return list(session.execute(query))


def _set(session: Session, ids: Sequence[str], values: Mapping[str, Any]) -> None:
    waiting = (Delivery.id.in_(ids), Delivery.state == DeliveryState.WAITING)
    session.execute(update(Delivery).where(*waiting).values(**values))


def _drop_finished(session: Session) -> None:
    open_ = select(Delivery.id).where(
        Delivery.id == Notice.delivery,
        Delivery.state.in_((DeliveryState.WAITING, DeliveryState.HANDING_OVER)),
    )
    session.execute(delete(Notice).where(~open_.exists()), execution_options={"synchronize_session": False})


def _owed(run: _Run, row: Any) -> _Owed | None:
    try:
        facts = open_json(run.keys, (row.ciphertext, row.key_id), bound_to=f"notice {row.id}")
    except VaultError:  # a damaged row must not hold up everybody behind it
        log.error("a notice does not open", delivery=row.id)  # noqa: TRY400 - no trace needed
        return None
    return _Owed(row.id, row.message_id, row.tries, row.due_at, row.kind, row.person, facts)


def _hand_over(run: _Run, owed: Sequence[_Owed]) -> tuple[Handed, list[tuple[str, Move]]]:
    try:
        still = _ask_again(run, owed)
        going = [o for o in owed if (o.person, o.kind) in still]
        messages = [_message(run, o, still[o.person, o.kind]) for o in going]
    except BaseException:
        with run.database.write() as session:  # nothing of this batch has left
            claims.put_back(session, run.owner, [o.delivery for o in owed], withdrawn=False)
        raise
    gone = [o.delivery for o in owed if (o.person, o.kind) not in still]
    with run.database.write() as session:
        claims.put_back(session, run.owner, gone, withdrawn=True)
    handed = run.transport.hand_all(messages) if messages else Handed(())
    return handed, _moves(run, going, handed)


def _ask_again(run: _Run, owed: Sequence[_Owed]) -> dict[tuple[int | None, str], str]:
    with run.database.read() as session:
        return _addresses(run, session, [(o.person, o.kind) for o in owed], run.now())


def _addresses(
    run: _Run, session: Session, wanted: Sequence[tuple[int | None, str]], now: datetime
) -> dict[tuple[int | None, str], str]:
    """Give those of `wanted` that may go now, with their address; what is nobody's goes to us, or nowhere."""
    sender = run.settings.file.sender
    theirs = [(person, kind) for person, kind in wanted if person is not None]
    found: dict[tuple[int | None, str], str] = {
        (person, kind): address
        for (person, kind), address in addressees.still(session, run.keys, theirs, now=now).items()
    }
    ours = [(None, kind) for person, kind in wanted if person is None and kind in TO_US]
    return found | dict.fromkeys(ours, sender.reply_to or sender.address)


def _moves(run: _Run, going: Sequence[_Owed], handed: Handed) -> list[tuple[str, Move]]:
    now = run.now()
    rest = max(REST, timedelta(seconds=handed.wait))
    moves = []
    for o, outcome in zip(going, handed.outcomes, strict=True):
        moved = move(outcome, delivery=o.delivery, tries=o.tries, due_at=o.due_at, now=now)
        if outcome.result is Result.UNTOUCHED:
            moved = replace(moved, next_try_at=now + rest)
        moves.append((o.delivery, moved))
    return moves


def _refusals(run: _Run, owed: Sequence[_Owed], moves: Sequence[tuple[str, Move]]) -> list[Said]:
    """Give what mail servers said of addresses in the conversation itself."""
    if run.transport.name != refusals.BY:
        return []
    tries, now = {o.delivery: o.tries for o in owed}, run.now()
    found = (said_by_server(delivery, tries[delivery], moved, now) for delivery, moved in moves)
    return [said for said in found if said is not None]


def _message(run: _Run, owed: _Owed, address: str) -> Outgoing:
    subscriber = owed.person if owed.kind in TO_SUBSCRIBERS else None
    domain = run.settings.file.sender.bounce_domain
    filled = Filled(
        to=owed.facts.get("to", address),
        message_id=owed.message_id,
        leave=tokens.make(run.keys, subscriber, "leave") if subscriber else "",
        preferences=tokens.make(run.keys, subscriber, "preferences") if subscriber else "",
    )
    letter = run.stationery.letter(owed.kind, _facts(run, owed), date=owed.due_at)
    return Outgoing(
        delivery=owed.delivery,
        box="notice",
        letter=replace(letter, reply_to=owed.facts["reply"]) if owed.facts.get("reply") else letter,
        filled=filled,
        bounces_to=return_path.make(run.keys, owed.delivery, domain) if domain else "",
    )


def _facts(run: _Run, owed: _Owed) -> dict[str, str]:
    """Put what was sealed into words, the same at every try, so that the bytes are too."""
    said, facts = owed.facts, {}
    if "token" in said:
        ends = datetime.fromisoformat(said["expires_at"])
        facts["confirm_url"] = f"{run.settings.base}/confirm/{said['token']}"
        facts["url"] = f"{run.settings.base}/{_PAGES.get(owed.kind, 'confirm')}/{said['token']}"
        facts["until"] = (
            _moment(ends, run.zone) if owed.kind == "data" else long_date(ends.astimezone(run.zone).date())
        )
    if "message" in said:  # a stranger's words: no mark of ours may stand in them
        facts["message"] = "\n".join(plain(line) for line in said["message"].splitlines())
    for name in ("asked_at", "confirmed_at"):
        if name in said:
            facts[name] = _moment(datetime.fromisoformat(said[name]), run.zone)
    facts |= {name: said[name] for name in _PLAIN if name in said}
    return facts | (_editions(run, owed.due_at) if owed.kind == "welcome" else {})


def _editions(run: _Run, now: datetime) -> dict[str, str]:
    with run.database.read() as session:
        newest, following = latest(session, now), upcoming(session, run.settings, now)
        day = long_date(following.release_at.astimezone(run.zone).date())
        return {
            "next_number": str(following.number),
            "next_day": day,
            "newest": newest.subject if newest else "",
            "newest_url": f"{run.settings.base}/editions/{newest.name}" if newest else "",
        }


def _moment(at: datetime, zone: ZoneInfo) -> str:
    local = at.astimezone(zone)
    return f"{local:%B} {local.day}, {local.year}, {local:%H:%M} {local:%Z}"
