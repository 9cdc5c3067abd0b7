"""The order in which a story's articles are offered as its lead."""

from digest.app.editing.lead_alternatives import order_articles
from digest.select.stories import build_story_with_lead
from tests.select.test_lead_choice import article


def test_the_best_alternatives_come_first_and_the_others_with_the_newest_first() -> None:
    lead = article("Storm makes landfall in Florida", hours=70)
    told = [article(f"Storm leaves Florida without power, day {day}", hours=10 * day) for day in range(1, 7)]
    strays = [article("Flamingos blown north", hours=2, summary=""), article("Gas prices rise", hours=1, summary="")]
    choices = order_articles(build_story_with_lead(lead, [*told, *strays]))
    assert len(choices.best) == 3
    assert set(choices.best) <= set(told)
    assert [each.title for each in choices.others][:2] == ["Gas prices rise", "Flamingos blown north"]
    assert {*choices.best, *choices.others} == {*told, *strays}
    assert [each.dated_at for each in choices.others] == sorted((a.dated_at for a in choices.others), reverse=True)


def test_a_list_with_another_lead_has_the_same_key_and_one_with_other_articles_another() -> None:
    first, second, third = (article(f"Port {name}", hours=hours) for hours, name in enumerate(("A", "B", "C")))
    stories = [build_story_with_lead(first, [second]), build_story_with_lead(second, [first])]
    assert len({order_articles(story).key for story in stories}) == 1
    assert order_articles(build_story_with_lead(first, [third])).key != order_articles(stories[0]).key
