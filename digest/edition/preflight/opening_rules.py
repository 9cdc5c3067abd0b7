"""Rules for what inboxes show of an email: the subject, the preheader, and the first visible sentence."""

import re
from collections.abc import Iterator
from itertools import product
from typing import TYPE_CHECKING

from digest.collect.texts.written_times import MONTH_NAMES
from digest.edition.content.edition_content import EditionContent
from digest.edition.preflight.rule_registry import (
    INTRO_PLACE,
    PREHEADER_PLACE,
    SUBJECT_PLACE,
    PreflightFinding,
    PreflightInput,
    preflight_rule,
    warning_finding,
)
from digest.edition.rendering.inline_markup import strip_inline_markup
from digest.edition.rendering.mail_layout import find_next_deadline
from digest.select.text_similarity import find_capitalized_words, significant_words
from digest.store.models import BREAKING_NEWS_NUMBER
from subscribers.english_text import join_words

if TYPE_CHECKING:
    from lxml.etree import _Element

_HEADINGS = frozenset({"h1", "h2", "h3", "h4", "h5", "h6"})
_BLOCK_NAMES = "article blockquote br div hr li ol p table td tr ul"
_BREAKING_TAGS = _HEADINGS.union(_BLOCK_NAMES.split())
_UNSEEN_TAGS = frozenset({"script", "style", "template", "title"})
_WORD = re.compile(r"\w[\w'’.-]*\w|\w")
# Capitalized words that aren't names: at the start of a sentence, and of dates.
_NO_NAME = re.compile(
    rf"(?:^|(?<=[.!?…]\s))\w|\b(?:{MONTH_NAMES}(?=\.?\s\d)|(?:mon|tues|wednes|thurs|fri|satur|sun)day\b)", re.IGNORECASE
)
_PHRASE_END = re.compile(r"(?:[,;:.!?…|]\s|\s[\u2013-]\s|—)(?:and\s|plus\s)?|\s(?:and|plus)\s", re.IGNORECASE)
_MIN_PHRASE_WORDS = 2  # a single word may belong to the phrase before it, as in "Lahaina, Hawaii"
_COMPARED_WORDS = 5  # words at the start of a text; enough to recognize the intro
_MAX_LABEL_WORDS = 2  # maximum number of words before the number in a masthead, such as "No." or "Issue"


@preflight_rule("first-sentence")
def check_first_sentence_is_news(examined: PreflightInput) -> Iterator[PreflightFinding]:
    """The first sentence below the masthead is this edition's news, not "View in browser," the subject, or last week's intro."""
    line = find_first_visible_line(examined)
    if not _words(line):
        yield warning_finding(
            "There's no text below the masthead for inboxes to preview.", "Write an intro or add a story."
        )
    elif not _is_news(line, examined.content):
        yield warning_finding(
            f"The first text that subscribers and email apps see is “{line},” which isn't from one of this edition's stories.",
            "Write an intro, feature a second story, or move the line down in your custom template.",
        )
    elif fault := _find_repetition(line, examined):
        yield warning_finding(f"The first sentence, “{line},” {fault}.", "Write a different first sentence.")


@preflight_rule("opening-names")
def check_opening_names_stories(examined: PreflightInput) -> Iterator[PreflightFinding]:
    """The subject, preheader, and intro are about stories that are in the edition, not one that was removed."""
    content = examined.content
    mentioned = set(significant_words(" ".join(_list_story_texts(examined))))
    for place, text in ((SUBJECT_PLACE, content.subject), (PREHEADER_PLACE, content.preheader)):
        fault = _find_missing_names(text, mentioned) or _find_removed_story(text, mentioned, examined)
        if fault := fault or _find_removed_names(text, mentioned, examined):
            yield warning_finding(fault, f"Write another {place.lower()}, or add the story.", place)
    if fault := _find_removed_names(strip_inline_markup(content.intro), mentioned, examined):
        yield warning_finding(fault, "Change the intro, or add the story.", INTRO_PLACE)


def _list_story_texts(examined: PreflightInput) -> Iterator[str]:
    """Yield the texts of stories and blocks, without the subject, preheader, and intro, which may repeat each other."""
    content = examined.content
    yield from (examined.file.publication.name, content.editor)
    for section in content.sections:
        yield section.title
        for entry in section.entries:
            links = (*entry.also, *entry.related)
            yield from (entry.headline, entry.kicker, entry.summary, entry.note, entry.why, entry.source, entry.credit)
            yield from (text for link in links for text in (link.text, link.headline))
            yield from entry.details
            yield from (day.text for day in (entry.when, entry.due) if day)
            yield from (entry.since.headline, entry.since.news) if entry.since else ()
    for block in content.blocks:
        yield from (block.headline, block.name, block.text)


def _find_removed_names(text: str, mentioned: set[str], examined: PreflightInput) -> str:
    """Return a sentence about a name that a text shares only with a removed story's headline, or "" if there's none.

    Other names are the writer's choice, such as that of a holiday.
    """
    unmentioned = set(significant_words(text)) - mentioned
    for headline in examined.removed_headlines:
        names = _find_names(text).union(_find_names(headline)).intersection(unmentioned, significant_words(headline))
        if names:
            found = (word for word in _WORD.findall(text) if names.intersection(significant_words(word)))
            words = [f"“{word}”" for word in dict.fromkeys(found)]
            return f"No story mentions {join_words(words, conjunction='or')}. “{headline}” was removed."
    return ""


def _find_names(text: str) -> frozenset[str]:
    return find_capitalized_words([_NO_NAME.sub(lambda word: word[0].lower(), text)])


def _find_missing_names(text: str, mentioned: set[str]) -> str:
    """Return a sentence with the names in a text, or in one of its phrases, if no story mentions any of them.

    Return "" if there's no such phrase.
    """
    all_names = _find_names(text)
    for phrase in (text, *_list_phrases(text)):
        names = all_names.intersection(significant_words(phrase))
        if names and names.isdisjoint(mentioned):
            words = [f"“{word}”" for word in _WORD.findall(phrase) if names.intersection(significant_words(word))]
            return f"No story mentions {join_words(words, conjunction='or')}."
    return ""


def _find_removed_story(text: str, mentioned: set[str], examined: PreflightInput) -> str:
    """Return a sentence about a phrase that shares words with a removed story's headline, or "" if there's none.

    The stories have to be without at least one of these words.
    """
    for phrase, headline in product(_list_phrases(text), examined.removed_headlines):
        shared = set(significant_words(phrase)).intersection(significant_words(headline))
        if len(shared) >= _MIN_PHRASE_WORDS and not shared <= mentioned:
            return f"“{phrase}” seems to be about “{headline}”, which was removed."
    return ""


def _list_phrases(text: str) -> list[str]:
    """Return the phrases of a text, such as the items of a list, without those of a single word."""
    phrases = (phrase.strip(" .!?…") for phrase in _PHRASE_END.split(text))
    return [phrase for phrase in phrases if len(list(significant_words(phrase))) >= _MIN_PHRASE_WORDS]


def _is_news(line: str, content: EditionContent) -> bool:
    words = _words(line)
    return words in _list_headlines(content) or _says_deadline(words, content) or _opens_intro(words, content)


def _find_repetition(line: str, examined: PreflightInput) -> str:
    """Return a description of the text that a line repeats, or "" if it doesn't repeat any."""
    content, before = examined.content, examined.previous_edition
    sentence = _words(_first_sentence(line))
    # The subject is the lead's headline unless an editor changed it, so the list of headlines may
    # start with it.
    if sentence == _words(content.subject) and _words(line) not in _list_headlines(content):
        return "repeats the subject"
    if sentence == _words(content.preheader):
        return "repeats the preheader"
    if before and sentence in {_words(before.first_headline), _words(_first_sentence(before.intro))}:
        return f"is the same as in No. {before.number}"
    return ""


def _list_headlines(content: EditionContent) -> set[tuple[str, ...]]:
    return {_words(entry.headline) for section in content.sections for entry in section.entries}


def find_first_visible_line(examined: PreflightInput) -> str:
    """Return the first visible line below the masthead and labels, or "" if there's none.

    Labels are, for example, "In this issue" or a topic.
    """
    headlines, publication_name = _list_headlines(examined.content), examined.file.publication.name
    topics = {_words(entry.kicker) for section in examined.content.sections for entry in section.entries}
    for tag, line in _list_seen_lines(examined.tree):
        words = _words(line)
        is_label = words in topics or (tag in _HEADINGS and words not in headlines)
        if words and not is_label and words != _words(publication_name) and not _is_issue_line(words, examined):
            return line
    return ""


def _list_seen_lines(tree: "_Element") -> Iterator[tuple[str, str]]:
    """Yield the visible lines of text, each with the tag of its block."""
    gathered: list[str] = []

    def take_line() -> str:
        line = " ".join("".join(gathered).split())
        gathered.clear()
        return line

    def walk(element: "_Element", block: str) -> Iterator[tuple[str, str]]:
        tag = element.tag
        if isinstance(tag, str) and tag not in _UNSEEN_TAGS and not _is_hidden(element):
            breaks = tag in _BREAKING_TAGS
            inner = tag if breaks else block
            if breaks and (line := take_line()):
                yield block, line
            gathered.append(element.text or "")
            for child in element:
                yield from walk(child, inner)
            if breaks and (line := take_line()):
                yield inner, line
        gathered.append(element.tail or "")

    yield from walk(tree, "")


def _is_hidden(element: "_Element") -> bool:
    style = str(element.get("style") or "").lower()
    style = "".join(style.split())
    return "hidden" in element.attrib or "display:none" in style or element.get("aria-hidden") == "true"


def _is_issue_line(words: tuple[str, ...], examined: PreflightInput) -> bool:
    """Return True if a line contains only the issue's number and date, as in a masthead.

    Breaking news has words in place of a number.
    """
    content = examined.content
    is_numbered = content.number != BREAKING_NEWS_NUMBER
    issue = {str(content.number)} if is_numbered else {*_words(examined.issue_heading)}
    date_words = _words(content.date)
    shown_words = (word for word in words if word not in issue)
    # The month may be abbreviated, as in "Nov".
    other_words = [word for word in shown_words if not any(part.startswith(word) for part in date_words)]
    return issue <= set(words) and len(other_words) <= _MAX_LABEL_WORDS * is_numbered


def _says_deadline(words: tuple[str, ...], content: EditionContent) -> bool:
    deadline = find_next_deadline(content.sections)
    return deadline is not None and set(_words(deadline.when.text)) <= set(words)


def _opens_intro(words: tuple[str, ...], content: EditionContent) -> bool:
    return bool(words) and _words(strip_inline_markup(content.intro))[:_COMPARED_WORDS] == words[:_COMPARED_WORDS]


def _first_sentence(text: str) -> str:
    return re.split(r"(?<=[.!?…])\s", text.strip(), maxsplit=1)[0]


def _words(text: str) -> tuple[str, ...]:
    return tuple(re.findall(r"\w+", text.casefold()))
