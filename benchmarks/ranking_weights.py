"""Cross-validation of the ranking weights over labeled weeks: `python -m benchmarks.ranking_weights WEEK…`.

Each WEEK is PICKS=FEEDS=TIME: a file of grades, a folder of feeds, and the time of the draft (see evaluation.md). Each week
is left out in turn, and the weights that score best on the others are searched for, one term at a time on a coarse grid,
from the shipped weights. The week that was left out is the judge of them.
"""

import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cache
from pathlib import Path

from digest.app.evaluation.drafts import EditorGrades, list_drafted_leads, load_feeds_input, score_draft
from digest.app.evaluation.labeled_files import read_labels
from digest.scoring_terms import SCORING_TERMS
from digest.settings.loader import load_settings

GRID = (0.0, 0.05, 0.10, 0.15, 0.20, 0.30, 0.40, 0.60)
# Feeds have no readers, and their stories no pins and no official sources.
TERMS = tuple(name for name in SCORING_TERMS if name not in {"readership", "editorial"})
MAX_ROUNDS = 2  # of the search through all terms
Weights = tuple[float, ...]  # in the order of `TERMS`
SHIPPED: Weights = tuple(SCORING_TERMS[name].weight for name in TERMS)


@dataclass(frozen=True, slots=True)
class WeekScore:
    """The score of a draft of a week: required matters found, and changes in the first ten and fourteen."""

    musts: int
    changes: tuple[int, int]
    ungraded: tuple[str, ...]

    @property
    def value(self) -> float:
        """What the search maximizes. A story without a grade is half a change."""
        return self.musts - sum(self.changes) / 2 - len(self.ungraded) / 4


def build_scorer(picks: Path, feeds: Path, drafted_at: datetime) -> Callable[[Weights], WeekScore]:
    """Read a week's articles, and return the function that scores a draft of them with other weights."""
    settings = load_settings(environ={}, may_be_missing=True)
    file, grades = settings.file, EditorGrades(read_labels(picks))
    week = load_feeds_input([feeds], settings, now=drafted_at, drafted_at=drafted_at)

    @cache
    def score(weights: Weights) -> WeekScore:
        changed = dict(file.select.weights) | dict(zip(TERMS, weights, strict=True))
        select = file.select.model_copy(update={"weights": changed})
        result = score_draft(list_drafted_leads(week, file.model_copy(update={"select": select})), grades)
        ten, fourteen = result.scores
        ungraded = tuple(s.headline for s in result.stories[: fourteen.first] if s.grade is None)
        return WeekScore(fourteen.musts, (ten.changes, fourteen.changes), ungraded)

    return score


def search_weights(scorers: Iterable[Callable[[Weights], WeekScore]]) -> Weights:
    """Return the weights with the best sum of scores, changing one term at a time. Ties keep the earlier weights."""
    weeks = list(scorers)
    best = SHIPPED
    for _ in range(MAX_ROUNDS):
        before = best
        for place in range(len(TERMS)):
            tried = [best, *((*best[:place], weight, *best[place + 1 :]) for weight in GRID)]
            best = max(tried, key=lambda weights: sum(score(weights).value for score in weeks))
        if best == before:
            break
    return best


def _describe(weights: Weights, scores: Sequence[WeekScore]) -> str:
    named = ", ".join(f"{name} {weight:.2f}" for name, weight in zip(TERMS, weights, strict=True))
    changes = "/".join(str(sum(score.changes[place] for score in scores)) for place in range(2))
    ungraded = sum(len(score.ungraded) for score in scores)
    return f"{named}: {sum(score.musts for score in scores)} musts, {changes} changes, {ungraded} ungraded"


def main() -> None:
    """Print the weights found without each week, with their score and the shipped weights' on that week."""
    scorers = {}
    for argument in sys.argv[1:]:
        picks, feeds, moment = argument.split("=")
        scorers[Path(feeds).name] = build_scorer(
            Path(picks), Path(feeds), datetime.fromisoformat(moment).astimezone(UTC)
        )
    found: list[WeekScore] = []
    for name, score in scorers.items():
        weights = search_weights(other for other in scorers.values() if other is not score)
        found.append(score(weights))
        print(
            f"{name} held out\n  found   {_describe(weights, found[-1:])}\n  shipped {_describe(SHIPPED, [score(SHIPPED)])}"
        )
        print(*(f"    ungraded: {title}" for title in score(weights).ungraded), sep="\n", flush=True)
    print(f"sum of the weeks held out: {_describe(SHIPPED, found).partition(': ')[2]}")
    print(f"shipped: {_describe(SHIPPED, [score(SHIPPED) for score in scorers.values()])}")
    everywhere = search_weights(scorers.values())
    print(f"on all weeks: {_describe(everywhere, [score(everywhere) for score in scorers.values()])}")


if __name__ == "__main__":
    main()
