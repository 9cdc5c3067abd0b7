"""The lines of an email that depend on all of its content: the preheader and the reading time.

They fit any choice of parts. Each version of a preheader is a separate fragment. The reading time
is based on the number of words in each part (`fragment_names`).
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
MAX_TRIED_HEADLINES = 5  # number of headlines to try; a preheader has at most two
_SENTENCE_ENDS = (".", "?", "!", "…")


def list_preheaders(content: EditionContent, language: SubscriberLanguage, other: str) -> dict[str, str]:
    """Return the versions of the preheader by fragment name, in order of preference.

    The edition's own preheader is for emails with everything it mentions or, if an editor wrote it,
    for the whole edition. The others have headlines from one part each. `other` is for emails with
    no headline besides the subject's. If the edition has no preheader, the result is empty.
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
    """Return the fragment name of an edition's own preheader, which encodes the parts that the preheader mentions."""
    others, deadline = list_headlines(content.sections)[1:], find_next_deadline(content.sections)
    headlines = [entry.headline for _, entry in others]
    if content.preheader != compose_preheader(headlines, deadline.when if deadline else None, language):
        return WHOLE_PREHEADER
    # The first headline is always included, but may be truncated.
    tried = others[1:MAX_TRIED_HEADLINES]
    keys = {key for key, entry in tried if entry.headline in content.preheader}
    keys |= {key for key, _ in others[:1]}
    keys |= list_fragment_keys(deadline.fragment) if deadline else set()
    return section_fragment_name(keys, PREHEADER_PART)


def compose_preheader(headlines: Sequence[str], deadline: EntryDate | None, language: SubscriberLanguage) -> str:
    """Return a preheader of at most 90 characters, with up to two headlines and the next deadline.

    The first headline is truncated if it doesn't fit next to the deadline. Of the following four,
    the first that fits completely is added. Without headlines, the preheader is only the deadline.
    Without either, it's empty.
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
    """Join two sentences, either of which may be empty.

    The first one is a headline, which may lack a period.
    """
    if not second:
        return first
    if first.endswith(_SENTENCE_ENDS):
        return f"{first} {second}"
    return language.gettext("%(first)s. %(second)s", first=first, second=second)


def count_reading_minutes(intro: str, sections: Sections, blocks: Iterable[LabeledBlock]) -> int:
    """Return the number of minutes needed to read an edition, rounded, but at least 1.

    Everything between the masthead and the footer counts, including sources and dates, except for
    the names of other publishers that reported a story.
    """
    return count_minutes(_count_words(intro, sections, blocks).total())


def count_short_minutes(layout: MailLayout) -> int:
    """Return the number of minutes needed to read the whole short edition: the lead, the dates, and its lines."""
    entries = [layout.lead.entry] if layout.lead else []
    entries += [dated.entry for dated in layout.dates.entries] if layout.dates else []
    words = _count(*(text for entry in entries for text in _list_entry_texts(entry)))
    parts = layout.short.parts if layout.short else ()
    first_parts = (part for part in parts if ".lines-rest-" not in part.fragment)
    for line in (entry for part in first_parts for entry in part.section.entries):
        words += _count(line.headline, line.source, line.date)
    return count_minutes(words)


def write_word_counts(content: EditionContent) -> Iterator[RenderedFragment]:
    """Yield a fragment named after its word count for each part of an edition, and one for everything else."""
    for key, words in _count_words(content.intro, content.sections, content.blocks).items():
        part = f"words-{words}"
        yield RenderedFragment("words", section_fragment_name([key], part) if key else part, "")


def _count_words(intro: str, sections: Sections, blocks: Iterable[LabeledBlock]) -> Counter[str]:
    """Return the number of words by part key. Text that's in all emails has the key ""."""
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
    """Yield those texts of an entry that readers see."""
    yield from (entry.kicker, entry.headline, entry.summary, entry.source, entry.date)
    yield from (entry.note, entry.why, *entry.details)
    if entry.when:
        yield from (entry.when.label, entry.when.text)
    if entry.since:
        yield from (entry.since.news, entry.since.headline)
    for link in entry.related:
        yield from (link.text, link.note)
