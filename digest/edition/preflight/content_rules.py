"""Rules over what the edition says: its lines, its sections, and what readers had before."""

from collections import Counter
from collections.abc import Iterator

from digest.collect.urls import canonical_url
from digest.edition.content import MAX_PREHEADER_LENGTH, MAX_SUBJECT_LENGTH
from digest.edition.kinds import lead_sections
from digest.edition.preflight.rule_registry import (
    PreflightFinding,
    PreflightInput,
    error_finding,
    preflight_rule,
    warning_finding,
)

MAX_HEADLINE_LENGTH = 110  # characters; a phone shows more as a wall of bold text


@preflight_rule("held", "An edition that is held (too few stories) is not approved.")
def check_completeness(examined: PreflightInput) -> Iterator[PreflightFinding]:
    """Repeat why the edition is held."""
    if examined.incomplete_reason:
        yield error_finding(f"The edition is held: {examined.incomplete_reason}")


@preflight_rule("day", "The masthead names the day on which the edition goes out.")
def check_masthead_day(examined: PreflightInput) -> Iterator[PreflightFinding]:
    """Compare the two days: mail programs show the one of the header, readers see the other."""
    day, departure_day = examined.content.date, examined.departure_day
    if departure_day and day != departure_day:
        yield warning_finding(f"The masthead says {day}, and the edition goes out on {departure_day}.")


@preflight_rule("subject", "There is a subject of at most 60 characters, and a preheader that says something else.")
def check_inbox_lines(examined: PreflightInput) -> Iterator[PreflightFinding]:
    """Look at the two lines of the inbox."""
    line, second = examined.content.subject, examined.content.preheader
    if not line.strip():
        yield error_finding("The subject is empty.")
    if len(line) > MAX_SUBJECT_LENGTH:
        yield warning_finding(f"The subject has {len(line)} characters; phones show {MAX_SUBJECT_LENGTH}.")
    if line and second.casefold().startswith(line.casefold()):
        yield warning_finding("The preheader repeats the subject.")
    if len(second) > MAX_PREHEADER_LENGTH:
        yield warning_finding(f"The preheader has {len(second)} characters; inboxes show {MAX_PREHEADER_LENGTH}.")


@preflight_rule("headlines", "No headline is so long that a phone shows a wall of bold text.")
def check_headline_lengths(examined: PreflightInput) -> Iterator[PreflightFinding]:
    """Measure each headline."""
    for section in examined.content.sections:
        for entry in section.entries:
            if len(entry.headline) > MAX_HEADLINE_LENGTH:
                yield warning_finding(f"“{entry.headline[:60]}…” has {len(entry.headline)} characters.", section.title)


@preflight_rule("sections", "No section is empty or fuller than the settings allow, and Featured is there.")
def check_section_counts(examined: PreflightInput) -> Iterator[PreflightFinding]:
    """Count the entries of each section."""
    limits = {s.key: s.most for s in examined.file.sections}
    for section in examined.content.sections:
        if not section.entries:
            yield error_finding("The section is empty.", section.title)
        most = limits.get(section.key)
        if most is not None and len(section.entries) > most:
            yield warning_finding(f"{len(section.entries)} entries; the settings allow {most}.", section.title)
    if not any(section.entries for section in lead_sections(examined.content.sections)):
        yield error_finding("Nothing is featured: the edition has no lead.")


@preflight_rule("repeats", "No story stands twice in the edition, and none but a pinned one was in one of the last.")
def check_repeated_stories(examined: PreflightInput) -> Iterator[PreflightFinding]:
    """Compare links as canonical addresses, within the edition and with those before. A pin is an editor's word."""
    pinned = {_canonical_or_raw(pin) for pin in examined.file.select.pins}
    entries = [(s.title, e) for s in examined.content.sections for e in s.entries]
    counts = Counter(_canonical_or_raw(e.url) for _, e in entries)
    before = {_canonical_or_raw(s.url): s.edition for s in examined.sent_stories}
    for title, entry in entries:
        key = _canonical_or_raw(entry.url)
        if counts[key] > 1:
            yield error_finding(f"“{entry.headline}” stands {counts[key]} times in the edition.", title)
            counts[key] = 0
        if key in before:
            make_finding = warning_finding if key in pinned else error_finding
            pin_note = ", and is pinned" if key in pinned else ""
            yield make_finding(f"“{entry.headline}” was in {before[key]}{pin_note}.", title)


def _canonical_or_raw(url: str) -> str:
    try:
        return canonical_url(url)
    except ValueError:
        return url  # a link that cannot be read is the rule links' matter
