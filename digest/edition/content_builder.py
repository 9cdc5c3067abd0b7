"""From a proposal to the words of an edition: pure, so that the same proposal gives the same edition."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

from digest.edition import content
from digest.edition.kinds import SECTION_KINDS
from digest.select.values import Proposal
from digest.settings import SettingsFile
from subscribers.phrases import weekday_date

WORDS_PER_MINUTE = 220  # silent reading of news, adults: Brysbaert 2019 gives 238 for non-fiction


@dataclass(frozen=True, slots=True)
class EditionIdentity:
    """What an edition is called and when it goes out."""

    name: str
    number: int
    release_at: datetime  # UTC


def build_content(
    proposal: Proposal, identity: EditionIdentity, file: SettingsFile, pictures: Mapping[str, content.PictureCuts]
) -> content.EditionContent:
    """Write the edition: entries in the order of the proposal, empty sections left out.

    Args:
        proposal: what selection decided, by section key.
        identity: name, number and release.
        file: the publication's settings: its words, its sections and their titles.
        pictures: by a candidate's `image`; an article without an entry is shown without a picture.
    """
    zone = file.publication.zone
    release_at = identity.release_at.astimezone(zone)
    sections = tuple(
        content.EditionSection(s.key, s.kind, s.title, SECTION_KINDS[s.kind].section_note(s, release_at), entries)
        for s in file.sections
        if (entries := SECTION_KINDS[s.kind].write_entries(proposal.sections.get(s.key, ()), zone, pictures))
    )
    leading_first = sorted(sections, key=lambda s: not SECTION_KINDS[s.kind].leads_edition)
    headlines = [e.headline for s in leading_first for e in s.entries]
    sponsor = file.sponsor
    return content.EditionContent(
        name=identity.name,
        number=identity.number,
        subject=truncate_text(headlines[0], content.MAX_SUBJECT_LENGTH) if headlines else file.publication.name,
        preheader=compose_preheader(headlines[1:]),
        date=weekday_date(release_at),
        minutes=_reading_minutes(sections, file.publication.intro),
        intro=file.publication.intro,
        editor=file.publication.editor,
        sections=sections,
        sponsor=content.SponsorBlock(sponsor.name, sponsor.headline, sponsor.text, sponsor.url) if sponsor else None,
    )


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
    line = f"Also: {truncate_text(headlines[0], content.MAX_PREHEADER_LENGTH - len('Also: '))}"
    for other in headlines[1:3]:
        longer = f"{line}; {other}"
        if len(longer) > content.MAX_PREHEADER_LENGTH:
            break
        line = longer
    return line


def _reading_minutes(sections: tuple[content.EditionSection, ...], intro: str) -> int:
    texts = [intro, *(f"{e.headline} {e.summary}" for s in sections for e in s.entries)]
    return max(1, round(sum(len(t.split()) for t in texts) / WORDS_PER_MINUTE))
