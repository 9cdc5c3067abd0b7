"""Check pages with html-validate."""

import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.conftest import ROOT


def find_html_faults(pages: Mapping[str, str], folder: Path, rules: str = "html-validate-pages.json") -> str:
    """Give what html-validate has against pages, by their path; empty where nothing is. Needs Node.js and tests/node.

    `rules` is a file of tests/node.
    """
    files = []
    for number, (path, text) in enumerate(pages.items()):
        file = folder / f"{number}{path.replace('/', '-').partition('?')[0]}.html"
        file.write_text(text, "utf-8")
        files.append(str(file))
    script = str(ROOT / "tests" / "node" / "html_validate.mjs")
    command = ["node", script, rules, *files]
    run = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    return run.stdout + run.stderr
