"""Editing in pages: each button and form has its stated effect on the edition, and a page keeps its position."""

import io
import itertools
import re
from dataclasses import replace
from datetime import timedelta
from html import unescape
from importlib import resources
from typing import Any
from urllib.parse import quote

import pytest
from PIL import Image
from pytest_httpserver import HTTPServer
from sqlalchemy import event, select

from digest.app.approval import edition_approval
from digest.app.demo.sample_week import DEMO_ACTOR
from digest.app.editions import drafting as editions
from digest.app.editions.edition_status import read_edition_status
from digest.app.editions.edition_views import read_edition
from digest.collect.fetch.fetcher import FolderFetcher
from digest.edition.content.edition_content import EditionImage, LabeledBlock
from digest.edition.kinds import SECTION_KINDS
from digest.installation.opened_installation import Installation
from digest.select.selection_types import ScoredStory
from digest.store import schedule_slots
from digest.store.delivery_models import StaffMember
from digest.store.models import Article, RenderedEditionFragment, Source
from digest.web.app import create_app
from digest.web.desk.outline.story_pool import MAX_POOL_STORIES, story_anchor
from subscribers.english_text import curl_quotes
from tests.actors import EDITOR
from tests.conftest import ROOT
from tests.moments import Clock
from tests.row_keys import change_rows
from tests.web.desk.sample_week import EDITORS, SampleWeek, later

PAGE = """<html lang="en"><head><meta property="og:site_name" content="The Ferry Line"><title>Ferry deckhands get the drill they asked for</title></head><body><article>
<h1>Ferry deckhands get the drill they asked for</h1><time datetime="2026-11-18T09:00:00Z">Nov 18</time>
<p>{}</p></article></body></html>""".format("Crews train on the real stairs from now on, said the line. " * 12)


UNLIKE_WORDS = ("Anvils", "barges", "cellos", "dunes", "eels", "fjords")


def jpeg() -> io.BytesIO:
    out = io.BytesIO()
    Image.radial_gradient("L").resize((1200, 700)).convert("RGB").save(out, "JPEG")
    return io.BytesIO(out.getvalue())


def page(week: SampleWeek, query: str = "", editor: str = "dana") -> str:
    answer = week.client(editor).get(f"{week.path}{query}")
    assert answer.status_code == 200
    return str(answer.text)


def test_a_story_moves_up_and_down_and_the_page_comes_back_to_it(week: SampleWeek) -> None:
    first, second, *rest = week.headlines("featured")
    anchor = week.anchors("featured")[1]
    answer = week.act(f"up {anchor}", view="dark")
    assert answer.status_code == 303
    assert answer.location.endswith(f"?view=dark&show={anchor}#{anchor}")
    assert week.headlines("featured") == [second, first, *rest]
    week.act(f"down {anchor}")
    assert week.headlines("featured") == [first, second, *rest]


def test_a_row_names_its_story_where_one_acts_on_it_and_its_menu_is_sent_once_for_all(week: SampleWeek) -> None:
    shown = page(week)
    rows = re.findall(r'<li class="st" id="(s[0-9a-f]{12})".*?</li>', shown, re.DOTALL)
    assert len(rows) > 12
    for row in re.findall(r'<li class="st" id="s[0-9a-f]{12}".*?</li>', shown, re.DOTALL):
        headline = re.search(r'<h3 id="(.*?)">(.*?)</h3>', row)
        assert headline is not None
        assert row.count(headline[2]) == 1, "its checkbox, and Edit, Up, Down, and More are named by it"
        names = re.findall(rf'aria-labelledby="(\S+) {headline[1]}"', row)
        words = [re.findall(rf'id="{name}">([^<]+)<', shown) for name in names]
        assert words == [["Select"], ["Edit"], ["Up"], ["Down"], ["More for"]]
        assert len(row) < 1600, (
            "5,000 articles leave 150 KB for a page with its styles and scripts: benchmarks/pages.py"
        )
    first, second, third, *_ = week.anchors("featured")

    def actions_of(anchor: str) -> set[str]:
        """Give what stands in the menu of a story, where the page is asked for that."""
        menu = re.search(
            rf'id="{anchor}".*?<details class="more" open>(.*?)</details>',
            page(week, f"?panel=more&about={anchor}"),
            re.DOTALL,
        )
        assert menu is not None
        assert menu[1].count(anchor) >= 7
        return set(re.findall(r'name="act" value="([a-z]+) ', menu[1]))

    assert actions_of(first) == {"down", "pin", "keep", "drop"}
    week.act(f"pin {second}")
    assert actions_of(second) == {"up", "down", "lead", "unpin", "keep", "drop"}
    assert actions_of(third) == {"up", "down", "lead", "pin", "keep", "drop"}
    # The menu does not stay open where something was done by it.
    form = re.search(r'<form id="act".*?</form>', page(week, f"?view=dark&panel=more&about={third}"), re.DOTALL)
    assert form is not None
    assert dict(re.findall(r'name="(view|panel|about)" value="([^"]*)"', form[0])) == {"view": "dark"}


def test_a_long_tray_and_a_full_clipboard_are_shown_in_part_and_the_rest_is_found(week: SampleWeek) -> None:
    add_articles(week, MAX_POOL_STORIES + 5)
    shown = page(week)
    assert f"{MAX_POOL_STORIES + 5} stories new since" in shown
    assert f">Show {MAX_POOL_STORIES} of {MAX_POOL_STORIES + 5}</a>" in shown
    tray = re.search(r'<section class="tray".*?</section>', page(week, "?panel=tray"), re.DOTALL)
    assert tray is not None
    assert tray[0].count("<li ") == MAX_POOL_STORIES
    assert "5 more are in the list below, under Suggested." in tray[0]
    found = [page(week, f"?q=waited+for&start={start}") for start in (0, MAX_POOL_STORIES)]
    assert sum(one.count('<li class="cand"') for one in found) == MAX_POOL_STORIES + 5
    for anchor in re.findall(r'<li class="cand" data-story="([^"]+)"', "".join(found))[:25]:
        week.client().post(f"{week.path}/clipboard", data={"keep": anchor})
    assert (
        page(week).count('/clipboard" name="remove"'),
        page(week, "?panel=clipboard").count('/clipboard" name="remove"'),
    ) == (20, 25)
    assert 'panel=clipboard#clipboard">Show all 25</a>' in page(week)


def add_articles(week: SampleWeek, many: int) -> None:
    """Let an editor touch the draft, and articles that nobody retells come after that."""
    week.act(f"up {week.anchors('featured')[1]}")
    collect_articles(week, many)


def collect_articles(week: SampleWeek, many: int) -> None:
    """Let articles come that nobody retells."""
    with week.installation.database.write() as session:
        source = session.scalars(select(Source.id)).first()
        found = later() + timedelta(minutes=1)
        session.add_all(
            Article(
                source_id=source,
                key=f"waited-{n}",
                url=f"https://late.example.org/{n}",
                link=f"https://late.example.org/{n}",
                title=f"{words} waited for",
                summary="",
                categories=[],
                dated_at=later(),
                date_basis="published",
                found_at=found,
                seen_at=found,
            )
            for n, words in enumerate(itertools.islice(map(" ".join, itertools.permutations(UNLIKE_WORDS, 3)), many))
        )
    fetcher = FolderFetcher(resources.files("digest").joinpath("sample"))
    editions.draft_next_edition(week.installation, actor=DEMO_ACTOR, now=later() + timedelta(hours=1), fetcher=fetcher)


def test_the_buttons_that_the_guide_names_in_its_first_steps_stand_on_the_pages(week: SampleWeek) -> None:
    guide = (ROOT / "docs" / "first-edition.md").read_text("utf-8")
    steps = guide.partition("## 2. ")[2].partition("## 7. ")[0]
    named = {" ".join(words.split()) for words in re.findall(r"\*\*([^*]+)\*\*", steps)}
    week.act(f"up {week.anchors('featured')[1]}")
    week.act(f"drop {week.anchors('featured')[2]}")
    client, visitor = week.client("sam"), week.app.test_client()
    shown = visitor.get("/desk/sign-in").text + page(week, "?filter=left-out")
    paths = ("?open=head", "/approve", "/preview?view=phone")
    shown += "".join(client.get(f"{week.path}{path}").text for path in paths)
    words = " ".join(re.sub(r"<[^>]+>", " ", unescape(shown + client.get("/desk/security").text)).split())
    assert len(named) > 12
    assert {name for name in named if name.replace("No. 148", "No. 147") not in words} == set()


def test_each_story_of_the_list_and_the_tray_says_what_its_score_is_made_of_and_how_often_it_was_read(
    week: SampleWeek,
) -> None:
    shown = page(week, "?filter=all&order=read")
    listed = {story_anchor(s.story.lead.url): s for s in list_scored(week)}
    rows = re.findall(r'<li class="cand[^"]*" data-story="([^"]+)">(.*?)</li>', shown, re.DOTALL)
    assert len(rows) == MAX_POOL_STORIES
    for anchor, row in rows:
        scored = listed[anchor]
        assert "</b> total" not in row, "5,000 articles leave 150 KB for a page"
        reads = max((m.views for m in scored.story.members if m.views is not None), default=None)
        assert re.findall(r"<p>([\d,]+) page views?\. ", row) == ([] if reads is None else [f"{reads:,}"])
    assert f"{max(m.views or 0 for s in listed.values() for m in s.story.members):,} page views" in rows[0][1]
    # A story's score is asked for: by the page's script alone, and without scripts by a link.
    links = re.findall(r'href="([^"]+panel=why&amp;about=(s[0-9a-f]+))#', page(week))
    anchors = [anchor for _, anchor in links]
    for number in (0, anchors.index(week.anchors("featured")[0])):
        path, anchor = links[number]
        whole, alone = (unescape(week.client().get(unescape(path) + part).text) for part in ("", "&part=score"))
        assert (whole.count("</b> total"), alone.count("</b> total")) == (1, 1)
        assert re.search(rf'data-story="{anchor}".*?<details class="why" open>.*?</b> total', whole, re.DOTALL)
        for term in listed[anchor].terms:
            line = f"<b>{term.points:.1f}</b> {term.name}: {curl_quotes(term.note)}"
            assert (line in whole, line in alone) == (bool(term.points), bool(term.points))
    assert week.client().get(f"{week.path}?about=s000000000000&part=score").status_code == 404
    add_articles(week, 2)
    tray = re.search(r'<section class="tray".*?</section>', page(week), re.DOTALL)
    assert tray is not None
    assert len(re.findall(r"Score \d+\.\d: [^<]*freshness \d+\.\d", tray[0])) == 2


def list_scored(week: SampleWeek) -> list[ScoredStory]:
    """List all that the list of stories can show."""
    arrangement = week.state.arrangement
    placed = [s.placed.scored for stories in arrangement.sections.values() for s in stories]
    under = [u.placed.scored for stories in arrangement.sections.values() for s in stories for u in s.supporting]
    return [*placed, *under, *(out.scored for out in arrangement.left_out)]


def search_stories(week: SampleWeek, query: str) -> tuple[dict[str, int], list[str]]:
    """Search as the page's script does; return the number of hits in each tab, and the anchors of those in the open one."""
    shown = week.client().get(f"{week.path}?part=results&{query}").text
    counts = re.findall(r">([A-Z][a-z]+) (\d+)</a>", shown.partition("</nav>")[0])
    return {title: int(count) for title, count in counts}, re.findall(
        r'<li class="cand[^"]*" data-story="([^"]+)"', shown
    )


def test_a_search_goes_through_every_tab_and_counts_the_hits_in_each(week: SampleWeek) -> None:
    assert "crane" in week.headlines("featured")[0].lower()
    counts, anchors = search_stories(week, "q=crane")
    assert week.anchors("featured")[0] in anchors
    assert counts["All"] == len(anchors) == counts["Unused"] + counts["Used"]
    assert 0 < counts["Used"] < search_stories(week, "filter=all")[0]["Used"]
    assert search_stories(week, "q=crane&filter=used")[0] == counts
    assert len(search_stories(week, "q=crane&filter=used")[1]) == counts["Used"]
    assert search_stories(week, "q=zyx+wvut")[0] == dict.fromkeys(counts, 0)
    assert counts["Suggested"] <= counts["Unused"]
    # Without scripts, a form does the same, whatever tab is open; the same search again keeps the tab.
    form = page(week, "?filter=unused&q=port")
    assert re.search(r'name="was-q" value="port"', form)
    for words, filter_key in (("crane", ""), ("port", "unused")):
        answer = page(week, f"?was-q=port&q={words}&filter=unused")
        current = re.findall(r'href="[^"]+" title="[^"]+"(?: aria-current="true")?>([A-Z][a-z]+) \d+</a>', answer)
        assert current
        assert ('aria-current="true">Suggested' in answer) == bool(filter_key)
    results = page(week, "?was-q=&q=crane&filter=unused")
    assert f"{counts['All']} results for \u201ccrane\u201d" in results
    assert re.search(r"<mark>crane", results, re.IGNORECASE)


def test_a_search_that_no_story_fits_lists_those_with_most_of_its_words_first_and_says_so(week: SampleWeek) -> None:
    anchor, title = week.anchors("featured")[0], week.entry("featured", 0)["headline"]
    said = "No story has all these words. These have some of them."
    words = title.split()[:3]
    assert said not in page(week, f"?q={'+'.join(words)}")
    shown = page(week, f"?q={'+'.join(words)}+quokkas")
    assert (said in shown, re.search(r"\d+ partial results? for", shown) is not None) == (True, True)
    assert search_stories(week, f"q={'+'.join(words)}+quokkas")[1][0] == anchor
    # With fewer than half of the words, a story isn't listed.
    none = page(week, f"?q={words[0]}+quokkas+wombats")
    assert (said in none, '<li class="cand' in none) == (False, False)
    assert "No stories match. Headlines, original titles, summaries, and publishers were searched." in none


def test_the_summaries_of_a_storys_articles_are_searched(week: SampleWeek) -> None:
    arrangement = week.state.arrangement
    story = arrangement.sections["featured"][0]
    titles = " ".join(article.title for article in story.original.story.members).casefold()
    summary = story.original.story.lead.summary
    word = next(word for word in re.findall(r"\w{6,}", summary) if word.casefold() not in titles)
    assert week.anchors("featured")[0] in search_stories(week, f"q={word}&filter=used")[1]


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("q=port&filter=unused", "Unused stories to consider first, such as those next in line for a section."),
        ("filter=used", "In the edition."),
        ("filter=left-out", "Not in the edition. The reason is under Why."),
        ("q=port", "All of this week’s stories, used and unused."),
    ],
)
def test_the_tabs_of_the_list_say_which_stories_they_have(week: SampleWeek, query: str, words: str) -> None:
    assert f'</nav>\n<p class="size">{words}</p>' in re.sub(r"\n+", "\n", page(week, f"?{query}&part=results"))


def test_what_editors_wrote_is_found_too_and_shown(week: SampleWeek) -> None:
    anchor, title = week.anchors("topics")[1], week.headlines("topics")[1]
    fields = {"headline": "Zebras cross", "was-headline": title, "note": "Quokkas, too", "was-note": ""}
    week.client().post(f"{week.path}/story/{anchor}", data=fields)
    for words in ("zebras", "quokkas", title):
        assert anchor in search_stories(week, f"q={words}&filter=used")[1]
    shown = week.client().get(f"{week.path}?part=results&q=zebras").text
    assert "<mark>Zebras</mark> cross</a></h3>" in shown
    assert title not in shown


def test_news_about_none_of_our_topics_is_found_but_not_suggested(week: SampleWeek) -> None:
    collect_articles(week, 2)
    arrangement = week.state.arrangement
    waiting = [out.scored for out in arrangement.left_out] + [new.scored for new in arrangement.tray]
    late = [scored for scored in waiting if "waited for" in scored.story.lead.title]
    assert [scored.topic for scored in late] == [None, None]
    anchors = {story_anchor(scored.url) for scored in late}
    assert not anchors & set(search_stories(week, "filter=unused")[1])
    assert anchors == set(search_stories(week, "q=waited+for")[1])
    found = week.client().get(f"{week.path}?part=results&q=waited+for").text
    assert found.count('name="act" value="add ') == 2
    assert "Fits " not in found


def test_the_list_goes_back_as_well_as_on(week: SampleWeek) -> None:
    first = page(week, "?filter=all")
    assert ">Earlier stories</a>" not in first
    following = re.search(r'<p class="fold" id="more"[^>]*><a href="([^"]+)">Next', first)
    assert following is not None
    second = week.client().get(unescape(following[1])).text
    back = re.search(r'<a href="([^"]+)">Earlier stories</a>', second)
    assert back is not None
    anchors = [re.findall(r'<li class="cand[^"]*" data-story="([^"]+)"', one) for one in (first, second)]
    assert (
        re.findall(r'class="cand[^"]*" data-story="([^"]+)"', week.client().get(unescape(back[1])).text) == anchors[0]
    )


def test_the_list_shows_as_many_as_came_while_one_scrolled(week: SampleWeek) -> None:
    def anchors(text: str) -> list[str]:
        return re.findall(r'<li class="cand[^"]*" data-story="([^"]+)"', text)

    first = page(week, "?filter=all")
    following = re.search(r'<p class="fold" id="more" data-rows="(\d+)"><a href="([^"]+)">Next', first)
    assert following is not None
    assert int(following[1]) == 2 * MAX_POOL_STORIES
    second = week.client().get(unescape(following[2])).text
    both = page(week, f"?filter=all&rows={following[1]}")
    assert anchors(both) == [*anchors(first), *anchors(second)]
    assert not re.search(r"[?;]rows=", both), "what came as one scrolled goes into no link"


def test_the_list_says_when_an_event_takes_place_and_until_when_a_call_is_open(week: SampleWeek) -> None:
    listed = "".join(re.findall(r'<li class="cand.+?</li>', page(week, "?filter=all&q=calendar"), re.DOTALL))
    assert re.search(r"<p class=\"meta\"[^>]*>Event: \w+day, \w+ \d+, [^<]+\. ", listed), listed
    every = page(week, "?filter=all&topic_filter=&order=newest") + page(week, "?filter=all&start=40")
    assert re.search(r"<p class=\"meta\"[^>]*>Deadline: \w+day, \w+ \d+", every)


def test_a_section_of_dates_says_which_of_its_stories_the_mail_sorts_by_date_before_the_sections(
    week: SampleWeek,
) -> None:
    mail = week.client().get(f"/desk/preview/{week.name}/text").text
    (day,) = re.findall(r"deadlines and events to (\w+ \d+)", mail.lower())
    rules = dict(re.findall(r'id="section-([\w-]+)".+?<p class="rule(?: usual)?">(.*?)</p>', page(week)))
    said = f"The email lists items due by {day.capitalize()} first, by date."
    assert {key for key, rule in rules.items() if said in rule} == {"events", "opportunities"}
    assert {key for key, rule in rules.items() if "Grouped by topic, as in the email." in rule} == {"topics"}


def test_how_much_there_is_to_look_at_leads_to_the_first_of_it(week: SampleWeek) -> None:
    anchor = week.anchors("featured")[2]
    week.client().post(f"{week.path}/story/{anchor}", data={"headline": "Cranes and modems " * 8, "was-headline": ""})
    counted = re.search(r'<a class="count warn" href="([^"]+)">1 to check</a>', page(week))
    assert counted is not None
    assert counted[1].endswith(f"#{anchor}")


def test_what_is_to_check_in_the_intro_leads_to_its_field(week: SampleWeek) -> None:
    week.client().post(
        f"{week.path}/head", data={"intro": "Ports list every modem on their cranes " * 7, "was-intro": ""}
    )
    counted = re.search(r'<a class="count warn" href="([^"]+)">1 to check</a>', page(week))
    assert counted is not None
    assert counted[1].endswith("open=head#head-intro")


def test_each_edit_of_the_head_leads_to_its_own_field(week: SampleWeek) -> None:
    links = re.findall(r'href="[^"]*open=head#([^"]+)">Edit<span class="hidden"> the (\w+)', page(week))
    fields = re.findall(r'id="([^"]+)" name="(subject|preheader|intro)"', page(week, "?open=head"))
    assert links == fields
    assert [name for _, name in links] == ["subject", "preheader", "intro"]


def test_the_intros_field_shows_where_the_email_ends(week: SampleWeek) -> None:
    first = "Ports list their modems, and towns test their sirens."
    for intro, shown in ((" ".join([first] * 5), [" ".join([first] * 4)]), ("Good morning.", [])):
        was = re.findall(r'name="was-intro" value="([^"]*)"', page(week, "?open=head"))[0]
        week.client().post(f"{week.path}/head", data={"intro": intro, "was-intro": was})
        assert (
            re.findall("In the email: <q>(.+?)</q> <b>The email cuts the intro here", page(week, "?open=head")) == shown
        )


def test_a_removed_story_that_the_preheader_names_is_pointed_out_until_it_is_back(week: SampleWeek) -> None:
    week.act(f"drop {week.anchors('featured')[2]}")
    anchor, headline = week.anchors("featured")[1], week.headlines("featured")[1]
    preheader = f"Also: {headline.lower()}, and more"
    week.client().post(f"{week.path}/head", data={"seq": week.state.last_seq, "preheader": preheader})
    assert "seems to be about" not in page(week)
    week.act(f"drop {anchor}")
    assert f"“{headline.lower()}” seems to be about “{headline}”, which was removed." in unescape(page(week))
    week.act("undo")
    assert "seems to be about" not in page(week)


def test_a_story_that_is_first_cannot_move_up_and_the_page_says_so(week: SampleWeek) -> None:
    answer = week.act(f"up {week.anchors('featured')[0]}")
    assert answer.status_code == 409
    assert "already at the end of its section" in answer.text
    assert week.state.last_seq == 0


def test_a_removed_story_leaves_its_place_empty_until_an_editor_fills_it(week: SampleWeek) -> None:
    before, anchor = week.headlines("featured"), week.anchors("featured")[2]
    assert "Fill " not in page(week)
    week.act(f"drop {anchor}")
    left = [title for title in before if title != before[2]]
    assert week.headlines("featured") == left
    shown = unescape(page(week))
    (following,) = re.findall("1 empty place. Next in line: “(.+?)” <button[^>]+>Fill the empty place<", shown)
    assert "Recently removed: 1" in shown
    listed = re.findall(r'<li class="cand.+?</li>', unescape(page(week, "?filter=left-out")), re.DOTALL)
    named = [row for row in listed if re.search(r"\. Next in line for .*\bFeatured\b", row)]
    assert len(named) == 1
    assert following in named[0]
    week.act("fill-featured", "sam")
    assert week.headlines("featured") == [*left, following]
    assert "Fill " not in page(week)
    assert week.act("fill-featured", "sam").status_code == 409
    # Only editors change what an editor has chosen.
    week.act(f"restore {anchor}")
    assert week.headlines("featured") == [*before[:2], before[2], *left[2:], following]
    assert f"The section has {len(before) + 1} stories" in page(week)


def test_a_section_by_page_views_is_refilled_and_one_without_other_stories_offers_none(week: SampleWeek) -> None:
    before, anchor = week.headlines("most-read"), week.anchors("most-read")[0]
    week.act(f"drop {anchor}")
    (came_up,) = set(week.headlines("most-read")) - set(before)
    assert f"“{came_up}” replaced it." in unescape(page(week))
    week.act(f"restore {anchor}")
    assert week.headlines("most-read") == before, "the one that replaced it is gone again"
    week.act(f"drop {week.anchors('events')[0]}")
    assert 'value="fill-events"' not in page(week)


def test_undo_names_what_it_takes_back_and_takes_back_ones_own_act_alone(week: SampleWeek) -> None:
    before = week.headlines("featured")
    week.act(f"up {week.anchors('featured')[1]}")
    week.act(f"down {week.anchors('featured')[3]}", editor="sam")
    assert 'title="Undo making “' in page(week)
    assert re.search('>Undo<span class="what"> making “[^”]+” the lead</span></button>', page(week)), (
        "which story stands in its words too"
    )
    week.act("undo")
    assert week.headlines("featured")[:2] == before[:2]
    assert week.headlines("featured")[3:5] == [before[4], before[3]]
    week.act("redo")
    assert week.headlines("featured")[:2] == [before[1], before[0]]


def test_a_story_is_called_by_the_headline_that_an_editor_wrote_also_once_it_is_removed(week: SampleWeek) -> None:
    anchor, original = week.anchors("featured")[1], week.headlines("featured")[1]
    write_headline(week, anchor, original, "Cranes wait")
    week.act(f"drop {anchor}")
    shown = page(week)
    assert 'title="Undo removing “Cranes wait”"' in shown
    assert "“Cranes wait” was removed" in shown
    assert "<b>Cranes wait</b>" in shown, "among the recently removed"
    assert ">Cranes</mark> wait</a>" in page(week, "?q=cranes&filter=left-out")
    fields = {"title": "A note", "url": "https://hls.example.org/note", "section": "featured"}
    week.client().post(f"{week.path}/stories", data={"seq": week.state.last_seq, **fields})
    write_headline(week, week.anchors("featured")[-1], "A note", "A longer note", editor="sam")
    assert 'title="Undo adding “A longer note”"' in page(week)


def write_headline(week: SampleWeek, anchor: str, was: str, headline: str, editor: str = "dana") -> None:
    form = {"seq": week.state.last_seq, "headline": headline, "was-headline": was}
    assert week.client(editor).post(f"{week.path}/story/{anchor}", data=form).status_code == 303


def test_what_leads_says_what_the_mail_shows_with_it_and_a_pinned_lead_keeps_its_place(week: SampleWeek) -> None:
    fourth, topic = week.anchors("featured")[3], week.anchors("topics")[0]
    assert "<b>Lead</b>, with its image and 2 related links. " in page(week)
    week.act(f"lead {fourth}")
    shown = page(week)
    assert "<b>Lead</b>, with its image. " in shown
    assert re.search('title="Undo making “[^”]+” the lead"', shown)
    week.act(f"lead {topic}")
    shown = page(week)
    assert "<b>Lead</b>. " in shown
    assert re.search('title="Undo making “[^”]+” the lead, moved from Topics"', shown)
    week.act(f"pin {topic}")
    assert "No. 1 of Featured is pinned" in week.act(f"lead {fourth}").text
    later = week.anchors("featured")[4]
    week.act(f"lead {later}")
    assert week.anchors("featured")[:3] == [topic, later, fourth]
    assert re.search('title="Undo moving “[^”]+” in Featured"', page(week))


def test_a_story_of_the_list_is_added_and_moved_to_any_section_and_place(week: SampleWeek) -> None:
    listed = re.findall(r'value="add (s[0-9a-f]+)"', page(week, "?filter=left-out"))
    assert listed
    week.act(f"add {listed[0]}")
    assert any(listed[0] in week.anchors(key) for key in week.state.arrangement.sections)
    week.act(f"move {listed[0]}", section="topics", position="1")
    assert week.anchors("topics")[0] == listed[0]


def test_the_list_counts_the_publishers_of_all_articles(week: SampleWeek) -> None:
    listed = unescape(page(week, "?filter=used"))
    for placed, anchor in zip(week.state.arrangement.sections["featured"], week.anchors("featured"), strict=True):
        (row,) = re.findall(rf'<li class="cand used" data-story="{anchor}">.+?</li>', listed, re.DOTALL)
        others = len(placed.original.story.publishers) - 1
        assert (f" and {others} more. In <b>" in row) == bool(others)


def test_the_lead_article_and_its_publisher_come_before_the_fields(week: SampleWeek) -> None:
    anchor = week.anchors("featured")[0]
    lead = week.state.arrangement.sections["featured"][0].original.lead
    shown = page(week, f"?open={anchor}")
    assert f"<summary>Lead article: {lead.publisher}, Nov. " in shown
    assert shown.index("<summary>Lead article") < shown.index('name="headline"')


def test_a_story_of_the_list_is_added_to_the_first_section_with_room(week: SampleWeek) -> None:
    shown = page(week, "?filter=left-out")
    first, second = re.findall(r'data-story="(s[0-9a-f]+)"(?:(?!</li>).)*?Fits Featured or Topics', shown, re.DOTALL)[
        :2
    ]
    # Featured then has more than its maximum, and Topics a free place.
    week.act(f"move {week.anchors('topics')[0]}", section="featured")
    week.act(f"add {first}")
    assert first in week.anchors("topics")
    # Without room anywhere, a story goes where it fits first.
    week.act(f"add {second}")
    assert week.anchors("featured")[-1] == second


def test_a_story_of_the_list_stands_where_its_date_belongs(week: SampleWeek) -> None:
    kind, before = SECTION_KINDS["opportunities"], week.anchors("opportunities")
    for anchor in before[:-1]:
        week.act(f"drop {anchor}")
    for anchor in before[1:-1] + before[:1]:
        week.act(f"add {anchor}")
    stories = week.state.arrangement.sections["opportunities"]
    assert len(stories) >= 3
    assert {story_anchor(story.url) for story in stories} >= set(before)
    assert stories == tuple(sorted(stories, key=lambda story: kind.order_key(story.original)))


def test_a_story_is_put_under_another_merged_and_split(week: SampleWeek) -> None:
    main, other, third = week.anchors("featured")[:3]
    week.act(f"under {other}", main=main)
    shown = page(week)
    assert "Related: " in shown
    panel = page(week, f"?panel=merge&about={main}")
    assert "Merge another story into this one" in panel
    choices = re.findall(r'<input type="radio" name="other" value="(s[0-9a-f]{12})" required>', panel)
    assert main not in choices
    assert third in choices
    assert other not in choices, "it's under this one"
    found = page(week, f"?panel=merge&about={main}&match={quote(week.headlines('topics')[0].upper())}")
    listed = rf"{re.escape(week.headlines('topics')[0])}<small>Topics 1\. [^<]+, Nov\. \d+, "
    assert re.search(listed, unescape(found))
    # A publisher or the beginning of a word is found, too, but after the headlines that have the word itself.
    named = page(week, f"?panel=merge&about={main}&match=port&part=choices").splitlines()
    has_word = [bool(re.search(r"\bport\b", line.partition("<small>")[0], re.IGNORECASE)) for line in named if line]
    assert sum(has_word) > 0
    assert sorted(has_word, reverse=True) == has_word
    assert False in has_word
    assert not re.search("checked|selected", "".join(named))
    assert "No stories match" in page(week, f"?panel=merge&about={main}&match=orts&part=choices")
    mains = page(week, f"?panel=under&about={third}&part=choices")
    assert main in mains
    assert "<small>Topics 1. " in mains
    assert third not in mains
    offered = re.findall("s[0-9a-f]{12}", mains)
    placed = [anchor for key in week.state.arrangement.sections for anchor in week.anchors(key)]
    assert offered == [anchor for anchor in placed if anchor != third][: len(offered)], "in the edition's order"
    assert {*re.findall("s[0-9a-f]{12}", mains)} <= {
        anchor for key in week.state.arrangement.sections for anchor in week.anchors(key)
    }
    only = page(week, f"?panel=merge&about={main}&match=nowhere&part=choices")
    assert only.strip() == "<p>No stories match</p>"
    assert "No other story was chosen" in week.act(f"merge {main}", other="").text
    assert "before an editor merged" not in page(week, f"?open={main}")
    week.act(f"merge {main}", other=third)
    merged = week.state.arrangement.sections["featured"][0]
    assert third not in week.anchors("featured")
    publishers = len(merged.original.story.publishers)
    assert f"before an editor merged or split the story. It now has {publishers} publishers." in page(
        week, f"?open={main}"
    )
    articles = [a.url for a in merged.original.story.members][-1:]
    week.act(f"split {main}", article=articles)
    assert week.state.edits[-1].kind == "split"
    *kept, last = [a.url for a in week.state.arrangement.sections["featured"][0].original.story.members[1:]]
    refused = week.act(f"split-others {main}", article=[*kept, last])
    assert "All articles were selected." in refused.text
    week.act(f"split-others {main}", article=kept[:1], hidden=kept[1:])
    assert week.state.edits[-1].texts("articles") == (last,)


def test_an_admin_is_not_told_to_ask_one(week: SampleWeek) -> None:
    old = week.installation.settings
    settings = old.model_copy(update={"base_url": "https://elsewhere.example.org/o'hare"})
    moved = replace(week, installation=Installation(settings, week.installation.database))
    moved = replace(moved, app=create_app(moved.installation, clock=later))
    advice = "pdate the draft on its review page, or restore DIGEST_BASE_URL. <a "
    assert f"<p>Ask an admin to u{advice}" in page(moved)
    with week.installation.database.write() as session:
        change_rows(session, StaffMember, StaffMember.email == EDITORS["sam"], role="admin")
    assert f"<p>U{advice}" in page(moved, editor="sam")


def test_articles_split_off_become_a_story_each_unless_they_were_one(week: SampleWeek) -> None:
    main, other, third = week.anchors("featured")[:3]
    placed = week.state.arrangement.sections["featured"]
    first, *same = [article.url for article in placed[2].original.story.members]
    lead = placed[1].url
    assert same
    for anchor in (other, third):
        week.act(f"merge {main}", other=anchor)
    week.act(f"split {main}", article=[first, lead, *same])
    assert sorted(map(sorted, week.state.edits[-1].value["stories"])) == sorted([[lead], sorted([first, *same])])
    stories = [out.scored.story for out in week.state.arrangement.left_out]
    split_off = [{a.url for a in story.members} for story in stories if story.lead.url in {lead, first, *same}]
    assert sorted(split_off, key=len) == [{lead}, {first, *same}]
    count = len(same) + 2
    shown = page(week, f"?open={main}&panel=articles")
    assert re.search(rf'<p role="status">Split off {count} articles from “[^”]+” as 2 stories. <button', shown)
    assert f"Undo splitting off {count} articles from “" in shown
    week.act("undo")
    week.act(f"split {main}", article=[first, *same])
    assert "stories" not in week.state.edits[-1].value
    assert "headline now links" not in page(week, f"?open={main}")
    best = week.state.arrangement.sections["featured"][0].original.story.members[1]
    week.client().post(f"{week.path}/lead/{main}", data={"seq": week.state.last_seq, "lead": best.url})
    assert f"The headline now links to {best.publisher}. <button" in page(week, f"?open={week.anchors('featured')[0]}")


def test_what_is_written_stands_in_the_edition_and_what_is_emptied_is_the_original_again(week: SampleWeek) -> None:
    anchor, original = week.anchors("featured")[0], week.headlines("featured")[0]
    shown = page(week, f"?open={anchor}")
    assert f'name="was-headline" value="{original}"' in shown
    fields = {"headline": "Ten days for crane modems", "was-headline": original, "note": "From us.", "was-note": ""}
    answer = week.client().post(f"{week.path}/story/{anchor}", data={"seq": 0, "close": "1", **fields})
    assert answer.status_code == 303
    assert week.headlines("featured")[0] == "Ten days for crane modems"
    assert "Use this" in page(week, f"?open={anchor}")
    fields = {"headline": "", "was-headline": "Ten days for crane modems"}
    week.client().post(f"{week.path}/story/{anchor}", data={"seq": week.state.last_seq, **fields})
    assert week.headlines("featured")[0] == original


def test_fields_that_were_left_alone_make_no_edit(week: SampleWeek) -> None:
    anchor, original = week.anchors("featured")[0], week.headlines("featured")[0]
    fields = {"headline": original, "was-headline": original, "note": "", "was-note": ""}
    week.client().post(f"{week.path}/story/{anchor}", data={"seq": 0, **fields})
    assert week.state.last_seq == 0


def test_the_head_of_the_mail_is_written(week: SampleWeek) -> None:
    fields = {"subject": "Cranes first", "was-subject": "", "preheader": "And water", "was-preheader": ""}
    week.client().post(f"{week.path}/head", data={"seq": 0, "close": "1", **fields})
    shown = page(week)
    assert "Cranes first" in shown
    assert "And water" in shown
    week.client().post(f"{week.path}/head", data={"seq": week.state.last_seq, "subject": "Cranes " * 10})
    assert ">69 of 60 characters, 9 over</em>" in page(week, "?open=head")


def test_an_intro_keeps_its_paragraphs_and_stays_empty_where_an_editor_empties_it(week: SampleWeek) -> None:
    client = week.client()

    def write(intro: str, was: str) -> str:
        answer = client.post(f"{week.path}/head", data={"seq": week.state.last_seq, "intro": intro, "was-intro": was})
        assert answer.status_code == 303
        return page(week, "?open=head")

    drafts = week.installation.settings.file.publication.intro
    assert drafts
    shown = write("Two  *ports*.\r\nStill one.\r\n \r\n<p>Then <b>water</b>.</p>", drafts)
    limit = "Emails show the intro’s first sentences, up to 240 characters (about six lines on a phone)"
    assert 0 < shown.index(limit) < shown.index('id="head-intro"'), "the limit is explained before the field"
    assert ">Two *ports*. Still one.\n\nThen water.</textarea>" in shown
    mail = unescape(client.get(f"/desk/preview/{week.name}/phone").text)
    # The email has the note's opening, and the web edition all of it.
    assert re.search(r"<span[^>]*>Two <em[^>]*>ports</em>\. Still one\.</span>", mail)
    text = editions.render_edition_bytes(week.installation, read_edition(week.installation, week.name), "text").decode()
    assert "Two ports. Still one." in text
    assert "Then water." not in mail + text
    is_note = RenderedEditionFragment.kind == "page", RenderedEditionFragment.name == "top"
    with week.installation.database.read() as session:
        web = session.scalars(select(RenderedEditionFragment.body).where(*is_note)).one()
    assert re.search(r"<p[^>]*>Two <em[^>]*>ports</em>\. Still one\.</p>\s*<p[^>]*>Then water\.</p>", web)
    # A browser sends what was left alone with other line ends.
    last = week.state.last_seq
    write("Two *ports*. Still one.\r\n\r\nThen water.", "Two *ports*. Still one.\n\nThen water.")
    assert week.state.last_seq == last
    shown = write("", "Two *ports*. Still one.\n\nThen water.")
    assert re.search(r'name="intro"[^>]*></textarea>', shown)
    assert "Undo removing the intro" in shown
    assert drafts not in client.get(f"/desk/preview/{week.name}/phone").text
    assert 'value="original-intro "' in shown
    week.act("original-intro")
    assert re.search(rf'name="intro"[^>]*>{re.escape(drafts)}</textarea>', unescape(page(week, "?open=head")))


def test_who_is_second_to_change_the_same_sees_both_versions_and_can_use_theirs(week: SampleWeek) -> None:
    anchor, original = week.anchors("featured")[0], week.headlines("featured")[0]
    fields = {"headline": "Dana's headline", "was-headline": original}
    week.client("dana").post(f"{week.path}/story/{anchor}", data={"seq": 0, **fields})
    fields = {"headline": "Sam's headline", "was-headline": original}
    answer = week.client("sam").post(f"{week.path}/story/{anchor}", data={"seq": 0, **fields})
    assert answer.status_code == 409
    assert "Dana&#39;s headline" in answer.text
    assert "Sam&#39;s headline" in answer.text
    assert week.headlines("featured")[0] == "Dana's headline"
    again = {k: unescape(v) for k, v in re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', answer.text)}
    week.client("sam").post(f"{week.path}/story/{anchor}", data=again)
    assert week.headlines("featured")[0] == "Sam's headline"


def test_two_who_change_different_things_lose_nothing(week: SampleWeek) -> None:
    first, second = week.anchors("featured")[:2]
    originals = week.headlines("featured")
    for editor, anchor, original in (("dana", first, originals[0]), ("sam", second, originals[1])):
        fields = {"headline": f"By {editor}", "was-headline": original}
        week.client(editor).post(f"{week.path}/story/{anchor}", data={"seq": 0, **fields})
    assert week.headlines("featured")[:2] == ["By dana", "By sam"]


def test_a_story_without_a_source_and_a_labelled_block_are_added(week: SampleWeek) -> None:
    fields = {"title": "A note from the desk", "url": "https://hls.example.org/note", "section": "featured"}
    answer = week.client().post(f"{week.path}/stories", data={"seq": 0, **fields})
    assert answer.status_code == 303
    assert "A note from the desk" in week.headlines("featured")
    fields = {"title": "Typed", "url": "https://HLS.example.org/typed?utm_source=mail", "section": "featured"}
    week.client().post(f"{week.path}/stories", data={"seq": week.state.last_seq, **fields})
    assert week.state.edits[-1].target == "https://hls.example.org/typed"
    assert [e["url"] for e in week.entries("featured") if e["headline"] == "Typed"] == ["https://HLS.example.org/typed"]
    wrong = week.client().post(f"{week.path}/stories", data={**fields, "title": "Wrong", "url": "hls.example.org"})
    assert "The link isn’t a URL" in wrong.text
    block = {"kind": "opportunity", "headline": "Grants open", "name": "FEMA", "text": "Until May.", "url": ""}
    week.client().post(f"{week.path}/block/grants", data={"seq": week.state.last_seq, **block})
    assert "Grants open" in page(week)
    # What is refused stands on the page as it was typed, to be corrected and sent again.
    block |= {"text": "Until June.", "first_day": "tomorrow", "seq": str(week.state.last_seq)}
    bad = week.client().post(f"{week.path}/block/grants", data=block)
    assert bad.status_code == 409
    assert "Enter the date in the format 2026-11-20" in bad.text
    assert ">Until June.</textarea>" in bad.text
    assert 'name="first_day" value="tomorrow"' in bad.text
    sent = dict(re.findall(r'name="([^"]+)" value="([^"]*)"', bad.text)) | {"text": "Until June.", "first_day": ""}
    assert sent.items() >= (block | {"first_day": ""}).items()
    assert week.client().post(f"{week.path}/block/grants", data=sent).status_code == 303
    assert "Until June." in page(week, "?open=block-grants")
    assert ">Wrong</textarea>" not in wrong.text
    assert 'name="title" value="Wrong"' in wrong.text
    assert "Your text" not in week.act("up s000000000000").text

    # A field that is left is sent alone, and what stands already is no edit.
    seq = week.state.last_seq
    for fields in ({"text": "Until <b>July</b>."}, {"text": "Until July."}, {"headline": "Grants open"}):
        assert (
            week.client().post(f"{week.path}/block/grants", data={"seq": week.state.last_seq, **fields}).status_code
            == 303
        )
    grants = week.state.arrangement.find_block("grants")
    assert grants == LabeledBlock("grants", "opportunity", "Grants open", "FEMA", "Until July.")
    assert week.state.last_seq == seq + 1
    assert week.client().post(f"{week.path}/block/nothing", data={"text": "No headline."}).status_code == 409
    week.client().post(f"{week.path}/block/grants", data={"seq": week.state.last_seq, "first_day": "2027-01-01"})
    assert re.search(r"<b>Grants open</b>[^\n]*Not in this edition", page(week))
    # A field that was written on an older state than its page has now is no overwriting of what a colleague wrote since.
    old = week.state.last_seq
    week.client("sam").post(f"{week.path}/block/grants", data={"seq": old, "text": "By Sam."})
    late = {"seq": old + 1, "text": "By Dana.", "seq-text": old}
    both = week.client().post(f"{week.path}/block/grants", data=late)
    assert (both.status_code, "By Sam." in both.text, "By Dana." in both.text) == (409, True, True)
    again = dict(
        re.findall(
            r'name="((?!was-)[\w-]+)" value="([^"]*)"', both.text.partition("Use my version")[0].rpartition("<form")[2]
        )
    )
    assert week.client().post(f"{week.path}/block/grants", data=again).status_code == 303
    assert week.state.arrangement.resting_blocks[0].text == "By Dana."
    pages = [page(week, "?open=block-new", editor) for editor in ("dana", "sam")]
    new = {re.search(r'data-blank[^>]*/block/(block-[0-9a-f]+)"', shown)[1] for shown in pages}  # type: ignore[index]
    assert len(new) == 2, "two who write a block at the same time write two"


def test_a_finding_stands_at_its_place_with_the_way_to_mend_it(week: SampleWeek) -> None:
    week.client().post(f"{week.path}/head", data={"seq": 0, "subject": "Long " * 20})
    seventh = next(s.scored.story.lead.url for s in week.state.arrangement.left_out)
    week.act(f"add {story_anchor(seventh)}")
    text = page(week)
    head = text[text.index('<dl class="mailhead"') : text.index("</dl>")]
    assert "The subject has 99 characters" in head
    assert f'{week.path}?open=head#head-subject">Edit<span class="hidden"> the subject</span></a>' in head
    (section,) = re.findall(
        r'<div class="sec" id="section-([\w-]+)">(?:(?!<ol).)*stories. The settings allow \d', text, re.DOTALL
    )
    assert f'href="#{week.anchors(section)[-1]}">Go to its last story</a>' in text


def test_a_page_has_the_form_of_one_block_at_most(week: SampleWeek) -> None:
    block = {
        "kind": "sponsor",
        "headline": "Radios for all",
        "name": "Okapi",
        "text": "",
        "url": "",
        "open": "block-new",
    }
    saved = week.client().post(f"{week.path}/block/radios", data={"seq": 0, **block})
    assert "open=" not in saved.location, "the form is closed once its block is saved"
    assert "/block/" not in page(week), "four forms would be a tenth of the page: benchmarks/pages.py"
    links = re.findall(r'<a class="block"[^>]* href="[^"]*(\?open=block-[a-z]+)#block-kind"', page(week))
    assert links[-2:] == ["?open=block-radios", "?open=block-new"]
    for query in links:
        assert page(week, query).count("/block/") == 1


def test_a_block_moves_behind_another_section(week: SampleWeek) -> None:
    block = {"kind": "sponsor", "headline": "Radios for all", "name": "Okapi", "text": "", "url": ""}
    client, path = week.client(), f"{week.path}/block/radios"
    client.post(path, data={"seq": 0, **block})

    key = "products"
    title = next(section.title for section in week.installation.settings.file.sections if section.key == key)

    def stands_behind() -> bool:
        mail = " ".join(
            editions.render_edition_bytes(week.installation, read_edition(week.installation, week.name), "text")
            .decode()
            .split()
        )
        return mail.index("Radios for all") > mail.rindex(week.headlines(key)[0])

    assert not stands_behind()
    assert f'<option value="{key}">{title}</option>' in unescape(page(week, "?open=block-radios"))
    client.post(path, data={"seq": week.state.last_seq, "after": key})
    assert stands_behind()
    assert f'<option value="{key}" selected>{title}</option>' in unescape(page(week, "?open=block-radios"))


def test_a_story_stays_open_by_its_new_name_where_another_article_leads_it(week: SampleWeek) -> None:
    stories = [story for placed in week.state.arrangement.sections.values() for story in placed]
    story = next(s for s in stories if len(s.original.story.members) > 1)
    anchor = story_anchor(story.url)
    data = {"seq": 0, "open": anchor, "lead": story.original.story.members[1].url}
    answer = week.client().post(f"{week.path}/lead/{anchor}", data=data)
    assert answer.status_code == 303
    assert 'data-saves="s' in week.client().get(answer.location).text, "its form"


def test_a_block_of_other_days_stands_below_those_that_run_and_can_be_changed(week: SampleWeek) -> None:
    block = {"kind": "sponsor", "headline": "Radios for all", "name": "Okapi", "text": "", "url": ""}
    block |= {"first_day": "", "last_day": ""}

    def write(**days: str) -> Any:
        return week.client().post(f"{week.path}/block/radios", data={"seq": week.state.last_seq, **block, **days})

    refused = write(first_day="2026-12-20", last_day="2026-11-20")
    assert "the last day is before the first day" in refused.text
    assert write(first_day="2026-12-20", last_day="2027-01-03").status_code == 303
    text = page(week)
    assert "Not in this edition. Runs from Dec. 20, 2026, to Jan. 3, 2027" in text
    assert "?open=block-radios#" in text
    form = page(week, "?open=block-radios")
    assert '<option value="" selected>Featured</option>' in form, "where the email shows it"
    assert "The lead</option>" not in form
    assert "Radios for all" not in week.client().get(f"/desk/preview/{week.name}/phone").text
    assert write(last_day="2020-01-01").status_code == 303
    assert "Not in this edition. Runs until Jan. 1, 2020" in page(week)
    assert write().status_code == 303
    assert "Not in this edition" not in page(week)
    assert "Radios for all" in week.client().get(f"/desk/preview/{week.name}/phone").text


def test_a_block_that_its_own_form_saved_before_is_no_second_version(week: SampleWeek) -> None:
    fields = {"kind": "sponsor", "headline": "Radios", "name": "", "text": "", "url": "", "after": ""}
    path = f"{week.path}/block/radios"
    week.client().post(path, data={"seq": 0, **fields})
    days = {"first_day": "2026-11-19", "last_day": ""}
    was = {f"was-{name}": value for name, value in (fields | {"first_day": "", "last_day": ""}).items()}
    begun = {"seq-first_day": "0"}
    saved = week.client().post(path, data={"seq": week.state.last_seq, **begun, **was, **fields, **days})
    assert saved.status_code == 303
    week.client("sam").post(path, data={"seq": week.state.last_seq, **fields, "headline": "By Sam"})
    late = week.client().post(path, data={"seq": 1, **begun, **was, **fields, "last_day": "2026-12-01"})
    assert (late.status_code, "Two versions of one labeled block" in late.text) == (409, True)


def test_a_story_is_fetched_by_its_address_corrected_and_added(week: SampleWeek, httpserver: HTTPServer) -> None:
    httpserver.expect_request("/robots.txt").respond_with_data("", status=404)
    httpserver.expect_request("/ferry").respond_with_data(PAGE, content_type="text/html")
    limits = week.installation.settings.file.limits
    limits.allow_networks.append("127.0.0.0/8")
    asked = {"seq": 0, "supersedes": "1", "url": httpserver.url_for("/ferry")}
    found = week.client().post(f"{week.path}/fetch", data=asked)
    assert "Ferry deckhands get the drill they asked for" in found.text
    assert week.state.last_seq == 0
    form = {k: unescape(v) for k, v in re.findall(r'type="hidden" name="([^"]+)" value="([^"]*)"', found.text)}
    assert form["supersedes"] == "1"
    corrected = {"title": "Deckhands get their drill", "summary": "On the real stairs.", "section": "featured"}
    assert 'name="publisher" value="The Ferry Line"' in found.text, "as the page names its site"
    assert 'name="day" value="2026-11-18"' in found.text
    corrected |= {"day": "2026-11-16", "topic": "Cybersecurity"}
    wrong = week.client().post(f"{week.path}/stories", data={**form, **corrected, "day": "Monday"})
    assert (wrong.status_code, "“Monday” isn’t a date" in wrong.text) == (409, True)
    assert week.client().post(f"{week.path}/stories", data={**form, **corrected}).status_code == 303
    assert "Deckhands get their drill" in week.headlines("featured")
    (entry,) = (e for e in week.entries("featured") if e["headline"] == "Deckhands get their drill")
    assert (entry["date"], entry["kicker"]) == ("Nov 16", "Cybersecurity")
    again = week.client().post(f"{week.path}/fetch", data={"seq": 0, "url": httpserver.url_for("/ferry")})
    assert "This story is already in the list" in again.text


def test_an_address_that_cannot_be_had_says_why_and_what_to_do(week: SampleWeek) -> None:
    answer = week.client().post(f"{week.path}/fetch", data={"seq": 0, "url": "http://127.0.0.1:9/"})
    assert answer.status_code == 409
    assert "write the story yourself" in answer.text
    assert "Couldn’t reach the site: " in answer.text
    assert "robots.txt" not in answer.text
    assert "<details open><summary>Write a story" in answer.text
    # What was typed stays, and says why.
    field = re.findall(r'<input class="in" name="url"[^>]*>', answer.text)[0]
    assert 'value="http://127.0.0.1:9/"' in field
    assert 'aria-describedby="url-refused"' in field
    assert f'data-page="{week.path}?tab=stories&amp;open=own"' in answer.text


def test_nothing_is_put_by_hand_where_the_heading_says_what_subscribers_did(week: SampleWeek) -> None:
    before, other = week.headlines("most-read"), week.anchors("topics")[0]
    first, second = week.anchors("most-read")[:2]
    shown = page(week, f"?panel=move&about={other}")
    assert "Sorted by page views. You can\u2019t add or move stories." in shown
    assert "Most read is sorted by page views, so you can\u2019t move stories there." in shown
    own = re.search(r'<details class="own" id="own".*?</details></details>', shown, re.DOTALL)
    assert own is not None
    assert '<option value="topics"' in own[0]
    assert '<option value="most-read"' not in own[0]
    added = {"title": "Read by nobody", "section": "most-read", "seq": 0}
    for answer in (
        week.act(f"move {other}", section="most-read", position="1"),
        week.act(f"up {second}"),
        week.client().post(f"{week.path}/stories", data=added),
    ):
        assert answer.status_code == 409
        assert "Most read is sorted by page views" in answer.text
    assert week.headlines("most-read") == before
    week.act(f"move {first}", section="featured", position="1")
    assert week.headlines("featured")[0] == before[0]


def test_a_story_moved_without_scripts_goes_to_the_end_of_another_section_unless_a_place_is_entered(
    week: SampleWeek,
) -> None:
    first, second = week.anchors("featured")[1:3]
    for anchor, position in ((first, None), (second, "1")):
        form = re.findall(r'name="(was-\w+|position)"[^>]* value="([^"]*)"', page(week, f"?panel=move&about={anchor}"))
        fields = dict(form) | {"section": "topics"} | ({"position": position} if position else {})
        week.act(f"move {anchor}", **fields)
    placed = week.anchors("topics")
    topics = [story.placed.scored.topic for story in week.state.arrangement.sections["topics"]]
    (moved,) = (at for at, anchor in enumerate(placed) if anchor == first)
    assert topics[moved] not in topics[moved + 1 :], "in Topics, the stories on a topic stay together"
    assert placed[0] == second


def save_image(week: SampleWeek, anchor: str, **fields: Any) -> Any:
    """Send the story's form with the picture's part as it stands, and what is changed in it."""
    shown = next(e for a, e in zip(week.anchors("featured"), week.entries("featured"), strict=True) if a == anchor)
    words = {key: (shown["picture"] or {}).get(key, "") for key in ("alt", "credit")}
    was = {f"was-{key}": text for key, text in words.items()}
    form = {"seq": str(week.state.last_seq), "open": anchor, "picture": "shown", **words, **was}
    return week.client().post(f"{week.path}/story/{anchor}", data={**form, **fields})


def test_a_picture_is_uploaded_described_and_hidden_and_what_is_so_already_is_no_edit(week: SampleWeek) -> None:
    anchor = week.anchors("featured")[0]
    # The file alone says what is wanted: without scripts nothing chooses "an upload" for who chooses a file.
    upload = {"alt": "Two grey rings", "credit": "HLS.Today", "file": (jpeg(), "rings.jpg"), "headline": "Rings"}
    assert save_image(week, anchor, **upload, close="1").status_code == 303
    entry = week.entry("featured", 0)
    assert (entry["headline"], entry["picture"]["alt"], entry["picture"]["credit"]) == (
        "Rings",
        "Two grey rings",
        "HLS.Today",
    )
    save_image(week, anchor, alt="Grey rings", credit="")
    assert week.entry("featured", 0)["picture"]["alt"] == "Grey rings"
    seq = week.state.last_seq
    save_image(week, anchor)
    save_image(week, anchor, **{"was-alt": "Another page's words"})
    assert week.state.last_seq == seq
    save_image(week, anchor, picture="none")
    assert week.entry("featured", 0)["picture"] is None
    save_image(week, anchor, picture="none")
    assert week.state.last_seq == seq + 1


def test_a_focus_point_is_chosen_by_two_numbers(week: SampleWeek) -> None:
    anchor, before = week.anchors("featured")[0], week.entry("featured", 0)["picture"]
    fields = {"focus-x": "20", "focus-y": "90"}
    assert save_image(week, anchor, **fields).status_code == 303
    assert week.entry("featured", 0)["picture"] == before | {
        "focus": [0.2, 0.9],
        "hash": week.entry("featured", 0)["picture"]["hash"],
    }
    shown = page(week, f"?open={anchor}")
    assert re.findall(r'name="(?:was-)?focus-[xy]" value="(\d+)"', shown)[:4] == ["20", "20", "90", "90"]
    assert '<circle cx="20%" cy="90%" r="13"/>' in shown
    seq = week.state.last_seq
    save_image(week, anchor, **fields)
    assert week.state.last_seq == seq
    for wrong in (
        {"focus-x": "101", "focus-y": "50"},
        {"focus-x": "50", "focus-y": ""},
        {"focus-x": "a", "focus-y": "1"},
    ):
        refused = save_image(week, anchor, **wrong)
        assert refused.status_code == 409
        assert "The focus point isn’t in the image. Enter two percentages from 0 to 100." in refused.text
    assert week.state.last_seq == seq
    save_image(week, anchor, **{"focus-x": "50", "focus-y": "40"})
    assert week.entry("featured", 0)["picture"] == before


def test_a_focus_point_revokes_an_approval_and_undone_it_is_valid_again(week: SampleWeek) -> None:
    anchor, mark = (
        week.anchors("featured")[0],
        read_edition_status(week.installation, week.name, now=later()).content_hash,
    )
    edition_approval.approve_edition(week.installation, week.name, mark, actor=EDITOR, now=later())
    approval, focus = week.state.approval, {"focus-x": "20", "focus-y": "90"}
    asked = save_image(week, anchor, **focus)
    assert (asked.status_code, week.state.approved) == (409, True)
    assert "<h1>The edition is approved</h1>" in asked.text
    assert '<input type="hidden" name="focus-x" value="20">' in asked.text
    save_image(week, anchor, **focus, supersedes=approval)
    assert not week.state.approved
    week.act("undo")
    assert (week.state.approved, week.state.approval) == (True, approval)


def test_the_page_s_script_is_told_why_a_picture_is_refused(week: SampleWeek) -> None:
    anchor, json = week.anchors("featured")[0], {"Accept": "application/json"}
    form = {"seq": "0", "picture": "upload", "alt": "A", "file": (io.BytesIO(b"not one"), "a.jpg")}
    refused = week.client().post(f"{week.path}/story/{anchor}", data=form, headers=json)
    assert refused.status_code == 409
    assert "the file can’t be read as an image. Upload a JPEG" in refused.get_json()["why"]
    form = {"seq": "0", "picture": "upload", "alt": "A", "file": (jpeg(), "a.jpg")}
    saved = week.client().post(f"{week.path}/story/{anchor}", data=form, headers=json)
    assert (saved.status_code, saved.get_json()["seq"]) == (200, 1)


def test_two_focus_points_are_shown_side_by_side(week: SampleWeek) -> None:
    anchor = week.anchors("featured")[0]
    save_image(week, anchor, **{"focus-x": "20", "focus-y": "90"})
    second = save_image(week, anchor, seq="0", **{"focus-x": "75", "focus-y": "10"})
    assert second.status_code == 409
    assert "20% from the left, 90% from the top" in second.text
    assert "75% from the left, 10% from the top" in unescape(re.sub("</?[a-z][^>]*>", "", second.text))


def test_ones_own_clipboard_outlives_the_session_and_nobody_else_sees_it(week: SampleWeek) -> None:
    anchor, headline = week.anchors("featured")[2], week.headlines("featured")[2]
    assert week.client().post(f"{week.path}/clipboard", data={"keep": anchor}).status_code == 303
    week.act(f"drop {anchor}")
    shown = page(week)
    assert "My clipboard: 1" in shown
    assert f'value="add {anchor}"' in shown
    assert "My clipboard" not in page(week, editor="sam")
    week.act(f"add {anchor}")
    assert headline in week.headlines("featured")
    number = re.findall(r'name="remove" value="(\d+)"', page(week))[0]
    week.client("sam").post(f"{week.path}/clipboard", data={"remove": number})
    assert "My clipboard: 1" in page(week)
    week.client().post(f"{week.path}/clipboard", data={"remove": number})
    assert "My clipboard" not in page(week)


def test_a_picture_that_is_refused_is_answered_on_the_story_s_form_with_what_was_typed(week: SampleWeek) -> None:
    anchor, seq = week.anchors("featured")[0], week.state.last_seq
    save_image(week, anchor, picture="none")
    seq = week.state.last_seq
    silent = save_image(week, anchor, alt="", credit="HLS.Today", note="From us.", file=(jpeg(), "a.jpg"))
    assert silent.status_code == 409
    assert "The image has no description" in silent.text
    assert "choose the file again" in silent.text
    assert 'name="credit" value="HLS.Today"' in silent.text
    # The note was saved by then, and stands in the form.
    assert re.search('name="note"[^>]*>From us.</textarea>', silent.text)
    assert week.state.last_seq == seq + 1
    bad = save_image(week, anchor, picture="upload", alt="A", file=(io.BytesIO(b"not one"), "a.jpg"))
    assert "Upload a JPEG, PNG" in bad.text
    assert 'value="upload" checked' in bad.text
    refused: dict[str, dict[str, Any]] = {
        "Choose either the file or the option": {"picture": "none", "alt": "A", "file": (jpeg(), "a.jpg")},
        "No file was uploaded": {"picture": "upload", "alt": "A"},
        "There’s no image to describe": {"alt": "Nothing that is shown"},
    }
    for sentence, fields in refused.items():
        answer = save_image(week, anchor, **fields)
        assert answer.status_code == 409
        assert sentence in answer.text
    assert week.state.last_seq == seq + 1
    assert "choose the file again" not in answer.text


def find_banner(html: str) -> str:
    """Give the banner about an approval that no longer applies."""
    found = re.search('<p class="void">.*?</p>', html, re.DOTALL)
    assert found
    return found.group()


def test_an_edit_of_an_approved_edition_makes_it_a_draft_again(week: SampleWeek, clock: Clock) -> None:
    mark = read_edition_status(week.installation, week.name, now=later()).content_hash
    edition_approval.approve_edition(week.installation, week.name, mark, actor=EDITOR, now=later())
    assert "Any change revokes the approval" in page(week)
    # Nobody loses it by a slip: each change is asked about first, with all that was typed.
    act, client = {"act": f"up {week.anchors('featured')[1]}", "seq": "0"}, week.client()
    words = {"subject": "Cranes first", "preheader": "", "intro": ""}
    assert client.post(f"{week.path}/head", data=words).status_code == 409
    asked = client.post(f"{week.path}/act", data=act)
    assert (asked.status_code, week.state.approved) == (409, True)
    assert "Approved by Sam, Nov. 19, 5:35 p.m." in asked.text
    fields = dict(re.findall(r'<input type="hidden" name="([^"]+)" value="([^"]*)">', asked.text))
    assert fields.pop("csrf_token")
    assert fields == act | {"supersedes": week.state.approval}
    assert client.post(f"{week.path}/clipboard", data=act | {"keep": week.anchors("featured")[1]}).status_code == 303
    clock.now = week.state.identity.release_at
    said = " subscribers</b> once an admin sends it, because automatic sending is off."
    assert said in unescape(page(week))
    schedule_slots.find_or_record_schedule_start(week.installation.database, clock.now)
    assert " subscribers</b> within a minute." in page(week)
    clock.now += timedelta(minutes=5)
    assert " subscribers</b> late. Ask an admin" in page(week)
    clock.now += timedelta(days=2)
    assert "and won\u2019t be sent automatically" in page(week)
    clock.now = later()
    assert "Undoing the change restores the approval." in asked.text
    assert client.post(f"{week.path}/act", data=fields).status_code == 303
    revoked = client.get(week.path).text
    assert "Review and approve" in revoked
    assert "Undoing the change restores the approval." in revoked
    assert 'value="undo"' in find_banner(revoked)
    assert client.post(f"{week.path}/act", data={"act": "undo"}).status_code == 303
    again = client.get(week.path).text
    assert "Any change revokes the approval" in again, "what was approved is approved again"
    assert "The approval is valid again." in again
    assert "The approval is valid again." not in client.get(week.path).text


def test_the_banner_offers_an_undo_only_if_that_alone_restores_the_approval(week: SampleWeek) -> None:
    mark = read_edition_status(week.installation, week.name, now=later()).content_hash
    edition_approval.approve_edition(week.installation, week.name, mark, actor=EDITOR, now=later())
    for anchor in week.anchors("featured")[1:3]:
        assert week.act(f"drop {anchor}", supersedes=week.state.approval).status_code == 303
    banner = find_banner(page(week))
    assert "Undoing all changes since the approval restores it." in banner
    assert 'value="undo"' not in banner


def test_an_act_that_nobody_knows_and_a_story_that_is_not_there_are_refused(week: SampleWeek) -> None:
    assert week.act("explode").status_code == 404
    answer = week.act("up s000000000000")
    assert answer.status_code == 409
    assert "no longer among this week’s stories" in answer.text


@pytest.mark.parametrize("page_path", ["act", "head", "fetch", "stories", "clipboard", "story/s000000000000"])
def test_an_edition_that_is_not_there_is_answered_with_those_that_are(week: SampleWeek, page_path: str) -> None:
    fields = {"act": "undo", "url": "https://a.example/", "title": "x", "subject": "x", "keep": "s000000000000"}
    answer = week.client().post(f"/desk/editions/2020-W01/{page_path}", data=fields)
    assert answer.status_code == 404
    assert week.name in answer.text


def test_a_summary_says_whose_words_it_is_and_after_an_edit_who_wrote_it(week: SampleWeek) -> None:
    anchor, entry = week.anchors("featured")[0], week.entry("featured", 0)
    assert entry["summary_origin"] == {"basis": "opening", "publisher": "HLS.Today", "lent_to": ""}
    shown = page(week, f"?open={anchor}")
    assert "From the beginning of HLS.Today’s article." in shown
    assert "Based on its score." in shown
    fields = {"summary": "Ours.", "was-summary": entry["summary"], "why": "We like it.", "was-why": entry["why"]}
    week.client().post(f"{week.path}/story/{anchor}", data={"seq": 0, **fields})
    written = week.entry("featured", 0)
    assert written["summary_origin"] == {"basis": "editor", "publisher": "", "lent_to": ""}
    assert written["why_is_written"]
    shown = page(week, f"?open={anchor}")
    assert shown.count("Written by Dana, ") == 2
    assert "From the beginning of HLS.Today’s article: <q>" in shown
    week.act(f"original-summary {anchor}")
    assert week.entry("featured", 0)["summary_origin"] == entry["summary_origin"]


def test_a_button_reads_the_edition_once_and_looks_once_more_when_it_stores(week: SampleWeek) -> None:
    client, anchor, seq = week.client(), week.anchors("featured")[1], week.state.last_seq
    reads: list[str] = []

    def note(_conn: object, _cursor: object, statement: str, *_more: object) -> None:
        if "FROM edit \nWHERE" in statement:
            reads.append(statement)

    event.listen(week.installation.database.engine, "before_cursor_execute", note)
    client.post(f"{week.path}/act", data={"act": f"up {anchor}", "seq": seq}, headers={"Accept": "application/json"})
    assert len(reads) == 2


def test_a_drafts_page_reads_its_edits_and_the_changed_settings_once(week: SampleWeek) -> None:
    client, reads = week.client(), list[str]()
    client.get(week.path)

    def note(_conn: object, _cursor: object, statement: str, *_more: object) -> None:
        reads.append(" ".join(statement.split()))

    event.listen(week.installation.database.engine, "before_cursor_execute", note)
    client.get(week.path)
    assert len([read for read in reads if "FROM edit WHERE edit.edition_id" in read]) == 1
    assert len([read for read in reads if "FROM audit WHERE audit.act IN" in read]) == 1
    assert reads.count("BEGIN") <= 2, "signing in, and everything that the page shows"


def test_a_sponsored_block_has_an_image_in_the_email_and_on_the_web(week: SampleWeek) -> None:
    client, path = week.client(), f"{week.path}/block/b-1"
    words = {
        "seq": "0",
        "kind": "sponsor",
        "headline": "Pumps that start",
        "name": "Anvil",
        "url": "https://anvil.example.org/",
    }
    upload = {"picture": "upload", "alt": "A red pump", "credit": "Anvil", "focus-x": "20", "focus-y": "90"}
    assert client.post(path, data={**words, **upload, "file": (jpeg(), "pump.jpg")}).status_code == 303
    block = week.state.arrangement.find_block("b-1")
    assert block is not None
    assert (block.headline, block.picture and (block.picture.alt, block.picture.focus)) == (
        *("Pumps that start", ("A red pump", (0.2, 0.9))),
    )
    with week.installation.database.read() as session:
        bodies = {
            row.kind: row.body
            for row in session.scalars(select(RenderedEditionFragment))
            if "Pumps that start" in row.body
        }
    assert {"html", "page"} <= bodies.keys()
    for kind in ("html", "page"):
        assert re.search(r'<img[^>]* alt="A red pump"', bodies[kind])
    shown = page(week, "?open=block-b-1")
    assert 'name="alt" value="A red pump"' in shown
    # A field of the block that's saved alone leaves the image as it is, and so does the image's form if nothing is changed in it.
    seq = str(week.state.last_seq)
    client.post(path, data={"seq": seq, "text": "Made here."})
    assert find_image(week) == block.picture
    as_it_is = {"picture": "shown", "alt": "A red pump", "credit": "Anvil", "focus-x": "20", "focus-y": "90"}
    seq = str(week.state.last_seq)
    client.post(path, data={"seq": seq, **as_it_is})
    assert str(week.state.last_seq) == seq
    client.post(path, data={"seq": seq, **as_it_is, "alt": "A pump", "focus-x": "50"})
    picture = find_image(week)
    assert picture is not None
    assert (picture.alt, picture.focus) == ("A pump", (0.5, 0.9))
    for fields, sentence in (
        ({**upload, "alt": " ", "file": (jpeg(), "a.jpg")}, "The image has no description"),
        ({**upload, "file": (io.BytesIO(b"no image"), "a.jpg")}, "can’t be used"),
        (upload, "No file was uploaded"),
    ):
        refused = client.post(path, data={"seq": str(week.state.last_seq), **fields})
        assert refused.status_code == 409
        assert sentence in refused.text
        assert 'id="picture-refused"' in refused.text
    client.post(path, data={"seq": str(week.state.last_seq), "picture": "none"})
    assert find_image(week) is None
    refused = client.post(
        path, data={"seq": str(week.state.last_seq), "picture": "shown", "alt": "Nothing that's shown"}
    )
    assert "There’s no image to describe" in refused.text
    assert [edit.kind for edit in week.state.edits] == ["block"] * 5


def test_who_describes_a_blocks_image_that_a_colleague_replaced_sees_both(week: SampleWeek) -> None:
    path = f"{week.path}/block/b-1"
    texts = {"kind": "sponsor", "headline": "Pumps", "name": "", "text": "", "url": "", "after": ""}
    texts |= {"first_day": "", "last_day": ""}
    texts |= {f"was-{field}": text for field, text in texts.items()}
    first = {"alt": "A pump", "credit": "", "focus-x": "50", "focus-y": "50"}
    was = {f"was-{field}": text for field, text in first.items()}
    week.client().post(path, data={"seq": "0", **texts, **first, "picture": "upload", "file": (jpeg(), "a.jpg")})
    seq = str(week.state.last_seq)
    boat = {"picture": "upload", "alt": "A blue boat", "credit": "", "focus-x": "10", "focus-y": "90"}
    assert (
        week.client("sam").post(path, data={"seq": seq, **texts, **boat, "file": (jpeg(), "b.jpg")}).status_code == 303
    )
    image = find_image(week)
    barn = {**texts, **first, **was, "picture": "shown", "alt": "A red pump in a barn"}
    for base in ({"seq": seq}, {"seq": str(week.state.last_seq), "seq-picture": seq}):
        answer = week.client().post(path, data={**barn, **base, "text": "Made here."})
        assert (answer.status_code, "Two versions of one labeled block" in answer.text) == (409, True)
        assert week.client().post(path, data={**barn, **base}).status_code == 409
        assert find_image(week) == image
    # A colleague's text is no other version of the image.
    seq = str(week.state.last_seq)
    week.client("sam").post(path, data={**texts, "seq": seq, "text": "By Sam."})
    texts |= {"text": "By Sam.", "was-text": "By Sam."}
    answer = week.client().post(path, data={**barn, **texts, "seq": seq})
    assert answer.status_code == 303
    picture = find_image(week)
    assert picture is not None
    assert picture.alt == "A red pump in a barn"


def find_image(week: SampleWeek) -> EditionImage | None:
    block = week.state.arrangement.find_block("b-1")
    assert block is not None
    return block.picture
