"""The phrases of topics, which are parsed from lists and found in texts by their first two words."""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum
from itertools import compress, count

from digest.select.text_similarity import fold_plural, fold_text, split_tokens
from digest.select.word_rarity import WordTable

TOGETHER = " + "
_CACHED_WORDS = 50_000
_STEM_KEY = 3  # letters by which stems are indexed, so stems have at least as many


class TopicTier(Enum):
    """The strength of an entry; the value is its points in a category, in the title, and in the summary."""

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
    is_stem: bool  # its last word may continue: `cyber*`

    @property
    def is_plain_word(self) -> bool:
        """True if only its first word has to be checked."""
        return len(self.tokens) == 1 and not self.capitals_only

    @property
    def second_begins(self) -> str | None:
        """The start of its second word, empty if it has only one; None if only the first has to be checked."""
        return None if self.is_plain_word else "".join(self.tokens[1:2])

    def stands_at(self, text: "PlacedText", start: int) -> bool:
        """Return whether the phrase occurs in a text from the word with index `start` on."""
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
    """One entry of a topic's list: groups of phrases, from each of which an article must contain one."""

    topic_index: int
    tier: TopicTier
    groups: tuple[tuple[TopicPhrase, ...], ...]


@dataclass(frozen=True, slots=True)
class PlacedText:
    """A text of an article, split into words."""

    place: int  # index of a tier's values: 0 category, 1 title, 2 summary
    tokens: tuple[str, ...]  # its words as written
    is_shouted: bool  # all in upper case, so capitals have no meaning


class PhraseIndex:
    """Finds which of many phrases a text contains, by their first two words."""

    def __init__(self, phrases: Iterable[TopicPhrase]) -> None:
        """Index the phrases by their first word, or stems by their first letters."""
        self._whole: dict[str, list[TopicPhrase]] = defaultdict(list)
        self._stems: dict[str, list[TopicPhrase]] = defaultdict(list)  # single words that may continue
        for phrase in phrases:
            if phrase.is_stem and len(phrase.tokens) == 1:
                self._stems[phrase.tokens[0][:_STEM_KEY]].append(phrase)
            else:
                self._whole[phrase.tokens[0]].append(phrase)
        self._likely_phrases = WordTable(self._look_up_word, _CACHED_WORDS)

    def find_phrases(self, text: PlacedText) -> list[tuple[TopicPhrase, int]]:
        """Return each phrase that a text contains, with the index of its first word."""
        phrases = []
        likely_phrases = [*map(self._likely_phrases.__getitem__, text.tokens)]
        for start in compress(count(), likely_phrases):  # few words may begin a phrase
            following = "".join(map(_folded_words.__getitem__, text.tokens[start + 1 : start + 2]))
            phrases += [
                (phrase, start)
                for phrase, second in likely_phrases[start]
                if second is None or (following.startswith(second) and phrase.stands_at(text, start))
            ]
        return phrases

    def _look_up_word(self, token: str) -> tuple[tuple[TopicPhrase, str | None], ...]:
        """Return the phrases that a word may begin, each with `TopicPhrase.second_begins`."""
        first = _fold_word(token)
        whole, stems = self._whole.get(first, ()), self._stems.get(first[:_STEM_KEY], ())
        if not whole and not stems:
            return ()  # like most words, of which a week has 50,000
        phrases = (*whole, *(phrase for phrase in stems if first.startswith(phrase.tokens[0])))
        return tuple((phrase, phrase.second_begins) for phrase in phrases)


class TopicListReader:
    """Parses the lists of one topic; entries share equal phrases."""

    def __init__(self, topic_index: int) -> None:
        self._topic_index = topic_index
        self._known: dict[str, TopicPhrase | None] = {}  # None: it has no word

    def parse_entries(self, text: str, tier: TopicTier) -> Iterator[TopicEntry]:
        """Yield the entries of a list: `flood; RAT; cyber*; exploited, exploiting + flaw, bug`.

        An entry with a plus requires a word or phrase from each side.
        """
        parts = (" ".join(part.split()) for part in text.split(";"))
        for part in dict.fromkeys(parts):
            sides = part.split(TOGETHER)
            separator = "," if len(sides) > 1 else ";"
            groups = tuple(self.parse_phrases(side, separator) for side in sides)
            if all(groups):
                yield TopicEntry(self._topic_index, tier, groups)

    def parse_phrases(self, text: str, separator: str) -> tuple[TopicPhrase, ...]:
        """Return the phrases, including single words, between separators."""
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
    """Return a text, or its first `most` words, with its place in the article."""
    tokens = split_tokens(text)[:most]
    return PlacedText(place, tokens, is_shouted=len(tokens) > 1 and text.isupper())


def _fold_word(word: str) -> str:
    """Return a word in lower case, without possessive and plural endings."""
    return fold_plural(fold_text(word).removesuffix("'s"))


_folded_words = WordTable(_fold_word, _CACHED_WORDS)


def _is_in_capitals(word: str) -> bool:
    """Return whether a word is in upper case, apart from a possessive or plural ending."""
    return word.removesuffix("'s").removesuffix("\u2019s").rstrip("s").isupper()
