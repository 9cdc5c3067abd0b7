"""The mails of each minute of a send, as bars. Pure functions of what the progress counts."""

import math
from dataclasses import dataclass
from datetime import timedelta
from zoneinfo import ZoneInfo

from digest.deliver.send.progress import MinuteCount
from digest.settings import LimitSettings
from subscribers.phrases import clock_time

CHART_MINUTES = 30
_CHART_LEFT, _CHART_RIGHT, _CHART_TOP, _CHART_BOTTOM = 48, 560, 18, 138  # in the drawing's own units
_BAR_GAP = 3.0
_MAX_LIMIT_SHARE = 4  # times the highest bar, up to which the limit is drawn


@dataclass(frozen=True, slots=True)
class ChartBar:
    """The messages of one minute, with the place of their bar; `label` stands below some bars."""

    time: str
    messages: int
    x: float
    y: float
    width: float
    height: float
    label: str


@dataclass(frozen=True, slots=True)
class MinuteChart:
    """How many messages left in each of the last minutes. `lines` are (height, number) of the axis, `limit` is that of the settings."""

    bars: tuple[ChartBar, ...]
    lines: tuple[tuple[float, int], ...]
    limit: tuple[float, int] | None
    words: str


def messages_a_minute(limits: LimitSettings) -> float:
    """Return how many messages a minute the settings allow, 0 where they limit nothing."""
    return limits.send_per_second * 60 or limits.send_per_hour / 60


def draw_minutes(minutes: tuple[MinuteCount, ...], zone: ZoneInfo, limits: LimitSettings) -> MinuteChart:
    """Draw the last minutes, and the limit of the settings across them; a minute without a message is a gap."""
    last = minutes[-1].at
    counts = {minute.at: minute.messages for minute in minutes}
    length = min(CHART_MINUTES, int((last - minutes[0].at).total_seconds() // 60) + 1)
    shown = [last - timedelta(minutes=back) for back in reversed(range(length))]
    highest = max(counts.get(at, 0) for at in shown)
    limit = messages_a_minute(limits)
    # One far above every bar would make them too low to be seen; the words beside the chart say it all the same.
    limit = limit if limit <= _MAX_LIMIT_SHARE * highest else 0.0
    top = _round_up(max(limit, highest))
    step = (_CHART_RIGHT - _CHART_LEFT) / max(length, 10)
    labelled = max(1, -(-length // 5))
    bars = []
    for place, at in enumerate(shown):
        many = counts.get(at, 0)
        height = round((_CHART_BOTTOM - _CHART_TOP) * many / top, 1)
        time = clock_time(at.astimezone(zone))
        bars.append(
            ChartBar(
                time=time,
                messages=many,
                x=round(_CHART_LEFT + place * step + _BAR_GAP, 1),
                y=round(_CHART_BOTTOM - height, 1),
                width=round(step - 2 * _BAR_GAP, 1),
                height=height,
                label=time.partition(" ")[0] if place % labelled == 0 else "",
            )
        )
    middle = (_CHART_TOP + _CHART_BOTTOM) / 2
    most = max(bars, key=lambda bar: bar.messages)
    return MinuteChart(
        bars=tuple(bars),
        lines=((_CHART_BOTTOM, 0), (middle, top // 2), (_CHART_TOP, top)),
        limit=(round(_CHART_BOTTOM - (_CHART_BOTTOM - _CHART_TOP) * limit / top, 1), round(limit)) if limit else None,
        words=(
            f"Mails a minute from {bars[0].time} to {bars[-1].time}: "
            f"at most {most.messages:,}, at {most.time}; {bars[-1].messages:,} in the last"
        ),
    )


def _round_up(number: float) -> int:
    """Round up to two, four, six, eight or ten times a power of ten, so that the middle of the axis is a whole number."""
    power = 1
    while number > 10 * power:
        power *= 10
    return max(2, math.ceil(number / (2 * power)) * 2 * power)
