"""Growth is counted every night, each event once, and shown from the counts as charts that the content policy allows."""

import re
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from playwright.sync_api import Browser, expect
from sqlalchemy import event, select, text

from digest.app.subscribers import subscriber_actions
from digest.app.subscribers.growth import view_list_growth
from digest.app.upkeep.nightly_steps import GROWTH_STATE_KEY, count_growth
from digest.deliver.control.installation_hold import write_installation_value
from digest.store.delivery_models import Delivery, DeliveryState, KeptEditionCounts, StoredDeliveryEvent
from digest.store.engine import Database
from digest.store.models import Edition, EditionState
from digest.web.admin.subscribers.list_pages import format_percent
from digest.web.charts import LimitLine, draw_bar_chart, draw_line_chart, list_axis_ticks
from digest.web.server import open_page_server
from subscribers.consent import daily_consent_counts, ledger
from subscribers.crypto.keys import KeyRing
from subscribers.lifecycle.feedback import DeliveryFeedbackKind, DeliveryFeedbackReport, apply_feedback_to_person
from subscribers.lifecycle.unsubscribe import unsubscribe_person
from subscribers.signup.manual_signup import add_subscriber
from subscribers.store.models import ConsentEvent, ConsentKind, DailyConsentCount
from tests.actors import ADMIN
from tests.browser import choose_by_keyboard, follow, page_faults, press_by_keyboard, sign_in, tab_to
from tests.moments import DRAFTING as NOW
from tests.moments import RELEASE
from tests.web.conftest import sample_evidence

KEYS = KeyRing.from_seed(b"growth")
DAY = NOW.astimezone(ZoneInfo("America/New_York")).date()
LATER = NOW + timedelta(days=1)


def cached_counts(world: Any) -> dict[tuple[date, str, str], int]:
    with world.database.read() as session:
        return {(row.day, row.kind, row.way): row.count for row in session.scalars(select(DailyConsentCount))}


def add_subscribers(world: Any, count: int, now: datetime) -> None:
    with world.database.write() as session:
        for number in range(count):
            address = f"r{number}.{now:%d%H}@county.example"
            add_subscriber(session, world.install.keys, address, evidence=sample_evidence(), now=now)


def test_every_event_is_counted_once_whatever_the_nights(both: Any) -> None:
    add_subscribers(both, 2, NOW - timedelta(hours=1))
    add_subscribers(both, 1, NOW - timedelta(minutes=5))
    count_growth(both.install, NOW)
    first = cached_counts(both)
    assert first[DAY, "attested", "hls.today"] == 2, "the newest minutes wait for the next night"
    assert first[DAY, "readers", ""] == 3, "and so does what they brought"
    count_growth(both.install, NOW)
    assert cached_counts(both) == first
    count_growth(both.install, LATER)
    assert cached_counts(both)[DAY, "attested", "hls.today"] == 3
    assert cached_counts(both)[DAY + timedelta(days=1), "readers", ""] == 4
    with both.database.read() as session:
        end = daily_consent_counts.find_last_fully_committed_event(session, LATER)
        parts = [
            daily_consent_counts.count_consent_events(session, ZoneInfo("America/New_York"), after=n, through=n + 1)
            for n in range(end)
        ]
    assert sum(counts.get((DAY, "attested", "hls.today"), 0) for counts in parts) == 3


def test_who_came_and_went_always_is_what_the_list_grew_by(both: Any) -> None:
    """Somebody leaves, bounces, complains, is barred, is erased from the list, or after leaving; and comes back: each counts once."""
    count_growth(both.install, NOW)
    add_subscribers(both, 6, NOW + timedelta(hours=1))
    left, bounced, complained, barred, erased, back = range(both.ada + 1, both.ada + 7)
    at = NOW + timedelta(hours=2)

    def report(session: Any, number: int, kind: DeliveryFeedbackKind) -> None:
        said = DeliveryFeedbackReport(number, kind, at, "test", {})
        assert apply_feedback_to_person(session, both.install.keys, said, now=at)[0]

    with both.database.write() as session:
        report(session, bounced, DeliveryFeedbackKind.BOUNCED)
        report(session, complained, DeliveryFeedbackKind.COMPLAINED)
    subscriber_actions.unsubscribe_by_admin(both.install, ADMIN, left, "asked", now=at)
    subscriber_actions.erase_subscriber(both.install, ADMIN, left, "asked", now=at)
    subscriber_actions.suppress_address(both.install, ADMIN, barred, "asked", now=at)
    subscriber_actions.erase_subscriber(both.install, ADMIN, erased, "asked", now=at)
    subscriber_actions.unsubscribe_by_admin(both.install, ADMIN, back, "asked", now=at)
    with both.database.write() as session:
        undone = ledger.lock_person(session, back)
        assert undone is not None
        ledger.append_event(session, undone, ConsentKind.UNDONE, {}, at)
    for night in range(1, 8):
        # The newest minutes of a night wait for the next one, and so does their part of the count of readers.
        add_subscribers(both, night % 2, NOW + timedelta(days=night, minutes=-5))
        count_growth(both.install, NOW + timedelta(days=night))
    view = view_list_growth(both.install, ADMIN, now=NOW + timedelta(days=20))
    assert (view.subscribers_before(7), view.subscribers[-1][1]) == (1, 1 + 6 - 5 + 3)
    assert (view.joined, view.left) == (6 + 1 + 3, 6)
    page = both.signed_in_client("admin").get("/admin/growth").text
    assert "4 more subscribers than last week" in page
    assert "the list gained 10 subscribers and lost 6 (" in page


def test_a_week_in_which_a_night_counted_no_moves_says_nothing_of_them(world: Any) -> None:
    fill_year(world)
    view = view_list_growth(world.install, ADMIN, now=NOW)
    assert (view.joined, view.left) == (None, None)
    assert "went off it" not in world.signed_in_client("admin").get("/admin/growth").text


def hand_over(world: Any, name: str) -> None:
    """Store what came of an edition: of five mails one was refused, one complained about, one went in a later hour."""
    with world.database.write() as session:
        states = [DeliveryState.ACCEPTED] * 4 + [DeliveryState.REFUSED]
        for number, state in enumerate(states):
            at = RELEASE + timedelta(hours=2 if number == 0 else 0, minutes=number)
            fields: dict[str, Any] = {"due_at": RELEASE, "next_try_at": RELEASE, "first_handed_at": at, "handed_at": at}
            session.add(Delivery(id=f"d{number}", purpose=f"edition:{name}", person=None, state=state, **fields))
        session.flush()
        for mark in ("first", "again"):
            fields = {"kind": "complained", "at": RELEASE, "received_at": RELEASE + timedelta(hours=3), "detail": {}}
            session.add(StoredDeliveryEvent(delivery="d1", fingerprint=mark, **fields))
        edition = session.scalars(select(Edition)).one()
        edition.planned, edition.planned_at = 5, RELEASE


def test_what_came_of_an_edition_is_kept_and_shown_with_who_left_after_it(both: Any) -> None:
    hand_over(both, both.edition(state=EditionState.SENT))
    after = RELEASE + timedelta(days=2)
    add_subscribers(both, 1, RELEASE)
    count_growth(both.install, after)
    with both.database.write() as session:
        session.add(DailyConsentCount(day=RELEASE.date() + timedelta(days=1), kind="withdrawn", way="x", count=2))
        session.add(DailyConsentCount(day=RELEASE.date() - timedelta(days=1), kind="withdrawn", way="x", count=9))
        session.query(Delivery).filter(Delivery.id.not_in(["d1"])).delete()
    view = view_list_growth(both.install, ADMIN, now=after)
    [standing] = view.edition_results
    assert (
        standing.number,
        standing.handed_over,
        standing.refused,
        standing.complained,
        standing.unsubscribed_count,
    ) == (
        147,
        5,
        1,
        1,
        2,
    )
    assert [(at.hour, count) for at, count in view.hours if count] == [(6, 4), (8, 1)]
    count_growth(both.install, RELEASE + timedelta(days=40))
    with both.database.read() as session:
        assert session.scalars(select(KeptEditionCounts.handed_over)).all() == [5], "counted for a month, then kept"


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE edition_figures SET handed_over = 99",
        """UPDATE edition_figures SET hours = '{"2026-11-20 11": 99}'""",
        "UPDATE edition_figures SET release_at = '2026-11-13 11:00:00.000000'",
    ],
)
def test_figures_that_were_changed_are_not_shown_and_are_counted_anew_at_night(both: Any, statement: str) -> None:
    hand_over(both, both.edition(state=EditionState.SENT))
    after = RELEASE + timedelta(days=40)
    count_growth(both.install, after)
    shown = view_list_growth(both.install, ADMIN, now=after)
    assert [standing.handed_over for standing in shown.edition_results] == [5]
    with both.database.write() as session:
        session.execute(text(statement))
    forged = view_list_growth(both.install, ADMIN, now=after)
    assert (forged.edition_results, forged.hours) == ((), ())
    count_growth(both.install, after)
    assert view_list_growth(both.install, ADMIN, now=after) == shown


def fill_year(world: Any) -> None:
    with world.database.write() as session:
        for number in range(366):
            day = DAY - timedelta(days=number)
            session.add(DailyConsentCount(day=day, kind="readers", way="", count=1000 - number))
            if number < 30:
                for place in range(12):
                    session.add(DailyConsentCount(day=day, kind="requested", way=f"page {place:02}", count=12 - place))
        for number in range(10):
            at = RELEASE - timedelta(days=7 * number)
            fields = {"handed_over": 1000, "refused": 10, "complained": 1, "hours": {"2026-11-20 11": 990}}
            session.add(
                KeptEditionCounts(name=f"W{number}", number=147 - number, release_at=at, counted_at=NOW, **fields)
            )


def test_the_page_says_what_changed_and_reads_kept_counts_alone(world: Any) -> None:
    fill_year(world)
    client = world.signed_in_client("admin")
    statements: list[str] = []

    def note_statement(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    event.listen(world.database.engine, "before_cursor_execute", note_statement)
    page = client.get("/admin/growth")
    event.remove(world.database.engine, "before_cursor_execute", note_statement)
    assert "<h1>7 more subscribers than last week</h1>" in page.text
    assert (
        "1,000 subscribers, paused or not, at the nightly count on Nov. 19, 2026, up 365 from a year earlier"
        in page.text
    )
    assert "Subscribers by week, from 636 on Nov. 20, 2025, to 1,000 on Nov. 19, 2026" in page.text
    assert "2 others" in page.text
    assert "Why there are no open or click rates." in page.text
    assert [
        s for s in statements if re.search(r"FROM (consent_event|delivery|event)\b", s.partition("EXISTS")[0])
    ] == []
    drawn = re.findall(r"<svg.*?</svg>", page.text, re.DOTALL)
    assert len(drawn) == 5
    assert re.findall(r">((?:Dec|Jan|Feb)\.? \d+)<", drawn[0]) == ["Dec. 4", "Jan 2026", "Feb. 5"]
    assert all('role="img" aria-label="' in svg for svg in drawn)
    assert not re.search(r"<script|<style|style=|javascript|xlink", page.text)
    assert page.headers["Content-Security-Policy"].count("style-src 'self'") == 1


def test_a_year_is_compared_however_long_ago_the_last_count_was(world: Any) -> None:
    fill_year(world)
    view = view_list_growth(world.install, ADMIN, now=NOW + timedelta(days=9))
    assert (view.subscribers_before(365), len(view.subscribers)) == (635, 366)


def test_an_old_count_is_no_headline(world: Any) -> None:
    fill_year(world)
    with world.database.write() as session:
        old = DailyConsentCount.day > DAY - timedelta(days=2)
        session.query(DailyConsentCount).filter(old).delete()
    page = world.signed_in_client("admin").get("/admin/growth").text
    assert "<h1>1 subscriber</h1>" in page, "Ada is there now"
    assert "The last nightly count is from Nov. 17, 2026." in page
    assert "last week" not in page
    assert "up 365" not in page


def test_weeks_without_counts_are_not_called_last_week(world: Any) -> None:
    fill_year(world)
    with world.database.write() as session:
        gap = DailyConsentCount.day.between(DAY - timedelta(days=12), DAY - timedelta(days=1))
        session.query(DailyConsentCount).filter(gap).delete()
        session.add_all(DailyConsentCount(day=DAY, kind=kind, way="", count=3) for kind in ("joined", "went"))
    view = view_list_growth(world.install, ADMIN, now=NOW)
    assert (view.subscribers_before(7), view.joined, view.left) == (None, None, None)
    assert "<h1>1,000 subscribers</h1>" in world.signed_in_client("admin").get("/admin/growth").text


def leave(world: Any, address: str, at: datetime, reason: str) -> int:
    """Have someone unsubscribe on the page, for a reason."""
    with world.database.write() as session:
        number = add_subscriber(session, world.install.keys, address, evidence=sample_evidence(), now=at).number
        log = world.install.unsubscribe_log
        unsubscribe_person(session, log, number, method="page", now=at, reason=reason)
    return number


def test_reasons_for_unsubscribing_are_counted_by_edition(both: Any) -> None:
    release = RELEASE - timedelta(days=7)
    with both.database.write() as session:
        fields = {"handed_over": 9, "refused": 0, "complained": 0, "hours": {}, "counted_at": NOW}
        session.add(KeptEditionCounts(name="2026-W46", number=146, release_at=release, **fields))
    for place, reason in enumerate(["never", "often", "never", "", "no reason of ours"]):
        leave(both, f"r{place}@county.example", release + timedelta(hours=place + 1), reason)
    leave(both, "early@county.example", release - timedelta(days=2), "long")
    with both.database.write() as session:
        # An installation that counted before reasons were.
        through = daily_consent_counts.find_last_fully_committed_event(session, NOW)
        write_installation_value(session, GROWTH_STATE_KEY, {"through": through}, now=NOW)
    count_growth(both.install, NOW)
    leave(both, "late@county.example", NOW, "topics")
    for _ in range(2):
        count_growth(both.install, NOW + timedelta(hours=1))
    [result] = view_list_growth(both.install, ADMIN, now=NOW).edition_results
    assert result.reasons == {"never": 2, "often": 1, "topics": 1}
    page = both.signed_in_client("admin").get("/admin/growth").text
    table = page[page.index("Reasons for unsubscribing") :]
    heads = re.findall(r'<th scope="col"[^>]*>([^<]*)</th>', table.partition("</table>")[0])
    cells = re.findall(r'<td class="num">(\d+)</td>', table.partition("</table>")[0])
    counted = dict(zip(heads[1:], cells, strict=True))
    assert (counted["I didn’t sign up"], counted["Too many emails"], counted["Not relevant to me"]) == ("2", "1", "1")
    assert counted["Too long"] == "0"
    assert "never" not in table.partition("</table>")[0]


@pytest.mark.parametrize(
    ("share", "shown"),
    [(0, "0%"), (0.00024, "0.024%"), (0.00657, "0.657%"), (0.011823, "1.18%"), (0.03, "3%"), (1, "100%")],
)
def test_a_share_has_the_decimals_that_tell_it_apart(share: float, shown: str) -> None:
    assert format_percent(share) == shown


@pytest.mark.chromium
@pytest.mark.parametrize(("width", "by_keyboard"), [(390, False), (1440, True)])
def test_a_reason_given_on_the_page_is_counted(browser: Browser, both: Any, width: int, *, by_keyboard: bool) -> None:
    with both.database.write() as session:
        fields = {"handed_over": 9, "refused": 0, "complained": 0, "hours": {}, "counted_at": NOW}
        session.add(KeptEditionCounts(name="2026-W46", number=146, release_at=RELEASE - timedelta(days=7), **fields))
    with open_page_server(both.app, "127.0.0.1", 0) as serving:
        address = f"http://127.0.0.1:{serving.port}"
        context = browser.new_context(viewport={"width": width, "height": 900})
        page = context.new_page()
        page.goto(f"{address}/u/{both.token('leave')}")
        reason = page.get_by_label("Too many emails")
        if by_keyboard:
            tab_to(page.locator("summary", has_text="Tell us why")).page.keyboard.press("Enter")
            choose_by_keyboard(reason)
        else:
            page.get_by_text("Tell us why").click()
            reason.check()
        assert page_faults(page, widths=(390, 1440)) == ""
        page.set_viewport_size({"width": width, "height": 900})
        (press_by_keyboard if by_keyboard else follow)(page.get_by_role("button", name="Unsubscribe"))
        expect(page.get_by_role("status")).to_contain_text("We won’t send you any more editions")
        count_growth(both.install, NOW + timedelta(hours=1))
        sign_in(context, both, address, "admin")
        page.goto(f"{address}/admin/readers")
        (press_by_keyboard if by_keyboard else follow)(page.get_by_role("link", name="Growth"))
        counts = page.get_by_role("region", name="Reasons for unsubscribing").get_by_role("row", name="No. 146")
        expect(counts.get_by_role("cell")).to_have_text(["1", "0", "0", "0", "0", "0", "0", "1"])
        assert page_faults(page, widths=(390, 1440)) == ""
        context.close()


def test_a_damaged_event_has_no_reason(database: Database) -> None:
    zone = ZoneInfo("America/New_York")
    with database.write() as session:
        person = add_subscriber(session, KEYS, "ada@example.org", evidence=sample_evidence(), now=NOW).number
        for seq, body in enumerate(["{", "[]", '{"reason": ["never"]}', '{"reason": "often"}'], 90):
            event = ConsentEvent(person=person, seq=seq, kind=ConsentKind.WITHDRAWN, at=NOW, body=body, commitment="")
            event.previous = event.hash = f"{seq}"
            session.add(event)
    with database.read() as session:
        counts = daily_consent_counts.count_unsubscribe_reasons(session, zone, after=0, through=10**9)
    assert counts == {(DAY, "reason", "often"): 1}


def test_a_record_puts_the_reason_in_words(both: Any) -> None:
    number = leave(both, "gone@county.example", NOW, "never")
    page = both.signed_in_client("admin").get(f"/admin/readers/{number}").text
    assert "Reason: I didn’t sign up." in page
    assert "never." not in page.partition("<main")[2].partition("<aside")[0]


@pytest.mark.chromium
def test_charts_use_the_width_of_the_page(browser: Browser, world: Any) -> None:
    fill_year(world)
    with open_page_server(world.app, "127.0.0.1", 0) as serving:
        address = f"http://127.0.0.1:{serving.port}"
        context = browser.new_context(viewport={"width": 1440, "height": 900})
        sign_in(context, world, address, "admin")
        page = context.new_page()
        page.goto(f"{address}/admin/growth")
        shares = page.eval_on_selector_all(
            ".chart svg", "all => all.map(one => one.clientWidth / one.parentElement.clientWidth)"
        )
        heights = page.eval_on_selector_all(
            ".chart svg text", "all => all.map(one => one.getBoundingClientRect().height)"
        )
        assert len(shares) == 5
        assert min(shares) > 0.98
        assert (min(heights) > 12, max(heights) < 20) == (True, True), "letters keep their size"
        context.close()


def test_an_installation_without_any_count_says_when_there_will_be_some(world: Any) -> None:
    page = world.signed_in_client("admin").get("/admin/growth").text
    assert "counted nightly, starting tonight" in page
    assert "<svg" not in page
    assert world.desk.get("/admin/growth").status_code == 403


def test_a_line_chart_leaves_gaps_and_ends_with_its_last_number() -> None:
    chart = draw_line_chart(
        "From 1 to 3",
        ["1", "", "", "4"],
        [0.001, 0.002, None, 0.003],
        write=format_percent,
        limit=LimitLine(0.003, "limit"),
    )
    assert [tick.words for tick in chart.ticks] == ["0%", "0.1%", "0.2%", "0.3%", "0.4%"]
    assert [label.words for label in chart.labels] == ["1", "4"]
    assert [len(line) for line in chart.lines] == [2, 1]
    assert chart.end is not None
    assert chart.limit is not None
    assert (chart.end.words, chart.end.y) == ("0.3%", chart.limit.y)
    xs = [x for line in chart.lines for x, _ in line]
    assert xs == sorted(xs)
    assert chart.left < xs[0]
    assert xs[-1] < chart.right


def test_bars_of_nothing_have_an_axis_and_no_height() -> None:
    chart = draw_bar_chart("Bars", ["a", "b"], [0, 0], write=str)
    assert [bar.height for bar in chart.bars] == [0, 0]
    assert [tick.words for tick in chart.ticks] == ["0.0", "1.0"]


def test_an_axis_of_whole_things_has_whole_steps() -> None:
    assert list_axis_ticks(1, min_step=1) == [0, 1]


@pytest.mark.parametrize(
    ("top", "ticks"),
    [(0, [0, 1]), (3.9, [0, 1, 2, 3, 4]), (0.0036, [0, 0.001, 0.002, 0.003, 0.004]), (12408, [0, 5000, 10000, 15000])],
)
def test_an_axis_begins_at_nothing_and_has_round_steps(top: float, ticks: list[float]) -> None:
    assert list_axis_ticks(top) == ticks


@pytest.mark.parametrize(
    ("subscribers", "before", "said"),
    [
        (10, 8, "2 more subscribers than last week"),
        (10, 11, "1 fewer subscriber than last week"),
        (10, 10, "As many subscribers as last week"),
        (1, None, "1 subscriber"),
    ],
)
def test_the_heading_says_the_fact(world: Any, subscribers: int, before: int | None, said: str) -> None:
    with world.app.test_request_context():
        words = world.app.jinja_env.get_template("web/admin/subscribers/subscriber_words.html").module
    assert str(words.growth(subscribers, before)) == said
