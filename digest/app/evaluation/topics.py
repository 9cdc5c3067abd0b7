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

ALL_SETS = "all"  # the name of the score for all labeled articles
_LIST_KEYS = ("topics", "may", "categories")
_NO_SOURCE = SourceSettings.model_construct(name="", publisher="")


@dataclass(frozen=True, slots=True)
class TopicLabel:
    """A labeled article with its correct topics and other acceptable ones.

    `right` is empty if the article should get no topic.
    """

    set_name: str
    article: CandidateArticle
    right: tuple[str, ...]
    allowed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TopicLabelComparison:
    """A labeled article, and the topic that the rules assigned to it."""

    label: TopicLabel
    match: TopicMatch | None

    @property
    def is_right(self) -> bool:
        """True if a correct topic was assigned, or if no topic was assigned and none is correct."""
        return self.match.topic in self.label.right if self.match else not self.label.right

    @property
    def is_allowed(self) -> bool:
        """True if the assigned topic is correct or acceptable."""
        return self.match is not None and self.match.topic in {*self.label.right, *self.label.allowed}


@dataclass(frozen=True, slots=True)
class LabelSetScore:
    """The counts for one set of labels.

    `given` is the number of articles that were assigned a topic. Of these topics, `right` are
    correct and `allowed` are correct or acceptable. `wanted` is the number of articles that should
    have a topic. Of these articles, `found` were assigned a correct topic and `found_allowed` a
    correct or acceptable one.
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
        """The fraction of assigned topics that are correct, or 1 if none were assigned."""
        return self.right / self.given if self.given else 1.0

    @property
    def lenient_precision(self) -> float:
        """The fraction of assigned topics that are correct or acceptable, or 1 if none were assigned."""
        return self.allowed / self.given if self.given else 1.0

    @property
    def recall(self) -> float:
        """The fraction of articles with a correct topic that were assigned it.

        If no article has a correct topic, it's 1.
        """
        return self.found / self.wanted if self.wanted else 1.0

    @property
    def lenient_recall(self) -> float:
        """The fraction of articles with a correct topic that were assigned a correct or acceptable one.

        If no article has a correct topic, it's 1.
        """
        return self.found_allowed / self.wanted if self.wanted else 1.0


@dataclass(frozen=True, slots=True)
class TopicEvaluation:
    """The scores for each set and for all sets together.

    `disagreements` are the articles without a correct topic. `unknown_topics` are topics in the
    labels that the rules don't define.
    """

    sets: tuple[LabelSetScore, ...]
    disagreements: tuple[TopicLabelComparison, ...]
    unknown_topics: tuple[str, ...]


def evaluate_topics(labels_file: Path, settings: Settings) -> TopicEvaluation:
    """Assign topics to labeled articles, and score the topics against the labels.

    Args:
        labels_file: the labels; `benchmarks/evaluation.md` describes their format.
        settings: the operator's topics, if any, and the sources, which are matched to articles by
            host.

    Raises:
        EvaluationError: the file can't be read or has the wrong format.
    """
    sources = {urlsplit(source.url).hostname: source for source in reversed(settings.file.sources)}
    labels = _read_topic_labels(labels_file, sources)
    return score_topic_labels(labels, compile_topic_rules(settings.file.select.topics))


def score_topic_labels(labels: Iterable[TopicLabel], rules: TopicRules) -> TopicEvaluation:
    """Assign topics by rules, and score them against labels.

    The sets are scored in order of appearance, and then all together.
    """
    matches = [TopicLabelComparison(label, rules.match_topic(label.article)) for label in labels]
    by_set: dict[str, list[TopicLabelComparison]] = defaultdict(list)
    for match in matches:
        by_set[match.label.set_name].append(match)
    scores = [_score_label_set(name, of_set) for name, of_set in by_set.items()]
    label_topics = {topic for m in matches for topic in (*m.label.right, *m.label.allowed)}
    return TopicEvaluation(
        sets=(*scores, _score_label_set(ALL_SETS, matches)) if len(scores) != 1 else tuple(scores),
        disagreements=tuple(m for m in matches if not m.is_right),
        unknown_topics=tuple(sorted(label_topics - set(rules.topic_names))),
    )


def _score_label_set(name: str, matches: list[TopicLabelComparison]) -> LabelSetScore:
    matched = [m for m in matches if m.match]
    labeled = [m for m in matches if m.label.right]
    return LabelSetScore(
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
