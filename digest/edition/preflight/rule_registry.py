"""Preflight rules: registering them, describing their input, and running them."""

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
from digest.edition.content.slotted_text import SlottedText
from digest.settings import SettingsFileContent, is_local_url

if TYPE_CHECKING:
    from lxml.etree import _Element


class FindingLevel(StrEnum):
    """The severity of a finding.

    Errors prevent approval, and warnings are only shown to approvers.
    """

    ERROR = "error"
    WARNING = "warning"


# Places of findings about the top of the email. Others are section titles.
HEAD_PLACES = SUBJECT_PLACE, PREHEADER_PLACE, INTRO_PLACE = "Subject", "Preheader", "Intro"


_ASK_ADMIN = "Ask an admin to "
UPDATE_DRAFT = "Update the draft. Your edits are kept."


@dataclass(frozen=True, slots=True)
class PreflightFinding:
    """A rule's finding: what's wrong, what to do, and where.

    `settings` is the table of the settings in which it's fixed, or empty. `is_for_admins` is true if
    it's for someone else because editors can't fix it. If `must_be_confirmed` is true, approvers must
    select a checkbox. `is_fixed_by_update` is true if updating the draft to the current settings and
    send time fixes it. The desk has a button for that.
    """

    rule: str
    level: FindingLevel
    message: str
    remedy: str = ""
    where: str = ""
    settings: str = ""
    is_for_admins: bool = False
    must_be_confirmed: bool = False
    is_fixed_by_update: bool = False

    @property
    def sentence(self) -> str:
        """The message, followed by the remedy, if there is one."""
        return f"{self.message} {self.remedy}".strip()

    def address_to_admin(self) -> "PreflightFinding":
        """Return the finding for an admin, without the advice to ask one."""
        advice = self.remedy.removeprefix(_ASK_ADMIN)
        return replace(self, remedy=f"{advice[:1].upper()}{advice[1:]}", is_for_admins=False)


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """The MIME type of a stored image and its size in bytes."""

    content_type: str
    size: int


@dataclass(frozen=True, slots=True)
class SentStory:
    """A story of an earlier edition, and the edition's display name, such as "No. 146"."""

    edition: str
    url: str


@dataclass(frozen=True, slots=True)
class PreviousEdition:
    """The previous edition: its number, its intro, and the first headline in its email."""

    number: int
    intro: str
    first_headline: str = ""


@dataclass(frozen=True)
class PreflightInput:
    """The input of preflight.

    `message` is the final bytes for one subscriber. `parts` are the full and the short edition,
    each as HTML and as text, before slots are filled. `send_day` is the day on which the edition
    will be sent, as in a masthead, or empty if it was sent. `fetcher` is set if links should be
    checked online. `pictures` are the facts about `/media/` images by hash. `is_written_to_files` is
    true if the settings write all email to files. `sending_days` is the number of days that sending
    to `subscribers` subscribers takes with the limits in the settings. `withdrawn` are the linked
    articles that visitors can't read anymore, with the reasons. `own_pages` are the results of
    checking links to the publication's own site; it's empty if the check wasn't requested.
    """

    message: bytes
    parts: Mapping[FragmentKind, SlottedText]
    content: EditionContent
    file: SettingsFileContent
    base: str
    pictures: Mapping[str, ImageFacts] = field(default_factory=dict)
    sent_stories: tuple[SentStory, ...] = ()
    previous_edition: PreviousEdition | None = None
    chosen_urls: frozenset[str] = frozenset()  # URLs of stories that editors placed
    removed_headlines: tuple[str, ...] = ()  # of stories that editors removed
    issue_heading: str = ""  # as shown in the masthead
    incomplete_reason: str = ""
    send_day: str = ""
    release_day: str = ""  # the day of its send time, which may be past
    is_written_to_files: bool = False
    sending_days: int = 1
    subscribers: int = 0
    fetcher: ContentFetcher | None = None
    withdrawn: Mapping[str, str] = field(default_factory=dict)
    own_pages: Mapping[str, PageCheckResult] = field(default_factory=dict)
    template_mistakes: tuple[str, ...] = ()  # in the operator's custom templates
    markup_mistakes: tuple[str, ...] = ()  # in the HTML of custom templates, which is still shown

    @property
    def links_may_stay_here(self) -> bool:
        """True if links to this machine are acceptable because the emails don't leave it either."""
        return self.is_written_to_files and is_local_url(self.base)

    @cached_property
    def parsed_message(self) -> EmailMessage:
        """The parsed message."""
        return email.message_from_bytes(self.message, policy=email.policy.default)

    def _decoded_part(self, kind: str) -> str:
        for part in self.parsed_message.walk():
            if part.get_content_type() == kind:
                return str(part.get_content())
        return ""

    @cached_property
    def html(self) -> str:
        """The decoded HTML part, or "" if there's none."""
        return self._decoded_part("text/html")

    @cached_property
    def text(self) -> str:
        """The decoded text part, or "" if there's none."""
        return self._decoded_part("text/plain")

    @cached_property
    def drafted_language(self) -> str:
        """The language (BCP 47) that the HTML part declares, or "" if it declares none."""
        return str(self.tree.get("lang") or "")

    @property
    def is_in_current_language(self) -> bool:
        """True if the edition was drafted in the publication's current language."""
        language = self.file.publication.language
        return not self.drafted_language or self.drafted_language.casefold() == language.casefold()

    @cached_property
    def unsubscribe_urls(self) -> tuple[str, ...]:
        """The URIs in List-Unsubscribe, without their angle brackets."""
        return tuple(re.findall(r"<([^<>\s]+)>", str(self.parsed_message.get("List-Unsubscribe", ""))))

    @cached_property
    def drafted_base(self) -> str:
        """The base URL of the unsubscribe link in the HTML part, or the current one if there's no such link."""
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
        """The distinct `href` values in the HTML part, in order."""
        linked = (element.get("href") for element in self.tree.iter("a"))
        return tuple(dict.fromkeys(str(address) for address in linked if address is not None))


RuleCheck = Callable[[PreflightInput], Iterator[PreflightFinding]]


@dataclass(frozen=True, slots=True)
class PreflightRule:
    """A named rule. `description` is its line in the documentation and in `digest check --rules`.

    `is_for_admins` is true if its findings are about settings or templates, which editors can't
    change. `must_be_confirmed` is true if approvers must select a checkbox for them.
    """

    name: str
    description: str
    check: RuleCheck
    is_for_admins: bool = False
    must_be_confirmed: bool = False

    def list_findings(self, examined: PreflightInput) -> Iterator[PreflightFinding]:
        """Yield the rule's findings under its name.

        If only admins can fix them, the remedy says so.
        """
        for finding in self.check(examined):
            advice = finding.remedy
            if self.is_for_admins and advice:
                advice = f"{_ASK_ADMIN}{advice[0].lower()}{advice[1:]}"
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
    """Return a decorator that registers a function as the rule `name`.

    The function's docstring becomes the rule's description. A rule needs a section in
    `docs/preflight.md` and a planted fault in its tests.
    """

    def register(check: RuleCheck) -> RuleCheck:
        if name in PREFLIGHT_RULES:
            raise ValueError(f"two rules are called {name}")
        PREFLIGHT_RULES[name] = PreflightRule(name, check.__doc__ or "", check, is_for_admins, must_be_confirmed)
        return check

    return register


# The most recent inputs and their findings, because the editor's pages check unchanged editions again.
_examined_last: deque[tuple[PreflightInput, tuple[PreflightFinding, ...]]] = deque(maxlen=4)


def run_preflight_rules(examined: PreflightInput) -> tuple[PreflightFinding, ...]:
    """Return the findings of all rules: errors first, and findings that editors can fix before the others.

    Rules depend only on the input, so equal inputs are examined only once, unless links are checked online.
    """
    if examined.fetcher is not None:
        return _run_all_rules(examined)
    for earlier, findings in tuple(_examined_last):
        if earlier == examined:
            return findings
    findings = _run_all_rules(examined)
    # A copy doesn't have the parsed values that rules cached.
    _examined_last.append((replace(examined), findings))
    return findings


def _run_all_rules(examined: PreflightInput) -> tuple[PreflightFinding, ...]:
    findings = [finding for rule in PREFLIGHT_RULES.values() for finding in rule.list_findings(examined)]
    order = attrgetter("level", "is_for_admins")  # "error" sorts before "warning"
    return tuple(sorted(findings, key=order))


def error_finding(
    message: str, remedy: str, where: str = "", *, settings: str = "", is_fixed_by_update: bool = False
) -> PreflightFinding:
    """Return a finding that prevents approval. The rule's name is added when the rules are run."""
    return PreflightFinding(
        "", FindingLevel.ERROR, message, remedy, where, settings, is_fixed_by_update=is_fixed_by_update
    )


def warning_finding(
    message: str, remedy: str, where: str = "", *, settings: str = "", is_fixed_by_update: bool = False
) -> PreflightFinding:
    """Return a finding that doesn't prevent approval. The rule's name is added when the rules are run."""
    return PreflightFinding(
        "", FindingLevel.WARNING, message, remedy, where, settings, is_fixed_by_update=is_fixed_by_update
    )
