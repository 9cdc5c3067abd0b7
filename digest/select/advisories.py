"""Security advisories: which articles are one, by their numbers and never by their titles.

An agency gives different advisories one title ("CISA Adds One Known Exploited Vulnerability to Catalog"), and publishers
tell of one advisory under many. What it is about is its number.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import chain
from urllib.parse import urlsplit

from digest.collect.texts.advisory_numbers import CVE_NUMBER, OWN_NUMBER, extract_advisory_numbers
from digest.select.selection_types import CandidateArticle
from digest.select.story_links import StoryGroupingDecision

_CATALOG_TITLE = re.compile(
    r"\badds?\b.{0,80}\b(?:known[ -]exploited[ -]vulnerabilit(?:y|ies)|exploited[ -]vulnerabilit(?:y|ies) (?:to )?catalog|KEV)\b",
    re.IGNORECASE,
)
_LIST_TITLE = re.compile(
    r"\breleases? \S+ (?:industrial control systems?|ICS|medical)(?: medical)? advisor(?:y|ies)\b", re.IGNORECASE
)
_MAX_TEXT = 4_000  # characters of a summary that are looked through for numbers
MAX_KEPT_APART = 100  # later ones that an advisory is held apart from: more than come in a week of one kind


class AdvisoryKind(StrEnum):
    """What an advisory is; only those of one kind are held against each other."""

    NOTICE = "an advisory with a number of its own"
    VULNERABILITY = "a record of one vulnerability"
    CATALOG = "an addition to the catalog of known exploited vulnerabilities"
    LIST = "a list of advisories"


@dataclass(frozen=True, slots=True)
class Advisory:
    """An advisory that an article is, with the numbers that it is about, in capitals.

    A list of advisories, or an addition that names no vulnerability, has its address for a number: nothing else is it.
    """

    kind: AdvisoryKind
    numbers: frozenset[str]


def find_advisory(article: CandidateArticle) -> Advisory | None:
    """Tell whether an article is an advisory, or the news of one; publishers do not matter, numbers do."""
    if _LIST_TITLE.search(article.title):
        return Advisory(AdvisoryKind.LIST, frozenset({article.url}))
    summary = article.summary[:_MAX_TEXT]
    if _CATALOG_TITLE.search(article.title):
        vulnerabilities = _find_numbers(CVE_NUMBER, f"{article.title} {summary}")
        return Advisory(AdvisoryKind.CATALOG, vulnerabilities or frozenset({article.url}))
    page = _page_name(article)
    for text in (page, article.title, summary):
        if own := _find_numbers(OWN_NUMBER, text):
            # Of a text that names several nobody can tell which one it is.
            return Advisory(AdvisoryKind.NOTICE, own) if len(own) == 1 else None
    if record := CVE_NUMBER.fullmatch(page) or CVE_NUMBER.match(article.title.strip()):
        return Advisory(AdvisoryKind.VULNERABILITY, frozenset({record.group().upper()}))
    return None


def find_advisory_numbers(article: CandidateArticle) -> frozenset[str]:
    """Return all numbers of advisories and vulnerabilities that an article names, in capitals: its page, title, summary."""
    texts = (_page_name(article), article.title, article.summary[:_MAX_TEXT])
    return frozenset(number for text in texts for number in extract_advisory_numbers(text))


def link_advisories(articles: Sequence[CandidateArticle]) -> tuple[StoryGroupingDecision, ...]:
    """Say which articles are one advisory, and which are different ones, in any order of arrival to the same result.

    Of one kind, those that share a number are one; all others are different, whatever their titles.
    """
    advisories = [(a, advisory) for a in articles if (advisory := find_advisory(a))]
    dated_at = {a.url: a.dated_at for a, _ in advisories}
    links: list[StoryGroupingDecision] = []
    for kind in AdvisoryKind:
        of_kind = [(a.url, advisory) for a, advisory in advisories if advisory.kind is kind]
        groups = _connect_by_number({url: advisory.numbers for url, advisory in of_kind})
        groups.sort(key=lambda group: (min(dated_at[url] for url in group), group))
        links += _link_groups(groups)
    return tuple(links)


def _link_groups(groups: Sequence[Sequence[str]]) -> Iterator[StoryGroupingDecision]:
    """Link what is in one group, and keep each group apart from the later ones."""
    for place, group in enumerate(groups):
        if len(group) > 1:
            yield StoryGroupingDecision(frozenset(group))
        if later := groups[place + 1 : place + 1 + MAX_KEPT_APART]:
            yield StoryGroupingDecision(frozenset(group), frozenset(chain.from_iterable(later)))


def _connect_by_number(numbers_by_url: dict[str, frozenset[str]]) -> list[tuple[str, ...]]:
    """Return the URLs in groups that share numbers, also by way of each other."""
    group_of: dict[str, set[str]] = {}
    urls_by_number: dict[str, set[str]] = defaultdict(set)
    for url in sorted(numbers_by_url):
        mine = {url}
        for number in numbers_by_url[url]:
            for other in urls_by_number[number]:
                mine |= group_of[other]
            urls_by_number[number].add(url)
        group_of.update(dict.fromkeys(mine, mine))
    return sorted({tuple(sorted(group)) for group in group_of.values()})


def _page_name(article: CandidateArticle) -> str:
    """Return the last part of an article's address, in which agencies put the number."""
    return urlsplit(article.url).path.rstrip("/").rpartition("/")[2]


def _find_numbers(pattern: re.Pattern[str], text: str) -> frozenset[str]:
    return frozenset(number.upper() for number in pattern.findall(text))
