"""Limits and queues: pure laws over made-up times."""

import math
import random
from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from itertools import count as count_forever

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from digest.deliver.plan.canary import CANARY_DUE_AT, compute_canary_size, find_canary_phase
from digest.deliver.send.limits.rate_limits import (
    DAY,
    HOUR,
    MINUTE,
    RECOVERY_INTERVAL,
    DomainLimits,
    RateLimit,
    RateUsage,
    RollingWindowRate,
    SpacedRate,
    compute_send_allowance,
    count_sending_days,
    list_current_rate_limits,
)
from digest.deliver.send.refusals.stop_rules import FailureCounts, choose_pause_reason, describe_list_change
from digest.settings import AlertSettings, UsageLimitSettings
from tests.moments import AFTER_RELEASE as NOON


@given(
    st.lists(st.integers(0, 240), max_size=60), st.integers(1, 40), st.sampled_from([MINUTE, HOUR, timedelta(hours=3)])
)
def test_no_bound_is_ever_passed_in_any_window(minutes: list[int], most: int, span: timedelta) -> None:
    bound = RateLimit(most, span, "so many")
    handed: Counter[datetime] = Counter()
    moments = []
    for minute in sorted(minutes):
        now = NOON + timedelta(minutes=minute, seconds=minute * 7 % 60)
        free = compute_send_allowance([bound], handed.items(), now)
        if free.messages:
            handed[now.replace(second=0)] += free.messages
            moments += [now] * free.messages
        else:
            assert free.available_at is not None
            assert free.available_at > now
            assert compute_send_allowance([bound], handed.items(), free.available_at).messages > 0
    for last in moments:
        assert sum(last - span < m <= last for m in moments) <= most


def test_of_several_bounds_the_tightest_counts_and_the_latest_says_when() -> None:
    hour, day = RateLimit(10, HOUR, "10 messages per hour"), RateLimit(12, DAY, "12 messages per day")
    handed = [(NOON - HOUR * 2, 5), (NOON - MINUTE * 10, 6)]
    assert compute_send_allowance([hour, day], handed, NOON).messages == 1
    full = compute_send_allowance([hour, day], [*handed, (NOON - MINUTE, 4)], NOON)
    assert (full.messages, full.reason) == (0, "the limit of 12 messages per day was reached")
    assert full.available_at == NOON - HOUR * 2 + DAY + MINUTE


def test_warming_up_counts_the_days_since_the_first_message() -> None:
    limits = UsageLimitSettings(warm_up=[50, 100])
    days = [
        [b.max_messages for b in list_current_rate_limits(limits, NOON, NOON + DAY * n)]
        for n in (-1, 0, 0.99, 1, 1.99, 2, 900)
    ]
    assert days == [[50], [50], [50], [100], [100], [], []]
    assert [b.max_messages for b in list_current_rate_limits(limits, None, NOON)] == [50]


@pytest.mark.parametrize(
    ("warm_up", "per_hour", "day", "days"),
    [
        ([], 0, 0, 1),
        ([500, 1000, 2000], 0, 0, 3),  # 500, 1,000, then 1,500 of 2,000
        ([500, 1000], 0, 0, 3),  # what is left, all on the day after the warm-up
        ([500, 1000, 2000], 0, 2, 2),
        ([500, 1000, 2000], 0, 3, 1),
        ([], 100, 0, 2),  # 2,400 a day
        ([500, 5000], 100, 0, 3),
        ([3000], 0, 0, 1),
    ],
)
def test_how_many_days_an_edition_takes_follows_from_its_limits(
    warm_up: list[int], per_hour: int, day: int, days: int
) -> None:
    limits = UsageLimitSettings(warm_up=warm_up, send_per_hour=per_hour)
    assert count_sending_days(limits, 3000, NOON - DAY * day if day else None, NOON) == days


def _most_in_a_window(moments: Sequence[datetime], span: timedelta) -> int:
    """Count the moments in the fullest window of a span, wherever it begins."""
    ordered, first, most = sorted(moments), 0, 0
    for place, last in enumerate(ordered):
        while last - ordered[first] >= span:
            first += 1
        most = max(most, place - first + 1)
    return most


@given(
    st.sampled_from([0.3, 1, 2.5, 5, 19, 20, 37, 100, 450]),
    st.sampled_from([timedelta(seconds=1), MINUTE, HOUR]),
    # Millionths of the span to wait before asking, 0: as long as it must be; and how many are asked for.
    st.lists(
        st.tuples(st.just(0) | st.integers(1, 99_999), st.just(60) | st.integers(1, 60)), min_size=1, max_size=150
    ),
)
@example(450, HOUR, [(0, 60)] * 60)
@example(100, HOUR, [(0, 60)] * 60)
def test_a_spaced_limit_holds_in_every_window_however_it_is_asked(
    most: float, span: timedelta, asked: list[tuple[int, int]]
) -> None:
    rate = SpacedRate.from_limit(most, span)
    now, ready_at = NOON, NOON - DAY
    moments: list[datetime] = []
    for millionths, requested in asked:
        now = now + span * millionths / 1_000_000 if millionths else max(now, ready_at)
        paid_until = rate.paid_until(ready_at, now)
        count = min(requested, rate.available_messages(paid_until, now))
        if count:
            moments += [now] * count
            ready_at = paid_until + rate.interval * count
    assert _most_in_a_window(moments, span) <= math.ceil(most)
    assert _most_in_a_window(moments, span * 60) <= math.ceil(most * 60)


@pytest.mark.parametrize("most", [1, 5, 20, 100, 1000])
def test_who_asks_all_the_time_gets_nearly_all_that_a_spaced_limit_allows(most: int) -> None:
    rate, now, given, ready_at = SpacedRate.from_limit(most, MINUTE), NOON, 0, NOON
    while now < NOON + HOUR:
        paid_until = rate.paid_until(ready_at, now)
        if count := rate.available_messages(paid_until, now):
            given += count
            ready_at = paid_until + rate.interval * count
        now += timedelta(milliseconds=200)
    assert 0.97 * most * 60 <= given <= most * 60


def _meter(rate: RollingWindowRate, pauses: Iterable[tuple[int, int]], end: datetime = NOON + HOUR) -> list[datetime]:
    """Ask for messages under a metered rate again and again; `pauses` are (milliseconds to come late, how many are asked for)."""
    now, usage = NOON, RateUsage()
    moments: list[datetime] = []
    for late, requested in pauses:
        count, ready_at = rate.compute_allowance(usage, now)
        if count := min(count, requested):
            moments += [now] * count
            usage = rate.add_messages(usage, count, now)
        now = max(now, ready_at) + timedelta(milliseconds=late)
        if now >= end:
            break
    return moments


@given(
    st.sampled_from([0.3, 1, 2.5, 5, 19, 20, 37, 100, 450]),
    st.lists(st.tuples(st.integers(0, 1200) | st.integers(0, 9), st.integers(1, 60)), min_size=1, max_size=250),
)
@example(450, [(1000, 60), *[(0, 60)] * 200])
@example(20, [(990, 60), *[(0, 60)] * 100])
def test_no_second_holds_more_than_a_metered_rate_however_it_is_asked(
    most: float, pauses: list[tuple[int, int]]
) -> None:
    moments = _meter(RollingWindowRate.from_limit(most), pauses)
    assert _most_in_a_window(moments, timedelta(seconds=1)) <= math.ceil(most)
    assert _most_in_a_window(moments, MINUTE) <= math.ceil(most * 60)


@pytest.mark.parametrize(
    ("most", "latest", "at_once"),
    [(0.5, 40, 1), (1, 8, 4), (5, 0, 1), (5, 40, 16), (20, 300, 60), (300, 8, 4), (300, 40, 16), (1000, 40, 60)],
)
def test_a_metered_rate_loses_no_more_than_who_asks_comes_late(most: float, latest: int, at_once: int) -> None:
    rate, chance = RollingWindowRate.from_limit(most), random.Random(most * latest)
    moments = _meter(rate, ((chance.randint(0, latest), at_once) for _ in count_forever()), NOON + MINUTE * 2)
    least = 0.98 * most * 60 / (1 + latest / 2 / 1000)
    for start in range(0, 60, 7):
        first = NOON + timedelta(seconds=start)
        assert least - 1 <= sum(first <= moment < first + MINUTE for moment in moments) <= most * 60 + 1


@pytest.mark.parametrize("back", [timedelta(seconds=30), timedelta(hours=5), timedelta(days=400)])
def test_a_clock_that_is_set_back_stops_nothing_for_longer_than_a_limit_lasts(back: timedelta) -> None:
    rate = SpacedRate.from_limit(5, MINUTE)
    ready_at = NOON + rate.interval
    moments = (NOON - back + timedelta(seconds=n) for n in range(200))
    waits = (n for n, now in enumerate(moments) if rate.available_messages(rate.paid_until(ready_at, now), now))
    assert next(waits) <= 75
    metered, full = RollingWindowRate.from_limit(5), RateUsage()
    for _ in range(5):
        full = metered.add_messages(full, 1, NOON)
    waits = (n for n in range(200) if metered.compute_allowance(full, NOON - back + timedelta(seconds=n))[0])
    assert next(waits) <= 75
    hour, counts = RateLimit(5, HOUR, "hour"), [(NOON, 5)]
    allowance = compute_send_allowance([hour], counts, NOON - back)
    assert allowance.messages or (allowance.available_at and allowance.available_at <= NOON - back + 2 * HOUR + MINUTE)


def _run(
    processes: Sequence[DomainLimits], waiting: dict[str, int], span: timedelta, every: timedelta
) -> dict[str, list[datetime]]:
    """Offer messages as claims of several processes do in turn; whoever is postponed comes back at the given moment."""
    rows = dict.fromkeys(waiting, NOON - DAY)
    queue = [(NOON, tag, True) for tag, count in waiting.items() for _ in range(count)]
    sent: dict[str, list[datetime]] = {tag: [] for tag in waiting}
    now = NOON
    while now < NOON + span:
        for limits in processes:
            limits.begin_claim(rows, now)
            still_waiting = []
            for due, tag, fresh in sorted(queue):
                postponed_until = limits.take_turn(tag, now, fresh=fresh) if due <= now else due
                if postponed_until is None:
                    sent[tag].append(now)
                else:
                    assert postponed_until > now
                    still_waiting.append((postponed_until, tag, fresh and postponed_until == due))
            queue = still_waiting
            rows |= limits.ready_times()
        now += every
    return sent


def _domain_limits(**caps: int) -> DomainLimits:
    return DomainLimits(caps)


def test_a_capped_domain_gets_its_share_and_the_others_are_not_slowed() -> None:
    sent = _run([_domain_limits(big=600)], {"big": 95, "small": 50}, MINUTE * 12, timedelta(seconds=1))
    assert len(sent["big"]) == 95
    assert sent["big"][-1] - NOON <= MINUTE * 11
    assert _most_in_a_window(sent["big"], MINUTE) <= 10
    assert sent["small"] == [NOON] * 50


@settings(max_examples=25, deadline=None)
@given(st.sampled_from([1, 7, 30, 59, 60, 119, 600, 2000, 9000]), st.integers(1, 150), st.integers(1, 3))
def test_no_hour_and_no_minute_holds_more_of_a_domain_than_its_share_however_many_processes_send(
    cap: int, waiting: int, processes: int
) -> None:
    span = HOUR * 3
    every = max(timedelta(seconds=2), HOUR / cap / 4)
    sent = _run([_domain_limits(big=cap) for _ in range(processes)], {"big": waiting}, span, every)["big"]
    assert _most_in_a_window(sent, HOUR) <= cap
    assert _most_in_a_window(sent, MINUTE) <= math.ceil(cap / 60)
    # Who looks four times an interval comes up to a quarter of it late.
    assert len(sent) >= min(waiting, int(0.7 * span / (HOUR / cap)))


def test_what_came_late_all_at_once_is_spread_again_and_nobody_is_lost() -> None:
    limits = _domain_limits(big=600)
    limits.begin_claim({"big": NOON - DAY}, NOON)
    late = [limits.take_turn("big", NOON, fresh=False) for _ in range(50)]
    assert late[0] is None
    assert _most_in_a_window([moment for moment in late if moment], MINUTE) <= 10


def _passing(limits: DomainLimits, now: datetime) -> int:
    """Count how many of a domain leave in the minute from now on, asked often."""
    rows, passed = {"big": NOON - DAY}, 0
    for tenth in range(600):
        moment = now + timedelta(seconds=tenth / 10)
        limits.begin_claim(rows, moment)
        passed += sum(limits.take_turn("big", moment, fresh=False) is None for _ in range(10))
        rows |= limits.ready_times()
    return passed


def test_a_domain_that_asks_for_less_gets_half_and_after_quiet_minutes_twice_as_much_again() -> None:
    limits = DomainLimits()
    for _ in range(64):
        assert limits.take_turn("big", NOON, fresh=True) is None
    assert limits.slow_down_domain("big", NOON)
    assert not limits.slow_down_domain("big", NOON + timedelta(seconds=59))
    assert _passing(limits, NOON + MINUTE) in {30, 31, 32}
    assert limits.slow_down_domain("big", NOON + MINUTE)
    assert _passing(limits, NOON + MINUTE * 2) in {15, 16}
    assert _passing(limits, NOON + MINUTE + RECOVERY_INTERVAL) in {30, 31, 32}
    assert 115 <= _passing(limits, NOON + MINUTE + RECOVERY_INTERVAL * 3) <= 128
    assert _passing(limits, NOON + MINUTE + RECOVERY_INTERVAL * 9) == 6000


def test_a_domain_with_a_cap_recovers_to_its_cap() -> None:
    limits = _domain_limits(big=600)
    assert limits.slow_down_domain("big", NOON)
    limits.slow_down_domain("big", NOON + MINUTE * 2)
    assert [_passing(limits, NOON + MINUTE * m) for m in (3, 8, 13, 60)] == [3, 5, 10, 10]


# First readers and alarms


def test_how_many_go_ahead() -> None:
    assert [compute_canary_size(n) for n in (0, 999, 1000, 2500, 10_000, 49_999, 50_000, 1_000_000)] == [
        *(0, 0, 20, 25, 100, 499, 500, 500)
    ]


def test_how_far_a_run_looks() -> None:
    later = NOON + timedelta(minutes=15)
    assert find_canary_phase(None, None, NOON).horizon == find_canary_phase(0, None, NOON).horizon == NOON
    assert (find_canary_phase(20, None, NOON).horizon, find_canary_phase(20, None, NOON).canary_only) == (
        CANARY_DUE_AT,
        True,
    )
    assert find_canary_phase(20, later, NOON).wait_until == later
    assert (find_canary_phase(20, later, later).horizon, find_canary_phase(20, later, later).wait_until) == (
        later,
        None,
    )


@pytest.mark.parametrize(
    ("found", "handed", "word"),
    [
        (FailureCounts(2), 20, ""),
        (FailureCounts(3), 20, "reported the email as spam"),
        (FailureCounts(3), 3000, "reported the email as spam"),
        (FailureCounts(3), 3001, ""),
        (FailureCounts(dead_addresses=9), 20, ""),
        (FailureCounts(dead_addresses=10), 200, "don't exist"),
        (FailureCounts(dead_addresses=10), 201, ""),
        (FailureCounts(policy_refusals=4), 5, ""),
        (FailureCounts(policy_refusals=5), 500, "by policy"),
        (FailureCounts(9, 99, 99), 100, "by policy"),
        (FailureCounts(), 0, ""),
    ],
)
def test_counts_decide_on_small_lists_and_shares_on_large_ones(found: FailureCounts, handed: int, word: str) -> None:
    said = choose_pause_reason(found, handed, AlertSettings())
    assert word in said if word else not said


@pytest.mark.parametrize(
    ("before", "planned", "odd"),
    [(None, 5, False), (100, 199, False), (100, 200, True), (1000, 1250, False), (1000, 1251, True), (1000, 0, True)],
)
def test_which_lists_are_odd(before: int | None, planned: int, *, odd: bool) -> None:
    assert bool(describe_list_change(before, planned, AlertSettings())) is odd
    assert not describe_list_change(before, planned, AlertSettings(list_drift=0))
