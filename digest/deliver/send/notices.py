"""Mails that are no edition: each a delivery of its own purpose (`confirm:…`, `welcome:…`), over the same transports.

`make_notice_queue` writes the delivery into the transaction of whatever brought it about. `send_due_notices` claims what is due, asks
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

from digest.deliver.compose import return_path
from digest.deliver.compose.identifiers import make_delivery_id, make_message_id
from digest.deliver.compose.message import PlaceholderValues
from digest.deliver.compose.notice_mail import TO_SUBSCRIBERS, NoticeComposer
from digest.deliver.control import installation_hold
from digest.deliver.events import processor
from digest.deliver.events.delivery_event import DeliveryEvent
from digest.deliver.plan.upcoming_edition import find_latest_edition, find_upcoming_edition
from digest.deliver.providers.base import BatchOutcome, HandoverResult, OutgoingMessage, Provider
from digest.deliver.send import claims, smtp_refusals
from digest.deliver.send.retry_policy import StateChange, decide_state_change
from digest.deliver.send.smtp_refusals import refusal_event
from digest.edition.rendering.sanitiser import sanitise_text
from digest.settings import Settings
from digest.store.delivery_models import Delivery, DeliveryState, Notice
from digest.store.engine import Database
from digest.store.process_owner import this_process_owner
from subscribers.consent.departure_log import DepartureLog
from subscribers.crypto import link_tokens
from subscribers.crypto.encrypted_values import decrypt_json, encrypt_json
from subscribers.crypto.keys import DecryptionError, KeyRing
from subscribers.lifecycle import notice_recipients
from subscribers.mail_requests import MailRequest, QueueMail
from subscribers.phrases import full_date, weekday_date
from subscribers.store.models import Person

BATCH_SIZE = 20  # messages claimed at once: each is a letter of its own
LEASE_MARGIN = timedelta(minutes=2)
RETRY_PAUSE = timedelta(
    minutes=1
)  # after a server said no to everything; and what a provider's longer wish is held against

TO_EDITORS = frozenset({"contact", "staff"})  # to the editors, where the note names no address
_TOKEN_PAGES = {"data": "my-data", "move": "address", "staff": "staff"}  # which page a token opens; all others confirm
_PLAIN_FACTS = (
    "wording",
    "where",
    "wording_version",
    "wording_hash",
    "masked",
    "reply",
    "role",
)  # facts that stand as they are

log = structlog.get_logger("notices")


def make_notice_queue(keys: KeyRing, settings: Settings, clock: Callable[[], datetime]) -> QueueMail:
    """Give the callable that readers' pages and the answering of forms queue their mails with."""

    def put(session: Session, note: MailRequest) -> None:
        purpose = f"{note.kind}:{note.serial}"
        named = make_delivery_id(keys, purpose, note.person or 0)
        now = clock()
        ciphertext, key_id = encrypt_json(keys, note.context, bound_to=f"notice {named}")
        tag = session.scalar(select(Person.domain_tag).where(Person.number == note.person))
        delivery = Delivery(
            id=named,
            purpose=purpose,
            person=note.person,
            state=DeliveryState.WAITING,
            due_at=now,
            next_try_at=now,
            domain_tag=tag,
            message_id=make_message_id(purpose, named, settings.file.sender.list_id),
        )
        session.add(delivery)
        session.flush()
        session.add(Notice(delivery=named, kind=note.kind, ciphertext=ciphertext, key_id=key_id))
        session.flush()

    return put


def has_due_notices(session: Session, *, now: datetime) -> bool:
    """Say whether `send_due_notices` has something to do; while the installation is held it has not."""
    if installation_hold.current_hold(session) is not None:
        return False
    late = (Delivery.state == DeliveryState.HANDING_OVER) & (Delivery.lease_until < now)
    query = select(exists().where(_is_notice(), or_(_is_due(now), late)))
    return bool(session.scalar(query))


def postpone_due_notices(database: Database, *, now: datetime, delay: timedelta) -> None:
    """Let everything that is due wait: the way out is shut, and asking it every second would not open it."""
    due = select(Delivery.id).join(Notice, Notice.delivery == Delivery.id).where(_is_due(now))
    with database.write() as session:
        session.execute(update(Delivery).where(Delivery.id.in_(due)).values(next_try_at=now + delay))


def _is_notice() -> ColumnElement[bool]:
    return Delivery.id.in_(select(Notice.delivery))


def _is_due(now: datetime) -> ColumnElement[bool]:
    return (Delivery.state == DeliveryState.WAITING) & (Delivery.next_try_at <= now)


@dataclass(frozen=True, slots=True)
class _ClaimedNotice:
    """A claimed notice: whose, what kind, and what it is written from."""

    delivery_id: str
    message_id: str
    tries: int
    due_at: datetime
    kind: str
    person: int | None
    facts: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class _NoticeRun:
    """One run over one transport; it lives as long as `send_due_notices`."""

    database: Database
    provider: Provider
    keys: KeyRing
    settings: Settings
    composer: NoticeComposer
    departure_log: DepartureLog
    clock: Callable[[], datetime]
    owner: str

    @property
    def zone(self) -> ZoneInfo:
        """The publication's zone."""
        return self.settings.file.publication.zone


def send_due_notices(
    database: Database, provider: Provider, keys: KeyRing, settings: Settings, *, clock: Callable[[], datetime]
) -> Counter[HandoverResult]:
    """Hand over every notice that is due, until none is or the transport asks to stop; count what came of them.

    Raises:
        jinja2.TemplateError: a template of the operator's own is broken; what was claimed waits on.
    """
    run = _NoticeRun(
        *(database, provider, keys, settings, NoticeComposer.from_settings(settings)),
        *(DepartureLog(settings.left_log, keys), clock, str(this_process_owner())),
    )
    results: Counter[HandoverResult] = Counter()
    with database.write() as session:
        claims.mark_orphans_uncertain(session, _is_notice(), this_process_owner(), now=clock())
        _delete_finished_notices(session)
    while owed := _claim_notices(run):
        handed, moves = _hand_over_notices(run, owed)
        said = _refusal_events(run, owed, moves)
        with database.write() as session:
            claims.record_results(session, run.owner, moves)
            processor.process_events(session, said, keys=keys, departure_log=run.departure_log, now=clock())
            _delete_finished_notices(session)
        results.update(outcome.result for outcome in handed.outcomes)
        if handed.stop_reason or handed.wait_seconds:
            log.warning("notices wait", why=handed.stop_reason or f"the provider asks for {handed.wait_seconds:.0f} s")
            break
    return results


def _claim_notices(run: _NoticeRun) -> list[_ClaimedNotice]:
    """Claim what is due; what may not go any more is `withdrawn`. While the installation is held nothing is due."""
    now = run.clock()
    with run.database.write() as session:
        if installation_hold.current_hold(session) is not None:
            return []
        rows = _select_due_notices(session, now)
        may = _allowed_addresses(run, session, [(row.person, row.kind) for row in rows], now)
        owed = [_decrypt_notice(run, row) for row in rows if (row.person, row.kind) in may]
        going = [o for o in owed if o is not None]
        leased = {
            "state": DeliveryState.HANDING_OVER,
            "owner": run.owner,
            "lease_until": now + timedelta(seconds=run.provider.batch_timeout) + LEASE_MARGIN,
            "handed_at": now,
            "transport": run.provider.name,
        }
        _update_waiting(session, [o.delivery_id for o in going], leased)
        _update_waiting(
            session, [row.id for row in rows], {"state": DeliveryState.WITHDRAWN}
        )  # the rest: these wait no more
        _delete_finished_notices(session)
    return going


def _select_due_notices(session: Session, now: datetime) -> list[Any]:
    columns = (Delivery.id, Delivery.person, Delivery.message_id, Delivery.tries, Delivery.due_at)
    query = (
        select(*columns, Notice.kind, Notice.ciphertext, Notice.key_id)
        .join(Notice, Notice.delivery == Delivery.id)
        .where(_is_due(now))
        .order_by(Delivery.next_try_at)
        .limit(BATCH_SIZE)
        .with_for_update(skip_locked=True, of=Delivery)
    )
    return list(session.execute(query))


def _update_waiting(session: Session, delivery_ids: Sequence[str], values: Mapping[str, Any]) -> None:
    waiting = (Delivery.id.in_(delivery_ids), Delivery.state == DeliveryState.WAITING)
    session.execute(update(Delivery).where(*waiting).values(**values))


def _delete_finished_notices(session: Session) -> None:
    open_ = select(Delivery.id).where(
        Delivery.id == Notice.delivery, Delivery.state.in_((DeliveryState.WAITING, DeliveryState.HANDING_OVER))
    )
    session.execute(delete(Notice).where(~open_.exists()), execution_options={"synchronize_session": False})


def _decrypt_notice(run: _NoticeRun, row: Any) -> _ClaimedNotice | None:
    try:
        facts = decrypt_json(run.keys, (row.ciphertext, row.key_id), bound_to=f"notice {row.id}")
    except DecryptionError:  # a damaged row must not hold up everybody behind it
        log.error("a notice does not open", delivery=row.id)  # noqa: TRY400 - no trace needed
        return None
    return _ClaimedNotice(row.id, row.message_id, row.tries, row.due_at, row.kind, row.person, facts)


def _hand_over_notices(
    run: _NoticeRun, notices: Sequence[_ClaimedNotice]
) -> tuple[BatchOutcome, list[tuple[str, StateChange]]]:
    try:
        still = _recheck_recipients(run, notices)
        going = [o for o in notices if (o.person, o.kind) in still]
        messages = [_compose_message(run, o, still[o.person, o.kind]) for o in going]
    except BaseException:
        with run.database.write() as session:  # nothing of this batch has left
            claims.undo_claims(session, run.owner, [o.delivery_id for o in notices], withdrawn=False)
        raise
    gone = [o.delivery_id for o in notices if (o.person, o.kind) not in still]
    with run.database.write() as session:
        claims.undo_claims(session, run.owner, gone, withdrawn=True)
    handed = run.provider.send_batch(messages) if messages else BatchOutcome(())
    return handed, _decide_state_changes(run, going, handed)


def _recheck_recipients(run: _NoticeRun, notices: Sequence[_ClaimedNotice]) -> dict[tuple[int | None, str], str]:
    with run.database.read() as session:
        return _allowed_addresses(run, session, [(o.person, o.kind) for o in notices], run.clock())


def _allowed_addresses(
    run: _NoticeRun, session: Session, wanted: Sequence[tuple[int | None, str]], now: datetime
) -> dict[tuple[int | None, str], str]:
    """Give those of `wanted` that may go now, with their address; what is nobody's goes to us, or nowhere."""
    sender = run.settings.file.sender
    theirs = [(person, kind) for person, kind in wanted if person is not None]
    found: dict[tuple[int | None, str], str] = {
        (person, kind): address
        for (person, kind), address in notice_recipients.find_permitted_recipients(
            session, run.keys, theirs, now=now
        ).items()
    }
    ours = [(None, kind) for person, kind in wanted if person is None and kind in TO_EDITORS]
    return found | dict.fromkeys(ours, sender.reply_to or sender.address)


def _decide_state_changes(
    run: _NoticeRun, notices: Sequence[_ClaimedNotice], batch_outcome: BatchOutcome
) -> list[tuple[str, StateChange]]:
    now = run.clock()
    rest = max(RETRY_PAUSE, timedelta(seconds=batch_outcome.wait_seconds))
    moves = []
    for o, outcome in zip(notices, batch_outcome.outcomes, strict=True):
        moved = decide_state_change(outcome, delivery_id=o.delivery_id, tries=o.tries, due_at=o.due_at, now=now)
        if outcome.result is HandoverResult.NOT_TRIED:
            moved = replace(moved, next_try_at=now + rest)
        moves.append((o.delivery_id, moved))
    return moves


def _refusal_events(
    run: _NoticeRun, notices: Sequence[_ClaimedNotice], state_changes: Sequence[tuple[str, StateChange]]
) -> list[DeliveryEvent]:
    """Give what mail servers said of addresses in the conversation itself."""
    if run.provider.name != smtp_refusals.REPORTED_BY:
        return []
    tries, now = {o.delivery_id: o.tries for o in notices}, run.clock()
    found = (refusal_event(delivery, tries[delivery], moved, now) for delivery, moved in state_changes)
    return [said for said in found if said is not None]


def _compose_message(run: _NoticeRun, notice: _ClaimedNotice, address: str) -> OutgoingMessage:
    subscriber = notice.person if notice.kind in TO_SUBSCRIBERS else None
    domain = run.settings.file.sender.bounce_domain
    filled = PlaceholderValues(
        to=notice.facts.get("to", address),
        message_id=notice.message_id,
        leave_token=link_tokens.make_link_token(run.keys, subscriber, "leave") if subscriber else "",
        preferences_token=link_tokens.make_link_token(run.keys, subscriber, "preferences") if subscriber else "",
    )
    letter = run.composer.compose_notice(notice.kind, _template_facts(run, notice), date=notice.due_at)
    return OutgoingMessage(
        delivery_id=notice.delivery_id,
        outbox_folder="notice",
        template=replace(letter, reply_to=notice.facts["reply"]) if notice.facts.get("reply") else letter,
        placeholders=filled,
        bounce_address=return_path.make_return_path(run.keys, notice.delivery_id, domain) if domain else "",
    )


def _template_facts(run: _NoticeRun, notice: _ClaimedNotice) -> dict[str, str]:
    """Put what was sealed into words, the same at every try, so that the bytes are too."""
    said, facts = notice.facts, {}
    if "token" in said:
        ends = datetime.fromisoformat(said["expires_at"])
        facts["confirm_url"] = f"{run.settings.link_base}/confirm/{said['token']}"
        facts["url"] = f"{run.settings.link_base}/{_TOKEN_PAGES.get(notice.kind, 'confirm')}/{said['token']}"
        facts["until"] = (
            _format_moment(ends, run.zone) if notice.kind == "data" else weekday_date(ends.astimezone(run.zone))
        )
    if "message" in said:  # a stranger's words: no mark of ours may stand in them
        facts["message"] = "\n".join(sanitise_text(line) for line in said["message"].splitlines())
    for name in ("asked_at", "confirmed_at"):
        if name in said:
            facts[name] = _format_moment(datetime.fromisoformat(said[name]), run.zone)
    facts |= {name: said[name] for name in _PLAIN_FACTS if name in said}
    return facts | (_edition_facts(run, notice.due_at) if notice.kind == "welcome" else {})


def _edition_facts(run: _NoticeRun, now: datetime) -> dict[str, str]:
    with run.database.read() as session:
        newest, following = (find_latest_edition(session, now), find_upcoming_edition(session, run.settings, now))
        day = weekday_date(following.release_at.astimezone(run.zone))
        return {
            "next_number": str(following.number),
            "next_day": day,
            "newest": newest.subject if newest else "",
            "newest_url": f"{run.settings.link_base}/editions/{newest.name}" if newest else "",
        }


def _format_moment(at: datetime, zone: ZoneInfo) -> str:
    local = at.astimezone(zone)
    return f"{full_date(local)}, {local:%H:%M %Z}"
