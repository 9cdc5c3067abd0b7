"""Recognizing security advisories by number rather than by title.

Agencies reuse a title for different advisories ("CISA Adds One Known Exploited Vulnerability to
Catalog"), and publishers report one advisory under many titles. Only the number identifies it.
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
_MAX_TEXT = 4_000  # number of characters of a summary to search
# Maximum number of later advisories to keep each advisory apart from. A week has fewer of any one kind.
MAX_KEPT_APART = 100


class AdvisoryKind(StrEnum):
    """The kind of an advisory. Only advisories of the same kind are compared."""

    NOTICE = "an advisory with a number of its own"
    VULNERABILITY = "a record of one vulnerability"
    CATALOG = "an addition to the catalog of known exploited vulnerabilities"
    LIST = "a list of advisories"


@dataclass(frozen=True, slots=True)
class Advisory:
    """The advisory that an article is or reports on. Its identifying numbers are in upper case.

    For a list of advisories, or for a catalog addition that names no vulnerability, the only
    "number" is the article's URL.
    """

    kind: AdvisoryKind
    numbers: frozenset[str]


def find_advisory(article: CandidateArticle) -> Advisory | None:
    """Return the advisory that an article is or reports on, or None if it has no identifying number."""
    if _LIST_TITLE.search(article.title):
        return Advisory(AdvisoryKind.LIST, frozenset({article.url}))
    summary = article.summary[:_MAX_TEXT]
    if _CATALOG_TITLE.search(article.title):
        vulnerabilities = _find_numbers(CVE_NUMBER, f"{article.title} {summary}")
        return Advisory(AdvisoryKind.CATALOG, vulnerabilities or frozenset({article.url}))
    page = _page_name(article)
    for text in (page, article.title, summary):
        if ("-" in text or "#" in text) and (own := _find_numbers(OWN_NUMBER, text)):  # rules out most texts
            # If a text contains several numbers, it's unclear which one it's about.
            return Advisory(AdvisoryKind.NOTICE, own) if len(own) == 1 else None
    if record := CVE_NUMBER.fullmatch(page) or CVE_NUMBER.match(article.title.strip()):
        return Advisory(AdvisoryKind.VULNERABILITY, frozenset({record.group().upper()}))
    return None


def find_advisory_numbers(article: CandidateArticle) -> frozenset[str]:
    """Return all advisory and vulnerability numbers in an article's URL, title, and summary, in upper case."""
    texts = (_page_name(article), article.title, article.summary[:_MAX_TEXT])
    return frozenset(number for text in texts for number in extract_advisory_numbers(text))


def link_advisories(articles: Sequence[CandidateArticle]) -> tuple[StoryGroupingDecision, ...]:
    """Return decisions that group articles on the same advisory and keep different advisories apart.

    Within a kind, articles that share a number belong to one advisory. All others are different
    advisories, whatever their titles. The result doesn't depend on the order of the articles.
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
    """Yield decisions that group each set of URLs and keep it apart from the sets after it."""
    for place, group in enumerate(groups):
        if len(group) > 1:
            yield StoryGroupingDecision(frozenset(group))
        if later := groups[place + 1 : place + 1 + MAX_KEPT_APART]:
            yield StoryGroupingDecision(frozenset(group), frozenset(chain.from_iterable(later)))


def _connect_by_number(numbers_by_url: dict[str, frozenset[str]]) -> list[tuple[str, ...]]:
    """Group URLs that share numbers, directly or through other URLs."""
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
    """Return the last component of an article's URL path, where agencies put the number."""
    return urlsplit(article.url).path.rstrip("/").rpartition("/")[2]


def _find_numbers(pattern: re.Pattern[str], text: str) -> frozenset[str]:
    return frozenset(number.upper() for number in pattern.findall(text))
