"""How near a grouping comes to a grouping by hand: B-cubed, and pairs of items.

B-cubed: Bagga and Baldwin, "Entity-Based Cross-Document Coreferencing Using the Vector Space Model", 1998. For each item
the precision of its group and the recall of its class, averaged over the items.
"""

from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PrecisionRecall:
    """Precision and recall, 0 to 1."""

    precision: float
    recall: float

    @property
    def f1(self) -> float:
        """Their harmonic mean."""
        total = self.precision + self.recall
        return 2 * self.precision * self.recall / total if total else 0.0


def measure_bcubed(labels: Sequence[Hashable], groups: Sequence[Hashable]) -> PrecisionRecall:
    """Measure B-cubed of items that stand in the same places of both: the class by hand, and the group found."""
    by_label, by_group, both = Counter(labels), Counter(groups), Counter(zip(labels, groups, strict=True))
    number = len(labels) or 1
    precision = sum(n * n / by_group[group] for (_, group), n in both.items()) / number
    recall = sum(n * n / by_label[label] for (label, _), n in both.items()) / number
    return PrecisionRecall(precision, recall)


def measure_pairs(labels: Sequence[Hashable], groups: Sequence[Hashable]) -> PrecisionRecall:
    """Measure which pairs of items stand in one group; without any such pair nothing is wrong and nothing missed."""
    together = _count_pairs(Counter(zip(labels, groups, strict=True)))
    found, labelled = _count_pairs(Counter(groups)), _count_pairs(Counter(labels))
    return PrecisionRecall(together / found if found else 1.0, together / labelled if labelled else 1.0)


def _count_pairs(counts: Counter[Hashable]) -> int:
    return sum(n * (n - 1) // 2 for n in counts.values())
