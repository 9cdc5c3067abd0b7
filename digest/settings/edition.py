"""The tables of `digest.toml` that say what an edition is: whose it is, when it comes, what it is made of."""

from typing import Annotated, ClassVar, Literal, get_args
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, Field, create_model

from digest.scoring_terms import SCORING_TERMS
from digest.settings import values
from digest.settings.concerns import Concern
from digest.timetable import ScheduleRule, parse_schedule_rule
from subscribers.consent.wordings import check_template
from subscribers.reader_language import ReaderLanguage, mark_message, writing_direction


class PublicationSettings(values.SettingsTable):
    """What the newsletter is and who makes it."""

    # The consent text names the publication, in its language.
    name: Annotated[values.FilledLine, Concern.CONSENT] = "HLS.Today"
    tagline: Annotated[values.SingleLine, Concern.NONE] = "The homeland-security week in one read"
    site: Annotated[str, AfterValidator(values.check_web_address), Concern.SENDER] = "https://hls.today/"
    about: Annotated[str, Concern.NONE] = (
        "HLS.Today covers news and information on homeland security and public safety "
        "for people in the public and private sectors."
    )
    editor: Annotated[values.SingleLine, Concern.NONE] = ""
    language: Annotated[str, Concern.CONSENT] = "en"
    timezone: Annotated[str, AfterValidator(values.check_time_zone), Concern.NONE] = "America/New_York"
    intro: Annotated[str, Concern.NONE] = ""
    first_number: Annotated[int, Concern.NONE] = Field(default=1, ge=1)

    @property
    def zone(self) -> ZoneInfo:
        """The zone in which the publication's days and hours are meant."""
        return ZoneInfo(self.timezone)

    @property
    def direction(self) -> Literal["ltr", "rtl"]:
        """The writing direction of `language`, for `dir`."""
        return writing_direction(self.language)


class WordingSettings(values.SettingsTable):
    """What readers agree to; empty: the sentence that is shipped. Another text is another version by itself."""

    concern: ClassVar = Concern.CONSENT

    consent: Annotated[str, AfterValidator(check_template)] = ""


class SenderSettings(values.SettingsTable):
    """Who the mail comes from. Sending to the world demands `address` and `postal_address`."""

    concern: ClassVar = Concern.SENDER

    name: values.SingleLine = "HLS.Today"
    address: values.MailAddress = "digest@news.example.org"
    reply_to: values.MailAddress = "editors@news.example.org"
    postal_address: str = ""
    list_id: values.ListId = "weekly.news.example.org"  # RFC 2919: constant for the list's life
    # Bounces come back to this domain; empty: to `address`.
    bounce_domain: Annotated[str, AfterValidator(values.check_domain)] = ""


DeadlineRule = Literal["wait", "skip", "send-last-approved"]


class ScheduleSettings(values.SettingsTable):
    """When things happen, in the publication's zone; see `digest.timetable` for the form."""

    collect: Annotated[list[values.RuleText], Concern.NONE] = ["daily 05:00", "daily 17:00"]
    draft: Annotated[values.RuleText, Concern.NONE] = "thu 17:30"
    # Its days are part of the consent text that's shipped.
    release: Annotated[values.RuleText, Concern.CONSENT] = "fri 06:00"
    # Before the release: when every article is looked at again; 0: never.
    last_look_minutes: Annotated[int, Concern.ALERTS] = Field(default=20, ge=0, le=24 * 60)
    at_gone_article: Annotated[Literal["stop", "send"], Concern.ALERTS] = "stop"
    # Before the usual hour of release: until when to approve.
    deadline_hours: Annotated[float, Concern.NONE] = Field(default=10, ge=0, le=168)
    at_deadline: Annotated[DeadlineRule, Concern.APPROVAL] = "wait"
    # Before the usual hour of release: when editors are reminded of what is not approved.
    reminder_hours: Annotated[list[Annotated[float, Field(gt=0, le=168)]], Concern.NONE] = [11]

    @property
    def collect_rules(self) -> tuple[ScheduleRule, ...]:
        """The times at which the sources are visited."""
        return tuple(parse_schedule_rule(text) for text in self.collect)

    @property
    def draft_rule(self) -> ScheduleRule:
        """The times at which an edition is drafted."""
        return parse_schedule_rule(self.draft)

    @property
    def release_rule(self) -> ScheduleRule:
        """The times at which an approved edition is released."""
        return parse_schedule_rule(self.release)


class ApprovalSettings(values.SettingsTable):
    """Who has to approve an edition before it goes out."""

    concern: ClassVar = Concern.APPROVAL

    approvers: Literal[1, 2] = 1


SectionKindName = Literal["featured", "most-read", "topics", "products", "events", "opportunities", "stories"]


class SectionSettings(values.SettingsTable):
    """One block of the edition. `kind = "stories"` is the operator's own, filled from `topics`."""

    concern: ClassVar = Concern.NONE

    key: Annotated[str, AfterValidator(values.check_section_key)]
    title: values.FilledLine
    kind: SectionKindName
    note: values.SingleLine = ""
    most: int = Field(default=5, ge=1, le=40)
    topics: list[str] = []
    refill: Literal["next", "none"] = "next"  # what takes the place of a story that an editor dropped

    def title_in(self, language: ReaderLanguage) -> str:
        """Return the title as readers see it: one that comes with the program is translated, the operator's own is not."""
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
    """One labelled, paid block; `name` is who pays."""

    concern: ClassVar = Concern.NONE

    name: values.SingleLine
    headline: values.SingleLine
    text: str
    url: Annotated[str, AfterValidator(values.check_web_address)]


SourceSectionName = Literal["news", "products", "events", "opportunities"]
SOURCE_SECTIONS: tuple[str, ...] = get_args(SourceSectionName)


class SourceSettings(values.SettingsTable):
    """One place that articles come from.

    `own` marks the publication's own site (its stories may lead the Most read list), `primary` an official
    source, `images` what its licence allows: `own` and `licensed` pictures are mailed, `none` are not.
    `topics` maps the publisher's own category words to topics; `default_topic` is what its articles are about where
    nothing says otherwise (`TopicRules` says what it counts).
    """

    concern: ClassVar = Concern.NONE

    url: Annotated[str, AfterValidator(values.check_web_address)]
    name: values.SingleLine
    publisher: values.SingleLine
    section: SourceSectionName = "news"
    weight: float = Field(default=1.0, ge=0.0, le=3.0)
    primary: bool = False
    own: bool = False
    images: Literal["own", "licensed", "none"] = "none"
    topics: dict[str, str] = {}
    default_topic: str = Field(default="", max_length=100)


class RankingWeights(
    create_model(  # type: ignore[misc]  # its fields are the declared scoring terms
        "DeclaredWeights",
        __base__=values.SettingsTable,
        **{
            term.name: (
                float,
                Field(default=term.weight, ge=term.bounds.least, le=term.bounds.most, description=term.words),
            )
            for term in SCORING_TERMS.values()
        },
    )
):
    """How much each term of a story's score counts; they are renormalised where a term is unknown."""

    concern: ClassVar = Concern.NONE


HOME_AGENCIES = (
    *(
        "Homeland Security",
        "DHS",
        "FEMA",
        "CISA",
        "TSA",
        "CBP",
        "Customs and Border Protection",
        "Border Patrol",
        "ICE",
    ),
    *(
        "Immigration and Customs Enforcement",
        "USCIS",
        "Coast Guard",
        "Secret Service",
        "FBI",
        "ATF",
        "DEA",
        "CIA",
        "NSA",
    ),
    *("National Guard", "National Weather Service", "National Hurricane Center", "NOAA", "USGS", "NIST", "GAO", "CDC"),
    *(
        "HHS",
        "EPA",
        "FAA",
        "NTSB",
        "Pentagon",
        "Justice Department",
        "Department of Justice",
        "DOJ",
        "State Department",
    ),
    *("White House", "Congress", "Capitol", "Capitol Police"),
)


class SelectionSettings(values.SettingsTable):
    """How stories are grouped, ranked and chosen."""

    concern: ClassVar = Concern.NONE

    weights: RankingWeights = RankingWeights()
    same_story: float = Field(default=0.21, gt=0, lt=1)  # average-linkage similarity that joins two articles
    per_publisher: int = Field(default=3, ge=1)  # stories led by one publisher in one edition
    minimum: int = Field(default=4, ge=1)  # fewer stories than this: the edition is held
    repeat_editions: int = Field(default=4, ge=0)  # editions looked back on for repeats
    variety: float = Field(default=0.75, ge=0, le=1)  # MMR's lambda: 1 ranks by score alone
    home_country: str = Field(default="US", pattern=r"^[A-Z]{2}$")  # ISO 3166-1 alpha-2: whose news it is first of all
    home_agencies: list[str] = list(HOME_AGENCIES)  # names that concern the home country, written as the press does
    borderless_topics: list[str] = ["Cybersecurity"]  # topics that concern the home country wherever it happens
    local_topics: list[str] = [
        "Law enforcement",
        "Fire service",
    ]  # full of local cases, of no weight beyond their place
    topics: dict[str, list[str]] = {}  # topic → words and phrases; empty: the built-in list
    pins: list[str] = []  # URLs that an editor wants in
    bans: list[str] = []  # URLs that must stay out


class ReadershipSettings(values.SettingsTable):
    """Where reads of the own site's pages come from: a CSV file (`url,views`) or WordPress Popular Posts."""

    concern: ClassVar = Concern.NONE

    csv: str = ""
    wordpress: str = ""  # the site's address, e.g. https://hls.today
