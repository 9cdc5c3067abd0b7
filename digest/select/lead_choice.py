"""Which article leads a story: the one to which readers are sent.

Never one that is no news (a video, a live page, an explainer, an opinion) or that events have overtaken, where there is another.
Then the own site's, then an official source's; of the rest a central one, rather of the later half, with a summary, and of
what happened than of what somebody said about it.
"""

from collections.abc import Mapping, Sequence

from digest.select.penalties import find_penalties, is_forecast_title, is_statement_title
from digest.select.values import CandidateArticle

LATER_HALF_BONUS = 0.08  # of centrality, for an article of the later half of the story's time
SUMMARY_BONUS = 0.08  # of centrality, for a summary of `FULL_SUMMARY_WORDS`
FULL_SUMMARY_WORDS = 25
STATEMENT_MALUS = 0.08  # of centrality, for what somebody said of it


def order_leads(articles: Sequence[CandidateArticle], centrality: Mapping[str, float]) -> list[CandidateArticle]:
    """Order a story's articles by how well they would lead it, the best first; ties go to the earliest, then to the URL.

    Args:
        articles: of one story, in any order.
        centrality: by URL, how near an article is to the middle of the story, 0 to 1.
    """
    if len(articles) == 1:  # most stories of a week
        return list(articles)
    first, last = min(a.dated_at for a in articles), max(a.dated_at for a in articles)
    middle = first + (last - first) / 2
    last_report = max((a.dated_at for a in articles if not is_forecast_title(a.title)), default=None)

    def lead_key(article: CandidateArticle) -> tuple[object, ...]:
        overtaken = last_report is not None and is_forecast_title(article.title) and article.dated_at <= last_report
        later = LATER_HALF_BONUS if article.has_date and article.dated_at >= middle else 0.0
        told = SUMMARY_BONUS * min(len(article.summary.split()) / FULL_SUMMARY_WORDS, 1.0)
        said = STATEMENT_MALUS if is_statement_title(article.title) else 0.0
        return (
            bool(find_penalties(article)) or overtaken,
            not article.own,
            not article.primary,
            -round(centrality[article.url] + later + told - said, 6),
            article.dated_at,
            article.url,
        )

    return sorted(articles, key=lead_key)
