"""Three editions in a row over a real SMTP server: which stop rule is triggered, reported once, and ended by an admin."""

import re
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

import pytest
from aiosmtpd.smtp import SMTP, Envelope, Session
from pydantic import SecretStr
from sqlalchemy import select

from digest.app.sending import background_tasks
from digest.app.sending import send_control as sending
from digest.deliver.control import edition_control
from digest.deliver.inbound import payloads
from digest.deliver.providers.registry import open_provider
from digest.deliver.send.run.edition_sending import SendError, SendReport, run_edition
from digest.installation.audited_actions import make_terminal_actor
from digest.installation.opened_installation import Installation
from digest.store.delivery_models import DeliveryState
from digest.store.models import AuditEntry, EditionState
from subscribers.store.models import Person, PersonState
from tests.deliver.conftest import EDITION_NAME, DeliverySetup, store_approved_edition
from tests.deliver.returned_mails import sent_message
from tests.deliver.smtp_servers import RecordingHandler, run_smtp_server
from tests.moments import RELEASE

SUBSCRIBERS = 400
NAMES = (EDITION_NAME, "2026-W48", "2026-W49")


class MailServer(RecordingHandler):
    """A server that does not know one reader in a hundred, others each week, and at times refuses every twentieth of ours."""

    week = 0
    refuses_us = False

    def __init__(self) -> None:
        super().__init__()
        self.recipients: Counter[int] = Counter()
        self.refused_for_policy: set[int] = set()
        self._told_of = 0

    def is_dead(self, subscriber: int) -> bool:
        """Say whether the server does not know a reader any more by this week."""
        return 1 <= subscriber % 100 <= self.week + 1

    async def handle_RCPT(  # noqa: N802 - its name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        subscriber = int(re.findall(r"\d+", address)[0])
        if self.is_dead(subscriber):
            return "550 5.1.1 no such user"
        self._told_of += 1
        if self.refuses_us and self._told_of % 20 == 0:
            self.refused_for_policy.add(subscriber)
            return "550 5.7.26 this mail is not authenticated"
        self.recipients[subscriber] += 1
        envelope.rcpt_tos.append(address)
        return "250 2.1.5 fine"


@dataclass
class Publication:
    """The installation, the server that it sends to, and an admin."""

    world: DeliverySetup
    server: MailServer
    installation: Installation = field(init=False)

    def __post_init__(self) -> None:
        self.installation = Installation(self.world.settings, self.world.database)

    def now(self) -> datetime:
        """Return the time, which goes on: what counts against an edition came after its plan.

        By steps with which the alarms are examined some ten times in the course of an edition.
        """
        self.world.clock.sleep(0.05)
        return self.world.clock()

    def send(self, name: str, *, limit: int | None = None) -> SendReport:
        """Send an edition, or go on with it."""
        world = self.world
        with closing(open_provider(world.settings)) as provider:
            return run_edition(
                world.database,
                name,
                provider,
                world.keys,
                world.settings,
                clock=self.now,
                sleep=world.clock.sleep,
                limit=limit,
            )

    def begin_week(self, week: int) -> str:
        """Let a week begin, with its edition; return its name."""
        release = RELEASE + timedelta(weeks=week)
        if week:
            store_approved_edition(self.world.database, self.world.settings, NAMES[week], release)
        self.world.clock.now = release
        self.server.week, self.server.recipients = week, Counter()
        return NAMES[week]

    def resume(self, name: str) -> None:
        """Let an admin look and say that it may go on."""
        self.world.clock.sleep(600)
        admin = make_terminal_actor("eve")
        assert sending.resume_edition(self.installation, name, actor=admin, now=self.now()).changed

    def complain(self, name: str, subscriber: int) -> None:
        """Let a reader report the mail as unwanted; the report comes to the bounce mailbox."""
        world = self.world
        raw = sent_message(world.keys, subscriber, f"edition:{name}", f"r{subscriber}@example.org").returned_mail(
            "yahoo"
        )
        payloads.store_payload(world.database, world.keys, raw, origin="mailbox", now=self.now())
        background_tasks.apply_inbound_events(self.installation, clock=self.now)

    def alarms(self) -> Counter[str]:
        """Count by edition how often an alarm was told."""
        with self.world.database.read() as session:
            paused = select(AuditEntry).where(
                AuditEntry.act == "paused", AuditEntry.actor == edition_control.AUTOMATIC_ACTOR
            )
            return Counter(entry.subject for entry in session.scalars(paused))

    def suppressed(self) -> set[int]:
        """Return the numbers of those who are never mailed again."""
        with self.world.database.read() as session:
            return set(session.scalars(select(Person.number).where(Person.state == PersonState.SUPPRESSED)))


@pytest.fixture
def publication(world: DeliverySetup) -> Iterator[Publication]:
    """Give one whose readers are numbered as their addresses are."""
    server = MailServer()
    with run_smtp_server(server) as port:
        mail_url = SecretStr(f"smtp://127.0.0.1:{port}?starttls=off&connections=4")
        world = replace(world, settings=world.settings.model_copy(update={"mail_url": mail_url}))
        world.settings.key_file.touch(mode=0o600)
        world.settings.key_file.write_text(world.keys.to_json())
        numbers = world.add_subscribers(*(f"r{n}@example.org" for n in range(1, SUBSCRIBERS + 1)))
        assert numbers == list(range(1, SUBSCRIBERS + 1))
        yield Publication(world, server)


def test_of_three_editions_each_alarm_rings_where_it_should_and_everybody_who_can_be_mailed_is(
    publication: Publication,
) -> None:
    server, everybody = publication.server, set(range(1, SUBSCRIBERS + 1))

    def dead() -> set[int]:
        return {subscriber for subscriber in everybody if server.is_dead(subscriber)}

    # One in a hundred addresses does not exist: no reason to stop.
    first = publication.send(publication.begin_week(0))
    assert (first.state, first.delivery_counts.is_balanced) == (EditionState.SENT, True)
    assert server.recipients == Counter(everybody - dead())
    assert publication.suppressed() == dead()
    assert publication.alarms() == {}

    # The next week others do not exist, and one in twenty refuses us for what we are.
    name, server.refuses_us = publication.begin_week(1), True
    stopped = publication.send(name)
    assert "by policy" in stopped.wait_reason
    # Five refusals come within the first hundred; what was claimed and on the way by then went out.
    assert stopped.delivery_counts[DeliveryState.WAITING] > SUBSCRIBERS // 8
    with pytest.raises(SendError, match="is paused"):
        publication.send(name)
    server.refuses_us = False
    publication.resume(name)
    second = publication.send(name)
    assert (second.state, second.delivery_counts.is_balanced) == (EditionState.SENT, True)
    assert server.recipients == Counter(everybody - dead() - server.refused_for_policy)
    assert publication.suppressed() == dead(), "who refused us is not to blame"
    assert publication.alarms() == {name: 1}

    # The week after that some have had enough, while the edition is under way.
    name = publication.begin_week(2)
    publication.send(name, limit=SUBSCRIBERS // 2)
    complaining = [subscriber for subscriber in sorted(server.recipients) if subscriber % 7 == 0][:6]
    for subscriber in complaining:
        publication.complain(name, subscriber)
    with pytest.raises(SendError, match="reported the email as spam"):
        publication.send(name)
    publication.resume(name)
    third = publication.send(name)
    assert (third.state, third.delivery_counts.is_balanced) == (EditionState.SENT, True)
    assert server.recipients == Counter(everybody - dead())
    assert server.refused_for_policy - dead() <= server.recipients.keys()
    assert publication.suppressed() == dead() | set(complaining)
    assert publication.alarms() == {NAMES[1]: 1, NAMES[2]: 1}
