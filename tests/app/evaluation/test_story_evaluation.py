"""`digest evaluate stories`, with real feeds, labels from files, and scores computed by hand."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from digest.app.evaluation.stories import measure_bcubed, measure_pairs
from digest.cli import digest

FEED = """<?xml version="1.0"?>
<rss version="2.0"><channel><title>{publisher}</title><link>https://{host}/</link><description>News</description>
{items}</channel></rss>"""
ITEM = (
    "<item><title>{title}</title><link>https://{host}/{name}</link><description>{summary}</description>"
    "<pubDate>Mon, 16 Nov 2026 1{hour}:00:00 +0000</pubDate></item>"
)
DAM = ("Dam at Harlow Creek gives way", "The Harlow Creek dam gave way on Monday; two towns below were cleared.")
BOTNET = ("Police seize the Redwing botnet", "Servers of the Redwing botnet were seized by police in four countries.")


@pytest.fixture
def week(tmp_path: Path) -> Path:
    """Two publishers that tell the same two stories, and one article of its own each."""
    feeds = tmp_path / "feeds"
    feeds.mkdir()
    for hour, (publisher, own) in enumerate({"Alpha": "Museum reopens east wing", "Beta": "Ferry timetable"}.items()):
        host = f"{publisher.lower()}.example.org"
        texts = {"dam": DAM, "botnet": BOTNET, "own": (own, f"{own}, says a report.")}
        items = "\n".join(
            ITEM.format(title=title, host=host, name=name, summary=f"{summary} {publisher} has it.", hour=hour)
            for name, (title, summary) in texts.items()
        )
        (feeds / f"{publisher}.xml").write_text(FEED.format(publisher=publisher, host=host, items=items), "utf-8")
    return feeds


def url(publisher: str, name: str) -> str:
    return f"https://{publisher}.example.org/{name}"


DAM_STORY = [url("alpha", "dam"), url("beta", "dam")]


def evaluate(tmp_path: Path, week: Path, labels: object, *options: str) -> Result:
    gold = tmp_path / "gold.json"
    gold.write_text(json.dumps(labels), "utf-8")
    return CliRunner().invoke(digest, ["evaluate", "stories", str(gold), str(week), *options])


def test_b_cubed_and_pairs_are_those_worked_out_by_hand() -> None:
    # Amigó and others, "A comparison of extrinsic clustering evaluation metrics", 2009: precision and recall an item.
    labels, groups = "aaabb", "xxyyy"
    bcubed, pairs = measure_bcubed(labels, groups), measure_pairs(labels, groups)
    assert bcubed.precision == pytest.approx((1 + 1 + 1 / 3 + 2 / 3 + 2 / 3) / 5)
    assert bcubed.recall == pytest.approx((2 / 3 + 2 / 3 + 1 / 3 + 1 + 1) / 5)
    assert (pairs.precision, pairs.recall, pairs.f1) == (2 / 4, 2 / 4, 1 / 2)


def test_a_perfect_grouping_and_none_at_all() -> None:
    assert measure_bcubed("aab", "yyx").f1 == measure_pairs("aab", "yyx").f1 == 1
    assert (measure_pairs("ab", "xx").precision, measure_pairs("ab", "xx").recall) == (0, 1)
    assert measure_bcubed("", "").f1 == 0


def test_the_stories_of_real_files_are_scored_set_by_set(tmp_path: Path, week: Path) -> None:
    labels = {
        "about": "two sets",
        "right": {"stories": [DAM_STORY, [url("alpha", "botnet"), url("beta", "botnet")], [url("alpha", "own")]]},
        "wrong": {"stories": [[url("alpha", "dam"), url("alpha", "own")], [url("beta", "dam")], [url("beta", "gone")]]},
    }
    result = json.loads(evaluate(tmp_path, week, labels, "--json").output)
    right, wrong = result["sets"]
    assert (result["articles"], result["stories"]) == (6, 4)
    assert (right["bcubed"]["f1"], right["pairs"]["f1"], right["missing"]) == (1, 1, [])
    assert wrong["pairs"] == {"precision": 0, "recall": 0, "f1": 0}
    assert (wrong["articles"], wrong["missing"]) == (3, [url("beta", "gone")])


def test_hard_pairs_say_which_came_out_wrong(tmp_path: Path, week: Path) -> None:
    apart = [url("alpha", "dam"), url("alpha", "own")]
    labels = {"hard": {"same": [DAM_STORY, apart], "different": [DAM_STORY, apart]}}
    scored = json.loads(evaluate(tmp_path, week, labels, "--json").output)["sets"][0]
    assert scored["same"] == {"right": 1, "of": 2, "wrong": [apart]}
    assert scored["different"] == {"right": 1, "of": 2, "wrong": [DAM_STORY]}
    assert "same pairs: 1 of 2 right" in evaluate(tmp_path, week, labels).output


def test_a_link_in_another_spelling_is_the_same_article(tmp_path: Path, week: Path) -> None:
    spelled = ["http://ALPHA.example.org/dam?utm_source=x#top", DAM_STORY[0], DAM_STORY[1]]
    scored = json.loads(evaluate(tmp_path, week, {"set": {"stories": [spelled]}}, "--json").output)["sets"][0]
    assert (scored["articles"], scored["missing"], scored["bcubed"]["recall"]) == (2, [], 1)


def test_the_pieces_of_a_large_story_are_shown(tmp_path: Path, week: Path) -> None:
    chapters = [
        (f"Part {n}: {word}", f"{word} number {n} about {word} only.")
        for n, word in enumerate(
            ("pears", "quartz", "rowing", "salt", "tulips", "umber", "violins", "wheat", "yarn", "zinc")
        )
    ]
    items = "\n".join(
        ITEM.format(title=t, host="gamma.example.org", name=n, summary=s, hour=3) for n, (t, s) in enumerate(chapters)
    )
    (week / "Gamma.xml").write_text(FEED.format(publisher="Gamma", host="gamma.example.org", items=items), "utf-8")
    story = [*DAM_STORY, *(f"https://gamma.example.org/{n}" for n in range(10))]
    (large,) = json.loads(evaluate(tmp_path, week, {"set": {"stories": [story]}}, "--json").output)["sets"][0][
        "large_stories"
    ]
    assert (large["url"], large["articles"], sum(large["pieces"]), large["pieces"][0]) == (DAM_STORY[0], 12, 12, 2)


def test_another_threshold_can_be_tried(tmp_path: Path, week: Path) -> None:
    labels = {"set": {"stories": [DAM_STORY]}}
    assert "6 articles in 6 stories" in evaluate(tmp_path, week, labels, "--same-story", "0.999999").output


def test_feeds_of_earlier_weeks_make_their_words_common(tmp_path: Path, week: Path) -> None:
    """A name that was in every article of the weeks before ties nothing together."""
    titles = ("Redwing opens a bakery", "Choir tours Redwing")
    for publisher, title in zip(("Gamma", "Delta"), titles, strict=True):
        items = ITEM.format(title=title, host=f"{publisher.lower()}.example.org", name="r", summary="", hour=1)
        feed = FEED.format(publisher=publisher, host=f"{publisher.lower()}.example.org", items=items)
        (week / f"{publisher}.xml").write_text(feed, "utf-8")
    labels = {"set": {"different": [[url("gamma", "r"), url("delta", "r")]]}}
    old = tmp_path / "old.xml"
    items = "\n".join(
        ITEM.format(title=f"Redwing diary {n}", host="old.example.org", name=n, summary="", hour=1) for n in range(500)
    )
    old.write_text(FEED.format(publisher="Old", host="old.example.org", items=items), "utf-8")
    assert "0 of 1 right" in evaluate(tmp_path, week, labels).output
    assert "1 of 1 right" in evaluate(tmp_path, week, labels, "--earlier", str(old)).output


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([], "contains no label sets"),
        ({"about": "nothing"}, "contains no label sets"),
        ({"set": {"stories": [[]]}}, "set.stories isn't a list of lists of URLs"),
        ({"set": {"stories": "x"}}, "set.stories isn't a list of lists of URLs"),
        ({"set": {"same": [["https://a.example/", "https://b.example/", "https://c.example/"]]}}, "isn't a pair"),
        ({"set": {"stories": [["nowhere"]]}}, "contain 'nowhere', which isn't a URL"),
    ],
)
def test_labels_of_another_form_are_refused_by_name(tmp_path: Path, week: Path, labels: object, message: str) -> None:
    said = evaluate(tmp_path, week, labels)
    assert said.exit_code == 2
    assert message in said.output.replace("\n", " ")


def test_files_that_cannot_be_read_are_named(tmp_path: Path, week: Path) -> None:
    (week / "broken.xml").write_text("neither feed nor page", "utf-8")
    (tmp_path / "gold").write_bytes(b"{")
    labels = {"set": {"stories": [DAM_STORY]}}
    assert "broken.xml" in evaluate(tmp_path, week, labels).output
    said = CliRunner().invoke(digest, ["evaluate", "stories", str(tmp_path / "gold"), str(week)])
    assert said.exit_code == 2
    assert "isn't JSON or JSON lines" in said.output
