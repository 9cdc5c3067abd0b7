"""Stop rules per receiving domain: one that refuses is set aside while the others go on; if several do, everything pauses."""

from collections.abc import Callable, Sequence

import pytest

from digest.deliver.control import edition_control
from digest.deliver.providers.base import BatchOutcome, HandoverResult, MessageOutcome, OutgoingMessage
from digest.deliver.send.run.edition_run import SendReport, run_edition
from digest.edition.queries import find_edition
from digest.store.delivery_models import DeliveryState
from digest.store.models import EditionState
from tests.deliver.conftest import EDITION_NAME, DeliverySetup
from tests.deliver.scripted_provider import ScriptedProvider

ACCEPTED, REFUSED, WAITING = DeliveryState.ACCEPTED, DeliveryState.REFUSED, DeliveryState.WAITING
POLICY = MessageOutcome(HandoverResult.REFUSED, "550 5.7.1 blocked by policy")
MISSING = MessageOutcome(HandoverResult.REFUSED, "550 5.1.1 no such user")


def _refuse_domains(*domains: str, outcome: MessageOutcome = POLICY) -> Callable[[str], MessageOutcome]:
    accepted = MessageOutcome(HandoverResult.ACCEPTED, "250 taken")
    return lambda address: outcome if address.rpartition("@")[2] in domains else accepted


def _provider(world: DeliverySetup, answer: Callable[[str], MessageOutcome]) -> ScriptedProvider:
    def answer_batch(messages: Sequence[OutgoingMessage]) -> BatchOutcome:
        world.clock.sleep(0.1)
        return BatchOutcome(tuple(answer(message.address) for message in messages))

    return ScriptedProvider(answer_batch, 10, "smtp")


def _send(world: DeliverySetup, provider: ScriptedProvider) -> SendReport:
    return run_edition(
        world.database, EDITION_NAME, provider, world.keys, world.settings, clock=world.clock, sleep=world.clock.sleep
    )


def _add_subscribers(world: DeliverySetup, count: int, *refusing: str, every: int = 5) -> None:
    """Add so many subscribers at 40 domains; each `every`-th is at one of the refusing domains, in turn."""
    world.add_subscribers(
        *(
            f"r{n}@{refusing[n // every % len(refusing)]}" if n % every == 0 else f"r{n}@d{n % 40}.example.org"
            for n in range(count)
        )
    )


def _paused_because(world: DeliverySetup) -> str:
    with world.database.read() as session:
        edition = find_edition(session, EDITION_NAME)
        return edition.paused_because if edition.paused_at else ""


@pytest.mark.parametrize("refusal", [POLICY, MISSING])
def test_a_domain_with_a_fifth_of_the_list_that_refuses_needs_no_resume(
    world: DeliverySetup, refusal: MessageOutcome
) -> None:
    _add_subscribers(world, 1500, "strict.example")
    resumes, report = 0, _send(world, _provider(world, _refuse_domains("strict.example", outcome=refusal)))
    while _paused_because(world):
        resumes += 1
        with world.database.write() as session:
            edition_control.resume_edition(session, EDITION_NAME, now=world.clock.now)
        report = _send(world, _provider(world, _refuse_domains("strict.example", outcome=refusal)))
    assert resumes == 0
    counts = report.delivery_counts
    assert counts[ACCEPTED] == 1200
    assert counts[REFUSED] < 20
    assert (counts[WAITING], counts.is_balanced) == (300 - counts[REFUSED], True)
    assert report.state is EditionState.SENDING
