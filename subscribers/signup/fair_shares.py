"""Fair shares for sign-up forms: which waiting form is answered next, and which one is dropped when the queue is full.

Networks are nested: an IPv6 /48 in a /40 in a /32, an IPv4 /24 in a /16. Whoever owns a wide network owns all networks
inside it, so shares are given to wide networks first, and then divided inside each of them. Pure functions over values;
`request_queue` reads and writes the rows.
"""

import heapq
import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import NamedTuple

from subscribers.signup.rate_limits import NetworkQuota, NetworkTags

_HOUR = timedelta(hours=1)


class WaitingForm(NamedTuple):
    """A form in the queue. IDs are in order of arrival; `turn` counts the forms of its wide network in the hour, from 1."""

    id: int
    turn: int
    networks: NetworkTags


class WaitingGroup(NamedTuple):
    """The waiting forms of one network: how many, and the IDs of the first and the last that arrived."""

    networks: NetworkTags
    size: int
    oldest: int
    newest: int


@dataclass(frozen=True, slots=True)
class Allowance:
    """How many forms can be answered now: first forms of wide networks in an hour, and all others.

    Both refill evenly, from nothing to the quota in an hour. What a full `first` can't take goes to `further`, so that a
    network that is alone gets the whole rate, and never the room of first forms.
    """

    first: float
    further: float

    @classmethod
    def full(cls, quota: NetworkQuota) -> "Allowance":
        """Return the most that the quota allows at once."""
        return cls(quota.first, quota.further)

    def refill(self, quota: NetworkQuota, elapsed: timedelta) -> "Allowance":
        """Return the allowance after some time in which nothing was answered."""
        share = elapsed / _HOUR
        first = self.first + quota.first * share
        unused = max(0.0, first - quota.first)
        return Allowance(min(quota.first, first), min(quota.further, self.further + quota.further * share + unused))

    def spend(self, turn: int) -> "Allowance | None":
        """Return what's left after answering a form, or None if the form must wait."""
        if turn == 1 and self.first >= 1:
            return replace(self, first=self.first - 1)
        return replace(self, further=self.further - 1) if self.further >= 1 else None


def choose_next(
    waiting: Iterable[WaitingForm], answered: Mapping[str, int], allowance: Allowance, *, limit: int
) -> list[int]:
    """Return the IDs of the forms to answer now, in order, at most `limit`.

    Networks take turns: the next form always comes from the wide network with the fewest answers, and inside it from the
    middle network and the network with the fewest. `answered` counts the answers of the last hour by hash.
    """
    counts = Counter(answered)
    queue = [(_rank(form, counts), form) for form in waiting]
    heapq.heapify(queue)
    chosen: list[int] = []
    while queue and len(chosen) < limit:
        rank, form = queue[0]
        if (current := _rank(form, counts)) != rank:  # a form of the same network was chosen meanwhile
            heapq.heapreplace(queue, (current, form))
            continue
        heapq.heappop(queue)
        if (left := allowance.spend(form.turn)) is not None:
            allowance = left
            chosen.append(form.id)
            counts.update(set(form.networks))
    return chosen


def _rank(form: WaitingForm, answered: Mapping[str, int]) -> tuple[int, int, int, bool, int]:
    """Rank a form, lowest first.

    Among first forms with equal counts, the newest goes first: in a crowd too large to answer, most people who come now
    still get their email at once, while in order of arrival all of them would wait for hours.
    """
    wide, middle, network = (answered.get(tag, 0) for tag in form.networks)
    is_first = form.turn == 1
    return wide, middle, network, not is_first, -form.id if is_first else form.id


def choose_dropped(groups: Iterable[WaitingGroup], newcomer: NetworkTags) -> int | None:
    """Return the ID of the form to drop from a full queue, or None if the newcomer can't enter.

    The largest wide network loses a form: the newest of the largest network in its largest middle network. Among wide
    networks of equal size, the one that has waited longest loses, so a quiet network can always enter. Inside a wide
    network, it's the one that came last: a flood can't replace its own forms, and rejecting them writes nothing.
    """
    left = list(groups)
    contested = True  # whether the newcomer is in the networks that are left
    for level, own in enumerate(newcomer):
        sizes, arrivals = Counter[str](), dict[str, float]()
        for group in left:
            tag = group.networks[level]
            sizes[tag] += group.size
            arrivals[tag] = min(arrivals.get(tag, group.oldest), group.oldest)
        if contested:
            sizes[own] += 1
            arrivals[own] = math.inf
        largest = max(sizes, key=lambda tag: (sizes[tag], arrivals[tag] if level else -arrivals[tag]))
        contested = contested and largest == own
        left = [group for group in left if group.networks[level] == largest]
    return None if contested else max(group.newest for group in left)
