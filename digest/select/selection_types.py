"""The values that selection works on: candidates in, a proposal with every reason out."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from digest.collect.documents.deadlines import Deadline
from digest.collect.documents.parsed_document import SummaryBasis


@dataclass(frozen=True, slots=True)
class CandidateArticle:
    """One article of the window as selection sees it; `url` is its identity and its last tie-break."""

    url: str  # canonical
    link: str  # as published: what a reader is sent to
    title: str
    summary: str
    source: str
    publisher: str
    dated_at: datetime  # UTC
    has_date: bool = True  # False when the date is only the moment of finding
    section: str = "news"  # the source's: news | products | events | opportunities
    weight: float = 1.0
    primary: bool = False
    own: bool = False
    on_own_site: bool = False  # its source is on the article's own site
    aggregated: bool = False  # its source links to many sites, so the publisher is the article's own
    categories: tuple[str, ...] = ()
    topics: tuple[tuple[str, str], ...] = ()  # the source's map: category → topic
    default_topic: str = ""  # of the source: what its articles are about where nothing says otherwise
    author: str | None = None
    credit: str | None = None
    image: str | None = None  # where the picture is, when its licence lets us mail it
    image_alt: str | None = None
    image_credit: str | None = None
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    all_day: bool = False
    event_zone: str = ""  # an IANA name; empty where it is not known
    place: str | None = None
    deadline: Deadline | None = None
    featured: bool = False
    views: int | None = None
    withdrawn: bool = False  # visitors can't read its page
    summary_basis: SummaryBasis = SummaryBasis.UNKNOWN
    superseded: str = ""  # what an advisory's page says has become of it: "superseded by ICSA-26-330-01"
    kept_from: str = ""  # the last edition, if its editors kept it for this one: "No. 46"


@dataclass(frozen=True, slots=True)
class TermScore:
    """One part of a score, in points, and the words that explain it to an editor."""

    name: str
    points: float
    note: str


@dataclass(frozen=True, slots=True)
class Story:
    """The articles that tell the same news. `lead` speaks for it; `also_reported` has one article a publisher."""

    lead: CandidateArticle
    also_reported: tuple[CandidateArticle, ...] = ()
    further_articles: tuple[CandidateArticle, ...] = ()  # further articles of publishers already named

    @property
    def members(self) -> tuple[CandidateArticle, ...]:
        """All articles of the story, the lead first."""
        return (self.lead, *self.also_reported, *self.further_articles)

    @property
    def key(self) -> str:
        """The canonical URL of its earliest article: later ones and another lead do not change it."""
        return min(self.members, key=lambda article: (article.dated_at, article.url)).url

    @property
    def kept_from(self) -> str:
        """The last edition, if its editors kept any of the articles for this one: "No. 46"."""
        return next((article.kept_from for article in self.members if article.kept_from), "")

    @property
    def publishers(self) -> frozenset[str]:
        """Who reported it."""
        return frozenset(c.publisher for c in self.members)


@dataclass(frozen=True, slots=True)
class SummaryOrigin:
    """Whose words the summary of a story is, and of whose article; no publisher where an editor wrote it.

    `lent_to` is the publisher of the article that leads the story, where that has no summary of its own.
    """

    basis: SummaryBasis
    publisher: str = ""
    lent_to: str = ""

    @property
    def words(self) -> str:
        """Say so, as the end of a sentence."""
        if self.basis is SummaryBasis.EDITOR:
            return "written by an editor"
        whose = {
            SummaryBasis.DESCRIPTION: f"as {self.publisher} describes it",
            SummaryBasis.OPENING: f"from the beginning of {self.publisher}'s article",
        }.get(self.basis, f"from {self.publisher}")
        return f"{whose}, because {self.lent_to} doesn't have one" if self.lent_to else whose


@dataclass(frozen=True, slots=True)
class StoryGeography:
    """Where a story happens, by the codes of ISO 3166, the most named first."""

    countries: tuple[str, ...] = ()  # "US"
    states: tuple[str, ...] = ()  # of the home country: "US-FL"
    home_share: float = 0.0  # the part of its articles that name the home country, one of its places or agencies

    def is_elsewhere(self, other: "StoryGeography") -> bool:
        """Return whether two stories name countries, or states at home, and none in common."""
        pairs = ((self.countries, other.countries), (self.states, other.states))
        return any(mine and theirs and set(mine).isdisjoint(theirs) for mine, theirs in pairs)


@dataclass(frozen=True, slots=True)
class ScoredStory:
    """A story with its score in points (0 to 100): the sum of its terms, to the last digit shown.

    `continues` names the story of an earlier edition that it goes on from, with news.
    """

    story: Story
    score: float
    terms: tuple[TermScore, ...]
    topic: str | None = None
    places: StoryGeography = StoryGeography()
    continues: "Continuation | None" = None

    def points(self, term_name: str) -> float:
        """Return the points of a term; 0 if it's unknown this week."""
        return next((term.points for term in self.terms if term.name == term_name), 0.0)

    @property
    def lead(self) -> CandidateArticle:
        """The article that leads it."""
        return self.story.lead

    @property
    def url(self) -> str:
        """The canonical URL of the article that leads it."""
        return self.story.lead.url

    @property
    def is_ours(self) -> bool:
        """True if it's about one of our topics. A story of our own site, or one that an editor featured, needs none."""
        return bool(self.topic or self.lead.own or self.lead.featured)


@dataclass(frozen=True, slots=True)
class EarlierStory:
    """A story as an earlier edition had it: in which, under which headline, and those of its articles that are kept."""

    edition: str
    number: int
    cut_off: datetime
    headline: str
    articles: tuple[CandidateArticle, ...]  # the lead first


@dataclass(frozen=True, slots=True)
class Continuation:
    """The earlier story that a story continues, and which of its articles are news since."""

    earlier: EarlierStory
    news: tuple[CandidateArticle, ...]


@dataclass(frozen=True, slots=True)
class PlacedStory:
    """A story in a section of the edition.

    `related` are earlier articles on the same matter; `supporting` are further stories of it that stand under this one, the best
    first. `rule` is empty, or says why it stands above a story of a higher score.
    """

    scored: ScoredStory
    related: tuple[CandidateArticle, ...] = ()
    supporting: tuple[ScoredStory, ...] = ()
    rule: str = ""


@dataclass(frozen=True, slots=True)
class LeftOutStory:
    """A story that did not make it, and why. One that was not `admitted` could not come: banned, gone, or used before."""

    scored: ScoredStory
    reason: str
    admitted: bool = True


@dataclass(frozen=True, slots=True)
class Proposal:
    """What selection would put into an edition: section key → stories in order; and what it leaves out, best first.

    `incomplete_reason` is empty, or says why there is too little to send.
    """

    sections: dict[str, tuple[PlacedStory, ...]] = field(default_factory=dict)
    left_out: tuple[LeftOutStory, ...] = ()
    incomplete_reason: str = ""
    notes: tuple[str, ...] = ()  # e.g. "no readership: its weight went to the other terms"
    # Section key → the leads' URLs of the stories that come up next where one is dropped, in order.
    reserves: dict[str, tuple[str, ...]] = field(default_factory=dict)
    # Pairs of stories that tell one matter, by the leads' URLs: one that's in the edition, and another.
    likely_merges: tuple[tuple[str, str], ...] = ()

    @property
    def lead_articles(self) -> tuple[CandidateArticle, ...]:
        """The articles that readers are led to, section by section, each followed by those of the stories under it."""
        placed_stories = [p for placed in self.sections.values() for p in placed]
        return tuple(s.lead for p in placed_stories for s in (p.scored, *p.supporting))


def format_edition_name(name: str, number: int | None) -> str:
    """Return what people call an edition: "No. 147"; its name where nobody knows its number."""
    return name if number is None else f"No. {number}"


class PreviouslyUsedArticle(NamedTuple):
    """An article of a story that an earlier edition had, with the title of the story."""

    edition: str  # 2026-W47
    url: str
    title: str
    number: int | None = None  # of the edition; None where a past one was imported without it

    @property
    def edition_called(self) -> str:
        """What people call the edition."""
        return format_edition_name(self.edition, self.number)


@dataclass(frozen=True, slots=True)
class PreviousEditions:
    """What earlier editions held, and what may be offered as "related".

    `used_stories` has one for every article of every story in the last editions;
    `earlier_articles` are earlier articles, in any order; `news_stories` are the news stories of the last editions.
    """

    used_stories: tuple[PreviouslyUsedArticle, ...] = ()
    earlier_articles: tuple[CandidateArticle, ...] = ()
    news_stories: tuple[EarlierStory, ...] = ()
