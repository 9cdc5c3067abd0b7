"""Exported CSV files: no cell is a formula, whatever separator a spreadsheet uses."""

import csv
import io
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from subscribers.transfer.spreadsheet_csv import SpreadsheetCsvWriter, escape_formulas

SEPARATORS = ",;\t|"
FORMULA_STARTS = tuple("=+-@\uff1d\uff0b\uff0d\uff20")
hostile_texts = st.text(alphabet="=+-@\uff1d ;,|\t\r\n\"'\ufeff\xa0a", max_size=12)


def write_file(rows: list[list[str]]) -> str:
    file = io.StringIO(newline="")
    writer = SpreadsheetCsvWriter(file)
    for row in rows:
        writer.write_row(row)
    return file.getvalue()


def read_cells(text: str, separator: str, *, skip_spaces: bool = False) -> list[list[str]]:
    return list(csv.reader(io.StringIO(text, newline=""), delimiter=separator, skipinitialspace=skip_spaces))


@given(st.lists(st.lists(hostile_texts, min_size=3, max_size=3), min_size=1, max_size=4))
def test_no_cell_is_a_formula_whatever_parts_the_cells(rows: list[list[str]]) -> None:
    text = write_file(rows)
    for separator in SEPARATORS:
        for skip_spaces in (False, True):
            cells = [cell for row in read_cells(text, separator, skip_spaces=skip_spaces) for cell in row]
            trimmed = [cell.strip(' "\t\r\n\xa0\ufeff') for cell in cells]
            assert not [cell for cell in trimmed if cell.startswith(FORMULA_STARTS)]


@given(st.lists(st.lists(hostile_texts, min_size=2, max_size=2), min_size=1, max_size=4))
def test_a_subscriber_of_commas_finds_every_field_with_nothing_but_apostrophes_more(rows: list[list[str]]) -> None:
    found = read_cells(write_file(rows), ",")
    assert [[cell.replace("'", "") for cell in row] for row in found] == [
        [text.replace("'", "") for text in row] for row in rows
    ]
    assert found == [[escape_formulas(cell) for cell in row] for row in found]


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("ada@example.org", "ada@example.org"),
        ("Border Expo, Denver; hall 2", "Border Expo, Denver; hall 2"),
        ("2026-11-19T22:30:00.000Z", "2026-11-19T22:30:00.000Z"),
        ("=cmd", "'=cmd"),
        ("Jo;=cmd|' /C calc'!A0;x", "Jo;'=cmd|' /C calc'!A0;x"),
        ('Jo;"=cmd"', 'Jo;\'"=cmd"'),
        ("Jo\n +1", "Jo\n' +1"),
        ("\tx", "'\tx"),
        ("\uff1dcmd", "'\uff1dcmd"),
    ],
)
def test_an_apostrophe_stands_where_a_formula_would_begin_and_nowhere_else(text: str, written: str) -> None:
    assert escape_formulas(text) == written


@pytest.mark.parametrize("piece", ["\n", ";", " ", ' "', "; "])
def test_a_long_field_is_looked_through_once(piece: str) -> None:
    began = time.process_time()
    escape_formulas(piece * 100_000)
    assert time.process_time() - began < 1
