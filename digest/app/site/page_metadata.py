"""Metadata of edition pages for search engines and link previews (Open Graph, schema.org)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from zoneinfo import ZoneInfo

from digest.app.editions.web_editions import EditionPage
from digest.edition.content.edition_content import EditionImage, EntryDate, SectionEntry, truncate_text
from digest.edition.content.edition_names import format_issue
from digest.edition.rendering.anchors import story_anchor
from digest.edition.rendering.mail_layout import MailLayout, arrange_email
from digest.settings import PublicationSettings
from digest.store.models import BREAKING_NEWS_NUMBER
from subscribers.subscriber_language import SubscriberLanguage

MAX_TITLE_LENGTH = 70  # characters; search engines show no more
MAX_DESCRIPTION_LENGTH = 200  # characters; search engines show fewer
CARD_WIDTH, CARD_HEIGHT = 1200, 630  # pixels


@dataclass(frozen=True, slots=True)
class SharedImage:
    """The image that previews a shared link.

    Its width and height are in pixels, or 0 if they're unknown.
    """

    address: str
    alt: str
    width: int = 0
    height: int = 0


@dataclass(frozen=True, slots=True)
class PageMetadata:
    """The metadata of an edition's page for search engines and link previews.

    `anchors` maps links to the IDs of their stories on the page.
    """

    title: str
    headline: str
    description: str
    address: str
    picture: SharedImage | None
    anchors: Mapping[str, str]
    linked_data: Mapping[str, Any]


def build_page_metadata(
    page: EditionPage, publication: PublicationSettings, base: str, language: SubscriberLanguage
) -> PageMetadata:
    """Return the metadata of an edition's page.

    `base` is the public URL of the site, without a trailing slash.
    """
    content, address = page.content, f"{base}/editions/{page.line.name}"
    lead = arrange_email(content).lead
    plain_headline = lead.entry.headline if lead else content.subject
    correction = (page.line.corrected_at, publication.zone, language)
    headline = mark_corrected_title(plain_headline, *correction)
    if page.line.corrected_at:
        # Search engines would cut off the mark, so the headline before it is truncated.
        room = MAX_TITLE_LENGTH - len(mark_corrected_title("", *correction))
        short_headline = mark_corrected_title(truncate_text(plain_headline, room), *correction)
    else:
        short_headline = headline
    issue = f"{publication.name} {format_issue(content.number, language)}"
    day = language.full_date(content.released_on)
    description = language.gettext(
        "%(issue)s, %(day)s. %(text)s",
        issue=issue,
        day=day,
        text=content.preheader or " ".join(content.intro.split()) or publication.tagline,
    )
    picture = _choose_image(
        page,
        lead.entry.picture if lead else None,
        language.gettext("%(issue)s: %(headline)s", issue=issue, headline=headline),
        base,
        language,
    )
    entries = list(_list_entries(page))
    return PageMetadata(
        title=_choose_title(short_headline, issue, publication.name),
        headline=headline,
        description=_shorten(description, MAX_DESCRIPTION_LENGTH),
        address=address,
        picture=picture,
        anchors={entry.url: story_anchor(entry) for entry in entries if entry.url},
        linked_data=_link_data(page, publication, base, entries, picture, language),
    )


def mark_corrected_title(
    title: str, corrected_at: datetime | None, zone: ZoneInfo, language: SubscriberLanguage
) -> str:
    """Return a title followed by the date of a correction.

    It's used in feeds and page heads, which can't show any other note.
    """
    if corrected_at is None:
        return title
    day = language.full_date(corrected_at.astimezone(zone))
    return language.gettext("%(title)s (corrected %(day)s)", title=title, day=day)


def _choose_title(headline: str, issue: str, name: str) -> str:
    """Return the headline with as much of the issue's name as fits in a title.

    The headline itself isn't truncated.
    """
    longest_first = (f"{headline} · {issue}", f"{headline} · {name}")
    return next((title for title in longest_first if len(title) <= MAX_TITLE_LENGTH), headline)


def _list_entries(page: EditionPage) -> Iterator[SectionEntry]:
    return (entry for section in page.content.sections for entry in section.entries)


def _choose_image(
    page: EditionPage, lead: EditionImage | None, alt: str, base: str, language: SubscriberLanguage
) -> SharedImage | None:
    """Return the image of the social card, or else the lead's image.

    The card is described by `alt` and the description of the lead's image.
    """
    if page.card:
        alt = (
            language.gettext("%(text)s. Image: %(description)s", text=alt, description=lead.alt)
            if lead and lead.alt
            else alt
        )
        return SharedImage(f"{base}/media/{page.card}", alt, CARD_WIDTH, CARD_HEIGHT)
    return SharedImage(f"{base}/media/{lead.hash}", lead.alt or alt) if lead else None


def find_home_image(layout: MailLayout | None) -> EditionImage | None:
    """Return the image of the newest edition's lead story, if any."""
    return layout.lead.entry.picture if layout and layout.lead else None


def _shorten(text: str, length: int) -> str:
    return text if len(text) <= length else f"{text[:length].rpartition(' ')[0]} …"


def _link_data(
    page: EditionPage,
    publication: PublicationSettings,
    base: str,
    entries: list[SectionEntry],
    picture: SharedImage | None,
    language: SubscriberLanguage,
) -> dict[str, Any]:
    """Return the linked data of an edition's page: the issue, the site, the path, and events.

    See https://schema.org/docs/full.html.
    """
    issue = _link_issue(page, publication, base, entries, picture, language)
    path = [
        (publication.name, f"{base}/"),
        (language.gettext("Editions"), f"{base}/editions"),
        (issue["name"], issue["url"]),
    ]
    events = [_link_event(entry, entry.when, issue["url"], publication.zone) for entry in entries if entry.when]
    graph = [issue, build_website_data(publication, base), _link_path(path), *filter(None, events)]
    return {"@context": "https://schema.org", "@graph": graph}


def build_website_data(publication: PublicationSettings, base: str) -> dict[str, Any]:
    """Return the linked data of the site (https://schema.org/WebSite).

    It doesn't describe the site's search, because search engines are excluded from that.
    """
    return {
        "@type": "WebSite",
        "@id": f"{base}/",
        "url": f"{base}/",
        "name": publication.name,
        "description": publication.tagline,
        "inLanguage": publication.language,
    }


def _link_path(path: Sequence[tuple[str, str]]) -> dict[str, Any]:
    """Return the linked data of a page's breadcrumbs (https://schema.org/BreadcrumbList).

    `path` has pairs of a name and a URL, beginning at the root.
    """
    items = [
        {"@type": "ListItem", "position": place, "name": name, "item": url} for place, (name, url) in enumerate(path, 1)
    ]
    return {"@type": "BreadcrumbList", "itemListElement": items}


def _link_event(entry: SectionEntry, when: EntryDate, address: str, zone: ZoneInfo) -> dict[str, Any]:
    """Return the linked data of an event (https://schema.org/Event).

    It's empty for a deadline, and for an event without a place, which search engines require. The
    place comes before the source's details, so a single detail could be either one.
    """
    if when.kind != "event" or len(entry.details) < 2:
        return {}
    place, *details = entry.details
    end = when.end.astimezone(zone) if when.end else when.last_day
    event = {
        "@type": "Event",
        "name": entry.headline,
        "url": entry.url or f"{address}#{story_anchor(entry)}",
        "startDate": (when.moment.astimezone(zone) if when.moment else when.day).isoformat(),
        "endDate": end.isoformat() if end else "",
        "location": {"@type": "Place", "name": place, "address": place},
        "description": " ".join(details),
    }
    return {key: value for key, value in event.items() if value}


def _link_issue(
    page: EditionPage,
    publication: PublicationSettings,
    base: str,
    entries: list[SectionEntry],
    picture: SharedImage | None,
    language: SubscriberLanguage,
) -> dict[str, Any]:
    """Return the linked data of an edition as an issue of a periodical, with its stories.

    See https://schema.org/PublicationIssue.
    """
    address, zone = f"{base}/editions/{page.line.name}", publication.zone
    data: dict[str, Any] = {
        "@type": "PublicationIssue",
        "@id": address,
        "url": address,
        "name": mark_corrected_title(page.content.subject, page.line.corrected_at, zone, language),
        "inLanguage": publication.language,
        "datePublished": page.line.release_at.astimezone(zone).isoformat(),
        "dateModified": page.changed_at.astimezone(zone).isoformat(),
        "isAccessibleForFree": True,
        "isPartOf": {"@type": "Periodical", "name": publication.name, "url": f"{base}/"},
        "publisher": {"@type": "Organization", "name": publication.name, "url": publication.site},
        "hasPart": [_link_story(entry, address) for entry in entries],
    }
    if page.content.number != BREAKING_NEWS_NUMBER:
        data["issueNumber"] = str(page.content.number)
    if picture:
        data["image"] = picture.address
    if page.content.editor:
        data["editor"] = {"@type": "Person", "name": page.content.editor.partition(",")[0]}
    if page.corrections:
        data["correction"] = [_write_correction(c, zone, language) for c in page.corrections]
    return data


def _write_correction(correction: Any, zone: ZoneInfo, language: SubscriberLanguage) -> dict[str, str]:
    sentence = language.gettext(
        "“%(was)s” should have read “%(becomes)s.”",
        was=correction.was.rstrip("."),
        becomes=correction.becomes.rstrip("."),
    )
    return {
        "@type": "CorrectionComment",
        "datePublished": correction.at.astimezone(zone).isoformat(),
        "text": f"{sentence} {correction.note}".strip(),
    }


def _link_story(entry: SectionEntry, address: str) -> dict[str, Any]:
    sources = [entry.url, *(link.url for link in entry.also)]
    story: dict[str, Any] = {
        "@type": "CreativeWork",
        "name": entry.headline,
        "url": f"{address}#{story_anchor(entry)}",
        "citation": [url for url in sources if url],
    }
    if entry.summary:
        story["abstract"] = entry.summary
    if entry.kicker:
        story["about"] = entry.kicker
    return story


def name_edition(number: int, language: SubscriberLanguage) -> str:
    """Return the name of an edition for use within a sentence, such as "No. 147" or "breaking news"."""
    return format_issue(number, language)
