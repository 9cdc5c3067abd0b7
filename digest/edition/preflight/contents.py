"""Rules over what the edition says: its lines, its sections, and what readers had before."""

from collections import Counter
from collections.abc import Iterator

from digest.collect.urls import canonical
from digest.edition.preflight.rules import Examined, Finding, error, rule, warning

SUBJECT_MOST, PREHEADER_MOST, HEADLINE_MOST = 60, 90, 110  # characters that inboxes and phones show


@rule("held", "An edition that is held (too few stories) is not approved.")
def held(examined: Examined) -> Iterator[Finding]:
    """Repeat why the edition is held."""
    if examined.held_because:
        yield error("held", f"The edition is held: {examined.held_because}")


@rule("subject", "There is a subject of at most 60 characters, and a preheader that says something else.")
def subject(examined: Examined) -> Iterator[Finding]:
    """Look at the two lines of the inbox."""
    line, second = examined.content.subject, examined.content.preheader
    if not line.strip():
        yield error("subject", "The subject is empty.")
    if len(line) > SUBJECT_MOST:
        yield warning("subject", f"The subject has {len(line)} characters; phones show {SUBJECT_MOST}.")
    if line and second.casefold().startswith(line.casefold()):
        yield warning("subject", "The preheader repeats the subject.")
    if len(second) > PREHEADER_MOST:
        yield warning(
            "subject", f"The preheader has {len(second)} characters; inboxes show {PREHEADER_MOST}."
        )


@rule("headlines", "No headline is so long that a phone shows a wall of bold text.")
def headlines(examined: Examined) -> Iterator[Finding]:
    """Measure each headline."""
    for section in examined.content.sections:
        for entry in section.entries:
            if len(entry.headline) > HEADLINE_MOST:
                yield warning(
                    "headlines",
                    f"“{entry.headline[:60]}…” has {len(entry.headline)} characters.",
                    section.title,
                )


@rule("sections", "No section is empty or fuller than the settings allow, and Featured is there.")
def sections(examined: Examined) -> Iterator[Finding]:
    """Count the entries of each section."""
    limits = {s.key: s.most for s in examined.file.sections}
    for section in examined.content.sections:
        if not section.entries:
            yield error("sections", "The section is empty.", section.title)
        most = limits.get(section.key)
        if most is not None and len(section.entries) > most:
            yield warning(
                "sections", f"{len(section.entries)} entries; the settings allow {most}.", section.title
            )
    if not any(s.kind == "featured" and s.entries for s in examined.content.sections):
        yield error("sections", "Nothing is featured: the edition has no lead.")


@rule("repeats", "No story stands twice in the edition, and none but a pinned one was in one of the last.")
def repeats(examined: Examined) -> Iterator[Finding]:
    """Compare links as canonical addresses, within the edition and with those before. A pin is an editor's word."""
    pinned = {_same(pin) for pin in examined.file.select.pins}
    entries = [(s.title, e) for s in examined.content.sections for e in s.entries]
    counts = Counter(_same(e.url) for _, e in entries)
    before = {_same(s.url): s.edition for s in examined.earlier}
    for title, entry in entries:
        key = _same(entry.url)
        if counts[key] > 1:
            yield error("repeats", f"“{entry.headline}” stands {counts[key]} times in the edition.", title)
            counts[key] = 0
        if key in before:
            said = warning if key in pinned else error
            again = ", and is pinned" if key in pinned else ""
            yield said("repeats", f"“{entry.headline}” was in {before[key]}{again}.", title)


def _same(url: str) -> str:
    try:
        return canonical(url)
    except ValueError:
        return url  # a link that cannot be read is the rule links' matter
