"""Topic phrases, which are parsed from lists and found in texts by their first two words."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import compress, count

from digest.select.text_similarity import fold_plural, fold_text, split_tokens
from digest.select.word_rarity import WordTable

TOGETHER = " + "
_CACHED_WORDS = 50_000
_STEM_KEY = 3  # number of letters by which stems are indexed; shorter stems aren't possible


class TopicTier(Enum):
    """The strength of an entry. Values are its points in a category, the title, and the summary."""

    STRONG = (1.5, 1.0, 0.5)
    IN_TITLE = (1.5, 1.0, 0.15)
    WEAK = (0.4, 0.3, 0.15)


@dataclass(frozen=True, slots=True, eq=False)
class TopicPhrase:
    """A phrase of one topic, shared by all entries that contain it."""

    text: str  # as listed
    topic_index: int
    tokens: tuple[str, ...]
    capitals_only: bool
    is_stem: bool  # True if the last word is a prefix: `cyber*`

    @property
    def is_plain_word(self) -> bool:
        """True if only the first word has to be checked."""
        return len(self.tokens) == 1 and not self.capitals_only

    @property
    def second_begins(self) -> str | None:
        """The beginning of the second word, or "" if the phrase has only one word.

        None if only the first word has to be checked.
        """
        return None if self.is_plain_word else "".join(self.tokens[1:2])

    def occurs_at(self, text: "PlacedText", start: int) -> bool:
        """Return True if the phrase occurs in a text at the word with index `start`."""
        written = text.tokens[start : start + len(self.tokens)]
        words = tuple(map(_folded_words.__getitem__, written))
        *begin, own_last = self.tokens
        if len(words) < len(self.tokens) or list(words[:-1]) != begin:
            return False
        last = words[-1]
        if last != own_last and not (self.is_stem and last.startswith(own_last)):
            return False
        return not self.capitals_only or (not text.is_shouted and all(map(_is_in_capitals, written)))


@dataclass(frozen=True, slots=True, eq=False)
class TopicEntry:
    """An entry in a topic's list. An article must contain a phrase from each of its groups."""

    topic_index: int
    tier: TopicTier
    groups: tuple[tuple[TopicPhrase, ...], ...]


@dataclass(frozen=True, slots=True)
class PlacedText:
    """A text of an article, split into words."""

    place: int  # index into a tier's values: 0 category, 1 title, 2 summary
    tokens: tuple[str, ...]  # the words as written
    is_shouted: bool  # True if all in upper case, so that capitals have no meaning


class PhraseIndex:
    """An index of phrases by their first two words, for finding the phrases that a text contains."""

    def __init__(self, phrases: Iterable[TopicPhrase]) -> None:
        """Index whole phrases by their first word, and stems by their first letters."""
        self._whole: dict[str, list[TopicPhrase]] = defaultdict(list)
        self._stems: dict[str, list[TopicPhrase]] = defaultdict(list)  # single words that are prefixes
        for phrase in phrases:
            if phrase.is_stem and len(phrase.tokens) == 1:
                self._stems[phrase.tokens[0][:_STEM_KEY]].append(phrase)
            else:
                self._whole[phrase.tokens[0]].append(phrase)
        self._likely_phrases = WordTable(self._look_up_word, _CACHED_WORDS)

    def find_phrases(self, text: PlacedText) -> list[tuple[TopicPhrase, int]]:
        """Return the phrases that a text contains, each with the index of its first word."""
        phrases = []
        likely_phrases = [*map(self._likely_phrases.__getitem__, text.tokens)]
        for start in compress(count(), likely_phrases):  # few words may start a phrase
            following = "".join(map(_folded_words.__getitem__, text.tokens[start + 1 : start + 2]))
            phrases += [
                (phrase, start)
                for phrase, second in likely_phrases[start]
                if second is None or (following.startswith(second) and phrase.occurs_at(text, start))
            ]
        return phrases

    def _look_up_word(self, token: str) -> tuple[tuple[TopicPhrase, str | None], ...]:
        """Return the phrases that may start with a word, each with its `second_begins`."""
        first = _fold_word(token)
        whole, stems = self._whole.get(first, ()), self._stems.get(first[:_STEM_KEY], ())
        if not whole and not stems:
            return ()  # true of most words, of which a week has 50,000
        phrases = (*whole, *(phrase for phrase in stems if first.startswith(phrase.tokens[0])))
        return tuple((phrase, phrase.second_begins) for phrase in phrases)


class TopicListReader:
    """A parser for the lists of one topic. Equal phrases are shared between entries."""

    def __init__(self, topic_index: int) -> None:
        self._topic_index = topic_index
        self._known: dict[str, TopicPhrase | None] = {}  # None for a text without words

    def parse_entries(self, text: str, tier: TopicTier) -> Iterator[TopicEntry]:
        """Yield the entries of a list such as `flood; RAT; cyber*; exploited, exploiting + flaw, bug`.

        An entry with a plus sign requires a word or phrase from each side.
        """
        parts = (" ".join(part.split()) for part in text.split(";"))
        for part in dict.fromkeys(parts):
            sides = part.split(TOGETHER)
            separator = "," if len(sides) > 1 else ";"
            groups = tuple(self.parse_phrases(side, separator) for side in sides)
            if all(groups):
                yield TopicEntry(self._topic_index, tier, groups)

    def parse_phrases(self, text: str, separator: str) -> tuple[TopicPhrase, ...]:
        """Return the phrases, or single words, between separators."""
        listed = (" ".join(part.split()) for part in text.split(separator))
        return tuple(phrase for text in listed if (phrase := self._parse_phrase(text)))

    def _parse_phrase(self, text: str) -> TopicPhrase | None:
        if text not in self._known:
            tokens = tuple(map(_folded_words.__getitem__, split_tokens(text.removesuffix("*"))))
            is_stem = text.endswith("*")
            phrase = TopicPhrase(text, self._topic_index, tokens, text.isupper(), is_stem)
            self._known[text] = phrase if tokens else None
        return self._known[text]


def split_text(place: int, text: str, most: int | None = None) -> PlacedText:
    """Split a text into words, keeping only the first `most`."""
    tokens = split_tokens(text)[:most]
    return PlacedText(place, tokens, is_shouted=len(tokens) > 1 and text.isupper())


def _fold_word(word: str) -> str:
    """Return a word in lower case, without possessive and plural endings."""
    return fold_plural(fold_text(word).removesuffix("'s"))


_folded_words = WordTable(_fold_word, _CACHED_WORDS)


def _is_in_capitals(word: str) -> bool:
    """Return True if a word is in upper case, apart from a possessive or plural ending."""
    return word.removesuffix("'s").removesuffix("\u2019s").rstrip("s").isupper()
