"""Evaluation of how topics are assigned to articles, against topics assigned by hand."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from digest.app.evaluation.labeled_files import EvaluationError, is_text_list, normalize_label_url, read_labels
from digest.select.selection_types import CandidateArticle
from digest.select.topics import TopicMatch, TopicRules, compile_topic_rules
from digest.settings import Settings, SourceSettings

ALL_SETS = "all"  # the score over all labeled articles
_LIST_KEYS = ("topics", "may", "categories")
_NO_SOURCE = SourceSettings.model_construct(name="", publisher="")


@dataclass(frozen=True, slots=True)
class TopicLabel:
    """A labeled article with its correct topics (empty if it should get none) and other acceptable ones."""

    set_name: str
    article: CandidateArticle
    right: tuple[str, ...]
    allowed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TopicLabelComparison:
    """A labeled article with the topic that the rules assigned to it."""

    label: TopicLabel
    match: TopicMatch | None

    @property
    def is_right(self) -> bool:
        """Whether a correct topic was assigned, or none if none is correct."""
        return self.match.topic in self.label.right if self.match else not self.label.right

    @property
    def is_allowed(self) -> bool:
        """Whether the assigned topic is correct or acceptable."""
        return self.match is not None and self.match.topic in {*self.label.right, *self.label.allowed}


@dataclass(frozen=True, slots=True)
class TopicSetScore:
    """The counts of one set of labels.

    `given` articles were assigned a topic, of which `right` are correct and `allowed` are correct or acceptable.
    `wanted` articles should have a topic, of which `found` got a correct one and `found_allowed` a correct or
    acceptable one.
    """

    name: str
    article_count: int
    given: int
    right: int
    allowed: int
    wanted: int
    found: int
    found_allowed: int

    @property
    def precision(self) -> float:
        """The fraction of the assigned topics that are correct; 1 if none were assigned."""
        return self.right / self.given if self.given else 1.0

    @property
    def lenient_precision(self) -> float:
        """The fraction of the assigned topics that are correct or acceptable; 1 if none were assigned."""
        return self.allowed / self.given if self.given else 1.0

    @property
    def recall(self) -> float:
        """The fraction of the articles with a correct topic that were assigned one; 1 if there are no such articles."""
        return self.found / self.wanted if self.wanted else 1.0

    @property
    def lenient_recall(self) -> float:
        """The fraction of the articles with a correct topic that got a correct or acceptable one; 1 if none has one."""
        return self.found_allowed / self.wanted if self.wanted else 1.0


@dataclass(frozen=True, slots=True)
class TopicEvaluation:
    """The scores of each set and of all sets, the disagreements, and the labels' topics that the rules don't define."""

    sets: tuple[TopicSetScore, ...]
    disagreements: tuple[TopicLabelComparison, ...]
    unknown_topics: tuple[str, ...]


def evaluate_topics(labels_file: Path, settings: Settings) -> TopicEvaluation:
    """Assign topics to labeled articles and score them against the labels.

    Args:
        labels_file: the labels; `benchmarks/evaluation.md` describes their format.
        settings: the operator's topics, if any, and the sources, which are matched to articles by host.

    Raises:
        EvaluationError: the file can't be read or has the wrong format.
    """
    sources = {urlsplit(source.url).hostname: source for source in reversed(settings.file.sources)}
    labels = _read_topic_labels(labels_file, sources)
    return score_topic_labels(labels, compile_topic_rules(settings.file.select.topics))


def score_topic_labels(labels: Iterable[TopicLabel], rules: TopicRules) -> TopicEvaluation:
    """Score topic rules against labels: each set in order of appearance, then all together."""
    matches = [TopicLabelComparison(label, rules.match_topic(label.article)) for label in labels]
    by_set: dict[str, list[TopicLabelComparison]] = defaultdict(list)
    for match in matches:
        by_set[match.label.set_name].append(match)
    scores = [_score_topic_set(name, of_set) for name, of_set in by_set.items()]
    label_topics = {topic for m in matches for topic in (*m.label.right, *m.label.allowed)}
    return TopicEvaluation(
        sets=(*scores, _score_topic_set(ALL_SETS, matches)) if len(scores) != 1 else tuple(scores),
        disagreements=tuple(m for m in matches if not m.is_right),
        unknown_topics=tuple(sorted(label_topics - set(rules.topic_names))),
    )


def _score_topic_set(name: str, matches: list[TopicLabelComparison]) -> TopicSetScore:
    matched = [m for m in matches if m.match]
    labeled = [m for m in matches if m.label.right]
    return TopicSetScore(
        name=name,
        article_count=len(matches),
        given=len(matched),
        right=sum(m.is_right for m in matched),
        allowed=sum(m.is_allowed for m in matched),
        wanted=len(labeled),
        found=sum(m.is_right for m in labeled),
        found_allowed=sum(m.is_allowed for m in labeled),
    )


def _read_topic_labels(file: Path, sources: Mapping[str | None, SourceSettings]) -> list[TopicLabel]:
    rows = read_labels(file)
    if isinstance(rows, dict):
        rows = [rows]  # a file with a single line
    if not isinstance(rows, list) or not rows:
        raise EvaluationError(f'{file} contains no labels. Use one {{"url": …, "title": …, "topics": […]}} per line.')
    return [_parse_topic_label(file, number, row, sources) for number, row in enumerate(rows, 1)]


def _check_topic_label(file: Path, number: int, row: Any) -> None:
    if not isinstance(row, dict) or not all(isinstance(row.get(key), str) for key in ("url", "title")):
        raise EvaluationError(f"Label {number} in {file} is missing its url or title. Add the missing value.")
    for key in _LIST_KEYS:
        if not is_text_list(row.get(key, [])):
            raise EvaluationError(f"In {file}, the value of {key} in label {number} isn't a list of words. Correct it.")
    if "topics" not in row:
        raise EvaluationError(f"Label {number} in {file} has no topics. For an article without topics, use [].")


def _parse_topic_label(file: Path, number: int, row: Any, sources: Mapping[str | None, SourceSettings]) -> TopicLabel:
    _check_topic_label(file, number, row)
    lists = {key: tuple(row.get(key, ())) for key in _LIST_KEYS}
    url = normalize_label_url(row["url"])
    source = sources.get(urlsplit(url).hostname) or _NO_SOURCE
    article = CandidateArticle(
        url=url,
        link=row["url"],
        title=row["title"],
        summary=str(row.get("summary") or ""),
        source=source.name,
        publisher=source.publisher,
        dated_at=datetime(1970, 1, 1, tzinfo=UTC),  # topics don't depend on the date
        primary=source.primary,
        own=source.own,
        categories=lists["categories"],
        topics=tuple(sorted(source.topics.items())),
        default_topic=source.default_topic,
    )
    return TopicLabel(str(row.get("set", "labels")), article, lists["topics"], lists["may"])
