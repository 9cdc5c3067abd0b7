"""The input files of evaluations: labels in JSON, and feeds read as candidate articles.

Nothing is stored in the installation.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from digest.collect.fetch.fetcher import open_fetcher
from digest.collect.sources.source_rows import FILE_PREFIX
from digest.collect.texts.urls import canonical_url
from digest.collect.visits.collection_run import collect_sources
from digest.edition.drafting.candidates import build_candidate
from digest.select.selection_types import CandidateArticle
from digest.settings import Settings
from digest.store.engine import migrate_schema, open_database
from digest.store.models import Article, Source
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


@contextmanager
def collect_feeds(paths: Sequence[Path], settings: Settings, *, now: datetime) -> Iterator[Session]:
    """Return a context manager for a session on a temporary database with the articles of feeds and folders.

    They're stored as by `digest collect`, at the time `now`.

    Raises:
        EvaluationError: a file can't be read as a feed.
    """
    with TemporaryDirectory() as folder, closing(open_database(f"sqlite:///{folder}/feeds.db")) as database:
        migrate_schema(database)
        with open_fetcher(settings) as fetcher:
            reports = collect_sources(database, fetcher, settings, now=now, files=paths)
        for report in reports:
            if report.error:
                raise EvaluationError(f"{report.name.removeprefix(FILE_PREFIX)}: {report.error}.")
        with database.read() as session:
            yield session


def read_feed_articles(paths: Sequence[Path], settings: Settings, *, now: datetime) -> list[CandidateArticle]:
    """Read the articles of feeds, and of folders of feeds.

    Raises:
        EvaluationError: a file can't be read as a feed.
    """
    if not paths:
        return []
    with collect_feeds(paths, settings, now=now) as session:
        return [build_candidate(*row) for row in session.execute(select(Article, Source).join(Source))]


def normalize_label_url(url: str) -> str:
    """Return the canonical form of a URL in a file of labels, by which its article is identified.

    Raises:
        EvaluationError: `url` isn't a URL.
    """
    try:
        return canonical_url(url)
    except ValueError as exc:
        raise EvaluationError(f"The labels contain {url!r}, which isn't a URL: {exc}.") from exc
