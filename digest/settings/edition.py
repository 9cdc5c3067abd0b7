"""The tables of `digest.toml` about what's in an edition: sections, sponsor, sources, and selection."""

from typing import Annotated, ClassVar, Literal, get_args

from pydantic import AfterValidator, create_model

from digest.scoring_terms import SCORING_TERMS
from digest.settings import values
from digest.settings.built_in_topics import read_built_in_topics
from digest.settings.guarded_areas import GuardedArea
from digest.settings.values import file_only_setting
from subscribers.subscriber_language import SubscriberLanguage, mark_message

# The titles of a section's fields on the page of settings and in the audit log.
SECTION_FIELD_TITLES = {
    "place": "Position",
    "title": "Title",
    "most": "Maximum stories",
    "kind": "Kind",
    "note": "Note below the title",
    "topics": "Topics",
}
# The titles of a source's settings in the audit log, as on its page.
SOURCE_FIELD_TITLES = {
    "url": "URL",
    "name": "Name",
    "publisher": "Publisher",
    "section": "Section",
    "weight": "Weight",
    "primary": "Official source",
    "own": "Your publication's own site",
    "images": "Image rights",
    "paused": "Paused",
    "topics": "Topics",
    "default_topic": "Default topic",
    "license": "License",
    "checked": "Last checked",
}
SectionKindName = Literal["featured", "most-read", "topics", "products", "events", "opportunities", "stories"]


class SectionSettings(values.SettingsTable, title="Sections"):
    """The blocks of an edition, in order. One `[[sections]]` in the file replaces the whole default list."""

    guarded_area: ClassVar = GuardedArea.NONE

    key: Annotated[str, AfterValidator(values.check_section_key)] = file_only_setting(
        ..., "Lowercase letters, digits, and hyphens."
    )
    # The email about changed preferences lists section titles.
    title: Annotated[values.FilledLine, GuardedArea.TEXT] = file_only_setting(..., "The heading that subscribers see.")
    kind: SectionKindName = file_only_setting(..., "`stories` is for your own sections.")
    note: values.SingleLine = file_only_setting("", "A line below the title.")
    most: int = file_only_setting(5, "Maximum entries.", ge=1, le=40)
    topics: list[str] = file_only_setting([], "The topics whose articles fill a `stories` section.")

    @property
    def source_section(self) -> str:
        """The section of sources whose articles this section takes (see `SOURCE_SECTIONS`)."""
        return find_source_section(self.kind)

    def title_in(self, language: SubscriberLanguage) -> str:
        """Return the title that subscribers see.

        Built-in titles are translated, but the operator's own aren't.
        """
        return language.translate_text(self.title)


DEFAULT_SECTIONS = (
    SectionSettings(key="featured", title=mark_message("Featured"), kind="featured", most=6),
    SectionSettings(key="most-read", title=mark_message("Most read"), kind="most-read", most=5),
    SectionSettings(key="topics", title=mark_message("Topics"), kind="topics", most=8),
    SectionSettings(
        key="products",
        title=mark_message("Products"),
        kind="products",
        most=4,
        note=mark_message("Chosen by editors, never paid for"),
    ),
    SectionSettings(key="events", title=mark_message("Events"), kind="events", most=5),
    SectionSettings(
        key="opportunities",
        title=mark_message("Opportunities"),
        kind="opportunities",
        most=5,
        note=mark_message("Soonest deadline first"),
    ),
)


class SponsorSettings(values.SettingsTable):
    """One paid block, always labeled as such. There's none by default."""

    guarded_area: ClassVar = GuardedArea.NONE

    name: values.SingleLine = file_only_setting(..., "The sponsor's name.")
    headline: values.SingleLine = file_only_setting(..., "The text of the link.")
    text: str = file_only_setting(..., "At most 25 words.")
    url: Annotated[str, AfterValidator(values.check_web_address)] = file_only_setting(..., "The link's URL.")


SourceSectionName = Literal["news", "products", "events", "opportunities"]
SOURCE_SECTIONS: tuple[str, ...] = get_args(SourceSectionName)
NEWS_SECTION = "news"


def find_source_section(kind: str) -> str:
    """Return the section of sources whose articles a kind of section takes.

    It's the one that has the same name, or else news.
    """
    return kind if kind in SOURCE_SECTIONS else NEWS_SECTION


class SourceSettings(values.SettingsTable):
    """The sources of articles. `digest sources add` adds sources to the file."""

    guarded_area: ClassVar = GuardedArea.NONE

    url: Annotated[str, AfterValidator(values.check_web_address)] = file_only_setting(
        ..., "A feed, WordPress REST API, calendar, or site that links to its feed."
    )
    name: values.SingleLine = file_only_setting(..., "The source's name, shown to editors.")
    publisher: values.SingleLine = file_only_setting(
        ...,
        "Shown in emails, and counted once per story.",
        "In feeds of many sites, each article has its own publisher.",
    )
    section: SourceSectionName = file_only_setting("news", "The kind of content.")
    weight: float = file_only_setting(1.0, "Added to the score of each story from this source.", ge=0.0, le=3.0)
    primary: bool = file_only_setting(False, "Marks an official source.")
    own: bool = file_only_setting(False, "Marks the publication's own site.", "Only its stories can lead Most read.")
    images: Literal["own", "licensed", "credited", "none"] = file_only_setting(
        "none",
        "Emailed images can be your `own`, `licensed`, or `credited` to a US agency.",
        "For `credited`, the credit must name an agency or the publisher as the maker. Seals and logos are never emailed.",
    )
    paused: bool = file_only_setting(False, "Stops collecting. Earlier articles are kept.")
    topics: dict[str, str] = file_only_setting({}, "Maps the publisher's categories to your topics.")
    default_topic: str = file_only_setting(
        "",
        "The topic of articles that match no other.",
        "See [topics](choosing.md#topics).",
        max_length=100,
    )
    license: values.SingleLine = file_only_setting("", "A note for editors.", max_length=200)
    checked: Annotated[str, AfterValidator(values.check_day)] = file_only_setting(
        "",
        "The last day its URL worked, such as 2026-08-09.",
    )


class RankingWeights(
    create_model(  # type: ignore[misc]  # its fields are the declared scoring terms
        "DeclaredWeights",
        __base__=values.SettingsTable,
        **{
            term.name: (float, file_only_setting(term.weight, term.words, ge=term.bounds.least, le=term.bounds.most))
            for term in SCORING_TERMS.values()
        },
    )
):
    """Weights of the terms in a story's score. They don't have to add up to 1.

    If a term is unknown, the others count for more.
    """

    guarded_area: ClassVar = GuardedArea.NONE


HOME_AGENCIES = """
Homeland Security
DHS
FEMA
CISA
TSA
CBP
Customs and Border Protection
Border Patrol
ICE
Immigration and Customs Enforcement
USCIS
Coast Guard
Secret Service
FBI
ATF
DEA
CIA
NSA
National Guard
National Weather Service
National Hurricane Center
NOAA
USGS
NIST
GAO
CDC
HHS
EPA
FAA
NTSB
Pentagon
Justice Department
Department of Justice
DOJ
State Department
White House
Congress
Capitol
Capitol Police
""".strip().splitlines()


class SelectionSettings(values.SettingsTable):
    """Rules for grouping, ranking, and selecting stories. `digest draft --explain` shows their effect."""

    guarded_area: ClassVar = GuardedArea.NONE

    weights: RankingWeights = RankingWeights()
    same_story: float = file_only_setting(
        0.21,  # average-linkage similarity at which two articles are joined
        "The minimum similarity of two articles in one story. Lower values group more articles.",
        gt=0,
        lt=1,
    )
    per_publisher: int = file_only_setting(3, "Maximum stories with the same main publisher.", ge=1)
    official_places: int = file_only_setting(
        2,
        "Places in each Topics section reserved for official actions that few publishers reported.",
        ge=0,
    )
    minimum_reads: int = file_only_setting(10, "Stories with fewer page views aren't listed under Most read.", ge=1)
    minimum: int = file_only_setting(4, "An edition with fewer stories is incomplete (`held`) and isn't sent.", ge=1)
    repeat_editions: int = file_only_setting(
        4,
        "Past editions whose articles aren't repeated.",
        ge=0,
    )
    variety: float = file_only_setting(  # the lambda of MMR (maximal marginal relevance)
        0.75, "With 1, stories rank by score only. Lower values favor more topics.", ge=0, le=1
    )
    home_country: str = file_only_setting(
        "US",
        "The country whose news ranks first (ISO 3166).",
        pattern=r"^[A-Z]{2}$",
    )
    home_agencies: list[str] = file_only_setting(
        HOME_AGENCIES,
        "Names related to the home country, as the press writes them.",
    )
    borderless_topics: list[str] = file_only_setting(
        ["Cybersecurity"], "Topics that concern the home country wherever the news happens."
    )
    local_topics: list[str] = file_only_setting(
        ["Law enforcement", "Fire service"],
        "Topics whose local cases lose a fifth of their score.",
        "Cases are local unless they mention something national.",
    )
    topics: dict[str, list[str]] = file_only_setting(
        {},
        'Maps topics to words and phrases, such as `{ "Ports" = ["port", "a phrase"] }`. Leave empty for the built-in list.',
        "`cyber*` has any ending. `exploited, exploiting + flaw, bug` needs a word from each side of `+`.",
    )
    pins: list[str] = file_only_setting([], "URLs of articles that must be included.")
    bans: list[str] = file_only_setting([], "URLs of articles that must be excluded.")

    @property
    def topic_names(self) -> tuple[str, ...]:
        """The names of the configured topics, or else of the built-in topics."""
        return tuple(self.topics or (topic["name"] for topic in read_built_in_topics()))


class ReadershipSettings(values.SettingsTable):
    """Page views on your own site, for the Most read section."""

    guarded_area: ClassVar = GuardedArea.NONE

    csv: str = file_only_setting("", "A file with the columns url and views, relative to this file.")
    wordpress: str = file_only_setting("", "The URL of your site, if it runs WordPress Popular Posts.")
