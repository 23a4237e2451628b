"""What each line of the screen says: pieces of text with the names of their styles.

Pure: rows, counters and moments in, pieces out; every piece is one line and safe to print. Knows
nothing of the widgets that put them on a screen.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ..changes import ChangeSet
from ..keys import Key, PartKey
from ..pipeline import StreamStore
from ..state import state_of
from ..terminal import escape, json_text, one_line
from ..verdicts import Verdict
from .document import DocumentLine
from .past import Moment
from .playing import Source
from .row import Row
from .timeline import Counters, Group, Timeline
from .wrapping import Measure


class Piece(NamedTuple):
    """A text on one line and the name of its style, see `STYLES`."""

    text: str
    style: str = ""


_GREY, _CYAN, _BLUE, _GREEN = "#8b949e", "#56b6c2", "#79a8ff", "#7fc97f"
_YELLOW, _RED, _MAGENTA, _ORANGE = "#e5c07b", "#ff6b6b", "#c792ea", "#f0a45d"
#: Styles by name, as Rich spells them.
STYLES: Mapping[str, str] = {
    "": "",
    "dim": _GREY,
    "bold": "bold",
    "title": f"bold {_CYAN}",
    "number": _GREY,
    "offset": _CYAN,
    "type": "",
    "seq": _MAGENTA,
    "excerpt": _GREY,
    "group": f"bold {_BLUE}",
    "note": f"italic {_GREY}",
    "accepted": _GREEN,
    "duplicate": _YELLOW,
    "late": _ORANGE,
    "held": _CYAN,
    "refused": f"bold {_RED}",
    "malformed": f"bold {_RED}",
    "unknown": _MAGENTA,
    "session": "bold",
    "role": f"bold {_BLUE}",
    "text": "",
    "reasoning": f"italic {_GREY}",
    "tool": _GREEN,
    "output": _GREY,
    "ask": f"bold {_YELLOW}",
    "error": _RED,
    "key": _BLUE,
    "string": _GREEN,
    "head": f"bold {_CYAN}",
    "running": f"bold {_GREEN}",
    "paused": f"bold #000000 on {_YELLOW}",
    "warning": f"bold {_YELLOW}",
}

#: Verdicts in four cells.
VERDICTS: Mapping[str, str] = {
    "accepted": "ok",
    "duplicate": "dup",
    "late": "late",
    "held": "held",
    "refused": "REF!",
    "malformed": "BAD!",
    "unknown": "unk",
}

#: Characters of one text in the state that are shown, and lines of a moment.
LONGEST_TEXT = 1_200
MOST_LINES = 1_500
_MOST_ITEMS = 60
_DEEPEST = 12


def fold(line: list[Piece], width: int, measure: Measure) -> list[list[Piece]]:
    """A line as several of at most so many cells, each but the first indented by 2."""
    width = max(8, width)
    if sum(len(piece.text) for piece in line) <= width // 2:
        return [line]  # no character takes more than two cells
    found: list[list[Piece]] = [[]]
    room = width
    for text, style in line:
        while text:
            size = measure(text)
            if size <= room:
                found[-1].append(Piece(text, style))
                room -= size
                break
            if measure(text.rstrip()) <= width - 2 and room < width - 2 and found[-1]:
                found.append([Piece("  ")])  # whole words stay whole
                room = width - 2
                continue
            fits = min(len(text), room) if size == len(text) else _fitting(text, room, measure)
            if fits == 0 and room == width - 2:
                fits = 1
            if fits:
                found[-1].append(Piece(text[:fits], style))
                text = text[fits:]
            found.append([Piece("  ")])
            room = width - 2
    return found


def _fitting(text: str, room: int, measure: Measure) -> int:
    for place, character in enumerate(text):
        room -= measure(character)
        if room < 0:
            return place
    return len(text)


# --- the timeline ---------------------------------------------------------------------------------


def offset_text(ms: float) -> str:
    """An offset in at most 8 cells, to the ms as long as there is room.

    >>> [offset_text(ms) for ms in (0, 12.4, 61_500.0, 3_600_000.0, 90_061_000.0)]
    ['+0ms', '+12ms', '+61.500s', '+60m00s', '+25h01m']
    """
    if ms < 1_000:
        return f"+{ms:.0f}ms"
    if ms < 100_000:
        return f"+{ms / 1000:.3f}s"
    seconds = int(ms // 1000)
    if seconds < 6_000:
        return f"+{seconds // 60}m{seconds % 60:02}s"
    return f"+{seconds // 3600}h{seconds % 3600 // 60:02}m"


def timeline_line(line: Group | Row, width: int) -> list[Piece]:
    """A heading or a row of the timeline, in so many cells."""
    if isinstance(line, Group):
        return _group_line(line, width)
    number = Piece(f"{line.number:>5} ", "number")
    offset = Piece(f"{offset_text(line.offset):>8} ", "offset")
    if line.verdict is None:
        return [number, offset, Piece(f"── {line.facts.type}", "note")]
    facts = line.facts
    kind = line.verdict.kind
    pieces = [number, offset, Piece(f"{VERDICTS[kind]:<4} ", kind)]
    pieces.append(Piece(facts.type, "type" if kind == "accepted" else kind))
    if facts.seq is not None:
        pieces.append(Piece(f" #{facts.seq}", "seq"))
    if line.verdict.reason and line.verdict.reason != facts.type:
        pieces.append(Piece(f" {one_line(line.verdict.reason, 40)}", kind))
    if facts.block_index is not None and width >= 90:
        pieces.append(Piece(f" [{one_line(str(facts.block_index), 24)}]", "dim"))
    if facts.deltas:
        pieces.append(Piece(f" +{facts.characters}", "seq"))
    if facts.excerpt:
        pieces.append(Piece(f" {facts.excerpt}", "excerpt"))
    return pieces


def _group_line(group: Group, width: int) -> list[Piece]:
    sign = "▸" if group.collapsed else "▾"
    if group.message_id is not None:
        role = f"{one_line(group.role, 16)} " if group.role else ""
        name = f"{role}{one_line(group.message_id, 40)}"
    elif group.session_id is not None:
        name = f"session {one_line(group.session_id, 40)}"
    else:
        name = "connection"
    pieces = [Piece(f"{sign} {name}", "group")]
    if group.session_id is not None and group.message_id is not None and width >= 90:
        pieces.append(Piece(f" {one_line(group.session_id, 30)}", "dim"))
    count = len(group.rows)
    counted = f" {count} event{'' if count == 1 else 's'}" if width >= 60 else f" ({count})"
    pieces.append(Piece(counted, "dim"))
    notable = group.notable if count <= 5_000 else 0
    if notable:
        pieces.append(Piece(f" {notable} notable", "warning"))
    return pieces


def dropped_line(timeline: Timeline) -> list[Piece]:
    """The line that says how many rows are not held any more."""
    return [Piece(f"… {timeline.dropped:,} earlier events dropped (oldest first)", "note")]


# --- the transcript -------------------------------------------------------------------------------


def document_line(line: DocumentLine) -> list[Piece]:
    """A line of the transcript."""
    if line.style == "role":
        role, _, rest = line.text.partition(" ")
        return [Piece(role, "role"), Piece(f" {rest}", "dim")]
    return [Piece(line.text, line.style)]


# --- above and below ------------------------------------------------------------------------------


def title_line(name: str, protocol: str, source: Source, timeline: Timeline) -> list[Piece]:
    """What is watched and how that is doing."""
    style = "paused" if source.paused else "running"
    status = source.status
    if source.paused and not status.startswith("paused"):
        status = f"paused · {status}"
    pieces = [
        Piece(f" {one_line(name if len(name) <= 60 else '…' + name[-59:], 60)} ", "title"),
        Piece(f"{one_line(protocol, 24)} ", "dim"),
        Piece(f" {status} ", style),
    ]
    if source.pace and not source.ended:
        pieces.append(Piece(f" {source.pace}", "dim"))
    held = source.held if source.paused else None
    if held:
        pieces.append(Piece(f"  {held[0]:,} events held ({bytes_text(held[1])})", "warning"))
    if timeline.filter:
        shown = f"{timeline.shown:,}/{len(timeline.rows):,}"
        pieces.append(Piece(f"  filter {one_line(timeline.filter.text, 60)} ({shown})", "warning"))
    return pieces


def counters_line(counters: Counters, timeline: Timeline) -> list[Piece]:
    """Rate, deltas per tick, duplicates, gaps, and what else is worth a look."""
    verdicts = counters.verdicts
    pieces = [
        Piece(f" {counters.events:,}", "bold"),
        Piece(" events  ", "dim"),
        Piece(f"{counters.rate.per_second:,.0f}", "bold"),
        Piece("/s  ", "dim"),
        Piece(f"{counters.deltas_per_tick:.1f}", "bold"),
        Piece(" deltas/tick  ", "dim"),
        Piece(f"{counters.duplicates:,}", "duplicate" if counters.duplicates else "bold"),
        Piece(" dup  ", "dim"),
        Piece(f"{counters.gaps:,}", "refused" if counters.gaps else "bold"),
        Piece(" gaps", "dim"),
    ]
    for kind in ("refused", "malformed", "unknown", "late", "held"):
        if verdicts[kind]:
            pieces.append(Piece(f"  {verdicts[kind]:,} {kind}", kind))
    pieces.append(Piece(f"  {bytes_text(counters.bytes)}", "dim"))
    if timeline.unseen and not timeline.follow:
        pieces.append(Piece(f"  ↓ {timeline.unseen:,} new", "warning"))
    return pieces


def bytes_text(number: int) -> str:
    """A size for people.

    >>> bytes_text(999), bytes_text(150_000), bytes_text(2_500_000)
    ('999 B', '150 kB', '2.5 MB')
    """
    if number < 1_000:
        return f"{number} B"
    if number < 1_000_000:
        return f"{number / 1_000:.0f} kB"
    return f"{number / 1_000_000:.1f} MB"


# --- one event ------------------------------------------------------------------------------------


def event_lines(row: Row, moment: Moment | None, scope: int = 0) -> list[list[Piece]]:
    """All about one event: what it changed, the state after it, what it names, its bytes.

    `scope` says of what the state is shown: 0 the part that the event is about (or its message, or
    session), 1 the message, 2 everything. Long texts are shown by
    their end, with their length; at most `MOST_LINES` lines.
    """
    lines, names = _facts_lines(row)
    if moment is not None and moment.changes is not None:
        lines += [[Piece("changed", "head")], *_changes_lines(moment.changes)]
    lines += [[Piece(f"state after #{row.number}", "head"), Piece(_scope(row, scope), "dim")]]
    if moment is None:
        lines.append([Piece("not held any more", "note")])
    else:
        lines += _json_lines(_state(row, moment.store, scope))
    lines += names
    if row.data:
        lines += [[Piece("as it came", "head"), Piece(f" {len(row.data):,} bytes", "dim")]]
        lines += _raw_lines(row.data)
    if len(lines) > MOST_LINES:
        more = len(lines) - MOST_LINES
        lines = lines[:MOST_LINES]
        lines.append([Piece(f"… {more:,} more lines", "note")])
    return lines


def _facts_lines(row: Row) -> tuple[list[list[Piece]], list[list[Piece]]]:
    """The first line, and what the event names."""
    facts = row.facts
    head = [Piece(f"#{row.number} ", "number"), Piece(facts.type, "bold")]
    head.append(Piece(f"  {offset_text(row.offset)}", "offset"))
    if row.verdict is None:
        return [head], []
    head += _verdict_pieces(row.verdict)
    named = (
        ("session", facts.session_id),
        ("message", facts.message_id),
        ("block", facts.block_index),
        ("seq", facts.seq),
        ("event id", facts.event_id),
        ("tick", row.tick),
        ("event", facts.name or None),
        ("as", ", ".join(dict.fromkeys(facts.kinds)) or None),
    )
    told: list[Piece] = []
    for name, value in named:
        if value is not None:
            told += [Piece(f"{name} ", "key"), Piece(f"{one_line(str(value), 120)}  ")]
    return [head], [[Piece("names", "head")], told] if told else []


def _verdict_pieces(verdict: Verdict) -> list[Piece]:
    pieces = [Piece(f"  {verdict.kind}", verdict.kind)]
    if verdict.reason:
        pieces.append(Piece(f" {one_line(verdict.reason, 80)}", verdict.kind))
    if verdict.detail:
        pieces.append(Piece(f" {one_line(verdict.detail, 120)}", "dim"))
    return pieces


def _changes_lines(changes: ChangeSet) -> list[list[Piece]]:
    lines: list[list[Piece]] = []
    for word, keys, style in (
        ("removed", changes.removed, "refused"),
        ("added", [place.key for place in changes.added], "accepted"),
        ("moved", [place.key for place in changes.moved], "late"),
        ("changed", changes.changed, "held"),
    ):
        lines += [[Piece(f"{word:<8} ", style), Piece(_key_text(key))] for key in list(keys)[:20]]
        if len(keys) > 20:
            lines.append([Piece(f"… {len(keys) - 20:,} more {word}", "note")])
    for field, edit in list(changes.text.items())[:20]:
        word = "rewrite" if edit.rewritten else "append"
        lines.append(
            [
                Piece(f"{word:<8} ", "late" if edit.rewritten else "accepted"),
                Piece(f"at {edit.start:,} +{len(edit.text):,} ", "seq"),
                Piece(one_line(edit.text, 120), "string"),
                Piece(f"  {one_line(field.field, 20)} of {_key_text(field.key)}", "dim"),
            ]
        )
    if not lines:
        lines.append([Piece("nothing that a reader sees", "note")])
    return lines


def _key_text(key: Key) -> str:
    words = ("session", "message", "part")
    last = one_line(str(key[-1]), 48)
    above = f" of {one_line(key.message_id, 40)}" if isinstance(key, PartKey) else ""
    return f"{words[len(key) - 1]} {last}{above}"


def _scope(row: Row, scope: int) -> str:
    facts = row.facts
    if scope == 2 or facts.session_id is None:
        return "  everything"
    if facts.message_id is None:
        return "  its session"
    return "  its message" if scope or facts.block_index is None else "  its part"


def _state(row: Row, store: StreamStore, scope: int) -> Any:
    facts = row.facts
    if scope == 2 or facts.session_id is None:
        return store.state()
    reads = _Scope(store, facts.session_id, facts.message_id)
    session = state_of(reads).get(facts.session_id)
    if session is None:
        return None
    if facts.message_id is None:
        if "messages" in session:
            session["messages"] = f"({len(session['messages'])} messages)"
        return session
    messages = session.get("messages", [])
    message = messages[0] if messages else None
    if scope or message is None or facts.block_index is None:
        return message
    parts = [part for part in message.get("parts", ()) if part["blockIndex"] == facts.block_index]
    return parts[0] if parts else None


class _Scope:
    """The reads of a store, of one session and, if named, one message."""

    def __init__(self, store: StreamStore, session_id: str, message_id: str | None) -> None:
        self._store = store
        self._session_id = session_id
        self._message_id = message_id
        self.session = store.session

    def session_ids(self) -> tuple[str, ...]:
        return (self._session_id,)

    def messages(self, session_id: str) -> Any:
        if self._message_id is None:
            return self._store.messages(session_id)
        message = self._store.message(session_id, self._message_id)
        return () if message is None else (message,)

    def parts(self, session_id: str, message_id: str) -> Any:
        # A session without its messages needs no parts: they are only counted.
        return () if self._message_id is None else self._store.parts(session_id, message_id)


def abridged(value: Any, depth: int = 0) -> Any:
    """A JSON value of a bounded size: long texts by their end, long lists by theirs.

    >>> abridged({"text": "x" * 5_000})["text"][:28]
    '… 3,800 characters, then: xx'
    """
    if isinstance(value, str):
        if len(value) <= LONGEST_TEXT:
            return value
        return f"… {len(value) - LONGEST_TEXT:,} characters, then: {value[-LONGEST_TEXT:]}"
    if depth >= _DEEPEST and isinstance(value, list | Mapping):
        return "…"
    if isinstance(value, list):
        items = [abridged(item, depth + 1) for item in value[-_MOST_ITEMS:]]
        left = len(value) - len(items)
        return [f"… {left:,} before", *items] if left else items
    if isinstance(value, Mapping):
        found = {}
        for name in list(value)[:_MOST_ITEMS]:
            found[name] = abridged(value[name], depth + 1)
        if len(value) > _MOST_ITEMS:
            found["…"] = f"{len(value) - _MOST_ITEMS:,} more members"
        return found
    return value


def _json_lines(value: Any) -> list[list[Piece]]:
    if value is None:
        return [[Piece("nothing of it is there", "note")]]
    return [_json_line(line) for line in json_text(abridged(value)).split("\n")]


def _json_line(line: str) -> list[Piece]:
    body = line.lstrip(" ")
    indent = line[: len(line) - len(body)]
    name, mark, rest = body.partition('": ')
    if body.startswith('"') and mark:
        pieces = [Piece(f"{indent}{name}{mark}", "key")]
        body = rest
    else:
        pieces = [Piece(indent)]
    pieces.append(Piece(body, "string" if body.startswith('"') else ""))
    return pieces


def _raw_lines(data: bytes) -> Iterable[list[Piece]]:
    text = data[: 4 * LONGEST_TEXT].decode("utf-8", "replace").rstrip("\r\n")
    lines = [[Piece(escape(line).replace("\t", "    "), "dim")] for line in text.split("\n")[:60]]
    if len(data) > 4 * LONGEST_TEXT:
        lines.append([Piece(f"… {len(data) - 4 * LONGEST_TEXT:,} more bytes", "note")])
    return lines
