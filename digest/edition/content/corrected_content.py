"""What an edition that went out says with its corrections in it, for every place that shows it but its own page, which shows both texts.

Pure. A correction puts right the text of its story wherever that stands, and the subject and the preview line where they quote it, cut or whole.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from datetime import datetime

from digest.edition.content.edition_content import EditionContent, EditionSection, SectionEntry, truncate_text
from digest.edition.content.stated_dates import states_deadline
from digest.store.correction_models import Correction

_ELLIPSIS = "…"
_MIN_CUT_LENGTH = 8  # characters of a cut text that tell it from others


def correct_entry(entry: SectionEntry, corrections: Iterable[Correction]) -> SectionEntry:
    """Return a story as it reads now: each correction puts right what the one before it left.

    A deadline goes if the corrected texts don't state it anymore.
    """
    for correction in corrections:
        if entry.url != correction.url:
            continue
        if correction.field == "headline" and entry.headline == correction.was:
            entry = replace(entry, headline=correction.becomes)
        elif correction.field == "summary" and entry.summary == correction.was:
            entry = replace(entry, summary=correction.becomes)
        if entry.due and not states_deadline(entry, entry.due.day):
            entry = replace(entry, due=None)
    return entry


def correct_line(line: str, corrections: Iterable[Correction]) -> str:
    """Return a subject or a preview line as it reads now."""
    for correction in corrections:
        line = correct_repeated_text(line, correction.was, correction.becomes)
    return line


def correct_repeated_text(line: str, was: str, new_text: str) -> str:
    """Put a corrected text into a line that quotes it, whole, or cut by an ellipsis behind the first word in which the two differ."""
    if was in line:
        return line.replace(was, new_text)
    for length in range(len(was) - 1, _MIN_CUT_LENGTH - 1, -1):
        cut = was[:length]
        if f"{cut}{_ELLIPSIS}" in line and not new_text.startswith(cut):
            return line.replace(f"{cut}{_ELLIPSIS}", truncate_text(new_text, length + 1))
    return line


def correct_content(content: EditionContent, corrections: Sequence[Correction]) -> EditionContent:
    """Return what an edition says now."""
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
    """Return what an edition says at a moment, for an email that names its stories.

    It has the corrections that were approved by then, if that's proven. Stories with any other are left out: their headline is
    known to be wrong, and only its author has seen the right one.
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
    """Return when an edition, or one story of it, was corrected the last time; None where it never was."""
    own = (correction for correction in corrections if url in {None, correction.url})
    return max((correction.at for correction in own), default=None)
