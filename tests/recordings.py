"""Recorded streams of every protocol, and where they lie; holds no test.

A case is a folder: the bytes of one response or of several, and what the official client or the
server made of them. Some lie in `tests/data`; all of them below `STREAMSTORE_CORPORA`, or in a
folder of corpora beside the checkout. Knows folders, frames and lines; not what a protocol means,
nor the library, whose own parser must not say what a recording holds.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import attrs

Wire = dict[str, Any]

HERE = Path(__file__).resolve().parent
DATA = HERE / "data"

#: Protocols with an oracle.
PROTOCOLS = ("anthropic", "openai-responses", "openai-chat", "vercel-ui", "ag-ui", "opencode")


def corpora() -> Path | None:
    """The folder of all recorded streams, None where there is none."""
    named = os.environ.get("STREAMSTORE_CORPORA")
    folder = Path(named) if named else HERE.parent.parent / "shared" / "corpora"
    return folder if folder.is_dir() else None


def kept(protocol: str) -> dict[str, Path]:
    """The cases in this repository, by name."""
    return {path.name: path for path in sorted((DATA / protocol).iterdir()) if path.is_dir()}


def folders(protocol: str) -> dict[str, Path]:
    """Every case at hand, by name; what is kept here lacks files that the other has."""
    found = kept(protocol)
    elsewhere = corpora()
    if elsewhere is not None and (elsewhere / protocol).is_dir():
        found |= {path.name: path for path in (elsewhere / protocol).iterdir() if path.is_dir()}
    return dict(sorted(found.items()))


@attrs.frozen(slots=False)
class Case:
    """A recorded case. What is read of it is kept: do not change it."""

    protocol: str
    name: str
    folder: Path

    def bytes(self, file: str) -> bytes:
        return (self.folder / file).read_bytes()

    def has(self, file: str) -> bool:
        return (self.folder / file).exists()

    def json(self, file: str) -> Any:
        """What a file says, read anew; None where it is not there."""
        return json.loads(self.bytes(file)) if self.has(file) else None

    def lines(self, file: str) -> list[Any]:
        """What the lines of a file say; none where it is not there."""
        if not self.has(file):
            return []
        return [json.loads(line) for line in self.bytes(file).split(b"\n") if line.strip()]

    @cached_property
    def expected(self) -> Any:
        """The oracle that most cases have."""
        return self.json("expected.json")

    @cached_property
    def bodies(self) -> list[bytes]:
        """The bytes of each response, in order; of opencode those of each connection.

        Where the connection failed on the way, they end there.
        """
        names = [name for name in _BODIES if self.has(name)]
        if not any(name.endswith(".sse") for name in names):
            return [self.bytes(name) for name in names]
        found = [self.bytes(name) for name in names if name.endswith(".sse")]
        delivered = (self.json("meta.json") or {}).get("deliveredChunks")
        if delivered is not None:
            found = [
                b"".join(frames(body)[:number])
                for body, number in zip(found, delivered, strict=True)
            ]
        return found

    @property
    def raw(self) -> bytes:
        """The bytes of the first response."""
        return self.bodies[0]

    @cached_property
    def responses(self) -> list[list[Any]]:
        """What the events of each response say: JSON, or the text of what is none."""
        return [[wire for wire in says(body) if wire != "[DONE]"] for body in self.bodies]

    @property
    def events(self) -> list[Any]:
        """What the events of the first response say."""
        return self.responses[0]

    @cached_property
    def wires(self) -> list[Any]:
        """The same of all, with `[DONE]` where it came: numbers of events in oracles count it."""
        return [wire for body in self.bodies for wire in says(body)]


_BODIES = (
    *("stream.sse", "stream1.sse", "stream2.sse", "stream.2.sse"),
    *("events.jsonl", "events.2.jsonl"),
)


@cache
def case_of(protocol: str, name: str) -> Case:
    """A case by its name."""
    return Case(protocol, name, folders(protocol)[name])


def cases(protocol: str) -> list[Case]:
    """Every case of a protocol that is at hand."""
    return [Case(protocol, name, folder) for name, folder in folders(protocol).items()]


def containers(value: Any) -> Iterator[Any]:
    """Everything in a value, itself included, that holds something."""
    if not isinstance(value, str | int | float | None):
        yield value
        for item in value.values() if hasattr(value, "values") else value:
            yield from containers(item)


def plain_json(value: Any) -> Any:
    """A value again, which must be plain JSON: nothing of a store's frozen values is in it."""
    assert json.loads(json.dumps(value)) == value
    assert all(type(found) in (dict, list) for found in containers(value))
    return value


def frames(body: bytes) -> list[bytes]:
    """The frames of an event stream with the blank lines that end them, or lines with their ends.

    What is cut off at the end is the last.
    """
    if body.lstrip()[:1] == b"{":
        return body.splitlines(keepends=True)
    end = b"\r\n\r\n" if b"\r\n\r\n" in body else b"\n\n"
    *whole, rest = body.split(end)
    return [frame + end for frame in whole] + ([rest] if rest else [])


def says(body: bytes) -> list[Any]:
    """What each frame or line says that was ended: JSON, or its text where it is none."""
    return list(_says(body))


def _says(body: bytes) -> Iterator[Any]:
    lines = body.lstrip()[:1] == b"{"
    for frame in frames(body):
        if not lines and not frame.endswith((b"\n\n", b"\r\n\r\n")):
            return
        data = [frame] if lines else []
        for line in () if lines else frame.removeprefix(b"\xef\xbb\xbf").splitlines():
            if line.startswith(b"data:"):
                data.append(line[5:].removeprefix(b" "))
        if data:
            text = b"\n".join(data)
            try:
                yield json.loads(text)
            except ValueError:
                yield text.decode()
