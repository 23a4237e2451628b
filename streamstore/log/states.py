"""Saved states as files: the old one or the new one is there whole, whatever happens.

    {"saved": "streamstore", "version": 1, "state": {...}, "sum": "a0b1c2d3"}

The state is what `StreamStore.save()` gives, with its positions and marks: they never live apart.
The sum is the CRC-32 of everything before `, "sum"`. Knows plain JSON; no store.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Mapping
from typing import Any

from ..decoding import decode_json
from ..errors import CallerError, MalformedEvent, UnsupportedState
from .disk import DISK, Disk, PathLike, write_all
from .faults import DiskError
from .sealing import seal, unseal

VERSION = 1

_START = b'{"saved": "streamstore", "version": '
_HEAD = re.compile(re.escape(_START) + rb'([0-9]{1,9}), "state": ')
_CHUNK = 256 * 1024


def write_state(state: Mapping[str, Any], path: PathLike, *, disk: Disk = DISK) -> None:
    """Write a saved state into a file, in place of the one that is there. Linear.

    It is written beside it, made safe, and renamed; when this returns, it would survive a loss of
    power. A file `*.tmp` beside it is what a process left that died meanwhile; the next one
    writes over it.

    Raises:
        DiskError: it was not written: the old state is there. Or it was, and only that its name
            is safe could not be made sure; then the new one is there.
        LogLocked: somebody else is writing to this path right now.
        CallerError: the state is not plain JSON.
        FileNotFoundError: there is no such folder.
    """
    name = os.fspath(path)
    try:
        # ASCII: half of a pair of surrogates may be waiting for the other.
        body = json.dumps(state, allow_nan=False).encode()
    except (TypeError, ValueError, RecursionError) as error:
        raise CallerError(
            f"the state is no plain JSON: {error}. It is not from `save`, or an object given to "
            "`ingest` holds what JSON cannot say: a NaN, an infinity, bytes"
        ) from error
    data = seal(b'%b%d, "state": %b' % (_START, VERSION, body)) + b"\n"
    try:
        lock = disk.lock(name)
        try:
            _replace(disk, name, data)
        finally:
            lock.release()
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DiskError.of(name, "save a state", error) from error


def _replace(disk: Disk, name: str, data: bytes) -> None:
    beside = f"{name}.tmp"
    try:
        file = disk.open(beside, "new")
        try:
            write_all(file, data)
            file.sync()
        finally:
            file.close()
        disk.replace(beside, name)
    except OSError:
        try:
            disk.remove(beside)  # it may be what fills the disk
        except OSError:
            pass
        raise
    disk.sync_folder(name)


def read_state(path: PathLike, *, disk: Disk = DISK) -> dict[str, Any]:
    """The saved state that a file holds, for `StreamStore.load`. Linear.

    Raises:
        UnsupportedState: the file is damaged, of an unknown version, or something else.
        DiskError: it cannot be read.
        FileNotFoundError: there is none.
    """
    name = os.fspath(path)
    try:
        data = _read(disk, name)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise DiskError.of(name, "read a saved state", error) from error
    head = _HEAD.match(data)
    body = unseal(data[:-1]) if data.endswith(b"\n") else None
    if head is None:
        raise UnsupportedState(f"{name}: this is no saved state of streamstore")
    version = int(head[1])
    if version != VERSION:
        doubt = ", or it is damaged" if body is None else ""
        raise UnsupportedState(
            f"{name}: its version is {version}, and this library reads {VERSION}{doubt}"
        )
    if body is None:
        raise UnsupportedState(f"{name}: this saved state is damaged: its checksum does not fit")
    try:
        state = decode_json(body[head.end() :])
    except MalformedEvent as error:
        raise UnsupportedState(f"{name}: this saved state is damaged: {error}") from error
    if not isinstance(state, dict):
        raise UnsupportedState(f"{name}: this is no saved state of streamstore")
    return state


def _read(disk: Disk, name: str) -> bytes:
    file = disk.open(name, "read")
    try:
        pieces = []
        while piece := file.read(_CHUNK):
            pieces.append(piece)
        return b"".join(pieces)
    finally:
        file.close()
