"""Line and bar charts, as positions of ticks, bars, and labels.

`templates/web/desk/chart.html` writes them as SVG. Lengths are in the drawing's own units. The
page's style sheet colors and scales the drawing.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

_LETTER_WIDTH = 7.0  # of a digit, at most, in the charts' 13 px sans-serif font
_MARGIN = 8.0
_TOP_SPACE = 20.0  # for the label of a limit at the top
_LABEL_SPACE = 26.0  # below the axis
_END_SPACE = 64.0  # right of a line, for its last number
_BAR_SHARE = 0.8  # the width of a bar as a share of its column


@dataclass(frozen=True, slots=True)
class ChartLabel:
    """A label in a chart, and its position."""

    x: float
    y: float
    words: str


@dataclass(frozen=True, slots=True)
class ChartBar:
    """A bar: its top left corner, width, and height."""

    x: float
    y: float
    width: float
    height: float


@dataclass(frozen=True, slots=True)
class LimitLine:
    """A limit that shouldn't be reached, and the label of its line."""

    value: float
    words: str


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart of one series of values, laid out for drawing.

    `sentence` describes it. Tick lines extend from `left` to `right`.
    """

    sentence: str
    width: float
    height: float
    left: float
    right: float
    ticks: tuple[ChartLabel, ...]
    labels: tuple[ChartLabel, ...]
    limit: ChartLabel | None = None
    bars: tuple[ChartBar, ...] = ()
    lines: tuple[tuple[tuple[float, float], ...], ...] = ()
    end: ChartLabel | None = None


@dataclass(frozen=True, slots=True)
class _Plot:
    """The area of a chart between its axes."""

    left: float
    right: float
    top: float
    bottom: float
    highest: float
    count: int

    def x(self, place: float) -> float:
        """Return the horizontal middle of a value's column."""
        return round(self.left + (self.right - self.left) * (place + 0.5) / max(self.count, 1), 1)

    def y(self, value: float) -> float:
        """Return the vertical position of a value."""
        return round(self.bottom - (self.bottom - self.top) * value / self.highest, 1)


def draw_line_chart(
    sentence: str,
    labels: Sequence[str],
    values: Sequence[float | None],
    *,
    write: Callable[[float], str],
    limit: LimitLine | None = None,
    min_step: float = 0,
    size: tuple[int, int] = (540, 190),
) -> Chart:
    """Draw a line chart from 0 up, with its last value labeled and any `limit` as a dashed line.

    `write` formats a value. A value of None is a gap, and an empty label is omitted.
    """
    known_values = [value for value in values if value is not None]
    plot, chart = _lay_out(sentence, labels, known_values, write, limit, min_step, size, _END_SPACE)
    points = [None if value is None else (plot.x(place), plot.y(value)) for place, value in enumerate(values)]
    last = values[-1] if values else None
    end = None if last is None else ChartLabel(plot.x(len(values) - 1), plot.y(last), write(last))
    return replace(chart, lines=_split_at_gaps(points), end=end)


def draw_bar_chart(
    sentence: str,
    labels: Sequence[str],
    values: Sequence[float],
    *,
    write: Callable[[float], str],
    limit: LimitLine | None = None,
    min_step: float = 0,
    columns: int = 0,
    size: tuple[int, int] = (540, 190),
) -> Chart:
    """Draw values as bars above 0, like `draw_line_chart`.

    There's space for at least `columns` bars.
    """
    plot, chart = _lay_out(sentence, labels, values, write, limit, min_step, size, _MARGIN, columns)
    width = round(_BAR_SHARE * (plot.right - plot.left) / max(plot.count, 1), 1)
    bars = (
        ChartBar(round(plot.x(place) - width / 2, 1), plot.y(value), width, round(plot.bottom - plot.y(value), 1))
        for place, value in enumerate(values)
    )
    return replace(chart, bars=tuple(bars))


def list_axis_ticks(top: float, min_step: float = 0) -> list[float]:
    """Return the round numbers of an axis from 0 to at least `top`.

    There are at most four steps of at least `min_step`.
    """
    if top <= 0:
        return [0.0, 1.0]
    sizes = (size * 10.0**power for power in range(-6, 12) for size in (1, 2, 2.5, 5))
    step = next(size for size in sizes if size * 4 >= top and size >= min_step)
    steps = 1
    while step * steps < top:
        steps += 1
    return [round(step * number, 9) for number in range(steps + 1)]


def _lay_out(
    sentence: str,
    labels: Sequence[str],
    values: Sequence[float],
    write: Callable[[float], str],
    limit: LimitLine | None,
    min_step: float,
    size: tuple[int, int],
    right_space: float,
    columns: int = 0,
) -> tuple[_Plot, Chart]:
    """Return the area between the axes, and the chart without its values."""
    steps = list_axis_ticks(max([*values, limit.value * 1.2 if limit else 0, 0]), min_step)
    left = 2 * _MARGIN + _LETTER_WIDTH * max(len(write(step)) for step in steps)
    plot = _Plot(
        left=left,
        right=size[0] - right_space,
        top=_TOP_SPACE,
        bottom=size[1] - _LABEL_SPACE,
        highest=steps[-1],
        count=max(len(labels), columns),
    )
    below = size[1] - _MARGIN
    return plot, Chart(
        sentence=sentence,
        width=size[0],
        height=size[1],
        left=left,
        right=plot.right,
        ticks=tuple(ChartLabel(left - _MARGIN, plot.y(step), write(step)) for step in steps),
        labels=tuple(ChartLabel(plot.x(place), below, label) for place, label in enumerate(labels) if label),
        limit=ChartLabel(left, plot.y(limit.value), limit.words) if limit else None,
    )


def _split_at_gaps(points: Sequence[tuple[float, float] | None]) -> tuple[tuple[tuple[float, float], ...], ...]:
    """Return the sequences of points between gaps."""
    runs: list[list[tuple[float, float]]] = [[]]
    for point in points:
        if point is None:
            runs.append([])
        else:
            runs[-1].append(point)
    return tuple(tuple(run) for run in runs if run)
