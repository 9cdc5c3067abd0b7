"""What is done all day, whatever the edition: forms are answered, mails handed over, what comes back applied."""

from collections import Counter
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta

from digest.app.installation import Installation
from digest.deliver.control import installation_hold
from digest.deliver.events.intake import apply_stored_payloads
from digest.deliver.events.mailbox import poll
from digest.deliver.events.mailbox.imap import MailboxError
from digest.deliver.events.payloads import store_payload
from digest.deliver.providers.base import HandoverResult
from digest.deliver.providers.kind import ProviderWebhook
from digest.deliver.providers.registry import find_provider, open_provider
from digest.deliver.send import notices
from digest.settings import Settings
from subscribers.consent.departure_log import DepartureLog
from subscribers.signup.rate_limits import SignupLimits
from subscribers.signup.request_processor import RequestProcessor, SignupAnswer


def signup_limits(settings: Settings) -> SignupLimits:
    """Take the limits on sign-up forms from the settings."""
    limits = settings.file.limits
    return SignupLimits(
        per_address_day=limits.signups_per_address,
        per_network_hour=limits.signups_per_network,
        alarm_per_hour=limits.signups_alarm,
        brake_per_hour=limits.signups_brake,
        mails_per_hour=limits.signup_mails,
        max_pending=limits.signups_waiting,
        per_address_month=limits.signup_mails_per_address,
    )


def process_signup_requests(install: Installation, *, clock: Callable[[], datetime]) -> dict[SignupAnswer, int]:
    """Answer the sign-up forms that wait: consent event and queued mail in one commit a form."""
    worker = RequestProcessor(
        database=install.database,
        keys=install.keys,
        signup_limits=signup_limits(install.settings),
        evidence_retention=timedelta(days=install.settings.file.retention.evidence_days),
        queue=notices.make_notice_queue(install.keys, install.settings, clock),
    )
    return worker.process_pending(clock)


def apply_inbound_events(install: Installation, *, clock: Callable[[], datetime]) -> Counter[str]:
    """Apply what providers have posted of messages that left; count what came of it.

    Raises:
        OSError: the journal of departures could not be written; what is not applied yet waits.
        KeyFileError: a payload was sealed with a key that is not in the key file; it waits.
    """
    journal = DepartureLog(install.settings.left_log, install.keys)
    return apply_stored_payloads(install.database, install.keys, journal, clock=clock)


def has_webhook(provider_name: str) -> bool:
    """Whether there is a provider of that name that posts events."""
    return _find_webhook(provider_name) is not None


def _find_webhook(provider_name: str) -> ProviderWebhook | None:
    provider = find_provider(provider_name)
    return provider.webhook if provider else None


def receive_webhook(
    install: Installation, provider_name: str, header: Callable[[str], str | None], body: bytes, *, now: datetime
) -> str:
    """Store a provider's post, durably when this returns; return why it is refused, for the log alone, else an empty text."""
    webhook = _find_webhook(provider_name)
    assert webhook is not None, "see has_webhook"
    reason = webhook.refusal_reason(install.settings, header, body, now)
    if not reason:
        store_payload(install.database, install.keys, body, origin=provider_name, now=now)
    return reason


def read_bounce_mailbox(
    install: Installation,
    *,
    clock: Callable[[], datetime],
    max_messages: int = poll.MAX_MESSAGES,
    stopping: Callable[[], bool] = lambda: False,
) -> poll.PollResult | None:
    """Store the bounces and complaints that wait in the mailbox, to be applied; None where no mailbox is set.

    While the installation is held it is not read: a copy must not take away what came back to the original.

    Raises:
        MailboxError: it cannot be read; what was stored before that is stored.
    """
    place, password = install.settings.file.inbound, install.settings.inbound_password
    if not place.host or password is None:
        return None
    if why := _read_current_hold(install):
        raise MailboxError(f"not read: the installation is {why}")
    secret = password.get_secret_value()
    reader = poll.MailboxPoller(install.database, install.keys, place, secret, clock, stopping)
    return poll.poll_mailbox(reader, limit=max_messages)


def claim_mailbox_turn(install: Installation, *, now: datetime) -> bool:
    """Take the turn to look into the mailbox, if there is one, nothing is held, and it is time."""
    if not install.settings.file.inbound.host or _read_current_hold(install):
        return False
    return poll.claim_poll_turn(install.database, now=now)


def _read_current_hold(install: Installation) -> installation_hold.InstallationHold | None:
    with install.database.read() as session:
        return installation_hold.current_hold(session)


NOTICE_RETRY_DELAY = timedelta(
    minutes=5
)  # between two tries to open a way out that the settings forbid, or that breaks


def send_due_notices(install: Installation, *, clock: Callable[[], datetime]) -> Counter[HandoverResult]:
    """Hand over the mails that are no edition and are due; without one, nothing is opened.

    Raises:
        ProviderSettingsError: the settings do not say how to send, or forbid it; what is due waits for five minutes.
    """
    with install.database.read() as session:
        if not notices.has_due_notices(session, now=clock()):
            return Counter()
    try:
        with closing(open_provider(install.settings)) as transport:
            return notices.send_due_notices(install.database, transport, install.keys, install.settings, clock=clock)
    except Exception:
        notices.postpone_due_notices(install.database, now=clock(), delay=NOTICE_RETRY_DELAY)
        raise
