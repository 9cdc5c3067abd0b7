"""What came back of the messages that left, read and applied at an admin's word."""

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime

from digest.app.actor import Actor, Role
from digest.app.acts import Act
from digest.app.background import apply_inbound_events, read_bounce_mailbox
from digest.app.installation import Installation
from digest.deliver.events.mailbox.imap import MailboxError
from digest.deliver.events.mailbox.poll import PollResult

READ_INBOUND = Act("inbound mail read", Role.ADMIN)
MAX_MESSAGES = 100_000  # messages of the mailbox in one run


@dataclass(frozen=True, slots=True)
class InboundResult:
    """What one run did. `poll` is None where no mailbox is set or it could not be read; `trouble` says why not."""

    poll: PollResult | None
    applied: Counter[str]
    trouble: str


def process_inbound_mail(
    installation: Installation, actor: Actor, *, clock: Callable[[], datetime], max_messages: int = MAX_MESSAGES
) -> InboundResult:
    """Read the bounce mailbox, and apply what it and the providers say; trouble with the mailbox stops nothing else.

    Raises:
        NotPermittedError: the actor is no admin.
        OSError: the departure log could not be written; what is not applied yet waits.
        KeyFileError: a payload was encrypted with a key that is not in the key file; it waits.
    """
    READ_INBOUND.check_role(installation.database, actor, "mailbox", now=clock())
    poll, trouble = None, ""
    try:
        poll = read_bounce_mailbox(installation, clock=clock, max_messages=max_messages)
    except MailboxError as exc:
        trouble = str(exc)
    applied = apply_inbound_events(installation, clock=clock)
    return InboundResult(poll, applied, trouble or (poll.stuck if poll else ""))
