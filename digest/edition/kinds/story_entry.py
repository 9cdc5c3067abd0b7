"""Building entries: the headline, reason, summary, image, and news of a continued story."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from zoneinfo import ZoneInfo

from digest.collect.texts.text_cleanup import shorten_text, split_sentences
from digest.collect.texts.urls import site_name, strip_tracking
from digest.edition.content.edition_content import EarlierAppearance, EditionLink, ImageCrops, SectionEntry
from digest.scoring_terms import FEATURED_NOTE, MOST_READ_NOTE, PINNED_NOTE
from digest.select.penalties import measure_title_agreement
from digest.select.selection_types import CandidateArticle, EarlierStory, PlacedStory, ScoredStory, Story
from digest.select.summary_choice import choose_summary
from digest.select.text_similarity import distinct_words, jaccard_overlap
from subscribers.subscriber_language import SubscriberLanguage, mark_message

LEAD_WORDS, ROW_WORDS = 40, 30  # maximum number of words in a summary of two sentences
MAX_CHARACTERS = 300  # maximum length of a summary
MAX_NEWS_WORDS = 14  # maximum number of words from a headline, in a continued story's news
# Two sentences of a summary say the same if they share this many words and this share of the shorter one's words.
MIN_REPEATED_WORDS, REPEATED_SHARE = 6, 0.8
MIN_CUT_LENGTH = 150  # shorter texts that end with "..." were written so
_CUT_WORD = re.compile(r"[\s,;:–—-]+[^\s.…]+(?:\.\.\.|…)$")  # noqa: RUF001  dashes of every width
# A word of the Latin script and at least two others before it. Other scripts have their own full stops, or none.
_OPEN_END = re.compile(r"\s\S+\s[^\s/@]*[^\W_\u0250-\U0010ffff]$")
SAME_HEADLINE_OVERLAP = 0.5  # minimum word overlap of two headlines that say nearly the same
NOTHING_MORE = mark_message("this report is new.")


@dataclass(frozen=True, slots=True)
class EntryContext:
    """The context in which an edition's entries are built.

    `pictures` is keyed by a candidate's `image`. `opens_at` is the start of the edition's week.
    """

    zone: ZoneInfo
    language: SubscriberLanguage
    pictures: Mapping[str, ImageCrops] = field(default_factory=dict)
    release_at: datetime | None = None
    opens_at: datetime | None = None

    def is_older(self, article: CandidateArticle) -> bool:
        """Return True if an article is dated before the edition's week."""
        return article.has_date and self.opens_at is not None and article.dated_at <= self.opens_at

    def format_day(self, article: CandidateArticle) -> str:
        """Return an article's day, such as "Nov 18", or "" if the article has no date of its own."""
        return self.language.short_month_day(article.dated_at.astimezone(self.zone)) if article.has_date else ""

    def link_report(self, article: CandidateArticle) -> EditionLink:
        """Return a link to an article, with the publisher's name as its text."""
        url, day = strip_tracking(article.link), self.format_day(article)
        return EditionLink(article.publisher, url, day, article.title, article.primary)

    def link_related(self, article: CandidateArticle) -> EditionLink:
        """Return a link to an article, with its headline as the text."""
        return EditionLink(article.title, strip_tracking(article.link), self.format_day(article))

    def find_image(self, article: CandidateArticle) -> ImageCrops | None:
        """Return the crops of an article's image, or None if none were prepared."""
        return self.pictures.get(article.image or "")


def make_minimal_entry(article: CandidateArticle) -> SectionEntry:
    """Return an entry with the fields that every kind uses: headline, link, and source."""
    return SectionEntry(headline=article.title, url=strip_tracking(article.link), source=article.publisher)


def build_brief_entry(placed: PlacedStory, max_words: int) -> SectionEntry:
    """Return an entry with a story's headline and summary.

    The summary has at most `max_words` words.
    """
    story = placed.scored.story
    chosen = choose_summary(story)
    summary = choose_sentences(chosen.text, max_words)
    return replace(make_minimal_entry(story.lead), summary=summary, summary_origin=chosen.origin)


def choose_sentences(text: str, max_words: int) -> str:
    """Return the first two sentences of a text if they have at most `max_words` words, or else the first.

    The result has at most 300 characters. If the first sentence is longer, it's cut after
    `max_words` words and ends with "…". Of two sentences that say the same, only the longer counts.
    """
    first, *others = [*split_sentences(text)][:2] or [""]
    if others and _repeats_sentence(first, others[0]):
        first, others = max(first, *others, key=len), []
    both = _complete_sentence(" ".join((first, *others)))
    if len(both.split()) <= max_words and len(both) <= MAX_CHARACTERS:
        return both
    whole = _complete_sentence(first)
    return whole if len(whole) <= MAX_CHARACTERS else shorten_text(first, max_words)


def _repeats_sentence(first: str, other: str) -> bool:
    common, share = measure_title_agreement(first, other)
    return common >= MIN_REPEATED_WORDS and share >= REPEATED_SHARE


def _complete_sentence(text: str) -> str:
    """Return a text with the period that its feed left out, or with "…" after the last whole word if the feed cut it.

    A feed that cuts after a number of characters leaves part of a word before its "...".
    """
    if len(text) >= MIN_CUT_LENGTH and _CUT_WORD.search(text):
        return _CUT_WORD.sub("…", text)
    return f"{text}." if _OPEN_END.search(text) else text


def explain_placement(placed: PlacedStory, context: EntryContext) -> str:
    """Return a sentence explaining why a story is in the edition.

    It follows "Why it leads:" or "Why it’s here:". It's empty if nothing in the story's score is a
    reason (`phrase_placement_reason`).
    """
    reason = phrase_placement_reason(placed.scored, context.language, is_chosen=placed.is_chosen)
    if context.language.code.startswith("en"):  # in English, a sentence after a colon starts with a capital letter
        reason = reason[:1].upper() + reason[1:]
    return context.language.pgettext("a clause as a sentence", "%(clause)s.", clause=reason) if reason else ""


def build_headline_entry(placed: PlacedStory, context: EntryContext) -> SectionEntry:
    """Return an entry with a story's headline, topic, source, date, and news since an earlier edition."""
    lead = placed.scored.lead
    is_older, day = context.is_older(lead), context.format_day(lead)
    return replace(
        make_minimal_entry(lead),
        kicker=translate_topic(placed.scored.topic, context.language),
        credit=find_other_credit(lead),
        date=context.language.short_date(lead.dated_at.astimezone(context.zone)) if is_older else day,
        is_older=is_older,
        since=build_earlier_appearance(placed, context),
    )


def build_image_row_entry(placed: PlacedStory, context: EntryContext, max_words: int = ROW_WORDS) -> SectionEntry:
    """Return an entry for a row with a small image and a summary.

    It also has the other publishers or, if there are none, the reason for the story's place.
    """
    story = placed.scored.story
    cuts = context.find_image(story.lead)
    also = tuple(context.link_report(article) for article in story.also_reported)
    return replace(
        build_summary_entry(placed, context, max_words),
        also=also,
        why="" if also else explain_placement(placed, context),  # the other reports are the reason
        picture=cuts.thumb if cuts else None,
    )


def build_summary_entry(placed: PlacedStory, context: EntryContext, max_words: int = ROW_WORDS) -> SectionEntry:
    """Return an entry with a story's headline, topic, source, date, summary, and the reason for its placement."""
    entry = build_brief_entry(placed, max_words)
    return replace(
        build_headline_entry(placed, context),
        summary=entry.summary,
        summary_origin=entry.summary_origin,
        why=explain_placement(placed, context),
    )


def build_lead_entry(placed: PlacedStory, context: EntryContext) -> SectionEntry:
    """Return the lead's entry, with a large image, the reason that it leads, and related articles."""
    cuts = context.find_image(placed.scored.lead)
    return replace(
        build_image_row_entry(placed, context, LEAD_WORDS),
        why=explain_placement(placed, context),
        related=tuple(context.link_related(article) for article in placed.related),
        picture=cuts.lead if cuts else None,
    )


def format_source_lines(entry: SectionEntry, source: str, language: SubscriberLanguage) -> tuple[str, ...]:
    """Return a line with an entry's source, and with the news's publisher if it's a different one.

    If neither is known, return ().
    """
    credit = language.gettext("Source: %(credit)s", credit=entry.credit) if entry.has_other_credit else ""
    line = " · ".join(part for part in (source, credit) if part)
    return (line,) if line else ()


def format_summary_credit(entry: SectionEntry, language: SubscriberLanguage) -> str:
    """Return a credit for a summary that isn't by the linked page's publisher, or "" if it is."""
    lender = entry.summary_lender
    return language.gettext("Summary from %(publisher)s", publisher=lender) if lender else ""


def find_other_credit(article: CandidateArticle) -> str:
    """Return the publisher that an article credits for its news, or "" if that's the article's own publisher."""
    credit = article.credit or ""
    return "" if credit.casefold() == article.publisher.casefold() else credit


# The topics in digest/topics.toml. The operator's own topics aren't translated.
BUILT_IN_TOPICS = (
    mark_message("Cybersecurity"),
    mark_message("Border security"),
    mark_message("Immigration"),
    mark_message("Counterterrorism"),
    mark_message("Emergency management"),
    mark_message("Disaster response"),
    mark_message("Aviation security"),
    mark_message("Maritime security"),
    mark_message("Critical infrastructure"),
    mark_message("Law enforcement"),
    mark_message("Human trafficking"),
    mark_message("Public health"),
    mark_message("Fire service"),
    mark_message("Intelligence"),
    mark_message("Counter-drone"),
    mark_message("Emergency communications"),
    mark_message("Chemical, biological, radiological, and nuclear"),
    mark_message("Homeland security policy"),
)


def translate_topic(topic: str | None, language: SubscriberLanguage) -> str:
    """Return a story's topic in the subscribers' language, or "" if it has none."""
    return language.translate_text(topic or "")


def join_date_parts(parts: Sequence[str], language: SubscriberLanguage) -> str:
    """Join a day, a time, and a last day, as in "Thursday, December 3, 1 p.m. ET, to December 5"."""
    return language.pgettext("between a day, an hour and a last day", ", ").join(part for part in parts if part)


# --- why a story leads ---------------------------------------------------------------------------------------

_NUMBER_WORDS = (
    mark_message("one"),
    mark_message("two"),
    mark_message("three"),
    mark_message("four"),
    mark_message("five"),
    mark_message("six"),
    mark_message("seven"),
    mark_message("eight"),
    mark_message("nine"),
    mark_message("ten"),
    mark_message("eleven"),
    mark_message("twelve"),
)


def spell_number(number: int, language: SubscriberLanguage) -> str:
    """Spell out a number from one to twelve, and return others in figures."""
    if 1 <= number <= len(_NUMBER_WORDS):
        return language.translate_text(_NUMBER_WORDS[number - 1])
    return language.format_number(number)


def phrase_placement_reason(scored: ScoredStory, language: SubscriberLanguage, *, is_chosen: bool = False) -> str:
    """Return a clause explaining a story's placement, or "" if there's no reason to give.

    The reason may be editors' choices (`is_chosen` is whether an editor added the story), an
    official action, coverage, readership, or else the story's rank on its topic.
    """
    notes = {term.note for term in scored.terms if term.points > 0}
    found = (
        _editorial_clause(notes, language, is_chosen=is_chosen),
        _action_clause(scored, language),
        _coverage_clause(scored, language),
        _readership_clause(scored.story, notes, language),
    )
    *head, last = [clause for clause in found if clause] or [_rank_clause(scored, language)]
    if not head:
        return last
    clauses = language.pgettext("between the words of a list", ", ").join(head)
    return language.pgettext("the end of a list of clauses", "%(clauses)s, and %(last)s", clauses=clauses, last=last)


def _editorial_clause(notes: Collection[str], language: SubscriberLanguage, *, is_chosen: bool) -> str:
    if is_chosen or PINNED_NOTE in notes:
        return language.gettext("our editors chose it")
    return language.gettext("our editors featured it") if FEATURED_NOTE in notes else ""


def _action_clause(scored: ScoredStory, language: SubscriberLanguage) -> str:
    is_reported = scored.is_official_action and not any(a.primary for a in scored.story.members)
    return language.gettext("it reports an official action") if is_reported else ""


def _rank_clause(scored: ScoredStory, language: SubscriberLanguage) -> str:
    rank = scored.topic_rank
    if rank is None or rank.topic != scored.topic:  # editors may have changed the topic
        return ""
    return language.ngettext(
        "it’s the only story that we found on this topic",
        "it’s No. %(place)s of the %(num)s stories that we found on this topic",
        rank.stories,
        place=language.format_number(rank.place),
        num=spell_number(rank.stories, language),
    )


def _coverage_clause(scored: ScoredStory, language: SubscriberLanguage) -> str:
    story = scored.story
    other_count = len(story.publishers) - 1
    official = any(a.primary for a in story.members)
    if not other_count:
        return language.gettext("it comes from an official source") if official else ""
    if official:
        return language.ngettext(
            "an official source and %(others)s other reported it",
            "an official source and %(others)s others reported it",
            other_count,
            others=spell_number(other_count, language),
        )
    return language.gettext("%(number)s publishers carried it", number=spell_number(other_count + 1, language))


def _readership_clause(story: Story, notes: Collection[str], language: SubscriberLanguage) -> str:
    if MOST_READ_NOTE not in notes:
        return ""
    own = next((article for article in story.members if article.own), story.lead)
    return language.gettext("it was the most-read story on %(website)s", website=site_name(own.link))


# --- news of a continued story -----------------------------------------------------------------------------------


def build_earlier_appearance(placed: PlacedStory, context: EntryContext) -> EarlierAppearance | None:
    """Return the earlier appearance of a story that continues one from an earlier edition, or None.

    The entry's own headline and summary come from new articles. If another new article says
    something different, its headline and publisher are added.
    """
    story, continues = placed.scored.story, placed.scored.continues
    if continues is None:
        return None
    # Editors may have moved some of its articles to a different story since.
    urls = {a.url for a in story.members}
    news = [a for a in continues.news if a.url in urls]
    if not news:
        return None
    earlier = continues.earlier
    news_text = _write_news(_find_newest_matter(news, story.lead, earlier), context)
    return EarlierAppearance(earlier.edition, earlier.number, earlier.headline, news_text)


def _write_news(article: CandidateArticle | None, context: EntryContext) -> str:
    language = context.language
    if article is None:
        return language.translate_text(NOTHING_MORE)
    headline, publisher = shorten_text(article.title, MAX_NEWS_WORDS).rstrip("."), article.publisher
    if day := context.format_day(article):
        return language.gettext(
            "%(headline)s (%(publisher)s, %(day)s).", headline=headline, publisher=publisher, day=day
        )
    return language.gettext("%(headline)s (%(publisher)s).", headline=headline, publisher=publisher)


def _find_newest_matter(
    news: Sequence[CandidateArticle], lead: CandidateArticle, earlier: EarlierStory
) -> CandidateArticle | None:
    """Return the new article whose headline has the most new words.

    These are words that aren't in the lead's headline or in earlier ones.
    """
    lead_words = distinct_words(lead.title)
    old_words = lead_words.union(*(distinct_words(a.title) for a in earlier.articles))
    other_articles = [
        article
        for article in news
        if article.url != lead.url
        and jaccard_overlap(distinct_words(article.title), lead_words) < SAME_HEADLINE_OVERLAP
    ]

    def count_new_words(article: CandidateArticle) -> tuple[int, datetime, str]:
        return len(distinct_words(article.title) - old_words), article.dated_at, article.url

    return max(other_articles, key=count_new_words, default=None)
