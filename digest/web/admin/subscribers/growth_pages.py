"""Growth and standing, for admins: each number says what it counts, each chart has its table beside."""

from datetime import date

from flask import render_template

from digest.app.subscribers.growth import EditionStanding, GrowthView, view_growth
from digest.web.admin.blueprint import admin_pages
from digest.web.auth.access import current_actor
from digest.web.charts import Chart, LimitLine, draw_bars, draw_line
from digest.web.context import web_context
from digest.web.filters import count_with_noun, day_seen_from
from subscribers.phrases import short_month_day

# Sender guidelines of the receivers: Gmail, support.google.com/a/answer/81126; Yahoo, senders.yahooinc.com; as of November 2026.
RECEIVER_COMPLAINT_LIMIT = 0.003
GMAIL_COMPLAINT_AIM = 0.001
WIDE_CHART = (900, 250)


@admin_pages.get("/growth")
def show_growth() -> str:
    """Show who came and left, what receivers said, when the last edition went and what was read."""
    context = web_context()
    now = context.clock()
    view, today = view_growth(context.installation, current_actor(), now=now), now.astimezone(context.zone).date()
    return render_template(
        "web/admin/subscribers/growth.html",
        view=view,
        title=describe_growth(view.readers[-1][1] if view.readers else 0, view.readers_before(7)),
        counted_on=day_seen_from(view.readers[-1][0], today) if view.readers else "",
        year=view.readers_before(365),
        charts={
            "readers": _draw_readers(view),
            "left": _draw_left(view.standings),
            "refused": _draw_share(view, "refused", view.alarm_refused, "our alarm"),
            "complained": _draw_share(view, "complained", RECEIVER_COMPLAINT_LIMIT, "Gmail and Yahoo"),
            "hours": _draw_hours(view),
        },
        gmail_aim=GMAIL_COMPLAINT_AIM,
        limit=RECEIVER_COMPLAINT_LIMIT,
    )


def describe_growth(readers: int, before: int | None) -> str:
    """Say how the list changed within a week: "61 more readers than last week"."""
    if before is None:
        return count_with_noun(readers, "reader")
    if readers == before:
        return "As many readers as last week"
    word = "more" if readers > before else "fewer"
    return f"{abs(readers - before):,} {word} {'reader' if abs(readers - before) == 1 else 'readers'} than last week"


def write_percent(share: float) -> str:
    """Write a share of 0 to 1 as a percentage with what digits it needs: "0.02 %"."""
    text = f"{share * 100:.3f}".rstrip("0").rstrip(".")
    return f"{text} %"


def _write_count(number: float) -> str:
    return f"{number:,.0f}"


def _draw_readers(view: GrowthView) -> Chart | None:
    weeks = view.weekly_readers
    if len(weeks) < 2:
        return None
    labels = [_label_week(day) for day, _ in weeks]
    begin, end = (f"{count:,} on {short_month_day(day)}, {day.year}" for day, count in (weeks[0], weeks[-1]))
    sentence = f"Readers, a week apart: from {begin} to {end}"
    counts = [count for _, count in weeks]
    return draw_line(sentence, labels, counts, write=_write_count, min_step=1, size=WIDE_CHART)


def _label_week(day: date) -> str:
    """Label the first week of a month alone, in January by the year instead of the day: there's no room for more."""
    if day.day > 7:
        return ""
    return f"{day:%b %Y}" if day.month == 1 else short_month_day(day)


def _draw_left(standings: tuple[EditionStanding, ...]) -> Chart | None:
    if not standings:
        return None
    rates = [standing.share(standing.left) * 1000 for standing in standings]
    sentence = f"Readers who left after each edition, of 1,000: between {min(rates):.1f} and {max(rates):.1f}"
    return draw_bars(sentence, [str(s.number) for s in standings], rates, write=lambda rate: f"{rate:g}")


def _draw_share(view: GrowthView, name: str, limit: float, whose: str) -> Chart | None:
    if not view.standings:
        return None
    shares = [standing.share(getattr(standing, name)) for standing in view.standings]
    sentence = (
        f"Share of each edition: between {write_percent(min(shares))} and {write_percent(max(shares))}; "
        f"the dashed line is {whose}, {write_percent(limit)}"
    )
    line = LimitLine(limit, f"{whose}, {write_percent(limit)}")
    return draw_line(sentence, [str(s.number) for s in view.standings], shares, write=write_percent, limit=line)


def _draw_hours(view: GrowthView) -> Chart | None:
    if not view.hours:
        return None
    busiest, most = max(view.hours, key=lambda hour: hour[1])
    sentence = f"Mails by the hour: most, {most:,}, from {busiest:%H}:00 on"
    labels, counts = [f"{at:%H}" for at, _ in view.hours], [count for _, count in view.hours]
    return draw_bars(sentence, labels, counts, write=_write_count, min_step=1)
