"""The one command: measure, print, and write what was asked for."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import attrs

from streamstore.terminal import escape

from . import (
    clients,
    coalescing,
    copying,
    drawing,
    flatness,
    ingest,
    memory,
    parsers,
    recorded,
)
from .figures import Answer, Effort, Figure, Question, Results, Skipped, installed, machine
from .page import page, section
from .plots import write_plots
from .regressions import regressions

ROOT = Path(__file__).resolve().parent.parent
RESULTS = ROOT / "benchmarks" / "results.json"
PAGE = ROOT / "docs" / "benchmarks.md"
PLOTS = ROOT / "docs" / "plots"

#: In the order of the page.
QUESTIONS: tuple[Question, ...] = (
    ingest.QUESTION,
    coalescing.QUESTION,
    recorded.QUESTION,
    copying.QUESTION,
    flatness.QUESTION,
    memory.QUESTION,
    drawing.QUESTION,
    parsers.QUESTION,
    clients.QUESTION,
)


def answer(question: Question, effort: Effort) -> Answer:
    """Measure one question."""
    began = time.monotonic()
    found = list(question.measure(effort))
    return Answer(
        figures=tuple(item for item in found if isinstance(item, Figure)),
        skipped=tuple(item for item in found if isinstance(item, Skipped)),
        seconds=round(time.monotonic() - began, 1),
    )


def run(
    questions: Sequence[Question], effort: Effort, tell: Callable[[str], object]
) -> dict[str, Answer]:
    """Measure questions, one after the other; `tell` hears of each as it is answered."""
    answers = {}
    for question in questions:
        answers[question.name] = found = answer(question, effort)
        tell(section(question, found))
        tell(f"({question.name}: {found.seconds:.1f} s)\n")
    return answers


def load(file: Path) -> Results:
    """Results that an earlier run wrote."""
    return Results.from_json(json.loads(file.read_text(encoding="utf-8")))


def save(results: Results, file: Path) -> None:
    """Write results as JSON."""
    file.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(results.to_json(), indent=1, ensure_ascii=False)
    file.write_text(text + "\n", encoding="utf-8")


def publish(results: Results) -> None:
    """Rewrite results, plots and page; all from the numbers as they are stored."""
    results = Results.from_json(results.to_json())
    names = write_plots(results, PLOTS)
    save(results, RESULTS)
    PAGE.write_text(page(results, QUESTIONS, names), encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; its exit status: 1 when something became worse, 2 when it cannot run."""
    parser = _parser()
    options = parser.parse_args(arguments)
    effort: Effort = "quick" if options.quick else options.effort
    named = {question.name: question for question in QUESTIONS}
    chosen = [named[name] for name in options.only] or list(QUESTIONS)
    published = load(RESULTS) if RESULTS.exists() else None
    if options.regressions and published is None:
        parser.error(f"there is no {RESULTS.name} to compare with: --publish writes it")
    if options.publish and effort != "full":
        parser.error("only full sizes are published")
    if (options.publish or options.plots or options.render) and not installed("matplotlib"):
        parser.error("plots need matplotlib: pip install 'chat-streamstore[bench]'")
    if options.render:
        if published is None:
            parser.error(f"there is no {RESULTS.name} to render: --publish writes it")
        publish(published)
        return 0

    results = Results(machine(), effort, run(chosen, effort, _print))
    if options.json:
        save(results, options.json)
    if options.plots:
        write_plots(results, options.plots)
    worse = list(regressions(published, results)) if published and options.regressions else []
    if options.publish:
        publish(_merged(published, results) if options.only else results)
    for regression in worse:
        _print(f"worse: {regression}")
    if options.regressions and not worse:
        _print("nothing became worse by more than the spread")
    return 1 if worse else 0


def _merged(before: Results | None, after: Results) -> Results:
    """What was measured again, in the place of what it was."""
    if before is None or dict(before.machine) != dict(after.machine):
        raise SystemExit("--only --publish needs results of this machine to put the answers into")
    answers: Mapping[str, Answer] = {**before.answers, **after.answers}
    return attrs.evolve(after, answers=answers)


def _print(text: str) -> None:
    print(escape(text), flush=True)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="small sizes, within a minute")
    parser.add_argument(
        "--effort", choices=("tiny", "quick", "full"), default="full", help=argparse.SUPPRESS
    )
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        choices=[question.name for question in QUESTIONS],
        help="measure one question; may be given again",
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there")
    parser.add_argument("--plots", type=Path, metavar="DIR", help="write SVG plots there")
    parser.add_argument(
        "--publish",
        action="store_true",
        help=f"rewrite {PAGE.name}, its plots and {RESULTS.name}",
    )
    parser.add_argument(
        "--render",
        action="store_true",
        help=f"rewrite {PAGE.name} and its plots from {RESULTS.name}, measure nothing",
    )
    parser.add_argument(
        "--regressions",
        action="store_true",
        help=f"say what became worse than in {RESULTS.name}; exit status 1 if anything did",
    )
    return parser


if __name__ == "__main__":
    sys.exit(main())
