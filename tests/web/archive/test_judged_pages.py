"""The public pages checked by html-validate."""

from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from digest.app.editing.corrections import CorrectionForm, correct_story
from digest.store.models import EditionState
from tests.actors import EDITOR
from tests.html_judge import find_html_faults
from tests.moments import RELEASE

PATHS = (
    *("/", "/subscribe", "/editions/2026-W47", "/privacy", "/contact", "/editions", "/topics", "/topics/maritime"),
    "/search?q=flood+maps",
)


@pytest.mark.node
def test_the_judge_of_html_finds_nothing_on_the_public_pages(world: Any, tmp_path: Path) -> None:
    world.edition(name="2026-W46", number=146, state=EditionState.SENT, release_at=RELEASE - timedelta(7))
    name = world.edition(state=EditionState.SENT)
    # Dated on every page that has the story.
    form = CorrectionForm(f"https://fema.example/{name}", "headline", "New flood maps move 4,100 homes", "Not 41,000.")
    correct_story(world.install, name, form, actor=EDITOR, now=RELEASE + timedelta(days=1))
    assert find_html_faults({path: world.client.get(path).text for path in PATHS}, tmp_path) == ""
