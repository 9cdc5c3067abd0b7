"""Articles that an editor merged stay together, and articles that an editor split stay apart, regardless of their texts."""

from dataclasses import replace
from datetime import timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from digest.select.selection_types import CandidateArticle
from digest.select.stories import group_into_stories
from digest.select.story_links import StoryGroupingDecision, resolve_links
from tests.select.test_stories import DAM, THRESHOLD, article, fillers, made, story_of


def together(*articles: CandidateArticle) -> StoryGroupingDecision:
    return StoryGroupingDecision(frozenset(a.url for a in articles))


def apart(article: CandidateArticle, *others: CandidateArticle) -> StoryGroupingDecision:
    return StoryGroupingDecision(frozenset({article.url}), frozenset(a.url for a in others))


def test_what_an_editor_put_together_is_one_story_whatever_else_holds() -> None:
    far = article("Alpha", "Morning briefing: museum reopens", "In pictures.", hours=24 * 30)
    stories = group_into_stories([*DAM, far, *fillers()], THRESHOLD, links=[together(DAM[0], far)])
    assert {m.url for m in story_of(far, stories).members} >= {DAM[0].url, far.url}


def test_what_an_editor_took_out_of_a_story_stays_out() -> None:
    stories = group_into_stories([*DAM, *fillers()], THRESHOLD, links=[apart(DAM[2], DAM[0], DAM[1])])
    assert story_of(DAM[2], stories).members == (DAM[2],)
    assert len(story_of(DAM[0], stories).members) == 2


def test_one_text_under_two_addresses_comes_apart_too() -> None:
    copy = replace(DAM[0], url=DAM[0].url + "-2", link=DAM[0].url + "-2", dated_at=DAM[0].dated_at + timedelta(hours=2))
    stories = group_into_stories([DAM[0], copy, *fillers()], THRESHOLD, links=[apart(copy, DAM[0])])
    assert story_of(copy, stories).members == (copy,)


def test_a_new_article_joins_the_part_that_it_is_nearer_to() -> None:
    split = apart(DAM[2], DAM[0], DAM[1])
    news = replace(DAM[2], url="https://delta.example.org/dam", publisher="Delta", dated_at=DAM[2].dated_at)
    stories = group_into_stories([*DAM, news, *fillers()], THRESHOLD, links=[split])
    assert {m.url for m in story_of(news, stories).members} == {news.url, DAM[2].url}


@pytest.mark.parametrize("last_is_merge", [True, False])
def test_the_later_of_two_decisions_holds(*, last_is_merge: bool) -> None:
    links = [apart(DAM[0], DAM[1]), together(DAM[0], DAM[1])]
    stories = group_into_stories(DAM, THRESHOLD, links=links if last_is_merge else links[::-1])
    assert (story_of(DAM[0], stories) == story_of(DAM[1], stories)) is last_is_merge


def test_a_decision_outlives_its_articles() -> None:
    gone = article("Omega", "Gone")
    links = [together(DAM[0], gone), apart(DAM[0], gone), together(gone)]
    assert group_into_stories(DAM, THRESHOLD, links=links) == group_into_stories(DAM, THRESHOLD)
    assert resolve_links(links, [a.url for a in DAM]).places == frozenset()


sides = st.frozensets(st.integers(0, 7), max_size=4)


@given(st.lists(st.tuples(sides, sides), max_size=12))
def test_resolved_decisions_never_contradict_each_other(decisions: list[tuple[frozenset[int], frozenset[int]]]) -> None:
    urls = [f"https://a.example/{n}" for n in range(8)]
    links = [StoryGroupingDecision(frozenset(urls[n] for n in a), frozenset(urls[n] for n in b)) for a, b in decisions]
    resolved = resolve_links(links, urls)
    places = [n for group in resolved.together for n in group]
    assert len(places) == len(set(places))
    for group in resolved.together:
        assert all(resolved.apart.get(n, frozenset()).isdisjoint(group) for n in group)
    assert all(n in resolved.apart[other] for n, others in resolved.apart.items() for other in others)


@settings(max_examples=40, deadline=None)
@given(st.lists(made, min_size=2, max_size=15, unique_by=lambda a: a.url), st.data())
def test_grouping_honours_every_decision(found: list[CandidateArticle], data: st.DataObject) -> None:
    some = st.lists(st.sampled_from(found), min_size=1, max_size=3)
    merged, one, others = data.draw(some), data.draw(st.sampled_from(found)), data.draw(some)
    links = [together(*merged), apart(one, *others)]
    stories = group_into_stories(found, THRESHOLD, links=links)
    assert sorted(m.url for s in stories for m in s.members) == sorted(a.url for a in found)
    for other in others:
        assert other.url == one.url or story_of(one, stories) != story_of(other, stories)
    if one not in merged or set(others).isdisjoint(merged):
        assert len({story_of(merged_one, stories).lead.url for merged_one in merged}) == 1
