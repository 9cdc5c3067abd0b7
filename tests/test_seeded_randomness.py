"""A test draws the same values in each run."""

import importlib.util
import sys
from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies


def draw_numbers() -> list[int]:
    """Give the examples that Hypothesis makes for one and the same test."""
    drawn: list[int] = []

    @hypothesis.given(strategies.integers())
    @hypothesis.settings(max_examples=300, derandomize=True, database=None)
    def note_number(number: int) -> None:
        drawn.append(number)

    note_number()
    return drawn


def test_examples_do_not_hang_on_the_parts_of_the_product_that_were_imported_before(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    before = draw_numbers()
    part = tmp_path / "imported_meanwhile.py"
    part.write_text(f"NUMBERS = {list(range(7_000_001, 7_001_000))}\n", "utf-8")
    spec = importlib.util.spec_from_file_location("imported_meanwhile", part)
    assert spec is not None
    monkeypatch.setitem(sys.modules, "imported_meanwhile", importlib.util.module_from_spec(spec))
    assert draw_numbers() == before
