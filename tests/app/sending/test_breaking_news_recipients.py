"""Breaking news is sent once, only to subscribers who have chosen it at that moment, despite changes and crashes."""

import random
import signal
from collections import Counter
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path

import pytest

from digest.app.sending import breaking_news
from digest.deliver.send.run.edition_sending import run_edition
from digest.installation.opened_installation import Installation
from digest.store.models import EditionState
from subscribers.consent.preferences import Preferences, change_preferences
from subscribers.lifecycle.unsubscribe import unsubscribe_person
from tests.app.approval.test_approvals import LATER, SAM, install, install_on_both
from tests.app.sending.test_breaking_news import LIST, TODAY, add_list, approve_news, draft, edition
from tests.deliver.kill_harness import WAIT_TIMEOUT, process_context, subscriber_number
from tests.deliver.killed_process import accept, send_until_killed
from tests.deliver.scripted_provider import ScriptedProvider

__all__ = ["install", "install_on_both"]

PAUSED = TODAY + timedelta(days=9)


def order(install: Installation) -> str:
    """Draft and approve breaking news, and choose to send it now."""
    name = draft(install)
    approve_news(install, name)
    breaking_news.request_send_now(install, name, actor=SAM, now=LATER)
    return name


@dataclass
class ChangingList:
    """Subscribers who change their minds: the truth that the messages are compared with."""

    install: Installation
    draw: random.Random
    choices: dict[int, Preferences]  # without those who unsubscribed

    def gets_it(self, number: int) -> bool:
        return number in self.choices and self.choices[number].gets_breaking_news(TODAY)

    def change_some(self) -> None:
        """Let a few subscribers turn it on or off, pause, resume, or unsubscribe."""
        for number in self.draw.sample(sorted(self.choices), 6):
            kind, before = self.draw.randrange(5), self.choices[number]
            if kind == 0:
                self._unsubscribe(number)
                continue
            paused = replace(before, pause_until=None if before.pause_until else PAUSED)
            self.choices[number] = paused if kind == 1 else replace(before, breaking_news=not before.breaking_news)
            with self.install.write() as session:
                change_preferences(session, number, self.choices[number], LATER)

    def _unsubscribe(self, number: int) -> None:
        with self.install.write() as session:
            unsubscribe_person(session, self.install.unsubscribe_log, number, method="one-click", now=LATER)
        del self.choices[number]


def draw_preferences(draw: random.Random) -> Preferences:
    return Preferences(
        omit=frozenset(draw.sample(("featured", "topics", "events"), draw.randrange(4))),
        frequency=draw.choice(("weekly", "monthly")),
        zone="UTC",
        hour=draw.randrange(24),
        short=draw.random() < 0.3,
        text_only=draw.random() < 0.3,
        breaking_news=draw.random() < 0.6,
        pause_until=draw.choice((None, None, None, TODAY, PAUSED)),
    )


@pytest.mark.parametrize("seed", range(3))
def test_only_those_who_chose_it_get_it_whatever_they_change_while_it_is_sent(
    install_on_both: Installation, seed: int
) -> None:
    draw = random.Random(seed)
    drawn = [draw_preferences(draw) for _ in range(60)]
    numbers = add_list(install_on_both, drawn)
    people = ChangingList(install_on_both, draw, dict(zip(numbers, drawn, strict=True)))
    name = order(install_on_both)
    always = {number for number in numbers if people.gets_it(number)}
    provider = ScriptedProvider(accept, batch_size=3, name="outbox")
    got: Counter[int] = Counter()
    state = EditionState.APPROVED
    while state is not EditionState.SENT:
        people.change_some()
        already = len(provider.received_messages)
        database, settings = install_on_both.database, install_on_both.settings
        report = run_edition(database, name, provider, install_on_both.keys, settings, clock=lambda: LATER, limit=5)
        state = report.state
        now_sent = [numbers[subscriber_number(m.address)] for m in provider.received_messages[already:]]
        assert all(map(people.gets_it, now_sent)), "someone without the choice was emailed"
        got.update(now_sent)
        always = {number for number in always if people.gets_it(number) or number in got}
    assert max(got.values()) == 1
    assert got.keys() >= always, "someone who chose it throughout got nothing"
    assert len(always) > 10


def test_killed_at_every_commit_it_repeats_nothing(install: Installation, tmp_path: Path) -> None:
    """No one gets it twice. A kill leaves the status of one message unknown, at most."""
    add_list(install)
    name = order(install)
    kills = 0
    while True:
        url = install.database.engine.url.render_as_string(hide_password=False)
        arguments = (url, install.settings, name, tmp_path, LATER)
        process = process_context.Process(target=send_until_killed, args=arguments)
        process.start()
        process.join(WAIT_TIMEOUT)
        if process.exitcode == 0:
            break
        assert process.exitcode == -signal.SIGKILL
        kills += 1
    assert kills > 10
    assert edition(install, name).state == EditionState.SENT
    received = Counter((tmp_path / "received").read_text().split())
    assert max(received.values()) == 1
    chosen = {f"reader{number}@example.org" for number, (_, is_sent) in enumerate(LIST) if is_sent}
    assert received.keys() <= chosen
