"""The lines of an email that are about all that's in it, for any choice of parts: the preheader and the minutes.

Each version of a preheader is a fragment of its own. The minutes follow from the words of the parts (`fragment_names`).
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from digest.edition.content.edition_content import (
    MAX_PREHEADER_LENGTH,
    EditionContent,
    EditionSection,
    EntryDate,
    LabeledBlock,
    RenderedFragment,
    SectionEntry,
    truncate_text,
)
from digest.edition.content.fragment_names import (
    ANY_PREHEADER,
    PREHEADER_PART,
    WHOLE_PREHEADER,
    count_minutes,
    list_fragment_keys,
    section_fragment_name,
)
from digest.edition.rendering.mail_layout import MailLayout, find_next_deadline, find_part_key, list_headlines
from subscribers.subscriber_language import SubscriberLanguage

Sections = Iterable[EditionSection]
MAX_TRIED_HEADLINES = 5  # of which a preheader names two
_SENTENCE_ENDS = (".", "?", "!", "…")


def list_preheaders(content: EditionContent, language: SubscriberLanguage, other: str) -> dict[str, str]:
    """Return the versions of the preheader, by their fragments, in the order of preference; none if an edition has no preheader.

    The edition's own is for emails that have all it names, or, if an editor wrote it, the whole edition. The others name headlines of
    one part each, and `other` is for emails without another headline than the subject's.
    """
    if not content.preheader:
        return {}
    preheaders = {_name_preheader_fragment(content, language): content.preheader}
    by_part: dict[str, list[str]] = {}
    for key, entry in list_headlines(content.sections)[1:]:
        by_part.setdefault(key, []).append(entry.headline)
    for key, headlines in by_part.items():
        line = compose_preheader(headlines, None, language)
        preheaders.setdefault(section_fragment_name([key], PREHEADER_PART), line)
    return {**preheaders, ANY_PREHEADER: other}


def _name_preheader_fragment(content: EditionContent, language: SubscriberLanguage) -> str:
    """Name the fragment of an edition's own preheader after the parts that it names."""
    others, deadline = list_headlines(content.sections)[1:], find_next_deadline(content.sections)
    headlines = [entry.headline for _, entry in others]
    if content.preheader != compose_preheader(headlines, deadline.when if deadline else None, language):
        return WHOLE_PREHEADER
    # The first headline is always there, but may be cut.
    tried = others[1:MAX_TRIED_HEADLINES]
    keys = {key for key, entry in tried if entry.headline in content.preheader}
    keys |= {key for key, _ in others[:1]}
    keys |= list_fragment_keys(deadline.fragment) if deadline else set()
    return section_fragment_name(keys, PREHEADER_PART)


def compose_preheader(headlines: Sequence[str], deadline: EntryDate | None, language: SubscriberLanguage) -> str:
    """Name what else the edition holds, never the subject again, in at most 90 characters: up to two headlines and the next deadline.

    The deadline has its room first. Of the headlines after the first, the earliest that fits as a whole is named.
    """
    due = ""
    if deadline:
        due = language.gettext("Next deadline: %(day)s", day=language.short_month_day(deadline.day))
    if not headlines:
        return due
    separator = language.pgettext("between headlines", "; ")
    opening, ending = language.gettext("Also: %(headlines)s", headlines=""), _join_sentences("", due, language)
    room = MAX_PREHEADER_LENGTH - len(opening) - len(ending)
    preheader = truncate_text(headlines[0], room)
    fitting = (f"{preheader}{separator}{headline}" for headline in headlines[1:MAX_TRIED_HEADLINES])
    preheader = next((longer for longer in fitting if len(longer) <= room), preheader)
    return _join_sentences(language.gettext("Also: %(headlines)s", headlines=preheader), due, language)


def _join_sentences(first: str, second: str, language: SubscriberLanguage) -> str:
    """Join two sentences of which the first, a headline, may have no full stop, and either may be empty."""
    if not second:
        return first
    if first.endswith(_SENTENCE_ENDS):
        return f"{first} {second}"
    return language.gettext("%(first)s. %(second)s", first=first, second=second)


def count_reading_minutes(intro: str, sections: Sections, blocks: Iterable[LabeledBlock]) -> int:
    """Return how many minutes it takes to read an edition, to the nearest one and at least one.

    What stands in the mail between masthead and foot counts, sources and dates too, but for the names of who else reported a story.
    """
    return count_minutes(_count_words(intro, sections, blocks).total())


def count_short_minutes(layout: MailLayout) -> int:
    """Return how many minutes it takes to read the short edition of all parts: the lead, the dates, and its lines."""
    entries = [layout.lead.entry] if layout.lead else []
    entries += [dated.entry for dated in layout.dates.entries] if layout.dates else []
    words = _count(*(text for entry in entries for text in _list_entry_texts(entry)))
    parts = layout.short.parts if layout.short else ()
    first_parts = (part for part in parts if ".lines-rest-" not in part.fragment)
    for line in (entry for part in first_parts for entry in part.section.entries):
        words += _count(line.headline, line.source, line.date)
    return count_minutes(words)


def write_word_counts(content: EditionContent) -> Iterator[RenderedFragment]:
    """Yield a fragment for each part of an edition, and one for the rest, named after its number of words."""
    for key, words in _count_words(content.intro, content.sections, content.blocks).items():
        part = f"words-{words}"
        yield RenderedFragment("words", section_fragment_name([key], part) if key else part, "")


def _count_words(intro: str, sections: Sections, blocks: Iterable[LabeledBlock]) -> Counter[str]:
    """Count the words by the keys of parts; those that are in every email have an empty key."""
    block_texts = (text for block in blocks for text in (block.name, block.headline, block.text))
    words = Counter({"": _count(intro, *block_texts)})
    for section in sections:
        words[find_part_key(section)] += _count(section.title, section.note)
        for entry in section.entries:
            words[find_part_key(section, entry)] += _count(*_list_entry_texts(entry))
    return words


def _count(*texts: str) -> int:
    return sum(len(text.split()) for text in texts)


def _list_entry_texts(entry: SectionEntry) -> Iterator[str]:
    """List what readers read of an entry."""
    yield from (entry.kicker, entry.headline, entry.summary, entry.source, entry.date)
    yield from (entry.note, entry.why, *entry.details)
    if entry.when:
        yield from (entry.when.label, entry.when.text)
    if entry.since:
        yield from (entry.since.news, entry.since.headline)
    for link in entry.related:
        yield from (link.text, link.note)
