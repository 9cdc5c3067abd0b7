"""The input and output types of selection: candidates, and a proposal with its reasons."""

from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from digest.collect.documents.deadlines import Deadline
from digest.collect.documents.parsed_document import SummaryBasis


@dataclass(frozen=True, slots=True)
class CandidateArticle:
    """An article with all the data that selection uses. `url` identifies it and breaks ties."""

    url: str  # canonical
    link: str  # the URL as published, to which readers are sent
    title: str
    summary: str
    source: str
    publisher: str
    dated_at: datetime  # UTC
    has_date: bool = True  # False if the date is when the article was discovered
    section: str = "news"  # the source's: news | products | events | opportunities
    weight: float = 1.0
    primary: bool = False
    own: bool = False
    on_own_site: bool = False  # True if the source is on the article's own site
    aggregated: bool = False  # True if the source links to many sites, so that each article has its own publisher
    categories: tuple[str, ...] = ()
    topics: tuple[tuple[str, str], ...] = ()  # the source's topics by category
    default_topic: str = ""  # the source's default topic
    author: str | None = None
    credit: str | None = None
    image: str | None = None  # URL of the image, if its license permits use in email
    image_alt: str | None = None
    image_credit: str | None = None
    starts_at: datetime | None = None
    ends_at: datetime | None = None
    all_day: bool = False
    event_zone: str = ""  # an IANA name, or empty if unknown
    place: str | None = None
    deadline: Deadline | None = None
    featured: bool = False
    views: int | None = None
    withdrawn: bool = False  # True if visitors can't read its page
    summary_basis: SummaryBasis = SummaryBasis.UNKNOWN
    superseded: str = ""  # the status on an advisory's page: "superseded by ICSA-26-330-01"
    kept_from: str = ""  # the last edition, such as "No. 46", if its editors kept the article for this one


@dataclass(frozen=True, slots=True)
class TermScore:
    """One term of a score, in points, with an explanation for editors."""

    name: str
    points: float
    note: str


@dataclass(frozen=True, slots=True)
class Story:
    """Articles that report the same news.

    `lead` represents them. `also_reported` has one article from each other publisher.
    """

    lead: CandidateArticle
    also_reported: tuple[CandidateArticle, ...] = ()
    further_articles: tuple[CandidateArticle, ...] = ()  # further articles of the same publishers

    @property
    def members(self) -> tuple[CandidateArticle, ...]:
        """All articles of the story, the lead first."""
        return (self.lead, *self.also_reported, *self.further_articles)

    @property
    def is_single(self) -> bool:
        """True if the story has no article besides its lead."""
        return not (self.also_reported or self.further_articles)

    @property
    def key(self) -> str:
        """The canonical URL of the earliest article, which identifies the story.

        It stays the same if articles are added or the lead changes.
        """
        return min(self.members, key=lambda article: (article.dated_at, article.url)).url

    @property
    def kept_from(self) -> str:
        """The name, such as "No. 46", of the previous edition if its editors kept one of the articles for this one."""
        return next((article.kept_from for article in self.members if article.kept_from), "")

    @property
    def publishers(self) -> frozenset[str]:
        """The publishers of the story's articles."""
        return frozenset(c.publisher for c in self.members)


@dataclass(frozen=True, slots=True)
class SummaryOrigin:
    """The source of a story's summary.

    `publisher` is empty if an editor wrote the summary. `lent_to` is the publisher of the lead
    article if the lead has no summary of its own.
    """

    basis: SummaryBasis
    publisher: str = ""
    lent_to: str = ""

    @property
    def words(self) -> str:
        """The origin, worded as the end of a sentence."""
        if self.basis is SummaryBasis.EDITOR:
            return "written by an editor"
        whose = {
            SummaryBasis.DESCRIPTION: f"from {self.publisher}'s description of the article",
            SummaryBasis.OPENING: f"from the beginning of {self.publisher}'s article",
        }.get(self.basis, f"from {self.publisher}")
        return f"{whose}, because {self.lent_to} doesn't have one" if self.lent_to else whose


@dataclass(frozen=True, slots=True)
class StoryGeography:
    """The places where a story happens, as ISO 3166 codes, most frequent first."""

    countries: tuple[str, ...] = ()  # "US"
    states: tuple[str, ...] = ()  # of the home country: "US-FL"
    home_share: float = 0.0  # share of the articles that name the home country, its places, or its agencies

    def is_elsewhere(self, other: "StoryGeography") -> bool:
        """Return True if both stories name countries, or both name home states, but none in common."""
        pairs = ((self.countries, other.countries), (self.states, other.states))
        return any(mine and theirs and set(mine).isdisjoint(theirs) for mine, theirs in pairs)


class TopicRank(NamedTuple):
    """A story's rank by score among the week's stories on a topic, counting from 1."""

    topic: str
    place: int
    stories: int


@dataclass(frozen=True, slots=True)
class ScoredStory:
    """A story with its score in points (0 to 100), which is exactly the sum of its terms.

    `continues` is the earlier edition's story that it continues, with news. `is_official_action` is
    true if the story has a place reserved for official actions.
    """

    story: Story
    score: float
    terms: tuple[TermScore, ...]
    topic: str | None = None
    places: StoryGeography = StoryGeography()
    continues: "Continuation | None" = None
    topic_rank: TopicRank | None = None
    is_official_action: bool = False

    def points(self, term_name: str) -> float:
        """Return the points of a term, or 0 if the term is unknown this week."""
        return next((term.points for term in self.terms if term.name == term_name), 0.0)

    @property
    def lead(self) -> CandidateArticle:
        """The lead article."""
        return self.story.lead

    @property
    def url(self) -> str:
        """The canonical URL of the lead article."""
        return self.story.lead.url

    @property
    def is_ours(self) -> bool:
        """True if the story has one of our topics, or its lead is from our site or featured."""
        return bool(self.topic or self.lead.own or self.lead.featured)


@dataclass(frozen=True, slots=True)
class EarlierStory:
    """A story from an earlier edition, with those of its articles that are still stored."""

    edition: str
    number: int
    cut_off: datetime
    headline: str
    articles: tuple[CandidateArticle, ...]  # the lead first


@dataclass(frozen=True, slots=True)
class Continuation:
    """The earlier story that a story continues, and the articles with news since then."""

    earlier: EarlierStory
    news: tuple[CandidateArticle, ...]


@dataclass(frozen=True, slots=True)
class PlacedStory:
    """A story in a section of the edition.

    `related` are earlier articles on the same matter. `supporting` are further stories on it, shown
    under this one, best first. `rule` explains why it's above a story with a higher score, if it
    is. `is_chosen` is true if an editor added it.
    """

    scored: ScoredStory
    related: tuple[CandidateArticle, ...] = ()
    supporting: tuple[ScoredStory, ...] = ()
    rule: str = ""
    is_chosen: bool = False


@dataclass(frozen=True, slots=True)
class LeftOutStory:
    """A story that wasn't included, and why.

    `admitted` is false if it was banned, gone, or used before.
    """

    scored: ScoredStory
    reason: str
    admitted: bool = True


@dataclass(frozen=True, slots=True)
class Proposal:
    """The proposed content of an edition.

    `sections` has the stories by section key, in order. `left_out` has the others, best first.
    `incomplete_reason` explains why there's too little content to send, and is empty if there's enough.
    """

    sections: dict[str, tuple[PlacedStory, ...]] = field(default_factory=dict)
    left_out: tuple[LeftOutStory, ...] = ()
    incomplete_reason: str = ""
    notes: tuple[str, ...] = ()  # "there's no readership data, so its weight went to the other terms"
    # Section key → lead URLs of the replacements for dropped stories, in order.
    reserves: dict[str, tuple[str, ...]] = field(default_factory=dict)
    # Pairs of stories about the same matter, by lead URL: one in the edition, and one that isn't.
    likely_merges: tuple[tuple[str, str], ...] = ()

    @property
    def lead_articles(self) -> tuple[CandidateArticle, ...]:
        """The lead articles in the order of the sections, each followed by those of its supporting stories."""
        placed_stories = [p for placed in self.sections.values() for p in placed]
        return tuple(s.lead for p in placed_stories for s in (p.scored, *p.supporting))


def format_edition_name(name: str, number: int | None) -> str:
    """Return an edition's display name: "No. 147", or its identifier if it has no number."""
    return name if number is None else f"No. {number}"


class PreviouslyUsedArticle(NamedTuple):
    """An article that an earlier edition used, and the title of its story."""

    edition: str  # 2026-W47
    url: str
    title: str
    number: int | None = None  # of the edition, or None if a past one was imported without a number

    @property
    def edition_called(self) -> str:
        """The display name of the edition."""
        return format_edition_name(self.edition, self.number)


@dataclass(frozen=True, slots=True)
class PreviousEditions:
    """The stories of earlier editions, and earlier articles that may be offered as related.

    `used_stories` has an entry for every article of every story in recent editions. `earlier_articles`
    are in no particular order. `news_stories` are the news stories of recent editions.
    """

    used_stories: tuple[PreviouslyUsedArticle, ...] = ()
    earlier_articles: tuple[CandidateArticle, ...] = ()
    news_stories: tuple[EarlierStory, ...] = ()
