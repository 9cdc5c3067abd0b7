"""Validated values of edits: an image's crops, and the article of an added story."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC
from typing import Any

from pydantic import TypeAdapter, ValidationError

from digest.edition.content.edition_content import ImageCrops
from digest.edition.editing.edits import OWN_STORY_PREFIX, Edit, read_texts
from digest.edition.rendering.sanitizer import RenderingError, sanitize_url
from digest.select.selection_types import CandidateArticle

_ARTICLE = TypeAdapter(CandidateArticle)
_CUTS = TypeAdapter(ImageCrops)
_MOMENTS = ("dated_at", "starts_at", "ends_at")  # fields of an article


def encode_image_crops(cuts: ImageCrops) -> dict[str, Any]:
    """Encode an image's crops as a value in an edit."""
    plain: dict[str, Any] = _CUTS.dump_python(cuts, mode="json")
    return plain


def decode_image_crops(value: object) -> ImageCrops:
    """Decode an image's crops from a value in an edit.

    Raises:
        pydantic.ValidationError: the value isn't valid.
    """
    return _CUTS.validate_python(value)


def describe_added_article(article: CandidateArticle) -> dict[str, Any]:
    """Return an article as the value of an edit that adds it. The edit's target is the article's URL."""
    plain: dict[str, Any] = _ARTICLE.dump_python(article, mode="json", exclude={"url"})
    return plain


def read_split_stories(edit: Edit) -> list[frozenset[str]]:
    """Return the URLs of the articles that an edit splits off, grouped by new story.

    By default, they become a single story.
    """
    stories = edit.value.get("stories")
    groups = [read_texts({"group": group}, "group") for group in stories] if isinstance(stories, list | tuple) else []
    return [frozenset(urls) for urls in groups or [edit.texts("articles")]]


def read_added_article(edit: Edit) -> CandidateArticle | None:
    """Return the article of an edit that adds a story, or None if its values aren't valid."""
    described = edit.value.get("article")
    values = {"link": edit.target, "dated_at": edit.at, "has_date": False}
    values |= dict.fromkeys(("summary", "source", "publisher"), "")
    if isinstance(described, Mapping):
        values |= described
    try:
        article = _ARTICLE.validate_python({**values, "url": edit.target})
    except ValidationError:
        return None
    if not article.title.strip() or not _has_sound_days(article):
        return None
    if article.url.startswith(OWN_STORY_PREFIX) and article.link in {article.url, ""}:
        article = replace(article, link="")
    elif not is_web_address(article.url) or not is_web_address(article.link):
        return None
    return _make_aware(article)


def _make_aware(article: CandidateArticle) -> CandidateArticle:
    for name in _MOMENTS:
        moment = getattr(article, name)
        if moment and moment.tzinfo is None:
            article = replace(article, **{name: moment.replace(tzinfo=UTC)})
    return article


def _has_sound_days(article: CandidateArticle) -> bool:
    moments = (getattr(article, name) for name in _MOMENTS)
    years = [moment.year for moment in moments if moment]
    years += [article.deadline.day.year] if article.deadline else []
    return all(1990 <= year <= 2100 for year in years)


def is_web_address(url: str) -> bool:
    """Return True if a text is a URL that pages and emails may link to."""
    try:
        sanitize_url(url)
    except RenderingError:
        return False
    return True
