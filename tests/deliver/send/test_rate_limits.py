"""Bounds, lines and buckets: pure laws over made-up minutes."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from digest.deliver.plan.canary import CANARY_DUE_AT, canary_size, current_canary_phase
from digest.deliver.send.alarms import FailureCounts, list_change_warning, pause_reason
from digest.deliver.send.rate_limits import (
    DAY,
    HOUR,
    MINUTE,
    RECOVERY_INTERVAL,
    DomainLimits,
    RateLimit,
    TokenBucket,
    allowance_under_limits,
    asks_to_slow_down,
    current_rate_limits,
)
from digest.settings import AlertSettings, LimitSettings

NOON = datetime(2026, 11, 20, 12, tzinfo=UTC)


@given(
    st.lists(st.integers(0, 240), max_size=60), st.integers(1, 40), st.sampled_from([MINUTE, HOUR, timedelta(hours=3)])
)
def test_no_bound_is_ever_passed_in_any_window(minutes: list[int], most: int, span: timedelta) -> None:
    bound = RateLimit(most, span, "so many")
    handed: Counter[datetime] = Counter()
    moments = []
    for minute in sorted(minutes):
        now = NOON + timedelta(minutes=minute, seconds=minute * 7 % 60)
        free = allowance_under_limits([bound], handed.items(), now)
        if free.messages:
            handed[now.replace(second=0)] += free.messages
            moments += [now] * free.messages
        else:
            assert free.available_at is not None
            assert free.available_at > now
            assert allowance_under_limits([bound], handed.items(), free.available_at).messages > 0
    for last in moments:
        assert sum(last - span < m <= last for m in moments) <= most


def test_of_several_bounds_the_tightest_counts_and_the_latest_says_when() -> None:
    hour, day = RateLimit(10, HOUR, "hour"), RateLimit(12, DAY, "day")
    handed = [(NOON - HOUR * 2, 5), (NOON - MINUTE * 10, 6)]
    assert allowance_under_limits([hour, day], handed, NOON).messages == 1
    full = allowance_under_limits([hour, day], [*handed, (NOON - MINUTE, 4)], NOON)
    assert (full.messages, full.reason) == (0, "the bound of day is reached")
    assert full.available_at == NOON - HOUR * 2 + DAY + MINUTE


def test_warming_up_counts_the_days_since_the_first_message() -> None:
    limits = LimitSettings(warm_up=[50, 100])
    days = [
        [b.max_messages for b in current_rate_limits(limits, NOON, NOON + DAY * n)]
        for n in (-1, 0, 0.99, 1, 1.99, 2, 900)
    ]
    assert days == [[50], [50], [50], [100], [100], [], []]
    assert [b.max_messages for b in current_rate_limits(limits, None, NOON)] == [50]


def test_a_bucket_gives_a_seconds_worth_at_most_and_forgets_a_clock_that_goes_back() -> None:
    bucket = TokenBucket(5.0)
    assert bucket.current_allowance(NOON).messages == 1
    assert bucket.current_allowance(NOON + timedelta(hours=1)).messages == 5
    bucket.take(5)
    empty = bucket.current_allowance(NOON + timedelta(minutes=30))
    assert empty.messages == 0
    assert empty.available_at == NOON + timedelta(minutes=30, milliseconds=200)


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("421 try later", True),
        ("451 4.7.0 too many messages", True),
        ("450 4.7.28 rate limited", True),
        ("451 4.4.2 timeout", True),
        ("450 4.3.2 not now", True),
        ("450 4.7.1 greylisted", False),
        ("452 4.2.2 full", False),
        ("a text about 421 4.7.0", False),
        ("", False),
    ],
)
def test_what_asks_for_patience_with_a_whole_domain(reply: str, *, expected: bool) -> None:
    assert asks_to_slow_down(reply) is expected


def _run(lines: DomainLimits, waiting: dict[str, int], minutes: int, every: int = 20) -> list[Counter[str]]:
    """Offer messages as claims do: whoever is postponed comes back at the given moment."""
    queue = [(NOON, tag, True) for tag, count in waiting.items() for _ in range(count)]
    sent = [Counter[str]() for _ in range(minutes)]
    for minute in range(minutes):
        for second in range(0, 60, every):
            now = NOON + timedelta(minutes=minute, seconds=second)
            still_waiting = []
            for due, tag, fresh in sorted(queue):
                postponed_until = lines.postponed_until(tag, now, fresh=fresh) if due <= now else due
                if postponed_until is None:
                    sent[minute][tag] += 1
                else:
                    assert postponed_until > now or due > now
                    still_waiting.append((postponed_until, tag, fresh and postponed_until == due))
            queue = still_waiting
    return sent


def test_a_capped_domain_gets_its_share_every_minute_and_loses_nobody() -> None:
    sent = _run(DomainLimits({"big": 600}), {"big": 95, "small": 50}, 12, every=6)
    assert [c["big"] for c in sent] == [10, 10, 10, 10, 10, 10, 10, 10, 10, 5, 0, 0]
    assert sent[0]["small"] == 50


@given(st.integers(60, 2000), st.integers(0, 400))
def test_no_minute_holds_more_than_its_share(cap: int, waiting: int) -> None:
    sent = _run(DomainLimits({"big": cap}), {"big": waiting}, 20)
    assert max(c["big"] for c in sent) <= max(1, cap // 60)
    # Who is looked at only three times a minute comes a little late.
    assert sum(c["big"] for c in sent) >= min(waiting, 16 * (cap // 60))


def test_a_domain_that_asks_for_less_gets_half_and_after_quiet_minutes_twice_as_much_again() -> None:
    lines = DomainLimits()
    for _ in range(64):
        assert lines.postponed_until("big", NOON, fresh=True) is None
    assert lines.slow_down_domain("big", NOON)
    assert not lines.slow_down_domain("big", NOON + timedelta(seconds=59))

    def passing(now: datetime) -> int:
        return sum(lines.postponed_until("big", now, fresh=False) is None for _ in range(500))

    assert passing(NOON + MINUTE) == 32
    assert lines.slow_down_domain("big", NOON + MINUTE)
    assert passing(NOON + MINUTE * 2) == 16
    assert passing(NOON + MINUTE + RECOVERY_INTERVAL) == 32
    assert passing(NOON + MINUTE + RECOVERY_INTERVAL * 3) == 128
    assert passing(NOON + MINUTE + RECOVERY_INTERVAL * 9) == 500


def test_a_domain_with_a_cap_recovers_to_its_cap() -> None:
    lines = DomainLimits({"big": 600})
    assert lines.slow_down_domain("big", NOON)
    lines.slow_down_domain("big", NOON + MINUTE * 2)
    counts = [
        sum(lines.postponed_until("big", NOON + MINUTE * m, fresh=False) is None for _ in range(50))
        for m in (3, 8, 13, 60)
    ]
    assert counts == [2, 4, 8, 10]


# First readers and alarms


def test_how_many_go_ahead() -> None:
    assert [canary_size(n) for n in (0, 999, 1000, 2500, 10_000, 49_999, 50_000, 1_000_000)] == [
        *(0, 0, 20, 25, 100, 499, 500, 500)
    ]


def test_how_far_a_run_looks() -> None:
    later = NOON + timedelta(minutes=15)
    assert current_canary_phase(None, None, NOON).horizon == current_canary_phase(0, None, NOON).horizon == NOON
    assert (current_canary_phase(20, None, NOON).horizon, current_canary_phase(20, None, NOON).canary_only) == (
        CANARY_DUE_AT,
        True,
    )
    assert current_canary_phase(20, later, NOON).wait_until == later
    assert (current_canary_phase(20, later, later).horizon, current_canary_phase(20, later, later).wait_until) == (
        later,
        None,
    )


@pytest.mark.parametrize(
    ("found", "handed", "word"),
    [
        (FailureCounts(2), 20, ""),
        (FailureCounts(3), 20, "unwanted"),
        (FailureCounts(3), 3000, "unwanted"),
        (FailureCounts(3), 3001, ""),
        (FailureCounts(dead_addresses=9), 20, ""),
        (FailureCounts(dead_addresses=10), 200, "do not exist"),
        (FailureCounts(dead_addresses=10), 201, ""),
        (FailureCounts(policy_refusals=4), 5, ""),
        (FailureCounts(policy_refusals=5), 500, "for what we are"),
        (FailureCounts(9, 99, 99), 100, "for what we are"),
        (FailureCounts(), 0, ""),
    ],
)
def test_counts_decide_on_small_lists_and_shares_on_large_ones(found: FailureCounts, handed: int, word: str) -> None:
    said = pause_reason(found, handed, AlertSettings())
    assert word in said if word else not said


@pytest.mark.parametrize(
    ("before", "planned", "odd"),
    [(None, 5, False), (100, 199, False), (100, 200, True), (1000, 1250, False), (1000, 1251, True), (1000, 0, True)],
)
def test_which_lists_are_odd(before: int | None, planned: int, *, odd: bool) -> None:
    assert bool(list_change_warning(before, planned, AlertSettings())) is odd
    assert not list_change_warning(before, planned, AlertSettings(list_drift=0))
