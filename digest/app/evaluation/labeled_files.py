"""The input files of evaluations: labels in JSON, and feeds read as candidate articles.

Nothing is stored.
"""

import json
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from digest.collect.articles.storage import choose_article_date
from digest.collect.documents.parsed_document import ParsedItem
from digest.collect.sources.source_rows import VisitFailure
from digest.collect.texts.urls import canonical_url
from digest.collect.visits.source_visit import list_input_files, read_file_source
from digest.select.selection_types import CandidateArticle
from digest.settings import Settings, SourceSettings
from subscribers.errors import ApplicationError


class EvaluationError(ApplicationError):
    """Raised if labels or feeds can't be read.

    The message names the file and the problem.
    """


def read_labels(file: Path) -> Any:
    """Read a file of labels that contains one JSON value, or one JSON object per line.

    Raises:
        EvaluationError: the file can't be read or isn't JSON.
    """
    try:
        text = file.read_text("utf-8")
    except (OSError, UnicodeDecodeError) as exc:
        raise EvaluationError(f"Can't read {file}: {exc}.") from exc
    try:
        return json.loads(text)
    except ValueError:
        pass
    try:
        return [json.loads(line) for line in text.splitlines() if line.strip()]
    except ValueError as exc:
        raise EvaluationError(f"{file} isn't JSON or JSON lines: {exc}.") from exc


def is_text_list(value: object) -> bool:
    """Return True if a value in a label is a list of strings."""
    return isinstance(value, list) and all(isinstance(text, str) for text in value)


def read_feed_articles(paths: Sequence[Path], settings: Settings, *, now: datetime) -> tuple[CandidateArticle, ...]:
    """Read feeds, and folders of feeds, as articles of the section "news".

    The title of a document is its publisher's name. If `digest.toml` has a source of the same name,
    that source's topics, weight, `primary`, and `own` apply.

    Raises:
        EvaluationError: a file can't be read as a feed.
    """
    limits, site = settings.file.limits, settings.file.publication.site
    articles: list[CandidateArticle] = []
    for file in list_input_files(paths):
        visit = read_file_source(file, max_bytes=limits.fetch_bytes, site=site, now=now)
        if isinstance(visit.outcome, VisitFailure):
            raise EvaluationError(f"{file}: {visit.outcome.message}.")
        assert visit.document, "a file is never 'not modified'"
        publisher = visit.document.title or file.name.partition(".")[0]
        articles += (_candidate_from_item(item, publisher, settings, now) for item in visit.document.items)
    return tuple(articles)


def normalize_label_url(url: str) -> str:
    """Return the canonical form of a URL in a file of labels, by which its article is identified.

    Raises:
        EvaluationError: `url` isn't a URL.
    """
    try:
        return canonical_url(url)
    except ValueError as exc:
        raise EvaluationError(f"The labels contain {url!r}, which isn't a URL: {exc}.") from exc


def _candidate_from_item(item: ParsedItem, publisher: str, settings: Settings, now: datetime) -> CandidateArticle:
    dated_at, basis = choose_article_date(item, now)
    unnamed = SourceSettings.model_construct(name=publisher, publisher=publisher)
    source = next((s for s in settings.file.sources if publisher.casefold() == s.name.casefold()), unnamed)
    return CandidateArticle(
        url=item.url,
        link=item.link,
        title=item.title,
        summary=item.summary,
        source=publisher,
        publisher=item.publisher or source.publisher,
        aggregated=bool(item.publisher),
        dated_at=dated_at,
        has_date=not basis.is_first_seen,
        weight=source.weight,
        primary=source.primary,
        own=source.own,
        categories=item.categories,
        topics=tuple(sorted(source.topics.items())),
        default_topic=source.default_topic,
        author=item.author,
        credit=item.credit,
        featured=item.featured,
    )
