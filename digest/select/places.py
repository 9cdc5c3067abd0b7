"""The countries and states that a text names. Places are never guessed.

Names match as whole words in their exact case ("US" is a country, "us" isn't), and the longest name
wins ("New Mexico" isn't Mexico). Countries and states are those of ISO 3166. `places.tsv` adds
everyday names, nationalities, and cities.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib import resources
from itertools import chain
from typing import NamedTuple

import pycountry

from digest.select.selection_types import CandidateArticle, Story, StoryGeography
from digest.select.text_similarity import find_capitalized_words, split_tokens

_POSSESSIVES = ("'s", "\u2019s")
LOCAL_SHARE = 0.5  # proximity of an article that names a place in the home country but nothing national
_MIN_SHARE = 1 / 3  # share of the articles that must name a place for the story to be located there


@dataclass(frozen=True, slots=True)
class PlaceName:
    """A name split into words, and what it names: a place, as ISO 3166 codes, or a home agency."""

    tokens: tuple[str, ...]
    country: str = ""  # "US", or empty for a name that only hides the shorter names within it
    state: str = ""  # "US-FL"


class ArticlePlaces(NamedTuple):
    """The places that an article is about, as ISO 3166 codes.

    `countries` has the countries it names, and `title_states` the home country's states in its title.
    `names` has the words that it always capitalizes; it's empty unless the article names such a state.
    """

    countries: frozenset[str] = frozenset()
    title_states: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class PlaceFinder:
    """All place names, indexed by their first word, longest name first."""

    home_country: str
    names_by_first_word: Mapping[str, tuple[PlaceName, ...]] = field(repr=False)
    agencies: frozenset[tuple[str, ...]]  # the home agencies' names, split into words

    def find_names(self, *texts: str) -> Iterator[PlaceName]:
        """Yield the places and home agencies named in the texts, in order."""
        tokens = [*chain.from_iterable(map(_split_names, texts))]
        if self.names_by_first_word.keys().isdisjoint(tokens):  # cheap check that rules out most texts
            return
        end = 0  # end of the previous name, so that names don't overlap
        for start in [n for n, token in enumerate(tokens) if token in self.names_by_first_word]:
            for name in self.names_by_first_word[tokens[start]] if start >= end else ():
                if tuple(tokens[start : start + len(name.tokens)]) == name.tokens:
                    yield name
                    end = start + len(name.tokens)
                    break

    def locate_article(self, article: CandidateArticle) -> frozenset[PlaceName]:
        """Return the places and home agencies that an article names.

        The name of an official source counts, too.
        """
        publisher = article.publisher if article.primary else ""
        return frozenset(self.find_names(article.title, article.summary, publisher))

    def list_places(self, article: CandidateArticle) -> ArticlePlaces:
        """Return the countries that an article names and the states in its title.

        States in the summary don't count, because summaries mention other states in passing.
        """
        located = self.locate_article(article)
        countries = frozenset(name.country for name in located if name.country)
        if not any(name.state and name.country == self.home_country for name in located):
            return ArticlePlaces(countries)
        states = (name.state for name in self.find_names(article.title) if name.country == self.home_country)
        names = find_capitalized_words((article.title, article.summary))
        return ArticlePlaces(countries, frozenset(filter(None, states)), names)

    def locate_story(self, story: Story) -> StoryGeography:
        """Return the places named by a story's lead or by at least a third of its articles, most frequent first."""
        located = [self.locate_article(a) for a in story.members]
        if not any(located):
            return StoryGeography()
        at_home = sum(self._closeness(names) for names in located)
        named_at_home = ([n for n in names if n.country == self.home_country] for names in located)
        return StoryGeography(
            countries=_most_named([{n.country for n in names if n.country} for names in located]),
            states=_most_named([{n.state for n in names if n.state} for names in named_at_home]),
            home_share=at_home / len(located),
        )

    def _closeness(self, names: frozenset[PlaceName]) -> float:
        """Return how close an article is to the home country.

        The result is 1 if it names the country or an agency, `LOCAL_SHARE` if it names only places
        there, and 0 if it names none of these.
        """
        at_home = [name for name in names if name.country == self.home_country]
        if not at_home:
            return 0.0
        return LOCAL_SHARE if all(name.state for name in at_home) else 1.0


def _most_named(places: Sequence[set[str]]) -> tuple[str, ...]:
    """Return the places in the first set or in at least a third of all sets, most frequent first, then by name."""
    counts = Counter(chain.from_iterable(places))
    least = _MIN_SHARE * len(places)
    frequent = {place for place, count in counts.items() if count >= least}
    most_frequent = sorted(frequent | places[0])
    return tuple(sorted(most_frequent, key=counts.__getitem__, reverse=True))


def _split_names(text: str) -> Sequence[str]:
    """Return the words of a text, with possessive endings removed."""
    tokens = split_tokens(text)
    if not any(ending in text for ending in _POSSESSIVES):  # true of most texts
        return tokens
    return [token[:-2] if token.endswith(_POSSESSIVES) else token for token in tokens]


@cache
def compile_place_rules(home_country: str, home_agencies: tuple[str, ...]) -> PlaceFinder:
    """Return the rules for a home country (an ISO 3166-1 alpha-2 code) and its agencies' names."""
    by_tokens: dict[tuple[str, ...], PlaceName] = {}
    for name, country, state in _list_names(home_country, home_agencies):
        tokens = tuple(_split_names(name))
        existing_name = by_tokens.get(tokens)
        if state or existing_name is None or existing_name.country != country:
            by_tokens[tokens] = PlaceName(tokens, country, state)
    by_first: dict[str, list[PlaceName]] = defaultdict(list)
    for tokens in sorted(by_tokens, key=lambda t: (-len(t), t)):
        by_first[tokens[0]].append(by_tokens[tokens])
    names_by_first_word = {first: tuple(names) for first, names in by_first.items()}
    return PlaceFinder(home_country, names_by_first_word, frozenset(tuple(_split_names(a)) for a in home_agencies))


def _list_names(home_country: str, home_agencies: Iterable[str]) -> Iterator[tuple[str, str, str]]:
    """Yield the known names as (name, country, state).

    If two countries share a name, the last one applies.
    """
    for listed in pycountry.countries:
        yield listed.name.split(",")[0], listed.alpha_2, ""
        if common := getattr(listed, "common_name", ""):
            yield common, listed.alpha_2, ""
    for division in pycountry.subdivisions:
        if division.country_code == home_country:
            yield division.name.split(",")[0], home_country, division.code
    for line in resources.files("digest").joinpath("places.tsv").read_text("utf-8").splitlines():
        if line and not line.startswith("#"):
            yield from _list_everyday_names(*line.split("\t"))
    for agency in home_agencies:
        yield agency, home_country, ""


def _list_everyday_names(name: str, country: str = "", state: str = "") -> Iterator[tuple[str, str, str]]:
    code = f"{country}-{state}" if state else ""
    yield name, country, code
    yield f"{name}s", country, code
