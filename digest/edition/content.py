"""What an edition says, ready for the templates: no decision is left to them but loops and ifs.

It is stored as JSON in `Edition.content`, is what an editor changes, and is all that rendering reads.
"""

from dataclasses import asdict, dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture of ours: `hash` names it under `/media/`; width and height in CSS pixels as shown at most."""

    hash: str
    width: int
    height: int
    alt: str
    credit: str = ""


@dataclass(frozen=True, slots=True)
class Link:
    """A named link, with the quiet words after it (a date, "CISA, Nov 17")."""

    text: str
    url: str
    note: str = ""


@dataclass(frozen=True, slots=True)
class Entry:
    """One entry of a section. Which fields are used depends on the section's kind; none is HTML."""

    headline: str
    url: str
    kicker: str = ""  # the topic
    summary: str = ""
    source: str = ""  # "Read at SOURCE"
    credit: str = ""  # whose news it is, when not the source's own ("INTERPOL")
    date: str = ""  # "Nov 18"
    why: str = ""  # "seven sources carried it…"
    also: tuple[Link, ...] = ()  # the first two publishers
    more: int = 0  # how many further publishers, behind the web copy
    related: tuple[Link, ...] = ()
    picture: Picture | None = None
    month: str = ""  # events: "Dec"
    day: str = ""  # events: "3"
    details: tuple[str, ...] = ()  # events: place, price; products: maker
    closes: str = ""  # opportunities: "Dec 4"


@dataclass(frozen=True, slots=True)
class Section:
    """One block of the edition; a section without entries is not made."""

    key: str
    kind: str  # settings.SectionKind
    title: str
    note: str
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class SponsorBlock:
    """The one paid block, always labelled."""

    name: str
    headline: str
    text: str
    url: str


@dataclass(frozen=True, slots=True)
class Content:
    """A whole edition."""

    name: str  # 2026-W47
    number: int
    subject: str
    preheader: str
    date: str  # "Friday, November 20, 2026"
    minutes: int  # reading time
    intro: str
    editor: str
    sections: tuple[Section, ...]
    sponsor: SponsorBlock | None = None

    def as_json(self) -> dict[str, Any]:
        """Give the plain form that is stored."""
        return asdict(self)

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> "Content":
        """Read the plain form back; the inverse of `as_json`, also after a trip through JSON."""
        sponsor = data["sponsor"]
        return cls(
            **{k: v for k, v in data.items() if k not in {"sections", "sponsor"}},
            sections=tuple(_section(s) for s in data["sections"]),
            sponsor=SponsorBlock(**sponsor) if sponsor else None,
        )


def _section(data: dict[str, Any]) -> Section:
    return Section(**(data | {"entries": tuple(_entry(e) for e in data["entries"])}))


def _entry(data: dict[str, Any]) -> Entry:
    picture = data["picture"]
    return Entry(
        **(
            data
            | {
                "also": tuple(Link(**x) for x in data["also"]),
                "related": tuple(Link(**x) for x in data["related"]),
                "details": tuple(data["details"]),
                "picture": Picture(**picture) if picture else None,
            }
        )
    )


@dataclass(frozen=True, slots=True)
class Piece:
    """One rendered fragment before it is stored: `kind` is html, text or web."""

    kind: str
    name: str
    body: str
