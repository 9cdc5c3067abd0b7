"""Render the email in every supported form, and measure it: `make look` writes screenshots and a table to ./look.

What a machine lacks (Node, Java with VNU_JAR, Lighthouse, SpamAssassin, rspamd, email clients, Firefox, WebKitGTK; Chromium's pictures excepted) stands in the table as left out.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

from playwright.sync_api import Browser

from digest.app.editions.sample_emails import compose_sample_email
from digest.deliver.compose.message import PlaceholderValues, splice_message
from digest.deliver.compose.variants import create_variants
from digest.edition.content.edition_content import EditionContent, EditionImage, SectionEntry
from digest.edition.content.mailable_edition import build_mailable_draft
from digest.edition.rendering.fragments import build_publication_context, create_mail_environment, render_edition
from digest.settings import Settings
from digest.store.engine import migrate_schema, open_database
from digest.store.models import Edition, EditionState
from digest.web.server import open_page_server
from subscribers.consent.preferences import Preferences
from tests.browser import AXE_MAIL, axe_report, excess_width, open_browser
from tests.conftest import ROOT, find_tool, has_tool
from tests.settings.test_branding import TEAL
from tests.tools import look_measures
from tests.tools.email_clients import serve_images, take_client_pictures
from tests.tools.page_pictures import take_page_pictures
from tests.tools.shown_mail import ShownMail
from tests.tools.spam_filters import ask_rspamd, ask_spamassassin
from tests.web.conftest import build_web_setup, store_image

NO_CHOICES, FIVE_MINUTES = Preferences(), Preferences(short=True)
WIDTHS = (320, 390, 640, 1200)
ENTRIES = 30
LIGHTHOUSE = (
    *("lighthouse", "--quiet", "--output=json", "--only-categories=accessibility,best-practices,seo"),
    "--chrome-flags=--headless=new --no-sandbox",
)
LIGHTHOUSE_WANTED = "100 each"
_STYLE_BLOCK = re.compile(r"<style.*?</style>", re.DOTALL)
_MEDIA_RULE = re.compile(r"@media[^{]*\{(?:[^{}]*\{[^{}]*\})*\s*\}")


@dataclass(frozen=True)
class Way:
    """One way in which a mail is met: what becomes of its HTML, the scheme, whether pictures come, what is done to the page."""

    change: Callable[[str], str] = lambda html: html
    dark: bool = False
    pictures: bool = True
    text_size: float = 1
    widths: tuple[int, ...] = (390, 640)


WAYS = {
    "light": Way(widths=WIDTHS),
    "dark": Way(dark=True, widths=WIDTHS),
    # As programs do that turn colours by themselves: everything but the pictures.
    "inverted": Way(
        lambda html: html.replace(
            "</head>",
            "<style>html{filter:invert(1) hue-rotate(180deg)}img{filter:invert(1) hue-rotate(180deg)}</style></head>",
        )
    ),
    "images-off": Way(pictures=False),
    "style-stripped": Way(lambda html: _STYLE_BLOCK.sub("", html)),
    "media-stripped": Way(lambda html: _MEDIA_RULE.sub("", html)),
    "text-200": Way(text_size=2),
}


@dataclass(frozen=True)
class Measure:
    """One line of the table; `holds` is None where nothing is demanded, or a tool is missing."""

    what: str
    found: str
    wanted: str = ""
    holds: bool | None = None


def build_settings(look: dict[str, object]) -> Settings:
    """Return the settings of the publication that is looked at."""
    sender = {"postal_address": "1200 Example Avenue, Washington, DC 20005"}
    return Settings.model_validate(
        {"base_url": "https://news.example.org", "file": {"sender": sender, "branding": look}}
    )


def load_content() -> EditionContent:
    """Return the tests' edition with as many entries as the table speaks of."""
    content = EditionContent.from_json(json.loads((ROOT / "tests/fixtures/edition.json").read_text("utf-8")))
    featured, *others = content.sections
    missing = ENTRIES - sum(len(section.entries) for section in content.sections)
    more = tuple(replace(entry, url=f"{entry.url}?again") for entry in featured.entries[-missing:])
    return replace(content, sections=(replace(featured, entries=featured.entries + more), *others))


def compose_message(
    content: EditionContent, settings: Settings, preferences: Preferences = NO_CHOICES
) -> tuple[bytes, str]:
    """Return the final bytes of one reader's mail of now, and its HTML."""
    pieces = render_edition(content, build_publication_context(settings), create_mail_environment(settings))
    now = datetime.now(UTC)
    edition = Edition(name=content.name, subject=content.subject, release_at=now, state=EditionState.DRAFT)
    edition.number, edition.preheader = content.number, content.preheader
    template = create_variants(build_mailable_draft(edition, pieces, settings), settings).template_for(preferences)
    assert template is not None
    assert template.html is not None
    values = PlaceholderValues(
        "reader@example.org",
        "<a.b@news.example.org>",
        format_datetime(now),
        "A" * 22,
        "B" * 22,
        "March 4, 2026, at your site",
    )
    return splice_message(template, values), template.html.text


def take_pictures(browser: Browser, html: str, folder: Path) -> list[str]:
    """Take a picture of each way at each of its widths; return those that scroll sideways."""
    folder.mkdir(parents=True, exist_ok=True)
    sideways = []
    for name, way in WAYS.items():
        for width in way.widths:
            with ShownMail(browser, way.change(html), width=width, pictures=way.pictures, dark=way.dark) as shown:
                if way.text_size != 1:
                    look_measures.enlarge_text(shown.page, way.text_size)
                if excess_width(shown.page):
                    sideways.append(f"{name} at {width}")
                shown.page.screenshot(path=folder / f"{name}-{width}.png", full_page=True)
    return sideways


def measure_page(browser: Browser, html: str, lead: SectionEntry) -> Iterator[Measure]:
    """Measure an email in a browser; `lead` is its first story."""
    octets = len(html.encode())
    yield Measure(f"HTML with {ENTRIES} entries", f"{octets / 1024:.1f} KB", "≤ 60 KB", octets <= 60 * 1024)
    with ShownMail(browser, html, width=390) as shown:
        top, bottom = look_measures.first_headline_top(shown.page), look_measures.next_deadline_bottom(shown.page)
        yield Measure("first headline, 390 px wide", f"at {top} px", "< 400 px", top < look_measures.FIRST_SCREEN)
        yield Measure("next deadline ends", f"at {bottom} px", "< 400 px", bottom < look_measures.FIRST_SCREEN)
        fact = look_measures.find_text_top(shown.page, lead.summary[:20])
        yield Measure("first fact", f"at {fact} px", "≤ 500 px", fact <= look_measures.FIRST_FACT)
        for what, found in (
            ("links without a cue", look_measures.links_without_cue(shown.page)),
            ("targets too low", look_measures.small_targets(shown.page)),
        ):
            yield Measure(what, str(len(found)), "0", not found)
    for scheme in ("light", "dark"):
        with ShownMail(browser, html, width=390, dark=scheme == "dark") as shown:
            report = axe_report(shown.page, AXE_MAIL)
            yield Measure(f"axe, {scheme}", "nothing" if not report else report.splitlines()[0], "nothing", not report)


def measure_judges(html: str, folder: Path) -> Iterator[Measure]:
    """Ask html-validate, caniemail and the Nu HTML checker."""
    file = folder / "mail.html"
    file.write_text(html, "utf-8")
    for title, script in (("html-validate", "html_validate.mjs"), ("caniemail", "can_i_email.mjs")):
        if not has_tool("node"):
            yield Measure(title, "left out: Node or its packages are missing", "nothing")
            continue
        lines = _run(["node", str(ROOT / "tests" / "node" / script), str(file)]).splitlines()
        yield Measure(title, lines[0] if lines else "nothing", "nothing", not lines)
    jar = os.environ.get("VNU_JAR", "")
    if not (jar and shutil.which("java")):
        yield Measure("vnu", "left out: no Java, or VNU_JAR names no vnu.jar", "0 of our own making")
        return
    report = json.loads(
        _run(["java", "-jar", jar, "--format", "json", "--exit-zero-always", str(file)]) or '{"messages": []}'
    )
    errors = {str(m["message"]) for m in report["messages"] if m["type"] == "error"}
    own = sorted(error for error in errors if not _FOR_MAIL.search(error))
    yield Measure("vnu, without what mail programs need", "; ".join(own)[:300] or "0", "0", not own)


# What Word's engine and old webmail obey is obsolete in HTML's own standard, and CSS is caniemail's matter: see
# docs/decisions/0006-mail-html.md.
_FOR_MAIL = re.compile("attribute on the “[a-z]+” element is obsolete|^CSS: |“xmlns:o”")


def measure_spam(message: bytes, folder: Path) -> Iterator[Measure]:
    """Ask SpamAssassin and rspamd."""
    for tool, title, limit, ask in (
        ("spamassassin", "SpamAssassin, local", 0, ask_spamassassin),
        ("rspamd", "rspamd, with a well-kept DNS", 1, lambda octets: ask_rspamd(octets, folder)),
    ):
        if not has_tool(tool):
            yield Measure(title, "left out: not installed", f"≤ {limit}")
            continue
        report = ask(message)
        yield Measure(title, str(report), f"≤ {limit}", report.points <= limit)


def measure_pages(content: EditionContent, folder: Path) -> Iterator[Measure]:
    """Ask Lighthouse about home, edition and sign-up, as they are served."""
    if not shutil.which("lighthouse"):
        yield Measure("Lighthouse, three pages", "left out: not installed", LIGHTHOUSE_WANTED)
        return
    database = open_database(f"sqlite:///{folder}/pages.db")
    migrate_schema(database)
    world = build_web_setup(database, folder)
    shown = _show_stored_images(content, store_image(database))
    world.edition(state=EditionState.SENT, content=replace(shown, name="2026-W47", number=147))
    with open_page_server(world.app, "127.0.0.1", 0) as serving:
        for path in ("/", "/editions/2026-W47", "/subscribe"):
            said = _run([*LIGHTHOUSE, f"http://127.0.0.1:{serving.port}{path}"])
            if not said.startswith("{"):
                yield Measure(
                    f"Lighthouse, {path}", f"did not run: {said.strip()[-200:]}", LIGHTHOUSE_WANTED, holds=False
                )
                continue
            report = json.loads(said)
            scores = {name: round(100 * (c["score"] or 0)) for name, c in report["categories"].items()}
            found = ", ".join(f"{name} {score}" for name, score in scores.items())
            yield Measure(f"Lighthouse, {path}", found, LIGHTHOUSE_WANTED, min(scores.values()) == 100)
    database.close()


def _show_stored_images(content: EditionContent, image: EditionImage) -> EditionContent:
    """Return an edition with a stored image in place of each of its own, which a page couldn't load."""
    sections = (
        replace(section, entries=tuple(replace(e, picture=image if e.picture else None) for e in section.entries))
        for section in content.sections
    )
    blocks = (replace(block, picture=image if block.picture else None) for block in content.blocks)
    return replace(content, sections=tuple(sections), blocks=tuple(blocks))


def _run(command: list[str], stdin: bytes | None = None) -> str:
    done = subprocess.run(command, input=stdin, capture_output=True, check=False, timeout=180)
    return done.stdout.decode("utf-8", "replace") + done.stderr.decode("utf-8", "replace")


def picture_clients(content: EditionContent, folder: Path) -> Iterator[Measure]:
    """Show the edition in the email clients that are installed, with images and without, light and dark."""
    with serve_images() as url:
        message, html = compose_message(content, build_settings({}).model_copy(update={"base_url": url}))
        for line in take_client_pictures(message, html, folder):
            yield _measure_pictures("email in", line)


def picture_pages(folder: Path) -> Iterator[Measure]:
    """Show pages in the browsers besides Chromium that are installed."""
    for line in take_page_pictures(folder):
        yield _measure_pictures("pages in", line)


def _measure_pictures(what: str, line: str) -> Measure:
    name, _, found = line.partition(": ")
    taken, _, wanted = found.removesuffix(" pictures").partition(" of ")
    return Measure(f"{what} {name}", found, "all", None if "LEFT OUT" in found else taken == wanted)


def write_table(measures: list[Measure]) -> str:
    """Write the measures as a Markdown table."""
    marks = {True: "yes", False: "**no**", None: ""}
    rows = [f"| {m.what} | {m.found} | {m.wanted} | {marks[m.holds]} |" for m in measures]
    return "\n".join(["| measure | found | wanted | holds |", "|---|---|---|---|", *rows]) + "\n"


def main() -> None:
    """Take the pictures, and write and print the table; exit 1 where a measure does not hold."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument(
        "folder", nargs="?", type=Path, default=Path("look"), help="where pictures and table go: ./look"
    )
    folder: Path = parser.parse_args().folder
    folder.mkdir(exist_ok=True)
    content, ours, other = load_content(), build_settings({}), build_settings(TEAL)
    message, html = compose_message(content, ours)
    texts = {
        "edition": compose_sample_email(ours, "edition").text,
        "welcome": compose_sample_email(ours, "welcome").text,
    }
    for name, text in texts.items():
        (folder / f"{name}.txt").write_text(text, "utf-8")
    mails = {
        "edition": html,
        "five-minutes": compose_message(content, ours, FIVE_MINUTES)[1],
        "other-dress": compose_message(content, other)[1],
        "welcome": compose_sample_email(ours, "welcome").html,
    }
    with open_browser(find_tool("chromium") or "chromium") as browser:
        sideways = [
            f"{name}, {way}" for name, page in mails.items() for way in take_pictures(browser, page, folder / name)
        ]
        measures = [
            *measure_page(browser, html, content.sections[0].entries[0]),
            Measure("scrolls sideways", "; ".join(sideways) or "never", "never", not sideways),
        ]
    with tempfile.TemporaryDirectory() as scratch:
        measures += [*measure_judges(html, Path(scratch)), *measure_spam(message, Path(scratch))]
        measures += measure_pages(content, Path(scratch))
    measures += [*picture_clients(content, folder / "clients"), *picture_pages(folder / "pages")]
    table = write_table(measures)
    (folder / "measures.md").write_text(table, "utf-8")
    print(table)
    raise SystemExit(any(measure.holds is False for measure in measures))


if __name__ == "__main__":
    main()
