"""A continuing story says what's new in every form of the edition, and links to its earlier edition."""

from dataclasses import replace
from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest
from jinja2 import Environment
from lxml import html as lxml_html

from digest.cli.editions.group import explain_proposal
from digest.edition.content.edition_content import EarlierAppearance, EditionContent, EditionSection, SectionEntry
from digest.edition.content.mailable_edition import join_fragments
from digest.edition.kinds import SECTION_KINDS
from digest.edition.kinds.story_entry import EntryContext
from digest.edition.rendering.fragments import build_publication_context, create_mail_environment, render_edition
from digest.select.selection_types import (
    CandidateArticle,
    Continuation,
    EarlierStory,
    PlacedStory,
    Proposal,
    ScoredStory,
    Story,
)
from digest.settings import Settings
from subscribers.subscriber_language import ENGLISH
from tests.moments import DRAFTING as NOW

OURS = Settings.model_validate({"base_url": "https://news.example.org/"})
SINCE = EarlierAppearance("2026-W46", 146, "Nadia nears <Port> Ellery", "Power is back (Times, Nov 18).")
ARCHIVE = "https://news.example.org/editions/2026-W46"
NEWS_KINDS = [name for name, kind in SECTION_KINDS.items() if kind.source_section == "news"]


@pytest.fixture(scope="module")
def pages() -> Environment:
    return create_mail_environment(OURS)


def edition_with(kind: str, entries: tuple[SectionEntry, ...], content: EditionContent) -> EditionContent:
    return replace(content, sections=(EditionSection("one", kind, "One", "", entries),), blocks=())


@pytest.mark.parametrize("kind", NEWS_KINDS)
@pytest.mark.parametrize("place", [0, 1])
def test_every_news_section_says_what_is_new_and_links_the_earlier_edition(
    kind: str, place: int, full_content: EditionContent, pages: Environment
) -> None:
    entries = [SectionEntry(f"Headline {n}", f"https://a.example.org/{n}", kicker="Ports") for n in range(2)]
    entries[place] = replace(entries[place], since=SINCE)
    pieces = render_edition(edition_with(kind, tuple(entries), full_content), build_publication_context(OURS), pages)
    for form in ("html", "web"):
        page = lxml_html.document_fromstring(join_fragments(pieces, form).text)
        (link,) = page.xpath(f"//a[@href='{ARCHIVE}']")
        assert link.text_content() == SINCE.headline
        said = " ".join(link.getparent().text_content().split())
        assert said == "Since No. 146: Power is back (Times, Nov 18). Earlier: Nadia nears <Port> Ellery"
    text = join_fragments(pieces, "text").text
    assert f"Since No. 146: Power is back (Times, Nov 18). Earlier: Nadia nears\n<Port> Ellery\n{ARCHIVE}\n" in text


def test_without_an_earlier_edition_nothing_is_said(full_content: EditionContent, pages: Environment) -> None:
    pieces = render_edition(full_content, build_publication_context(OURS), pages)
    assert not [p.name for p in pieces if "Since No." in p.body]


def test_content_comes_back_from_its_stored_form(full_content: EditionContent) -> None:
    content = edition_with("topics", (SectionEntry("A", "https://a.example.org/", since=SINCE),), full_content)
    assert EditionContent.from_json(content.as_json()) == content


# --- What is new, in words -----------------------------------------------------------------------------------


def article(publisher: str, title: str, *, days: float = 1) -> CandidateArticle:
    url = f"https://{publisher.lower()}.example.org/{title.lower().replace(' ', '-')}"
    return CandidateArticle(url, url, title, "", publisher, publisher, NOW - timedelta(days=days))


OLD = EarlierStory(
    "2026-W46",
    146,
    NOW - timedelta(days=7),
    "Nadia nears Port Ellery",
    (article("Wire", "Nadia nears Port Ellery", days=9),),
)
LEAD = article("Wire", "Nadia hits Port Ellery")
SAME = article("Post", "Nadia hits Port Ellery hard")
POWER = article("Times", "Power is back for most of Port Ellery.")


def entry(*also: CandidateArticle) -> SectionEntry:
    story = Story(LEAD, also)
    placed = PlacedStory(ScoredStory(story, 50.0, (), continues=Continuation(OLD, story.members)))
    (written,) = SECTION_KINDS["featured"].build_entries((placed,), EntryContext(ZoneInfo("America/New_York"), ENGLISH))
    return written


@pytest.mark.parametrize(
    ("also", "news"),
    [
        ((), "this report is new."),
        ((SAME,), "this report is new."),  # it says what the headline says
        ((SAME, POWER), "Power is back for most of Port Ellery (Times, Nov 18)."),
    ],
)
def test_another_new_headline_says_what_is_new(also: tuple[CandidateArticle, ...], news: str) -> None:
    assert entry(*also).since == EarlierAppearance("2026-W46", 146, "Nadia nears Port Ellery", news)


def test_a_story_that_gave_its_new_articles_away_goes_on_no_more() -> None:
    scored = ScoredStory(Story(LEAD), 50.0, (), continues=Continuation(OLD, (POWER,)))
    (written,) = SECTION_KINDS["featured"].build_entries(
        (PlacedStory(scored),), EntryContext(ZoneInfo("America/New_York"), ENGLISH)
    )
    assert written.since is None


@pytest.mark.parametrize(
    ("opens_after", "date", "is_older"),
    [
        (timedelta(days=-1), "Nov 18", False),
        (timedelta(), "Nov 18, 2026", True),
        (timedelta(days=400), "Nov 18, 2026", True),
    ],
)
def test_a_story_from_before_the_editions_week_shows_the_year(
    opens_after: timedelta, date: str, *, is_older: bool
) -> None:
    context = EntryContext(ZoneInfo("America/New_York"), ENGLISH, opens_at=LEAD.dated_at + opens_after)
    placed = PlacedStory(ScoredStory(Story(LEAD), 50.0, ()))
    for kind in ("featured", "most-read", "topics"):
        (written,) = SECTION_KINDS[kind].build_entries((placed,), context)
        assert (written.date, written.is_older) == (date, is_older)


def test_the_explanation_names_the_earlier_edition_and_counts_the_news() -> None:
    story = Story(LEAD, (SAME, POWER))
    placed = PlacedStory(ScoredStory(story, 50.0, (), continues=Continuation(OLD, (LEAD, POWER))))
    assert "     continues “Nadia nears Port Ellery” in 2026-W46 (No. 146), 2 of its 3 articles are new since" in list(
        explain_proposal(Proposal({"featured": (placed,)}))
    )
