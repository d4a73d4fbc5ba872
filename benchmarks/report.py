"""What a benchmark found: a Markdown table, values for a picture, and bounds that can be held to."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

RESULTS = Path(__file__).parent / "results"


class Bound(NamedTuple):
    """A figure that has been promised: at most `most`. `room` is the share by which noise may pass it."""

    name: str
    value: float
    most: float
    unit: str = "x"
    room: float = 0.0


class Report(NamedTuple):
    """Rows under a head; bounds, held to on request; bars of one `unit` for the picture."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    bounds: Sequence[Bound]
    bars: Sequence[tuple[str, float]]
    unit: str

    def __str__(self) -> str:
        lines = [_line(self.head), _line(["---"] * len(self.head)), *(_line(row) for row in self.rows)]
        if self.bounds:
            lines += ["", _line(["figure", "measured", "at most"]), _line(["---"] * 3)]
            lines += [
                _line([bound.name, f"{bound.value:.3g}{bound.unit}", f"{bound.most:g}{bound.unit}"])
                for bound in self.bounds
            ]
        return "\n".join(lines)

    def hold(self) -> None:
        """Raise where a bound does not hold, its room for noise added."""
        broken = [
            f"{bound.name}: {bound.value:.3g}{bound.unit}, at most {bound.most:g}{bound.unit}"
            for bound in self.bounds
            if bound.value > bound.most + abs(bound.most) * bound.room
        ]
        assert not broken, "; ".join(broken)

    def write(self, name: str, machine: str) -> None:
        """Write the table and the picture into `results`."""
        # Only who draws pictures needs it, and it takes a second to import.
        from matplotlib.figure import Figure  # noqa: PLC0415

        RESULTS.mkdir(exist_ok=True)
        (RESULTS / f"{name}.md").write_text(f"{machine}\n\n{self}\n", encoding="utf-8")
        figure = Figure(figsize=(8, 0.6 + 0.4 * len(self.bars)), layout="constrained")
        axes = figure.subplots()
        labels = [label for label, _ in self.bars]
        colours = ["tab:orange" if label.startswith("omgmj") else "tab:gray" for label in labels]
        drawn = axes.barh(labels, [value for _, value in self.bars], color=colours)
        axes.bar_label(drawn, fmt="%.3g", padding=3)
        axes.invert_yaxis()
        axes.set_xlabel(self.unit)
        axes.spines[["top", "right"]].set_visible(False)
        # Without a date the picture changes only where a figure does.
        figure.savefig(RESULTS / f"{name}.svg", metadata={"Date": None})


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> float:
    """Return the median of what `ours` cost against `theirs`, round by round."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def spread(rounds: Sequence[float], digits: int = 0) -> str:
    """Return the median, and between which values the middle half of the rounds lies."""
    low, middle, high = statistics.quantiles(rounds, n=4, method="inclusive")
    return f"{middle:.{digits}f} ({low:.{digits}f} to {high:.{digits}f})"


def _line(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"
