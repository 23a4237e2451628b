"""The answers as text: tables for a terminal, and the page of the documentation.

Every number on the page comes out of the results; prose comes from the questions. Rendering is a
function of both, so that the page can be made again and compared. Knows no store and no clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from .figures import Answer, Figure, Question, Results

HEAD = """\
# Benchmarks

<!-- Written by `python -m benchmarks --publish`, and by nothing else: change the package. -->

{machine}, {effort} sizes.

One command measures all of it again and rewrites this page, its plots and
`benchmarks/results.json`:

```sh
.venv/bin/pip install -q -e '.[dev,bench]' && .venv/bin/python -m benchmarks --publish
```

`--quick` measures small sizes within a minute and writes nothing, `--only NAME` one question,
`--regressions` says what became worse than in `results.json` by more than the spread.

Variants of one comparison run round by round in one process (A B A B), with the garbage collector
off while a variant runs and collected before it. A factor is taken per round; what is shown is the
median, with the quartiles of all rounds in brackets. **A factor says nothing without its
baseline**, which stands above its table. Numbers of another machine differ, and factors by a tenth
or so: of one revision, `ingest` of the native log in `block` took 1.29 times its floor on one
machine, and 1.43 times on another one with the same Python.
"""

GOALS = """\
## Goals

The least and the most of the medians of each goal's cases. A case that misses its goal is marked
✗ in the tables below, one that reaches it ✓.
"""


_WORDS = ("What", "Baseline")


def page(results: Results, questions: Sequence[Question], plots: Sequence[str] = ()) -> str:
    """The whole page.

    Args:
        results: of a run; questions that it does not answer are left out.
        questions: in the order of the page.
        plots: file names in `plots/` beside the page, named `QUESTION-*.svg`.
    """
    machine = results.machine
    where = f"{machine['python']} on {machine['system']} with {machine['cores']} cores"
    parts = [HEAD.format(machine=where, effort=results.effort)]
    asked = [question for question in questions if question.name in results.answers]
    goals = [row for question in asked for row in _goals(question, results.answers[question.name])]
    if goals:
        head = ("Question", "What", "Baseline", "Goal", "Measured", "")
        parts.append(GOALS + "\n" + _markdown(head, goals))
    for question in asked:
        shown = [name for name in plots if name.startswith(f"{question.name}-")]
        parts.append(section(question, results.answers[question.name], shown))
    return "\n".join(parts)


def section(question: Question, answer: Answer, plots: Sequence[str] = ()) -> str:
    """One question, with its tables."""
    lines = [f"## {question.title}", "", question.about.strip(), ""]
    for remark in question.remarks(answer):
        lines += [remark, ""]
    for name in plots:
        label = name.removesuffix(".svg").replace("-", " ")
        lines += [f"![{label}](plots/{name})", ""]
    for title in dict.fromkeys(figure.table for figure in answer.figures):
        lines += [f"### {title}", "", *_table(answer.table(title)), ""]
    lines += [f"Not measured: {skipped.what} ({skipped.reason})." for skipped in answer.skipped]
    return "\n".join(lines).rstrip() + "\n"


def _table(figures: Sequence[Figure]) -> Iterator[str]:
    baselines = dict.fromkeys(figure.baseline for figure in figures if figure.baseline)
    if baselines:
        yield f"Baseline: {'; '.join(baselines)}."
        yield ""
    columns = list(dict.fromkeys(figure.column for figure in figures))
    cells = {(figure.row, figure.column): cell(figure) for figure in figures}
    rows = [
        (row, *(cells.get((row, column), "") for column in columns))
        for row in dict.fromkeys(figure.row for figure in figures)
    ]
    yield _markdown(("", *columns), rows).rstrip("\n")


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    # The first column says what a row is, and numbers are read from the right.
    aligned = ["---" if name in (head[0], *_WORDS) else "---:" for name in head]
    lines = [head, aligned, *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def _goals(question: Question, answer: Answer) -> Iterator[tuple[str, ...]]:
    """One row per goal of a table's column; counts, whose goals all differ, as one row."""
    groups: dict[tuple[str, str], list[Figure]] = {}
    for figure in answer.figures:
        if figure.goal is not None:
            exact = figure.goal.relation == "=="
            column = "" if exact else f": {figure.column} {figure.goal}"
            groups.setdefault((figure.table, column), []).append(figure)
    for (table, _), figures in groups.items():
        first = figures[0]
        assert first.goal is not None
        exact = first.goal.relation == "=="
        what = [table] + [first.row] * (len(figures) == 1) + [first.column] * (not exact)
        low = min(figures, key=lambda figure: figure.spread.median)
        high = max(figures, key=lambda figure: figure.spread.median)
        measured = amount(low) if low is high else f"{amount(low)} to {amount(high)}"
        yield (
            question.title,
            ", ".join(what),
            "; ".join(dict.fromkeys(figure.baseline for figure in figures)),
            "exact" if exact else str(first.goal),
            "" if exact else measured,
            _result(figures),
        )


def _result(figures: Sequence[Figure]) -> str:
    """Whether all, none or some of the figures of one goal reach it, and which."""
    reached = [figure for figure in figures if figure.reached]
    number = len(figures)
    if len(reached) == number:
        return "reached" if number == 1 else f"reached in all {number}"
    if not reached:
        return "missed" if number == 1 else f"missed in all {number}"
    which = "; ".join(figure.row for figure in reached)
    return f"reached in {len(reached)} of {number}: {which}"


def amount(figure: Figure) -> str:
    """The median, with its unit."""
    return _number(figure.spread.median, figure.unit)


def cell(figure: Figure) -> str:
    """The median and quartiles, and whether the goal is reached."""
    spread = figure.spread
    text = amount(figure)
    if spread.low != spread.high:
        text += f" ({_number(spread.low, figure.unit, bare=True)} to "
        text += f"{_number(spread.high, figure.unit, bare=True)})"
    return text + {True: " ✓", False: " ✗", None: ""}[figure.reached]


def _number(value: float, unit: str, bare: bool = False) -> str:
    if unit == "count":
        return f"{value:,.0f}"
    name = {"times": "", "bytes": "", "ns": " ns", "ms": " ms"}[unit]
    return _three_digits(value) + ("" if bare else name)


def _three_digits(value: float) -> str:
    """A number to three significant digits, never in exponents.

    >>> [_three_digits(value) for value in (0.012345, 1.2345, 12.345, 123.45, 12345.6)]
    ['0.0123', '1.23', '12.3', '123', '12,346']
    """
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if 1 <= value < 10 else f"{value:.3g}"
