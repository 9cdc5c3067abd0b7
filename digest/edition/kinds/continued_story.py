"""A story that goes on: in which edition it stood, under which headline, and what is new since, in words."""

from collections.abc import Sequence
from zoneinfo import ZoneInfo

from digest.collect.texts.text_cleanup import shorten_text
from digest.edition.content.edition_content import EarlierAppearance
from digest.select.text_similarity import jaccard_overlap, title_words
from digest.select.values import CandidateArticle, EarlierStory, PlacedStory
from subscribers.reader_language import ReaderLanguage, mark_message

MAX_NEWS_WORDS = 14  # of the headline that says what is new
SAME_HEADLINE_OVERLAP = 0.5  # of the words of two headlines, for them to say much the same
NOTHING_MORE = mark_message("this report is new.")


def write_earlier_appearance(placed: PlacedStory, zone: ZoneInfo, language: ReaderLanguage) -> EarlierAppearance | None:
    """Write what is new of a story that an earlier edition had; None for a story that goes on from none.

    The entry's own headline and summary come from new articles. Where another new article says something else, its
    headline is named too, with its publisher.
    """
    story, continues = placed.scored.story, placed.scored.continues
    if continues is None:
        return None
    # An editor may have given some of its articles to another story since.
    urls = {a.url for a in story.members}
    news = [a for a in continues.news if a.url in urls]
    if not news:
        return None
    earlier = continues.earlier
    return EarlierAppearance(
        edition=earlier.edition,
        number=earlier.number,
        headline=earlier.headline,
        news=_news_sentence(news, story.lead, earlier, zone, language),
    )


def _news_sentence(
    news: Sequence[CandidateArticle],
    lead: CandidateArticle,
    earlier: EarlierStory,
    zone: ZoneInfo,
    language: ReaderLanguage,
) -> str:
    article = _find_newest_matter(news, lead, earlier)
    if article is None:
        return language.translate_text(NOTHING_MORE)
    news_headline = shorten_text(article.title, MAX_NEWS_WORDS).rstrip(".")
    if not article.has_date:
        return language.gettext("%(headline)s (%(publisher)s).", headline=news_headline, publisher=article.publisher)
    return language.gettext(
        "%(headline)s (%(publisher)s, %(day)s).",
        headline=news_headline,
        publisher=article.publisher,
        day=language.short_month_day(article.dated_at.astimezone(zone)),
    )


def _find_newest_matter(
    news: Sequence[CandidateArticle], lead: CandidateArticle, earlier: EarlierStory
) -> CandidateArticle | None:
    """Find the new article whose headline has most words that neither the lead's nor the earlier headlines have."""
    lead_words = title_words(lead.title)
    old_words = lead_words.union(*(title_words(a.title) for a in earlier.articles))
    others = [
        article
        for article in news
        if article.url != lead.url and jaccard_overlap(title_words(article.title), lead_words) < SAME_HEADLINE_OVERLAP
    ]
    return max(others, key=lambda a: (len(title_words(a.title) - old_words), a.dated_at, a.url), default=None)
