"""The command `check`: planted mistakes are found under their law; a good store keeps them all."""

from __future__ import annotations

import argparse
import bz2
import gzip
import io
import json
import lzma
import re
import zipfile
from pathlib import Path
from typing import Any

import attrs
import pytest

from streamstore import StreamStore, Verdict, check, cli, verdicts
from streamstore.changes import Edit
from streamstore.coalescer import Coalescer
from streamstore.events import BlockDelta
from streamstore.marks import EventIds
from streamstore.reducer import Reducer
from streamstore.stages import Stages
from streamstore.testing import LAWS, Log, Report, check_laws, sample
from streamstore.testing.laws import STRETCH
from streamstore.watermarks import NOWHERE, Gate

DATA = Path(__file__).parent / "data" / "opencode"
CASES = sorted(file.relative_to(DATA).as_posix() for file in DATA.glob("*/events*.jsonl"))

# -- planted mistakes ------------------------------------------------------------------------------


class _BareMaximum(Gate):
    def admit(
        self, mode: Any, event: Any, session: Any, message: Any, block: Any, *rest: Any
    ) -> Any:
        if block is not None and event.seq is not None:
            if event.seq <= block.mark:
                return verdicts.DUPLICATE, NOWHERE
            if mode == "block":
                block.mark = event.seq
                return verdicts.ACCEPTED, NOWHERE
        return super().admit(mode, event, session, message, block, *rest)


class BareMaximum(StreamStore):
    """Takes the highest seq for a watermark: what is late is dropped as if it came twice."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._stages.gate.__class__ = _BareMaximum


class _Clearing(Reducer):
    def _set_text(self, block: Any, field: str, seq: int, text: str) -> None:
        super()._set_text(block, field, seq, text)
        block.cell_of(field).replace(text)


class ClearedBySnapshot(StreamStore):
    """A snapshot or replace clears the deltas that are newer than it."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._stages.reducer.__class__ = _Clearing


class _Doubling(Gate):
    def admit(
        self, mode: Any, event: Any, session: Any, message: Any, block: Any, *rest: Any
    ) -> Any:
        found = super().admit(mode, event, session, message, block, *rest)
        if found[0] is verdicts.DUPLICATE and isinstance(event, BlockDelta):
            block.cell.append(event.text)
        return found


class _Forgetful(EventIds):
    def __contains__(self, event_id: str) -> bool:
        return False


class _Unknowing(Stages):
    __slots__ = ()

    def session_row(self, session_id: str) -> Any:
        row = super().session_row(session_id)
        if type(row.ids) is not _Forgetful:
            row.ids = _Forgetful(row.ids.size)
        return row


class AppendedReplay(StreamStore):
    """Appends a replayed stretch once more: it knows no seq and no id again."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._stages.__class__ = _Unknowing
        self._stages.gate.__class__ = _Doubling


class _Dropping(Gate):
    def drain(self, block: Any) -> Any:
        return super().drain(block)[1:]


class DroppedHold(StreamStore):
    """Drops the operation that waited longest behind a hole when the hole is filled."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._stages.gate.__class__ = _Dropping


class _Hurried(Coalescer):
    def settle(self, row: Any) -> None:
        if len(row.fresh) > 4 and not row.seqs:
            del row.fresh[4:]
        super().settle(row)


class MergedAway(StreamStore):
    """Loses deltas when more than four of them wait for one tick."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._coalescer.__class__ = _Hurried


class SilentRewrite(StreamStore):
    """Rewrites texts without saying so."""

    def subscribe(self, callback: Any, *scope: Any, **options: Any) -> Any:
        def hear(changes: Any) -> None:
            edits = {
                field: Edit(edit.start, edit.text, False) for field, edit in changes.text.items()
            }
            callback(attrs.evolve(changes, text=edits))

        return super().subscribe(hear, *scope, **options)


class ForgottenPending(StreamStore):
    """Saves what is shown and forgets what waits."""

    def save(self) -> dict[str, Any]:
        saved = super().save()
        for session in saved["sessions"]:
            for message in session["messages"]:
                for block in message["blocks"]:
                    block["cell"]["~cell"]["pending"] = []
        return saved


class _OneRow(Stages):
    __slots__ = ()

    def session_row(self, session_id: str) -> Any:
        return super().session_row(next(iter(self.sessions), session_id))


class OneSession(StreamStore):
    """Keeps every session's messages in the first one."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._stages.__class__ = _OneRow


def broken(log: Log, store: Any, **options: Any) -> dict[str, Report]:
    reports = check_laws(log, store=store, **{"runs": 12, **options})
    assert [report.law for report in reports] == list(LAWS)
    return {report.law: report for report in reports if report.outcome == "broken"}


def opencode(case: str) -> Log:
    return Log.read(DATA / case / "events.jsonl")


SPARSE, SESSION, BLOCK, NONE = (
    sample(sequencing, seed=1, messages=2) for sequencing in ("sparse", "session", "block", "none")
)
PLANTED = {
    "a bare maximum, sparse": (BareMaximum, SPARSE, {"L2"}),
    "a bare maximum, session": (BareMaximum, SESSION, {"L2"}),
    "a bare maximum, block": (BareMaximum, BLOCK, {"L2"}),
    "cleared by a snapshot, sparse": (ClearedBySnapshot, SPARSE, {"L2"}),
    "cleared by a snapshot, session": (ClearedBySnapshot, SESSION, {"L2"}),
    "an appended replay, sparse": (AppendedReplay, SPARSE, {"L1"}),
    "an appended replay, session": (AppendedReplay, SESSION, {"L1"}),
    "an appended replay, block": (AppendedReplay, BLOCK, {"L1"}),
    "an appended replay, ids alone": (AppendedReplay, NONE, {"L1"}),
    "an appended replay, opencode text": (AppendedReplay, opencode("text_plain"), {"L1"}),
    "an appended replay, opencode tools": (AppendedReplay, opencode("tools"), {"L1"}),
    "a dropped hold": (DroppedHold, BLOCK, {"L2", "L6"}),
    "merged away": (MergedAway, opencode("text_plain"), {"L3", "L6"}),
    "a silent rewrite": (SilentRewrite, SPARSE, {"L3"}),
    "forgotten pending, opencode": (ForgottenPending, opencode("text_plain"), {"L4"}),
    "forgotten pending, block": (ForgottenPending, BLOCK, {"L4"}),
    "one session, opencode": (OneSession, opencode("question"), {"L5"}),
    "one session, sparse": (OneSession, SPARSE, {"L5"}),
}


@pytest.mark.parametrize(("store", "log", "laws"), PLANTED.values(), ids=PLANTED)
def test_a_planted_mistake_is_reported_under_its_law_with_a_short_counterexample(store, log, laws):
    found = broken(log, store)
    assert laws <= set(found)
    for law in laws:
        example = found[law].counterexample
        assert example is not None
        assert 1 <= len(example) <= 6, str(example)


# Where nothing but one law is at stake, no other may be blamed.
ALONE = {
    "a bare maximum": (BareMaximum, SPARSE, {"L2"}),
    "cleared by a snapshot": (ClearedBySnapshot, SESSION, {"L2"}),
    "an appended replay": (AppendedReplay, opencode("tools"), {"L1"}),
    "a dropped hold": (DroppedHold, BLOCK, {"L2", "L6"}),
    "one session": (OneSession, SPARSE, {"L5"}),
    "forgotten pending": (ForgottenPending, SPARSE, {"L4"}),
}


@pytest.mark.parametrize(("store", "log", "laws"), ALONE.values(), ids=ALONE)
def test_no_other_law_is_blamed(store, log, laws):
    assert set(broken(log, store)) == laws


def test_a_counterexample_is_as_short_as_can_be():
    (example,) = (report.counterexample for report in broken(SPARSE, BareMaximum).values())
    assert example is not None
    opened, later, earlier = (wire for _, wire in example.arrivals)
    assert opened["type"] == "stream.opened"
    assert earlier["seq"] < later["seq"]
    assert earlier["blockIndex"] == later["blockIndex"]
    assert str(example).count("\n") == 3


def test_a_counterexample_of_a_replay_says_what_came_again():
    example = broken(opencode("text_plain"), AppendedReplay)["L1"].counterexample
    assert example is not None
    assert [what for what, _ in example.arrivals] == ["event", "again"]
    assert example.arrivals[0][1] == example.arrivals[1][1]
    assert "became" in example.problem


# -- a store that keeps them -----------------------------------------------------------------------


@pytest.mark.parametrize("log", [SPARSE, SESSION, BLOCK, NONE], ids=lambda log: log.name)
def test_the_store_keeps_every_law_that_is_promised(log):
    reports = check_laws(log, runs=12, seed=5)
    not_promised = {report.law for report in reports if report.outcome == "not promised"}
    assert {report.outcome for report in reports} <= {"kept", "not promised"}
    assert not_promised == ({"L2"} if log is NONE else set())
    assert all(report.why for report in reports)


@pytest.mark.parametrize("case", CASES)
def test_the_store_keeps_the_laws_of_recorded_streams(case):
    reports = check_laws(Log.read(DATA / case), runs=5)
    outcomes = {report.law: report.outcome for report in reports}
    assert outcomes == {**dict.fromkeys(LAWS, "kept"), "L2": "not promised"}


@pytest.mark.parametrize(
    ("state", "events"), [("join_late/initial", "join_late/events"),
                          ("reconnect_gap/snapshot", "reconnect_gap/events.2")],
)  # fmt: skip
def test_the_store_keeps_the_laws_of_a_stream_beside_a_fetched_state(state, events):
    log = Log.read(DATA / f"{state}.json", DATA / f"{events}.jsonl")
    outcomes = {report.law: report.outcome for report in check_laws(log, runs=5)}
    assert outcomes == {**dict.fromkeys(LAWS, "kept"), "L2": "not promised"}


def test_event_stream_ids_and_session_positions_are_resumed_from(tmp_path):
    file = tmp_path / "log.sse"
    log = sample("session", seed=3)
    frames = [f"id: {place}\ndata: {json.dumps(wire)}\n\n" for place, wire in enumerate(log.wires)]
    file.write_text("".join(frames))
    reports = check_laws(Log.read(file), runs=12)
    assert {report.outcome for report in reports} == {"kept"}


def test_reports_depend_on_the_seed_alone():
    first = check_laws(BLOCK, runs=3, seed=2, store=DroppedHold)
    assert first == check_laws(BLOCK, runs=3, seed=2, store=DroppedHold)
    assert any(
        check_laws(BLOCK, runs=1, seed=seed, store=DroppedHold) != first for seed in range(3)
    )


def test_a_long_log_is_examined_in_stretches():
    wires = [
        {"type": "block.delta", "messageId": "m", "blockIndex": 0, "text": "ab", "seq": seq}
        for seq in range(1, 2 * STRETCH)
    ]
    reports = check_laws(Log.of(wires), runs=3, laws=("L1", "L2"))
    assert [report.outcome for report in reports] == ["kept", "kept"]
    assert f"({3 * STRETCH:,} of {2 * STRETCH - 1:,} events)" in reports[0].why


# -- the command -----------------------------------------------------------------------------------


def parsed(*words: str) -> argparse.Namespace:
    return cli.parser().parse_args(["check", *map(str, words)])


def run(*words: str, store: Any = StreamStore) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    code = check.run(parsed(*words), out, err, store=store)
    return code, out.getvalue(), err.getvalue()


def written(tmp_path: Path, log: Log, name: str = "log.jsonl") -> str:
    file = tmp_path / name
    file.write_bytes(log.data())
    return str(file)


def test_the_command_prints_a_line_for_each_law(tmp_path):
    name = written(tmp_path, NONE)
    code, out, err = run(name, "--runs", "2")
    assert (code, err) == (0, "")
    head, *lines = out.splitlines()
    assert head.endswith(f"log.jsonl: {len(NONE)} events, native (none), seed 0")
    assert [line.split()[0] for line in lines] == list(LAWS)
    assert "not promised" in lines[1]


def test_a_broken_law_ends_in_exit_code_1_with_its_counterexample(tmp_path):
    code, out, err = run(written(tmp_path, SPARSE), "--runs", "9", store=BareMaximum)
    assert (code, err) == (1, "")
    assert "L2 order         BROKEN" in out
    assert "3 events show it:" in out
    assert out.count('event {"type"') == 3


def test_reports_as_json_hold_counterexamples_whole(tmp_path):
    code, out, _ = run(written(tmp_path, BLOCK), "--runs", "9", "--json", store=DroppedHold)
    assert code == 1
    (report,) = json.loads(out)
    assert (report["events"], report["protocol"], report["seed"]) == (len(BLOCK), "native", 0)
    laws = {entry["law"]: entry for entry in report["laws"]}
    assert list(laws) == list(LAWS)
    assert laws["L1"]["outcome"] == "kept"
    arrivals = laws["L2"]["counterexample"]["arrivals"]
    assert all(arrival["event"] in BLOCK.wires for arrival in arrivals if "event" in arrival)


def test_everything_printed_is_escaped(tmp_path):
    evil = "\x1b[2J\u202e\ud83d\n"
    log = Log.of(
        [
            {"type": "block.delta", "sessionId": evil, "messageId": evil, "blockIndex": 0,
             "text": evil * seq, "seq": seq}
            for seq in range(1, 9)
        ]
    )  # fmt: skip
    for words in ((), ("--json",)):
        code, out, _ = run(written(tmp_path, log), "--runs", "9", *words, store=BareMaximum)
        assert code == 1
        assert all(sign == "\n" or sign.isprintable() for sign in out)
        out.encode()


def test_what_an_output_cannot_write_is_escaped(tmp_path):
    out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    arguments = parsed(written(tmp_path, SPARSE, "läuft.jsonl"), "--runs", "1")
    assert check.run(arguments, out, io.StringIO()) == 0
    out.flush()
    assert b"l\\xe4uft" in out.buffer.getvalue()  # type: ignore[attr-defined]


def test_arguments_reach_the_laws(tmp_path):
    wires = [wire for wire in NONE.wires if wire["type"] != "stream.opened"]
    name = written(tmp_path, Log.of(wires))
    assert "native (none)" in run(name, "--sequencing", "none", "--runs", "1")[1]
    assert "seed 7" in run(name, "--seed", "7", "--runs", "1", "--protocol", "native")[1]
    assert "1 replays" in run(name, "--runs", "1")[1]


def test_several_logs_are_checked_one_by_one(tmp_path):
    first, second = written(tmp_path, SPARSE, "a.jsonl"), written(tmp_path, BLOCK, "b.jsonl")
    code, out, _ = run(first, second, "--runs", "1")
    assert code == 0
    assert [line for line in out.splitlines() if "events, native" in line][1:] and "\n\n" in out


WRONG = {
    "no such file": (["missing.jsonl"], "No such file"),
    "not a log": (["prose.txt"], "neither an event stream nor JSON lines"),
    "what starts like JSON": (["page.html"], "neither an event stream nor JSON lines"),
    "no protocol": (["other.jsonl"], "no protocol recognised"),
    "of another protocol": (["other.jsonl", "--protocol", "native"], "one that native knows"),
    "an unknown protocol": (["other.jsonl", "--protocol", "odd"], "no protocol is named"),
}


def _zipped(data):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("log.jsonl", data)
    return file.getvalue()


PACKED = {
    "xz": lzma.compress,
    "bzip2": bz2.compress,
    "zip": _zipped,
    "gzip twice": lambda data: gzip.compress(gzip.compress(data)),
    "zstd": lambda data: b"\x28\xb5\x2f\xfd\x04\x48\x81\x00\x00" + data.replace(b"{", b"("),
}


@pytest.mark.parametrize(("name", "pack"), PACKED.items(), ids=PACKED)
def test_a_log_that_is_packed_is_told_by_its_first_bytes(tmp_path, name, pack):
    log = tmp_path / "log"
    log.write_bytes(pack(b'{"type": "x"}\n' * 100))
    code, out, err = run(str(log))
    assert (code, out) == (2, "") and err.count("\n") == 1
    assert f"packed with {name}: plain logs and gzip are read" in err


@pytest.mark.parametrize(("words", "problem"), WRONG.values(), ids=WRONG)
def test_a_wrong_log_is_one_line_and_exit_code_2(tmp_path, monkeypatch, words, problem):
    monkeypatch.chdir(tmp_path)
    Path("prose.txt").write_text("once upon a time")
    Path("page.html").write_text("<style>\nbody\n{\n  color: red\n}\n")
    Path("other.jsonl").write_text('{"hello": "world"}\n')
    code, out, err = run(*words)
    assert (code, out) == (2, "")
    assert problem in err and err.count("\n") == 1


LONG_WIRE = {"type": "block.delta", "messageId": "m", "blockIndex": 0, "text": "x" * 9_000_000}


@pytest.mark.parametrize("framing", ["lines", "frames"])
@pytest.mark.parametrize("protocol", ["native", "auto"])
def test_a_log_that_breaks_off_is_checked_to_its_end_and_that_is_told(tmp_path, framing, protocol):
    path = tmp_path / "log"
    data = sample("sparse", seed=1, messages=1).data(framing)
    words = (str(path), "--runs", "1", "--protocol", protocol)
    for cut, told in ((0, False), (1, framing == "frames"), (9, True)):
        path.write_bytes(data[: len(data) - cut])
        code, _, err = run(*words)
        says = f"streamstore: {path}: its last event breaks off and is left out\n"
        assert (code, err) == (0, says if told else "")


def test_no_law_breaks_on_what_only_its_own_framing_makes_too_long(tmp_path):
    """A line may be longer than that of an event stream, and a state is bounded by neither."""
    opened = {"type": "message.opened", "messageId": "m", "role": "assistant"}
    long = {**LONG_WIRE, "text": "é" * 1_000_000}
    lines = "".join(json.dumps(wire, ensure_ascii=False) + "\n" for wire in (opened, long))
    (tmp_path / "log.jsonl").write_text(lines, encoding="utf-8")
    state = Path(__file__).parent / "data" / "opencode" / "join_late" / "initial.json"
    fetched, grown = re.subn(
        r'("text": ?")', r"\1" + "x" * 1_200_000, state.read_text(encoding="utf-8"), count=1
    )
    assert grown
    (tmp_path / "state.json").write_text(fetched, encoding="utf-8")
    frames = Log.read(str(state.with_name("events.jsonl"))).data("frames")
    (tmp_path / "log.sse").write_bytes(frames)
    for runs, *names in (["8", "log.jsonl"], ["3", "state.json", "log.sse"]):
        code, out, err = run(*(tmp_path / name for name in names), "--runs", runs)
        assert (code, err) == (0, ""), out[:2000]


def test_an_event_over_the_limit_is_left_out_as_a_store_does(tmp_path):
    """As an object it would be taken, and then a law of chunks seemed to be broken."""
    long = json.dumps(LONG_WIRE).encode() + b"\n"
    (tmp_path / "log.jsonl").write_bytes(BLOCK.data() + long)
    code, out, err = run(tmp_path / "log.jsonl", "--runs", "3")
    assert (code, out.partition("events")[0]) == (0, f"{tmp_path}/log.jsonl: {len(BLOCK)} ")
    assert "a line of 9,000," in err and "over the limit of 8,388,608 (line_bytes)" in err
    assert err.count("\n") == 1
    (tmp_path / "log.jsonl").write_bytes(long)
    code, out, err = run(tmp_path / "log.jsonl", "--runs", "3")
    assert (code, out) == (2, "")
    assert "no other event is in it" in err and err.count("\n") == 1


@pytest.mark.parametrize("words", [["--runs", "0"], ["--runs", "x"], ["--sequencing", "odd"], []])
def test_wrong_arguments_are_refused(words, capsys):
    with pytest.raises(SystemExit) as raised:
        parsed(*words, *(["log"] if words else []))
    assert raised.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_the_command_is_one_of_streamstores(tmp_path, capsys):
    name = written(tmp_path, BLOCK)
    assert cli.main(["check", name, "--runs", "1"]) == 0
    assert "L1 idempotent    kept" in capsys.readouterr().out


def test_a_verdict_is_no_part_of_a_report():
    """A planted store may answer what it likes; only what its readers get is judged."""

    class Polite(StreamStore):
        def ingest(self, wire: Any) -> Verdict:
            super().ingest(wire)
            return verdicts.ACCEPTED

    assert not broken(SPARSE, Polite, runs=2)
