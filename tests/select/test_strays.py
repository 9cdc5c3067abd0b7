"""Articles that only mention a large story's news, which its low threshold lets in."""

import pytest

from digest.select.clustering import MIN_STRAY_SIZE, AverageLinkage, ClusterLimits, ClusterText
from digest.select.text_similarity import ArticleText


def find_sizes(size: int, together: tuple[tuple[int, ...], ...] = ()) -> list[int]:
    """Group a story of `size` articles of as many publishers, and one that hardly resembles them."""
    weights = [0.8] * size + [0.35]
    texts = [
        ClusterText(
            f"Publisher {n}", float(n), ArticleText({"idalia": weight}, frozenset(), frozenset(), is_bare=False)
        )
        for n, weight in enumerate(weights)
    ]
    pairs = [(0, n, 0.8 * weight) for n, weight in enumerate(weights) if n]
    clusters = AverageLinkage(texts, pairs, ClusterLimits(0.21, 1000.0, together)).find_clusters()
    return [len(members) for members in clusters]


@pytest.mark.parametrize(("size", "sizes"), [(5, [6]), (MIN_STRAY_SIZE, [MIN_STRAY_SIZE, 1])])
def test_only_a_large_story_sheds_them(size: int, sizes: list[int]) -> None:
    assert find_sizes(size) == sizes


def test_an_editor_can_keep_one_in_the_story() -> None:
    assert find_sizes(MIN_STRAY_SIZE, ((0, MIN_STRAY_SIZE),)) == [MIN_STRAY_SIZE + 1]
