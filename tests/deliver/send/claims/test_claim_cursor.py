"""The cursor of a run's claims: where they continue, and when they start over."""

from dataclasses import dataclass
from datetime import datetime, timedelta

from digest.deliver.send.claims.delivery_claims import RETURN_INTERVAL, ClaimCursor
from tests.moments import RELEASE

START = ClaimCursor().after
LATER = RELEASE + timedelta(minutes=15)


@dataclass(frozen=True)
class DueRow:
    next_try_at: datetime
    person: int | None


def test_claims_continue_after_the_last_row_and_skip_what_was_read_before_once_nothing_is_due() -> None:
    cursor = ClaimCursor()
    assert cursor.return_if_due(RELEASE), "the first claim begins at the start"
    cursor.advance([DueRow(RELEASE, 7), DueRow(LATER, 3)])
    assert cursor.after == (LATER, 3)
    cursor.return_to_start(RELEASE)
    assert cursor.after == START
    cursor.advance([DueRow(RELEASE, 5)])  # one that another run returned
    assert cursor.after == (RELEASE, 5)
    cursor.advance([])
    assert cursor.after == (LATER, 3)
    cursor.return_to_start(RELEASE)
    cursor.advance([])
    assert cursor.after == (LATER, 3)


def test_a_row_without_a_person_leaves_the_others_of_its_time_ahead() -> None:
    cursor = ClaimCursor()
    cursor.advance([DueRow(RELEASE, None)])
    assert START < cursor.after < (RELEASE, 1)


def test_claims_return_to_the_start_after_half_a_minute_or_if_the_clock_was_set_back() -> None:
    cursor = ClaimCursor()
    assert cursor.return_if_due(RELEASE)
    cursor.advance([DueRow(RELEASE, 7)])
    assert not cursor.return_if_due(RELEASE + RETURN_INTERVAL - timedelta(seconds=1))
    assert cursor.after == (RELEASE, 7)
    assert cursor.return_if_due(RELEASE + RETURN_INTERVAL)
    assert not cursor.return_if_due(RELEASE + RETURN_INTERVAL)
    assert cursor.return_if_due(RELEASE - timedelta(hours=1))
    assert cursor.after == START
