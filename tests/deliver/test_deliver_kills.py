"""A send that is killed, again and again: nobody is lost, nobody gets it twice, every doubt has a name.

The receiver is a process of its own; what it wrote down is the truth that the books are held against, after every
kill. A kill leaves in doubt at most what was under way: one message a connection, or one batch.
"""

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from digest.delivery_db import DeliveryState
from tests.deliver.crowds import Crowd, postgresql_crowd, sqlite_crowd
from tests.deliver.killing import (
    Ground,
    Way,
    ground,
    kill_at_boundaries,
    kill_at_random,
    kill_between_hand_and_word,
    sendgrid,
    smtp,
)

READERS = 3000
KILLS = 10
SLOW = {"smtp": 0.0, "sendgrid": 0.02}  # seconds that the receiver takes, else it is all over too soon
PHASES = {  # and what only their transactions write
    "the edition begins": ("update edition(state)",),
    "planning, page by page": ("insert delivery",),
    "planning is closed": ("planned_at",),
    "doubts get their name": ("update delivery(reply, state)",),
    "some are chosen to go ahead": ("edition(canary)",),
    "a claim": ("handed_at",),
    "a record with the next claim": ("handed_at", "tries"),
    "a record": ("tries",),
    "those who went ahead are waited for": ("canary_until",),
    "a sign of life": ("memo",),
    "the edition ends": ("sent_at",),
}


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def crowd(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Crowd:
    """Give people and an edition on SQLite, and on PostgreSQL."""
    folder = tmp_path_factory.mktemp("crowd")
    if request.param == "sqlite":
        return sqlite_crowd(folder, READERS, kilobytes=4)
    return postgresql_crowd(folder, request.getfixturevalue("postgresql_url"), READERS, kilobytes=4)


@pytest.fixture(params=[smtp(8), sendgrid(50)], ids=lambda way: way.name)
def at(request: pytest.FixtureRequest, crowd: Crowd, tmp_path: Path) -> Iterator[Ground]:
    """Give an installation over each way out."""
    way: Way = request.param
    with ground(way, tmp_path, crowd.copy(tmp_path), crowd.readers, SLOW[way.kind]) as laid:
        yield laid


def test_killed_at_every_write_boundary_it_loses_nobody_and_repeats_nothing(at: Ground) -> None:
    """At each kind of transaction that a send writes: before its commit and after it, the first time and again."""
    boundaries = kill_at_boundaries(at)
    met = {kind for kind, _, _ in (boundary.rsplit("; ", 2) for boundary in boundaries)}
    for phase, written in PHASES.items():
        assert any(all(word in kind for word in written) for kind in met), f"{phase} was not met"
    at.finish()


def test_killed_between_handing_over_and_the_answer_it_leaves_a_doubt_and_repeats_nothing(at: Ground) -> None:
    for when in ("before", "after", "before", "after"):
        kill_between_hand_and_word(at, when)
    at.finish()


@pytest.mark.parametrize("at", [smtp(1), smtp(8), sendgrid(50)], indirect=True, ids=lambda way: way.name)
def test_killed_at_random_moments_it_loses_nobody_and_repeats_nothing(at: Ground) -> None:
    seed = 47
    left = kill_at_random(at, KILLS, random.Random(seed))
    at.finish()
    doubts = list(at.states().values()).count(DeliveryState.UNCERTAIN)
    assert doubts == sum(left), "a doubt that no kill explains"
