"""The status that an advisory's page states."""

import pytest

from digest.collect.parsers.page import read_supersession
from digest.collect.sandbox.client import ArticlePageFindings, read_article_page_in_child


def page(words: str) -> bytes:
    return (
        f"<!doctype html><html><head><title>Pump</title></head><body><main><p>{words}</p></main></body></html>".encode()
    )


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("This advisory has been superseded by <a href=/x>ICSA-26-330-01 Harlow Pump</a>.", "superseded by ICSA-26-330-01"),
        ("Note: this Cybersecurity Advisory (CSA) was superseded by AA26-300A.", "superseded by AA26-300A"),
        ("Superseded by: icsa-26-330-01", "superseded by ICSA-26-330-01"),
        ("This alert is now replaced by a joint guide.", "superseded"),
        ("This bulletin has been withdrawn.", "superseded"),
    ],
)  # fmt: skip
def test_an_advisory_that_another_has_replaced_says_so(words: str, said: str) -> None:
    assert read_supersession(page(words)) == said


@pytest.mark.parametrize(
    "words",
    [
        "Version 1.2 of the firmware is superseded by version 1.3.",
        "This advisory has not been superseded.",
        "This advisory supersedes ICSA-26-320-01.",
        "Replace the pump. This advisory was updated on Monday.",
        "The gate was replaced by a door after this advisory.",
        "",
    ],
)
def test_other_pages_say_nothing(words: str) -> None:
    assert read_supersession(page(words)) == ""


def test_a_page_is_read_in_the_child_and_one_that_cannot_be_read_says_nothing() -> None:
    body = page("This advisory has been superseded by ICSA-26-330-01.")
    said = read_article_page_in_child(body, charset="utf-8").supersession
    assert said == "superseded by ICSA-26-330-01"
    assert read_article_page_in_child(b"\x00\xff" * 99, charset=None) == ArticlePageFindings()
