"""Evaluation of how articles are grouped into stories, against groups made by hand."""

from collections import Counter
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from digest.app.evaluation.labeled_files import (
    EvaluationError,
    is_text_list,
    normalize_label_url,
    read_feed_articles,
    read_labels,
)
from digest.select.places import compile_place_rules
from digest.select.selection_types import Story
from digest.select.stories import build_text_vectorizer, count_articles_per_word, group_into_stories, merge_by_url
from digest.settings import Settings

# Labeled articles. If a story has at least this many, the pieces that it was split into are
# reported.
LARGE_STORY = 10


@dataclass(frozen=True, slots=True)
class PrecisionRecall:
    """Precision and recall, from 0 to 1."""

    precision: float
    recall: float

    @property
    def f1(self) -> float:
        """The harmonic mean of precision and recall."""
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0


@dataclass(frozen=True, slots=True)
class SplitStory:
    """A large labeled story: its first URL, its number of articles, and the sizes of its pieces."""

    url: str
    article_count: int
    piece_sizes: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class PairScore:
    """A score of labeled pairs of articles.

    `right` is the number of pairs that are grouped together or apart, as labeled.
    """

    right: int
    total: int
    wrong: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class StorySetScore:
    """The scores for one set of labels.

    `missing` are URLs that aren't in any of the feeds.
    """

    name: str
    article_count: int
    story_count: int
    missing: tuple[str, ...]
    bcubed: PrecisionRecall
    pairs: PrecisionRecall
    large_stories: tuple[SplitStory, ...]
    same: PairScore
    different: PairScore


@dataclass(frozen=True, slots=True)
class StoryEvaluation:
    """The total numbers of articles and stories, and the scores for each set of labels."""

    article_count: int
    story_count: int
    sets: tuple[StorySetScore, ...]


def evaluate_stories(
    gold: Path,
    feeds: Sequence[Path],
    settings: Settings,
    *,
    earlier: Sequence[Path] = (),
    same_story: float | None = None,
    now: datetime,
) -> StoryEvaluation:
    """Group the articles of feeds into stories, and score the stories against a file of labels.

    Args:
        gold: the labels; `benchmarks/evaluation.md` describes their format.
        feeds: files, and folders of files.
        settings: the sources and the threshold.
        earlier: feeds of earlier weeks, which are only used to count how rare words are.
        same_story: a threshold to use instead of the one in the settings.
        now: the current time, used to reject implausible dates.

    Raises:
        EvaluationError: a file can't be read or has the wrong format.
    """
    labels = _read_label_sets(gold)
    articles = merge_by_url(read_feed_articles(feeds, settings, now=now))
    words = count_articles_per_word(read_feed_articles(earlier, settings, now=now))
    threshold = settings.file.select.same_story if same_story is None else same_story
    selection = settings.file.select
    stories = group_into_stories(
        articles,
        threshold,
        reader=build_text_vectorizer(words, articles),
        place_finder=compile_place_rules(selection.home_country, tuple(selection.home_agencies)),
    )
    return StoryEvaluation(
        article_count=sum(len(story.members) for story in stories),
        story_count=len(stories),
        sets=tuple(score_story_set(name, labels[name], stories) for name in labels),
    )


@dataclass(frozen=True, slots=True)
class LabeledStories:
    """A set of labels, by canonical URL.

    `stories` are whole stories. `same` and `different` are pairs of articles about the same or
    different stories.
    """

    stories: tuple[tuple[str, ...], ...] = ()
    same: tuple[tuple[str, ...], ...] = ()  # pairs
    different: tuple[tuple[str, ...], ...] = ()


def score_story_set(name: str, labels: LabeledStories, stories: Iterable[Story]) -> StorySetScore:
    """Score a grouping against one set of labels. Articles without a label are ignored."""
    group_by_url = {article.url: n for n, story in enumerate(stories) for article in story.members}
    labeled = [(url, label) for label, story in enumerate(labels.stories) for url in story]
    labeled_urls = [(url, label) for url, label in labeled if url in group_by_url]
    groups, classes = [group_by_url[url] for url, _ in labeled_urls], [label for _, label in labeled_urls]
    large = [story for story in labels.stories if len(story) >= LARGE_STORY]
    return StorySetScore(
        name=name,
        article_count=len(labeled_urls),
        story_count=len(labels.stories),
        missing=tuple(url for url, _ in labeled if url not in group_by_url),
        bcubed=measure_bcubed(classes, groups),
        pairs=measure_pairs(classes, groups),
        large_stories=tuple(_count_pieces(story, group_by_url) for story in large),
        same=_score_pairs(labels.same, group_by_url, together=True),
        different=_score_pairs(labels.different, group_by_url, together=False),
    )


def _count_pieces(story: Sequence[str], group_by_url: Mapping[str, int]) -> SplitStory:
    sizes = Counter(group_by_url[url] for url in story if url in group_by_url).values()
    return SplitStory(story[0], sum(sizes), tuple(sorted(sizes, reverse=True)))


def _score_pairs(pairs: Sequence[tuple[str, ...]], group_by_url: Mapping[str, int], *, together: bool) -> PairScore:
    known_pairs = [(a, b) for a, b in pairs if a in group_by_url and b in group_by_url]
    wrong = tuple((a, b) for a, b in known_pairs if (group_by_url[a] == group_by_url[b]) != together)
    return PairScore(len(known_pairs) - len(wrong), len(known_pairs), wrong)


def _read_label_sets(gold: Path) -> dict[str, LabeledStories]:
    content = read_labels(gold)
    label_sets = content.items() if isinstance(content, dict) else ()
    sets = {name: values for name, values in label_sets if isinstance(values, dict)}
    if not sets:
        raise EvaluationError(
            f'{gold} contains no label sets. Use the format {{"NAME": {{"stories": [[URL, …], …]}}}}.'
        )
    return {name: _parse_label_set(gold, name, values) for name, values in sets.items()}


def _check_groups(place: str, groups: object, *, are_pairs: bool) -> None:
    if not isinstance(groups, list) or not all(group and is_text_list(group) for group in groups):
        raise EvaluationError(f"{place} isn't a list of lists of URLs. Correct it.")
    if are_pairs and any(len(group) != 2 for group in groups):
        raise EvaluationError(f"{place} contains an item that isn't a pair of URLs. Correct it.")


def _parse_label_set(gold: Path, name: str, values: Mapping[str, Any]) -> LabeledStories:
    lists = {key: values.get(key, []) for key in ("stories", "same", "different")}
    for key, groups in lists.items():
        _check_groups(f"{gold}: {name}.{key}", groups, are_pairs=key != "stories")
    urls = {key: [tuple(map(normalize_label_url, group)) for group in groups] for key, groups in lists.items()}
    return LabeledStories(
        # Two URLs for the same page count as one article.
        tuple(tuple(dict.fromkeys(story)) for story in urls["stories"]),
        tuple(urls["same"]),
        tuple(urls["different"]),
    )


# --- how well two groupings agree ------------------------------------------------------------------------------


def measure_bcubed(labels: Sequence[Hashable], groups: Sequence[Hashable]) -> PrecisionRecall:
    """Return the B-cubed precision and recall, given the labeled class and the group of each item."""
    by_label, by_group = Counter(labels), Counter(groups)
    both = Counter(zip(labels, groups, strict=True)).items()
    number = len(labels) or 1
    precision = sum(count * count / by_group[group] for (_, group), count in both)
    recall = sum(count * count / by_label[label] for (label, _), count in both)
    return PrecisionRecall(precision / number, recall / number)


def measure_pairs(labels: Sequence[Hashable], groups: Sequence[Hashable]) -> PrecisionRecall:
    """Return the precision and recall of the pairs of items in the same group.

    If there are no such pairs, they're 1.
    """
    together = _count_pairs(Counter(zip(labels, groups, strict=True)))
    group_pairs, labeled = _count_pairs(Counter(groups)), _count_pairs(Counter(labels))
    return PrecisionRecall(together / group_pairs if group_pairs else 1.0, together / labeled if labeled else 1.0)


def _count_pairs(counts: Counter[Hashable]) -> int:
    return sum(n * (n - 1) // 2 for n in counts.values())
