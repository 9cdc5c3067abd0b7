"""The email checked in a browser, and by axe, html-validate, and caniemail's data."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from digest.edition.content.edition_content import EditionContent
from digest.edition.content.mailable_edition import join_fragments
from digest.edition.rendering.fragments import build_publication_context, create_mail_environment, render_edition
from digest.settings import Settings
from tests.browser import AXE_MAIL, axe_report, excess_width, show_views
from tests.conftest import ROOT
from tests.pseudo_language import lengthen, write_pseudo_catalogue
from tests.tools import look_measures
from tests.tools.shown_mail import ShownMail

OURS = Settings.model_validate(
    {
        "base_url": "https://news.example.org",
        "file": {"sender": {"postal_address": "1200 Example Avenue, Washington, DC 20005"}},
    }
)


@pytest.fixture(scope="module")
def mail(full_content: EditionContent) -> str:
    return join_fragments(
        render_edition(full_content, build_publication_context(OURS), create_mail_environment(OURS)), "html"
    ).text


@pytest.fixture(scope="module")
def web_copy(full_content: EditionContent) -> str:
    return join_fragments(
        render_edition(full_content, build_publication_context(OURS), create_mail_environment(OURS)), "web"
    ).text


@pytest.fixture(scope="module")
def odd_mail(full_content: EditionContent) -> str:
    """Give an edition of the titles that break layouts."""
    titles = ("W" * 300, "وزارة الداخلية تعلن عن خطة جديدة", "🚨👨‍👩‍👧‍👦 " * 20, "A long headline of many words " * 10)
    sections = tuple(
        replace(
            section,
            note=section.note and "A long note of many words " * 4,
            entries=tuple(
                replace(e, headline=titles[i % 4], summary=titles[i % 4], source="W" * 60, details=titles)
                for i, e in enumerate(section.entries)
            ),
        )
        for section in full_content.sections
    )
    content = replace(full_content, sections=sections, intro="W" * 200)
    return join_fragments(
        render_edition(content, build_publication_context(OURS), create_mail_environment(OURS)), "html"
    ).text


@pytest.mark.chromium
@pytest.mark.parametrize("form", ["mail", "web_copy"])
def test_axe_finds_nothing(browser: Browser, request: pytest.FixtureRequest, form: str) -> None:
    with ShownMail(browser, request.getfixturevalue(form), width=390) as shown:
        for view in show_views(shown.page, (390, 640)):
            ground = "rgb(18, 22, 28)" if "dark" in view else "rgb(255, 255, 255)"
            assert shown.ask("getComputedStyle(document.body).backgroundColor") == ground
            assert axe_report(shown.page, AXE_MAIL) == "", view


@pytest.mark.chromium
@pytest.mark.parametrize("form", ["mail", "web_copy"])
def test_only_our_pictures_are_asked_for(browser: Browser, request: pytest.FixtureRequest, form: str) -> None:
    with ShownMail(browser, request.getfixturevalue(form), width=640) as shown:
        assert shown.refused == []
        assert shown.pictures == 4


@pytest.mark.chromium
@pytest.mark.parametrize("form", ["mail", "odd_mail"])
def test_nothing_scrolls_sideways(browser: Browser, request: pytest.FixtureRequest, form: str) -> None:
    with ShownMail(browser, request.getfixturevalue(form), width=320) as shown:
        assert [excess_width(shown.page) for _ in show_views(shown.page, (320, 390, 640), ["light"])] == ["", "", ""]


@pytest.mark.chromium
def test_the_column_is_at_most_560_wide_and_the_lead_fills_it(browser: Browser, mail: str) -> None:
    with ShownMail(browser, mail, width=1200) as shown:
        box = shown.ask("(b => [b.x, b.width, b.height])(document.querySelector('img').getBoundingClientRect())")
        assert box == [320, 560, 315]


@pytest.mark.chromium
def test_a_phone_stacks_what_stands_side_by_side(browser: Browser, mail: str) -> None:
    tops = "[...document.querySelectorAll('.half')].slice(0, 2).map(e => e.getBoundingClientRect().y)"
    with ShownMail(browser, mail, width=640) as wide, ShownMail(browser, mail, width=390) as phone:
        first, second = wide.ask(tops)
        assert first == second
        first, second = phone.ask(tops)
        assert first < second


@pytest.mark.chromium
def test_the_first_screen_holds_the_news_and_links_keep_their_word(
    browser: Browser, mail: str, full_content: EditionContent
) -> None:
    assert sum(len(section.entries) for section in full_content.sections) >= 28
    assert len(mail.encode()) <= 56 * 1024, "two stories more, and it would be above 60 KB"
    with ShownMail(browser, mail, width=390) as shown:
        assert look_measures.first_headline_top(shown.page) <= 120
        assert look_measures.next_deadline_bottom(shown.page) <= look_measures.FIRST_SCREEN
        assert look_measures.links_without_cue(shown.page) == []
        assert look_measures.small_targets(shown.page) == []
        look_measures.enlarge_text(shown.page, 2.2)
        assert excess_width(shown.page) == ""
        shown.page.set_viewport_size({"width": 320, "height": 900})
        assert excess_width(shown.page) == "", "on the narrowest phone"
    bare = mail.replace("text-decoration:underline", "text-decoration:none").replace(
        "line-height:24px", "line-height:14px"
    )
    with ShownMail(browser, bare, width=390) as shown:
        assert look_measures.links_without_cue(shown.page)
        assert look_measures.small_targets(shown.page)


LONG_HEADLINES = (
    "Coast Guard extends the deadline for port operators to list every cellular modem on cranes",
    "State emergency managers warn that nine of ten counties have no working siren on a Sunday night",
    "Hospitals in three regions share one plan for a week without network, radio, or fresh water",
)


@pytest.mark.chromium
@pytest.mark.parametrize("headlines", [(), LONG_HEADLINES])
def test_the_first_fact_is_within_500_px(
    browser: Browser, full_content: EditionContent, headlines: tuple[str, ...]
) -> None:
    featured, *others = full_content.sections
    renamed = [replace(e, headline=h) for e, h in zip(featured.entries, headlines, strict=False)]
    entries = (*renamed, *featured.entries[len(renamed) :])
    content = replace(full_content, sections=(replace(featured, entries=entries), *others))
    pieces = render_edition(content, build_publication_context(OURS), create_mail_environment(OURS))
    with ShownMail(browser, join_fragments(pieces, "html").text, width=390) as shown:
        fact = look_measures.find_text_top(shown.page, "A joint notice asks")
        assert fact <= look_measures.FIRST_FACT
        before = shown.ask("document.body.innerText").partition("A joint notice asks")[0]
        assert " ".join(before.split()).count(entries[0].headline) == 1
        link = shown.page.get_by_role("link", name="Read on the web")
        expect(link).to_have_attribute("href", "https://news.example.org/editions/2026-W47#intro")


@pytest.mark.chromium
def test_dates_are_whole_words_on_the_narrowest_screen(browser: Browser, mail: str) -> None:
    with ShownMail(browser, mail, width=195) as shown:
        shown.ask("document.querySelectorAll('p.signal').forEach(p => p.id = 'due')")
        assert shown.ask("document.querySelectorAll('#due').length") >= 5
        assert look_measures.find_broken_words(shown.page, "#due") == []
        assert look_measures.find_leading_dots(shown.page) == []
        shown.page.set_viewport_size({"width": 390, "height": 800})
        assert look_measures.find_leading_dots(shown.page) == []
        shown.ask("document.querySelectorAll('p.signal').forEach(p => p.style.width = '40px')")
        assert look_measures.find_broken_words(shown.page, "#due"), "they're found"
        shown.ask("document.querySelector('h3').textContent = '\u00b7 a'")
        assert look_measures.find_leading_dots(shown.page)


@pytest.mark.chromium
def test_a_screen_subscriber_meets_the_edition_in_this_order(browser: Browser, mail: str) -> None:
    """Sections, headings, dates right after them, links with their story's name: from Chromium's accessibility tree."""
    written = (ROOT / "tests" / "fixtures" / "spoken_edition.txt").read_text("utf-8").splitlines()
    with ShownMail(browser, mail, width=390) as shown:
        assert look_measures.outline_passages(look_measures.list_accessible_passages(shown.page)) == written


def judged(script: str, mails: dict[str, str], folder: Path) -> str:
    """Return what a judge has against mails, by their names; empty where nothing is."""
    files = []
    for name, html in mails.items():
        file = folder / f"{name}.html"
        file.write_text(html, "utf-8")
        files.append(str(file))
    command = ["node", str(ROOT / "tests" / "node" / script), *files]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    return run.stdout + run.stderr


@pytest.mark.node
@pytest.mark.parametrize("script", ["html_validate.mjs", "can_i_email.mjs"])
def test_the_judges_find_nothing(script: str, mail: str, web_copy: str, odd_mail: str, tmp_path: Path) -> None:
    assert judged(script, {"mail": mail, "web-copy": web_copy, "odd-mail": odd_mail}, tmp_path) == ""


@pytest.mark.node
def test_the_judges_find_a_planted_fault_in_the_mail_that_has_it(mail: str, tmp_path: Path) -> None:
    broken = mail.replace('role="main"', 'role="main" style="display:grid"').replace(
        ' alt="Cranes over a loaded ship at dusk"', ""
    )
    for script, fault in (("can_i_email.mjs", "display:grid"), ("html_validate.mjs", "wcag/h37")):
        findings = judged(script, {"mail": mail, "broken": broken}, tmp_path).splitlines()
        assert any(fault in finding for finding in findings)
        assert all(finding.startswith("broken.html: ") for finding in findings)


@pytest.mark.chromium
@pytest.mark.parametrize("code", ["fi", "he"], ids=["long words", "right to left"])
def test_longer_words_in_either_direction_break_no_line(
    browser: Browser, full_content: EditionContent, tmp_path: Path, code: str
) -> None:
    write_pseudo_catalogue(tmp_path, code, lengthen)
    settings = Settings.model_validate({"templates": tmp_path, "file": {"publication": {"language": code}}})
    frame, environment = build_publication_context(settings), create_mail_environment(settings)
    html = join_fragments(render_edition(full_content, frame, environment), "html").text
    assert "łőñǵ" in html
    for width in (195, 320, 390, 640):
        with ShownMail(browser, html, width=width) as shown:
            assert not excess_width(shown.page), width
            assert look_measures.find_line_faults(shown.page).leading_dots == [], width
            if width >= 320:
                assert look_measures.find_line_faults(shown.page).broken_words == [], width
