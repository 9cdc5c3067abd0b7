"""Take the screenshots for the README, docs/editors.md, and docs/admins.md from the running product: `make pictures` (needs Chromium)."""

import io
import tempfile
from pathlib import Path

from click.testing import CliRunner
from PIL import Image
from playwright.sync_api import Browser

from digest.cli import digest
from tests.browser import open_browser
from tests.conftest import ROOT, find_tool
from tests.tools.admin_pictures import take_admin_pictures, take_demo_pictures
from tests.tools.guide_pictures import save_image, take_guide_pictures

FOLDER = ROOT / "docs" / "pictures"
HEIGHT = 1180


def take_screenshot(browser: Browser, page: Path, width: int, scheme: str) -> Image.Image:
    """Take the upper part of a page at a width, in a colour scheme."""
    context = browser.new_context(
        viewport={"width": width, "height": HEIGHT},
        color_scheme="dark" if scheme == "dark" else "light",
        reduced_motion="reduce",
    )
    tab = context.new_page()
    tab.goto(page.as_uri())
    picture = Image.open(io.BytesIO(tab.screenshot()))
    picture.load()
    context.close()
    return picture.convert("RGB")


def take_mail_picture(browser: Browser, home: Path) -> None:
    """Run the demo in `home`, and put the light and the dark mail side by side."""
    CliRunner().invoke(digest, ["demo", "--to", str(home)], catch_exceptions=False)
    (copy,) = (home / "web").glob("*.html")
    light, dark = (take_screenshot(browser, copy, 640, "light"), take_screenshot(browser, copy, 390, "dark"))
    both = Image.new("RGB", (light.width + dark.width + 48, HEIGHT + 32), "#E6E9ED")
    both.paste(light, (16, 16))
    both.paste(dark, (light.width + 32, 16))
    save_image(both, FOLDER / "mail.png")


def main() -> None:
    """Take all pictures, each into a file of its own."""
    with tempfile.TemporaryDirectory() as home, open_browser(find_tool("chromium") or "chromium") as browser:
        take_mail_picture(browser, Path(home) / "demo")
        take_guide_pictures(browser, Path(home), FOLDER)
        admins_home = Path(home) / "admins"
        admins_home.mkdir()
        take_admin_pictures(browser, admins_home, FOLDER)
        take_demo_pictures(browser, Path(home) / "demo", FOLDER)


if __name__ == "__main__":
    main()
