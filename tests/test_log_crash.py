"""Crashes, full disks and flipped bits: what is whole stays, what is not is told.

A crash may come at any operation on a disk and at any byte of a file; the disk of these tests is
in memory and forgets what was not synced (`disks.py`). Real processes that are killed, and a real
file system that takes no more, are at the end.
"""

from __future__ import annotations

import errno
import json
import os
import random
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NoReturn

import pytest
from disks import Crash, MemoryDisk

from streamstore import CallerError, StreamStore, UnsupportedState
from streamstore.log import (
    DamagedLog,
    DiskError,
    LogLocked,
    LogWriter,
    Loss,
    Record,
    Recovery,
    UnsupportedLog,
    open_log,
    read_log,
    read_state,
    write_state,
)
from streamstore.log.jsonl import JsonLinesReader
from streamstore.log.lines import HEADER
from streamstore.log.sealing import seal

#: Kills of a real writer, of each kind. STREAMSTORE_KILLS=200 takes a minute and goes deeper.
KILLS = int(os.environ.get("STREAMSTORE_KILLS", "20"))

PLACE = {"sessionId": "s", "messageId": "m", "blockIndex": 0}


def delta(seq: int) -> bytes:
    wire = {"type": "block.delta", **PLACE, "seq": seq, "text": f"{seq}\u00e9 "}
    return json.dumps(wire, ensure_ascii=seq % 2 == 0).encode()


def folded(payloads: list[bytes]) -> Any:
    store = StreamStore()
    stream = store.open("native", sequencing="block")
    stream.ingest_many(map(json.loads, payloads))
    return {**store.state(), "resume": {}}


def fold_of(records: list[Record]) -> Any:
    store = StreamStore()
    stream = store.open("native", sequencing="block")
    stream.feed(b"".join(record.frame() for record in records))
    return {**store.state(), "resume": {}}  # with the ids of the records


def small_log(count: int = 5) -> bytes:
    """Records of every shape."""
    disk = MemoryDisk()
    with open_log("log", disk=disk) as log:
        for seq in range(1, count + 1):
            log.append(delta(seq), **(_more(seq)))
    return disk.now()["log"]


def _more(seq: int) -> dict[str, Any]:
    shapes: tuple[dict[str, Any], ...] = (
        {},
        {"time_ms": 1700000000000 + seq},
        {"time_ms": seq, "event_id": f'"{seq}"', "name": "message", "connection": 1},
    )
    return shapes[seq % 3]


def opened(data: bytes) -> tuple[LogWriter, MemoryDisk]:
    disk = MemoryDisk({"log": data})
    return open_log("log", disk=disk), disk


# --- JSON lines: at every byte --------------------------------------------------------------------


def test_a_log_cut_at_any_byte_is_the_fold_of_its_whole_records():
    whole = small_log(7)
    lines = whole.splitlines(keepends=True)[1:]
    folds = [folded([delta(seq) for seq in range(1, count + 1)]) for count in range(8)]
    ends = [len(whole) - len(b"".join(lines[count:])) for count in range(8)]  # behind each record
    for cut in range(len(whole) + 1):
        count = sum(end - 1 <= cut for end in ends[1:])  # whole without its line end, too
        log, disk = opened(whole[:cut])
        records = list(log.read())
        assert [record.position for record in records] == list(range(1, count + 1))
        assert fold_of(records) == folds[count]
        kept = ends[count] if cut >= ends[0] - 1 else 0
        expected = Recovery(count, max(0, cut - kept), ())
        assert log.recovered == expected
        # What is appended then stands on a line of its own, and is the next position.
        assert log.append(delta(count + 1), **_more(count + 1)) == count + 1
        log.close()
        assert disk.now()["log"].startswith(whole[: ends[count + 1]] if count < 7 else whole)
        assert opened(disk.now()["log"])[0].recovered == Recovery(count + 1)


def workload(disk: MemoryDisk, claims: list[int]) -> None:
    """Append and sync; `claims` gets each durable position that was claimed."""
    with open_log("log", disk=disk) as log:
        claims.append(log.durable_position)
        for seq in range(log.position + 1, log.position + 9):
            log.append(delta(seq), **_more(seq))
            if seq % 3 == 0:
                claims.append(log.sync())
    claims.append(log.durable_position)


def operations(run: Callable[[MemoryDisk], object], names: dict[str, bytes]) -> int:
    disk = MemoryDisk(names)
    run(disk)
    return len(disk.operations)


@pytest.mark.parametrize("start", ["new", "torn"])
@pytest.mark.parametrize("part", [0, 0.5, 1])
def test_after_a_crash_at_any_operation_everything_claimed_is_there(start, part):
    before = small_log(3)
    names = {} if start == "new" else {"log": before + before[-40:-3]}
    base = 3 if names else 0
    checked = 0
    for at in range(1, operations(lambda disk: workload(disk, []), names) + 1):
        disk, claims = MemoryDisk(names, fail_at=at, part=part), [base]
        with pytest.raises(Crash):
            workload(disk, claims)
        for left in [disk.killed(), *disk.survivors()]:
            if "log" not in left.names:
                assert not claims[1:]  # nobody claimed that it was there
                continue
            with open_log("log", disk=left) as log:
                records = list(log.read())
                assert not log.recovered.losses
                count = len(records)
                assert claims[-1] <= count == log.position
                assert [record.data for record in records] == [
                    delta(seq) for seq in range(1, count + 1)
                ]
                assert log.append("{}") == count + 1
            assert len(list(JsonLinesReader("log", disk=left).read())) == count + 1
            checked += 1
    assert checked > 100


def test_what_a_killed_writer_left_is_claimed_only_when_it_is_safe():
    disk = MemoryDisk()
    log = open_log("log", disk=disk)
    log.append(delta(1))
    disk.locked.clear()  # its writer is dead; the bytes are in the memory of the system
    again = open_log("log", disk=disk)
    assert again.durable_position == 1
    for left in disk.survivors():
        assert len(list(JsonLinesReader("log", disk=left).read())) == 1


# --- JSON lines: a disk that fails ----------------------------------------------------------------


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("part", [0, 0.5])
@pytest.mark.parametrize("lasting", [False, True])
def test_an_operation_that_fails_is_told_and_nothing_is_claimed(error, part, lasting):
    before = small_log(3)
    names = {"log": before + b'{"position"'}
    total = operations(lambda disk: workload(disk, []), names)
    kinds = set()
    for at in range(1, total + 1):
        disk = MemoryDisk(names, fail_at=at, error=error, part=part, lasting=lasting)
        claims: list[int] = []
        with pytest.raises(DiskError, match=os.strerror(error)) as caught:
            workload(disk, claims)
        assert caught.value.errno == error
        assert caught.value.blame == "disk"
        kinds.add(disk.operations[at - 1])
        assert not disk.locked
        for left in [disk.killed(), *disk.survivors()]:
            records = list(JsonLinesReader("log", disk=left).read())
            count = len(records)
            assert max(claims, default=3) <= count
            assert [record.data for record in records] == [
                delta(seq) for seq in range(1, count + 1)
            ]
    assert kinds == {"lock", "open", "read", "truncate", "write", "sync", "sync_folder"}


def failing(kind: str, **how: Any) -> tuple[LogWriter, MemoryDisk]:
    """A log with two synced records and one that is not, whose next `kind` of operation fails."""
    disk = MemoryDisk()
    log = open_log("log", disk=disk)
    for seq in (1, 2, 3):
        log.append(delta(seq))
        if seq == 2:
            log.sync()
    disk.error, disk.part = how.pop("error", errno.ENOSPC), how.pop("part", 0.5)
    disk.failing.add(kind)
    return log, disk


@pytest.mark.parametrize("part", [0, 0.1, 0.9, 1])
def test_half_a_record_is_taken_back_so_that_nothing_is_glued_to_it(part):
    log, disk = failing("write", part=part)
    before = disk.now()["log"]
    with pytest.raises(DiskError, match=r"cannot append to it.*positions up to 2 are safe"):
        log.append(delta(4))
    assert disk.now()["log"] == before
    assert (log.position, log.durable_position) == (3, 2)
    disk.failing.clear()  # there is space again
    for use in (lambda: log.append(delta(4)), log.sync):
        with pytest.raises(CallerError, match=r"could not append to it before.*open the log again"):
            use()
    assert [record.position for record in log.read()] == [1, 2, 3]  # it can still be read
    log.close()
    with open_log("log", disk=disk) as again:
        assert again.recovered == Recovery(3)
        assert again.append(delta(4)) == 4


def test_half_a_record_that_cannot_be_taken_back_is_cut_off_by_the_next_opening():
    log, disk = failing("write")
    disk.failing.add("truncate")
    with pytest.raises(DiskError):
        log.append(delta(4))
    log.close()
    torn = disk.now()["log"]
    disk.failing.clear()
    with open_log("log", disk=disk) as again:
        assert again.recovered == Recovery(3, len(torn) - len(disk.now()["log"]))
        assert again.recovered.cut > 20
        again.append(delta(4))
        assert [record.data for record in again.read()] == [delta(seq) for seq in (1, 2, 3, 4)]


def test_after_a_sync_that_failed_trying_again_claims_nothing():
    log, disk = failing("sync", error=errno.EIO)
    with pytest.raises(DiskError, match=r"cannot sync it.*positions up to 2 are safe"):
        log.sync()
    disk.failing.clear()  # Linux says once that it lost something
    syncs = disk.operations.count("sync")
    for use in (log.sync, lambda: log.append("{}")):
        with pytest.raises(CallerError, match="positions up to 2 are safe"):
            use()
    log.close()
    assert log.durable_position == 2
    assert disk.operations.count("sync") == syncs
    assert not disk.locked


def test_closing_does_not_hide_a_sync_that_fails():
    log, disk = failing("sync")
    with pytest.raises(DiskError, match="cannot sync"):
        log.close()
    assert log.durable_position == 2
    assert not disk.locked
    log.close()


def test_an_interrupt_in_the_middle_of_a_write_leaves_no_half_record():
    log, disk = failing("write")

    def interrupted() -> NoReturn:
        raise KeyboardInterrupt

    disk.stop = interrupted  # type: ignore[method-assign]
    before = disk.now()["log"]
    with pytest.raises(KeyboardInterrupt):
        log.append(delta(4))
    assert disk.now()["log"] == before
    with pytest.raises(CallerError):
        log.append(delta(4))


@pytest.mark.parametrize("most", [1, 7])
def test_a_disk_that_takes_little_at_a_time_gets_all_of_it(most):
    disk = MemoryDisk(most=most)
    with open_log("log", disk=disk) as log:
        for seq in range(1, 6):
            log.append(delta(seq), **_more(seq))
    assert disk.now()["log"] == small_log()


# --- JSON lines: damage ---------------------------------------------------------------------------


def test_every_flipped_bit_is_detected_and_costs_one_record_at_most():
    whole = small_log(3)
    originals = {record.position: record for record in opened(whole)[0].read()}
    lines = whole.splitlines(keepends=True)
    starts = [0]
    for line in lines:
        starts.append(starts[-1] + len(line))
    for bit in range(8 * len(whole)):
        place = bit // 8
        changed = bytearray(whole)
        changed[place] ^= 1 << bit % 8
        hit = max(number for number, start in enumerate(starts) if start <= place)
        is_end = place == starts[hit + 1] - 1
        log, disk = opened(bytes(changed))
        losses: list[Loss] = []
        found = {record.position: record for record in log.read(on_loss=losses.append)}
        # Nothing false is read, only the record that was hit is gone, and that is said.
        assert all(record == originals[position] for position, record in found.items())
        gone = set(originals) - set(found)
        assert gone <= ({hit} if hit and not is_end else set()), bit
        assert losses or log.recovered.cut, bit
        assert tuple(losses) == log.recovered.losses
        for position in gone:
            assert any(
                loss.after < position and (loss.before is None or position < loss.before)
                for loss in losses
            )
        if losses:
            assert losses[0].line in (hit + 1, hit + 2)
            with pytest.raises(DamagedLog) as caught:
                list(log.read())
            assert caught.value.loss == losses[0]
        # What is damaged is left as it is, and the log goes on behind it.
        assert disk.now()["log"].startswith(bytes(changed)[: len(whole) - 1])
        position = log.append("{}")
        assert position > 3
        assert [record.position for record in log.read(3, on_loss=losses.append)] == [position]


def test_a_loss_says_what_and_where():
    whole = small_log()
    lines = whole.splitlines(keepends=True)

    def losses(*changed: bytes) -> list[str]:
        return [str(loss) for loss in opened(b"".join(changed))[0].recovered.losses]

    assert losses(*lines[:2], lines[2].replace(b"block", b"blocK"), *lines[3:]) == [
        "position 2 is lost (line 3: the checksum does not fit)"
    ]
    assert losses(*lines[:2], b"\0" * 40 + b"\n", b"x\n", *lines[4:]) == [
        "positions 2 to 3 are lost (line 3: this is no record)"
    ]
    assert losses(*lines[:5], b"x\n") == [
        "from position 5 on everything is lost (line 6: this is no record)"
    ]
    assert losses(b"?", *lines) == ["no record is lost (line 1: the checksum does not fit)"]
    assert losses(*lines[:2], lines[2][:-1] + b"\x0b", *lines[3:]) == [
        "no record is lost (line 3: the checksum does not fit)"
    ]
    assert losses(lines[0], *lines[2:]) == [
        "position 1 is lost (line 2: lines before this one are missing)"
    ]


def test_a_payload_that_looks_like_a_log_is_never_taken_for_one():
    """Not even where the line around it is damaged: a transcript may hold a log."""
    disk = MemoryDisk()
    inner = small_log(3).splitlines()
    with open_log("log", disk=disk) as log:
        log.append(delta(1))
        log.append(b"[" + b", ".join(inner) + b"]")
        log.append("\n".join(line.decode() for line in inner))
        log.append(delta(4))
    whole = disk.now()["log"]
    start = whole.index(b'{"position": 2')
    for place in range(start, start + 40):
        changed = whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :]
        losses: list[Loss] = []
        reader = JsonLinesReader("log", disk=MemoryDisk({"log": changed}))
        assert [record.position for record in reader.read(on_loss=losses.append)] == [1, 3, 4]
        assert [(loss.after, loss.before) for loss in losses] == [(1, 3)]


def test_a_damaged_line_at_the_end_keeps_its_position():
    """Somebody may have saved it: another record never gets it."""
    lines = small_log().splitlines(keepends=True)
    log, _ = opened(b"".join(lines[:-1]) + lines[-1].replace(b"block", b"blocK"))
    assert log.recovered == Recovery(4, 0, (Loss(4, None, 6, "the checksum does not fit"),))
    assert log.position == log.durable_position == 5
    assert log.append("{}") == 6
    with pytest.raises(DamagedLog, match="position 5 is lost"):
        list(log.read())
    # Damage in the middle has its positions between its neighbours, and counts for nothing here.
    damaged = b"".join((*lines[:2], b"x\n", *lines[3:-1], b"x\n"))
    assert opened(damaged)[0].position == 5


def test_damage_does_not_hide_a_position():
    lines = small_log().splitlines(keepends=True)
    log, _ = opened(b"".join((*lines[:2], b"x\n", *lines[3:])))
    assert log.position_of('"5"') == 5
    assert log.start_of(1) == 4  # the first record of connection 1 that is left
    assert log.start_of(0) == 0


# --- saved states ---------------------------------------------------------------------------------

OLD = {"version": 1, "text": "old \ud83d", "sessions": [{"a": 1.5}]}
NEW = {"version": 1, "text": "new \u00e9" * 50}


def old() -> dict[str, bytes]:
    disk = MemoryDisk()
    write_state(OLD, "state", disk=disk)
    return disk.now()


def test_a_saved_state_is_a_readable_file(tmp_path):
    path = tmp_path / "state.json"
    for state in (OLD, NEW, {}):
        write_state(state, path)
        assert read_state(path) == state
        assert json.loads(path.read_bytes())["state"] == state
        assert os.listdir(tmp_path) == ["state.json"]
    assert path.read_bytes() == seal(b'{"saved": "streamstore", "version": 1, "state": {}') + b"\n"


@pytest.mark.skipif(sys.platform == "win32", reason="there files have no such modes")
def test_a_saved_state_is_as_private_as_the_one_before_and_private_at_first(tmp_path):
    path = tmp_path / "state"
    write_state(OLD, path)
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o640)
    write_state(NEW, path)
    assert path.stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("part", [0, 0.5, 1])
@pytest.mark.parametrize("names", [{}, {"state": OLD}], ids=["first", "again"])
def test_after_a_crash_at_any_operation_the_old_or_the_new_state_is_whole(part, names):
    before = old() if names else {}
    seen = set()
    total = operations(lambda disk: write_state(NEW, "state", disk=disk), before)
    for at in range(1, total + 2):
        disk = MemoryDisk(before, fail_at=at, part=part)
        done = at > total
        if done:
            write_state(NEW, "state", disk=disk)
        else:
            with pytest.raises(Crash):
                write_state(NEW, "state", disk=disk)
        for left in [disk.killed(), *disk.survivors()]:
            if "state" not in left.names:
                assert not names and not done
                continue
            state = read_state("state", disk=left)
            assert state == NEW or (names and not done and state == OLD)
            seen.add(state == NEW)
            # Whatever was left beside it, the next save goes through.
            write_state({"version": 1}, "state", disk=left)
            assert list(left.names) == ["state"] and read_state("state", disk=left)
    assert seen == ({True, False} if names else {True})


@pytest.mark.parametrize("error", [errno.ENOSPC, errno.EIO])
@pytest.mark.parametrize("lasting", [False, True])
def test_a_save_that_fails_says_so_and_leaves_a_whole_state(error, lasting):
    kinds = set()
    total = operations(lambda disk: write_state(NEW, "state", disk=disk), old())
    for at in range(1, total + 1):
        disk = MemoryDisk(old(), fail_at=at, error=error, part=0.5, lasting=lasting)
        with pytest.raises(DiskError, match=os.strerror(error)) as caught:
            write_state(NEW, "state", disk=disk)
        assert caught.value.errno == error
        kinds.add(kind := disk.operations[at - 1])
        assert not disk.locked
        assert list(disk.names) == ["state"], "what it wrote beside it may be what fills the disk"
        for left in [disk.killed(), *disk.survivors()]:
            assert read_state("state", disk=left) in (
                (OLD, NEW) if kind == "sync_folder" else (OLD,)
            )
    assert kinds == {"lock", "open", "write", "sync", "replace", "sync_folder"}


def test_every_flipped_bit_and_every_cut_of_a_saved_state_is_refused():
    (data,) = old().values()
    for cut in range(len(data)):
        with pytest.raises(UnsupportedState, match="state: "):
            read_state("state", disk=MemoryDisk({"state": data[:cut]}))
    for bit in range(8 * len(data)):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        with pytest.raises(UnsupportedState, match=r"damaged|no saved state"):
            read_state("state", disk=MemoryDisk({"state": bytes(changed)}))
    with pytest.raises(UnsupportedState):
        read_state("state", disk=MemoryDisk({"state": data + b"\n"}))


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (
            seal(b'{"saved": "streamstore", "version": 2, "state": {}') + b"\n",
            "its version is 2, a",
        ),
        (b'{"saved": "streamstore", "version": 7, "state": 1}\n', "version is 7.*or it is damaged"),
        (seal(b'{"saved": "streamstore", "version": 1, "state": []') + b"\n", "no saved state"),
        (seal(b'{"saved": "streamstore", "version": 1, "state": {]') + b"\n", "damaged: not JSON"),
        (b'{"version": 1, "sessions": []}', "no saved state"),
        (HEADER, "no saved state"),
        (b"", "no saved state"),
    ],
)
def test_what_is_no_saved_state_of_this_version_is_refused_with_a_reason(data, reason):
    with pytest.raises(UnsupportedState, match=f"state: .*{reason}"):
        read_state("state", disk=MemoryDisk({"state": data}))


def test_a_state_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError):
        read_state(tmp_path / "state")
    with pytest.raises(FileNotFoundError):
        write_state(OLD, tmp_path / "no" / "state")
    disk = MemoryDisk(old(), fail_at=2, error=errno.EIO)
    with pytest.raises(DiskError, match="cannot read a saved state"):
        read_state("state", disk=disk)


@pytest.mark.parametrize("state", [{"a": {1}}, {"a": float("nan")}, {"a": object()}])
def test_what_is_not_plain_json_is_no_state(tmp_path, state):
    write_state(OLD, tmp_path / "state")
    with pytest.raises(CallerError, match="what JSON cannot say: a NaN"):
        write_state(state, tmp_path / "state")
    assert read_state(tmp_path / "state") == OLD


def test_two_savers_of_one_path_do_not_write_into_each_other(tmp_path):
    from streamstore.log.disk import DISK

    lock = DISK.lock(str(tmp_path / "state"))
    with pytest.raises(LogLocked):
        write_state(NEW, tmp_path / "state")
    lock.release()
    write_state(NEW, tmp_path / "state")
    assert read_state(tmp_path / "state") == NEW


# --- a real process, a real disk ------------------------------------------------------------------


def until_killed(path: Path, reports: int) -> NoReturn:
    """Append as fast as it goes, and report each position that was synced."""
    chance = random.Random(os.getpid())
    log = open_log(path)
    while True:
        for _ in range(chance.randrange(1, 40)):
            log.append(delta(log.position + 1), **_more(log.position + 1))
        os.write(reports, b"%d\n" % log.sync())


# Starts writers by forking, which is quick, in a process of its own: it has no threads.
_LAUNCHER = """
import os, sys
from test_log_crash import until_killed
for path in sys.stdin:
    child = os.fork()
    if not child:
        try:
            until_killed(path.rstrip(), 1)
        finally:
            os._exit(1)
    os.write(1, b"pid %d\\n" % child)
    os.waitpid(child, 0)
    os.write(1, b"gone\\n")
"""


@pytest.fixture
def launcher() -> Iterator[subprocess.Popen[bytes]]:
    path = os.pathsep.join([str(Path(__file__).parent), *sys.path])
    with subprocess.Popen(
        [sys.executable, "-c", _LAUNCHER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        bufsize=0,
        env={**os.environ, "PYTHONPATH": path},
    ) as process:
        yield process


def killed_writer(launcher: subprocess.Popen[bytes], path: Path, chance: random.Random) -> int:
    """Let a process write, kill it at some moment, and say what it reported as durable."""
    assert launcher.stdin is not None and launcher.stdout is not None
    launcher.stdin.write(f"{path}\n".encode())
    wanted = chance.randrange(1, 8)
    child = reports = durable = 0
    moment = None
    while True:
        if child and reports >= wanted and moment is None:
            # Somewhere in what it does next; a batch and its sync take some milliseconds.
            moment = time.monotonic() + chance.random() * 0.006
        if child and moment is not None:
            left = moment - time.monotonic()
            if left <= 0 or not select.select([launcher.stdout], [], [], left)[0]:
                os.kill(child, signal.SIGKILL)
                child = 0
        line = launcher.stdout.readline()
        if line.startswith(b"pid"):
            child = int(line.split()[1])
        elif line == b"gone\n":
            assert moment is not None and not child, "the writer ended by itself"
            return durable
        else:
            durable, reports = int(line), reports + 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs processes that fork and are killed")
@pytest.mark.parametrize("kind", ["log.jsonl", "log.sqlite"])
def test_a_killed_writer_leaves_everything_it_called_durable_and_a_prefix_of_the_rest(
    tmp_path, kind, launcher
):
    path = tmp_path / kind
    chance = random.Random(7)
    store = StreamStore()
    stream = store.open("native", sequencing="block")
    position = 0
    for _ in range(KILLS):
        durable = killed_writer(launcher, path, chance)
        with open_log(path) as log:
            assert not log.recovered.losses
            assert log.position >= durable > position
            for record in log.read(position):
                position += 1
                assert record.position == position
                assert record.data == delta(position)
                stream.feed(record.frame())
            assert log.position == position == log.recovered.kept
    text = store.part("s", "m", 0)
    assert text is not None
    assert text.text == "".join(f"{seq}\u00e9 " for seq in range(1, position + 1))


@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="a process cannot be killed like that")
@pytest.mark.parametrize(("kind", "there"), [("log.jsonl", 5), ("log.sqlite", 2)])
def test_what_outlives_the_process_without_a_sync(tmp_path, kind, there):
    script = """if True:
        import os, signal, sys
        from streamstore.log import open_log
        log = open_log(sys.argv[1])
        for number in range(5):
            log.append(str(number))
            if number == 1:
                log.sync()
        os.kill(os.getpid(), signal.SIGKILL)
    """
    path = tmp_path / kind
    done = subprocess.run([sys.executable, "-c", script, path], check=False)
    assert done.returncode == -signal.SIGKILL
    with open_log(path) as log:
        assert log.recovered == Recovery(there)
        assert [record.data for record in log.read()] == [b"%d" % n for n in range(there)]


@pytest.fixture
def full_disk() -> Iterator[Callable[[int], None]]:
    """Lets no file of this process grow beyond a size: the system cuts the write in two."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    yield lambda size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    resource.setrlimit(resource.RLIMIT_FSIZE, before)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
@pytest.mark.parametrize("kind", ["log.jsonl", "log.sqlite"])
def test_a_file_system_that_takes_no_more(tmp_path, kind, full_disk):
    path = tmp_path / kind
    size = 100_000
    with open_log(path) as log:
        full_disk(size)
        with pytest.raises(DiskError, match="positions up to"):
            for seq in range(1, 5000):
                log.append(delta(seq), **_more(seq))
                if seq % 10 == 0:
                    log.sync()
        durable = log.durable_position
        assert 10 < durable <= log.position
        full_disk(-1)
        with pytest.raises(CallerError):
            log.append("{}")
    with open_log(path) as log:
        assert log.recovered.cut == 0  # half a record was taken back
        assert log.position >= durable
        assert [record.data for record in log.read()] == [
            delta(seq) for seq in range(1, log.position + 1)
        ]
        log.append(delta(log.position + 1))


@pytest.mark.skipif(sys.platform == "win32", reason="needs a limit on the size of files")
def test_a_save_that_does_not_fit_leaves_the_old_state(tmp_path, full_disk):
    write_state(OLD, tmp_path / "state")
    full_disk(1000)
    with pytest.raises(DiskError):
        write_state({"text": "x" * 2000}, tmp_path / "state")
    assert read_state(tmp_path / "state") == OLD
    assert os.listdir(tmp_path) == ["state"]


def test_a_folder_in_the_place_of_a_file(tmp_path):
    for kind in ("log.jsonl", "log.sqlite"):
        (tmp_path / kind).mkdir()
        for way in (open_log, read_log):
            with pytest.raises((DiskError, UnsupportedLog), match=kind):
                way(tmp_path / kind)
    with pytest.raises(DiskError):
        write_state(OLD, tmp_path / "log.jsonl")
    assert sorted(os.listdir(tmp_path)) == ["log.jsonl", "log.sqlite"]
