"""What a rule is, what it looks at, and how all are run."""

import email
import email.policy
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from email.message import EmailMessage
from enum import StrEnum
from functools import cached_property

import lxml.html
from lxml.etree import _Element

from digest.collect.fetched import Getter
from digest.edition.content import Content
from digest.settings import File


class Level(StrEnum):
    """An error stops approval; a warning is shown to who approves."""

    ERROR = "error"
    WARNING = "warning"


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that a rule found: what is wrong, where, and what to do."""

    rule: str
    level: Level
    message: str
    where: str = ""


@dataclass(frozen=True, slots=True)
class PictureFacts:
    """What is known of a picture of ours: MIME type, size in bytes, width and height in pixels."""

    content_type: str
    size: int
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Sent:
    """A story that went out in an earlier edition."""

    edition: str
    url: str
    title: str


@dataclass(frozen=True)
class Examined:
    """All that preflight looks at. `message` is the final bytes for one reader.

    `getter` is set when links may be tried online; `pictures` holds the facts of `/media/` pictures by hash.
    """

    message: bytes
    content: Content
    file: File
    base: str
    pictures: Mapping[str, PictureFacts] = field(default_factory=dict)
    earlier: tuple[Sent, ...] = ()
    held_because: str = ""
    getter: Getter | None = None

    @cached_property
    def parsed(self) -> EmailMessage:
        """The message as a mail program reads it."""
        return email.message_from_bytes(self.message, policy=email.policy.default)

    def _part(self, kind: str) -> str:
        for part in self.parsed.walk():
            if part.get_content_type() == kind:
                return str(part.get_content())
        return ""

    @cached_property
    def html(self) -> str:
        """The HTML part, decoded; empty when there is none."""
        return self._part("text/html")

    @cached_property
    def text(self) -> str:
        """The text part, decoded; empty when there is none."""
        return self._part("text/plain")

    @cached_property
    def tree(self) -> _Element:
        """The HTML part as a tree."""
        return lxml.html.document_fromstring(self.html or "<html><body></body></html>")

    @cached_property
    def links(self) -> tuple[str, ...]:
        """Every `href` of the HTML part, in order, each once."""
        return tuple(
            dict.fromkeys(str(a.get("href") or "") for a in self.tree.iter("a") if "href" in a.attrib)
        )


Look = Callable[[Examined], Iterator[Finding]]


@dataclass(frozen=True, slots=True)
class Rule:
    """A named rule; `says` is its one line in the documentation and in `digest check --rules`."""

    name: str
    says: str
    look: Look


RULES: dict[str, Rule] = {}


def rule(name: str, says: str) -> Callable[[Look], Look]:
    """Register a function as the rule `name`."""

    def register(look: Look) -> Look:
        if name in RULES:
            raise ValueError(f"two rules are called {name}")
        RULES[name] = Rule(name, says, look)
        return look

    return register


def check(examined: Examined) -> tuple[Finding, ...]:
    """Run every rule; errors come first, then in the order of the rules."""
    found = [finding for r in RULES.values() for finding in r.look(examined)]
    return tuple(sorted(found, key=lambda f: f.level != Level.ERROR))


def error(name: str, message: str, where: str = "") -> Finding:
    """Make a finding that stops approval."""
    return Finding(name, Level.ERROR, message, where)


def warning(name: str, message: str, where: str = "") -> Finding:
    """Make a finding that is only shown."""
    return Finding(name, Level.WARNING, message, where)
