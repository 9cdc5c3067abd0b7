"""Dates in the texts of an edition: deadlines that can be announced, and future days of any kind."""

from collections.abc import Iterable, Iterator
from datetime import UTC, date, datetime, time, timedelta
from operator import attrgetter

from digest.collect.documents.deadlines import Deadline
from digest.collect.texts.announced_deadlines import find_deadlines, find_weekday_deadlines
from digest.collect.texts.written_times import find_days
from digest.edition.content.edition_content import EditionContent, SectionEntry
from digest.select.selection_types import CandidateArticle

MAX_AHEAD = timedelta(days=300)  # later deadlines need the year, which the line "Next deadline" doesn't show


def find_stated_deadlines(entry: SectionEntry, lead: CandidateArticle, release_at: datetime) -> tuple[Deadline, ...]:
    """Return the upcoming deadlines stated in an entry's texts, and an event's own deadline, soonest first.

    They must be after the release, but not by more than `MAX_AHEAD`. If the entry is a call with a
    deadline, only earlier ones count. `release_at` is in the publication's time zone.
    """
    by_day = {deadline.day: deadline for deadline in find_deadlines(_join_texts(entry), release_at)}
    if lead.deadline and entry.when and entry.when.kind == "event":
        by_day[lead.deadline.day] = lead.deadline  # it may be more precise
    return _pick_upcoming(sorted(by_day.values(), key=attrgetter("order")), entry, release_at)


def find_implied_deadlines(entry: SectionEntry, lead: CandidateArticle, release_at: datetime) -> tuple[Deadline, ...]:
    """Return the upcoming deadlines that an entry's texts give only as a weekday.

    A weekday is the first one after the publication day of the entry's lead. Only the lead's own text
    counts, because the reference day of an editor's text, or of another article's summary, is unknown.
    """
    if not lead.has_date:
        return ()
    texts = [text for text in (entry.headline, entry.summary) if text in f"{lead.title}\n{lead.summary}"]
    # In UTC, an evening in America is already the next day, so a weekday is never resolved a day early.
    implied = find_weekday_deadlines(". ".join(texts), lead.dated_at)
    return _pick_upcoming(implied, entry, release_at)


def states_deadline(entry: SectionEntry, day: date) -> bool:
    """Return True if an entry's texts state the given day as a deadline, by date or weekday."""
    shortly_before = datetime.combine(day, time(), UTC) - timedelta(days=1)
    texts = _join_texts(entry)
    deadlines = (*find_deadlines(texts, shortly_before), *find_weekday_deadlines(texts, shortly_before))
    return any(deadline.day == day for deadline in deadlines)


def _pick_upcoming(
    deadlines: Iterable[Deadline],
    entry: SectionEntry,
    release_at: datetime,
) -> tuple[Deadline, ...]:
    announced = entry.when.day if entry.when and entry.when.kind == "deadline" else date.max
    last = min(announced - timedelta(days=1), release_at.date() + MAX_AHEAD)
    return tuple(each for each in deadlines if each.day <= last and not each.is_past(release_at))


def find_mentioned_days(content: EditionContent) -> Iterator[tuple[str, str, date]]:
    """Yield the days after the release that texts mention, as (section title, place of the text, day).

    The title is empty for the opening lines and the labeled blocks.
    """
    released_at = datetime.combine(content.released_on, time(), UTC)
    for title, source, text in _list_texts(content):
        mentioned = [written.first for written in find_days(text, released_at)]
        deadlines = [deadline.day for deadline in find_deadlines(text, released_at)]  # some are numbers, such as 11/30
        yield from ((title, source, day) for day in dict.fromkeys(mentioned + deadlines) if day > content.released_on)


def find_deadline_days(content: EditionContent) -> Iterator[tuple[str, str, date]]:
    """Yield the days after the release that texts state as deadlines, but not after `MAX_AHEAD`.

    The values are those of `find_mentioned_days`.
    """
    released_at = datetime.combine(content.released_on, time(), UTC)
    last = content.released_on + MAX_AHEAD
    for title, source, text in _list_texts(content):
        days = (deadline.day for deadline in find_deadlines(text, released_at))
        yield from ((title, source, day) for day in days if content.released_on < day <= last)


def _list_texts(content: EditionContent) -> Iterator[tuple[str, str, str]]:
    yield "", "The subject, preheader, or intro", f"{content.subject}. {content.preheader}. {content.intro}"
    for section in content.sections:
        for entry in section.entries:
            yield section.title, f"“{entry.headline}”", _join_texts(entry)
            links = ". ".join(link.headline or link.text for link in (*entry.also, *entry.related))
            yield section.title, f"A link under “{entry.headline}”", links
    for block in content.blocks:
        source = f"“{block.headline}”" if block.headline else "A labeled block"
        yield "", source, f"{block.headline}. {block.text}"


def _join_texts(entry: SectionEntry) -> str:
    return ". ".join((entry.headline, entry.summary, *entry.details, entry.note))
