"""Take the README's picture of the mail from the demo: `python -m tests.tools.take_screenshots` (needs Chromium)."""

import io
import tempfile
from pathlib import Path

from click.testing import CliRunner
from PIL import Image
from playwright.sync_api import Browser

from digest.cli import digest
from tests.browser import open_browser
from tests.conftest import find_tool

TARGET_FILE = Path(__file__).parent.parent.parent / "docs" / "pictures" / "mail.png"
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


def main() -> None:
    """Run the demo, and put the light and the dark mail side by side."""
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "demo"
        CliRunner().invoke(digest, ["demo", "--to", str(home)], catch_exceptions=False)
        (copy,) = (home / "web").glob("*.html")
        with open_browser(find_tool("chromium") or "chromium") as browser:
            light, dark = (take_screenshot(browser, copy, 640, "light"), take_screenshot(browser, copy, 390, "dark"))
    both = Image.new("RGB", (light.width + dark.width + 48, HEIGHT + 32), "#E6E9ED")
    both.paste(light, (16, 16))
    both.paste(dark, (light.width + 32, 16))
    TARGET_FILE.parent.mkdir(parents=True, exist_ok=True)
    both.quantize(200).save(TARGET_FILE, optimize=True)


if __name__ == "__main__":
    main()
