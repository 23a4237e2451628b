"""Event logs of both kinds: what goes in comes out, in place, for one writer and many readers.

Crashes, damage and full disks are in `test_log_crash.py`; what is SQLite's own in
`test_log_sqlite.py`.
"""

from __future__ import annotations

import contextlib
import gzip
import importlib.util
import itertools
import json
import os
import signal
import subprocess
import sys
import tracemalloc
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from disks import MemoryDisk
from hypothesis import given
from hypothesis import strategies as st

from streamstore import CallerError, LimitError, StreamStore
from streamstore.log import (
    DamagedLog,
    DiskError,
    DiskFile,
    FileGone,
    LogLocked,
    LogWriter,
    Loss,
    Record,
    UnsupportedLog,
    open_log,
    read_log,
    read_state,
    write_state,
)
from streamstore.log import disk as system
from streamstore.log.jsonl import JsonLinesReader
from streamstore.log.lines import HEADER, LINE_BYTES, Scan, encode, looks_like_log
from streamstore.log.sealing import seal
from streamstore.log.writing import NAME_BYTES, PAYLOAD_BYTES
from streamstore.sse import EventStreamParser

DATA = Path(__file__).resolve().parent / "data" / "opencode"
KINDS = ("log.jsonl", "log.sqlite")

PAYLOADS = [
    b"{}",
    b'{"type": "x", "text": "\xe2\x80\xa8 \xc3\xa9 \xf0\x9f\x98\x80"}',
    b' {"a": 1}',
    b'{"a":1}  ',
    b'[1, {"a": null}]',
    b'{"half": "\\ud83d"}',
    b'{\n  "a": 1\n}',
    b'{"a":\r1}',
    b"",
    b"[DONE]",
    b'"text"',
    b"12",
    b'{"broken":',
    b'{"a": 1} {"a": 2}',
    b'{"a": NaN}',
    b"[" * 5000,
    b"\xff\xfe \xed\xa0\x80 \x00",
    b'{"a": "\xff"}',
    encode(Record(1, None, "", "", 0, b"{}"))[:-1],
    seal(b'{"a": 1'),
    HEADER,
]


@pytest.fixture(params=KINDS)
def path(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    return tmp_path / request.param


payloads = st.sampled_from(PAYLOADS) | st.binary(max_size=40) | st.text(max_size=20).map(str.encode)
texts = st.text(st.characters(codec="utf-8"), max_size=12)
appends = st.fixed_dictionaries(
    {"payload": payloads},
    optional={
        "time_ms": st.none() | st.integers(0, 2**63 - 1),
        "event_id": texts,
        "name": texts,
        "connection": st.integers(0, 3) | st.just(2**63 - 1),
    },
)


def as_record(position: int, arguments: dict[str, Any]) -> Record:
    return Record(
        position,
        arguments.get("time_ms"),
        arguments.get("event_id", ""),
        arguments.get("name", ""),
        arguments.get("connection", 0),
        arguments["payload"],
    )


def fill(log: LogWriter, *payloads: bytes | str) -> None:
    for payload in payloads:
        log.append(payload)


# --- what goes in comes out -----------------------------------------------------------------------


@given(st.lists(appends, max_size=6), st.sampled_from(KINDS), st.integers(0, 6))
def test_records_come_out_as_they_went_in(tmp_path_factory, events, kind, cut):
    path = tmp_path_factory.mktemp("log") / kind
    expected = [as_record(position, event) for position, event in enumerate(events, start=1)]
    with open_log(path) as log:
        for position, event in enumerate(events[:cut], start=1):
            assert log.append(**event) == position == log.position
        assert list(log.read()) == expected[:cut]
    with open_log(path) as log:  # and goes on where it was
        assert (log.position, log.recovered.kept) == (len(events[:cut]),) * 2
        for event in events[cut:]:
            log.append(**event)
    with read_log(path) as reader:
        for after in range(len(events) + 2):
            assert list(reader.read(after)) == expected[after:]
        for wanted in {record.event_id for record in expected}:
            first = next(record.position for record in expected if record.event_id == wanted)
            assert reader.position_of(wanted) == (first if wanted else None)
        for wanted in {record.connection for record in expected}:
            first = next(record.position for record in expected if record.connection == wanted)
            assert reader.start_of(wanted) == first - 1
        assert reader.position_of("not there") is None
        assert reader.start_of(77) is None


def test_every_kind_of_payload_comes_out_byte_for_byte(path):
    with open_log(path) as log:
        fill(log, *PAYLOADS)
    with read_log(path) as reader:
        assert [record.data for record in reader.read()] == PAYLOADS


def test_text_is_utf8_and_lone_surrogates_do_not_stop_a_recorder(path):
    with open_log(path) as log:
        fill(log, "\u00e9", "\ud83d")
        assert [record.data for record in log.read()] == [b"\xc3\xa9", b"\xed\xa0\xbd"]


def test_a_log_of_json_lines_is_json_lines_that_one_can_read():
    disk = MemoryDisk()
    with open_log("log", disk=disk) as log:
        wire = '{"type":"x","text":"\u00e9"}'
        log.append(wire, time_ms=12, event_id='7"\u00e9', name="message", connection=2)
        fill(log, "[DONE]", b"\xff")
    assert disk.now()["log"].decode().splitlines() == [
        '{"log": "streamstore", "version": 1, "sum": "1d38e1d7"}',
        '{"position": 1, "time": 12, "id": "7\\"\u00e9", "event": "message", "connection": 2, '
        '"data": {"type":"x","text":"\u00e9"}, "sum": "5eb383da"}',
        '{"position": 2, "data": "[DONE]", "sum": "49f8441b"}',
        '{"position": 3, "data": "\\udcff", "sum": "766b50b2"}',
    ]


@given(st.lists(appends, max_size=4))
def test_every_line_is_json_whatever_the_payload(events):
    for position, event in enumerate([*events, *({"payload": p} for p in PAYLOADS)], start=1):
        line = encode(as_record(position, event))
        assert line.count(b"\n") == 1
        found = json.loads(line)
        try:
            wire = json.loads(event["payload"], parse_constant=lambda _: 1 / 0)
        except (ValueError, ZeroDivisionError, RecursionError):
            wire = None
        if isinstance(wire, dict | list) and event["payload"][:1] in b"{[":
            if not {10, 13} & set(event["payload"]):
                assert found["data"] == wire
                continue
        assert found["data"].encode("utf-8", "surrogateescape") == event["payload"]


@given(st.lists(appends, max_size=5))
def test_frames_of_records_are_what_an_event_stream_said(events):
    records = [as_record(position, event) for position, event in enumerate(events, start=1)]
    frames = EventStreamParser().feed(b"".join(record.frame() for record in records))
    assert len(frames) == len(records)
    in_force = ""
    for record, frame in zip(records, frames, strict=True):
        lines = record.data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        assert frame.data == lines.decode("utf-8", "replace")
        if not {"\r", "\n"} & set(record.name):
            assert frame.event == (record.name or "message")
        if record.event_id and not {"\r", "\n", "\0"} & set(record.event_id):
            in_force = record.event_id
        assert frame.id == in_force


def test_names_tell_the_kinds_apart(tmp_path):
    for name in ("a.sqlite", "a.SQLITE3", "a.db"):
        with open_log(tmp_path / name) as log:
            fill(log, "{}")
        assert (tmp_path / name).read_bytes().startswith(b"SQLite format 3\0")
    for name in ("a.jsonl", "a", "a.log"):
        with open_log(str(tmp_path / name)) as log:
            fill(log, "{}")
        assert (tmp_path / name).read_bytes().startswith(HEADER)


# --- reading --------------------------------------------------------------------------------------


def test_what_is_appended_while_one_reads_can_be_read(path):
    with open_log(path) as log, read_log(path) as reader:
        assert list(reader.read()) == []
        for position in range(1, 200):
            log.append(b"%d" % position)
            log.sync()
            (record,) = reader.read(position - 1)
            assert record.data == b"%d" % position
        read = reader.read()
        next(read)
        log.append("last")
        log.sync()
        assert [record.data for record in read][-1] == b"last"


def test_a_record_that_is_being_written_is_not_there_yet():
    disk = MemoryDisk()
    with open_log("log", disk=disk) as log:
        fill(log, "{}", "{}")
        whole = disk.now()["log"]
    at = whole.index(b'{"position": 2')
    for cut in range(at, len(whole) - 1):
        reader = JsonLinesReader("log", disk=MemoryDisk({"log": whole[:cut]}))
        assert [record.position for record in reader.read()] == [1]  # and that is no damage


def test_bytes_behind_the_last_record_are_counted():
    disk = MemoryDisk()
    with open_log("log", disk=disk) as log:
        fill(log, "{}", "{}")
    for cut in (0, 1, 2, 20):
        data = disk.now()["log"]
        reader = JsonLinesReader("log", disk=MemoryDisk({"log": data[: len(data) - cut]}))
        list(reader.read())
        assert reader.torn == (
            0 if cut < 2 else len(encode(Record(2, None, "", "", 0, b"{}"))) - cut
        )


def test_a_part_of_a_log_names_what_is_not_there(tmp_path):
    with open_log(tmp_path / "log") as log:
        fill(log, "a", "b", "c", "d")
    lines = (tmp_path / "log").read_bytes().splitlines(keepends=True)
    (tmp_path / "tail").write_bytes(b"".join((lines[3], lines[1], b"\n", lines[4])))
    losses: list[Loss] = []
    with read_log(tmp_path / "tail") as reader:
        assert [record.position for record in reader.read(on_loss=losses.append)] == [3, 4]
        assert losses == [
            Loss(0, 3, 1, "lines before this one are missing"),
            Loss(3, 4, 2, "position 1 is not behind 3"),
        ]
        assert [str(loss) for loss in losses] == [
            "positions 1 to 2 are lost (line 1: lines before this one are missing)",
            "no record is lost (line 2: position 1 is not behind 3)",
        ]
        found = []
        with pytest.raises(DamagedLog, match="positions 1 to 2 are lost"):
            found += reader.read()
        assert not found
        assert [record.position for record in reader.read(3)] == [4]  # what is lost lies before it


def test_another_log_behind_a_log_is_not_taken_for_its_records(tmp_path):
    with open_log(tmp_path / "log") as log:
        fill(log, "a", "b")
    twice = (tmp_path / "log").read_bytes() * 2
    losses: list[Loss] = []
    with read_log(_written(tmp_path / "twice", twice)) as reader:
        assert [record.data for record in reader.read(on_loss=losses.append)] == [b"a", b"b"]
    assert losses == [Loss(2, None, 4, "another log begins here")]
    with open_log(tmp_path / "twice") as log:
        assert log.position == 2


def test_line_ends_of_windows_change_nothing(tmp_path):
    with open_log(tmp_path / "log") as log:
        fill(log, *PAYLOADS)
    crlf = _written(tmp_path / "crlf", (tmp_path / "log").read_bytes().replace(b"\n", b"\r\n"))
    with read_log(crlf) as reader:
        assert [record.data for record in reader.read()] == PAYLOADS
    with open_log(crlf) as log:
        fill(log, "{}")
        assert log.recovered.cut == 0 and not log.recovered.losses
        assert len(list(log.read())) == len(PAYLOADS) + 1


def test_a_line_without_bound_is_not_kept_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr("streamstore.log.lines.LINE_BYTES", 1000)
    lines = [encode(Record(n, None, "", "", 0, b"{}")) for n in (1, 2, 3)]
    long = encode(Record(2, None, "", "", 0, b"x" * 2000))
    data = b"".join((HEADER, lines[0], long, lines[2]))
    for size in (10, 1 << 20):
        found = list(Scan(data[at : at + size] for at in range(0, len(data), size)))
        assert found == [
            Record(1, None, "", "", 0, b"{}"),
            Loss(1, 3, 3, "longer than 1000 bytes"),
            Record(3, None, "", "", 0, b"{}"),
        ]


def test_what_is_skipped_of_a_line_is_not_held(monkeypatch):
    monkeypatch.setattr("streamstore.log.lines.LINE_BYTES", 100_000)
    tracemalloc.start()
    try:
        list(Scan(itertools.chain((HEADER,), (bytes(100_000) for _ in range(300)), (b"\n",))))
        assert tracemalloc.get_traced_memory()[1] < 2_000_000
    finally:
        tracemalloc.stop()


# --- gzip -----------------------------------------------------------------------------------------


def packed(data: bytes) -> bytes:
    return gzip.compress(data, mtime=0)


@pytest.mark.parametrize("most", [1, 7, 1 << 20])
def test_a_gzipped_log_is_read(tmp_path, most):
    with open_log(tmp_path / "log") as log:
        fill(log, *PAYLOADS)
    data = (tmp_path / "log").read_bytes()
    several = packed(data[:100]) + packed(b"") + b"\0\0" + packed(data[100:]) + b"\0"
    for whole in (packed(data), several):
        chunks = [whole[at : at + most] for at in range(0, len(whole), most)]
        assert [item.data for item in Scan(iter(chunks))] == PAYLOADS
    with read_log(_written(tmp_path / "log.gz", several)) as reader:
        assert [record.data for record in reader.read()] == PAYLOADS


def test_a_gzipped_log_of_much_in_little_is_read():
    data = HEADER + encode(Record(1, None, "", "", 0, b"x" * 3_000_000))
    (record,) = Scan([packed(data)])
    assert len(record.data) == 3_000_000


def test_a_gzipped_log_that_breaks_off_or_is_damaged_says_so(tmp_path):
    with open_log(tmp_path / "log") as log:
        fill(log, *(f"{n:x}" * 9 for n in range(40)))
        whole = list(log.read())
    data = packed((tmp_path / "log").read_bytes())
    for cut in range(2, len(data)):
        found = list(Scan([data[:cut]]))
        assert found[:-1] == whole[: len(found) - 1]
        assert found[-1] == Loss(len(found) - 1, None, found[-1].line, "the gzipped log breaks off")
    for place in range(2, len(data)):
        changed = bytearray(data)
        changed[place] ^= 4
        with contextlib.suppress(Exception):
            found = [item for item in Scan([bytes(changed)]) if item not in whole]
            assert found or place in (4, 5, 6, 7, 8, 9)  # a time and the like: nothing is lost


def test_a_gzipped_log_is_not_appended_to(tmp_path):
    with open_log(tmp_path / "log") as log:
        fill(log, "{}")
    path = _written(tmp_path / "log.gz", packed((tmp_path / "log").read_bytes()))
    before = path.read_bytes()
    path.rename(tmp_path / "other")
    for name in ("other", "log.gz"):
        with pytest.raises(UnsupportedLog, match="can only be read"):
            open_log(tmp_path / name)
    assert (tmp_path / "other").read_bytes() == before


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such files there")
@pytest.mark.parametrize("name", ["pipe", "pipe.db"])
def test_what_has_no_end_is_not_read_to_its_end(tmp_path, name):
    """With a writer and no byte in it, reading the pipe would wait for ever."""
    path = tmp_path / name
    os.mkfifo(path)
    held = os.open(path, os.O_RDWR)
    try:
        with pytest.raises(UnsupportedLog, match="a device or a pipe"):
            open_log(path)
    finally:
        os.close(held)
    assert os.listdir(tmp_path) == [name]


@pytest.mark.parametrize("name", ["new.jsonl.gz", "new.GZ", "new.sqlite.gz"])
def test_a_log_is_not_made_under_the_name_of_a_gzipped_one(tmp_path, name):
    """It would be plain text that no tool for such files can read."""
    with pytest.raises(UnsupportedLog, match=r"name it without \.gz, and gzip it afterwards"):
        open_log(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


# --- files that are no logs -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "data",
    [
        b'{"type": "session.created"}\n{"type": "x"}\n',
        b"data: {}\n\n",
        b"{ ",
        b"\n\n{}\n",
        b"\xff" * 100,
        b"SQLite format 3\0" + bytes(84),
        seal(b'{"log": "streamstore", "version": 2') + b"\n",
        b'{"log": "streamstore", "version": 12, "codec": "new"}\n{"position": 1}\n',
        seal(b'{"position": 1, "data": "x') + b"\n",
        seal(b'{"saved": "streamstore", "version": 1, "state": {}') + b"\n",
    ],
)
def test_what_is_no_log_is_refused_and_left_as_it_is(path, data):
    _written(path, data)
    for way in (open_log, read_log):
        with pytest.raises(UnsupportedLog, match=path.name) as caught:
            way(path)
        assert caught.value.blame == "caller"
    assert path.read_bytes() == data
    assert os.listdir(path.parent) == [path.name]


def test_an_unknown_version_is_named(tmp_path):
    path = _written(tmp_path / "log", seal(b'{"log": "streamstore", "version": 2') + b"\n")
    with pytest.raises(UnsupportedLog, match="its version is 2, and this library knows 1"):
        read_log(path)
    _written(path, b'{"log": "streamstore", "version": 3, "sum": "of another kind"}\n')
    with pytest.raises(UnsupportedLog, match="its version is 3, or it is damaged"):
        read_log(path)


def test_a_log_that_is_not_there(path):
    with pytest.raises(FileNotFoundError):
        read_log(path)
    with pytest.raises(FileNotFoundError):
        open_log(path.parent / "no" / path.name)
    assert os.listdir(path.parent) == []


def test_a_log_below_a_file_is_refused_by_the_disk(path):
    path.parent.joinpath("file").write_bytes(b"")
    for way in (open_log, read_log):
        with pytest.raises(DiskError, match="Not a directory"):
            way(path.parent / "file" / path.name)


def test_an_empty_file_is_an_empty_log(path):
    path.touch()
    with open_log(path) as log:
        assert log.position == log.append("{}") - 1 == 0


def test_the_first_line_tells_a_log_from_a_wire():
    assert looks_like_log(HEADER)
    assert looks_like_log(encode(Record(1, None, "", "", 0, b"{}")))
    assert not looks_like_log(b'{"type": "message.updated", "position": 1}')


# --- one writer -----------------------------------------------------------------------------------


def test_a_second_writer_is_refused_and_readers_are_not(path):
    with open_log(path) as log:
        for way in (path, str(path), path.parent / "." / path.name):
            with pytest.raises(LogLocked, match="this process writes to it") as caught:
                open_log(way)
            assert caught.value.blame == "caller"
        fill(log, "{}")  # and the first one goes on
        log.sync()
        with read_log(path) as reader:
            assert len(list(reader.read())) == 1
    assert os.listdir(path.parent) == [path.name]  # one file, and nothing beside it
    open_log(path).close()


def test_a_link_to_a_log_is_the_same_log(path):
    link = path.parent / f"link-{path.name}"
    link.symlink_to(path)
    with open_log(path), pytest.raises(LogLocked):
        open_log(link)


_HOLDER = """
import os, sys
from streamstore.log import open_log
log = open_log(sys.argv[1])
log.append("{}")
log.sync()
print(os.getpid(), flush=True)
sys.stdin.read()
"""


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="a process cannot be killed like that")
def test_a_writer_in_another_process_locks_and_a_dead_one_does_not(path):
    process = subprocess.Popen(
        [sys.executable, "-c", _HOLDER, str(path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    with process:
        assert process.stdout is not None
        number = int(process.stdout.readline())
        with pytest.raises(LogLocked, match=f"process {number} writes to it"):
            open_log(path)
        process.kill()
        process.wait()
    assert (path.parent / f"{path.name}.lock").exists()  # nobody removed it
    with open_log(path) as log:
        assert log.position == 1
        fill(log, "{}")
    assert os.listdir(path.parent) == [path.name]


def test_a_lock_that_was_removed_while_it_was_taken_is_taken_anew(tmp_path, monkeypatch):
    """By the last holder, who let go between our opening of the file and our locking it."""
    path, beside = str(tmp_path / "log"), tmp_path / "log.lock"
    hold = system._hold
    taken = []

    def late(descriptor: int) -> None:
        hold(descriptor)
        if not taken:
            beside.unlink()
        taken.append(descriptor)

    monkeypatch.setattr(system, "_hold", late)
    lock = system.DISK.lock(path)
    assert len(taken) == 2
    with pytest.raises(LogLocked):
        system.DISK.lock(path)
    lock.release()
    assert not beside.exists()


def test_what_could_not_be_opened_is_not_locked(path):
    _written(path, b"something else\n")
    with pytest.raises(UnsupportedLog):
        open_log(path)
    path.unlink()
    open_log(path).close()


# --- misuse ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"time_ms": -1},
        {"time_ms": 1.5},
        {"time_ms": True},
        {"time_ms": 2**63},
        {"connection": -1},
        {"connection": None},
        {"event_id": "\ud83d"},
        {"name": None, "event_id": "7"},
    ],
)
def test_wrong_arguments_are_refused_and_the_log_goes_on(path, wrong):
    with open_log(path) as log:
        with pytest.raises(CallerError):
            log.append("{}", **wrong)
        assert log.append("{}") == 1
        for after in (-1, True, 1.0, None):
            with pytest.raises(CallerError):
                log.read(after)


@pytest.mark.parametrize(
    "long", [{"payload": bytes(PAYLOAD_BYTES + 1)}, {"event_id": "x" * (NAME_BYTES + 1)}]
)
def test_what_is_too_long_is_refused_and_the_log_goes_on(path, long):
    with open_log(path) as log:
        with pytest.raises(LimitError):
            log.append(**{"payload": "{}", **long})
        assert log.append("{}") == 1


def test_the_longest_payload_fits_into_a_line_that_is_read():
    name = "\x01" * NAME_BYTES
    line = encode(Record(2**63 - 1, 2**63 - 1, name, name, 2**63 - 1, bytes(1000)))
    assert len(line) + 6 * (PAYLOAD_BYTES - 1000) <= LINE_BYTES
    assert [item.position for item in Scan([HEADER, line]) if isinstance(item, Record)]


def cut(path: Path) -> None:
    path.write_bytes(b"")


def replace(path: Path) -> None:
    other = path.with_name("other")
    other.write_bytes(path.read_bytes())
    other.replace(path)


@pytest.mark.parametrize("spoil", [Path.unlink, cut, replace])
@pytest.mark.parametrize("quiet", [False, True])
@pytest.mark.skipif(sys.platform == "win32", reason="files that are open stay there")
def test_a_log_that_somebody_took_away_is_not_said_to_be_safe(path, spoil, quiet):
    log = open_log(path)
    log.append("1")
    log.sync()
    spoil(path)
    if quiet:
        with pytest.raises(DiskError, match="meanwhile; nothing of it is known to be safe"):
            log.close()
    else:
        log.append("2")
        with pytest.raises(DiskError, match="meanwhile; nothing of it is known to be safe"):
            log.sync()
        left = path.read_bytes() if path.exists() else b""
        log.close()
        assert b"\0" not in left or path.suffix == ".sqlite"
    assert log.durable_position == 0
    assert not Path(f"{path}.lock").exists()


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_a_log_behind_a_link_is_there(path):
    link = path.parent / "elsewhere" / path.name
    link.parent.mkdir()
    link.symlink_to(path)
    with open_log(link) as log:
        log.append("1")
        assert log.sync() == 1
    with read_log(path) as log:
        assert [record.data for record in log.read()] == [b"1"]


def test_a_program_may_work_in_another_folder_while_its_log_is_open(path, monkeypatch):
    monkeypatch.chdir(path.parent)
    with open_log(path.name) as log:
        monkeypatch.chdir("/")
        log.append("1")
        assert log.sync() == 1
    with read_log(path) as log:
        assert [record.data for record in log.read()] == [b"1"]


def test_a_file_system_that_counts_no_names_takes_nothing_away(tmp_path, monkeypatch):
    found = os.fstat

    def nameless(descriptor):
        values = list(found(descriptor))
        values[3] = 0  # st_nlink, as some file systems in user space say of every file
        return os.stat_result(values)

    monkeypatch.setattr(os, "fstat", nameless)
    with open_log(tmp_path / "a.jsonl") as log:
        log.append("1")
        assert log.sync() == 1


@pytest.mark.skipif(sys.platform == "win32", reason="files that are open stay there")
def test_a_log_of_json_lines_that_was_renamed_goes_on_under_its_new_name(tmp_path):
    with open_log(tmp_path / "a.jsonl") as log:
        log.append("1")
        (tmp_path / "a.jsonl").rename(tmp_path / "b.jsonl")
        log.append("2")
    with read_log(tmp_path / "b.jsonl") as log:
        assert [record.data for record in log.read()] == [b"1", b"2"]


def test_a_closed_log_says_so(path):
    log = open_log(path)
    log.append("{}")
    reader = read_log(path)
    for closed in (log, reader):
        closed.close()
        closed.close()
        for use in (closed.read, lambda: log.append("{}"), log.sync):
            with pytest.raises(CallerError, match="closed"):
                use()
    with read_log(path) as reader:
        assert len(list(reader.read())) == 1  # closing syncs


# --- a saved state and the tail of a log are the whole (L4) ---------------------------------------


def everything(store: StreamStore) -> Any:
    store.flush()
    for session_id in store.session_ids():
        store.release(session_id)
    store.flush()
    return {**store.state(), "counts": None}


def block_log() -> Iterator[dict[str, Any]]:
    """A small native log of a `block` stream, with two late events and two that come twice."""
    place = {"sessionId": "s", "messageId": "m", "blockIndex": 0}
    other = {**place, "messageId": "n"}
    yield {"type": "message.opened", "sessionId": "s", "messageId": "m", "role": "assistant"}
    yield {"type": "block.opened", **place, "kind": "text"}
    for seq in (1, 2, 4, 5, 3, 3, 6):
        yield {"type": "block.delta", **place, "seq": seq, "text": f"{seq} "}
    for seq in (2, 1, 3, 3):
        yield {"type": "block.delta", **other, "seq": seq, "text": f"<{seq}>"}
    yield {"type": "block.closed", **place, "seq": 6}
    yield {"type": "message.closed", "sessionId": "s", "messageId": "m", "status": "completed"}


def case(name: str) -> tuple[dict[str, Any], list[bytes]]:
    """What a stream of it is opened with, and its lines."""
    if name == "block":
        lines = [json.dumps(wire).encode() for wire in block_log()]
        return {"protocol": "native", "sequencing": "block"}, lines
    return {"protocol": "opencode"}, (DATA / name / "events.jsonl").read_bytes().splitlines()


@pytest.mark.parametrize("name", ["block", "question", "abort_text"])
@pytest.mark.parametrize("delivery", ["streaming", "buffered"])
def test_a_saved_state_and_the_tail_of_the_log_are_the_whole_at_every_cut(name, delivery):
    options, lines = case(name)
    disk = MemoryDisk()
    log = open_log("log", disk=disk)
    fill(log, "[not of this connection]")
    for number, line in enumerate(lines, start=1):
        log.append(line, event_id=str(number), connection=1)
    records = list(log.read(after=1))
    start = log.start_of(1)
    assert start == 1 and len(records) == len(lines)

    store = StreamStore(ticks="manual", delivery=delivery)
    stream = store.open(**options)
    # Every cut of a small log; of a long one as many, and not at the same place of each message.
    cuts = range(0, len(lines) + 1, 1 + len(lines) // 97)
    saved = 0
    for count, record in enumerate([None, *records]):
        if record is not None:
            stream.feed(record.frame())
            if count % 3 == 0:
                store.flush()
        if count in cuts:
            write_state(store.save(), f"state-{count}", disk=disk)
            saved += 1
    whole = everything(store)
    assert saved > 10 and whole["sessions"]
    for count in cuts:
        loaded = StreamStore.load(read_state(f"state-{count}", disk=disk), ticks="manual")
        tail = loaded.open(**options)
        position = tail.position
        assert position.events <= count
        assert position.event_id == (str(position.events) if position.events else "")
        if position.events:
            assert log.position_of(position.event_id) == start + position.events
        for record in records[position.events :]:
            tail.feed(record.frame())
        assert everything(loaded) == whole
        assert records[position.events :] == list(log.read(start + position.events))


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def test_where_a_system_has_no_locks_states_are_written_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Builds of Python for a browser lack the module, and have nobody to keep out."""
    monkeypatch.setitem(sys.modules, "fcntl", None)
    spec = importlib.util.spec_from_file_location("streamstore.log.bare", system.__file__)
    assert spec is not None and spec.loader is not None
    bare = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bare)
    write_state({"a": 1}, tmp_path / "state", disk=bare.DISK)
    assert read_state(tmp_path / "state") == {"a": 1}


def test_a_disk_of_ones_own_says_that_a_file_is_gone(tmp_path: Path) -> None:
    class Gone(system.OsDisk):
        def open(self, path: str, mode: Any, /) -> DiskFile:
            file = super().open(path, mode)
            synced = file.sync

            def sync() -> None:
                synced()
                if removed:
                    raise FileGone("the bucket was emptied")

            file.sync = sync  # type: ignore[method-assign]
            return file

    removed = False
    log = open_log(tmp_path / "log.jsonl", disk=Gone())
    log.append(b"{}")
    assert log.sync() == 1
    log.append(b"{}")
    removed = True
    with pytest.raises(DiskError, match="the bucket was emptied; nothing of it is known to be"):
        log.sync()
    assert log.durable_position == 0
    log.close()
