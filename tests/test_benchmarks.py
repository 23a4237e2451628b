"""The benchmark suite: it runs, its counts are exact, and its page says what was measured.

No test looks at how long anything took. Where time matters, a clock is handed in.
"""

from __future__ import annotations

import doctest
import gc
import json
import math
import re
import sys
from collections.abc import Iterator, Mapping
from importlib import import_module, util
from pathlib import Path
from typing import Any

import attrs
import pytest

from streamstore import StreamStore
from streamstore.protocols import adapters

ROOT = Path(__file__).resolve().parent.parent
if str(ROOT) not in sys.path:  # the suite is no part of the installed package
    sys.path.insert(0, str(ROOT))

pytest.importorskip("benchmarks")

command = import_module("benchmarks.__main__")
clients, coalescing, copying, figures, flatness, page, payloads, plots, regressions, timing = (
    import_module(f"benchmarks.{name}")
    for name in (
        "clients coalescing copying figures flatness page payloads plots regressions timing".split()
    )
)
Figure, Goal, Results, Spread = figures.Figure, figures.Goal, figures.Results, figures.Spread

# Importing the official clients takes seconds; their bytes are checked without them.
HERE = [question for question in command.QUESTIONS if question.name != "clients"]
SOURCES = [source for source in payloads.SOURCES if source.protocol in adapters()]
HAS_MATPLOTLIB = util.find_spec("matplotlib") is not None


@pytest.fixture(scope="module", autouse=True)
def _old_objects_are_left_alone() -> Iterator[None]:
    """Each round collects garbage first; what other test files left need not be walked for that."""
    gc.freeze()
    yield
    gc.unfreeze()


@pytest.fixture(scope="module")
def results() -> Any:
    """Every question but the official clients, with the smallest sizes."""
    answers = {question.name: command.answer(question, "tiny") for question in HERE}
    return Results(figures.machine(), "tiny", answers)


def ids(source: Any) -> str:
    return re.sub(r"\W+", "-", source.name)


# --- what was measured ------------------------------------------------------------------------


def test_every_question_gives_figures_or_says_why_not(results):
    for name, answer in results.answers.items():
        assert answer.figures or answer.skipped, name
        for skipped in answer.skipped:
            assert skipped.what and skipped.reason


def test_a_figure_is_well_formed(results):
    for answer in results.answers.values():
        names = [figure.name for figure in answer.figures]
        assert len(names) == len(set(names))
        for figure in answer.figures:
            low, median, high = figure.spread.low, figure.spread.median, figure.spread.high
            assert 0 <= low <= median <= high < math.inf, figure.name
            assert figure.table and figure.row and figure.column
            if figure.unit == "times":
                assert figure.baseline, f"a factor without its baseline: {figure.name}"
                assert figure.better in ("lower", "higher"), figure.name
            if figure.goal is not None:
                direction = {"<=": "lower", ">=": "higher", "==": "exact"}[figure.goal.relation]
                assert figure.better == direction, figure.name


def test_every_goal_of_the_issue_has_a_figure(results):
    goals = {
        (name, figure.goal.relation, figure.goal.bound)
        for name, answer in results.answers.items()
        for figure in answer.figures
        if figure.goal is not None and figure.goal.relation != "=="
    }
    expected = {
        ("ingest", "<=", 1.4),
        ("ingest", "<=", 1.1),
        ("flatness", "<=", 1.2),
        ("copying", ">=", 10),
        ("copying", ">=", 20),
        ("coalescing", ">=", 5),
        ("coalescing", ">=", 10),
        ("memory", "<=", 1.3),
        ("memory", "<=", 3.2),
        ("memory", "<=", 1.5),
    }
    if util.find_spec("orjson") is not None:
        expected.add(("ingest", "<=", 2.2))
    assert goals == expected


def test_each_protocol_with_an_adapter_is_measured_from_dicts_and_from_bytes(results):
    figures = results.answers["ingest"].figures
    inputs = {figure.row for figure in figures if figure.table.startswith("A tool's input")}
    assert inputs == {source.name for source in payloads.INPUTS}
    measured = {figure.row for figure in figures if not figure.table.startswith("A tool's input")}
    assert measured == {source.name for source in SOURCES}
    assert {source.protocol for source in payloads.SOURCES} >= {"native", "opencode", "anthropic"}


def test_ours_fails_no_conformance_case_by_being_cut_elsewhere(results):
    """Which cases fail is for the parser's own tests; here: both ways of cutting agree."""
    failures = [
        figure.spread.median
        for figure in results.answers["parsers"].figures
        if figure.unit == "count" and figure.row == "streamstore.sse"
    ]
    assert len(failures) == 2 and failures[0] == failures[1]


# --- counts -----------------------------------------------------------------------------------


@pytest.mark.parametrize("deltas", [1, 99, 100, 101, 250])
@pytest.mark.parametrize("kind", ["trivial", "asyncio"])
def test_n_deltas_at_k_a_tick_are_ceil_n_over_k_writes_and_passes(kind, deltas):
    case = coalescing._Case(kind, 1, deltas, 1)
    counted = {
        figure.column: figure.spread.median
        for figure in coalescing._measure(case)
        if figure.table == coalescing.COUNTS
    }
    assert counted == {
        f"{what}, {label}": math.ceil(deltas / per_tick)
        for label, per_tick in (
            ("per token", 1),
            ("1 a tick", 1),
            ("10 a tick", 10),
            ("100 a tick", 100),
        )
        for what in ("writes", "notifications")
    }


def test_with_many_live_parts_a_tick_is_still_one_pass(results):
    found = [
        figure
        for figure in results.answers["coalescing"].figures
        if figure.table == coalescing.COUNTS and "50 live parts" in figure.row
    ]
    assert found and all(figure.reached for figure in found)


def test_longer_ticks_commit_a_recorded_stream_less_often(results):
    commits: dict[str, dict[str, float]] = {}
    for figure in results.answers["recorded"].figures:
        if figure.table == "Commits":
            commits.setdefault(figure.row, {})[figure.column] = figure.spread.median
    assert commits
    for row in commits.values():
        each, *ticks = (
            row[f"commits, {name}"] for name in ("per token", "16 ms", "33 ms", "100 ms")
        )
        assert row["events"] >= each > ticks[0] > ticks[1] > ticks[2] > 0


# --- floors and payloads ----------------------------------------------------------------------


@pytest.mark.parametrize("source", SOURCES, ids=ids)
def test_the_floor_and_the_store_end_with_the_same_text(source):
    """A floor that does less than the text would flatter nobody but us."""
    deltas = 100
    store = StreamStore()
    stream = store.open(source.protocol, sequencing=source.sequencing)
    wires = [json.loads(payload) for payload in source.payloads(1, deltas + 1)]
    stream.ingest_many(json.loads(payload) for payload in source.opening_payloads())
    assert stream.ingest_many(wires) == []
    waiting: Any = {}
    texts: Any = {}
    for start in range(0, deltas, 7):
        source.floor(wires[start : start + 7], waiting)
        payloads.join_waiting(waiting, texts)
    assert not waiting and len(texts) == 1
    (pieces,) = texts.values()
    assert len(pieces) == math.ceil(deltas / 7)
    assert "".join(pieces) == clients._text(store) == payloads.whole_text(deltas)


@pytest.mark.parametrize("source", SOURCES, ids=ids)
def test_the_bytes_of_an_answer_are_what_the_protocol_says(source):
    """Nothing unknown or malformed in them: the official clients get the same."""
    store = StreamStore()
    stream = store.open(source.protocol, sequencing=source.sequencing)
    for chunk in clients.body_of(source, 50):
        stream.feed(chunk)
    stream.end()
    assert clients._text(store) == payloads.whole_text(50)
    assert set(store.health.counts["verdicts"]) == {"accepted"}


@pytest.mark.parametrize("source", SOURCES, ids=ids)
def test_payloads_do_not_depend_on_the_batch(source):
    whole = source.payloads(1, 40)
    assert whole == source.payloads(1, 20) + source.payloads(20, 40)
    assert len(source.frames(whole)) == 39 and all(
        f.endswith(b"\n\n") for f in source.frames(whole)
    )


def test_both_frozen_baselines_make_the_text():
    """They check it themselves; here: that the check is reached."""
    for state in (copying.FrozenParts, copying.FrozenTree):
        told: list[Any] = []

        def tell(part: Any, start: int, told: list[Any] = told) -> None:
            told.append((part.text[start:], part))

        held = state(tell)
        wires = [json.loads(payload) for payload in payloads.NATIVE_BLOCK.payloads(1, 31)]
        held.append(wires)
        key = (wires[0]["sessionId"], wires[0]["messageId"], wires[0]["blockIndex"])
        assert held.text(key) == payloads.whole_text(30)
        assert "".join(text for text, _ in told) == payloads.whole_text(30)
        assert told[0][1].text == payloads.text_of(1), "an old part must stay what it was"


# --- timing -----------------------------------------------------------------------------------


class Clock:
    """Stands still but where somebody moves it."""

    def __init__(self) -> None:
        self.now = 0

    def __call__(self) -> int:
        return self.now


def test_variants_alternate_and_only_what_they_yield_is_timed():
    clock = Clock()
    order: list[str] = []

    def variant(name: str, ns: int) -> Any:
        def work() -> None:
            clock.now += ns

        def run() -> Iterator[Any]:
            order.append(name)
            clock.now += 1_000_000  # preparation
            yield work
            clock.now += 1_000_000
            yield work

        return run

    variants = {"a": variant("a", 10), "b": variant("b", 30)}
    rounds = timing.interleaved(variants, {"a": 2, "b": 4}, 3, clock=clock)
    assert order == ["a", "b"] * 4, "one round that warms up, then three"
    assert rounds.taken == {"a": [20, 20, 20], "b": [60, 60, 60]}
    assert rounds.cost("a").median == 10 and rounds.cost("b").median == 15
    assert rounds.ratio("b", "a") == Spread(1.5, 1.5, 1.5)


def test_ratios_are_taken_round_by_round():
    rounds = timing.Rounds({"a": [10, 100, 1000], "b": [20, 200, 2000]}, {"a": 1, "b": 1})
    assert rounds.ratio("b", "a") == Spread(2, 2, 2), "a slow round is slow for both"


def test_the_collector_is_off_while_a_variant_runs_and_comes_back_when_it_raises():
    seen: list[bool] = []

    def variant() -> Iterator[Any]:
        yield lambda: seen.append(gc.isenabled())
        raise RuntimeError

    assert gc.isenabled()
    with pytest.raises(RuntimeError):
        timing.interleaved({"a": variant}, 1, 1)
    assert seen == [False] and gc.isenabled()


@pytest.mark.parametrize("name", ["timing", "figures", "payloads", "page"])
def test_the_examples_in_the_docstrings_hold(name):
    result = doctest.testmod(import_module(f"benchmarks.{name}"))
    assert result.attempted and not result.failed


# --- the page ---------------------------------------------------------------------------------


def figure(value: float, goal: Any = None, **members: Any) -> Any:
    given = {"table": "T", "row": "r", "column": "c", "unit": "times", "baseline": "a baseline"}
    given |= {"better": "lower", "goal": goal, "spread": Spread.of([value])}
    return Figure(**{**given, **members})


def one(*found: Any, **machine: str) -> Any:
    answer = figures.Answer(figures=tuple(found))
    return Results({**figures.machine(), **machine}, "full", {"ingest": answer})


def test_the_page_shows_each_question_baseline_and_figure(results):
    text = page.page(results, command.QUESTIONS)
    for question in HERE:
        assert f"\n## {question.title}\n" in text
        for found in results.answers[question.name].figures:
            assert page.cell(found) in text
            assert not found.baseline or found.baseline in text
    assert "Official clients" not in text, "what was not measured is not shown"
    assert "rivial callbacks gain little" in text
    (gained,) = coalescing.remarks(results.answers["coalescing"])
    assert gained in text and "trivial: " in gained and "asyncio" in gained


def test_a_goal_is_reached_or_missed_by_what_was_measured():
    goal = Goal("<=", 1.4)
    reached, missed = figure(1.4, goal, row="first"), figure(1.41, goal, row="second")

    def goals(*found: Any) -> str:
        return (
            page.page(one(*found), command.QUESTIONS).partition("## Goals")[2].partition("\n## ")[0]
        )

    assert "| ≤ 1.4 | 1.40 | reached |" in goals(reached)
    assert "| ≤ 1.4 | 1.41 | missed |" in goals(missed)
    assert "| ≤ 1.4 | 1.40 to 1.41 | reached in 1 of 2: first |" in goals(reached, missed)
    assert page.cell(reached).endswith("✓") and page.cell(missed).endswith("✗")


def test_counts_with_their_own_goals_are_one_row():
    exact = [
        figure(n, Goal("==", n), row=str(n), unit="count", better="exact", baseline="")
        for n in (3, 25)
    ]
    assert "| exact |  | reached in all 2 |" in page.page(one(*exact), command.QUESTIONS)


def test_no_number_of_the_prose_was_measured(results):
    """Other results, other numbers: nothing measured is written down in the package."""

    def doubled(found: Any) -> Any:
        spread = found.spread
        return attrs.evolve(found, spread=Spread(*(2 * n + 7 for n in attrs.astuple(spread))))

    answers = {
        name: attrs.evolve(answer, figures=tuple(map(doubled, answer.figures)))
        for name, answer in results.answers.items()
    }
    other = attrs.evolve(results, answers=answers)
    text = page.page(other, command.QUESTIONS)
    for question in HERE:
        for found in other.answers[question.name].figures:
            assert page.cell(found) in text
        assert question.remarks(results.answers[question.name]) == () or (
            question.remarks(other.answers[question.name])
            != question.remarks(results.answers[question.name])
        )


def test_results_come_back_from_json_as_the_same_page(results):
    again = Results.from_json(json.loads(json.dumps(results.to_json())))
    assert page.page(again, command.QUESTIONS) == page.page(
        Results.from_json(again.to_json()), command.QUESTIONS
    )
    for name, answer in results.answers.items():
        assert [f.name for f in again.answers[name].figures] == [f.name for f in answer.figures]
        assert [f.goal for f in again.answers[name].figures] == [f.goal for f in answer.figures]
        for before, after in zip(answer.figures, again.answers[name].figures, strict=True):
            assert after.spread.median == pytest.approx(before.spread.median, rel=1e-3)
            if before.unit == "count":
                assert after.spread == before.spread, "counts are kept to the last digit"


def test_json_keeps_counts_whole_and_cuts_what_is_noise():
    spread = Spread(1_234_567, 0.123456, 98765.4321)
    again = Results.from_json(one(figure(0, spread=spread)).to_json())
    assert again.answers["ingest"].figures[0].spread == Spread(1_234_567, 0.1235, 98770)


@pytest.mark.skipif(not command.RESULTS.exists(), reason="nothing was published yet")
def test_the_published_page_is_what_the_published_results_say():
    published = command.load(command.RESULTS)
    names = [name for name in plots._PLOTS if (command.PLOTS / name).exists()]
    assert command.PAGE.read_text(encoding="utf-8") == page.page(
        published, command.QUESTIONS, names
    )
    assert published.effort == "full"


@pytest.mark.skipif(not HAS_MATPLOTLIB, reason="the extra bench is not installed")
def test_the_same_numbers_give_the_same_plots_byte_for_byte(results, tmp_path):
    names = plots.write_plots(results, tmp_path / "one")
    assert names == list(plots._PLOTS)
    assert plots.write_plots(results, tmp_path / "two") == names
    for name in names:
        first, second = ((tmp_path / folder / name).read_bytes() for folder in ("one", "two"))
        assert first == second
        assert b"<svg" in first and b"<dc:date>" not in first


# --- regressions ------------------------------------------------------------------------------


def worse(before: Any, after: Any) -> list[str]:
    return [str(found) for found in regressions.regressions(before, after)]


def test_worse_is_what_lies_outside_both_spreads_in_the_bad_direction():
    old = figure(1.0, spread=Spread(1.0, 0.9, 1.1))
    slower, slightly = (
        attrs.evolve(old, spread=Spread(*values)) for values in ((1.3, 1.2, 1.4), (1.15, 1.05, 1.2))
    )
    assert len(worse(one(old), one(slower))) == 1
    assert "1.30" in worse(one(old), one(slower))[0] and "1.00" in worse(one(old), one(slower))[0]
    assert worse(one(old), one(slightly)) == [], "the spreads touch"
    assert worse(one(slower), one(old)) == [], "this is better"
    higher = [attrs.evolve(found, better="higher") for found in (old, slower)]
    assert worse(one(higher[1]), one(higher[0])) and not worse(one(higher[0]), one(higher[1]))


def test_counts_are_exact_and_times_are_compared_on_one_kind_of_machine():
    old, new = (figure(n, unit="count", better="exact", baseline="") for n in (10, 11))
    assert worse(one(old), one(new)) and worse(one(new), one(old)) and not worse(one(old), one(old))
    slow = [figure(n, unit="ns", baseline="") for n in (100, 200)]
    assert len(worse(one(slow[0]), one(slow[1]))) == 1
    assert worse(one(slow[0]), one(slow[1], cores="96")) == []
    factor = [figure(n) for n in (1, 2)]
    assert len(worse(one(factor[0]), one(factor[1], cores="96"))) == 1


def test_a_figure_that_only_one_run_has_is_no_regression():
    assert worse(one(figure(1, row="a")), one(figure(9, row="b"))) == []


# --- the command ------------------------------------------------------------------------------


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """What the command would publish goes to a folder of the test."""
    for name, file in (("RESULTS", "results.json"), ("PAGE", "benchmarks.md"), ("PLOTS", "plots")):
        monkeypatch.setattr(command, name, tmp_path / file)
    return tmp_path


def test_one_question_is_printed_and_written_as_json(elsewhere, capsys):
    file = elsewhere / "out" / "run.json"
    assert command.main(["--effort", "tiny", "--only", "memory", "--json", str(file)]) == 0
    printed = capsys.readouterr().out
    assert "## What is held" in printed and "bytes per character" in printed
    loaded = command.load(file)
    assert list(loaded.answers) == ["memory"] and loaded.effort == "tiny"
    assert not command.PAGE.exists() and not command.RESULTS.exists()


@pytest.mark.skipif(not HAS_MATPLOTLIB, reason="the extra bench is not installed")
def test_publishing_writes_results_plots_and_a_page_that_links_them(elsewhere, results):
    command.publish(results)
    text = command.PAGE.read_text(encoding="utf-8")
    linked = re.findall(r"\]\(plots/([^)]*)\)", text)
    assert linked
    assert sorted(linked) == sorted(file.name for file in command.PLOTS.iterdir())
    before = text
    assert command.main(["--render"]) == 0
    assert command.PAGE.read_text(encoding="utf-8") == page.page(
        command.load(command.RESULTS), command.QUESTIONS, list(plots._PLOTS)
    )
    assert before.partition("##")[0] == command.PAGE.read_text(encoding="utf-8").partition("##")[0]


def test_regressions_are_told_and_are_the_exit_status(elsewhere, capsys, monkeypatch):
    question = command.QUESTIONS[0]
    now = [figure(2.0)]
    measured = attrs.evolve(question, measure=lambda effort: iter(now))
    monkeypatch.setattr(command, "QUESTIONS", (measured,))
    command.save(one(figure(1.0)), command.RESULTS)
    assert command.main(["--regressions"]) == 1
    assert "worse: ingest: T | r | c: 1.00, now 2.00" in capsys.readouterr().out
    now[:] = [figure(1.0)]
    assert command.main(["--regressions"]) == 0
    assert "nothing became worse" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--regressions"], "--publish writes it"),
        (["--quick", "--publish"], "only full sizes are published"),
        (["--only", "nothing"], "invalid choice"),
    ],
)
def test_what_cannot_be_done_is_said_before_anything_is_measured(
    elsewhere, arguments, says, capsys
):
    with pytest.raises(SystemExit) as stopped:
        command.main(arguments)
    assert stopped.value.code == 2
    assert says in capsys.readouterr().err


def test_a_missing_package_is_a_reason_and_no_failure(monkeypatch):
    parsers = import_module("benchmarks.parsers")
    monkeypatch.setattr(parsers, "installed", lambda name: False)
    monkeypatch.setattr(clients, "installed", lambda name: False)
    for question, rows in ((parsers.QUESTION, {"streamstore.sse"}), (clients.QUESTION, set())):
        answer = command.answer(question, "tiny")
        assert {found.row for found in answer.figures} == rows
        assert all("pip install" in s.reason or "npm" in s.reason for s in answer.skipped)
        assert len(answer.skipped) >= 3


def test_an_adapter_that_is_not_there_is_skipped(monkeypatch):
    ingest = import_module("benchmarks.ingest")
    only: Mapping[str, Any] = {"native": adapters()["native"]}
    monkeypatch.setattr(ingest, "adapters", lambda: only)
    answer = command.answer(ingest.QUESTION, "tiny")
    modes = ("block", "sparse", "session", "none")
    assert {found.row for found in answer.figures} == {f"native, `{mode}`" for mode in modes}
    assert len(answer.skipped) >= len(payloads.SOURCES) - 4
