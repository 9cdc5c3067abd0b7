"""Entries of public feeds, for both Atom (RFC 4287, section 4.1.2) and JSON Feed 1.1 (https://jsonfeed.org)."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from markupsafe import escape

from digest.app.site.archive import FeedEdition, TopicPage
from digest.app.site.page_metadata import mark_corrected_title
from digest.settings import PublicationSettings
from subscribers.subscriber_language import SubscriberLanguage

_LONG_AGO = "2000-01-01T00:00:00Z"


@dataclass(frozen=True, slots=True)
class FeedEntry:
    """An entry for an Atom feed or a JSON Feed.

    Its permanent public URL is also its ID. `published` and `updated` are in UTC (RFC 3339, section 5.6).
    """

    address: str
    title: str
    published: str
    updated: str
    summary: str
    html: str = ""
    story_url: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the entry as an item of a JSON Feed."""
        content = {"content_html": self.html} if self.html else {"content_text": self.summary or self.address}
        return {
            "id": self.address,
            "url": self.address,
            "title": self.title,
            "summary": self.summary,
            "date_published": self.published,
            "date_modified": self.updated,
            **content,
        }


def list_edition_entries(
    editions: Sequence[FeedEdition], publication: PublicationSettings, base: str, language: SubscriberLanguage
) -> list[FeedEntry]:
    """Return a feed entry for each edition.

    A correction updates its edition's entry.
    """
    return [_edition_entry(edition, publication.zone, base, language) for edition in editions]


def _edition_entry(edition: FeedEdition, zone: ZoneInfo, base: str, language: SubscriberLanguage) -> FeedEntry:
    line, corrected = edition.line, _list_corrections(edition, zone, language)
    marked = "".join(f"<p><strong>{escape(correction)}</strong></p>\n" for correction in corrected)
    return FeedEntry(
        f"{base}/editions/{line.name}",
        mark_corrected_title(line.subject, line.corrected_at, zone, language),
        _timestamp(edition.published_at),
        _timestamp(edition.updated_at),
        "\n".join(filter(None, [*corrected, line.preheader, *edition.headlines])),
        html=edition.html and marked + edition.html,
    )


def list_topic_entries(
    page: TopicPage, publication: PublicationSettings, base: str, language: SubscriberLanguage
) -> list[FeedEntry]:
    """Return an entry for each story of a topic, with the URL of the story in its edition."""
    return [
        FeedEntry(
            f"{base}{story.path}",
            mark_corrected_title(story.story.headline, story.corrected_at, publication.zone, language),
            _timestamp(story.story.released_at),
            _timestamp(story.changed_at),
            f"{story.story.summary} {_join_origin(story.story.source, story.story.dated, story.number, language)}".strip(),
            story_url=story.story.url,
        )
        for story in page.stories
    ]


def _join_origin(source: str, dated: str, number: int, language: SubscriberLanguage) -> str:
    return " · ".join(filter(None, (source, dated, language.gettext("No. %(number)s", number=number))))


def find_last_update(entries: Sequence[FeedEntry]) -> str:
    """Return the time of the latest change to an entry, or the start of the year 2000 if there are none."""
    return max((entry.updated for entry in entries), default=_LONG_AGO)


def _list_corrections(edition: FeedEdition, zone: ZoneInfo, language: SubscriberLanguage) -> list[str]:
    lines = (
        language.gettext(
            "Corrected %(day)s, %(signed)s: in “%(headline)s” we wrote “%(was)s”; it should have read “%(becomes)s.”",
            day=language.full_date(c.at.astimezone(zone)),
            signed=c.signed,
            headline=c.headline,
            was=c.was.rstrip("."),
            becomes=c.becomes.rstrip("."),
        )
        for c in edition.corrections
    )
    return [f"{line} {c.note}" for line, c in zip(lines, edition.corrections, strict=True)]


def _timestamp(moment: datetime) -> str:
    return f"{moment:%Y-%m-%dT%H:%M:%SZ}"
