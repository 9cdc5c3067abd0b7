"""From a choice to the words of an edition: pure, so that the same choice gives the same edition."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from zoneinfo import ZoneInfo

from digest.collect.text_cleanup import shorten_text
from digest.collect.urls import strip_tracking
from digest.edition.content import (
    EditionContent,
    EditionLink,
    EditionPicture,
    EditionSection,
    SectionEntry,
    SponsorBlock,
)
from digest.select.proposals import explain_lead
from digest.select.values import CandidateArticle, PlacedStory, Proposal
from digest.settings import SectionSettings, SettingsFile
from subscribers.phrases import clock_time, short_month_day, weekday_date

SUBJECT_LENGTH = 60  # characters that a phone's inbox shows
PREHEADER_LENGTH = 90
LEAD_WORDS, ROW_WORDS, PRODUCT_WORDS = 40, 30, 28
WORDS_PER_MINUTE = 220  # silent reading of news, adults: Brysbaert 2019 gives 238 for non-fiction


@dataclass(frozen=True, slots=True)
class PictureCuts:
    """The cuts of one article's picture, made for the lead's and a row's place."""

    lead: EditionPicture
    thumb: EditionPicture


@dataclass(frozen=True, slots=True)
class EditionIdentity:
    """What an edition is called and when it goes out."""

    name: str
    number: int
    release_at: datetime  # UTC


def build_content(
    proposal: Proposal, identity: EditionIdentity, file: SettingsFile, pictures: Mapping[str, PictureCuts]
) -> EditionContent:
    """Write the edition: entries in the order of the choice, empty sections left out.

    Args:
        proposal: what selection decided, by section key.
        identity: name, number and release.
        file: the publication's settings: its words, its sections and their titles.
        pictures: by a candidate's `image`; an article without an entry is shown without a picture.
    """
    zone = file.publication.zone
    sections = tuple(
        EditionSection(s.key, s.kind, s.title, _section_note(s, identity, zone), entries)
        for s in file.sections
        if (entries := _section_entries(s, proposal.sections.get(s.key, ()), zone, pictures))
    )
    headlines = [e.headline for s in _featured_first(sections) for e in s.entries]
    sponsor = file.sponsor
    return EditionContent(
        name=identity.name,
        number=identity.number,
        subject=truncate_text(headlines[0], SUBJECT_LENGTH) if headlines else file.publication.name,
        preheader=compose_preheader(headlines[1:]),
        date=weekday_date(identity.release_at.astimezone(zone)),
        minutes=_reading_minutes(sections, file.publication.intro),
        intro=file.publication.intro,
        editor=file.publication.editor,
        sections=sections,
        sponsor=SponsorBlock(sponsor.name, sponsor.headline, sponsor.text, sponsor.url) if sponsor else None,
    )


def _featured_first(sections: tuple[EditionSection, ...]) -> Iterator[EditionSection]:
    yield from (s for s in sections if s.kind == "featured")
    yield from (s for s in sections if s.kind != "featured")


def _section_note(section: SectionSettings, identity: EditionIdentity, zone: ZoneInfo) -> str:
    if section.note or section.kind != "most-read":
        return section.note
    return f"In the week to {short_month_day(identity.release_at.astimezone(zone))}"


def _section_entries(
    section: SectionSettings, placed: tuple[PlacedStory, ...], zone: ZoneInfo, pictures: Mapping[str, PictureCuts]
) -> tuple[SectionEntry, ...]:
    if section.kind in {"featured", "stories"}:
        leads = section.kind == "featured"
        return tuple(_story_entry(p, zone, pictures, lead=leads and not i) for i, p in enumerate(placed))
    write = {"products": _product_entry, "events": _event_entry, "opportunities": _opportunity_entry}.get(
        section.kind, _list_entry
    )
    return tuple(write(p, zone) for p in placed)


def _story_entry(
    placed: PlacedStory, zone: ZoneInfo, pictures: Mapping[str, PictureCuts], *, lead: bool
) -> SectionEntry:
    story = placed.scored.story
    first = story.lead
    cuts = pictures.get(first.image or "")
    return SectionEntry(
        headline=first.title,
        url=strip_tracking(first.link),
        kicker=placed.scored.topic or "",
        summary=shorten_text(first.summary, LEAD_WORDS if lead else ROW_WORDS),
        source=first.publisher,
        credit=_displayed_credit(first),
        date=_displayed_date(first, zone),
        why=f"{explain_lead(placed.scored)}." if lead else "",
        also=tuple(EditionLink(c.publisher, strip_tracking(c.link)) for c in story.also_reported[:2]),
        more=max(0, len(story.also_reported) - 2),
        related=tuple(EditionLink(c.title, strip_tracking(c.link), _displayed_date(c, zone)) for c in placed.related)
        if lead
        else (),
        picture=(cuts.lead if lead else cuts.thumb) if cuts else None,
    )


def _list_entry(placed: PlacedStory, zone: ZoneInfo) -> SectionEntry:
    first = placed.scored.story.lead
    return SectionEntry(
        headline=first.title,
        url=strip_tracking(first.link),
        kicker=placed.scored.topic or "",
        source=first.publisher,
        credit=_displayed_credit(first),
        date=_displayed_date(first, zone),
    )


def _product_entry(placed: PlacedStory, zone: ZoneInfo) -> SectionEntry:
    del zone
    first = placed.scored.story.lead
    return SectionEntry(
        headline=first.title,
        url=strip_tracking(first.link),
        summary=shorten_text(first.summary, PRODUCT_WORDS),
        source=first.publisher,
        details=(first.credit or first.publisher,),
    )


def _event_entry(placed: PlacedStory, zone: ZoneInfo) -> SectionEntry:
    first = placed.scored.story.lead
    start = first.starts_at or first.dated_at
    # An all-day event is a date, kept as midnight UTC: turning it into a local time would move it a day.
    day = start.date() if first.all_day else start.astimezone(zone).date()
    return SectionEntry(
        headline=first.title,
        url=strip_tracking(first.link),
        source=first.publisher,
        date=weekday_date(day),
        month=f"{day:%b}",
        day=str(day.day),
        details=tuple(d for d in (_place_and_time(first, zone), shorten_text(first.summary, 16)) if d),
    )


def _place_and_time(event: CandidateArticle, zone: ZoneInfo) -> str:
    place = event.place or ""
    if event.all_day or not event.starts_at:
        return place
    start = event.starts_at.astimezone(zone)
    time = f"{clock_time(start).replace(':00', '')} {start:%Z}"
    return f"{place}, {time}" if place else time


def _opportunity_entry(placed: PlacedStory, zone: ZoneInfo) -> SectionEntry:
    first = placed.scored.story.lead
    return SectionEntry(
        headline=first.title,
        url=strip_tracking(first.link),
        summary=shorten_text(first.summary, 22),
        source=first.publisher,
        date=_displayed_date(first, zone),
        closes=short_month_day(first.closes_on) if first.closes_on else "",
    )


def _displayed_credit(candidate: CandidateArticle) -> str:
    credit = candidate.credit or ""
    return "" if credit.casefold() == candidate.publisher.casefold() else credit


def _displayed_date(candidate: CandidateArticle, zone: ZoneInfo) -> str:
    return short_month_day(candidate.dated_at.astimezone(zone)) if candidate.has_date else ""


def truncate_text(text: str, max_length: int) -> str:
    """Shorten to `max_length` characters at a word's end, with an ellipsis where anything was cut."""
    if len(text) <= max_length:
        return text
    head = text[: max_length - 1]
    return (head.rsplit(" ", 1)[0] if " " in head else head).rstrip(" ,;:.-\u2013\u2014") + "…"


def compose_preheader(headlines: list[str]) -> str:
    """Name what else the edition holds, in at most 90 characters: never the subject again."""
    if not headlines:
        return ""
    line = f"Also: {truncate_text(headlines[0], PREHEADER_LENGTH - len('Also: '))}"
    for other in headlines[1:3]:
        longer = f"{line}; {other}"
        if len(longer) > PREHEADER_LENGTH:
            break
        line = longer
    return line


def _reading_minutes(sections: tuple[EditionSection, ...], intro: str) -> int:
    texts = [intro, *(f"{e.headline} {e.summary}" for s in sections for e in s.entries)]
    return max(1, round(sum(len(t.split()) for t in texts) / WORDS_PER_MINUTE))
