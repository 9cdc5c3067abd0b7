"""From a choice to the words of an edition: pure, so that the same choice gives the same edition."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import date, datetime
from zoneinfo import ZoneInfo

from digest.collect.text import shorten
from digest.collect.urls import untracked
from digest.edition.content import Content, Entry, Link, Picture, Section, SponsorBlock
from digest.select.choosing import why_it_leads
from digest.select.values import Candidate, Choice, Placed
from digest.settings import File, SectionSettings

SUBJECT = 60  # characters that a phone's inbox shows
PREHEADER = 90
LEAD_WORDS, ROW_WORDS, PRODUCT_WORDS = 40, 30, 28
WORDS_A_MINUTE = 220  # silent reading of news, adults: Brysbaert 2019 gives 238 for non-fiction


@dataclass(frozen=True, slots=True)
class Pictures:
    """The cuts of one article's picture, made for the lead's and a row's place."""

    lead: Picture
    thumb: Picture


@dataclass(frozen=True, slots=True)
class Issue:
    """What an edition is called and when it goes out."""

    name: str
    number: int
    release_at: datetime  # UTC


def arrange(choice: Choice, issue: Issue, file: File, pictures: Mapping[str, Pictures]) -> Content:
    """Write the edition: entries in the order of the choice, empty sections left out.

    Args:
        choice: what selection decided, by section key.
        issue: name, number and release.
        file: the publication's settings: its words, its sections and their titles.
        pictures: by a candidate's `image`; an article without an entry is shown without a picture.
    """
    zone = file.publication.zone
    sections = tuple(
        Section(s.key, s.kind, s.title, _note(s, issue, zone), entries)
        for s in file.sections
        if (entries := _entries(s, choice.sections.get(s.key, ()), zone, pictures))
    )
    headlines = [e.headline for s in _news_first(sections) for e in s.entries]
    sponsor = file.sponsor
    return Content(
        name=issue.name,
        number=issue.number,
        subject=cut(headlines[0], SUBJECT) if headlines else file.publication.name,
        preheader=preheader(headlines[1:]),
        date=long_date(issue.release_at.astimezone(zone).date()),
        minutes=_minutes(sections, file.publication.intro),
        intro=file.publication.intro,
        editor=file.publication.editor,
        sections=sections,
        sponsor=SponsorBlock(sponsor.name, sponsor.headline, sponsor.text, sponsor.url) if sponsor else None,
    )


def _news_first(sections: tuple[Section, ...]) -> Iterator[Section]:
    yield from (s for s in sections if s.kind == "featured")
    yield from (s for s in sections if s.kind != "featured")


def _note(section: SectionSettings, issue: Issue, zone: ZoneInfo) -> str:
    if section.note or section.kind != "most-read":
        return section.note
    return f"In the week to {short_date(issue.release_at, zone)}"


def _entries(
    section: SectionSettings, placed: tuple[Placed, ...], zone: ZoneInfo, pictures: Mapping[str, Pictures]
) -> tuple[Entry, ...]:
    if section.kind in {"featured", "stories"}:
        leads = section.kind == "featured"
        return tuple(_story(p, zone, pictures, lead=leads and not i) for i, p in enumerate(placed))
    write = {"products": _product, "events": _event, "opportunities": _opportunity}.get(section.kind, _listed)
    return tuple(write(p, zone) for p in placed)


def _story(placed: Placed, zone: ZoneInfo, pictures: Mapping[str, Pictures], *, lead: bool) -> Entry:
    story = placed.scored.story
    first = story.lead
    cuts = pictures.get(first.image or "")
    return Entry(
        headline=first.title,
        url=untracked(first.link),
        kicker=placed.scored.topic or "",
        summary=shorten(first.summary, LEAD_WORDS if lead else ROW_WORDS),
        source=first.publisher,
        credit=_credit(first),
        date=_date(first, zone),
        why=f"{why_it_leads(placed.scored)}." if lead else "",
        also=tuple(Link(c.publisher, untracked(c.link)) for c in story.also[:2]),
        more=max(0, len(story.also) - 2),
        related=tuple(Link(c.title, untracked(c.link), _date(c, zone)) for c in placed.related)
        if lead
        else (),
        picture=(cuts.lead if lead else cuts.thumb) if cuts else None,
    )


def _listed(placed: Placed, zone: ZoneInfo) -> Entry:
    first = placed.scored.story.lead
    return Entry(
        headline=first.title,
        url=untracked(first.link),
        kicker=placed.scored.topic or "",
        source=first.publisher,
        credit=_credit(first),
        date=_date(first, zone),
    )


def _product(placed: Placed, zone: ZoneInfo) -> Entry:
    del zone
    first = placed.scored.story.lead
    return Entry(
        headline=first.title,
        url=untracked(first.link),
        summary=shorten(first.summary, PRODUCT_WORDS),
        source=first.publisher,
        details=(first.credit or first.publisher,),
    )


def _event(placed: Placed, zone: ZoneInfo) -> Entry:
    first = placed.scored.story.lead
    start = first.starts_at or first.dated_at
    # An all-day event is a date, kept as midnight UTC: turning it into a local time would move it a day.
    day = start.date() if first.all_day else start.astimezone(zone).date()
    return Entry(
        headline=first.title,
        url=untracked(first.link),
        source=first.publisher,
        date=long_date(day),
        month=f"{day:%b}",
        day=str(day.day),
        details=tuple(d for d in (_place_and_time(first, zone), shorten(first.summary, 16)) if d),
    )


def _place_and_time(event: Candidate, zone: ZoneInfo) -> str:
    place = event.place or ""
    if event.all_day or not event.starts_at:
        return place
    start = event.starts_at.astimezone(zone)
    hour = f"{start:%I:%M}".lstrip("0").removesuffix(":00")
    time = f"{hour} {'a.m.' if start.hour < 12 else 'p.m.'} {start:%Z}"
    return f"{place}, {time}" if place else time


def _opportunity(placed: Placed, zone: ZoneInfo) -> Entry:
    first = placed.scored.story.lead
    return Entry(
        headline=first.title,
        url=untracked(first.link),
        summary=shorten(first.summary, 22),
        source=first.publisher,
        date=_date(first, zone),
        closes=f"{first.closes_on:%b} {first.closes_on.day}" if first.closes_on else "",
    )


def _credit(candidate: Candidate) -> str:
    credit = candidate.credit or ""
    return "" if credit.casefold() == candidate.publisher.casefold() else credit


def _date(candidate: Candidate, zone: ZoneInfo) -> str:
    return short_date(candidate.dated_at, zone) if candidate.dated else ""


def short_date(moment: datetime, zone: ZoneInfo) -> str:
    """Write "Nov 18" as the publication's readers date it."""
    day = moment.astimezone(zone)
    return f"{day:%b} {day.day}"


def long_date(day: date) -> str:
    """Write "Friday, November 20, 2026"."""
    return f"{day:%A, %B} {day.day}, {day.year}"


def cut(text: str, most: int) -> str:
    """Shorten to `most` characters at a word's end, with an ellipsis where anything was cut."""
    if len(text) <= most:
        return text
    head = text[: most - 1]
    return (head.rsplit(" ", 1)[0] if " " in head else head).rstrip(" ,;:.-\u2013\u2014") + "…"


def preheader(headlines: list[str]) -> str:
    """Name what else the edition holds, in at most 90 characters: never the subject again."""
    if not headlines:
        return ""
    line = f"Also: {cut(headlines[0], PREHEADER - len('Also: '))}"
    for other in headlines[1:3]:
        longer = f"{line}; {other}"
        if len(longer) > PREHEADER:
            break
        line = longer
    return line


def _minutes(sections: tuple[Section, ...], intro: str) -> int:
    texts = [intro, *(f"{e.headline} {e.summary}" for s in sections for e in s.entries)]
    return max(1, round(sum(len(t.split()) for t in texts) / WORDS_A_MINUTE))
