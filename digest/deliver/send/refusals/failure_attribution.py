"""Decisions about whether refusals are due to particular recipient domains or to the edition. Pure.

If a single domain accounts for the refusals, it's set aside, and sending to others continues. If
several do, the sender is the more likely cause, so everything is paused.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, Self, TypeVar

# The share of the other failures that one domain must have to account for them.
_MAJORITY = 0.5
# A domain that refused this many of its messages, and this share, is set aside when everything is paused.
_MIN_FAILURES, _FAILED_SHARE = 2, 0.5


class FailureCount(Protocol):
    """A count of failures, such as an `int`."""

    def __add__(self, other: Self, /) -> Self:
        """Return the sum of these failures and another domain's."""
        ...

    def __int__(self) -> int:
        """Return the number of failures."""
        ...


F = TypeVar("F", bound=FailureCount)


@dataclass(frozen=True, slots=True)
class FailureAttribution:
    """The domains at fault, by tag, mapped to the reasons, and why everything should be paused, or ""."""

    domains: dict[str, str] = field(default_factory=dict)
    pause_reason: str = ""


def find_domains_at_fault(
    failures: Mapping[str | None, F],
    handed_over: Mapping[str | None, int],
    total: int,
    explain: Callable[[F, int], str],
    at_fault: Mapping[str, str],
) -> FailureAttribution:
    """Decide which domains are at fault in addition to `at_fault`, and whether everything should be paused.

    `failures` and `handed_over` are by domain tag, and `total` is the number of messages to all
    domains. `explain` returns why a number of failures among a number of messages is too many, or
    "" if it's acceptable.
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
            # Set these aside, too, so that someone who resumes sending doesn't have to do it for each one.
            return FailureAttribution(dict.fromkeys(_find_refusing(failures, handed_over), why) | domains, why)
        domains[top] = why
    return FailureAttribution(domains, explain_others({}) if len(domains) > 1 else "")


def _find_refusing(
    failures: Mapping[str | None, F],
    handed_over: Mapping[str | None, int],
) -> list[str]:
    """Return the domains that refused most of their messages."""
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
