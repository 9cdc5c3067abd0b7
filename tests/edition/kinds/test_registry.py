"""The registry of section kinds, and what the settings and the sources know of them."""

from typing import get_args

from digest.edition.kinds import SECTION_KINDS
from digest.settings import SectionKindName, SourceSettings


def test_the_settings_know_every_kind_and_no_other() -> None:
    assert set(get_args(SectionKindName)) == set(SECTION_KINDS)


def test_every_section_of_a_source_is_taken_by_a_kind() -> None:
    source_sections = get_args(SourceSettings.model_fields["section"].annotation)
    assert {kind.source_section for kind in SECTION_KINDS.values()} == set(source_sections)


def test_one_kind_at_least_leads_an_edition() -> None:
    assert any(kind.leads_edition for kind in SECTION_KINDS.values())
