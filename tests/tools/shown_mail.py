"""Show an email in a browser, with local images and nothing from elsewhere."""

import io
from typing import Any, Self

from PIL import Image
from playwright.sync_api import Browser, Page, Route

from tests.browser import SCHEMES


class ShownMail:
    """A mail in a browser of a width; the pictures come from here, all else is refused and noted."""

    def __init__(self, browser: Browser, html: str, *, width: int, pictures: bool = True, dark: bool = False) -> None:
        """Show the mail; without `pictures` none comes."""
        picture = io.BytesIO()
        Image.new("RGB", (1120, 630), "#335577").save(picture, "JPEG")
        self.refused: list[str] = []
        self.pictures = 0
        self._jpeg = picture.getvalue() if pictures else b""
        self.page: Page = browser.new_page(viewport={"width": width, "height": 800}, color_scheme=SCHEMES[dark])
        self.page.route("**/*", self._answer)
        self.page.set_content(html, wait_until="load")

    def _answer(self, route: Route) -> None:
        if self._jpeg and route.request.url.startswith("https://news.example.org/media/"):
            self.pictures += 1
            route.fulfill(body=self._jpeg, content_type="image/jpeg")
        else:
            self.refused.append(route.request.url)
            route.abort()

    def __enter__(self) -> Self:
        """Give the mail, which is closed at the end of the block."""
        return self

    def __exit__(self, *problem: object) -> None:
        """Close the page."""
        self.page.close()

    def ask(self, script: str) -> Any:
        """Return what a script of the page gives."""
        return self.page.evaluate(script)
