"""Helpers for tests in a real browser: starting Chromium, signing in, following links, and running axe.

A click does not wait for the page that it leads to, and a look at the page right after it may see the old one. So `follow` what leads
to another page, and look by `expect`, which waits; `tests/test_browser_tests.py` refuses the looks that do not.
"""

import asyncio
from collections.abc import Collection, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from datetime import date
from itertools import product
from typing import Any, Literal

from axe_playwright_python.base import AXE_SCRIPT, AxeResults
from playwright.sync_api import Browser, BrowserContext, Locator, Page, expect, sync_playwright

from tests.conftest import WAIT_TIMEOUT

CHROMIUM_FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    # A context has one process for its pages and the mails that they frame, and none in reserve.
    "--renderer-process-limit=1",
    # axe is begun anew on every page: most of it is not worth the compiler's time before the page is left.
    "--js-flags=--invocation-count-for-maglev=5000",
)
PAGE_TIMEOUT = WAIT_TIMEOUT * 1000  # milliseconds
Scheme = Literal["light", "dark"]
SCHEMES: tuple[Scheme, ...] = ("light", "dark")
# axe cannot look into frames whose scripts are off, and says so: the mail in them has tests of its own.
# It fetches and parses all style sheets anew for a rule that is off; media alone are for one that is on.
AXE = {"resultTypes": ["violations"], "iframes": False, "preload": {"assets": ["media"]}}
# axe parses the colours of each element and of all that lies behind it, by the thousand a page: mostly the same few.
KEEP_PARSED_COLOURS = """(() => {
  const known = new Map(), colour = axe.commons.color.Color.prototype, parse = colour.parseString;
  colour.parseString = function (text) {
    if (known.has(text)) [this.r, this.g, this.b, this.alpha] = known.get(text);
    else {
      parse.call(this, text);
      known.set(text, [this.r, this.g, this.b, this.alpha]);
    }
    return this;
  };
})();"""
LOAD_AXE = f"{AXE_SCRIPT}\n{KEEP_PARSED_COLOURS}"
COLOUR_RULES = ["color-contrast", "link-in-text-block"]
KEEP_FIRST_ROWS = """rows => {
  for (const list of new Set([...document.querySelectorAll(rows)].map((row) => row.parentElement)))
    [...list.children].filter((row) => row.matches(rows)).slice(1).forEach((row) => row.remove());
}"""
SHOW_IN_PLACE = """text => {
  const shown = new DOMParser().parseFromString(text, 'text/html');
  const sheet = (of) => of.querySelector('link[rel=stylesheet]').getAttribute('href');
  if (sheet(shown) !== sheet(document)) throw new Error(`it has another style sheet: ${sheet(shown)}`);
  document.title = shown.title;
  document.documentElement.lang = shown.documentElement.lang;
  document.body.replaceWith(document.adoptNode(shown.body));
}"""
# The kind of an element, with its parent's: what attributes and styles there are, not which words.
NAME_KIND = """
  const name = (element) => [element.localName, ...[...element.attributes].map(
    ({name, value}) => (['class', 'dir', 'role', 'style', 'type'].includes(name) ? `${name}=${value}` : name)).sort()].join();
  const kind = (element) => `${name(element.parentElement)} > ${name(element)}`;
"""
# The kinds of a page's elements, each with the style sheets.
LIST_KINDS = f"""() => {{ {NAME_KIND}
  const sheets = [...document.querySelectorAll('link[rel=stylesheet], style')].map(
    (sheet) => (sheet.href ? new URL(sheet.href).pathname : sheet.textContent));
  let hash = 0;
  for (const letter of sheets.join()) hash = (Math.imul(hash, 31) + letter.codePointAt(0)) | 0;
  const unseen = '[hidden], template, script, style, details:not([open]) > :not(summary)';
  const seen = [...document.querySelectorAll('body, body *')].filter((element) => !element.closest(unseen));
  return [...new Set(seen.map((element) => `${{hash}}: ${{kind(element)}}`))];
}}"""
KEEP_NEW_ROWS = f"""rows => {{ {NAME_KIND}
  const known = new Set();
  for (const row of document.querySelectorAll(rows)) {{
    const kinds = [row, ...row.querySelectorAll('*')].map(kind);
    if (kinds.every((one) => known.has(one))) row.remove();
    kinds.forEach((one) => known.add(one));
  }}
}}"""
_known_kinds: set[tuple[int, int, str]] = set()
# A mail is shown inside a page that has the landmarks.
AXE_MAIL = AXE | {"rules": {"region": {"enabled": False}}}

expect.set_options(timeout=PAGE_TIMEOUT)


@contextmanager
def open_browser(path: str) -> Iterator[Browser]:
    """Start the Chromium at `path`; it ends with the block."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=path, args=list(CHROMIUM_FLAGS), timeout=PAGE_TIMEOUT)
        make_patient(browser)
        yield browser
        browser.close()


class LentBrowser:
    """A Chromium that modules of tests use one after the other: to start it takes longer than most tests.

    Its event loop runs in a greenlet from the start to the end. Between the modules it doesn't count as the thread's, so that other
    tests can run a loop.
    """

    def __init__(self, path: str) -> None:
        self._path = path
        self._started = ExitStack()
        self._browser: Browser | None = None

    @contextmanager
    def lend(self) -> Iterator[Browser]:
        """Lend it within the block, and close the pages that are left; one that crashed before is started anew."""
        if self._browser is not None:
            self._use_loop(self._browser)
            if not self._browser.is_connected():
                self.close()
        browser = self._browser = self._browser or self._started.enter_context(open_browser(self._path))
        yield browser
        for context in browser.contexts:
            context.close()
        asyncio._set_running_loop(None)

    def close(self) -> None:
        """End it if it was started."""
        if self._browser is not None:
            self._use_loop(self._browser)
            self._browser = None
        self._started.close()
        self._started = ExitStack()

    @staticmethod
    def _use_loop(browser: Browser) -> None:
        asyncio._set_running_loop(browser._loop)


def make_patient(browser: Browser) -> None:
    """Have whatever is done in the browser wait as long as what is looked for: by default half as long, which a busy machine needs."""
    new_context, new_page = browser.new_context, browser.new_page

    def open_context(**options: Any) -> BrowserContext:
        context = new_context(**options)
        context.set_default_timeout(PAGE_TIMEOUT)
        return context

    def open_page(**options: Any) -> Page:
        page = new_page(**options)
        page.context.set_default_timeout(PAGE_TIMEOUT)
        return page

    browser.new_context, browser.new_page = open_context, open_page  # type: ignore[method-assign]


def follow(locator: Locator, key: str = "") -> None:
    """Click what leads to another page, or press a key on it, and wait until that page has loaded."""
    with locator.page.expect_navigation(timeout=PAGE_TIMEOUT):
        if key:
            locator.press(key)
        else:
            locator.click()


# More tabs than these, from one place of a page to the next that somebody wants, are no way for people.
TABS_AT_MOST = 60
TAKES_FOCUS = "element => element === document.activeElement"
GROUP_TAKES_FOCUS = """radio => {
  const at = document.activeElement;
  return at.type === 'radio' && at.name === radio.name && at.form === radio.form;
}"""
IS_PAST_HEAD = """element => document.activeElement === document.body && !location.hash
  && document.querySelector('.skip') !== null && element.closest('main') !== null"""


def tab_to(target: Locator, within: int = TABS_AT_MOST, *, takes_focus: str = TAKES_FOCUS) -> Locator:
    """Press Tab, so many times at most, until the target has the focus; on a fresh page past its head, where that leads to it."""
    expect(target).to_have_count(1)
    page = target.page
    if target.evaluate(IS_PAST_HEAD):
        page.keyboard.press("Tab")
        expect(page.get_by_role("link", name="Skip to content")).to_be_focused()
        page.keyboard.press("Enter")
    element = target.element_handle()
    for _ in range(within):
        page.keyboard.press("Tab")
        has_focus = element.evaluate(f"element => element.isConnected ? ({takes_focus})(element) : null")
        # The page's script may put a new element in its place meanwhile, as it does when the list comes to its end.
        if has_focus is None:
            element = target.element_handle()
            has_focus = element.evaluate(takes_focus)
        if has_focus:
            return target
    raise AssertionError(f"{within} tabs do not lead to {target}")


def press_by_keyboard(target: Locator, within: int = TABS_AT_MOST) -> None:
    """Reach a button or a link by Tab, press Enter on it, and wait until the page that it leads to has loaded."""
    tab_to(target, within)
    enter_by_keyboard(target.page)


def enter_by_keyboard(page: Page) -> None:
    """Press Enter where the focus is, and wait until the page that it leads to has loaded."""
    with page.expect_navigation(timeout=PAGE_TIMEOUT):
        page.keyboard.press("Enter")


def download_by_keyboard(button: Locator) -> str:
    """Reach a button by Tab, press Enter on it, and return the text of the file that it gives."""
    tab_to(button)
    with button.page.expect_download() as given:
        button.page.keyboard.press("Enter")
    return given.value.path().read_text("utf-8")


def write_by_keyboard(field: Locator, text: str, within: int = TABS_AT_MOST) -> None:
    """Reach a field by Tab, and write a text over what stands in it."""
    tab_to(field, within)
    field.page.keyboard.press("ControlOrMeta+A")
    field.page.keyboard.type(text)


def write_day_by_keyboard(field: Locator, day: date) -> None:
    """Reach a field for a day by Tab, and type month, day and year: one after the other, as Chromium asks for them."""
    tab_to(field)
    field.page.keyboard.type(f"{day:%m%d%Y}")
    expect(field).to_have_value(day.isoformat())


def tick_by_keyboard(box: Locator) -> None:
    """Reach a box by Tab, and tick it by Space; one that is ticked already is an error of the test."""
    expect(box).not_to_be_checked()
    tab_to(box).page.keyboard.press("Space")
    expect(box).to_be_checked()


def choose_by_keyboard(radio: Locator) -> None:
    """Reach a group of radio buttons by Tab, go to one by the arrow keys, and choose it by Space."""
    tab_to(radio, takes_focus=GROUP_TAKES_FOCUS)
    while not radio.evaluate(TAKES_FOCUS):
        radio.page.keyboard.press("ArrowDown")
    radio.page.keyboard.press("Space")
    expect(radio).to_be_checked()


def select_by_keyboard(select: Locator, label: str) -> None:
    """Reach a list of choices by Tab, and type as much of one as finds it."""
    tab_to(select)
    for letter in label:
        select.page.keyboard.press(letter)
        if select.evaluate("list => list.selectedOptions[0].label") == label:
            return
    raise AssertionError(f"typing does not find {label}")


def sign_in(context: BrowserContext, world: Any, address: str, role: str = "editor", **session: Any) -> None:
    """Give a browser the session of a member; `session` says when they signed in (`session_cookie`)."""
    name, value = world.session_cookie(role, **session)
    cookie = {"name": name, "value": value, "url": address.replace("http:", "https:"), "secure": True}
    context.add_cookies([cookie])  # type: ignore[list-item]  # a mapping of the shape that Playwright asks for


def axe_report(page: Page, options: dict[str, Any] = AXE) -> str:
    """Return what axe finds on the page as it stands; nothing where it finds nothing."""
    # Axe().run() of axe_playwright_python loads axe for every look and hands over all that passed: three times the work.
    if not page.evaluate("'beginAxe' in window && beginAxe() || 'axe' in window"):
        page.evaluate(LOAD_AXE)
    violations = page.evaluate("options => axe.run(document, options).then(found => found.violations)", options)
    return str(AxeResults({"violations": violations}).generate_report()) if violations else ""


def page_faults(
    page: Page, options: dict[str, Any] = AXE, *, widths: Collection[int] = (), in_another_state: bool = False
) -> str:
    """Return what axe finds on the page, and whether it scrolls sideways; nothing where all is well.

    With `widths` it is looked at in each of them, light and dark; without, as it stands. Axe tries all its rules in the
    narrowest and in the widest, and those that look at colours in both schemes: a scheme changes nothing else. What a width in
    between shows, one of these shows too, but it may be too narrow for it. Another state of a page that was looked at like that,
    and a page with no kind of element that wasn't, is tried by all rules once: in the narrowest in light, or in the widest in dark
    where the page before it ended there.
    """
    if not widths:
        return axe_report(page, options) + excess_width(page)
    outermost = (min(widths), max(widths))
    kinds = {(*outermost, kind) for kind in page.evaluate(LIST_KINDS)}
    if in_another_state or kinds <= _known_kinds:
        is_back = page.viewport_size is not None and page.viewport_size["width"] == outermost[1]
        tried, scheme = outermost[is_back], SCHEMES[is_back]
        views = [(width, scheme) for width in sorted(widths, key=lambda width: abs(width - tried))]
        looks = [
            (view, (axe_report(page, options) if view[0] == tried else "") + excess_width(page))
            for view in show_each(page, views)
        ]
    else:
        looks = [(view, _view_faults(page, options, view, outermost)) for view in show_views(page, widths)]
        if not any(faults for _, faults in looks):
            _known_kinds.update(kinds)
    return "\n".join(f"{width} pixels, {scheme}: {faults}" for (width, scheme), faults in looks if faults)


def _view_faults(page: Page, options: dict[str, Any], view: tuple[int, Scheme], outermost: Collection[int]) -> str:
    width, scheme = view
    rules = options if scheme == SCHEMES[0] else options | {"runOnly": COLOUR_RULES}
    return (axe_report(page, rules) if width in outermost else "") + excess_width(page)


def show_views(
    page: Page, widths: Collection[int], schemes: Collection[Scheme] = SCHEMES
) -> Iterator[tuple[int, Scheme]]:
    """Show the page in each width (in pixels), in each scheme, one after the other: it is loaded once for all of them."""
    return show_each(page, product(widths, schemes))


def show_each(page: Page, views: Iterable[tuple[int, Scheme]]) -> Iterator[tuple[int, Scheme]]:
    """Show the page in one view after the other."""
    for width, scheme in views:
        if page.viewport_size != {"width": width, "height": 900}:
            page.set_viewport_size({"width": width, "height": 900})
        seen = "[innerWidth, matchMedia('(prefers-color-scheme: dark)').matches]"
        if page.evaluate(seen)[1] != (scheme == "dark"):
            page.emulate_media(color_scheme=scheme)
        assert page.evaluate(seen) == [width, scheme == "dark"]
        yield width, scheme


def excess_width(page: Page) -> str:
    """Say that the page scrolls sideways, if it does."""
    width, space = page.evaluate("[document.documentElement.scrollWidth, innerWidth]")
    return f"It is {width} pixels wide, in {space}." if width > space else ""


def faulty_pages(
    page: Page, address: str, paths: list[str], *, widths: Collection[int] = (), fewer: str = "", alike: str = ""
) -> dict[str, str]:
    """Open each page with all its details, and return the faults of those that have some, by path: see `page_faults`.

    Of the rows that match `fewer`, the first of each list is looked at: for pages that differ in something else. Of the rows that
    match `alike`, those are looked at that have a kind of element that no row before them has; the page's width is measured with all.
    """
    found = {}
    if not page.evaluate("'beginAxe' in window"):
        # The browser keeps axe for the pages to come: otherwise half a megabyte goes to it for each of them.
        page.add_init_script(f"window.beginAxe = () => {{ if (!window.axe) {{ {LOAD_AXE} }} }}")
    for path in paths:
        page.goto(address + path)
        if fewer:
            keep_first_rows(page, fewer)
        open_all_details(page)
        whole = [excess_width(page) for _ in show_views(page, widths, SCHEMES[:1])] if alike else []
        if alike:
            page.evaluate(KEEP_NEW_ROWS, alike)
        if faults := page_faults(page, widths=widths) + "".join(whole):
            found[path] = faults
    return found


def keep_first_rows(page: Page, rows: str) -> None:
    """Take the rows that match out of a page, but for the first of each list: where they are looked at elsewhere."""
    page.evaluate(KEEP_FIRST_ROWS, rows)


def show_in_place(page: Page, text: str) -> None:
    """Show a page in place of one that is loaded and has the same style sheet: neither that nor axe is fetched and read again."""
    page.evaluate(SHOW_IN_PLACE, text)


def open_all_details(page: Page) -> None:
    """Open whatever a page keeps folded."""
    page.evaluate("document.querySelectorAll('details').forEach(d => d.open = true)")
