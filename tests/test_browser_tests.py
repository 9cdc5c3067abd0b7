"""Browser tests check a page with assertions that wait, because checks of its current state fail on a busy machine."""

import ast
from collections.abc import Iterator
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest

from tests.conftest import ROOT

# What looks at once, and what waits instead: `expect(locator)` and one of these.
WAITING_FORMS = {
    "all_inner_texts": "to_have_text([…])",
    "all_text_contents": "to_have_text([…])",
    "count": "to_have_count(…)",
    "get_attribute": "to_have_attribute(…)",
    "inner_text": "to_have_text(…) or to_contain_text(…)",
    "input_value": "to_have_value(…)",
    "is_checked": "to_be_checked()",
    "is_disabled": "to_be_disabled()",
    "is_editable": "to_be_editable()",
    "is_enabled": "to_be_enabled()",
    "is_hidden": "to_be_hidden()",
    "is_visible": "to_be_visible()",
    "text_content": "to_have_text(…) or to_contain_text(…)",
}

# What has the mouse, or a script that sets the focus, do what a journey by the keyboard is to prove.
NO_KEYS = frozenset(
    {
        *(
            "check",
            "click",
            "dblclick",
            "dispatch_event",
            "drag_to",
            "fill",
            "focus",
            "follow",
            "hover",
            "press_sequentially",
        ),
        *("select_option", "select_text", "set_checked", "tap", "uncheck"),
    }
)
BY_KEYBOARD_ALONE = (
    "tests/web/admin/test_morning_in_browser.py",
    "tests/web/desk/test_editors_week_in_browser.py",
    "tests/web/staff_ways.py",
)


def keyless_actions(tree: ast.AST) -> Iterator[str]:
    """Name what is not done by the keyboard, with its line."""
    for node in ast.walk(tree):
        name = _method_of(node) or (ast.unparse(node.func) if isinstance(node, ast.Call) else "")
        if name in NO_KEYS or (name == "press" and not ast.unparse(node.func).endswith("keyboard.press")):  # type: ignore[attr-defined]
            yield f"line {node.lineno}: {name}() is not done by the keyboard"  # type: ignore[attr-defined]


def hasty_looks(tree: ast.AST) -> Iterator[str]:
    """Name what looks at a page without waiting, with its line and what waits."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Assert):
            yield from (f"line {node.lineno}: {fault}" for fault in _looks_of_assertion(node.test))
        elif _method_of(node) == "wait_for_timeout":
            yield f"line {node.lineno}: wait for what shall be seen, by expect(…), not for a time"  # type: ignore[attr-defined]
        for body in (getattr(node, "body", ()), getattr(node, "orelse", ())):
            for first, second in pairwise(body) if isinstance(body, list) else ():
                if _method_of_statement(first) == "click" and _method_of_statement(second) == "goto":
                    yield f"line {first.lineno}: follow(…) what is clicked: the next line leaves the page before the click is answered"


def _looks_of_assertion(test: ast.expr) -> Iterator[str]:
    for node in ast.walk(test):
        name = _method_of(node)
        # What counts in a string is told what to count.
        if name in WAITING_FORMS and not (name == "count" and node.args):  # type: ignore[attr-defined]
            yield f"{name}() looks at once; expect(…).{WAITING_FORMS[name]} waits"
        elif isinstance(node, ast.Attribute) and ast.unparse(node) == "page.url":
            yield "page.url looks at once; expect(page).to_have_url(…) waits"


def _method_of(node: ast.AST) -> str:
    return node.func.attr if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) else ""


def _method_of_statement(node: ast.stmt) -> str:
    return _method_of(node.value) if isinstance(node, ast.Expr) else ""


@cache
def browser_tests() -> dict[str, ast.Module]:
    """Parse every module of the tests that drives a browser, by its path."""
    texts = {str(file.relative_to(ROOT)): file.read_text("utf-8") for file in sorted((ROOT / "tests").rglob("*.py"))}
    return {path: ast.parse(text) for path, text in texts.items() if "from playwright." in text and path != _own_path()}


def _own_path() -> str:
    return str(Path(__file__).relative_to(ROOT))


def test_there_are_browser_tests_to_look_at() -> None:
    assert "tests/web/test_pages_in_browser.py" in browser_tests()


def test_browser_tests_wait_for_what_they_look_at() -> None:
    assert {path: hasty for path, tree in browser_tests().items() if (hasty := list(hasty_looks(tree)))} == {}


@pytest.mark.parametrize(
    ("planted", "waiting"),
    [
        ("assert page.locator('h1').is_visible()", "to_be_visible()"),
        ("assert not page.locator('h1').first.is_hidden(), 'why'", "to_be_hidden()"),
        ("assert 'Saved' in page.get_by_role('status').inner_text()", "to_contain_text(…)"),
        ("assert [1] == [row.count() for row in rows]", "to_have_count(…)"),
        ("assert page.url == address", "to_have_url(…)"),
        ("page.wait_for_timeout(300)", "by expect(…)"),
        ("with one:\n    button.click()\n    page.goto(address)", "follow(…)"),
        ("if one:\n    pass\nelse:\n    button.click()\n    page.goto(address)", "follow(…)"),
    ],
)
def test_a_planted_hasty_look_is_found_and_what_waits_is_named(planted: str, waiting: str) -> None:
    (fault,) = hasty_looks(ast.parse(planted))
    assert waiting in fault


@pytest.mark.parametrize("path", BY_KEYBOARD_ALONE)
def test_a_journey_by_the_keyboard_takes_nothing_else(path: str) -> None:
    assert list(keyless_actions(browser_tests()[path])) == []


@pytest.mark.parametrize(
    "planted", ["button.click()", "follow(button)", "box.press('Space')", "page.get_by_label('Why').fill('x')"]
)
def test_a_planted_act_without_keys_is_found(planted: str) -> None:
    assert len([*keyless_actions(ast.parse(planted))]) == 1


def test_keys_are_let_be() -> None:
    assert (
        list(
            keyless_actions(ast.parse("page.keyboard.press('Tab')\npress_by_keyboard(button)\nwrite_by_keyboard(a, b)"))
        )
        == []
    )


def test_what_waits_is_let_be() -> None:
    waits = (
        "expect(page.locator('h1')).to_have_count(1)\nassert text.count('a') == 2\nfollow(button)\npage.goto(address)"
    )
    assert list(hasty_looks(ast.parse(waits))) == []
