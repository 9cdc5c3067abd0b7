"""The small decisions about words and boxes that the mail's templates ask for, as Jinja filters."""

import re
import textwrap
import unicodedata
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from markupsafe import Markup

from digest.edition.content import Entry, Picture

WIDTH = 72  # columns of the text part
NO_BREAK = "\N{NO-BREAK SPACE}"


def nb(text: str, most: int = 20) -> str:
    """Keep a lone short word off the last line: bind the last two words of a text of five or more.

    Words of more than `most` letters together stay free: bound, they could be wider than a phone's column.
    """
    words = text.split(" ")
    if len(words) < 5 or len(words[-1]) + len(words[-2]) > most:
        return text
    return " ".join(words[:-2]) + " " + words[-2] + NO_BREAK + words[-1]


def bound(text: str) -> str:
    """Keep a short text, such as a date, on one line."""
    return text.replace(" ", NO_BREAK) if len(text) <= 20 else text


def wrap(text: str) -> str:
    """Fold a text of the text part at 72 columns; a long address stays whole."""
    return textwrap.fill(text, WIDTH, break_long_words=False, break_on_hyphens=False)


def direction(text: str) -> str | None:
    """Give the writing direction of a text, by its first letter that has one (UAX #9, rules P2 and P3)."""
    for letter in text:
        kind = unicodedata.bidirectional(letter)
        if kind in {"R", "AL"}:
            return "rtl"
        if kind == "L":
            return "ltr"
    return None


def way(text: str, around: str) -> Markup:
    """Give a ` dir` attribute for a text that does not run as the page `around` it does, else nothing."""
    own = direction(text)
    return Markup(f' dir="{own}"') if own and own != around else Markup("")  # noqa: S704 - one of two constants


def fit(picture: Picture, width: int, height: int) -> tuple[int, int]:
    """Fit a picture into a box, in CSS pixels: its shape is kept and it is never made larger."""
    scale = min(1.0, width / max(picture.width, 1), height / max(picture.height, 1))
    return max(1, round(picture.width * scale)), max(1, round(picture.height * scale))


def unspoken(picture: Picture) -> Picture:
    """Give a picture without its description: beside a headline with the same link it only repeats."""
    return replace(picture, alt="")


def host(url: str) -> str:
    """Name a web address by its host, where a source has no name."""
    return (urlsplit(url).hostname or url).removeprefix("www.")


def credited(entry: Entry) -> bool:
    """Say whether the news is another's than the source's own."""
    return bool(entry.credit) and entry.credit.casefold() != entry.source.casefold()


def quiet(entry: Entry, kind: str) -> tuple[str, ...]:
    """Give the quiet lines under a list's headline; `kind` is the section's."""
    if kind in {"events", "opportunities", "products"} and entry.details:
        return entry.details
    if kind in {"events", "opportunities"} and entry.summary:
        return (entry.summary,)
    line = ", ".join(part for part in (entry.source, entry.date if kind == "topics" else "") if part)
    if credited(entry):
        line = " · ".join(part for part in (line, f"Source: {entry.credit}") if part)
    return (line,) if line else ()


def facts(entry: Entry) -> str:
    """Put the topic, source, date and further publishers of a story into one line of the text part."""
    parts = [
        entry.kicker,
        ", ".join(part for part in (entry.source, entry.date) if part),
        f"Source: {entry.credit}" if credited(entry) else "",
        f"Also {listed([link.text for link in entry.also], entry.more)}" if entry.also else "",
    ]
    return " ".join(f"{part}." for part in parts if part)


def listed(names: list[str], more: int = 0) -> str:
    """Join names as a sentence does: "A", "A and B", "A, B and 4 more"."""
    words = [*names, f"{more} more"] if more else names
    return " and ".join(part for part in (", ".join(words[:-1]), words[-1]) if part)


def when(entry: Entry) -> str:
    """Give what stands before the headline of an event or an opportunity in the text part."""
    if entry.closes:
        return f"Closes {entry.closes}: "
    return f"{entry.month} {entry.day}: " if entry.day else ""


def by_topic(entries: Iterable[Entry]) -> list[tuple[str, list[Entry]]]:
    """Group entries by topic, both in the order in which they come."""
    groups: dict[str, list[Entry]] = {}
    for entry in entries:
        groups.setdefault(entry.kicker or "Other news", []).append(entry)
    return list(groups.items())


def lean(css: str, way_of_page: str) -> Markup:
    """Strip comments and line breaks from a style sheet of ours, and mirror it for right-to-left pages."""
    css = re.sub(r"/\*.*?\*/", "", css, flags=re.DOTALL)
    css = re.sub(r"\n+", "\n", css).strip()
    if way_of_page == "rtl":
        swap = {"left": "right", "right": "left"}
        css = re.sub(r"\b(left|right)\b", lambda found: swap[found[0]], css)
    return Markup(css)  # noqa: S704 - the operator's own file, not the world's text


FILTERS: dict[str, Callable[..., Any]] = {
    "bound": bound,
    "by_topic": by_topic,
    "credited": credited,
    "facts": facts,
    "fit": fit,
    "host": host,
    "lean": lean,
    "nb": nb,
    "quiet": quiet,
    "unspoken": unspoken,
    "way": way,
    "when": when,
    "wrap": wrap,
}


def one_line(text: str) -> str:
    """Write the lines of a postal address as one, with commas between."""
    return ", ".join(part.strip(" ,") for part in text.splitlines() if part.strip(" ,"))
