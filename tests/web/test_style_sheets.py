"""The pages' style sheets: a rule for an id applies to one template, because all of the team's pages share a style sheet."""

import re
from collections import defaultdict

from tests.conftest import ROOT

FOLDER = ROOT / "templates" / "web"


def test_an_id_with_style_rules_is_in_one_template() -> None:
    rules = re.sub(r"\{[^{}]*\}", "", "".join(file.read_text("utf-8") for file in sorted(FOLDER.glob("*.css"))))
    styled = set(re.findall(r"#([A-Za-z][\w-]*)", rules))
    templates = defaultdict(list)
    for file in FOLDER.rglob("*.html"):
        for name in styled & set(re.findall(r'\bid="([\w-]+)"', file.read_text("utf-8"))):
            templates[name].append(file.name)
    assert templates
    assert {name: files for name, files in templates.items() if len(files) > 1} == {}
