"""Which receiving domains refusals are about, or whether they're about the edition: one pure decision.

If a single domain accounts for the refusals, it's set aside, and the others go on. If several do, the sender is the likelier
cause, so everything pauses.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, Self, TypeVar

_MAJORITY = 0.5  # of the failures outside of domains at fault, for one domain to account for them
_MIN_FAILURES, _FAILED_SHARE = 2, 0.5  # of what a domain was handed, to set it aside when everything pauses


class FailureCount(Protocol):
    """Something that counts failures; `int` does."""

    def __add__(self, other: Self, /) -> Self:
        """Add the failures of another domain."""
        ...

    def __int__(self) -> int:
        """Return how many they are."""
        ...


F = TypeVar("F", bound=FailureCount)


@dataclass(frozen=True, slots=True)
class FailureAttribution:
    """The domains at fault, by tag, each with the reason, and why everything should pause; empty: it needn't."""

    domains: dict[str, str] = field(default_factory=dict)
    pause_reason: str = ""


def find_domains_at_fault(
    failures: Mapping[str | None, F],
    handed_over: Mapping[str | None, int],
    total: int,
    explain: Callable[[F, int], str],
    at_fault: Mapping[str, str],
) -> FailureAttribution:
    """Decide which domains are at fault beside those in `at_fault`, and whether everything should pause.

    `failures` and `handed_over` are by domain tag, and `total` is what all domains were handed. `explain` returns why so many
    failures among so many messages are too many; empty: they aren't.
    """
    domains = dict(at_fault)
    reasons = {tag: explain(count, handed_over.get(tag, 0)) for tag, count in failures.items()}
    domains |= {tag: why for tag, why in reasons.items() if tag and why}

    def explain_others(excluded: Mapping[str, str]) -> str:
        counts = [count for tag, count in failures.items() if tag not in excluded]
        others = total - sum(handed_over.get(tag, 0) for tag in excluded)
        return explain(_add(counts), others) if counts else ""

    if why := explain_others(domains):
        rest = {tag: int(count) for tag, count in failures.items() if tag not in domains}
        top = max(rest, key=lambda tag: rest[tag])
        is_one_domain = top and rest[top] > _MAJORITY * sum(rest.values())
        if not top or not is_one_domain or explain_others(domains | {top: why}):
            # So that those who resume needn't do it again for each of these.
            return FailureAttribution(dict.fromkeys(_find_refusing(failures, handed_over), why) | domains, why)
        domains[top] = why
    return FailureAttribution(domains, explain_others({}) if len(domains) > 1 else "")


def _find_refusing(failures: Mapping[str | None, F], handed_over: Mapping[str | None, int]) -> list[str]:
    """Return the domains that refused most of what they were handed."""
    return [
        tag
        for tag, count in failures.items()
        if tag and int(count) >= max(_MIN_FAILURES, _FAILED_SHARE * handed_over.get(tag, 0))
    ]


def _add(counts: list[F]) -> F:
    total, *others = counts
    for count in others:
        total += count
    return total
