"""Sending transactional emails, whose deliveries have purposes such as `confirm:…` and `welcome:…`.

`notice_queue` stores a delivery in the transaction that causes the email, and `send_due_notices`
hands over the due ones (`handover`). An email's content, such as a token, is stored encrypted and
deleted with the last attempt. If an email went to many people and its status is unknown, its
content is kept until that's resolved, so that it can be sent again.

People wait for a confirmation or a link, so these emails aren't delayed by rate limits, but count
toward them. Corrections go to many people, so `correction_sending` hands them over in separate runs.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from sqlalchemy import ColumnElement, delete, exists, or_, select, update
from sqlalchemy.orm import Session

from digest.deliver.compose import headers
from digest.deliver.compose.identifiers import find_genuine_ids
from digest.deliver.compose.message import PlaceholderValues
from digest.deliver.compose.notice_mail import SUBSCRIBER_NOTICE_KINDS, NoticeComposer
from digest.deliver.compose.return_path import make_return_path
from digest.deliver.control import installation_hold
from digest.deliver.events.server_replies import scrub_addresses
from digest.deliver.plan.delivery_plan import BULK_KINDS
from digest.deliver.plan.domain_groups import select_domain_group_tag
from digest.deliver.providers.base import HandoverStatus, MessageOutcome, OutgoingMessage, Provider
from digest.deliver.send.claims import delivery_claims as claims
from digest.deliver.send.claims.claim_statements import is_in_state
from digest.deliver.send.claims.dead_runs import recover_dead_and_silent_runs
from digest.deliver.send.claims.delivery_claims import ClaimedDelivery
from digest.deliver.send.claims.retry_policy import StateChange, decide_admin_warning_state_change
from digest.deliver.send.claims.run_lease import keep_lease
from digest.deliver.send.claims.run_progress_file import open_run_file, read_database_instance_id
from digest.deliver.send.handover import HandoverRun, SendTask, hand_over_batches
from digest.deliver.send.limits.rate_limiter import RateLimiter
from digest.deliver.send.notices.notice_facts import ClaimedNotice, build_template_facts
from digest.deliver.send.notices.notice_queue import IS_EXEMPT_FROM_PAUSE, IS_GUARD, IS_URGENT
from digest.settings import SenderSettings, Settings
from digest.store.delivery_models import OPEN_STATES, Delivery, DeliveryState, QueuedNoticeEmail
from digest.store.engine import Database
from subscribers.crypto import link_tokens
from subscribers.crypto.encrypted_values import decrypt_json
from subscribers.crypto.keys import DecryptionError, KeyFileError, KeyRing
from subscribers.lifecycle import notice_recipients
from subscribers.loggers import get_logger
from subscribers.store import one_time_tokens
from subscribers.store.models import Person

# The number of emails claimed at once. Each is rendered individually.
BATCH_SIZE = 20
# The time to wait after a server has refused everything, unless the provider asks for more.
RETRY_PAUSE = timedelta(minutes=1)

# The kinds of emails that go to the editors if the request contains no address.
EDITOR_NOTICE_KINDS = frozenset({"contact", "staff", "seal", "gone", "alarm", "alert", "deadline", "guard", "summary"})
log = get_logger("notices")


def has_due_notices(session: Session, *, now: datetime) -> bool:
    """Return True if `send_due_notices` has anything to do.

    While all sending is paused, only exempt emails count.
    """
    condition = _leaving_notices(session)
    if condition is None:
        return False
    notices = Delivery.id.in_(select(QueuedNoticeEmail.delivery).where(condition))
    return bool(session.scalar(select(exists().where(notices, build_due_condition(now)))))


def postpone_due_notices(database: Database, *, now: datetime, delay: timedelta) -> None:
    """Postpone all due transactional emails.

    Retrying every second wouldn't help while the provider can't be opened.
    """
    is_queued = QueuedNoticeEmail.delivery == Delivery.id
    due = select(Delivery.id).join(QueuedNoticeEmail, is_queued).where(build_due_condition(now))
    next_try_at = now + delay
    postponed = update(Delivery).where(Delivery.id.in_(due)).values(next_try_at=next_try_at)
    with database.write() as session:
        session.execute(postponed)


def _leaving_notices(session: Session) -> ColumnElement[bool] | None:
    """Return the condition for emails that may be sent now, or None if none may be.

    Emails about guarded actions are exempt from a pause, which would otherwise suppress the
    warnings about it, and so are the team's invitations and sign-in links. Nothing may be sent from
    an installation that may be a copy.
    """
    hold = installation_hold.read_current_hold(session)
    if hold is None:
        return IS_URGENT
    return None if hold.may_be_copy else IS_EXEMPT_FROM_PAUSE


def build_due_condition(now: datetime) -> ColumnElement[bool]:
    """Return the condition for due deliveries.

    They're found by their emails or by the index of claims.
    """
    return is_in_state(DeliveryState.WAITING) & (Delivery.next_try_at <= now)


RunT = TypeVar("RunT", bound="NoticeRun")


@dataclass(kw_only=True)
class NoticeRun(HandoverRun):
    """A run of `send_due_notices` over the due emails."""

    composer: NoticeComposer
    rate_limiter: RateLimiter

    @property
    def zone(self) -> ZoneInfo:
        """The publication's time zone."""
        return self.settings.file.publication.zone

    def _decide_change(
        self, delivery: ClaimedDelivery, outcome: MessageOutcome, wait_seconds: float, now: datetime
    ) -> StateChange:
        change = super()._decide_change(delivery, outcome, wait_seconds, now)
        if not isinstance(delivery, ClaimedNotice) or delivery.kind != "guard":
            return change
        return decide_admin_warning_state_change(
            change, outcome, delivery_id=delivery.delivery_id, tries=delivery.tries, now=now
        )


def send_due_notices(
    database: Database,
    provider: Provider,
    keys: KeyRing,
    settings: Settings,
    *,
    clock: Callable[[], datetime],
    stopping: Callable[[], bool] = lambda: False,
) -> Counter[HandoverStatus]:
    """Hand over due transactional emails, except corrections, and count the results by status.

    Return once none are due, or once the provider asks to stop. Once `stopping` returns True, no
    more are claimed, and the rest wait for the next process.

    Raises:
        jinja2.TemplateError: an operator's template is broken; claimed deliveries keep waiting.
    """
    with open_notice_run(NoticeRun, database, provider, keys, settings, clock) as run:
        hand_over_batches(run, lambda session: _claim_notices(run, session, stopping), partial(recheck_recipients, run))
    return run.results


@contextmanager
def open_notice_run(
    run_type: type[RunT],
    database: Database,
    provider: Provider,
    keys: KeyRing,
    settings: Settings,
    clock: Callable[[], datetime],
) -> Iterator[RunT]:
    """Open a run over transactional emails.

    If it ends early, log why the remaining emails are waiting.
    """
    recover_dead_and_silent_runs(database, settings, keys, now=clock())
    with (
        open_run_file(settings.runs_folder, read_database_instance_id(database), BATCH_SIZE) as run_file,
        keep_lease(database, run_file.owner, settings) as run_lease,
    ):
        run = run_type(
            database=database,
            provider=provider,
            keys=keys,
            settings=settings,
            clock=clock,
            run_file=run_file,
            run_lease=run_lease,
            untried_pause=RETRY_PAUSE,
            composer=NoticeComposer.from_settings(settings),
            rate_limiter=RateLimiter.from_settings(database, settings.file.limits, keys),
        )
        yield run
    if run.stop_reason:
        log.warning("transactional emails are waiting", why=scrub_addresses(run.stop_reason))


def _claim_notices(
    run: NoticeRun,
    session: Session,
    stopping: Callable[[], bool],
) -> list[ClaimedNotice]:
    """Claim due emails, withdraw those that may no longer be sent, and delete the content of finished ones."""
    claimed = []
    condition = None if run.stop_reason else _leaving_notices(session)
    if condition is not None and not stopping():
        now = run.clock()
        in_order = select_due_notices(now).where(condition).order_by(IS_GUARD.desc(), Delivery.next_try_at)
        rows = session.execute(in_order.limit(BATCH_SIZE)).all()
        # Each warning is claimed alone, because the server may refuse another email's sender and
        # then accept nothing more.
        starts_with_warning = bool(rows) and rows[0].kind == "guard"
        claimed = claim_notice_rows(run, session, rows[:1] if starts_with_warning else rows, now)
        run.rate_limiter.count_urgent_messages(session, len(claimed), run.clock())
    if not claimed:
        run.may_claim(session)  # records why the others are waiting
    delete_finished_notices(session, IS_URGENT)
    return claimed


def claim_notice_rows(
    run: NoticeRun,
    session: Session,
    rows: Sequence[Any],
    now: datetime,
) -> list[ClaimedNotice]:
    """Claim rows from `select_due_notices`, and end those that were tampered with or may no longer be sent."""
    opened = {row.id: _decrypt_notice(run, row, now) for row in rows}
    claims.end_tampered_deliveries(session, [id_ for id_, notice in opened.items() if notice is None])
    notices = [notice for notice in opened.values() if notice is not None]
    permitted = _permitted_addresses(run, session, notices, now)
    allowed = [n for n in notices if (n.person, n.kind) in permitted]
    claimed = [n for n in allowed if not _has_dead_link(session, n)]
    claims.take_leases(session, run.lease, [n.delivery_id for n in claimed], now=now)
    claims.end_unneeded_deliveries(
        session, [(n.delivery_id, DeliveryState.WITHDRAWN) for n in notices if n not in claimed]
    )
    return claimed


def _has_dead_link(session: Session, notice: ClaimedNotice) -> bool:
    """Return True if an email's link was used or replaced while the email was waiting."""
    return "token" in notice.facts and one_time_tokens.has_token_ended(session, notice.facts["token"])


def _is_link_for(session: Session, notice: ClaimedNotice, address: str) -> bool:
    """Return True if an email's link was made for the person's current address, or if the email has no link."""
    token = notice.facts.get("token") if notice.person is not None else None
    return token is None or one_time_tokens.is_token_made_for(session, token, address)


def select_due_notices(now: datetime) -> Any:
    """Return the query that selects and locks due emails with their content."""
    identifiers = (Delivery.id, Delivery.purpose, Delivery.person, Delivery.message_id)
    times = (Delivery.due_at, Delivery.next_try_at, Delivery.first_handed_at)
    tag = select_domain_group_tag(Delivery.domain_tag).label("domain_tag")
    return (
        select(
            *identifiers,
            *times,
            Delivery.tries,
            tag,
            QueuedNoticeEmail.kind,
            QueuedNoticeEmail.ciphertext,
            QueuedNoticeEmail.key_id,
        )
        .join(QueuedNoticeEmail, QueuedNoticeEmail.delivery == Delivery.id)
        .where(build_due_condition(now))
        .with_for_update(skip_locked=True, of=Delivery)
    )


def delete_finished_notices(session: Session, condition: ColumnElement[bool]) -> None:
    """Delete the queued content of finished emails that match a condition."""
    may_be_sent_again = is_in_state(DeliveryState.UNCERTAIN) & QueuedNoticeEmail.kind.in_(BULK_KINDS)
    still_open = select(Delivery.id).where(
        Delivery.id == QueuedNoticeEmail.delivery, or_(is_in_state(*OPEN_STATES), may_be_sent_again)
    )
    finished = delete(QueuedNoticeEmail).where(condition, ~still_open.exists())
    session.execute(finished, execution_options={"synchronize_session": False})


def _decrypt_notice(run: NoticeRun, row: Any, now: datetime) -> ClaimedNotice | None:
    """Return an email with its decrypted content, or None if its rows were tampered with.

    The delivery's ID is derived from the kind and person, and the content is bound to the ID.
    """
    purpose = str(row.purpose)  # SQLite would allow bytes here
    message = (row.id, row.person, row.message_id)
    genuine = find_genuine_ids(run.keys, purpose, [message])
    if not genuine or row.kind != purpose.partition(":")[0]:
        return None
    try:
        facts = decrypt_json(run.keys, (row.ciphertext, row.key_id), bound_to=f"notice {row.id}")
    except (DecryptionError, KeyFileError):  # a damaged row must not hold up the following ones
        return None
    return ClaimedNotice(
        delivery_id=row.id,
        message_id=row.message_id,
        tries=row.tries,
        due_at=row.due_at,
        claimed_at=now,
        first_handed_at=row.first_handed_at or now,
        person=row.person,
        domain_tag=row.domain_tag,
        kind=row.kind,
        facts=facts,
    )


def recheck_recipients(run: NoticeRun, notices: Sequence[ClaimedNotice]) -> list[SendTask]:
    """Check again, right before the handover, who may be emailed, and return the tasks that remain."""
    with run.database.read() as session:
        permitted = _permitted_addresses(run, session, notices, run.clock())
        going = [
            (notice, address)
            for notice in notices
            if (address := permitted.get((notice.person, notice.kind))) and _is_link_for(session, notice, address)
        ]
    return [SendTask(notice, partial(_compose_message, run, notice, address)) for notice, address in going]


def _permitted_addresses(
    run: NoticeRun, session: Session, notices: Iterable[ClaimedNotice], now: datetime
) -> dict[tuple[int | None, str], str]:
    """Return the addresses that may receive their emails now, by person and kind.

    An email without a person goes to the editors.
    """
    requested = [(notice.person, notice.kind) for notice in notices]
    sender = run.settings.file.sender
    to_people = [(person, kind) for person, kind in requested if person is not None]
    permitted: dict[tuple[int | None, str], str] = dict(
        notice_recipients.find_permitted_recipients(session, run.keys, to_people, now=now).items()
    )
    to_editors = [(person, kind) for person, kind in requested if person is None and kind in EDITOR_NOTICE_KINDS]
    return permitted | dict.fromkeys(to_editors, sender.reply_to or sender.address)


def _compose_message(run: NoticeRun, notice: ClaimedNotice, address: str) -> OutgoingMessage:
    leave_token, preferences_token = _link_tokens(run, notice, address)
    placeholders = PlaceholderValues(
        to=notice.facts.get("to", address),
        message_id=notice.message_id,
        date=headers.format_date_value(notice.first_handed_at, run.zone),
        leave_token=leave_token,
        preferences_token=preferences_token,
    )
    facts = build_template_facts(run.database, run.settings, run.keys, notice)
    template = run.composer.compose_notice(notice.kind, facts)
    sender = _choose_sender(run.settings, notice)
    template = replace(
        template,
        sender_name=sender.name,
        sender_address=sender.address,
        reply_to=notice.facts.get("reply") or sender.reply_to,
    )
    return OutgoingMessage(
        delivery_id=notice.delivery_id,
        outbox_folder="notice",
        template=template,
        placeholders=placeholders,
        bounce_address=make_return_path(run.keys, notice.delivery_id, sender.bounce_domain),
    )


def _choose_sender(settings: Settings, notice: ClaimedNotice) -> SenderSettings:
    """Return the sender to use for an email.

    Warnings alternate between the sender before the action and the current one. The server may
    accept only one of them, because the change may have broken or fixed the sender.
    """
    before = notice.facts.get("sent_from") if notice.tries % 2 == 0 else None
    return settings.file.sender.model_copy(update=before)


def _link_tokens(run: NoticeRun, notice: ClaimedNotice, address: str) -> tuple[str, str]:
    """Return the unsubscribe and preferences tokens for an email to a subscriber.

    For other emails, they're empty.
    """
    if notice.person is None or notice.kind not in SUBSCRIBER_NOTICE_KINDS:
        return "", ""
    with run.database.read() as session:
        generation = session.get_one(Person, notice.person).link_generation
    make_token = partial(link_tokens.make_link_token, run.keys, notice.person, generation=generation, address=address)
    return make_token("leave"), make_token("preferences")
