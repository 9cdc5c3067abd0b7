"""The line that inboxes show after the subject: the rest of the edition and the next deadline, without repeating the first screen."""

from datetime import date

import pytest

from digest.catalogs import load_language
from digest.edition.content.edition_content import MAX_PREHEADER_LENGTH, EntryDate
from digest.edition.rendering.preheader_and_reading_time import compose_preheader
from subscribers.subscriber_language import ENGLISH

NOVEMBER_30 = EntryDate("deadline", date(2026, 11, 30), "Monday, November 30, 5 p.m. ET", "Deadline")
LONG = "Two hundred and twelve small water plants could be opened from a browser by anybody who knew where to look"


@pytest.mark.parametrize(
    ("headlines", "deadline", "line"),
    [
        (
            ("Water plants open to a browser", "Radios were off"),
            NOVEMBER_30,
            "Also: Water plants open to a browser; Radios were off. Next deadline: Nov 30",
        ),
        (("Are the radios on?",), NOVEMBER_30, "Also: Are the radios on? Next deadline: Nov 30"),
        (
            ("Water plants open to a browser", LONG, "Radios were off"),
            NOVEMBER_30,
            "Also: Water plants open to a browser; Radios were off. Next deadline: Nov 30",
        ),
        ((), NOVEMBER_30, "Next deadline: Nov 30"),
        (("Water plants", "Radios", "Gates"), None, "Also: Water plants; Radios"),
        ((), None, ""),
    ],
)
def test_a_preheader_names_two_other_headlines_and_the_next_deadline(
    headlines: tuple[str, ...], deadline: EntryDate | None, line: str
) -> None:
    assert compose_preheader(headlines, deadline, ENGLISH) == line


def test_a_long_headline_leaves_the_deadline_its_room() -> None:
    line = compose_preheader((LONG,), NOVEMBER_30, ENGLISH)
    assert line.endswith("… Next deadline: Nov 30")
    assert len(line) <= MAX_PREHEADER_LENGTH


def test_a_french_preheader_names_the_deadline_in_french() -> None:
    line = compose_preheader(("Les vannes",), NOVEMBER_30, load_language("fr"))
    assert " ".join(line.split()) == "Également : Les vannes. Prochaine échéance : 30 nov."
