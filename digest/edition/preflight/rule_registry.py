"""Preflight rules: their declaration, their input, and running them all."""

import email
import email.policy
import re
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from email.message import EmailMessage
from enum import StrEnum
from functools import cached_property
from operator import attrgetter
from typing import TYPE_CHECKING

from digest.collect.fetch.result import ContentFetcher
from digest.collect.visits.page_check import PageCheckResult
from digest.edition.content.edition_content import EditionContent
from digest.edition.content.mailable_edition import FragmentKind
from digest.edition.content.placeholders import SlottedText
from digest.settings import SettingsFileContent, is_local_url

if TYPE_CHECKING:
    from lxml.etree import _Element


class FindingLevel(StrEnum):
    """An error prevents approval. A warning is shown to approvers."""

    ERROR = "error"
    WARNING = "warning"


# Where a finding is, if it is about the head of the mail; else it is named by its section's title.
HEAD_PLACES = SUBJECT_PLACE, PREHEADER_PLACE, INTRO_PLACE = "Subject", "Preheader", "Intro"


@dataclass(frozen=True, slots=True)
class PreflightFinding:
    """A rule's result: what is wrong, what to do, and where. `is_for_admins` if editors can't fix it.

    Approvers must tick a box for one with `must_be_confirmed`.
    """

    rule: str
    level: FindingLevel
    message: str
    remedy: str = ""
    where: str = ""
    is_for_admins: bool = False
    must_be_confirmed: bool = False

    @property
    def sentence(self) -> str:
        """What is wrong, and what to do."""
        return f"{self.message} {self.remedy}".strip()


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """What is known of a picture of ours: MIME type, and size in bytes."""

    content_type: str
    size: int


@dataclass(frozen=True, slots=True)
class SentStory:
    """A story that went out in an earlier edition, by what people call that: "No. 146"."""

    edition: str
    url: str


@dataclass(frozen=True, slots=True)
class PreviousEdition:
    """The edition that went out before: its number, its intro, and the headline that its mail began with."""

    number: int
    intro: str
    first_headline: str = ""


@dataclass(frozen=True)
class PreflightInput:
    """All that preflight looks at. `message` is the final bytes for one subscriber.

    `parts` are the full and the short edition, as HTML and as text, before the slots are filled.

    `send_day` is the day on which the edition goes out, as a masthead writes it; empty where it has gone.
    `fetcher` is set when links may be tried online; `pictures` holds the facts of `/media/` pictures by hash. `goes_into_files` is
    whether all mail is written into files, as the settings stand. `sending_days` is over how many days the limits of the settings spread
    it, to so many `readers`. `withdrawn` are the linked articles that visitors can't read anymore, each with the reason; `own_pages` is what
    visiting the own site's links gave, empty where nobody asked for that.
    """

    message: bytes
    parts: Mapping[FragmentKind, SlottedText]
    content: EditionContent
    file: SettingsFileContent
    base: str
    pictures: Mapping[str, ImageFacts] = field(default_factory=dict)
    sent_stories: tuple[SentStory, ...] = ()
    previous_edition: PreviousEdition | None = None
    chosen_urls: frozenset[str] = frozenset()  # of stories that editors placed at the desk
    issue_heading: str = ""  # as the masthead writes it
    incomplete_reason: str = ""
    send_day: str = ""
    goes_into_files: bool = False
    sending_days: int = 1
    subscribers: int = 0
    fetcher: ContentFetcher | None = None
    withdrawn: Mapping[str, str] = field(default_factory=dict)
    own_pages: Mapping[str, PageCheckResult] = field(default_factory=dict)
    template_mistakes: tuple[str, ...] = ()  # in the operator's own templates
    markup_mistakes: tuple[str, ...] = ()  # in their HTML, which is still shown
    has_old_placeholders: bool = False  # see `mailable_edition.has_old_placeholders`

    @property
    def links_may_stay_here(self) -> bool:
        """Whether links to this machine alone will do: the mail leaves it no more than they do."""
        return self.goes_into_files and is_local_url(self.base)

    @cached_property
    def parsed_message(self) -> EmailMessage:
        """The message as a mail program reads it."""
        return email.message_from_bytes(self.message, policy=email.policy.default)

    def _decoded_part(self, kind: str) -> str:
        for part in self.parsed_message.walk():
            if part.get_content_type() == kind:
                return str(part.get_content())
        return ""

    @cached_property
    def html(self) -> str:
        """The HTML part, decoded; empty when there is none."""
        return self._decoded_part("text/html")

    @cached_property
    def text(self) -> str:
        """The text part, decoded; empty when there is none."""
        return self._decoded_part("text/plain")

    @cached_property
    def drafted_language(self) -> str:
        """The language (BCP 47) that the HTML part says it is in; empty where it says none."""
        return str(self.tree.get("lang") or "")

    @property
    def speaks_its_language(self) -> bool:
        """Whether the edition was drafted in the language that the settings give the publication now."""
        language = self.file.publication.language
        return not self.drafted_language or self.drafted_language.casefold() == language.casefold()

    @cached_property
    def unsubscribe_urls(self) -> tuple[str, ...]:
        """The URIs of List-Unsubscribe, without their angle brackets."""
        return tuple(re.findall(r"<([^<>\s]+)>", str(self.parsed_message.get("List-Unsubscribe", ""))))

    @cached_property
    def drafted_base(self) -> str:
        """The base URL that the links of the HTML part lead to, as the unsubscribe link shows it."""
        url = next(iter(self.unsubscribe_urls), "")
        path = url.removeprefix(self.base) if url.startswith(self.base) else ""
        link = re.search(rf"(https?://[^\s\"'<>]+){re.escape(path)}\b", self.html) if path else None
        return link[1] if link else self.base

    @cached_property
    def tree(self) -> "_Element":
        """The HTML part as a tree."""
        import lxml.html

        return lxml.html.document_fromstring(self.html or "<html><body></body></html>")

    @cached_property
    def links(self) -> tuple[str, ...]:
        """Every `href` of the HTML part, in order, each once."""
        linked = (element.get("href") for element in self.tree.iter("a"))
        return tuple(dict.fromkeys(str(address) for address in linked if address is not None))


RuleCheck = Callable[[PreflightInput], Iterator[PreflightFinding]]


@dataclass(frozen=True, slots=True)
class PreflightRule:
    """A named rule; `description` is its one line in the documentation and in `digest check --rules`.

    `is_for_admins` says that what it finds lies in settings or templates, where no editor can mend it; `must_be_confirmed` that approvers
    tick a box for what it finds.
    """

    name: str
    description: str
    check: RuleCheck
    is_for_admins: bool = False
    must_be_confirmed: bool = False

    def find(self, examined: PreflightInput) -> Iterator[PreflightFinding]:
        """Yield the rule's findings under its name. If only admins can fix them, the remedy says so."""
        for finding in self.check(examined):
            advice = finding.remedy
            if self.is_for_admins and advice:
                advice = f"Ask an admin to {advice[0].lower()}{advice[1:]}"
            yield replace(
                finding,
                rule=self.name,
                remedy=advice,
                is_for_admins=self.is_for_admins,
                must_be_confirmed=self.must_be_confirmed,
            )


PREFLIGHT_RULES: dict[str, PreflightRule] = {}


def preflight_rule(
    name: str, *, is_for_admins: bool = False, must_be_confirmed: bool = False
) -> Callable[[RuleCheck], RuleCheck]:
    """Register a function as the rule `name`; its docstring says what it demands. It wants a section in `docs/preflight.md` and a planted fault in its tests."""

    def register(check: RuleCheck) -> RuleCheck:
        if name in PREFLIGHT_RULES:
            raise ValueError(f"two rules are called {name}")
        PREFLIGHT_RULES[name] = PreflightRule(name, check.__doc__ or "", check, is_for_admins, must_be_confirmed)
        return check

    return register


# What was examined last, with what the rules found: the pages of the desk look again at what has not changed.
_examined_last: deque[tuple[PreflightInput, tuple[PreflightFinding, ...]]] = deque(maxlen=4)


def run_preflight_rules(examined: PreflightInput) -> tuple[PreflightFinding, ...]:
    """Run every rule; errors come first, of each level what editors can mend, then in the order of the rules.

    Rules look at nothing but the input, so that equal input is examined once; links that are tried online are tried anew.
    """
    if examined.fetcher is not None:
        return _run_all_rules(examined)
    for earlier, findings in tuple(_examined_last):
        if earlier == examined:
            return findings
    findings = _run_all_rules(examined)
    # A copy: it holds none of what was parsed for the rules.
    _examined_last.append((replace(examined), findings))
    return findings


def _run_all_rules(examined: PreflightInput) -> tuple[PreflightFinding, ...]:
    findings = [finding for rule in PREFLIGHT_RULES.values() for finding in rule.find(examined)]
    order = attrgetter("level", "is_for_admins")  # "error" comes before "warning"
    return tuple(sorted(findings, key=order))


def error_finding(message: str, remedy: str, where: str = "") -> PreflightFinding:
    """Make a finding that prevents approval. The rule's name is added when rules are run."""
    return PreflightFinding("", FindingLevel.ERROR, message, remedy, where)


def warning_finding(message: str, remedy: str, where: str = "") -> PreflightFinding:
    """Make a finding that is only shown. The rule's name is added when rules are run."""
    return PreflightFinding("", FindingLevel.WARNING, message, remedy, where)
