"""The reading time in an edition's first line."""

from dataclasses import replace

import pytest

from digest.edition.content.edition_content import EditionContent, EditionSection, LabeledBlock, SectionEntry
from digest.edition.rendering.preheader_and_reading_time import count_reading_minutes


def words(count: int) -> str:
    return "word " * count


@pytest.mark.parametrize(("count", "minutes"), [(0, 1), (238, 1), (356, 1), (358, 2), (970, 4), (2380, 10)])
def test_adults_read_238_words_in_a_minute(count: int, minutes: int) -> None:
    assert count_reading_minutes(words(count), (), ()) == minutes


def test_what_stands_in_the_mail_is_read_and_an_edition_says_how_long_that_takes(full_content: EditionContent) -> None:
    entry = SectionEntry(
        headline=words(100), url="", summary=words(200), why=words(80), note=words(20), details=(words(76),)
    )
    sections = (EditionSection("featured", "featured", "Featured", "", (entry,)),)
    blocks = (LabeledBlock("sponsor", "sponsor", words(30), text=words(200)),)
    assert count_reading_minutes("", sections, ()) == 2
    assert count_reading_minutes("", sections, blocks) == 3
    longer = replace(full_content, intro=words(2380))
    assert count_reading_minutes(longer.intro, longer.sections, longer.blocks) >= 10
