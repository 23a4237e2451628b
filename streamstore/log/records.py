"""What a log holds, as values: records, and what is said about records that are gone.

Knows no file and no format.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import attrs

from ..model import brief

# What ends a line of an event stream.
_LINE_END = re.compile(rb"\r\n|\r|\n")


class Record(NamedTuple):
    """One event of a log; its `repr` shows the start of long data.

    >>> Record(1, 1700000000000, "7", "", 0, b'{"a": 1}').frame()
    b'id: 7\\ndata: {"a": 1}\\n\\n'
    """

    position: int
    """Its place in the log, from 1; a log that lost nothing has every number."""
    time_ms: int | None
    """When it arrived, in ms since the epoch; None where the writer did not say."""
    event_id: str
    """Its event-stream id; "" for none."""
    name: str
    """Its event-stream type; "" for none."""
    connection: int
    """Which connection brought it, counted by the writer."""
    data: bytes
    """The payload, byte for byte as it was appended."""

    def __repr__(self) -> str:
        members = zip(self._fields, self, strict=True)
        return f"Record({', '.join(f'{name}={brief(value)}' for name, value in members)})"

    def frame(self) -> bytes:
        """The record as one event of an event stream, to be fed, or sent, as it was received.

        What the framing cannot say is left out (an id or a name with a line end in it), and a CR
        in the payload becomes LF. Linear in the payload.
        """
        lines = [b"data: " + line for line in _LINE_END.split(self.data)]
        for field, value in ((b"event: ", self.name), (b"id: ", self.event_id)):
            coded = value.encode("utf-8", "replace")
            if coded and not _LINE_END.search(coded):
                lines.insert(0, field + coded)
        return b"\n".join(lines) + b"\n\n"


@attrs.frozen
class Loss:
    """A place where a log is damaged: what stood between two positions cannot be read.

    Attributes:
        after: position of the last record before it, 0 for the start of the log.
        before: position of the next record, None at the end of the log. Where it follows on
            `after`, no record is lost.
        line: number of the damaged line in a log of JSON lines, from 1.
        problem: what is wrong there.

    >>> str(Loss(3, 6, 4, "the checksum does not fit"))
    'positions 4 to 5 are lost (line 4: the checksum does not fit)'
    """

    after: int
    before: int | None
    line: int | None
    problem: str

    def __str__(self) -> str:
        first = self.after + 1
        if self.before is None:
            lost = f"from position {first} on everything is lost"
        elif self.before == first:
            lost = "no record is lost"
        elif self.before == first + 1:
            lost = f"position {first} is lost"
        else:
            lost = f"positions {first} to {self.before - 1} are lost"
        return f"{lost} ({'' if self.line is None else f'line {self.line}: '}{self.problem})"


@attrs.frozen
class Recovery:
    """What was found when a log was opened for writing.

    Attributes:
        kept: records that are there.
        cut: bytes of a torn tail that were cut off: a record whose writing was interrupted.
        losses: damage elsewhere; it stays in the file as it is. A SQLite log is not read when
            it is opened: damage to its records is told by `read` alone.
    """

    kept: int = 0
    cut: int = 0
    losses: tuple[Loss, ...] = ()
