import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date
from functools import lru_cache
from types import TracebackType
from typing import Self, Unpack

import pytest

from digest.collect.fetch.result import FetchError, FetchErrorReason, FetchResult, RequestOptions
from digest.collect.visits.page_check import PageCheckResult
from digest.deliver.compose.message import PlaceholderValues, splice_message
from digest.deliver.compose.variants import create_variants
from digest.edition.content.edition_content import (
    EditionContent,
    EditionImage,
    EditionLink,
    EntryDate,
    LabeledBlock,
    RenderedFragment,
    SectionEntry,
)
from digest.edition.content.mailable_edition import MAIL_KINDS, FragmentKind, build_mailable_draft, join_fragments
from digest.edition.content.slotted_text import LEAVE_SLOT, PREFERENCES_SLOT, SIGNUP_SLOT, Slot, SlottedText
from digest.edition.preflight.opening_rules import find_first_visible_line
from digest.edition.preflight.rule_registry import (
    PREFLIGHT_RULES,
    FindingLevel,
    ImageFacts,
    PreflightFinding,
    PreflightInput,
    PreviousEdition,
    SentStory,
    run_preflight_rules,
)
from digest.edition.rendering.fragments import build_publication_context, create_mail_environment, render_edition
from digest.edition.rendering.sanitizer import sanitize_content
from digest.settings import BrandingSettings, SelectionSettings, SenderSettings, Settings, SettingsFileContent
from digest.store.models import BREAKING_NEWS_NUMBER, Edition, EditionState
from subscribers.consent.preferences import Preferences
from tests.conftest import ROOT
from tests.moments import RELEASE

SETTINGS = Settings(
    base_url="https://news.example.org",
    file=SettingsFileContent(
        sender=SenderSettings(postal_address="1200 Example Avenue, Suite 300, Washington, DC 20005")
    ),
)
TOKEN = "AbCdEfGhIjKlMnOpQrStUv"


def sound() -> EditionContent:
    """Give an edition that passes every rule."""
    return EditionContent.from_json(json.loads((ROOT / "tests/fixtures/edition.json").read_text("utf-8")))


@lru_cache(maxsize=32)
def pieces_of(content: EditionContent, postal_address: str) -> tuple[RenderedFragment, ...]:
    """Render once what many faults start from."""
    settings = _settings(SenderSettings(postal_address=postal_address))
    return render_edition(content, build_publication_context(settings), create_mail_environment(settings))


def message_of(
    content: EditionContent, settings: Settings = SETTINGS, edit: Callable[[str], str] = lambda html: html
) -> bytes:
    """Make the final bytes of a message, as sending does; `edit` changes its HTML, where the links' tokens are filled in already."""
    edition = Edition(name=content.name, subject=content.subject, release_at=RELEASE, state=EditionState.DRAFT)
    edition.number, edition.preheader = content.number, content.preheader
    pieces = pieces_of(content, settings.file.sender.postal_address)
    letter = create_variants(build_mailable_draft(edition, pieces, settings), settings).template_for(Preferences())
    assert letter is not None
    assert letter.html is not None
    filled = PlaceholderValues(
        "reader@example.org",
        "<a.b@news.example.org>",
        "Fri, 20 Nov 2026 06:00:00 -0500",
        TOKEN,
        TOKEN,
        "March 4, 2026, at hls.today",
    )
    html = letter.html.fill({LEAVE_SLOT: TOKEN, PREFERENCES_SLOT: TOKEN, SIGNUP_SLOT: filled.signup_text})
    return splice_message(replace(letter, html=SlottedText(edit(html))), filled)


def examined(content: EditionContent | None = None, settings: Settings = SETTINGS) -> PreflightInput:
    content = content or sound()
    pictures = [e.picture for s in content.sections for e in s.entries if e.picture]
    return PreflightInput(
        message=message_of(content, settings),
        parts={
            kind: join_fragments(pieces_of(content, settings.file.sender.postal_address), kind) for kind in MAIL_KINDS
        },
        content=content,
        file=settings.file,
        base=settings.link_base,
        pictures={p.hash: ImageFacts("image/jpeg", 90_000) for p in pictures},
    )


def pinning(url: str) -> PreflightInput:
    """Examine a sound edition one of whose stories an editor pinned."""
    file = SETTINGS.file.model_copy(update={"select": SelectionSettings(pins=[url])})
    return examined(settings=SETTINGS.model_copy(update={"file": file}))


def naming_a_logo() -> PreflightInput:
    """Examine a sound edition of a publication whose logo is not kept."""
    look = BrandingSettings(logo="light.png", logo_dark="dark.png")
    return replace(examined(), file=SETTINGS.file.model_copy(update={"branding": look}))


def _of_another_name() -> PreflightInput:
    """Examine a sound edition of a publication that kept every other default."""
    publication = SETTINGS.file.publication.model_copy(update={"name": "Vigie"})
    return replace(examined(), file=SETTINGS.file.model_copy(update={"publication": publication}))


def _in_french() -> PreflightInput:
    """Examine an English edition of a publication that became French."""
    publication = SETTINGS.file.publication.model_copy(update={"language": "fr"})
    return replace(examined(), file=SETTINGS.file.model_copy(update={"publication": publication}))


def first_entry(content: EditionContent, change: Callable[[SectionEntry], SectionEntry]) -> EditionContent:
    """Change the lead."""
    featured = content.sections[0]
    return replace(
        content,
        sections=(
            replace(featured, entries=(change(featured.entries[0]), *featured.entries[1:])),
            *content.sections[1:],
        ),
    )


def swapped(facts: PreflightInput, before: bytes, after: bytes) -> PreflightInput:
    """Change the bytes of the message, and be sure that they changed."""
    assert before in facts.message, before
    return replace(facts, message=facts.message.replace(before, after))


class Web:
    """A small web: addresses that answer, and those that do not."""

    def __init__(self, dead: dict[str, FetchErrorReason], moved: dict[str, str]) -> None:
        self.dead, self.moved, self.asked = dead, moved, list[str]()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        del kind, exc, trace

    def get(self, url: str, **options: Unpack[RequestOptions]) -> FetchResult:
        del options
        self.asked.append(url)
        if url in self.dead:
            raise FetchError(url, self.dead[url], "the page is gone")
        return FetchResult(
            url=url,
            moved_to=self.moved.get(url),
            status=200,
            body=b"",
            content_type="text/html",
            charset=None,
            etag=None,
            last_modified=None,
            not_modified=False,
            max_age=None,
        )

    def may_read(self, url: str) -> bool:
        return bool(url)


def test_a_sound_edition_passes_every_rule() -> None:
    assert run_preflight_rules(examined()) == ()


LEAD_URL = sound().sections[0].entries[0].url
LEAD_IMAGE = sound().sections[0].entries[0].picture or EditionImage("", 1, 1, "")


@dataclass(frozen=True)
class Fault:
    """A planted fault: the rule that must find it, at which level, and words of its message."""

    rule: str
    level: FindingLevel
    words: str
    plant: Callable[[], PreflightInput]


def _long_html(kilobytes: int) -> Callable[[], PreflightInput]:
    return lambda: swapped(
        examined(), b"</body>", b"<!--" + (b"x" * 70 + b"=\r\n") * (kilobytes * 1024 // 70) + b"--></body>"
    )


def _settings(sender: SenderSettings) -> Settings:
    return SETTINGS.model_copy(update={"file": SETTINGS.file.model_copy(update={"sender": sender})})


def _section_of(**changes: object) -> Callable[[], PreflightInput]:
    def plant() -> PreflightInput:
        content = sound()
        sections = tuple(replace(s, **changes) if i == 0 else s for i, s in enumerate(content.sections))  # type: ignore[arg-type]
        return replace(examined(), content=replace(content, sections=sections))

    return plant


def _with_facts(facts: ImageFacts | None) -> Callable[[], PreflightInput]:
    def plant() -> PreflightInput:
        sound_facts = examined()
        pictures = {k: v for k, v in sound_facts.pictures.items() if k != LEAD_IMAGE.hash}
        return replace(sound_facts, pictures=pictures | ({LEAD_IMAGE.hash: facts} if facts else {}))

    return plant


def _content(change: Callable[[EditionContent], EditionContent]) -> Callable[[], PreflightInput]:
    """Change what the edition says, and its message with it."""
    return lambda: examined(change(sound()))


def _said(**changes: object) -> Callable[[], PreflightInput]:
    """Change what the edition says and leave the message."""
    return lambda: replace(examined(), content=replace(sound(), **changes))  # type: ignore[arg-type]


def _dated(headline: str, day: str, summary: str = "") -> PreflightInput:
    """Change the lead's texts and date, and leave the message."""
    section, *others = sound().sections
    lead = replace(section.entries[0], headline=headline, date=day, summary=summary)
    sections = (replace(section, entries=(lead, *section.entries[1:])), *others)
    return replace(examined(), content=replace(sound(), sections=sections))


def _html(before: str, after: str) -> Callable[[], PreflightInput]:
    """Change the HTML part, once, where `before` matches."""

    def edit(html: str) -> str:
        assert re.search(before, html), before
        return re.sub(before, after, html, count=1)

    return lambda: replace(examined(), message=message_of(sound(), edit=edit))


def with_slots(kind: FragmentKind, *added: str | Slot) -> PreflightInput:
    """Add text with slots to the foot of a part, as an operator's own template could."""
    facts = examined()
    *parts, end = facts.parts[kind].parts()
    assert isinstance(end, str)
    body, tag, rest = end.rpartition("</td>")
    changed = SlottedText.from_parts([*parts, body or end, *added, tag + rest if body else ""])
    return replace(facts, parts={**facts.parts, kind: changed})


HOME = "https://news.example.org"
MISPLACED: dict[str, tuple[FragmentKind, tuple[str | Slot, ...]]] = {
    "a foreign host": ("html", ('<a href="https://evil.example/u/', LEAVE_SLOT, '">x</a>')),
    "our base in a foreign query": ("html", (f'<a href="https://evil.example/?x={HOME}/u/', LEAVE_SLOT, '">x</a>')),
    "our base as a foreign user name": ("html", (f'<a href="{HOME}@evil.example/u/', LEAVE_SLOT, '">x</a>')),
    "our base as a foreign subdomain": ("html", (f'<a href="{HOME}.evil.example/u/', LEAVE_SLOT, '">x</a>')),
    "the other token": ("html", (f'<a href="{HOME}/u/', PREFERENCES_SLOT, '">x</a>')),
    "more after it": ("html", (f'<a href="{HOME}/u/', LEAVE_SLOT, '/../../x?y=">x</a>')),
    "both in one link": ("html", (f'<a href="{HOME}/u/', LEAVE_SLOT, LEAVE_SLOT, '">x</a>')),
    "another page of ours": ("html", (f'<a href="{HOME}/search?q=', LEAVE_SLOT, '">x</a>')),
    "a picture": ("html", (f'<img src="{HOME}/u/', LEAVE_SLOT, '">')),
    "a link that a parser reads otherwise": ("html", (f'<a title=\'" href="{HOME}/u/', LEAVE_SLOT, "'>x</a>")),
    "the second href of a link": ("html", (f'<a href="x" href="{HOME}/u/', LEAVE_SLOT, '">x</a>')),
    "a comment": ("html", (f'<!-- <a href="{HOME}/u/', LEAVE_SLOT, '"> -->')),
    "words": ("html", ("Your token: ", LEAVE_SLOT)),
    "the sign-up in a link": ("html", ('<a href="https://evil.example/?x=', SIGNUP_SLOT, '">x</a>')),
    "the sign-up in a written URL": ("html", ("https://evil.example/?x=", SIGNUP_SLOT)),
    "the short edition": ("short", ('<a href="https://evil.example/u/', LEAVE_SLOT, '">x</a>')),
    "text: our base in a foreign query": ("text", (f"https://evil.example/?x={HOME}/u/", LEAVE_SLOT, "\n")),
    "text: a word before it": ("text", (f"evil.example/?x={HOME}/u/", LEAVE_SLOT, "\n")),
    "text: more after it": ("text", (f"{HOME}/u/", LEAVE_SLOT, "@evil.example\n")),
    "text: a host after a page below it": ("text", (f"{HOME}/u/", LEAVE_SLOT, "/page@evil.example\n")),
    "text: alone": ("text", (LEAVE_SLOT, "\n")),
    "text: the sign-up in a URL": ("text", ("https://evil.example/?x=", SIGNUP_SLOT, "\n")),
    "text: the short edition": ("short-text", ("https://evil.example/?x=", LEAVE_SLOT, "\n")),
}


@pytest.mark.parametrize(("kind", "added"), MISPLACED.values(), ids=MISPLACED.keys())
def test_a_placeholder_that_could_lead_elsewhere_is_an_error(kind: FragmentKind, added: tuple[str | Slot, ...]) -> None:
    found = [f for f in run_preflight_rules(with_slots(kind, *added)) if f.level is FindingLevel.ERROR]
    assert {f.rule for f in found} == {"placeholders"}
    assert all("could lead to another site" in f.message for f in found)


@pytest.mark.parametrize(
    ("kind", "added"),
    [
        ("html", (f'<a title="x" HREF="{HOME}/preferences/', PREFERENCES_SLOT, '#my-data">x</a>')),
        ("html", (f'<a href="{HOME}/preferences/', PREFERENCES_SLOT, '/breaking-news">x</a>')),
        ("html", ("<p>You signed up on <b>", SIGNUP_SLOT, "</b>.</p>")),
        ("text", (f"Unsubscribe: {HOME}/u/", LEAVE_SLOT, " any time\n")),
        ("text", ("You signed up on ", SIGNUP_SLOT, ".\n")),
    ],
)
def test_own_templates_may_repeat_a_link_or_the_sign_up(kind: FragmentKind, added: tuple[str | Slot, ...]) -> None:
    assert [f for f in run_preflight_rules(with_slots(kind, *added)) if f.level is FindingLevel.ERROR] == []


def test_a_part_without_the_unsubscribe_link_is_an_error() -> None:
    facts = examined()
    bare = SlottedText.from_parts(part for part in facts.parts["short-text"].parts() if part != LEAVE_SLOT)
    found = run_preflight_rules(replace(facts, parts={**facts.parts, "short-text": bare}))
    assert [f.message for f in found if f.rule == "one-click"] == [
        "The text part of the short edition doesn't have the unsubscribe link."
    ]


def _opening(words: str) -> Callable[[], PreflightInput]:
    """Put a line of an own template above the masthead."""
    return _html('<div role="main"', f'<p style="margin:0">{words}</p><div role="main"')


def bare(**changes: object) -> PreflightInput:
    """Examine an edition of one story and no date: neither a list of headlines nor a deadline stands on its first screen."""
    featured = sound().sections[0]
    lead = replace(featured, entries=(replace(featured.entries[0], when=None),))
    return examined(replace(sound(), sections=(lead,), **changes))  # type: ignore[arg-type]


LONG = "Ports " + "get ten days to check the remote links on their cranes and " * 3


def _own_page(look: PageCheckResult) -> Callable[[], PreflightInput]:
    """Examine a sound edition whose first story is a page of the own site that was visited."""
    return lambda: replace(examined(), own_pages={sound().sections[0].entries[0].url: look})


def _lead_mentioning(words: str, **changes: object) -> PreflightInput:
    """Examine an edition whose lead's summary ends with some words; the next deadline is December 4."""
    changed = first_entry(sound(), lambda e: replace(e, summary=f"{e.summary} {words}", **changes))  # type: ignore[arg-type]
    return examined(changed)


FAULTS = (
    Fault(
        "earlier-dates",
        FindingLevel.WARNING,
        "cranes” mentions November 30, but the next deadline is December 4.",
        lambda: _lead_mentioning("Replies are due by November 30."),
    ),
    Fault(
        "earlier-dates",
        FindingLevel.WARNING,
        "The subject, preheader, or intro mentions December 1, but",
        lambda: examined(replace(sound(), intro="Sign up before December 1.")),
    ),
    Fault(
        "earlier-dates",
        FindingLevel.WARNING,
        "“Grants” mentions December 1, but",
        lambda: examined(replace(sound(), blocks=(LabeledBlock("b", "opportunity", "Grants", text="By December 1."),))),
    ),
    Fault(
        "earlier-dates",
        FindingLevel.WARNING,
        "A labeled block mentions December 1, but",
        lambda: examined(replace(sound(), blocks=(LabeledBlock("b", "sponsor", "", text="Until December 1."),))),
    ),
    Fault(
        "earlier-dates",
        FindingLevel.WARNING,
        "A link under “",
        lambda: _lead_mentioning("", related=(EditionLink("Reports start on December 1", "https://example.org/1"),)),
    ),
    Fault(
        "earlier-dates",
        FindingLevel.WARNING,
        "cranes” mentions November 30, but the next deadline is December 4.",
        lambda: _lead_mentioning("Reply no later than 11/30."),
    ),
    Fault(
        "withdrawn",
        FindingLevel.ERROR,
        "anymore: it's password-protected. Remove the story.",
        lambda: replace(examined(), withdrawn={sound().sections[0].entries[0].url: "it's password-protected"}),
    ),
    Fault(
        "own-links",
        FindingLevel.ERROR,
        "): it's password-protected. Make",
        _own_page(PageCheckResult(200, "it's password-protected")),
    ),
    Fault("own-links", FindingLevel.ERROR, "): the page returned 404. Make", _own_page(PageCheckResult(404))),
    Fault(
        "own-links", FindingLevel.ERROR, "blocked the check", _own_page(PageCheckResult(403, failure="it refuses us"))
    ),
    Fault(
        "own-links", FindingLevel.WARNING, "check 1 link to your site", _own_page(PageCheckResult(failure="no answer"))
    ),
    Fault("size", FindingLevel.ERROR, "102 KB", _long_html(104)),
    Fault(
        "day",
        FindingLevel.WARNING,
        "but the edition's send date is Saturday, November 21",
        lambda: replace(examined(), send_day="Saturday, November 21, 2026"),
    ),
    Fault(
        "language",
        FindingLevel.ERROR,
        "drafted in English, but the publication's language is now French",
        lambda: replace(_in_french(), send_day="vendredi 20 novembre 2026"),
    ),
    Fault(
        "sending-days",
        FindingLevel.WARNING,
        "sending to 20,000 subscribers takes about 6 days",
        lambda: replace(examined(), sending_days=6, subscribers=20_000),
    ),
    Fault("size", FindingLevel.WARNING, "Gmail clips", _long_html(82 - 40)),
    Fault(
        "syntax",
        FindingLevel.ERROR,
        "bare CR or LF",
        lambda: swapped(examined(), b"MIME-Version: 1.0\r\n", b"MIME-Version: 1.0\n"),
    ),
    Fault(
        "syntax",
        FindingLevel.ERROR,
        "longer than 998",
        lambda: swapped(examined(), b"List-Post: NO", b"X-Long: " + b"x" * 999),
    ),
    Fault(
        "syntax",
        FindingLevel.ERROR,
        "non-ASCII",
        lambda: swapped(examined(), b"List-Post: NO", "List-Post: NÖ".encode()),
    ),
    Fault(
        "syntax",
        FindingLevel.ERROR,
        "appears 2 times",
        lambda: swapped(examined(), b"List-Post: NO", b"Subject: again"),
    ),
    Fault("syntax", FindingLevel.ERROR, "date is missing", lambda: swapped(examined(), b"\r\nDate: ", b"\r\nX-Date: ")),
    Fault(
        "syntax", FindingLevel.ERROR, "encoded word", lambda: swapped(examined(), b"<a.b@", b"=?utf-8?q?=3Ca?= <a.b@")
    ),
    Fault("syntax", FindingLevel.ERROR, "Message-ID", lambda: swapped(examined(), b"<a.b@news.example.org>", b"<a.b>")),
    Fault(
        "syntax", FindingLevel.ERROR, "List-Id", lambda: swapped(examined(), b"<weekly.news.example.org>", b"<weekly>")
    ),
    Fault(
        "syntax",
        FindingLevel.ERROR,
        "more than 76",
        lambda: swapped(examined(), b"Good morning.", b"Good morning." + b"x" * 80),
    ),
    Fault(
        "one-click",
        FindingLevel.ERROR,
        "exactly one https",
        lambda: swapped(examined(), b"List-Unsubscribe: <https:", b"List-Unsubscribe: <http:"),
    ),
    Fault(
        "one-click",
        FindingLevel.ERROR,
        "List-Unsubscribe-Post isn't",
        lambda: swapped(examined(), b"=One-Click", b"=Two-Clicks"),
    ),
    Fault(
        "one-click",
        FindingLevel.ERROR,
        "doesn't identify the subscriber",
        lambda: swapped(
            examined(), b"List-Unsubscribe: <https:", b"List-Unsubscribe: <mailto:editors@news.example.org>, <https:"
        ),
    ),
    Fault(
        "one-click",
        FindingLevel.ERROR,
        "if it has more than 77",
        lambda: swapped(
            examined(), b"List-Unsubscribe: <https://news.", b"List-Unsubscribe: <https://" + b"a" * 40 + b".news."
        ),
    ),
    Fault(
        "one-click",
        FindingLevel.ERROR,
        "doesn't have the unsubscribe link",
        lambda: swapped(examined(), b"List-Unsubscribe: <https://news", b"List-Unsubscribe: <https://other"),
    ),
    Fault(
        "parts",
        FindingLevel.ERROR,
        "text/plain",
        lambda: swapped(examined(), b"Content-Type: text/plain", b"Content-Type: text/html"),
    ),
    Fault(
        "parity",
        FindingLevel.ERROR,
        "missing from the text",
        lambda: replace(examined(), content=first_entry(sound(), lambda e: replace(e, headline="Never said"))),
    ),
    Fault(
        "parity",
        FindingLevel.ERROR,
        "is missing from one of the two parts",
        lambda: replace(
            examined(), content=first_entry(sound(), lambda e: replace(e, url="https://else.example.org/"))
        ),
    ),
    Fault(
        "placeholders",
        FindingLevel.WARNING,
        "{{",
        _content(lambda c: first_entry(c, lambda e: replace(e, summary="{{ name }} said"))),
    ),
    Fault("placeholders", FindingLevel.ERROR, "{{", _html("In this issue", "{{ title }}")),
    Fault("placeholders", FindingLevel.WARNING, "subject", _said(subject="Hello {{ name }}")),
    Fault(
        "postal-address",
        FindingLevel.ERROR,
        "no postal address",
        lambda: examined(settings=_settings(SenderSettings())),
    ),
    Fault(
        "postal-address",
        FindingLevel.ERROR,
        "The text part doesn't have",
        lambda: replace(examined(), file=_settings(SenderSettings(postal_address="9 Elsewhere")).file),
    ),
    Fault("held", FindingLevel.ERROR, "incomplete", lambda: replace(examined(), incomplete_reason="too few stories")),
    Fault("subject", FindingLevel.ERROR, "empty", _said(subject=" ")),
    Fault("subject", FindingLevel.WARNING, "Most email apps show 60, and phones about 40", _said(subject="x" * 61)),
    Fault("subject", FindingLevel.WARNING, "repeats", _said(preheader=sound().subject + "!")),
    Fault("subject", FindingLevel.WARNING, "Inboxes show", _said(preheader="y" * 91)),
    Fault(
        "headlines",
        FindingLevel.WARNING,
        "characters",
        _content(lambda c: first_entry(c, lambda e: replace(e, headline=LONG.strip()))),
    ),
    Fault("subject", FindingLevel.WARNING, "cuts off", _said(subject="Radios were out, and paper grids lost…")),
    Fault(
        "intro",
        FindingLevel.WARNING,
        "the same as in No. 146",
        lambda: replace(examined(), previous_edition=PreviousEdition(146, f" {sound().intro}\n")),
    ),
    Fault(
        "intro",
        FindingLevel.WARNING,
        "cuts off the intro's first sentence after 240 characters",
        _said(intro=f"A hurricane, a botnet takedown, and {'a very ' * 36}low fund. They're all below."),
    ),
    Fault(
        "first-sentence",
        FindingLevel.WARNING,
        "“View in browser,” which isn't from one of this edition's stories",
        _opening("View in browser"),
    ),
    Fault(
        "opening-names",
        FindingLevel.WARNING,
        "No story mentions “Nadia” or “Gulf”",
        _said(subject="Hurricane Nadia crosses the Gulf"),
    ),
    Fault(
        "opening-names", FindingLevel.WARNING, "No story mentions “Nadia”", _said(preheader="Also: Nadia comes ashore")
    ),
    Fault(
        "opening-names",
        FindingLevel.WARNING,
        "No story mentions “Nadia”",
        _said(preheader="Also: ports get ten days, and Nadia comes ashore"),
    ),
    Fault(
        "opening-names",
        FindingLevel.WARNING,
        "“record family crossings” seems to be about “Families crossing border reach all-time high”, which was removed",
        lambda: replace(
            _said(preheader="Also: ports get ten days, and record family crossings")(),
            removed_headlines=("Families crossing border reach all-time high",),
        ),
    ),
    Fault(
        "opening-names",
        FindingLevel.WARNING,
        "No story mentions “Nadia”. Write another subject",
        lambda: examined(replace(sound(), subject="Ports brace for Nadia", intro="Nadia is near.")),
    ),
    Fault(
        "opening-names",
        FindingLevel.WARNING,
        "No story mentions “Nadia”. “Hurricane Nadia reaches the Gulf” was removed. Change the intro",
        lambda: replace(
            examined(replace(sound(), intro="Nadia is gone. Ports count modems.")),
            removed_headlines=("Hurricane Nadia reaches the Gulf",),
        ),
    ),
    Fault(
        "weekdays",
        FindingLevel.WARNING,
        "“Friday” (November 13) in “The port closed Friday”",
        lambda: _dated("The port closed Friday", "Nov 13"),
    ),
    Fault("first-sentence", FindingLevel.WARNING, "repeats the subject", lambda: bare(subject="Good morning")),
    Fault("first-sentence", FindingLevel.WARNING, "repeats the preheader", lambda: bare(preheader="Good morning.")),
    Fault(
        "first-sentence",
        FindingLevel.WARNING,
        "is the same as in No. 146",
        lambda: replace(
            examined(), previous_edition=PreviousEdition(146, "Another intro.", sound().sections[0].entries[1].headline)
        ),
    ),
    Fault(
        "first-sentence",
        FindingLevel.WARNING,
        "is the same as in No. 146",
        lambda: replace(bare(), previous_edition=PreviousEdition(146, "Good morning. Another week.")),
    ),
    Fault(
        "bare-headlines",
        FindingLevel.WARNING,
        "show only a headline",
        _content(lambda c: first_entry(c, lambda e: replace(e, url="", summary=""))),
    ),
    Fault("sections", FindingLevel.ERROR, "no lead", _section_of(kind="stories")),
    Fault("sections", FindingLevel.ERROR, "empty", _section_of(entries=())),
    Fault(
        "sections",
        FindingLevel.WARNING,
        "allow 6",
        _section_of(entries=sound().sections[0].entries + sound().sections[2].entries),
    ),
    Fault(
        "repeats",
        FindingLevel.ERROR,
        "appears 2 times",
        _content(
            lambda c: replace(
                c,
                sections=(
                    c.sections[0],
                    *c.sections[1:-1],
                    replace(c.sections[-1], entries=(*c.sections[-1].entries, c.sections[0].entries[0])),
                ),
            )
        ),
    ),
    Fault(
        "repeats",
        FindingLevel.ERROR,
        "was in 2026-W46",
        lambda: replace(examined(), sent_stories=(SentStory("2026-W46", LEAD_URL + "?utm_source=x"),)),
    ),
    Fault(
        "repeats",
        FindingLevel.WARNING,
        "was in 2026-W46 and is pinned",
        lambda: replace(pinning(LEAD_URL), sent_stories=(SentStory("2026-W46", LEAD_URL + "?utm_source=x"),)),
    ),
    Fault(
        "repeats",
        FindingLevel.WARNING,
        "was in 2026-W46 and was added by an editor",
        lambda: replace(examined(), chosen_urls=frozenset({LEAD_URL}), sent_stories=(SentStory("2026-W46", LEAD_URL),)),
    ),
    Fault(
        "older-stories",
        FindingLevel.WARNING,
        "is from Nov 10, 2024, before this edition’s week",
        _content(lambda c: first_entry(c, lambda e: replace(e, date="Nov 10, 2024", is_older=True))),
    ),
    Fault(
        "links",
        FindingLevel.ERROR,
        "isn't a complete URL",
        _html('href="https://harbor-ledger[^"]*"', 'href="/crane-links"'),
    ),
    Fault(
        "links", FindingLevel.WARNING, "uses http", _html('href="https://harbor-ledger', 'href="http://harbor-ledger')
    ),
    Fault(
        "links",
        FindingLevel.ERROR,
        "isn't a URL or email link",
        _html('href="https://harbor-ledger', 'href="ftp://harbor-ledger'),
    ),
    Fault(
        "dead-links",
        FindingLevel.ERROR,
        "gone",
        lambda: replace(examined(), fetcher=Web({LEAD_URL: FetchErrorReason.GONE}, {})),
    ),
    Fault(
        "dead-links",
        FindingLevel.WARNING,
        "gone",
        lambda: replace(examined(), fetcher=Web({LEAD_URL: FetchErrorReason.SERVER}, {})),
    ),
    Fault(
        "dead-links",
        FindingLevel.WARNING,
        "has moved to",
        lambda: replace(examined(), fetcher=Web({}, {LEAD_URL: "https://new.example.org/"})),
    ),
    Fault(
        "images-ours",
        FindingLevel.ERROR,
        "isn't served from",
        _html('src="https://news.example.org/media/', 'src="https://tracker.example.org/'),
    ),
    Fault("images-described", FindingLevel.ERROR, "no alt", _html(r'(<img[^>]*?) alt="[^"]*"', r"\1")),
    Fault(
        "images-described",
        FindingLevel.WARNING,
        "has 126 characters. Screen readers read all of it in one go",
        lambda: replace(
            examined(),
            content=first_entry(
                sound(), lambda e: replace(e, picture=replace(e.picture or EditionImage("", 1, 1, ""), alt="x" * 126))
            ),
        ),
    ),
    Fault(
        "images-described",
        FindingLevel.WARNING,
        "no description",
        lambda: replace(
            examined(),
            content=first_entry(
                sound(), lambda e: replace(e, picture=replace(e.picture or EditionImage("", 1, 1, ""), alt=""))
            ),
        ),
    ),
    Fault("images-sized", FindingLevel.ERROR, "width and height", _html(r'(<img[^>]*?) width="\d+"', r"\1")),
    Fault("images-kept", FindingLevel.ERROR, "isn't stored here", _with_facts(None)),
    Fault("images-kept", FindingLevel.ERROR, "image/webp", _with_facts(ImageFacts("image/webp", 9000))),
    Fault("images-kept", FindingLevel.ERROR, "The limit is 200 KB", _with_facts(ImageFacts("image/jpeg", 300_000))),
    Fault("own-texts", FindingLevel.ERROR, "Sender → Name", _of_another_name),
    Fault(
        "own-texts",
        FindingLevel.WARNING,
        "news.example.org: Sender → Address, Sender → Reply to, and Sender → List-Id.",
        _of_another_name,
    ),
    Fault(
        "templates",
        FindingLevel.ERROR,
        "line 2",
        lambda: replace(examined(), template_mistakes=("/own/mail/edition/foot.html, line 2: no filter.",)),
    ),
    Fault("logo", FindingLevel.ERROR, "light.png", naming_a_logo),
    Fault("contrast", FindingLevel.ERROR, "the minimum is 4.5", _html("color:#56606C", "color:#A0A8B0")),
    Fault("contrast", FindingLevel.ERROR, "the minimum is 4.5", _html(r"#A4AEBA ?!important", "#3A4450!important")),
)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f"{f.rule}: {f.words}")
def test_a_planted_fault_is_found_by_its_rule(fault: Fault) -> None:
    findings: tuple[PreflightFinding, ...] = run_preflight_rules(fault.plant())
    mine = [f for f in findings if f.rule == fault.rule and f.level == fault.level]
    assert any(fault.words in f.sentence for f in mine), findings


@pytest.mark.parametrize(
    ("summary", "day", "found"),
    [
        ("It closed on Friday.", "Nov 18", True),  # the send date is Friday, Nov. 20
        ("It closed on Friday.", "Nov 20", False),
        ("It closed on Saturday.", "Nov 15", False),  # six days before
        ("It closed on Thursday, and it will open soon.", "Nov 12", True),
        ("It closed on Thursday, Nov. 12.", "Nov 12", False),
        ("It will open on Monday. It opens by Tuesday, or next Friday.", "Nov 11", False),
        ("Sales of Black Friday, and our Malware Monday.", "Nov 11", False),
        ("It closed on Friday.", "", False),
    ],
)
def test_weekdays_are_found_only_if_a_reader_would_take_them_for_others(summary: str, day: str, *, found: bool) -> None:
    mine = [f for f in run_preflight_rules(_dated("A port", day, summary)) if f.rule == "weekdays"]
    assert bool(mine) == found


def test_the_first_sentence_may_be_the_headline_that_the_subject_says_too_or_the_intro() -> None:
    same = replace(examined(), content=replace(sound(), subject=sound().sections[0].entries[0].headline))
    assert [f for f in run_preflight_rules(same) if f.rule == "first-sentence"] == []
    assert [f for f in run_preflight_rules(bare()) if f.rule == "first-sentence"] == []


@pytest.mark.parametrize("date", ["Dec. 7", "Monday, December 7", "Sunday"])
def test_the_dates_of_a_preheader_are_no_names_of_stories(date: str) -> None:
    assert "opening-names" not in [f.rule for f in run_preflight_rules(_said(preheader=f"Next deadline: {date}.")())]


def test_the_masthead_of_breaking_news_is_no_first_sentence() -> None:
    news = replace(bare(number=BREAKING_NEWS_NUMBER), issue_heading="Breaking news")
    assert "Breaking news · Nov 20, 2026" in news.html.replace("\xa0", " ").replace("&nbsp;", " ")
    assert [f for f in run_preflight_rules(news) if f.rule == "first-sentence"] == []


def test_a_lone_story_without_an_intro_comes_first_and_is_announced_by_no_empty_list() -> None:
    lone = bare(intro="")
    assert [f for f in run_preflight_rules(lone) if f.rule == "first-sentence"] == []
    assert "In this issue" not in lone.html
    assert "-minute read" in lone.html
    assert find_first_visible_line(lone) == lone.content.sections[0].entries[0].headline


def test_an_edition_in_another_language_is_told_of_that_and_not_of_a_day_that_is_the_same() -> None:
    found = run_preflight_rules(replace(_in_french(), send_day="vendredi 20 novembre 2026"))
    assert [f.rule for f in found] == ["language"]


@pytest.mark.parametrize(
    ("base", "mail", "level"),
    [
        ("http://localhost:8025", "files", None),
        ("http://localhost:8025", "smtp", FindingLevel.ERROR),
        ("http://news.example.org", "files", FindingLevel.ERROR),
    ],
)
def test_links_to_this_machine_do_for_files_and_stop_whatever_is_mailed(
    base: str, mail: str, level: FindingLevel | None
) -> None:
    looked_at = replace(
        examined(settings=SETTINGS.model_copy(update={"base_url": base})), is_written_to_files=mail == "files"
    )
    found = [(f.rule, f.level) for f in run_preflight_rules(looked_at) if "https URL" in f.message]
    assert found == ([("one-click", level)] if level else [])


def test_what_only_an_admin_can_mend_says_so_and_stands_after_what_editors_can() -> None:
    content = first_entry(sound(), lambda e: replace(e, headline="Cranes " * 20))
    settings = _settings(SenderSettings(postal_address=""))
    found = run_preflight_rules(replace(examined(content, settings=settings), incomplete_reason="It has 2 stories."))
    assert [f.rule for f in found if f.level is FindingLevel.ERROR] == ["held", "postal-address"]
    told = {f.rule: f.remedy.startswith("Ask an admin to ") for f in found}
    assert told == {"held": False, "postal-address": True, "headlines": False}


@pytest.mark.parametrize(
    "link",
    [
        "https://a.example.org/caf\u00e9",
        "https://a.example.org/x?q=[1]",
        "https://a.example.org/x?x=\u201cq\u201d",
        "https://m\u00fcnchen.example.org/x",
        "HTTPS://A.example.org/x",
        "https://fa\u00df.example.org/",
    ],
)
def test_odd_but_legal_links_of_the_world_stop_no_edition(link: str) -> None:
    content = sanitize_content(first_entry(sound(), lambda e: replace(e, url=link)))
    assert run_preflight_rules(examined(content)) == ()
    assert "fass" not in content.sections[0].entries[0].url


@pytest.mark.parametrize(
    "words", ["On November 19 the board met.", "It ends December 4.", "The roundtable is on December 3.", "By 11 a.m."]
)
def test_days_that_are_over_announced_or_later_need_no_second_look(words: str) -> None:
    assert run_preflight_rules(_lead_mentioning(words)) == ()


def test_the_release_day_is_not_upcoming() -> None:
    assert run_preflight_rules(_lead_mentioning("The board met on November 20.")) == ()
    (finding,) = run_preflight_rules(_lead_mentioning("The board meets on November 21."))
    assert finding.rule == "earlier-dates"


def test_the_headlines_of_other_reports_and_related_articles_are_read_for_dates() -> None:
    links = EditionLink("CISA", "https://example.org/1", headline="Agencies face November 30 deadline")
    related = EditionLink("Board meets December 1", "https://example.org/2")
    findings = run_preflight_rules(_lead_mentioning("", also=(links,), related=(related,)))
    assert [f.sentence.partition("” ")[2] for f in findings if f.rule == "earlier-dates"] == [
        "mentions November 30, but the next deadline is December 4. Check whether something is due earlier.",
        "mentions December 1, but the next deadline is December 4. Check whether something is due earlier.",
    ]


@pytest.mark.parametrize(
    ("words", "found"),
    [
        ("Replies are due by November 30.", 1),
        ("Reply no later than 11/30.", 1),
        ("The board meets on November 30.", 0),
        ("The waiver expires December 1, 2028.", 0),  # too late to be announced
        ("Replies were due by November 16.", 0),
    ],
)
def test_a_stated_deadline_is_confirmed_if_none_is_announced(words: str, found: int) -> None:
    content = sound()
    sections = tuple(
        replace(s, entries=tuple(replace(e, when=None, due=None, details=()) for e in s.entries))
        for s in content.sections
    )
    content = first_entry(
        replace(content, sections=sections, intro="News."), lambda e: replace(e, summary=f"{e.summary} {words}")
    )
    sentences = [f.sentence for f in run_preflight_rules(examined(content)) if f.rule == "earlier-dates"]
    assert [s.partition("” ")[2] for s in sentences] == [
        "states a deadline, November 30, but the edition announces none. Check whether something is due then."
    ] * found


def test_a_deadline_that_a_text_states_is_announced() -> None:
    due = EntryDate("deadline", date(2026, 11, 30), "Monday, November 30", "Deadline")
    assert run_preflight_rules(_lead_mentioning("Replies are due by November 30.", due=due)) == ()


def test_a_postal_address_of_several_lines_passes() -> None:
    settings = _settings(SenderSettings(postal_address="1 Main Street\nSuite 5,\nSpringfield\n"))
    assert run_preflight_rules(examined(settings=settings)) == ()


def test_every_rule_has_a_planted_fault_and_a_section_in_the_docs() -> None:
    assert set(PREFLIGHT_RULES) == {f.rule for f in FAULTS}
    headings = re.findall(r"(?m)^## (.+)$", (ROOT / "docs/preflight.md").read_text("utf-8"))
    assert sorted(headings) == sorted(PREFLIGHT_RULES)


def test_what_was_examined_is_not_examined_again_until_anything_of_it_changes() -> None:
    faulty = replace(_said(subject="x" * 61)(), incomplete_reason="incomplete")
    findings = run_preflight_rules(faulty)
    assert run_preflight_rules(replace(faulty, message=bytes(bytearray(faulty.message)))) is findings
    assert "incomplete" in str(findings)
    assert "incomplete" not in str(run_preflight_rules(replace(faulty, incomplete_reason="")))
    assert run_preflight_rules(replace(faulty, base="https://other.example.org")) != findings


def test_the_dark_scheme_is_judged_by_its_own_colours() -> None:
    findings = run_preflight_rules(_html(r"#A4AEBA ?!important", "#3A4450!important")())
    assert {f.where for f in findings if f.rule == "contrast"} == {"dark scheme"}


def test_our_own_links_are_not_tried_online() -> None:
    web = Web({}, {})
    run_preflight_rules(replace(examined(), fetcher=web))
    assert LEAD_URL in web.asked
    assert not [u for u in web.asked if u.startswith("https://news.example.org")]


def test_errors_come_first() -> None:
    levels = [f.level for f in run_preflight_rules(replace(_said(subject="x" * 61)(), incomplete_reason="incomplete"))]
    assert levels == sorted(levels, key=lambda level: level != FindingLevel.ERROR)


def test_updating_the_draft_is_advised_unless_the_edition_is_overdue() -> None:
    moved = replace(examined(), send_day="Saturday, November 21, 2026")
    for late in (False, True):
        found = run_preflight_rules(replace(moved, release_day=moved.content.date if late else ""))
        (finding,) = [each for each in found if each.rule == "day"]
        assert finding.is_fixed_by_update is not late
        assert ("Move the overdue edition" in finding.remedy) is late
