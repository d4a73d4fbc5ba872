"""What a benchmark found: a Markdown table, values for a picture, and bounds that can be held to."""

from __future__ import annotations

import json
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RESULTS = Path(__file__).parent / "results"
README = Path(__file__).parents[1] / "README.md"
BEGIN, END = "<!-- figures -->\n", "<!-- end of figures -->\n"
"""The lines of README between which the figures stand."""
SHORT = ("figure", "measured")
HEADLINE = ("", "omgmj", "as people write it")


class Bound(NamedTuple):
    """A figure that has been promised: at most `most`. `room` is the share by which noise may pass it."""

    name: str
    value: float
    most: float
    unit: str = "x"
    room: float = 0.0


class Report(NamedTuple):
    """Rows under a head; bounds, held to on request; bars of one `unit` for the picture; the figures in `short`.

    Where there are `lines`, each of points, the picture shows them in place of bars, over what is `across`.
    `headline` is a row for README under `HEADLINE`: a figure that a stranger understands, ours and theirs. `data` is
    what other programs may read, of plain values.
    """

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    bounds: Sequence[Bound]
    bars: Sequence[tuple[str, float]]
    unit: str
    short: Sequence[tuple[str, str]]
    headline: tuple[str, str, str] | None = None
    data: Mapping[str, object] | None = None
    lines: Mapping[str, Sequence[tuple[float, float]]] | None = None
    across: str = ""

    def __str__(self) -> str:
        parts = [_table(SHORT, self.short)] if self.short else []
        parts.append(_table(self.head, self.rows))
        if self.bounds:
            held = [(one.name, f"{round(one.value, 3):g}{one.unit}", f"{one.most:g}{one.unit}") for one in self.bounds]
            parts.append(_table(("figure", "measured", "at most"), held))
        return "\n\n".join(parts)

    def hold(self) -> None:
        """Raise where a bound does not hold, its room for noise added."""
        broken = [
            f"{bound.name}: {bound.value:.3g}{bound.unit}, at most {bound.most:g}{bound.unit}"
            for bound in self.bounds
            if bound.value > bound.most + abs(bound.most) * bound.room
        ]
        assert not broken, "; ".join(broken)

    def write(self, name: str, machine: str) -> None:
        """Write the tables, the picture and the data into `results`."""
        # Only who draws pictures needs it, and it takes a second to import.
        import matplotlib as mpl  # noqa: PLC0415
        from matplotlib.figure import Figure  # noqa: PLC0415

        # Text as text, and the same names each time, so that the picture changes only where a figure does.
        mpl.rcParams.update({"svg.fonttype": "none", "svg.hashsalt": name, "font.size": 9})
        RESULTS.mkdir(exist_ok=True)
        tables = [_table(HEADLINE, [self.headline])] if self.headline else []
        text = "\n\n".join((machine, *tables, str(self)))
        (RESULTS / f"{name}.md").write_text(f"{text}\n", encoding="utf-8")
        if self.data is not None:
            (RESULTS / f"{name}.json").write_text(f"{json.dumps(self.data, indent=1)}\n", encoding="utf-8")
        figure = Figure(figsize=(8, 3.2 if self.lines else 0.7 + 0.26 * len(self.bars)), layout="constrained")
        axes = figure.subplots()
        if self.lines:
            self._draw_lines(axes)
        else:
            self._draw_bars(axes)
        axes.spines[["top", "right"]].set_visible(False)
        figure.savefig(RESULTS / f"{name}.svg", metadata={"Date": None})

    def _draw_bars(self, axes: Axes) -> None:
        labels = [label for label, _ in self.bars]
        colours = ["tab:orange" if label.startswith("omgmj") else "tab:gray" for label in labels]
        drawn = axes.barh(labels, [value for _, value in self.bars], color=colours)
        axes.bar_label(drawn, fmt="%.3g", padding=3)
        axes.invert_yaxis()
        axes.set_xlabel(self.unit)

    def _draw_lines(self, axes: Axes) -> None:
        from matplotlib.ticker import LogLocator, NullFormatter  # noqa: PLC0415 (as above)

        axes.set_xscale("log")
        axes.set_yscale("log")
        for axis in (axes.xaxis, axes.yaxis):
            axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
            axis.set_major_formatter("{x:g}")
            axis.set_minor_formatter(NullFormatter())
        for label, points in (self.lines or {}).items():
            colour = "tab:orange" if label.startswith("omgmj") else "tab:gray"
            axes.plot(*zip(*points, strict=True), marker="o", color=colour)
            axes.annotate(label, points[-1], xytext=(8, -3), textcoords="offset points", color=colour)
        axes.set_xlabel(self.across)
        axes.set_ylabel(self.unit)


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the median of what `ours` cost against `theirs`, round by round."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def spread(rounds: Sequence[float], digits: int = 0) -> str:
    """Return the median, and between which values the middle half of the rounds lies."""
    low, middle, high = statistics.quantiles(rounds, n=4, method="inclusive")
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def write_readme(names: Iterable[str]) -> None:
    """Put the headlines of all that was ever written, in this order, into README."""
    machine, rows = "", []
    for name in names:
        if (file := RESULTS / f"{name}.md").exists():
            first, _, head, _, row, *_ = file.read_text(encoding="utf-8").splitlines()
            if head == _line(HEADLINE):
                machine = first
                rows.append(row)
    text = README.read_text(encoding="utf-8")
    begin, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    table = "\n".join((_line((machine, *HEADLINE[1:])), _line(["---"] * len(HEADLINE)), *rows))
    README.write_text(f"{text[:begin]}{table}\n{text[end:]}", encoding="utf-8")


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    return "\n".join((_line(head), _line(["---"] * len(head)), *(_line(row) for row in rows)))


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
