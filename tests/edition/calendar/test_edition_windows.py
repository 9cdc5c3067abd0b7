from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from digest.edition.calendar.edition_windows import LATE_ARRIVAL_LIMIT, EditionWindow, find_next_window, name_edition

START = datetime(2026, 11, 1, tzinfo=UTC)
NEW_YORK = ZoneInfo("America/New_York")

hours = st.integers(1, 24 * 6)


@dataclass
class Told:
    """An article of the test: the draft that first finds it, its date then, and what that becomes, from which draft on."""

    found: int
    dated_at: datetime
    corrected: tuple[int, datetime] | None

    def at(self, draft: int) -> datetime:
        return self.corrected[1] if self.corrected and draft >= self.corrected[0] else self.dated_at


@given(st.lists(hours, min_size=2, max_size=8), st.data())
def test_every_article_falls_into_exactly_one_window_of_a_chain(gaps: list[int], data: st.DataObject) -> None:
    """Articles are found in any order, dated up to six days before the draft that first finds them.

    Some have their date corrected later: backwards, and as publishers do it, by no more than a day.
    """
    cut_offs = [START + timedelta(hours=sum(gaps[: i + 1])) for i in range(len(gaps))]
    articles = []
    for i, cut_off in enumerate(cut_offs):
        for _ in range(data.draw(st.integers(0, 5))):
            earliest = max(cut_off - timedelta(days=6), START) if i else cut_off - timedelta(days=6)
            seconds = st.integers(0, int((cut_off - earliest).total_seconds()))
            dated_at = cut_off - timedelta(seconds=data.draw(seconds))
            if data.draw(st.booleans()):  # a clock ahead of ours, found before its own date; corrected next time
                dated_at, right = cut_off + timedelta(minutes=5), dated_at
                articles.append(Told(i, dated_at, (i + 1, right)))
            else:
                articles.append(Told(i, dated_at, None))
    cut_offs.append(cut_offs[-1] + timedelta(hours=1))  # a last chance
    counts = [0] * len(articles)
    spanned: EditionWindow | None = None
    for i, cut_off in enumerate(cut_offs):
        spanned = find_next_window(cut_off, spanned.cut_off if spanned else None)
        for number, article in enumerate(articles):
            if article.found <= i and spanned.includes(article.at(i), seen_before=counts[number] > 0):
                counts[number] += 1
    assert counts == [1] * len(articles), (articles, cut_offs)


def test_the_first_edition_looks_back_a_week_and_knows_no_late_arrivals() -> None:
    first = find_next_window(START, None)
    assert first.includes(START - timedelta(days=7) + timedelta(seconds=1), seen_before=False)
    assert not first.includes(START - timedelta(days=7), seen_before=False)


def test_a_late_arrival_has_a_week() -> None:
    spanned = find_next_window(START + timedelta(days=7), START)
    assert spanned.includes(START - LATE_ARRIVAL_LIMIT + timedelta(seconds=1), seen_before=False)
    assert not spanned.includes(START - LATE_ARRIVAL_LIMIT, seen_before=False)
    assert not spanned.includes(START - timedelta(days=1), seen_before=True)


def test_editions_are_named_by_the_week_of_their_release_day_and_extra_ones_are_counted() -> None:
    friday = datetime(2026, 11, 20, 11, tzinfo=UTC)
    assert name_edition(friday, NEW_YORK, ()) == "2026-W47"
    assert name_edition(friday, NEW_YORK, {"2026-W47"}) == "2026-W47-2"
    assert name_edition(friday, NEW_YORK, {"2026-W47", "2026-W47-2"}) == "2026-W47-3"
    # 04:00Z on New Year's Day is still 2026 in New York: ISO week 53.
    assert name_edition(datetime(2027, 1, 1, 4, tzinfo=UTC), NEW_YORK, ()) == "2026-W53"
