"""Three publishers' emails and pages in a browser: all of their text is legible, in light and dark."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from digest.app.doctor.check_registry import ExaminedInstallation
from digest.app.doctor.settings_checks import check_logo
from digest.app.editions.sample_emails import make_sample_notice_facts
from digest.deliver.compose.notice_mail import NoticeComposer
from digest.edition.content.mailable_edition import join_fragments
from digest.edition.rendering.fragments import build_publication_context, create_mail_environment, render_edition
from digest.settings import BrandingSettings
from digest.store.engine import open_database
from digest.store.models import EditionState
from digest.web.server import open_page_server
from tests.brands import BRANDS, Brand, store_brand_images, write_in_arabic
from tests.browser import AXE_MAIL, page_faults, show_views
from tests.moments import DRAFTING as NOW
from tests.pseudo_language import write_pseudo_catalogue
from tests.run_database import HomeDatabases
from tests.tools import look_measures
from tests.web.conftest import BASE_URL, build_web_setup, sample_content, store_image

pytestmark = pytest.mark.chromium

NAME = "2026-W47"
WIDTHS = (390, 1000)
EMAIL_BYTES = 60 * 1024
PAGES = (f"/editions/{NAME}", "/subscribe", "/", "/privacy")
# Each text with the color and the background that Chromium computes for it: its contrast by WCAG 2.2.
FIND_ILLEGIBLE = """() => {
  const luminance = ([r, g, b]) => [r, g, b].map((c) => c / 255)
    .map((c) => c <= .04045 ? c / 12.92 : ((c + .055) / 1.055) ** 2.4)
    .reduce((sum, c, i) => sum + c * [.2126, .7152, .0722][i], 0);
  const parse = (color) => color.match(/[\\d.]+/g).map(Number);
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = parse(getComputedStyle(at).backgroundColor);
      if (color.length < 4 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const found = [], texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  let looked = 0;
  while (texts.nextNode()) {
    const text = texts.currentNode.data.trim(), element = texts.currentNode.parentElement;
    if (!text || /^(STYLE|SCRIPT|TITLE)$/.test(element.tagName) || !element.checkVisibility()) continue;
    const style = getComputedStyle(element), size = parseFloat(style.fontSize);
    const large = size >= 24 || (size >= 18.66 && style.fontWeight >= 700);
    const sides = [luminance(parse(style.color)), luminance(ground(element))].sort((a, b) => b - a);
    const ratio = (sides[0] + .05) / (sides[1] + .05);
    looked += 1;
    if (ratio < (large ? 3 : 4.5)) found.push(`${text.slice(0, 30)}: ${ratio.toFixed(2)}`);
  }
  return [looked, found];
}"""


@dataclass(frozen=True)
class BrandedSite:
    """A brand's installation, the address of its pages, and its emails by name: an edition and a notice with a button."""

    world: Any
    brand: Brand
    address: str
    emails: dict[str, str]

    def show_email(self, browser: Browser, name: str) -> Page:
        """Show an email with its images from the installation."""
        page = browser.new_page(viewport={"width": WIDTHS[0], "height": 900})

        def answer(route: Route) -> None:
            given = self.world.client.get(route.request.url.removeprefix(BASE_URL))
            route.fulfill(body=given.data, content_type=given.mimetype)

        page.route(f"{BASE_URL}/**", answer)
        page.set_content(self.emails[name], wait_until="load")
        return page


@pytest.fixture(scope="module", params=BRANDS)
def site(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, home_databases: HomeDatabases
) -> Iterator[BrandedSite]:
    brand = BRANDS[request.param]
    home = tmp_path_factory.mktemp("brand")
    catalogues = home / "templates" if brand.language != "en" else None
    if catalogues:
        write_pseudo_catalogue(catalogues, brand.language)
    database = open_database(home_databases.create(home))
    branding = BrandingSettings.model_validate(brand.branding)
    world = build_web_setup(database, home, brand.language, catalogues, name=brand.name, branding=branding)
    store_brand_images(world.install, brand, NOW)
    content = sample_content(store_image(database), NAME, 147, "Ports get ten days")
    content = write_in_arabic(content) if catalogues else content
    settings = world.install.settings
    pieces = render_edition(content, build_publication_context(settings), create_mail_environment(settings))
    world.edition(name=NAME, state=EditionState.SENT, content=content)
    notice = NoticeComposer.from_settings(settings).compose_notice(
        "confirm", make_sample_notice_facts(settings)["confirm"]
    )
    assert notice.html
    emails = {"edition": join_fragments(pieces, "html").text, "notice": notice.html.text}
    with open_page_server(world.app, "127.0.0.1", 0) as serving:
        yield BrandedSite(world, brand, f"http://127.0.0.1:{serving.port}", emails)
    database.close()


def find_illegible(page: Page) -> list[str]:
    looked, found = page.evaluate(FIND_ILLEGIBLE)
    assert looked > 10
    return [str(text) for text in found]


@pytest.mark.parametrize("name", ["edition", "notice"])
def test_no_text_of_an_email_is_illegible(site: BrandedSite, browser: Browser, name: str) -> None:
    page = site.show_email(browser, name)
    papers = set()
    for view in show_views(page, WIDTHS):
        assert find_illegible(page) == [], view
        expect(page.locator(f'img[alt="{site.brand.name}"] >> visible=true'), str(view)).to_have_count(1)
        papers.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
    assert page_faults(page, AXE_MAIL, widths=WIDTHS) == ""
    assert len(papers) == (1 if site.world.install.settings.file.branding.is_always_dark else 2)
    page.close()


def test_a_logo_keeps_its_ratio_on_the_narrowest_screens(site: BrandedSite, browser: Browser) -> None:
    page = site.show_email(browser, "edition")
    distortion = "i => i.offsetWidth / i.offsetHeight * i.naturalHeight / i.naturalWidth"
    for _ in show_views(page, (180, 240, 390)):
        assert page.locator(f'img[alt="{site.brand.name}"] >> visible=true').evaluate(distortion) == pytest.approx(
            1, 0.05
        )
    page.close()


def test_no_text_of_a_page_is_illegible(site: BrandedSite, browser: Browser) -> None:
    page = browser.new_page()
    for path in PAGES:
        page.goto(site.address + path)
        for view in show_views(page, WIDTHS):
            assert find_illegible(page) == [], (path, view)
        assert page_faults(page, widths=WIDTHS) == "", path
        page.emulate_media(media="print")
        assert find_illegible(page) == [], (path, "print")
        page.emulate_media(media="screen")
    page.close()


def test_a_logo_made_for_a_dark_page_is_printed_dark(site: BrandedSite, browser: Browser) -> None:
    page = browser.new_page()
    page.goto(f"{site.address}/privacy")
    page.emulate_media(media="print")
    logo = page.locator(f'.top img[alt="{site.brand.name}"]')
    inverted = "invert(1) hue-rotate(180deg)" if site.world.install.settings.file.branding.is_always_dark else "none"
    expect(logo).to_have_css("filter", inverted)
    page.close()


def test_the_name_fits_in_a_logos_place_without_images(site: BrandedSite, browser: Browser) -> None:
    page = browser.new_page(viewport={"width": WIDTHS[0], "height": 900})
    page.route("**/media/**", lambda route: route.abort())
    page.set_content(site.emails["edition"], wait_until="load")
    name = page.locator(f'img[alt="{site.brand.name}"] >> visible=true')
    assert name.evaluate(
        """(image) => {
          const words = document.createElement("span"), {fontWeight, fontSize, fontFamily} = getComputedStyle(image);
          Object.assign(words.style, {fontWeight, fontSize, fontFamily, position: "absolute"});
          words.textContent = image.alt;
          document.body.append(words);
          return words.offsetWidth <= image.offsetWidth - 16;
        }"""
    )
    page.close()


def test_texts_in_the_other_direction_are_on_the_side_of_the_page(site: BrandedSite, browser: Browser) -> None:
    page = browser.new_page(viewport={"width": WIDTHS[0], "height": 900})
    page.goto(f"{site.address}/editions/{NAME}")
    sides = page.evaluate(
        "[...document.querySelectorAll('main [dir]:not(input)')].map((e) => getComputedStyle(e).textAlign)"
    )
    assert set(sides) == (set() if site.brand.language == "en" else {"right"})
    page.close()


def test_fonts_and_shapes_reach_email_and_pages(site: BrandedSite, browser: Browser) -> None:
    branding = site.world.install.settings.file.branding
    first = branding.text_font.split(",", 1)[0].strip("'")
    email = site.show_email(browser, "notice")
    read = "([selector, property]) => getComputedStyle(document.querySelector(selector))[property]"
    assert email.evaluate(read, ["h1 ~ p", "fontFamily"]).startswith(first)
    assert email.evaluate(read, [".go", "borderTopLeftRadius"]) == f"{branding.button_radius}px"
    assert f"font-family:{branding.outlook_text_font}!important" in site.emails["edition"]
    email.close()
    page = browser.new_page()
    page.goto(f"{site.address}/subscribe")
    assert page.evaluate(read, ["body", "fontFamily"]).startswith(first)
    assert page.evaluate(read, ["main .btn", "borderTopLeftRadius"]) == f"{branding.button_radius}px"
    page.close()


def test_the_email_is_small_its_news_early_and_its_logo_found_sound(site: BrandedSite, browser: Browser) -> None:
    assert len(site.emails["edition"].encode()) <= EMAIL_BYTES
    page = site.show_email(browser, "edition")
    lead = sample_content(store_image(site.world.database), NAME, 147, "").sections[0].entries[0].summary
    fact = (
        write_in_arabic(sample_content(store_image(site.world.database), NAME, 147, "")).sections[0].entries[0].summary
    )
    shown = fact if site.brand.language != "en" else lead
    assert look_measures.find_text_top(page, shown[:20]) <= look_measures.FIRST_FACT
    page.close()
    assert [finding.level for finding in check_logo(ExaminedInstallation(site.world.install))] in ([], ["warning"])
