"""docs/assurance/promises.md: each promise is on the page that makes it, and names tests that exist."""

import re

from tests.conftest import ROOT
from tests.test_security_claims import check_tests_exist

ASSURANCE = ROOT / "docs" / "assurance"


def read_promises() -> list[tuple[str, str, str]]:
    """Return the page, the promise, and the named tests of each row. A row without a page continues the one above it."""
    table = (ASSURANCE / "promises.md").read_text("utf-8").partition("|---|---|---|\n")[2]
    rows, page = [], ""
    for cells in re.findall(r"(?m)^\| (.*?)\| (.*?) \| (.*?) \|$", table):
        page = re.sub(r".*\((.*)\).*", r"\1", cells[0]).strip() or page
        rows.append((page, cells[1], cells[2]))
    assert len(rows) == table.count("\n"), "a row isn't read"
    return rows


def test_each_promise_is_on_its_page_word_for_word() -> None:
    pages = {page: " ".join((ASSURANCE / page).read_text("utf-8").split()) for page, _, _ in read_promises()}
    assert [promise for page, promise, _ in read_promises() if promise not in pages[page]] == []


def test_each_promise_names_tests_that_exist() -> None:
    for _, promise, tests in read_promises():
        named = re.findall(r"`([^`]*)`", tests)
        assert named, promise
        check_tests_exist(named)
