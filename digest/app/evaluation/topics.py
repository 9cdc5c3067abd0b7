"""How well articles are given topics, against topics that somebody gave by hand."""

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

ALL_SETS = "all"  # the score over every labelled article
_LIST_KEYS = ("topics", "may", "categories")
_NO_SOURCE = SourceSettings.model_construct(name="", publisher="")


@dataclass(frozen=True, slots=True)
class TopicLabel:
    """One labelled article: the topics that are right, of which none may be given, and those that are let pass."""

    set_name: str
    article: CandidateArticle
    right: tuple[str, ...]
    allowed: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TopicLabelComparison:
    """What the rules made of one labelled article."""

    label: TopicLabel
    match: TopicMatch | None

    @property
    def is_right(self) -> bool:
        """Whether a right topic was given, or none where none is right."""
        return self.match.topic in self.label.right if self.match else not self.label.right

    @property
    def is_allowed(self) -> bool:
        """Whether the topic that was given is right or let pass."""
        return self.match is not None and self.match.topic in {*self.label.right, *self.label.allowed}


@dataclass(frozen=True, slots=True)
class TopicSetScore:
    """The counts of one set of labels.

    `given` articles got a topic, `wanted` should have one; of the given ones `right` are right and `allowed` are right
    or let pass; of the wanted ones `found` got a right topic and `found_allowed` one that is right or let pass.
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
        """The part of the given topics that is right, strictly; 1 where none was given."""
        return self.right / self.given if self.given else 1.0

    @property
    def lenient_precision(self) -> float:
        """The part of the given topics that is right or let pass; 1 where none was given."""
        return self.allowed / self.given if self.given else 1.0

    @property
    def recall(self) -> float:
        """The part of the articles with a right topic that got it, strictly; 1 where there is none."""
        return self.found / self.wanted if self.wanted else 1.0

    @property
    def lenient_recall(self) -> float:
        """The part of the articles with a right topic that got one that is right or let pass; 1 where there is none."""
        return self.found_allowed / self.wanted if self.wanted else 1.0


@dataclass(frozen=True, slots=True)
class TopicEvaluation:
    """The scores of each set and of all, what differs from the labels, and names that the rules do not have."""

    sets: tuple[TopicSetScore, ...]
    disagreements: tuple[TopicLabelComparison, ...]
    unknown_topics: tuple[str, ...]


def evaluate_topics(labels_file: Path, settings: Settings) -> TopicEvaluation:
    """Give topics to labelled articles, and hold them against the labels.

    Args:
        labels_file: the labels; `benchmarks/evaluation.md` describes their form.
        settings: hold the operator's topics, if any, and the sources, of which the one on an article's host counts.

    Raises:
        EvaluationError: the file cannot be read, or is not of the form described.
    """
    sources = {urlsplit(source.url).hostname: source for source in reversed(settings.file.sources)}
    labels = _read_topic_labels(labels_file, sources)
    return score_topic_labels(labels, compile_topic_rules(settings.file.select.topics))


def score_topic_labels(labels: Iterable[TopicLabel], rules: TopicRules) -> TopicEvaluation:
    """Score the rules against labels: the sets in the order in which they come, then all together."""
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
    labelled = [m for m in matches if m.label.right]
    return TopicSetScore(
        name=name,
        article_count=len(matches),
        given=len(matched),
        right=sum(m.is_right for m in matched),
        allowed=sum(m.is_allowed for m in matched),
        wanted=len(labelled),
        found=sum(m.is_right for m in labelled),
        found_allowed=sum(m.is_allowed for m in labelled),
    )


def _read_topic_labels(file: Path, sources: Mapping[str | None, SourceSettings]) -> list[TopicLabel]:
    rows = read_labels(file)
    if isinstance(rows, dict):
        rows = [rows]  # a file of one line
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
        dated_at=datetime(1970, 1, 1, tzinfo=UTC),  # a topic does not depend on the date
        primary=source.primary,
        own=source.own,
        categories=lists["categories"],
        topics=tuple(sorted(source.topics.items())),
        default_topic=source.default_topic,
    )
    return TopicLabel(str(row.get("set", "labels")), article, lists["topics"], lists["may"])
