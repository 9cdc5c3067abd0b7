import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from digest.collect.fetched import Fetched, FetchError, Reason
from digest.db import Edition, EditionState
from digest.deliver.letters import Filled, splice
from digest.deliver.variants import Variants
from digest.edition.content import Content, Entry, Picture, Piece
from digest.edition.disarm import disarmed
from digest.edition.preflight import RULES, Examined, Finding, Level, PictureFacts, Sent, check
from digest.edition.rendering import environment_of, frame_of, render
from digest.settings import File, Select, Sender, Settings
from subscribers.choices import Choices

ROOT = Path(__file__).parent.parent
RELEASE = datetime(2026, 11, 20, 11, tzinfo=UTC)
SETTINGS = Settings(
    base_url="https://news.example.org",
    file=File(sender=Sender(postal_address="1200 Example Avenue, Suite 300, Washington, DC 20005")),
)
TOKEN = "AbCdEfGhIjKlMnOpQrStUv"


def sound() -> Content:
    """Give an edition that passes every rule."""
    return Content.from_json(json.loads((ROOT / "tests/fixtures/edition.json").read_text("utf-8")))


@lru_cache(maxsize=32)
def pieces_of(content: Content, postal_address: str) -> tuple[Piece, ...]:
    """Render once what many faults start from."""
    settings = _settings(Sender(postal_address=postal_address))
    return render(content, frame_of(settings), environment_of(settings))


def message_of(
    content: Content, settings: Settings = SETTINGS, edit: Callable[[str], str] = lambda html: html
) -> bytes:
    """Make the final bytes of a message, as sending does."""
    edition = Edition(
        name=content.name, subject=content.subject, release_at=RELEASE, state=EditionState.DRAFT
    )
    letter = Variants(edition, pieces_of(content, settings.file.sender.postal_address), settings).letter(
        Choices()
    )
    assert letter is not None
    assert letter.html is not None
    filled = Filled(
        "reader@example.org", "<a.b@news.example.org>", TOKEN, TOKEN, "March 4, 2026, at hls.today"
    )
    return splice(replace(letter, html=edit(letter.html)), filled)


def examined(content: Content | None = None, settings: Settings = SETTINGS) -> Examined:
    content = content or sound()
    shown = [e.picture for s in content.sections for e in s.entries if e.picture]
    return Examined(
        message=message_of(content, settings),
        content=content,
        file=settings.file,
        base=settings.base,
        pictures={p.hash: PictureFacts("image/jpeg", 90_000, 1120, 630) for p in shown},
    )


def pinning(url: str) -> Examined:
    """Examine a sound edition one of whose stories an editor pinned."""
    file = SETTINGS.file.model_copy(update={"select": Select(pins=[url])})
    return examined(settings=SETTINGS.model_copy(update={"file": file}))


def first_entry(content: Content, change: Callable[[Entry], Entry]) -> Content:
    """Change the lead."""
    featured = content.sections[0]
    return replace(
        content,
        sections=(
            replace(featured, entries=(change(featured.entries[0]), *featured.entries[1:])),
            *content.sections[1:],
        ),
    )


def swapped(facts: Examined, before: bytes, after: bytes) -> Examined:
    """Change the bytes of the message, and be sure that they changed."""
    assert before in facts.message, before
    return replace(facts, message=facts.message.replace(before, after))


class Web:
    """A small web: addresses that answer, and those that do not."""

    def __init__(self, dead: dict[str, Reason], moved: dict[str, str]) -> None:
        self.dead, self.moved, self.asked = dead, moved, list[str]()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, exc: BaseException | None, trace: TracebackType | None
    ) -> None:
        del kind, exc, trace

    def get(
        self,
        url: str,
        *,
        etag: str | None = None,
        last_modified: str | None = None,
        accept: str | None = None,
        max_bytes: int | None = None,
    ) -> Fetched:
        del etag, last_modified, accept, max_bytes
        self.asked.append(url)
        if url in self.dead:
            raise FetchError(url, self.dead[url], "the page is gone")
        return Fetched(
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
    assert check(examined()) == ()


LEAD_URL = sound().sections[0].entries[0].url
LEAD_PICTURE = sound().sections[0].entries[0].picture or Picture("", 1, 1, "")


@dataclass(frozen=True)
class Fault:
    """A planted fault: the rule that must find it, at which level, and words of its message."""

    rule: str
    level: Level
    words: str
    plant: Callable[[], Examined]


def _long_html(kilobytes: int) -> Callable[[], Examined]:
    return lambda: swapped(
        examined(), b"</body>", b"<!--" + (b"x" * 70 + b"=\r\n") * (kilobytes * 1024 // 70) + b"--></body>"
    )


def _settings(sender: Sender) -> Settings:
    return SETTINGS.model_copy(update={"file": SETTINGS.file.model_copy(update={"sender": sender})})


def _section_of(**changes: object) -> Callable[[], Examined]:
    def plant() -> Examined:
        content = sound()
        sections = tuple(replace(s, **changes) if i == 0 else s for i, s in enumerate(content.sections))  # type: ignore[arg-type]
        return replace(examined(), content=replace(content, sections=sections))

    return plant


def _with_facts(facts: PictureFacts | None) -> Callable[[], Examined]:
    def plant() -> Examined:
        sound_facts = examined()
        pictures = {k: v for k, v in sound_facts.pictures.items() if k != LEAD_PICTURE.hash}
        return replace(sound_facts, pictures=pictures | ({LEAD_PICTURE.hash: facts} if facts else {}))

    return plant


def _content(change: Callable[[Content], Content]) -> Callable[[], Examined]:
    """Change what the edition says, and its message with it."""
    return lambda: examined(change(sound()))


def _said(**changes: object) -> Callable[[], Examined]:
    """Change what the edition says and leave the message."""
    return lambda: replace(examined(), content=replace(sound(), **changes))  # type: ignore[arg-type]


def _html(before: str, after: str) -> Callable[[], Examined]:
    """Change the HTML part, once, where `before` matches."""

    def edit(html: str) -> str:
        assert re.search(before, html), before
        return re.sub(before, after, html, count=1)

    return lambda: replace(examined(), message=message_of(sound(), edit=edit))


LONG = "Ports " + "get ten days to check the remote links on their cranes and " * 3
FAULTS = (
    Fault("size", Level.ERROR, "102 KB", _long_html(104)),
    Fault("size", Level.WARNING, "Gmail cuts off", _long_html(82 - 40)),
    Fault(
        "syntax",
        Level.ERROR,
        "bare CR or LF",
        lambda: swapped(examined(), b"MIME-Version: 1.0\r\n", b"MIME-Version: 1.0\n"),
    ),
    Fault(
        "syntax",
        Level.ERROR,
        "longer than 998",
        lambda: swapped(examined(), b"List-Post: NO", b"X-Long: " + b"x" * 999),
    ),
    Fault(
        "syntax",
        Level.ERROR,
        "not ASCII",
        lambda: swapped(examined(), b"List-Post: NO", "List-Post: NÖ".encode()),
    ),
    Fault(
        "syntax",
        Level.ERROR,
        "stands 2 times",
        lambda: swapped(examined(), b"List-Post: NO", b"Subject: again"),
    ),
    Fault(
        "syntax", Level.ERROR, "date is missing", lambda: swapped(examined(), b"\r\nDate: ", b"\r\nX-Date: ")
    ),
    Fault(
        "syntax",
        Level.ERROR,
        "encoded word",
        lambda: swapped(examined(), b"<a.b@", b"=?utf-8?q?=3Ca?= <a.b@"),
    ),
    Fault(
        "syntax", Level.ERROR, "Message-ID", lambda: swapped(examined(), b"<a.b@news.example.org>", b"<a.b>")
    ),
    Fault(
        "syntax",
        Level.ERROR,
        "List-Id",
        lambda: swapped(examined(), b"<weekly.news.example.org>", b"<weekly>"),
    ),
    Fault(
        "syntax",
        Level.ERROR,
        "over 76",
        lambda: swapped(examined(), b"Good morning.", b"Good morning." + b"x" * 80),
    ),
    Fault(
        "one-click",
        Level.ERROR,
        "exactly one https",
        lambda: swapped(examined(), b"List-Unsubscribe: <https:", b"List-Unsubscribe: <http:"),
    ),
    Fault("one-click", Level.ERROR, "must be", lambda: swapped(examined(), b"=One-Click", b"=Two-Clicks")),
    Fault(
        "one-click",
        Level.ERROR,
        "characters long",
        lambda: swapped(
            examined(),
            b"List-Unsubscribe: <https://news.",
            b"List-Unsubscribe: <https://" + b"a" * 40 + b".news.",
        ),
    ),
    Fault(
        "one-click",
        Level.ERROR,
        "does not hold the unsubscribe link",
        lambda: swapped(examined(), b"List-Unsubscribe: <https://news", b"List-Unsubscribe: <https://other"),
    ),
    Fault(
        "parts",
        Level.ERROR,
        "text/plain",
        lambda: swapped(examined(), b"Content-Type: text/plain", b"Content-Type: text/html"),
    ),
    Fault(
        "parity",
        Level.ERROR,
        "missing in the text",
        lambda: replace(
            examined(), content=first_entry(sound(), lambda e: replace(e, headline="Never said"))
        ),
    ),
    Fault(
        "parity",
        Level.ERROR,
        "not in both",
        lambda: replace(
            examined(), content=first_entry(sound(), lambda e: replace(e, url="https://else.example.org/"))
        ),
    ),
    Fault(
        "placeholders",
        Level.WARNING,
        "{{",
        _content(lambda c: first_entry(c, lambda e: replace(e, summary="{{ name }} said"))),
    ),
    Fault(
        "placeholders",
        Level.ERROR,
        "~leave-token~",
        lambda: swapped(examined(), TOKEN.encode(), b"~leave-token~"),
    ),
    Fault("placeholders", Level.ERROR, "{{", _html("Featured", "{{ title }}")),
    Fault("placeholders", Level.WARNING, "subject", _said(subject="Hello {{ name }}")),
    Fault("postal-address", Level.ERROR, "empty", lambda: examined(settings=_settings(Sender()))),
    Fault(
        "postal-address",
        Level.ERROR,
        "not in the text",
        lambda: replace(examined(), file=_settings(Sender(postal_address="9 Elsewhere")).file),
    ),
    Fault("held", Level.ERROR, "too few", lambda: replace(examined(), held_because="too few stories")),
    Fault("subject", Level.ERROR, "empty", _said(subject=" ")),
    Fault("subject", Level.WARNING, "phones show", _said(subject="x" * 61)),
    Fault("subject", Level.WARNING, "repeats", _said(preheader=sound().subject + "!")),
    Fault("subject", Level.WARNING, "inboxes show", _said(preheader="y" * 91)),
    Fault(
        "headlines",
        Level.WARNING,
        "characters",
        _content(lambda c: first_entry(c, lambda e: replace(e, headline=LONG.strip()))),
    ),
    Fault("sections", Level.ERROR, "no lead", _section_of(kind="stories")),
    Fault("sections", Level.ERROR, "empty", _section_of(entries=())),
    Fault(
        "sections",
        Level.WARNING,
        "allow 6",
        _section_of(entries=sound().sections[0].entries + sound().sections[2].entries),
    ),
    Fault(
        "repeats",
        Level.ERROR,
        "stands 2 times",
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
        Level.ERROR,
        "was in 2026-W46",
        lambda: replace(examined(), earlier=(Sent("2026-W46", LEAD_URL + "?utm_source=x", "Ports"),)),
    ),
    Fault(
        "repeats",
        Level.WARNING,
        "was in 2026-W46, and is pinned",
        lambda: replace(pinning(LEAD_URL), earlier=(Sent("2026-W46", LEAD_URL + "?utm_source=x", "Ports"),)),
    ),
    Fault(
        "links", Level.ERROR, "relative", _html('href="https://harbor-ledger[^"]*"', 'href="/crane-links"')
    ),
    Fault(
        "links",
        Level.WARNING,
        "plain http",
        _html('href="https://harbor-ledger', 'href="http://harbor-ledger'),
    ),
    Fault(
        "links",
        Level.ERROR,
        "no web or mail",
        _html('href="https://harbor-ledger', 'href="ftp://harbor-ledger'),
    ),
    Fault(
        "dead-links",
        Level.ERROR,
        "gone",
        lambda: replace(examined(), getter=Web({LEAD_URL: Reason.GONE}, {})),
    ),
    Fault(
        "dead-links",
        Level.WARNING,
        "gone",
        lambda: replace(examined(), getter=Web({LEAD_URL: Reason.SERVER}, {})),
    ),
    Fault(
        "dead-links",
        Level.WARNING,
        "has moved to",
        lambda: replace(examined(), getter=Web({}, {LEAD_URL: "https://new.example.org/"})),
    ),
    Fault(
        "images-ours",
        Level.ERROR,
        "not under",
        _html('src="https://news.example.org/media/', 'src="https://tracker.example.org/'),
    ),
    Fault("images-described", Level.ERROR, "no alt", _html(r'(<img[^>]*?) alt="[^"]*"', r"\1")),
    Fault(
        "images-described",
        Level.WARNING,
        "no description",
        lambda: replace(
            examined(),
            content=first_entry(
                sound(), lambda e: replace(e, picture=replace(e.picture or Picture("", 1, 1, ""), alt=""))
            ),
        ),
    ),
    Fault("images-sized", Level.ERROR, "width and height", _html(r'(<img[^>]*?) width="\d+"', r"\1")),
    Fault("images-kept", Level.ERROR, "not kept", _with_facts(None)),
    Fault("images-kept", Level.ERROR, "image/webp", _with_facts(PictureFacts("image/webp", 9000, 1120, 630))),
    Fault("images-kept", Level.ERROR, "weighs", _with_facts(PictureFacts("image/jpeg", 300_000, 1120, 630))),
    Fault("contrast", Level.ERROR, "is needed", _html("color:#56606C", "color:#A0A8B0")),
    Fault("contrast", Level.ERROR, "is needed", _html(r"#A4AEBA ?!important", "#3A4450!important")),
)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda f: f"{f.rule}: {f.words}")
def test_a_planted_fault_is_found_by_its_rule(fault: Fault) -> None:
    found: tuple[Finding, ...] = check(fault.plant())
    mine = [f for f in found if f.rule == fault.rule and f.level == fault.level]
    assert any(fault.words in f.message for f in mine), found


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
    content = disarmed(first_entry(sound(), lambda e: replace(e, url=link)))
    assert check(examined(content)) == ()
    assert "fass" not in content.sections[0].entries[0].url


def test_a_postal_address_of_several_lines_passes() -> None:
    settings = _settings(Sender(postal_address="1 Main Street\nSuite 5,\nSpringfield\n"))
    assert check(examined(settings=settings)) == ()


def test_every_rule_has_a_planted_fault_and_a_section_in_the_docs() -> None:
    assert set(RULES) == {f.rule for f in FAULTS}
    headings = re.findall(r"(?m)^## (.+)$", (ROOT / "docs/preflight.md").read_text("utf-8"))
    assert sorted(headings) == sorted(RULES)


def test_the_dark_scheme_is_judged_by_its_own_colours() -> None:
    found = check(_html(r"#A4AEBA ?!important", "#3A4450!important")())
    assert {f.where for f in found if f.rule == "contrast"} == {"dark scheme"}


def test_our_own_links_are_not_tried_online() -> None:
    web = Web({}, {})
    check(replace(examined(), getter=web))
    assert LEAD_URL in web.asked
    assert not [u for u in web.asked if u.startswith("https://news.example.org")]


def test_errors_come_first() -> None:
    levels = [f.level for f in check(replace(_said(subject="x" * 61)(), held_because="too few"))]
    assert levels == sorted(levels, key=lambda level: level != Level.ERROR)
