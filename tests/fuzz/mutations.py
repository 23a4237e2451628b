"""What is done to valid bytes: flips, cuts, repeated and stolen lines, and JSON of other shapes.

Every choice comes from the generator that is handed in, so that a seed or hypothesis can repeat it.
Knows bytes and JSON; no protocol and no door.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

#: Bytes that have meant something to some parser.
TOKENS = [
    b"\x00", b"\xff", b"\xef\xbb\xbf", b"\r", b"\n", b"\r\n", b"\n\n", b"data: ", b"data:", b"id: 1\n",
    b"id: \x00\n", b"event: x\n", b"retry: 9999999999999999999\n", b": \n", b"{", b"}", b"[" * 300,
    b'"', b"\\", b"\\ud800", b"\\u0000", b"\xed\xa0\x80", b"\xe2\x80\xa8", b"\xc2\x85", b"NaN",
    b"-Infinity", b"1e999", b"9" * 4301, b"-" + b"9" * 4301, b"18446744073709551616", b"1.0", b"-0",
    b"true", b"null", b'{"a":1,"a":2}', b",", b":", b"\x1f\x8b", b"\x1b[2J",
    b"\xc2\x9b2J", b"\xe2\x80\xae", b"\\u009b", b"\\u202e",
]  # fmt: skip

#: Values of every type, and those at the edges of what the contract allows.
VALUES: list[Any] = [
    None, True, False, 0, 1, -1, 2, 2**31, 2**53 + 1, 2**63 - 1, 2**63, 10**30, -(10**30), 0.0, 1.5,
    -0.0, 1e308, "", "0", "1", "main", "text", "assistant", "\ud800", "\udc00", "\x00", "\x1b[2J",
    "\x9b\u202e\u2066\x7f\r", "x" * 5_000, [], {}, [None], [[]], {"": {}}, {"type": None}, {"id": 1}, ["text"], [{"type": "text"}],
]  # fmt: skip

Mutation = Callable[[Random, bytes, Sequence[bytes]], bytes]


def any_value(random: Random) -> Any:
    """One of `VALUES`, nobody else's: it will be changed in place."""
    return copy.deepcopy(random.choice(VALUES))


def _place(random: Random, data: bytes) -> int:
    return random.randint(0, len(data))


def _flip(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    changed = bytearray(data)
    for _round in range(random.choice((1, 1, 1, 4, 16))):
        if changed:
            at = random.randrange(len(changed))
            changed[at] ^= 1 << random.randrange(8)
    return bytes(changed)


def _token(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    at = _place(random, data)
    drop = random.choice((0, 0, 1, 5))
    return data[:at] + random.choice(TOKENS) + data[at + drop :]


def _cut(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    return data[: _place(random, data)]


def _drop(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    at = _place(random, data)
    return data[:at] + data[at + random.randint(1, 200) :]


def _lines(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    """Lines again, away, or in another order."""
    lines = data.split(b"\n")
    for _round in range(random.randint(1, 3)):
        at = random.randrange(len(lines))
        what = random.randrange(4)
        if what == 0:
            lines.insert(random.randrange(len(lines) + 1), lines[at])
        elif what == 1 and len(lines) > 1:
            del lines[at]
        elif what == 2:
            other = random.randrange(len(lines))
            lines[at], lines[other] = lines[other], lines[at]
        else:
            stop = min(len(lines), at + random.randint(1, 8))
            lines[stop:stop] = lines[at:stop]
    return b"\n".join(lines)


def _splice(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """Lines of another stream in the middle, or its end instead of ours."""
    other = random.choice(others) if others else data
    lines, theirs = data.split(b"\n"), other.split(b"\n")
    at, start = random.randint(0, len(lines)), random.randrange(len(theirs))
    stop = start + random.randint(1, 6)
    if random.randrange(3):
        return b"\n".join((*lines[:at], *theirs[start:stop], *lines[at:]))
    return b"\n".join((*lines[:at], *theirs[start:]))


def containers(value: Any) -> list[Any]:
    """Every array and object of a JSON value that holds something; does not recurse."""
    found, waiting = [], [value]
    while waiting:
        holder = waiting.pop()
        if isinstance(holder, dict | list) and holder:
            found.append(holder)
            waiting.extend(holder.values() if isinstance(holder, dict) else holder)
    return found


def change_value(random: Random, value: Any) -> Any:
    """A JSON value changed in one place: a member gone, of another type, moved, nested or new."""
    found = containers(value)
    if not found:
        return any_value(random)
    holder = random.choice(found)
    names = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
    name = random.choice(names)
    what = random.randrange(8)
    if what == 0:
        del holder[name]
    elif what <= 3:
        holder[name] = any_value(random)
    elif what == 4:
        other = random.choice(found)
        there = random.choice(list(other) if isinstance(other, dict) else list(range(len(other))))
        moved = json.dumps(other[there])
        if len(moved) < 20_000:  # or doubling makes anything of it
            holder[name] = json.loads(moved)
    elif what == 5:
        deep = holder[name]
        for _ in range(random.choice((1, 3, 199, 250))):
            deep = [deep] if random.randrange(2) else {"a": deep}
        holder[name] = deep
    elif what == 6 and isinstance(holder, dict):
        others = [other for other in found if isinstance(other, dict)]
        source = random.choice(others)
        holder[random.choice(list(source))] = any_value(random)
    elif isinstance(holder[name], int | float):
        holder[name] = holder[name] * random.choice((-1, 2, 10)) + random.choice((-1, 0, 1))
    elif isinstance(holder[name], str):
        text = holder[name]
        at = random.randint(0, len(text))
        holder[name] = text[:at] + random.choice(("", "\ud800", "\x00", "x", "\n")) + text[at + 1 :]
    return value


def _json(random: Random, data: bytes, _: Sequence[bytes]) -> bytes:
    """One line's JSON changed, the framing around it kept."""
    lines = data.split(b"\n")
    for _round in range(random.choice((1, 1, 2, 4))):
        at = random.randrange(len(lines))
        start = min((i for i in (lines[at].find(b"{"), lines[at].find(b"[")) if i >= 0), default=-1)
        if start < 0:
            continue
        try:
            value = json.loads(lines[at][start:])
        except (ValueError, RecursionError):
            continue
        try:
            for _again in range(random.choice((1, 1, 2, 3))):
                value = change_value(random, value)
            text = json.dumps(value, allow_nan=True)
        except (ValueError, RecursionError):
            continue  # it grew too deep, or too many digits, to be written
        if random.randrange(8) == 0:  # the same member twice
            text = text.replace('{"', '{"type": null, "', 1)
        lines[at] = lines[at][:start] + text.encode()
    return b"\n".join(lines)


MUTATIONS: tuple[Mutation, ...] = (_flip, _token, _cut, _drop, _lines, _splice, _json, _json, _json)


def mutate(random: Random, data: bytes, others: Sequence[bytes]) -> bytes:
    """One to four mutations of some bytes."""
    for _ in range(random.choice((1, 1, 2, 3, 4))):
        data = random.choice(MUTATIONS)(random, data, others)
    return data


def mutate_value(random: Random, data: bytes) -> bytes:
    """One to four changes of the JSON value that the bytes are."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        return data
    try:
        for _ in range(random.choice((1, 1, 2, 4))):
            value = change_value(random, value)
        return json.dumps(value).encode()
    except (ValueError, RecursionError):
        return data
