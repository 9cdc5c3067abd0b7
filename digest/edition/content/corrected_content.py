"""A sent edition's content with its corrections. All functions are pure.

This content is used everywhere except on the edition's own page, which shows both texts. A
correction applies to the text of its story wherever that appears, and to the subject and preheader
if they quote it, whole or truncated.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from digest.edition.content.edition_content import EditionContent, EditionSection, SectionEntry, truncate_text
from digest.edition.content.stated_dates import states_deadline
from digest.store.correction_models import Correction

_ELLIPSIS = "…"
_MIN_CUT_LENGTH = 8  # minimum number of characters by which a truncated text is recognized


def correct_entry(entry: SectionEntry, corrections: Iterable[Correction]) -> SectionEntry:
    """Return a story with its corrections applied in order.

    A deadline is removed if the corrected texts no longer state it, unless it's an event's own.
    """
    for correction in corrections:
        if entry.url != correction.url:
            continue
        if correction.field == "headline" and entry.headline == correction.was:
            entry = replace(entry, headline=correction.becomes)
        elif correction.field == "summary" and entry.summary == correction.was:
            entry = replace(entry, summary=correction.becomes)
        is_own = entry.due is not None and any(entry.due.text in detail for detail in entry.details)
        if entry.due and not (is_own or states_deadline(entry, entry.due.day)):
            entry = replace(entry, due=None)
    return entry


def correct_line(line: str, corrections: Iterable[Correction]) -> str:
    """Return a subject or preheader with the corrections applied."""
    for correction in corrections:
        line = correct_repeated_text(line, correction.was, correction.becomes)
    return line


def correct_repeated_text(line: str, was: str, new_text: str) -> str:
    """Return a line in which a quotation of `was` is replaced with `new_text`.

    The quote may be whole, or truncated with an ellipsis after the first difference. A line that
    doesn't quote the text isn't changed.
    """
    if was in line:
        return line.replace(was, new_text)
    for length in range(len(was) - 1, _MIN_CUT_LENGTH - 1, -1):
        cut = was[:length]
        if f"{cut}{_ELLIPSIS}" in line and not new_text.startswith(cut):
            return line.replace(f"{cut}{_ELLIPSIS}", truncate_text(new_text, length + 1))
    return line


def correct_content(content: EditionContent, corrections: Sequence[Correction]) -> EditionContent:
    """Return the content with all corrections applied."""
    if not corrections:
        return content
    sections = tuple(
        replace(section, entries=tuple(correct_entry(entry, corrections) for entry in section.entries))
        for section in content.sections
    )
    return replace(
        content,
        subject=correct_line(content.subject, corrections),
        preheader=correct_line(content.preheader, corrections),
        sections=sections,
    )


def correct_for_email(
    content: EditionContent, corrections: Iterable[Correction], proven: Collection[Correction], now: datetime
) -> EditionContent:
    """Return an edition's content as of a given time, for an email that mentions its stories.

    It includes the corrections in `proven` whose emails had been approved by then. Stories with
    other corrections to their headlines are omitted: the headline is known to be wrong, but only
    the correction's author has seen the new one.
    """
    approved: list[Correction] = []
    open_urls = set()
    for each in corrections:
        if each.at > now:
            continue
        if each in proven and each.mail_approved_at and each.mail_approved_at <= now:
            approved.append(each)
        elif each.field == "headline":
            open_urls.add(each.url)
    sections = (_without_stories(section, open_urls) for section in correct_content(content, approved).sections)
    return replace(content, sections=tuple(section for section in sections if section.entries))


def _without_stories(section: EditionSection, urls: Collection[str]) -> EditionSection:
    return replace(section, entries=tuple(entry for entry in section.entries if entry.url not in urls))


def find_correction_time(corrections: Iterable[Correction], url: str | None = None) -> datetime | None:
    """Return the time of an edition's last correction, or None if there's none.

    If `url` is given, only corrections of that story count.
    """
    own = (correction for correction in corrections if url in {None, correction.url})
    return max((correction.at for correction in own), default=None)
