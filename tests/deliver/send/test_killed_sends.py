"""A send is killed again and again: no subscriber is lost or gets two emails, and every uncertain message is listed.

The receiver is a process of its own; what it recorded is the truth that the delivery counts are compared with, after every
kill. A kill leaves in doubt at most what was under way: one message a connection, or one batch.
"""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from digest.store.delivery_models import DeliveryState
from tests.deliver.kill_harness import (
    KillableSend,
    SendRoute,
    kill_at_boundaries,
    kill_at_random,
    kill_before_answer,
    max_doubts_in_vain,
    open_killable_send,
    sendgrid_route,
    smtp_route,
)
from tests.deliver.prepared_databases import PreparedDatabase, prepare_postgresql, prepare_sqlite

SUBSCRIBERS = 1040  # a little more than make an edition large (`digest.deliver.plan.canary`), and two pages of planning
KILLS = 10
# Seconds that the receiver takes before and after it writes down, for a message a connection or a batch: some 800 messages a
# second. Else it is all over before a process can be killed.
RECEIVER_DELAY = 0.0006
PHASES = {  # and what only their transactions write
    "the edition begins": ("update edition(state)",),
    "planning, page by page": ("insert delivery",),
    "planning is closed": ("planned_at",),
    "a lease begins": ("insert run_lease",),
    "some are chosen to go ahead": ("edition(canary)",),
    "a claim": ("variant",),
    "a batch is handed over": ("handed_at",),
    "a record with the next claim": ("variant", "tries"),
    "a record": ("tries",),
    "those who went ahead are waited for": ("canary_until",),
    "a sign of life": ("memo",),
    "the edition ends": ("sent_at",),
    "a lease ends": ("delete run_lease",),
}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def crowd(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> PreparedDatabase:
    """Give people and an edition on SQLite, and on PostgreSQL."""
    folder = tmp_path_factory.mktemp("crowd")
    if request.param == "sqlite":
        return prepare_sqlite(folder, SUBSCRIBERS, kilobytes=4)
    return prepare_postgresql(folder, request.getfixturevalue("postgresql_url"), SUBSCRIBERS, kilobytes=4)


@pytest.fixture(params=[smtp_route(8), sendgrid_route(50)], ids=lambda way: way.name)
def at(request: pytest.FixtureRequest, crowd: PreparedDatabase, tmp_path: Path) -> Iterator[KillableSend]:
    """Give an installation over each way out."""
    way: SendRoute = request.param
    with open_killable_send(
        way, tmp_path, crowd.copy_into(tmp_path), crowd.subscribers, RECEIVER_DELAY * way.max_in_doubt
    ) as laid:
        yield laid


@pytest.mark.parametrize(
    ("crowd", "at"),
    [("sqlite", sendgrid_route(50)), ("postgresql", smtp_route(8))],
    indirect=True,
    ids=["sqlite-sendgrid", "postgresql-smtp"],
)
def test_killed_at_every_write_boundary_it_loses_nobody_and_repeats_nothing(at: KillableSend) -> None:
    """At each kind of transaction that a send writes: before its commit and after it, the first time and again."""
    boundaries = kill_at_boundaries(at)
    met = {kind for kind, _, _ in (boundary.rsplit("; ", 2) for boundary in boundaries)}
    for phase, written in PHASES.items():
        assert any(all(word in kind for word in written) for kind in met), f"{phase} was not met"
    at.finish_send()


def test_killed_between_handing_over_and_the_answer_it_leaves_a_doubt_and_repeats_nothing(at: KillableSend) -> None:
    for when in ("before", "after", "before", "after"):
        kill_before_answer(at, when)
    at.finish_send()


@pytest.mark.parametrize(("crowd", "at"), [("sqlite", smtp_route(8))], indirect=True, ids=["sqlite-smtp-8"])
def test_killed_at_random_moments_it_loses_nobody_and_repeats_nothing(at: KillableSend) -> None:
    seed = 47
    in_doubt = kill_at_random(at, KILLS, random.Random(seed))
    at.finish_send()
    doubts = list(at.delivery_states().values()).count(DeliveryState.UNCERTAIN)
    assert doubts == sum(in_doubt), "a doubt that no kill explains"
    if at.route.kind == "smtp":
        assert at.count_doubts_in_vain() <= max_doubts_in_vain(at.route, KILLS)
