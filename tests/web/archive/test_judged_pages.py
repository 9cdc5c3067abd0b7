"""The public pages as html-validate sees them."""

import subprocess
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from digest.store.models import EditionState
from tests.conftest import ROOT
from tests.web.conftest import RELEASE

PATHS = (
    *("/", "/subscribe", "/editions/2026-W47", "/privacy", "/contact", "/editions", "/topics", "/topics/maritime"),
    "/search?q=flood+maps",
)


@pytest.mark.node
def test_the_judge_of_html_finds_nothing_on_the_public_pages(world: Any, tmp_path: Path) -> None:
    world.edition(name="2026-W46", number=146, state=EditionState.SENT, release_at=RELEASE - timedelta(7))
    world.edition(state=EditionState.SENT)
    files = []
    for number, path in enumerate(PATHS):
        file = tmp_path / f"{number}{path.replace('/', '-').partition('?')[0]}.html"
        file.write_text(world.client.get(path).text, "utf-8")
        files.append(str(file))
    script = str(ROOT / "tests" / "node" / "html_validate.mjs")
    run = subprocess.run(
        ["node", script, "html-validate-pages.json", *files], capture_output=True, text=True, check=False, timeout=120
    )
    assert run.stdout + run.stderr == ""
