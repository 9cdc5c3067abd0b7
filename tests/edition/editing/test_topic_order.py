"""In a section that's grouped by topic, the desk has the order of the email: a moved story takes its topic along."""

import pytest

from digest.edition.editing.edits import Edit, EditDraft, EditKind, StoryField
from tests.edition.edited_weeks import arrange, grown_weeks, make_history

WEEK = grown_weeks()[-1].last
TOPICS = {"1": "Ports", "2": "Ports", "3": "Floods", "4": "Floods", "5": "Drones"}
OTHERS = [story.url for story in arrange(WEEK, ()).sections["topics"]]
URLS = dict(zip(TOPICS, (scored.url for scored in WEEK.list_scored() if scored.url not in OTHERS), strict=False))


def topic_order(*drafts: EditDraft) -> str:
    """Return the order after edits of a section with stories 1 and 2 on a topic, 3 and 4 on another, and 5."""
    placed = [EditDraft(EditKind.DROP, url, {}) for url in OTHERS]
    placed += [EditDraft(EditKind.TOPIC, URLS[name], {"topic": topic}) for name, topic in TOPICS.items()]
    placed.append(EditDraft(EditKind.PLACE, URLS["1"], {"section": "topics", "others": list(URLS.values())[1:]}))
    history: tuple[Edit, ...] = make_history(*placed, *drafts)
    names = {url: name for name, url in URLS.items()}
    arrangement = arrange(WEEK, history)
    assert not any(outcome.idle_reason for outcome in arrangement.outcomes)
    return "".join(names[arrangement.name_target(story.url)] for story in arrangement.sections["topics"])


def move(name: str, position: int) -> EditDraft:
    return EditDraft(EditKind.PLACE, URLS[name], {"section": "topics", "position": position})


@pytest.mark.parametrize(
    ("name", "position", "order"),
    [
        ("1", 1, "21345"),  # within its topic
        ("2", 2, "34125"),  # down past the first story of the next topic
        ("2", 3, "34125"),
        ("1", 4, "34521"),
        ("3", 1, "34125"),  # up past the last story of the topic before it
        ("5", 3, "12534"),
        ("5", 1, "51234"),
        ("4", 0, "43125"),
    ],
)
def test_a_story_moved_past_another_topic_takes_its_whole_topic_along(name: str, position: int, order: str) -> None:
    assert topic_order() == "12345"
    assert topic_order(move(name, position)) == order


def test_a_new_topic_or_kicker_moves_the_story_to_the_others_under_that_heading() -> None:
    assert topic_order(EditDraft(EditKind.TOPIC, URLS["5"], {"topic": "Ports"})) == "12534"
    kicker = {"field": str(StoryField.KICKER), "text": "Drones"}
    assert topic_order(EditDraft(EditKind.TEXT, URLS["1"], kicker)) == "15234"
