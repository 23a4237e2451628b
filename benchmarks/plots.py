"""The answers as pictures: SVG files whose bytes depend on the numbers alone.

Knows figures and, when it draws, matplotlib (the extra `bench`); no store and no clock.
"""

from __future__ import annotations

import textwrap
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeAlias

from . import coalescing, copying, drawing, flatness
from .figures import Answer, Figure, Results
from .hearing import LABELS

#: Lines of a plot by label: x and y of each point.
Lines: TypeAlias = Mapping[str, Sequence[tuple[float, float]]]

# No dates, no random ids, text as text: the same numbers give the same file.
_STYLE: Any = {
    "svg.hashsalt": "streamstore",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "axes.grid": True,
    "grid.alpha": 0.3,
    "axes.spines.top": False,
    "axes.spines.right": False,
}


def write_plots(results: Results, folder: Path) -> list[str]:
    """Draw every plot whose figures are there; the names of the files, in order."""
    import matplotlib

    written = []
    folder.mkdir(parents=True, exist_ok=True)
    with matplotlib.rc_context(_STYLE):
        for name, draw in _PLOTS.items():
            answer = results.answers.get(name.partition("-")[0])
            figure = None if answer is None else draw(answer)
            if figure is not None:
                figure.savefig(folder / name, format="svg", metadata={"Date": None})
                _end_lines(folder / name)
                written.append(name)
    return written


def _end_lines(file: Path) -> None:
    """Take the blanks away that matplotlib leaves at line ends: they are noise in a diff."""
    lines = file.read_text(encoding="utf-8").split("\n")
    file.write_text("\n".join(line.rstrip() for line in lines), encoding="utf-8")


def _by_length(answer: Answer) -> Any:
    """Cost of a delta against the length of the answer: the copy, and ours."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for figure in answer.table("Cost of a delta"):
        if figure.row.endswith(LABELS["range"]) and figure.x is not None:
            lines.setdefault(figure.column, []).append((figure.x, figure.spread.median))
    return _log_log(
        lines, "Cost of a delta against the length of the answer", "deltas of the answer", "ns"
    )


def _flat(answer: Answer) -> Any:
    """Cost of a delta against what was there before."""
    lines = {
        label: [
            (figure.x, figure.spread.median)
            for figure in answer.table(table)
            if figure.unit == "ns" and figure.x is not None
        ]
        for label, table in (
            ("deltas of the answer", flatness.BY_DELTAS),
            ("sessions in the store", flatness.BY_SESSIONS),
            ("characters shown before", flatness.BY_TEXT),
        )
    }
    return _log_log(lines, "Is the cost of a delta flat?", "how many", "ns", from_zero=True)


def _per_token(answer: Answer) -> Any:
    """Cost of a delta per token and coalesced, by subscriber."""
    table = [figure for figure in answer.figures if figure.unit == "ns"]
    table = [figure for figure in table if "1 live part," in figure.row]
    if not table:
        return None
    # The longest answer that every kind of subscriber was measured with.
    kinds = dict.fromkeys(_kind(figure) for figure in table)
    shared = set.intersection(
        *({figure.x or 0 for figure in table if _kind(figure) == kind} for kind in kinds)
    )
    if not shared:
        return None
    length = max(shared)
    table = [figure for figure in table if figure.x == length]
    columns = list(dict.fromkeys(figure.column for figure in table))
    figure, axes = _axes(f"Cost of a delta by subscriber, {length:,.0f} deltas", "", "ns")
    width = 0.8 / len(columns)
    for place, column in enumerate(columns):
        heights = [f.spread.median for f in table if f.column == column]
        at = [group + (place - (len(columns) - 1) / 2) * width for group in range(len(heights))]
        bars = axes.bar(at, heights, width, label=column)
        axes.bar_label(bars, fmt="{:,.0f}", fontsize=6)
    names = [textwrap.fill(kind.replace("`", ""), 16) for kind in kinds]
    axes.set_xticks(range(len(kinds)), names)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:,g}")
    axes.grid(visible=False, axis="x")
    figure.legend(frameon=False, fontsize=8, loc="outside right upper")
    return figure


def _kind(figure: Figure) -> str:
    return figure.row.partition(", 1 live part")[0]


def _drawing(answer: Answer) -> Any:
    """Time to draw an answer against its length."""
    lines: dict[str, list[tuple[float, float]]] = {}
    for figure in answer.table(drawing.TOTAL):
        if figure.x is not None and not figure.row.endswith("100 a tick"):
            lines.setdefault(figure.row, []).append((figure.x, figure.spread.median))
    return _log_log(
        lines, "Time to draw an answer in a terminal", "deltas of the answer", "ms in all"
    )


_PLOTS: Mapping[str, Callable[[Answer], Any]] = {
    f"{copying.QUESTION.name}-cost-by-length.svg": _by_length,
    f"{flatness.QUESTION.name}-cost-by-what-was-before.svg": _flat,
    f"{coalescing.QUESTION.name}-per-token-and-coalesced.svg": _per_token,
    f"{drawing.QUESTION.name}-time-by-length.svg": _drawing,
}


def _log_log(lines: Lines, title: str, x: str, y: str, from_zero: bool = False) -> Any:
    drawn = {label: points for label, points in lines.items() if points}
    if not drawn:
        return None
    figure, axes = _axes(title, x, y)
    for (label, points), marker in zip(drawn.items(), _markers(), strict=False):
        axes.plot(*zip(*points, strict=True), marker=marker, label=label, linewidth=1.2)
    axes.set_xscale("log")
    at = sorted({x for points in drawn.values() for x, _ in points})
    turned = 20 if len(at) > 5 else 0  # so that long labels do not touch
    axes.set_xticks(at, [f"{x:,.0f}" for x in at], rotation=turned)
    axes.minorticks_off()
    if from_zero:
        axes.set_ylim(bottom=0)
    else:
        axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:,g}")
    figure.legend(frameon=False, fontsize=8, loc="outside right upper")
    return figure


def _markers() -> Iterator[str]:
    while True:
        yield from "osD^vP*X"


def _axes(title: str, x: str, y: str) -> tuple[Any, Any]:
    from matplotlib.figure import Figure as Drawing

    figure = Drawing(figsize=(8, 4.5), layout="constrained")
    axes = figure.subplots()
    axes.set_title(title)
    axes.set_xlabel(x)
    axes.set_ylabel(y)
    return figure, axes
