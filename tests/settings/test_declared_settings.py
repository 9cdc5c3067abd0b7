"""A setting is declared once, and its documentation and the sample file follow."""

from difflib import unified_diff
from typing import Literal

import pytest
from pydantic import BaseModel

from digest.settings.values import SettingsTable, file_only_setting, setting
from tests.tools.write_settings import GUIDE, SAMPLE, find_undescribed, list_tables, write_guide, write_sample


def explain_stale(name: str, written: str, declared: str) -> str:
    changed = unified_diff(written.splitlines(), declared.splitlines(), name, "as declared", n=0, lineterm="")
    return "\n".join([f"{name} is stale: run make settings", *changed])


def test_the_guide_says_what_the_settings_declare() -> None:
    written, declared = GUIDE.read_text("utf-8"), write_guide()
    assert written == declared, explain_stale("docs/settings.md", written, declared)


def test_the_sample_file_says_what_the_settings_declare() -> None:
    written = SAMPLE.read_text("utf-8")
    declared = write_sample(written)
    assert written == declared, explain_stale("digest/shipped.toml", written, declared)


def test_every_setting_has_its_words() -> None:
    assert find_undescribed(list_tables()) == []


class PlantedTable(SettingsTable):
    """A table with faults."""

    plain: int = 3
    undescribed: int = file_only_setting(3, "")
    described: int = file_only_setting(3, "The number of days.")
    chosen: Literal["all", "some", "none"] = setting("all", "Who", "Who gets it.", choices={"all": "All"})


class PlantedUndocumentedTable(SettingsTable):
    day: int = setting(3, "Day", "The day of the week.")


def test_what_lacks_its_words_is_named() -> None:
    tables: list[tuple[str, type[BaseModel], bool]] = [
        ("planted", PlantedTable, False),
        ("bare", PlantedUndocumentedTable, False),
    ]
    assert find_undescribed(tables) == [
        *("planted.plain: description", "planted.undescribed: description"),
        *("planted.chosen: words for 'some'", "planted.chosen: words for 'none'"),
        "[bare]: docstring",
    ]


@pytest.mark.parametrize("planted", ["| `site` |", "| `same_story` |"])
def test_a_missing_line_makes_the_guide_stale(planted: str) -> None:
    text = write_guide()
    line = next(line for line in text.splitlines() if line.startswith(planted))
    said = explain_stale("docs/settings.md", text.replace(f"{line}\n", ""), text)
    assert "run make settings" in said
    assert f"+{line}" in said
