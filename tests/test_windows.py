from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from hypothesis import given
from hypothesis import strategies as st

from digest.edition.windows import LATE, Window, edition_name, window

START = datetime(2026, 11, 1, tzinfo=UTC)
NEW_YORK = ZoneInfo("America/New_York")

hours = st.integers(1, 24 * 6)


@given(st.lists(hours, min_size=2, max_size=8), st.data())
def test_every_article_falls_into_exactly_one_window_of_a_chain(gaps: list[int], data: st.DataObject) -> None:
    """Articles come in the order of their ids; each is dated up to six days before the draft that first sees it."""
    cut_offs = [START + timedelta(hours=sum(gaps[: i + 1])) for i in range(len(gaps))]
    windows: list[tuple[Window, int]] = []
    articles: list[tuple[int, datetime]] = []
    seen = 0
    for i, cut_off in enumerate(cut_offs):
        for _ in range(data.draw(st.integers(0, 5))):
            seen += 1
            earliest = max(cut_off - timedelta(days=6), START) if i else cut_offs[0] - timedelta(days=6)
            age = data.draw(st.integers(0, int((cut_off - earliest).total_seconds())))
            articles.append((seen, cut_off - timedelta(seconds=age)))
        before = windows[-1] if windows else None
        windows.append((window(cut_off, before and before[0].cut_off, before and before[1]), seen))
    for number, dated_at in articles:
        # A draft sees only what has been collected by then.
        holding = [w for w, seen_by_then in windows if number <= seen_by_then and w.holds(dated_at, number)]
        assert len(holding) == 1, (number, dated_at, windows)


def test_the_first_edition_looks_back_a_week_and_knows_no_late_arrivals() -> None:
    first = window(START, None, None)
    assert first.holds(START - timedelta(days=7) + timedelta(seconds=1), 1)
    assert not first.holds(START - timedelta(days=7), 1)


def test_a_late_arrival_has_a_week() -> None:
    spanned = window(START + timedelta(days=7), START, 10)
    assert spanned.holds(START - LATE + timedelta(seconds=1), 11)
    assert not spanned.holds(START - LATE, 11)
    assert not spanned.holds(START - timedelta(days=1), 10)


def test_editions_are_named_by_the_week_of_their_release_day_and_extra_ones_are_counted() -> None:
    friday = datetime(2026, 11, 20, 11, tzinfo=UTC)
    assert edition_name(friday, NEW_YORK, ()) == "2026-W47"
    assert edition_name(friday, NEW_YORK, {"2026-W47"}) == "2026-W47-2"
    assert edition_name(friday, NEW_YORK, {"2026-W47", "2026-W47-2"}) == "2026-W47-3"
    # 04:00Z on New Year's Day is still 2026 in New York: ISO week 53.
    assert edition_name(datetime(2027, 1, 1, 4, tzinfo=UTC), NEW_YORK, ()) == "2026-W53"
