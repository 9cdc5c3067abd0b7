"""Tasks that run in the background, except for sending editions.

They handle sign-ups, transactional and correction emails, and provider events.
"""

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy.orm import Session

from digest.app.sending.send_control import open_sending_provider
from digest.app.subscribers.signup_settings import build_signup_limits
from digest.deliver.control import installation_hold, provider_wait
from digest.deliver.events.postfix_log import MailLogError
from digest.deliver.inbound import mail_log
from digest.deliver.inbound import mailbox_poll as poll
from digest.deliver.inbound.imap import MailboxError
from digest.deliver.inbound.mailbox_poll import PollResult
from digest.deliver.inbound.payloads import apply_stored_payloads, store_payload
from digest.deliver.providers.base import HandoverStatus, Provider
from digest.deliver.providers.kind import ProviderWebhook
from digest.deliver.providers.registry import find_provider, provider_in_use
from digest.deliver.send.claims import dead_runs
from digest.deliver.send.notices import correction_sending, notice_queue
from digest.deliver.send.notices import notice_sending as notices
from digest.deliver.send.refusals import stop_rules
from digest.deliver.send.refusals.refused_deliveries import recount_refusals_of_sent_editions
from digest.installation.audited_actions import Action, Actor
from digest.installation.opened_installation import Installation
from digest.store.process_identity import identify_current_process
from subscribers.callback_types import Clock, StopCheck
from subscribers.consent.unsubscribe_log import UnsubscribeLog
from subscribers.loggers import get_logger
from subscribers.signup.request_processor import RequestProcessor, SignupReplyKind

log = get_logger("sending")

# The delay after a provider fails or can't be opened.
NOTICE_RETRY_DELAY = timedelta(minutes=5)


def process_signup_requests(installation: Installation, *, clock: Clock) -> dict[SignupReplyKind, int]:
    """Process pending sign-up forms, and return the number of each kind of reply.

    Each consent event is committed together with the email that it queues.
    """
    processor = RequestProcessor(
        database=installation.database,
        keys=installation.keys,
        signup_limits=build_signup_limits(installation.settings),
        evidence_retention=timedelta(days=installation.settings.file.retention.evidence_days),
        queue=notice_queue.make_notice_queue(installation.keys, installation.settings, clock),
    )
    return processor.process_pending(clock)


def recover_runs(installation: Installation, *, clock: Clock) -> None:
    """Recover deliveries claimed by processes that have died or gone silent.

    Messages that weren't sent are due again.
    """
    dead_runs.recover_dead_and_silent_runs(installation.database, installation.settings, installation.keys, now=clock())


def apply_inbound_events(installation: Installation, *, clock: Clock) -> Counter[str]:
    """Apply the events that providers posted, and return their counts.

    Too many failures pause an edition.

    Raises:
        OSError: the unsubscribe log couldn't be written. The remaining events stay queued.
        KeyFileError: the key of a payload isn't in the key file. The payload stays queued.
    """
    unsubscribe_log = UnsubscribeLog(installation.settings.left_log, installation.keys)
    counts = apply_stored_payloads(installation.database, installation.keys, unsubscribe_log, clock=clock)
    if counts:
        stop_rules.apply_stop_rules(installation.database, installation.settings.file.alerts, now=clock())
    return counts


def follow_mail_log(installation: Installation, *, clock: Clock) -> bool:
    """Apply new entries in the mail server's log, and return True if there are more.

    Too many failures pause an edition. Problems with the log are logged, and `digest doctor`
    reports them.

    Raises:
        OSError: the unsubscribe log couldn't be written.
    """
    source = installation.settings.file.relay.log
    if not source:
        return False
    host, database = identify_current_process().host, installation.database
    unsubscribe_log = installation.unsubscribe_log
    try:
        _require_return_paths(installation)
        counts, has_more = mail_log.follow_mail_log(
            database, installation.keys, unsubscribe_log, source, host=host, clock=clock
        )
    except MailLogError as exc:
        with installation.write() as session:
            if mail_log.record_log_trouble(session, host, str(exc), now=clock()):
                log.warning("the mail server's log can't be followed", why=str(exc))
        return False
    if counts:
        log.info("mail server's log followed", outcome=dict(counts))
        stop_rules.apply_stop_rules(database, installation.settings.file.alerts, now=clock())
    return has_more


def _require_return_paths(installation: Installation) -> None:
    if not installation.settings.file.sender.bounce_domain:
        raise MailLogError(
            "The mail server's log isn't monitored because return paths don't identify emails.",
            remedy="Set sender.bounce_domain.",
        )


def has_webhook(provider_name: str) -> bool:
    """Return True if there's a provider of this name and it posts events."""
    return _find_webhook(provider_name) is not None


def _find_webhook(provider_name: str) -> ProviderWebhook | None:
    provider = find_provider(provider_name)
    return provider.webhook if provider else None


def receive_webhook(
    installation: Installation, provider_name: str, header: Callable[[str], str | None], body: bytes, *, now: datetime
) -> str:
    """Store the events that a provider posted, to be applied later.

    If the post is rejected, return the reason, which is meant only for the log. Otherwise, return
    an empty string.
    """
    webhook = _find_webhook(provider_name)
    assert webhook is not None, "see has_webhook"
    reason = webhook.refusal_reason(installation.settings, header, body, now)
    if not reason:
        store_payload(installation.database, installation.keys, body, origin=provider_name, now=now)
    return reason


def read_bounce_mailbox(
    installation: Installation,
    *,
    clock: Clock,
    max_messages: int = poll.MAX_MESSAGES,
    stopping: StopCheck = lambda: False,
) -> poll.PollResult | None:
    """Store the bounces and complaints in the mailbox, to be applied later.

    Return None if no mailbox is configured. The mailbox isn't read while all sending is paused,
    because a copy of an installation must not take the original's bounces.

    Raises:
        MailboxError: the mailbox can't be read. Messages read before the error are stored.
    """
    inbound, password = installation.settings.file.inbound, installation.settings.inbound_password
    if not inbound.host or password is None:
        return None
    if hold := _read_current_hold(installation):
        raise MailboxError(f"not read: {hold}")
    secret = password.get_secret_value()
    queue = notice_queue.make_notice_queue(installation.keys, installation.settings, clock)
    poller = poll.MailboxPoller(installation.database, installation.keys, inbound, secret, clock, queue, stopping)
    return poll.poll_mailbox(poller, limit=max_messages)


def claim_mailbox_poll(installation: Installation, *, now: datetime) -> bool:
    """Claim the next poll of the mailbox, and return True if it's due.

    Return False if no mailbox is configured or all sending is paused.
    """
    if not installation.settings.file.inbound.host or _read_current_hold(installation):
        return False
    return poll.claim_poll_turn(installation.database, now=now)


def _read_current_hold(installation: Installation) -> installation_hold.InstallationHold | None:
    with installation.read() as session:
        return installation_hold.read_current_hold(session)


def send_due_transactional_emails(
    installation: Installation, *, clock: Clock, stopping: StopCheck = lambda: False
) -> Counter[HandoverStatus]:
    """Send the transactional emails that are due.

    If none are, the provider isn't opened.

    Raises:
        ProviderSettingsError: the settings don't configure sending, or they forbid it. Due
            emails wait for five minutes.
        InstallationError: the keys are the demo's. Due emails wait for five minutes.
    """
    with installation.read() as session:
        if not notices.has_due_notices(session, now=clock()) or _provider_waits(installation, session, clock()):
            return Counter()
    with _provider_for_notices(installation, clock) as provider:
        return notices.send_due_notices(
            installation.database, provider, installation.keys, installation.settings, clock=clock, stopping=stopping
        )


def send_due_corrections(
    installation: Installation,
    *,
    clock: Clock,
    sleep: Callable[[float], object] = time.sleep,
    stopping: StopCheck = lambda: False,
) -> Counter[HandoverStatus]:
    """Send the correction emails that are due, at the same rate as editions.

    If none are, the provider isn't opened.

    Raises:
        ProviderSettingsError: the settings don't configure sending, or they forbid it. Due
            emails wait for five minutes.
        InstallationError: the keys are the demo's. Due emails wait for five minutes.
    """
    with installation.read() as session:
        if not correction_sending.has_due_corrections(session, now=clock()) or _provider_waits(
            installation, session, clock()
        ):
            return Counter()
    database, keys, settings = installation.database, installation.keys, installation.settings
    with _provider_for_notices(installation, clock) as provider:
        return correction_sending.send_due_corrections(
            database, provider, keys, settings, clock=clock, sleep=sleep, stopping=stopping
        )


def _provider_waits(installation: Installation, session: Session, now: datetime) -> bool:
    """Return True if the provider has asked any process to wait."""
    name = provider_in_use(installation.settings).name
    return provider_wait.read_provider_wait(session, name, now) is not None


@contextmanager
def _provider_for_notices(installation: Installation, clock: Clock) -> Iterator[Provider]:
    """Yield the provider that sends transactional emails.

    If it fails or can't be opened, postpone the emails that are due.
    """
    try:
        with closing(open_sending_provider(installation)) as provider:
            yield provider
    except Exception:
        notices.postpone_due_notices(installation.database, now=clock(), delay=NOTICE_RETRY_DELAY)
        raise


READ_INBOUND = Action("inbound mail read")
MAX_MESSAGES = 100_000  # messages read from the mailbox in one run


@dataclass(frozen=True, slots=True)
class InboundMailResult:
    """The result of processing inbound mail.

    `poll` is None if no mailbox is configured or it can't be read. `trouble` says why.
    """

    poll: PollResult | None
    applied: Counter[str]
    trouble: str


def process_inbound_mail(
    installation: Installation, actor: Actor, *, clock: Clock, max_messages: int = MAX_MESSAGES
) -> InboundMailResult:
    """Read the bounce mailbox, then apply its messages and the providers' events.

    If the mailbox can't be read, the events are applied anyway.

    Raises:
        NotPermittedError: the actor isn't an admin.
        OSError: the unsubscribe log couldn't be written. The remaining events stay queued.
        KeyFileError: the key of a payload isn't in the key file. The payload stays queued.
    """
    READ_INBOUND.check_role(installation, actor, "mailbox", now=clock())
    poll, trouble = None, ""
    try:
        poll = read_bounce_mailbox(installation, clock=clock, max_messages=max_messages)
    except MailboxError as exc:
        trouble = str(exc)
    applied = apply_inbound_events(installation, clock=clock)
    recount_refusals_of_sent_editions(installation.database, now=clock())
    return InboundMailResult(poll, applied, trouble or (poll.stuck if poll else ""))
