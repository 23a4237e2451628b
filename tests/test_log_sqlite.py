"""What is SQLite's own in a log: its errors, its write-ahead log, its pages, its readers.

What both kinds promise is in `test_log.py`, and writers that are killed in `test_log_crash.py`.
"""

from __future__ import annotations

import errno
import os
import random
import shutil
import sqlite3
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from test_log_crash import delta

from streamstore import CallerError
from streamstore.log import (
    DamagedLog,
    DiskError,
    LogError,
    LogLocked,
    Loss,
    Record,
    Recovery,
    UnsupportedLog,
    open_log,
    read_log,
)
from streamstore.log.disk import OsDisk
from streamstore.log.sqlite import SqliteLog, SqliteReader, _sum


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log.sqlite"


def make(path: Path, count: int = 5, size: int = 0) -> list[Record]:
    with open_log(path) as log:
        for seq in range(1, count + 1):
            payload = delta(seq) + b" " * size
            log.append(payload, time_ms=seq, event_id=f"e{seq}", name="x", connection=seq // 3)
        return list(log.read())


def sql(path: Path, *statements: str) -> list[Any]:
    """Run statements of somebody else on the database; what the last one gives."""
    rows: list[Any] = []
    with sqlite3.connect(path) as db:
        for statement in statements:
            rows = db.execute(statement).fetchall()
    db.close()
    return rows


# --- what it is -----------------------------------------------------------------------------------


def test_the_database_can_be_read_by_others(path):
    make(path, 2)
    rows = sql(path, "SELECT position, time, event_id, name, connection, data FROM records")
    assert rows == [(n, n, f"e{n}", "x", 0, delta(n).decode()) for n in (1, 2)]
    assert sql(path, "PRAGMA journal_mode") == [("wal",)]


def test_positions_and_ids_are_found_without_a_scan(path):
    """By counting the virtual machine's steps: the same for a log ten times as long."""
    steps = []
    for count in (300, 3000):
        if path.exists():
            path.unlink()
        make(path, count)
        with SqliteReader(path) as reader:
            found: list[int] = []
            ticks = 0

            def tick() -> int:
                nonlocal ticks
                ticks += 1
                return 0

            reader._db.set_progress_handler(tick, 1)
            found.append(next(reader.read(count - 1)).position)
            found.append(reader.position_of(f"e{count - 2}") or 0)
            found.append(reader.start_of((count - 9) // 3) or 0)
            assert found[:2] == [count, count - 2] and abs(found[2] - (count - 9)) < 4
            steps.append(ticks)
    assert abs(steps[1] - steps[0]) <= 3 and steps[0] < 400


def test_a_reader_changes_nothing_and_leaves_nothing(path):
    make(path)
    before = path.read_bytes()
    with read_log(path) as reader:
        assert len(list(reader.read())) == 5
    assert os.listdir(path.parent) == [path.name]
    assert path.read_bytes() == before
    # Nor does it, where a reader is the last to let go.
    log, reader = open_log(path), read_log(path)
    log.append("{}")
    log.close()
    alone = path.parent / "alone.sqlite"
    shutil.copy(path, alone)
    reader.close()
    with read_log(alone) as reader:
        assert len(list(reader.read())) == 6  # the one file is the whole log
    assert sorted(os.listdir(path.parent)) == [alone.name, path.name]


def test_a_log_in_a_folder_that_nobody_may_write_is_read(path):
    """SQLite cannot make its shared memory there."""
    records = make(path)

    class ReadOnly(sqlite3.Connection):
        options = ""

        def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
            if "FROM" in statement and "immutable" not in self.options:
                error = sqlite3.OperationalError("unable to open database file")
                error.sqlite_errorcode = sqlite3.SQLITE_CANTOPEN  # type: ignore[attr-defined]
                raise error
            return super().execute(statement, *values)

    def connect(address: str, **options: Any) -> sqlite3.Connection:
        db = sqlite3.connect(address, factory=ReadOnly, **options)
        db.options = address  # type: ignore[attr-defined]
        return db

    with SqliteReader(path, connect=connect) as reader:
        assert list(reader.read()) == records
    Path(f"{path}-wal").write_bytes(b"there may be a writer")
    with pytest.raises(DiskError, match="unable to open"):
        SqliteReader(path, connect=connect)


def test_what_is_not_synced_is_not_seen_by_others(path):
    with open_log(path) as log, read_log(path) as reader:
        log.append("{}")
        assert (log.position, log.durable_position) == (1, 0)
        assert list(reader.read()) == [] and len(list(log.read())) == 1
        assert log.sync() == 1
        assert len(list(reader.read())) == 1


@pytest.mark.parametrize("bound", ["PENDING_RECORDS", "PENDING_BYTES"])
def test_a_writer_that_never_syncs_does_not_fill_the_memory(path, monkeypatch, bound):
    monkeypatch.setattr(f"streamstore.log.sqlite.{bound}", 4 if bound[8] == "R" else 8)
    durable = []
    with open_log(path) as log:
        for _ in range(9):
            log.append("{}")
            durable.append(log.durable_position)
        assert durable == [0, 0, 0, 4, 4, 4, 4, 8, 8]
        with SqliteReader(path) as reader:
            assert len(list(reader.read())) == reader._last() == 8


def test_names_with_signs_of_an_address(tmp_path):
    for name in ("a?b=c.db", "a#b.db", "a%41.db", "\u00e9 .db"):
        make(tmp_path / name, 1)
        assert (tmp_path / name).exists()
        with read_log(tmp_path / name) as reader:
            assert len(list(reader.read())) == 1


# --- databases that are no logs -------------------------------------------------------------------


def test_a_database_of_somebody_else_is_left_as_it_is(path):
    sql(path, "CREATE TABLE log (text)", "INSERT INTO log VALUES ('dear diary')")
    before = path.read_bytes()
    for way in (open_log, read_log):
        with pytest.raises(UnsupportedLog, match="no log of streamstore"):
            way(path)
    assert path.read_bytes() == before
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize("size", [1, 99, 100, 511, 512])
def test_a_file_that_sqlite_takes_for_an_empty_database_is_left_as_it_is(path, size):
    path.write_bytes(b"{" * size)
    with pytest.raises(UnsupportedLog):
        open_log(path)
    assert path.read_bytes() == b"{" * size


def test_an_empty_database_is_no_log_and_becomes_one(path):
    sql(path, "PRAGMA journal_mode = WAL", "CREATE TABLE t (x)", "DROP TABLE t")
    with pytest.raises(UnsupportedLog):
        read_log(path)
    make(path)
    with read_log(path) as reader:
        assert len(list(reader.read())) == 5


def test_an_unknown_version_is_refused_with_a_reason(path):
    make(path)
    sql(path, f"UPDATE log SET version = 2, sum = {_sum(2, 5)}")
    before = path.read_bytes()
    for way in (open_log, read_log):
        with pytest.raises(UnsupportedLog, match="its version is 2, and this library knows 1"):
            way(path)
    assert path.read_bytes() == before


def test_another_program_that_writes_is_told(path):
    make(path)
    other = sqlite3.connect(path, isolation_level=None)

    def impatient(address: str, **options: Any) -> sqlite3.Connection:
        return sqlite3.connect(address, **{**options, "timeout": 0})

    log = SqliteLog(path, connect=impatient)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(LogLocked, match="another program"):
        log.append("{}")
    with pytest.raises(CallerError, match="open the log again"):
        log.append("{}")
    log.close()
    other.close()
    assert log.durable_position == 5


# --- errors ---------------------------------------------------------------------------------------


class Failing(sqlite3.Connection):
    """Fails at one statement: before it runs, or behind it, as a sync does."""

    left = 0
    behind = False
    seen: list[str] = []

    def execute(self, statement: str, *values: Any) -> sqlite3.Cursor:
        cls = type(self)
        cls.seen.append(statement)
        cls.left -= 1
        if cls.left == 0 and not cls.behind:
            raise self.error()
        cursor = super().execute(statement, *values)
        if cls.left == 0:
            raise self.error()
        return cursor

    @staticmethod
    def error() -> sqlite3.OperationalError:
        error = sqlite3.OperationalError("disk I/O error")
        error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC  # type: ignore[attr-defined]
        return error


def failing(at: int, behind: bool) -> Callable[..., sqlite3.Connection]:
    cls = type("FailingOnce", (Failing,), {"left": at, "behind": behind, "seen": []})
    return partial(sqlite3.connect, factory=cls)


def work(path: Path, connect: Callable[..., sqlite3.Connection], claims: list[int]) -> None:
    log = SqliteLog(path, connect=connect)
    try:
        for seq in range(log.position + 1, log.position + 6):
            log.append(delta(seq))
            if seq % 2 == 0:
                claims.append(log.sync())
    finally:
        log.close()
        claims.append(log.durable_position)


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("before", [0, 4])
def test_a_statement_that_fails_is_told_and_nothing_is_claimed(path, behind, before):
    with open_log(path) as log:
        for seq in range(1, before + 1):
            log.append(delta(seq))
    start = path.read_bytes() if before else b""
    path.write_bytes(start)
    total = failing(0, False)
    work(path, total, [])
    number = len(total.keywords["factory"].seen)
    assert number > 20
    told = 0
    for at in range(1, number + 1):
        path.write_bytes(start)
        connect, claims = failing(at, behind), [before]
        try:
            work(path, connect, claims)
        except DiskError as error:
            told += 1
            assert error.errno == errno.EIO and str(path) in str(error)
        else:
            # Only what tidies up at the end may fail in silence: all is on the disk.
            assert claims[-1] == before + 5
        assert f"{path.name}.lock" not in os.listdir(path.parent)
        with open_log(path) as log:
            records = list(log.read())
            assert claims[-1] <= len(records) == log.position <= before + 5
            assert [r.data for r in records] == [delta(n + 1) for n in range(len(records))]
            assert log.append("{}") == len(records) + 1
    assert told >= number - 3


def test_what_was_not_synced_before_a_failure_is_gone(path):
    with open_log(path) as log:
        log.append(delta(1))
    log = SqliteLog(path, connect=failing(0, False))
    log.append(delta(2))
    factory = type(log._db)
    assert "PRAGMA synchronous = FULL" in factory.seen  # not every build of SQLite starts with it
    factory.left = 1
    with pytest.raises(DiskError, match="positions up to 1 are safe"):
        log.append(delta(3))
    assert (log.position, log.durable_position) == (1, 1)
    assert [record.position for record in log.read()] == [1]
    log.close()


def test_a_name_that_may_not_be_safe_is_told(path):
    class Disk(OsDisk):
        def sync_folder(self, path: str, /) -> None:
            raise OSError(errno.EIO, "Input/output error")

    with pytest.raises(DiskError, match="cannot open it: Input/output error"):
        SqliteLog(path, disk=Disk())
    assert not Path(f"{path}.lock").exists()
    open_log(path).close()


def test_after_a_statement_that_failed_the_log_says_what_is_safe(path):
    with open_log(path) as log:
        for seq in (1, 2):
            log.append(delta(seq))
        log.sync()
        (pages,) = log._db.execute("PRAGMA page_count").fetchone()
        log._db.execute(f"PRAGMA max_page_count = {pages + 2}")
        with pytest.raises(DiskError, match="full; positions up to 2 are safe") as caught:
            while True:
                log.append(bytes(2000))
        assert caught.value.errno == errno.ENOSPC and caught.value.blame == "disk"
        assert (log.position, log.durable_position) == (2, 2)
        for use in (lambda: log.append("{}"), log.sync):
            with pytest.raises(CallerError, match="positions up to 2 are safe; open the log again"):
                use()
        assert len(list(log.read())) == 2
    with open_log(path) as log:
        assert log.append(delta(3)) == 3


# --- the write-ahead log --------------------------------------------------------------------------


def abandoned(path: Path, count: int) -> Path:
    """A copy of a log whose writer is gone: its write-ahead log was never taken over."""
    left = path.parent / "left.sqlite"
    with open_log(path) as log:
        for seq in range(1, count + 1):
            log.append(delta(seq))
            log.sync()
        shutil.copy(path, left)
        shutil.copy(f"{path}-wal", f"{left}-wal")
    return left


def test_a_write_ahead_log_that_breaks_off_is_cut_and_told(path):
    left = abandoned(path, 6)
    database, whole = left.read_bytes(), Path(f"{left}-wal").read_bytes()
    frame = 24 + 4096
    assert (len(whole) - 32) % frame == 0
    counts = set()
    for cut in [*range(32, len(whole), 1024), len(whole)]:
        left.write_bytes(database)
        Path(f"{left}-wal").write_bytes(whole[:cut])
        with open_log(left) as log:
            count = log.position
            assert [record.position for record in log.read()] == list(range(1, count + 1))
            assert log.recovered.kept == count
            assert 0 <= log.recovered.cut < 8 * frame  # the first transaction has seven
            if count == 6:
                assert log.recovered == Recovery(6)
            assert not log.recovered.losses  # no transaction that had ended
            counts.add((count, log.recovered.cut > 0))
    assert {(2, True), (5, True), (6, False)} <= counts


@pytest.mark.skipif(os.name == "nt", reason="links need a privilege there")
def test_what_a_dead_writer_left_is_found_through_a_link_too(path):
    left = abandoned(path, 6)
    beside = Path(f"{left}-wal")
    beside.write_bytes(beside.read_bytes()[:-1])
    before = beside.read_bytes()
    link = path.parent / "elsewhere" / "link.sqlite"
    link.parent.mkdir()
    link.symlink_to(left)
    with read_log(link) as reader:
        assert len(list(reader.read())) == 5
    assert beside.read_bytes() == before
    with open_log(link) as log:
        assert log.recovered.cut > 0


def test_a_reader_leaves_the_write_ahead_log_of_a_dead_writer_to_the_next_one(path):
    left = abandoned(path, 6)
    beside = Path(f"{left}-wal")
    beside.write_bytes(beside.read_bytes()[:-1])
    before = beside.read_bytes()
    with read_log(left) as reader:
        assert len(list(reader.read())) == 5
    assert beside.read_bytes() == before
    with open_log(left) as log:
        assert log.recovered.cut > 0


def test_a_flipped_bit_in_the_write_ahead_log_is_told(path):
    left = abandoned(path, 6)
    database, whole = left.read_bytes(), Path(f"{left}-wal").read_bytes()
    chance = random.Random(3)
    last = range(len(whole) - 4096 - 24, len(whole) - 4096)
    places = {*range(56), *last, *(chance.randrange(56, len(whole)) for _ in range(80))}
    told = 0
    for place in sorted(places):
        changed = bytearray(whole)
        changed[place] ^= 1 << chance.randrange(8)
        left.write_bytes(database)
        Path(f"{left}-wal").write_bytes(changed)
        with open_log(left) as log:
            records = list(log.read())
            assert [r.data for r in records] == [delta(n + 1) for n in range(len(records))]
            if len(records) < 6:
                told += 1
                assert log.recovered.cut > 0 and log.recovered.losses, place
                loss = log.recovered.losses[-1]
                assert loss.after == len(records) and loss.before is None
                assert "transaction" in loss.problem
    assert told > 70


def test_frames_of_an_earlier_round_are_no_loss(path):
    """SQLite starts its write-ahead log anew in the same file, and does not clear the rest."""
    left = path.parent / "left.sqlite"
    with open_log(path) as log:
        for seq in range(1, 40):
            log.append(delta(seq))
            log.sync()
        log._db.execute("PRAGMA wal_checkpoint(RESTART)").fetchall()
        log.append(delta(40))
        log.sync()
        shutil.copy(path, left)
        shutil.copy(f"{path}-wal", f"{left}-wal")
    assert Path(f"{left}-wal").stat().st_size > 60 * 4096
    with open_log(left) as log:
        assert log.recovered == Recovery(40)


def test_a_transaction_that_never_ended_is_cut(path):
    """So big that SQLite wrote some of it before its end."""
    left = path.parent / "left.sqlite"
    with open_log(path) as log:
        log.append(delta(1))
        log.sync()
        log._db.execute("PRAGMA cache_size = 10")
        for _ in range(60):
            log.append(bytes(3000))
        shutil.copy(path, left)
        shutil.copy(f"{path}-wal", f"{left}-wal")
    with open_log(left) as log:
        assert (log.recovered.kept, log.recovered.losses) == (1, ())
        assert log.recovered.cut > 40 * 4096
    with open_log(left) as log:
        assert log.recovered == Recovery(1)  # and that was that


# --- damage ---------------------------------------------------------------------------------------


def test_a_changed_row_is_lost_and_named(path):
    records = make(path, 6)
    changes = ["data = 'x'", "time = 9", "event_id = 'x'", "name = ''", "connection = 7",
               "sum = 1", "position = 9", "time = 'x'", "data = 5", "event_id = x'ff'"]  # fmt: skip
    for change in changes:
        copy = path.parent / "copy.sqlite"
        shutil.copy(path, copy)
        sql(copy, f"UPDATE records SET {change} WHERE position = 3")
        losses: list[Loss] = []
        with read_log(copy) as reader:
            found = list(reader.read(on_loss=losses.append))
            assert found == [record for record in records if record.position != 3]
            assert (losses[0].after, losses[0].before) == (2, 4), change
            with pytest.raises(DamagedLog, match="position 3 is lost"):
                list(reader.read())
            assert list(reader.read(3, on_loss=losses.append)) == records[3:]
            assert reader.position_of("e3") is None and reader.position_of("e4") == 4


def test_rows_that_are_gone_are_missed(path):
    records = make(path, 6)
    sql(path, "DELETE FROM records WHERE position IN (2, 3, 6)")
    losses: list[Loss] = []
    with read_log(path) as reader:
        assert list(reader.read(on_loss=losses.append)) == [records[0], *records[3:5]]
    assert losses == [Loss(1, 4, None, "rows are missing"), Loss(5, 7, None, "rows are missing")]
    with open_log(path) as log:
        assert log.recovered == Recovery(5, 0, (Loss(5, 7, None, "rows are missing"),))
        assert log.append("{}") == 7  # somebody may have saved position 6


def test_a_log_that_does_not_know_its_end_says_so_and_is_mended(path):
    records = make(path)
    for change in ("UPDATE log SET last = 4", "UPDATE log SET version = 9", "DELETE FROM log"):
        sql(path, change)
        losses: list[Loss] = []
        with read_log(path) as reader:
            assert list(reader.read(on_loss=losses.append)) == records
        assert losses == [Loss(0, 1, None, "what it says of itself is damaged")]
        with open_log(path) as log:
            assert log.recovered.losses == tuple(losses) and log.position == 5
        with read_log(path) as reader:
            assert list(reader.read()) == records


def test_every_page_that_is_lost_is_told_and_the_others_are_read(path):
    """A page of zeros, or of another place: the usual ways in which a disk forgets."""
    records = make(path, 400, size=200)
    data = path.read_bytes()
    pages = len(data) // 4096
    assert pages > 30
    root = sql(path, "SELECT rootpage FROM sqlite_master WHERE name = 'records'")[0][0] - 1
    partly = 0
    for page in range(pages):
        for lost in (bytes(4096), data[4096 * 9 : 4096 * 10]):
            if lost == data[4096 * page : 4096 * (page + 1)]:
                continue
            path.write_bytes(data[: 4096 * page] + lost + data[4096 * (page + 1) :])
            missing, readable = survey(path, records)
            if not readable:
                assert page == 0  # the schema
            elif page == root:
                assert len(missing) > 350
            elif missing:
                partly += 1
                assert len(missing) < 20
    assert partly > 30


def test_flipped_bits_are_told(path):
    records = make(path, 60, size=100)
    data = path.read_bytes()
    chance = random.Random(11)
    bits = [chance.randrange(8 * len(data)) for _ in range(300)]
    bits += [8 * 4096 * page + bit for page in range(len(data) // 4096) for bit in range(0, 96, 5)]
    unreadable = 0
    for bit in bits:
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << bit % 8
        path.write_bytes(changed)
        _, readable = survey(path, records)
        unreadable += not readable
    assert unreadable < 40  # the head of the file and its schema


def survey(path: Path, records: list[Record]) -> tuple[set[int], bool]:
    """Read a damaged log: nothing false, and every position that is gone is in a loss.

    Positions that are gone, and whether it could be opened.
    """
    losses: list[Loss] = []
    try:
        with read_log(path) as reader:
            found = list(reader.read(on_loss=losses.append))
            ids = {wanted: reader.position_of(f"e{wanted}") for wanted in (1, len(records))}
            assert all(position in (wanted, None) for wanted, position in ids.items())
            assert reader.start_of(4) in (11, None, *range(11, 15))
    except LogError as error:
        assert str(path) in str(error)
        return set(), False
    assert [r for r in found if r != records[r.position - 1]] == []
    assert [r.position for r in found] == sorted({r.position for r in found})
    missing = {r.position for r in records} - {r.position for r in found}
    for position in missing:
        assert any(
            loss.after < position and (loss.before is None or position < loss.before)
            for loss in losses
        ), (position, losses)
    return missing, True


def test_a_log_that_is_too_damaged_to_append_to_is_not_appended_to(path):
    make(path, 400, size=200)
    data = bytearray(path.read_bytes())
    (root,) = sql(path, "SELECT rootpage FROM sqlite_master WHERE name = 'records'")[0]
    # The last leaf of the rows: where its right-most child is.
    (last,) = struct.unpack_from(">I", data, 4096 * (root - 1) + 8)
    data[4096 * (last - 1) : 4096 * last] = bytes(4096)
    path.write_bytes(data)
    with pytest.raises(LogError, match="too damaged to append to"):
        open_log(path)
    losses: list[Loss] = []
    with read_log(path) as reader:
        found = list(reader.read(on_loss=losses.append))
    assert 350 < len(found) < 400
    assert (losses[0].after, losses[0].before) == (len(found), 401)
