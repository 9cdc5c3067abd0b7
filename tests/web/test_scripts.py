"""The pages' scripts: few, small, and without problems by ESLint's recommended rules and ours (tests/node/eslint.config.mjs)."""

import gzip
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path

import pytest

from digest.web.app_state import SCRIPT_FILES, strip_comment_lines
from tests.conftest import ROOT

SCRIPTS = sorted((ROOT / "templates").rglob("*.js"))
MAX_SCRIPT_BYTES = 14 * 1024  # of all scripts of a page, gzipped
NO_PLACE = (
    *("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "Function("),
    *("localStorage", "http:", "https:"),
)
PLANTED = {
    "no-restricted-properties": "document.body.innerHTML = location.hash;",
    "no-undef": "localStorage.setItem('seen', '1');",
    "no-unused-vars": "const seen = 1;",
    "no-eval": "eval(location.hash);",
    "no-implied-eval": "setTimeout('look()', 10);",
    "no-new-func": "fetch(new Function('return 1')());",
    "no-shadow": "const row = 1; fetch(row, (() => { const row = 2; return row; })());",
    "no-restricted-syntax": "fetch('https://elsewhere.example/');",
    "require-atomic-updates": "let told = 0; const hear = async () => { told = told + await fetch('/'); }; hear();",
    "eqeqeq": "if (location.hash == 1) history.back();",
    "cannot be read": "const = 1;",
}


def lint(files: Iterable[Path]) -> list[str]:
    """Give what ESLint has against scripts, a finding a line."""
    command = ["node", str(ROOT / "tests" / "node" / "lint_scripts.mjs"), *map(str, files)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert done.stderr == ""
    assert done.returncode == bool(done.stdout)
    return done.stdout.splitlines()


def test_the_scripts_of_the_templates_are_those_that_pages_are_given() -> None:
    assert [script.name for script in SCRIPTS] == sorted(name for names in SCRIPT_FILES.values() for name in names)


@pytest.mark.parametrize("name", SCRIPT_FILES)
def test_a_pages_script_is_small(name: str) -> None:
    text = "".join((ROOT / "templates" / "web" / file).read_text("utf-8") for file in SCRIPT_FILES[name])
    assert len(gzip.compress(strip_comment_lines(text).encode())) <= MAX_SCRIPT_BYTES


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_script_keeps_to_its_page_also_where_no_linter_is_at_hand(script: Path) -> None:
    text = script.read_text("utf-8")
    assert not [word for word in NO_PLACE if word in text]
    assert not re.search(r"(?<![\"-])\b(var|console|debugger|alert|confirm)\b(?!\")", text)
    assert max(map(len, text.splitlines())) <= 160


@pytest.mark.node
def test_the_linter_finds_nothing_in_the_scripts() -> None:
    assert lint(SCRIPTS) == []


@pytest.mark.node
def test_the_linter_finds_each_planted_fault(tmp_path: Path) -> None:
    files = {rule: tmp_path / f"{rule.replace(' ', '-')}.js" for rule in PLANTED}
    for rule, file in files.items():
        file.write_text(f'"use strict";\n{PLANTED[rule]}\n', "utf-8")
    found = lint(files.values())
    for rule, file in files.items():
        assert [line for line in found if line.startswith(f"{file.name}:2:") and f": {rule}: " in line], rule
