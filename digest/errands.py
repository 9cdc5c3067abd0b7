"""What is done all day, whatever the edition: forms are answered, mails handed over, what comes back applied."""

from collections import Counter
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta

from digest.deliver import holding, notices
from digest.deliver.handing import Result
from digest.deliver.inbound import mailbox
from digest.deliver.inbound.applying import apply_all
from digest.deliver.inbound.imap import MailboxError
from digest.deliver.transports import open_transport
from digest.install import Install
from digest.settings import Settings
from subscribers.asking import Answer, Worker
from subscribers.journal import Journal
from subscribers.limits import Bounds


def bounds_of(settings: Settings) -> Bounds:
    """Take the limits on sign-up forms from the settings."""
    limits = settings.file.limits
    return Bounds(
        per_address_day=limits.signups_per_address,
        per_network_hour=limits.signups_per_network,
        alarm_hour=limits.signups_alarm,
        brake_hour=limits.signups_brake,
        mails_hour=limits.signup_mails,
        queue=limits.signups_waiting,
        per_address_month=limits.signup_mails_per_address,
    )


def answer_requests(install: Install, *, clock: Callable[[], datetime]) -> dict[Answer, int]:
    """Answer the sign-up forms that wait: consent event and queued mail in one commit a form."""
    worker = Worker(
        books=install.database,
        keys=install.keys,
        bounds=bounds_of(install.settings),
        evidence_for=timedelta(days=install.settings.file.retention.evidence_days),
        queue=notices.queue(install.keys, install.settings, clock),
    )
    return worker.answer_all(clock)


def apply_events(install: Install, *, clock: Callable[[], datetime]) -> Counter[str]:
    """Apply what providers have posted of messages that left; count what came of it.

    Raises:
        OSError: the journal of departures could not be written; what is not applied yet waits.
        KeyFileError: a payload was sealed with a key that is not in the key file; it waits.
    """
    journal = Journal(install.settings.left_log, install.keys)
    return apply_all(install.database, install.keys, journal, clock=clock)


def read_mailbox(
    install: Install,
    *,
    clock: Callable[[], datetime],
    most: int = mailbox.MOST,
    stopping: Callable[[], bool] = lambda: False,
) -> mailbox.Look | None:
    """Store the bounces and complaints that wait in the mailbox, to be applied; None where no mailbox is set.

    While the installation is held it is not read: a copy must not take away what came back to the original.

    Raises:
        MailboxError: it cannot be read; what was stored before that is stored.
    """
    place, password = install.settings.file.inbound, install.settings.inbound_password
    if not place.host or password is None:
        return None
    if why := _held(install):
        raise MailboxError(f"not read: the installation is {why}")
    secret = password.get_secret_value()
    reader = mailbox.Reader(install.database, install.keys, place, secret, clock, stopping)
    return mailbox.look(reader, most=most)


def mailbox_due(install: Install, *, now: datetime) -> bool:
    """Take the turn to look into the mailbox, if there is one, nothing is held, and it is time."""
    if not install.settings.file.inbound.host or _held(install):
        return False
    return mailbox.its_turn(install.database, now=now)


def _held(install: Install) -> holding.Held | None:
    with install.database.read() as session:
        return holding.held(session)


SHUT = timedelta(minutes=5)  # between two tries to open a way out that the settings forbid, or that breaks


def send_notices(install: Install, *, clock: Callable[[], datetime]) -> Counter[Result]:
    """Hand over the mails that are no edition and are due; without one, nothing is opened.

    Raises:
        TransportError: the settings do not say how to send, or forbid it; what is due waits for five minutes.
    """
    with install.database.read() as session:
        if not notices.anything_due(session, now=clock()):
            return Counter()
    try:
        with closing(open_transport(install.settings)) as transport:
            return notices.send(install.database, transport, install.keys, install.settings, now_fn=clock)
    except Exception:
        notices.postpone(install.database, now=clock(), by=SHUT)
        raise
