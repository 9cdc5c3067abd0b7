"""The next form to answer, and the one that a full queue drops: pure decisions over nested networks."""

from collections import Counter
from datetime import timedelta
from itertools import count

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from subscribers.signup.rate_limits import NetworkHashes, NetworkQuota
from subscribers.signup.request_queue import (
    NetworkWaitingForms,
    SignupReplyAllowance,
    WaitingForm,
    choose_form_to_drop,
    choose_next_forms,
)

PLENTY = NetworkQuota(per_network=1000, first=1000, further=1000)
USUAL = NetworkQuota(per_network=30, first=500, further=200)
PATHS = [
    NetworkHashes(f"{wide}/32", f"{wide}.{middle}/40", f"{wide}.{middle}.{network}/48")
    for wide in range(4)
    for middle in range(2)
    for network in range(3)
]
arrivals = st.lists(st.sampled_from(PATHS), min_size=1, max_size=60)


def queue_up(paths: list[NetworkHashes]) -> list[WaitingForm]:
    turns: Counter[str] = Counter()
    forms = []
    for number, path in enumerate(paths, start=1):
        turns[path.wide] += 1
        forms.append(WaitingForm(number, turns[path.wide], path))
    return forms


def choose_all(forms: list[WaitingForm], limit: int = 1000) -> list[WaitingForm]:
    chosen = choose_next_forms(forms, {}, SignupReplyAllowance.full(PLENTY), limit=limit)
    return [next(form for form in forms if form.id == number) for number in chosen]


@given(arrivals, st.integers(0, 60))
def test_no_network_gets_more_than_its_share_while_others_of_its_kind_wait(
    paths: list[NetworkHashes], limit: int
) -> None:
    forms = queue_up(paths)
    chosen = choose_all(forms, limit)
    assert len(chosen) == min(limit, len(forms))
    for level in range(3):
        answered = Counter(form.networks[: level + 1] for form in chosen)
        waits = {form.networks[: level + 1] for form in forms if form not in chosen}
        for mine in answered:
            siblings = [path for path in waits if path[:level] == mine[:level] and path != mine]
            assert all(answered[mine] <= answered[other] + 1 for other in siblings)


@given(arrivals)
def test_wide_networks_take_turns(paths: list[NetworkHashes]) -> None:
    forms = queue_up(paths)
    chosen = choose_all(forms)
    rounds: Counter[str] = Counter()
    seen = []
    for form in chosen:
        rounds[form.networks.wide] += 1
        seen.append(rounds[form.networks.wide])
    assert seen == sorted(seen)
    for path in set(paths):
        ids = [form.id for form in chosen if form.networks == path and form.turn > 1]
        assert ids == sorted(ids), "inside a network, further forms keep their order"


def test_what_a_network_got_in_the_last_hour_counts() -> None:
    loud, quiet = PATHS[0], PATHS[-1]
    forms = queue_up([loud] * 10 + [quiet] * 2)
    chosen = choose_next_forms(forms, dict.fromkeys(loud, 40), SignupReplyAllowance(5, 5), limit=2)
    assert chosen == [11, 12]


def test_among_first_forms_the_newest_goes_first() -> None:
    assert [form.id for form in choose_all(queue_up([PATHS[0], PATHS[6], PATHS[12]]))] == [3, 2, 1]


@given(st.lists(st.integers(1, 600), min_size=1, max_size=20))
@settings(max_examples=50)
def test_a_network_that_is_alone_gets_the_whole_rate_and_leaves_the_room_of_first_forms(pauses: list[int]) -> None:
    allowance, ids = SignupReplyAllowance.full(USUAL), count(1)
    alone, answered = PATHS[0], 0
    for seconds in pauses:
        more_than_may_be = int(allowance.further) + 10
        forms = [WaitingForm(next(ids), 2, alone) for _ in range(more_than_may_be)]
        chosen = choose_next_forms(forms, dict.fromkeys(alone, answered), allowance, limit=more_than_may_be)
        for _ in chosen:
            spent = allowance.spend(2)
            assert spent is not None
            allowance = spent
        answered += len(chosen)
        assert allowance.first == USUAL.first
        allowance = allowance.refill(USUAL, timedelta(seconds=seconds))
    whole_rate = (USUAL.first + USUAL.further) / 3600 * sum(pauses[:-1])
    assert USUAL.further + whole_rate - 1.01 <= answered <= USUAL.further + whole_rate + 0.01


@pytest.mark.parametrize(
    ("left", "turn", "after"),
    [
        (SignupReplyAllowance(500, 200), 1, SignupReplyAllowance(499, 200)),
        (SignupReplyAllowance(500, 200), 2, SignupReplyAllowance(500, 199)),
        (SignupReplyAllowance(500, 0.5), 2, None),
        (SignupReplyAllowance(0.5, 3), 1, SignupReplyAllowance(0.5, 2)),
        (SignupReplyAllowance(0.5, 0.5), 1, None),
    ],
)
def test_first_forms_have_room_of_their_own(
    left: SignupReplyAllowance, turn: int, after: SignupReplyAllowance | None
) -> None:
    assert left.spend(turn) == after


def test_what_first_forms_leave_over_goes_to_all_others() -> None:
    assert SignupReplyAllowance(490, 0).refill(USUAL, timedelta(minutes=6)) == SignupReplyAllowance(500, 60)
    assert SignupReplyAllowance(0, 0).refill(USUAL, timedelta(minutes=6)) == SignupReplyAllowance(50, 20)
    assert SignupReplyAllowance(0, 0).refill(USUAL, timedelta(days=2)) == SignupReplyAllowance(500, 200)


def group_up(forms: list[WaitingForm]) -> list[NetworkWaitingForms]:
    by_path: dict[NetworkHashes, list[int]] = {}
    for form in forms:
        by_path.setdefault(form.networks, []).append(form.id)
    return [NetworkWaitingForms(path, len(ids), min(ids), max(ids)) for path, ids in by_path.items()]


@given(arrivals, st.sampled_from(PATHS))
def test_a_full_queue_drops_a_form_of_the_largest_network(paths: list[NetworkHashes], newcomer: NetworkHashes) -> None:
    forms = queue_up(paths)
    dropped = choose_form_to_drop(group_up(forms), newcomer)
    path = newcomer if dropped is None else next(form.networks for form in forms if form.id == dropped)
    for level in range(3):
        sizes = Counter(form.networks[: level + 1] for form in forms)
        sizes[newcomer[: level + 1]] += 1
        siblings = [size for sibling, size in sizes.items() if sibling[:level] == path[:level]]
        assert sizes[path[: level + 1]] == max(siblings)
    if dropped is not None:
        assert dropped == max(form.id for form in forms if form.networks == path)


def test_a_quiet_network_always_enters_and_a_flood_does_not_replace_its_own_forms() -> None:
    flood, quiet, other = PATHS[0], PATHS[6], PATHS[12]
    assert choose_form_to_drop(group_up(queue_up([flood, flood, other])), quiet) == 2
    assert choose_form_to_drop(group_up(queue_up([flood, flood, other])), flood) is None
    assert choose_form_to_drop(group_up(queue_up([flood, other])), quiet) == 1, "the one that has waited longest"
    sibling = PATHS[1]
    assert choose_form_to_drop(group_up(queue_up([flood, flood])), sibling) == 2
    assert choose_form_to_drop(group_up(queue_up([flood])), sibling) is None
