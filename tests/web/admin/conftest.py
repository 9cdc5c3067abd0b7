"""An installation with a settings file, for pages that change it."""

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from digest.installation.opened_installation import Installation
from digest.settings import load_settings
from digest.web.app import create_app
from tests.moments import DRAFTING as NOW
from tests.web.conftest import BASE_URL

SETTINGS = """# what we decided in May
[publication]
# name = "HLS.Today"
[sender]
postal_address = "200 Example Street, Washington, DC 20001"  # rented
[schedule]
# send = "fri 06:00"    # only what an editor has approved is released
[limits]
allow_networks = ["127.0.0.0/8"]
"""


def move_settings(
    world: Any,
    folder: Path,
    text: str = SETTINGS,
    *,
    base_url: str = BASE_URL,
    clock: Callable[[], datetime] = lambda: NOW,
    **environment: str,
) -> Any:
    """Open an installation again, with its settings in a file beside its database."""
    file = folder / "digest.toml"
    file.write_text(text, "utf-8")
    now = world.install.settings
    places = {"DIGEST_HOME": str(now.home), "DIGEST_DATABASE_URL": now.database_url, "DIGEST_BASE_URL": base_url}
    settings = load_settings(file, places | environment)
    install = Installation(settings, world.database)
    app = create_app(install, clock=clock)
    app.testing = True
    return replace(world, install=install, app=app)


@pytest.fixture(scope="session")
def move_settings_to_file() -> Callable[..., Any]:
    """Give the function that opens an installation again, with its settings in a file beside its database."""
    return move_settings
