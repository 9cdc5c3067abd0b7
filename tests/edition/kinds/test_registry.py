"""The registry of section kinds, and its use by settings and sources."""

import re
from typing import get_args

import pytest

from digest.catalogs import load_language
from digest.edition.kinds import SECTION_KINDS
from digest.edition.kinds.section_kind import SectionStyle
from digest.settings import SOURCE_SECTIONS, SectionKindName, SectionSettings
from subscribers.subscriber_language import ENGLISH
from tests.conftest import ROOT
from tests.moments import RELEASE

TEMPLATES = ("mail/edition/parts.html", "mail/edition/parts.txt", "web/edition/body.html")


def test_the_settings_know_every_kind_and_no_other() -> None:
    assert set(get_args(SectionKindName)) == set(SECTION_KINDS)


def test_every_section_of_a_source_is_taken_by_a_kind() -> None:
    assert {kind.source_section for kind in SECTION_KINDS.values()} == set(SOURCE_SECTIONS)


def test_one_kind_at_least_leads_an_edition() -> None:
    assert any(kind.leads_edition for kind in SECTION_KINDS.values())


def test_each_kind_has_its_own_turn() -> None:
    turns = [kind.pick_order for kind in SECTION_KINDS.values()]
    assert turns == sorted(set(turns)), "two kinds have one pick_order"


def test_each_kind_says_what_its_sections_contain_in_each_language() -> None:
    """A subscriber who turns off Featured or Topics sees what they'd miss."""
    contents = [kind.contents for kind in SECTION_KINDS.values()]
    assert len(set(contents)) == len(SECTION_KINDS)
    french = load_language("fr")
    assert [text for text in contents if french.translate_text(text) == text] == []


def test_a_section_of_topics_lists_them() -> None:
    section = SectionSettings(key="sea", title="At sea", kind="stories", topics=["Maritime security", "Piers"])
    own_topics = SECTION_KINDS["stories"]
    assert own_topics.describe_contents(section, ENGLISH) == "Stories about Maritime security and Piers"
    french = own_topics.describe_contents(section, load_language("fr"))
    assert french.replace("\N{NO-BREAK SPACE}", " ") == "Articles sur : Sûreté maritime et Piers"
    every_topic = section.model_copy(update={"topics": []})
    assert own_topics.describe_contents(every_topic, ENGLISH) == "More top stories"


def test_most_read_says_which_week_was_counted_unless_the_operator_wrote_a_note() -> None:
    section = SectionSettings(key="read", title="Most read", kind="most-read")
    note = SECTION_KINDS["most-read"].format_section_note(section, RELEASE, ENGLISH)
    assert note == "Week ending Nov 20"
    own_note = section.model_copy(update={"note": "This week"})
    assert SECTION_KINDS["most-read"].format_section_note(own_note, RELEASE, ENGLISH) == "This week"


@pytest.mark.parametrize("template", TEMPLATES)
def test_every_template_sets_each_style(template: str) -> None:
    """Lead and rows are what a template does without a style of another name."""
    named = set(re.findall(r'style == "(\w+)"', (ROOT / "templates" / template).read_text("utf-8")))
    assert named - {"lead"} == set(get_args(SectionStyle)) - {"lead", "rows"}


def test_no_template_compares_a_kinds_name() -> None:
    found = [
        f.name
        for f in (ROOT / "templates").rglob("*.*")
        if re.search(r"section\.kind (?:==|!=|in)", f.read_text("utf-8"))
    ]
    assert found == []
