"""Charts as a few shapes in page units, for inline SVG.

A chart is 360 units wide, a phone's width, so that its letters are as large as the
page's; wide pages put charts side by side. Shapes carry a class, never a colour: the
page's style says what that is in light and in dark.
"""

import dataclasses
from collections.abc import Mapping, Sequence

from matplotlib.ticker import MaxNLocator

WIDTH = 360.0
LETTERS = 46  # of 12 units that surely fit the width


@dataclasses.dataclass(frozen=True)
class Shape:
    """One mark.

    Attributes:
      kind: `line` (through the points), `dot` (at the first) or `text` (likewise).
      points: (x, y) in units, y down.
      css: Classes.
      text: What stands there, or what pointing at the mark says.
    """

    kind: str
    points: tuple[tuple[float, float], ...]
    css: str
    text: str = ""


@dataclasses.dataclass(frozen=True)
class Chart:
    """Shapes and what they are.

    Attributes:
      title: What is drawn, for those who do not see it too.
      height: Units; the width is `WIDTH`.
      shapes: From the back to the front.
      legend: (kind, class, name) of what needs a name; kind `tick` stands upright.
    """

    title: str
    height: float
    shapes: tuple[Shape, ...]
    legend: tuple[tuple[str, str, str], ...] = ()


@dataclasses.dataclass(frozen=True)
class Axis:
    """Values to units: `low` lies at `start`, `high` at `end`."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low)
        return round(self.start + share * (self.end - self.start), 2)

    def ticks(self, number: int = 5, *, whole: bool = False) -> list[float]:
        """Round values on the axis, about `number`."""
        locator = MaxNLocator(number, steps=[1, 2, 2.5, 5, 10], integer=whole)
        values = locator.tick_values(self.low, self.high)
        slack = 1e-9 * (self.high - self.low)
        return [float(v) for v in values if self.low - slack <= v <= self.high + slack]


def curves(name: str, series: Sequence, chance: float | None = None) -> Chart:
    """Learning curves: thin lines per run, a thick one for the mean, rings scored.

    Args:
      name: `loss` or `UA`.
      series: `analysis.Series`, at least one.
      chance: Share that guessing reaches; None draws nothing.
    """
    score = name == "UA"
    values = [v for s in series for run in s.runs for v in run.values()]
    epochs = [e for s in series for run in s.runs for e in run]
    x = Axis(min(epochs), max(max(epochs), min(epochs) + 1), 44, WIDTH - 10)
    low, high = _around(values, (0.0, 1.0) if score else None)
    y = Axis(low, high, 224, 22)
    shapes = _frame(x, y, ("epoch", "UA, %" if score else "loss"), percent=score)
    if score and chance is not None and low <= chance <= high:
        shapes.append(Shape("line", ((44, y(chance)), (WIDTH - 10, y(chance))), "ref"))
        shapes.append(
            Shape("text", ((WIDTH - 12, y(chance) - 4),), "note end", "chance")
        )
    legend = []
    for found in series:
        css = "first dashed" if found.key.startswith("train") else "second"
        for run in found.runs:
            shapes.append(_through(run, x, y, f"thin {css}"))
        if found.mean:
            shapes.append(_through(found.mean, x, y, f"thick {css}"))
        for epoch, value in found.scored:
            said = f"epoch {epoch}: {100 * value:.2f} %"
            shapes.append(Shape("dot", ((x(epoch), y(value)),), f"ring {css}", said))
        legend.append(("line", f"thick {css}", found.label))
    if any(found.scored for found in series):
        legend.append(("dot", "ring second", "epoch scored"))
    title = f"{name} over epochs: {', '.join(found.label for found in series)}"
    return Chart(title, 260, tuple(shapes), tuple(legend))


@dataclasses.dataclass(frozen=True)
class Spread:
    """A row of `spreads`; scores are fractions, None is left out.

    Attributes:
      name: Of the row.
      values: One per run.
      mean: Over runs.
      std: Over runs.
      reference: A number from elsewhere.
    """

    name: str
    values: Sequence[float | None]
    mean: float | None
    std: float | None
    reference: float | None = None


def spreads(
    title: str, rows: Sequence[Spread], unit: str, reference: str = ""
) -> Chart:
    """One row per score: a dot per run, mean and standard deviation, a reference.

    Args:
      title: What is drawn.
      rows: From the top.
      unit: Name of the axis.
      reference: Name of the rows' references.
    """
    known = [_values(row) for row in rows]
    low, high = _around([v for values in known for v in values], (0.0, 1.0))
    x = Axis(low, high, 12, WIDTH - 12)
    bottom = 20 + 40 * len(rows)
    shapes = _across(x, 8, bottom, unit)
    for number, row in enumerate(rows):
        shapes += _spread(row, x, 20 + 40 * number)
    legend = [("dot", "run", "one run"), ("line", "thick first", "mean ± std")]
    if any(row.reference is not None for row in rows):
        legend.append(("tick", "paper", reference))
    return Chart(title, bottom + 40, tuple(shapes), tuple(legend))


def by_duration(bins: Sequence) -> Chart:
    """UA and WA against how long recordings are; `analysis.durations`, at least one."""
    scores = [value for _, _, group in bins for value in (group.ua, group.wa)]
    longest = max(high for _, high, _ in bins)
    x = Axis(0.0, max(longest, 1e-3), 44, WIDTH - 14)
    y = Axis(*_around(scores, (0.0, 1.0)), 224, 22)
    shapes = _frame(x, y, ("duration, s", "score, %"), percent=True)
    for low, high, group in bins:
        both = ("second dotted", group.wa, "WA"), ("first", group.ua, "UA")
        for css, value, name in both:
            said = f"{low:.2f} to {high:.2f} s: {name} {100 * value:.2f} %"
            # A bin of one length would be a line of no length.
            ends = (x(low) - 2, y(value)), (x(high) + 2, y(value))
            shapes.append(Shape("line", ends, f"thick {css}", said))
    legend = (("line", "thick first", "UA"), ("line", "thick second dotted", "WA"))
    return Chart("UA and WA by duration of the recording", 260, tuple(shapes), legend)


def short(text: str, most: int = LETTERS) -> str:
    """A text cut to what fits, with an ellipsis."""
    return text if len(text) <= most else text[: most - 1] + "…"


def _values(row: Spread) -> list[float]:
    found = [*row.values, row.reference]
    if row.mean is not None:
        spread = row.std or 0.0
        found += [row.mean - spread, row.mean + spread]
    return [value for value in found if value is not None]


def _spread(row, x, top) -> list[Shape]:
    shapes = [Shape("text", ((12, top + 4),), "label", short(row.name))]
    y = top + 18
    if row.reference is not None:
        at, said = x(row.reference), f"{row.name}: {100 * row.reference:.2f} %"
        shapes.append(Shape("line", ((at, y - 9), (at, y + 9)), "paper", said))
    if row.mean is not None:
        spread = row.std or 0.0
        ends = (
            (x(max(x.low, row.mean - spread)), y),
            (x(min(x.high, row.mean + spread)), y),
        )
        said = f"{row.name}: {100 * row.mean:.2f} ± {100 * spread:.2f} %"
        shapes.append(Shape("line", ends, "thick first", said))
        at = x(row.mean)
        shapes.append(Shape("line", ((at, y - 7), (at, y + 7)), "thick first", said))
    for value in row.values:
        if value is not None:
            said = f"one run: {100 * value:.2f} %"
            shapes.append(Shape("dot", ((x(value), y),), "run", said))
    return shapes


def _around(values: Sequence[float], limits=None) -> tuple[float, float]:
    """Bounds of an axis with some room around the values."""
    low, high = (min(values), max(values)) if values else (0.0, 1.0)
    room = 0.06 * (high - low) or 0.05
    low, high = low - room, high + room
    if limits:
        return max(low, limits[0]), min(high, limits[1])
    return low, high


def _frame(x: Axis, y: Axis, names, *, percent: bool) -> list[Shape]:
    """Horizontal grid, ticks and names of both axes."""
    shapes = []
    for value in y.ticks():
        shapes.append(Shape("line", ((x.start, y(value)), (x.end, y(value))), "grid"))
        said = f"{100 * value if percent else value:g}"
        shapes.append(Shape("text", ((x.start - 6, y(value) + 4),), "tick end", said))
    for value in x.ticks(whole=names[0] == "epoch"):
        at = (x(value), y.start + 16)
        shapes.append(Shape("text", (at,), "tick middle", f"{value:g}"))
    middle = (x.start + x.end) / 2
    shapes.append(Shape("text", ((middle, y.start + 33),), "axis middle", names[0]))
    shapes.append(Shape("text", ((2, y.end - 8),), "axis", names[1]))
    return shapes


def _across(x: Axis, top: float, bottom: float, unit: str) -> list[Shape]:
    """Vertical grid, ticks and name of the only axis; percent."""
    shapes = []
    for value in x.ticks():
        shapes.append(Shape("line", ((x(value), top), (x(value), bottom)), "grid"))
        at = (x(value), bottom + 15)
        shapes.append(Shape("text", (at,), "tick middle", f"{100 * value:g}"))
    middle = (x.start + x.end) / 2
    return [*shapes, Shape("text", ((middle, bottom + 33),), "axis middle", unit)]


def _through(points: Mapping[int, float], x: Axis, y: Axis, css: str) -> Shape:
    places = tuple((x(epoch), y(value)) for epoch, value in points.items())
    return Shape("line", places, css)
