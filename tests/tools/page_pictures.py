"""Take screenshots of public pages and the desk in Firefox and WebKitGTK, if they're installed.

WebKitGTK is given the pages as files, without a session, so the preview in the desk's page stays empty there.
"""

import tempfile
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

from digest.store.engine import migrate_schema, open_database
from digest.store.models import EditionState
from digest.web.server import open_page_server
from tests.browser import SCHEMES
from tests.conftest import find_tool
from tests.firefox import open_firefox
from tests.moments import RELEASE
from tests.tools.email_clients import find_missing, show_in_webkit
from tests.web.conftest import build_web_setup

WIDTHS = (450, 1000)  # CSS pixels; Firefox's window can't be narrower
SENT, DRAFT = "2026-W47", "2026-W48"


def take_page_pictures(folder: Path) -> Iterator[str]:
    """Take the pictures, and yield a line for each browser: how many were taken, or what's missing."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as scratch:
        database = open_database(f"sqlite:///{scratch}/pages.db")
        migrate_schema(database)
        world = build_web_setup(database, Path(scratch))
        world.edition(name=SENT, state=EditionState.SENT)
        world.edition(name=DRAFT, number=148, release_at=RELEASE + timedelta(7), subject="Flood maps move 41,000 homes")
        paths = {
            "sign-up": "/subscribe",
            "preferences": f"/preferences/{world.token('preferences')}",
            "web-edition": f"/editions/{SENT}",
            "archive": "/editions",
            "desk": f"/desk/editions/{DRAFT}",
        }
        with open_page_server(world.app, "127.0.0.1", 0) as serving:
            address = f"http://127.0.0.1:{serving.port}"
            yield from _take_in_firefox(world, address, paths, folder)
            yield from _take_in_webkit(world, address, paths, folder)
        database.close()


def _take_in_firefox(world: Any, address: str, paths: dict[str, str], folder: Path) -> Iterator[str]:
    path = find_tool("firefox")
    if path is None:
        yield "firefox: LEFT OUT, not installed"
        return
    for scheme in SCHEMES:
        with open_firefox(path, is_dark=scheme == "dark") as firefox:
            firefox.open(address)
            firefox.set_cookie(*world.session_cookie())
            for width in WIDTHS:
                firefox.resize(width, 1000)
                for name, page in paths.items():
                    firefox.open(address + page)
                    firefox.save_picture(folder / f"firefox-{name}-{width}-{scheme}.png")
    pictures = len(paths) * len(WIDTHS) * len(SCHEMES)
    yield f"firefox {firefox.version}: {pictures} of {pictures} pictures"


def _take_in_webkit(world: Any, address: str, paths: dict[str, str], folder: Path) -> Iterator[str]:
    if missing := find_missing("webkit"):
        yield f"webkit: LEFT OUT, {', '.join(missing)} not installed"
        return
    taken = pictures = 0
    for name, path in paths.items():
        html = folder / f"{name}.html"
        html.write_text(world.desk.get(path).text, "utf-8")
        for scheme in SCHEMES:
            for width in WIDTHS:
                target = folder / f"webkit-{name}-{width}-{scheme}.png"
                taken += show_in_webkit(html, target, width=width, scheme=scheme, base=address)
                pictures += 1
        html.unlink()
    yield f"webkit: {taken} of {pictures} pictures"
