"""The short way of a delta whose adapter says what it belongs to: one call more than `hotpath`.

Where the adapter declares what a delta has in common with the one before it (`ShortShape`), there
is a shorter one: what fits goes where the last delta went, and the adapter is not asked. Compiled
as in `hotpath`, and for the same reason. It begins when `plain` took in some deltas in a row for
one part, and ends with whatever does not fit: that is offered to `plain`, and after the long way
nothing is taken for granted.

Knows what `Adapter.plain` gives, shapes and rows; no wire, event, stage or store.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import cache, partial
from operator import length_hint
from textwrap import indent
from typing import Any

import attrs

from .adapters.base import NAMED, Adapter, Path, PlainDelta, ShortShape
from .doors import Door, Ingest, IngestMany, one_by_one
from .keys import MAX_NUMBER
from .model import Sequencing
from .rows import BlockRow, HotTable
from .verdicts import ACCEPTED, Verdict


def plain_door(
    adapter: Adapter,
    mode: Sequencing,
    *,
    hot: HotTable,
    wake: Callable[[BlockRow], None],
    merge: Callable[[BlockRow], None],
    slow: Ingest,
) -> Door:
    """`hotpath.door` for a protocol whose adapter finds a delta's key itself."""
    counted = mode == "sparse"
    plain = adapter.plain
    shape: ShortShape | None = getattr(adapter, "short", None)
    if shape is not None and mode in ("sparse", "none"):
        made = _compiled(shape, counted)
        return Door(*made(shape, adapter, hot, wake, merge, slow, plain))
    count = 0

    def taken() -> int:
        return count

    if mode not in ("sparse", "none"):
        return Door(slow, one_by_one(slow), taken)

    def take(wire: Any, found: PlainDelta | None) -> Verdict:
        nonlocal count
        if found is None:
            return slow(wire)
        key, text, seq = found
        row = hot.last
        if row is None or row.hot_key != key:
            row = hot.get(key)
            if row is None:
                return slow(wire)
            row.belong(hot)  # what is fresh in it counts as the last one's of another table
            hot.last = row
        if counted:
            if seq is None or not row.mark < seq <= MAX_NUMBER:
                return slow(wire)
            row.mark = seq
            row.seqs.append(seq)
        row.fresh.append(text)
        count += 1
        if len(row.fresh) >= row.room:
            full(row)
        return ACCEPTED

    def full(row: BlockRow) -> None:
        if row.room:
            merge(row)
        else:
            wake(row)

    def ingest(wire: Any) -> Verdict:
        """Take in one wire object (decoded JSON) and say what became of it."""
        try:
            # Where no row is hot, nothing is: not even a number may be noted of it.
            found = plain(wire if hot else None)
        except (KeyError, TypeError, AttributeError):
            found = None
        return take(wire, found)

    def ingest_many(wires: Iterable[Any]) -> list[tuple[int, Verdict]]:
        """Take in wire objects; those not plainly accepted, with their place."""
        nonlocal count
        if type(wires) is not list:
            return each_alone(wires)
        notable = []
        rest = iter(wires)
        left = partial(length_hint, rest)
        previous = None
        for wire in rest:
            try:
                found = plain(wire if hot else None)
            except (KeyError, TypeError, AttributeError):
                found = None
            ended = False
            while not ended:
                short = count
                verdict = take(wire, found)
                if verdict is not ACCEPTED:
                    notable.append((len(wires) - left() - 1, verdict))
                if count == short:
                    previous = None  # it took the long way, of which `hot.last` says nothing
                    break
                row = hot.last
                if row is not previous or row is None or not row.room:
                    previous = row
                    break
                # A run, as in `hotpath`. No wire object is offered to the adapter twice: it may
                # have noted its number.
                own, fresh, seqs, mark = row.hot_key, row.fresh, row.seqs, row.mark
                before = left()
                try:
                    for wire in rest:
                        found = None
                        found = plain(wire)
                        if found is None:
                            break
                        key, text, seq = found
                        if key is not own and key != own:
                            break
                        if counted:
                            if seq is None or not mark < seq <= MAX_NUMBER:
                                break
                            mark = seq
                            seqs.append(seq)
                        fresh.append(text)
                    else:
                        ended = True
                except (KeyError, TypeError, AttributeError):
                    pass
                finally:
                    row.mark = mark
                    count += before - left() - (not ended)
                    if len(fresh) >= row.room:
                        full(row)
        return notable

    each_alone = one_by_one(ingest)
    return Door(ingest, ingest_many, taken)


# --- the shorter way ------------------------------------------------------------------------------

# {looks} breaks at a wire object that does not fit, else it sets `text`; {learn} notes what the
# next ones have to fit; where {first}, the first name of it, is NOTHING, `plain` is asked.
_MODULE = '''
def make(shape, adapter, hot, wake, merge, slow, plain):
    last = fresh = None
    before = streak = start = 0
    need = {least}
    ({names},) = [NOTHING] * {size}

    def taken():
        # What waits in the row of a run counts itself: its deltas need no counter.
        return before if last is None else before + last.passed + len(fresh)

    def release():
        nonlocal last, fresh, before, need, {first}
        {first} = NOTHING
        if last is not None:
            end = last.passed + len(fresh)
            before += end
            last = fresh = None
            # Where runs are too short to be worth it, they have to be longer first.
            need = {least} if end - start >= {worth} else min(2 * need, {most})

    def adopt(row):
        nonlocal last, fresh, before, start
        fresh = row.fresh
        start = row.passed + len(fresh)
        before -= start
        last = row

    def go_on(row):
        if not row.room:
            wake(row)
        elif len(row.fresh) >= row.room:
            merge(row)
        else:
            row.calm()
        return ACCEPTED

    def slowly(wire):
        nonlocal {first}
        {first} = NOTHING  # before: a subscriber may take something in while it goes
        return slow(wire)

    def asked(wire):
        """Let the adapter say where a wire object belongs."""
        nonlocal before, streak, {names}
        try:
            # Where no row is hot, nothing is: not even a number may be noted of it.
            found = plain(wire if hot else None)
        except (KeyError, TypeError, AttributeError):
            found = None
        if found is None:
            return slowly(wire)
        key, text, seq = found
        row = hot.last
        if row is None or row.hot_key != key:
            row = hot.get(key)
            if row is None:
                return slowly(wire)
            if last is not None:
                release()
            if len(row.hots) > 1:
                row.belong(hot)
            hot.last = row
            streak = 0
        {asked_seq}
        row.fresh.append(text)
        if last is None:
            before += 1
        streak += 1
        if streak >= need:
            if last is None:
                adopt(row)
            try:
                {learn}
            except (LookupError, TypeError, AttributeError, ValueError):
                {first} = NOTHING
                streak = -{most}  # of another shape: to try each of the run costs as much again
            return go_on(row)
        return ACCEPTED if len(row.fresh) < row.room else go_on(row)

    def ingest(wire):
        """Take in one wire object (decoded JSON) and say what became of it."""
        if {first} is NOTHING:
            return asked(wire)
        fits = False
        try:
            while True:
                {looks}
                {one_guard}
                {one_count}
                fresh.append({text})
                {one_mark}
                for _ in last.credit:  # as in `hotpath`; counted anew behind all other ways
                    return ACCEPTED
                fits = True
                break
        except (LookupError, TypeError, AttributeError, ValueError):
            pass
        return go_on(last) if fits else asked(wire)

    def ingest_many(wires):
        """Take in wire objects; those not plainly accepted, with their place."""
        if type(wires) is not list:
            return each_alone(wires)
        notable = []
        rest = iter(wires)
        for wire in rest:
            ended = False
            while not ended:
                verdict = ingest(wire)
                if verdict is not ACCEPTED:
                    notable.append((len(wires) - rest.__length_hint__() - 1, verdict))
                if {first} is NOTHING or not last.room{no_run}:
                    break
                # A run. Nobody else comes in between, so that the guard need not be looked at, nor
                # since `ingest` did: who came in when it woke the row showed it, and left no room.
                row, own = last, fresh
                {many_begin}
                try:
                    for wire in rest:
                        {looks}
                        {many_count}
                        own.append({text})
                    else:
                        ended = True
                except (LookupError, TypeError, AttributeError, ValueError):
                    pass
                finally:
                    {many_end}
                    go_on(row)
        return notable

    each_alone = one_by_one(ingest)
    hot.release = release
    return ingest, ingest_many, taken
'''

# Deltas of one part in a row that `plain` is asked for before the next ones need not be, at least
# and at most: to note what they have in common costs what two to eight of them save, and is for
# nothing where parts take turns. It was worth it when as many came as that.
_LEAST, _MOST, _WORTH = 4, 64, 16

_ASKED_SEQ = f"""\
if seq is None or not row.mark < seq <= {MAX_NUMBER}:
    return slowly(wire)
row.mark = seq
row.seqs.append(seq)"""


@cache
def _compiled(
    shape: ShortShape, counted: bool
) -> Callable[..., tuple[Ingest, IngestMany, Callable[[], int]]]:
    reading = _Reading()
    _put_looks(shape, reading)
    parts = {"first": reading.names[0], "asked_seq": _ASKED_SEQ if counted else ""}
    parts |= dict.fromkeys(("no_run", "one_guard", "one_count", "one_mark"), "")
    parts |= dict.fromkeys(("many_begin", "many_count", "many_end"), "")
    if shape.guard is not None:
        parts["one_guard"] = "if holder[spot] != value:\n    break"
        reading.names += ["holder", "spot", "value"]
        reading.learn.append("holder, spot = shape.guard(adapter, wire)\nvalue = holder[spot]")
    if shape.count is not None:
        _put_count(shape.count, reading, parts, counted)
    if shape.named is not None:
        reading.learn.insert(0, "named = shape.named(wire)")
        reading.names.append("named")
    parts["looks"] = "\n".join(reading.looks)
    parts["text"] = reading.text
    parts["learn"] = "\n".join(reading.learn)
    parts["names"] = ", ".join(reading.names)
    parts |= {"size": str(len(reading.names))}
    parts |= {"least": str(_LEAST), "most": str(_MOST), "worth": str(_WORTH)}
    scope: dict[str, Any] = {
        "ACCEPTED": ACCEPTED,
        "NOTHING": object(),
        "ONE": 1,
        "MINUS_ONE": -1,
        "one_by_one": one_by_one,
    }
    exec(compile(_filled(_MODULE, parts), f"<short way, {shape.text}>", "exec"), scope)
    made: Callable[..., Any] = scope["make"]
    return made


@attrs.define
class _Reading:
    """Lines that look at a wire object, lines that note what the next must fit, and its names.

    `text` is the expression of what is appended; it raises where that is no text.
    """

    looks: list[str] = attrs.field(factory=list)
    learn: list[str] = attrs.field(factory=list)
    names: list[str] = attrs.field(factory=list)
    text: str = ""
    holders: dict[Path, str] = attrs.field(factory=lambda: {(): "wire"})

    def at(self, path: Path) -> str:
        """The expression of what stands at a path; what holds it is read once, for both."""
        holder, step = self.holder(path[:-1]), path[-1]
        return f"{holder}[{'named' if step == NAMED else repr(step)}]"

    def holder(self, path: Path) -> str:
        """The name of an object or list at a path."""
        if path not in self.holders:
            if isinstance(path[-1], str):
                read = "{} = " + self.at(path)
            else:
                read = "[{}] = " + self.holder(path[:-1])  # a list of one, or it raises
            name = self.holders[path] = f"inner_{len(self.holders)}"
            for lines in (self.looks, self.learn):
                lines.append(read.format(name))
        return self.holders[path]

    def kept(self, value: str) -> str:
        """The name under which a value of the last delta is kept."""
        name = f"kept_{len(self.names)}"
        self.names.append(name)
        self.learn.append(f"{name} = {value}")
        return name

    def unless(self, wrong: str, given: str = "", lacked: str = "") -> None:
        """A look at what is wrong with the wire object, or, where nothing is given, at another."""
        lines = f"if {wrong}:\n    break"
        if given:
            lines = f"if {given}:\n{indent(lines, '    ')}"
        if lacked:
            lines += f"\nelif {lacked}:\n    break"
        self.looks.append(lines)


def _put_looks(shape: ShortShape, reading: _Reading) -> None:
    for path in shape.same:
        value = reading.at(path)
        reading.unless(f"{value} != {reading.kept(value)}")
    for path in shape.numbers:
        # Small integers are one object each, and `true` and `1.0` are others: what is the same
        # object is the same number. A large one is none, and `plain` is asked.
        value = reading.at(path)
        reading.unless(f"{value} is not {reading.kept(value)}")
    for path in shape.strings:
        value = reading.at(path)
        reading.looks.append(f'"" + {value}')
    sizes = {path: [str(size)] for path, size in shape.sizes}
    for path, what in shape.optional:
        # What the last one had must be there (or it raises), what it lacked must not.
        value, holder, name = reading.at(path), reading.holder(path[:-1]), repr(path[-1])
        given = reading.kept(f"{name} in {holder}")
        if what == "same":
            wrong = f"{value} != {reading.kept(f'{holder}.get({name})')}"
        else:
            wrong = _WRONG[what].format(value)
        if path[:-1] in sizes:
            sizes[path[:-1]].append(given)
            lacked = ""
        else:
            lacked = f"{name} in {holder}"
        reading.unless(wrong, given, lacked)
    for path, counted in sizes.items():
        reading.unless(f"len({reading.holder(path)}) != {reading.kept(' + '.join(counted))}")
    if shape.repeated is not None:
        holder = reading.holder(shape.repeated)
        text = "named" if shape.text[-1] == NAMED else repr(shape.text[-1])
        others = f"[item for item in {holder}.items() if item[0] != {text}]"
        size, kept = reading.kept(f"len({holder})"), reading.kept(others)
        reading.unless(f"len({holder}) != {size}")
        reading.unless(f"{others} != {kept}", f"{size} != 1")
    # What does not add to a string raises, as in `hotpath`.
    reading.text = f'"" + {reading.at(shape.text)}'
    if shape.text_needed:
        reading.looks.append(f"text = {reading.text}")
        reading.text = "text"
        reading.unless("not text")


#: What is wrong with a member that is there, by what it may be.
_WRONG = {
    "null": "{} is not None",
    "empty": "{}",
    "string": "type({}) is not str",
    "integer": "type({0}) is not int or not -(2**53) < {0} < 2**53",
}


def _put_count(path: Path, reading: _Reading, parts: dict[str, str], counted: bool) -> None:
    """The number of a delta must be the next one, and comes to its seq where seqs count."""
    reading.names += ["ends", "base", "step", "top"]
    reading.learn.append(
        "counter = shape.counter(adapter)\n"
        "ends, base, step, top = counter.ends, counter.base, counter.step, counter.top\n"
        f"top = min(top, ({MAX_NUMBER} - base) // step + 1)"
    )
    # As in `hotpath`, what is one more by the object 1 is an integer: it is not the first one, as
    # `plain` took in some before, so that `true` is not one more, either.
    number = reading.at(path)
    # Else the number is the row's last one: `ingest` just took it.
    parts["no_run"] += " or ends[-1] + len(wires) >= top"
    parts["one_count"] = (
        f"number = {number}\nif number - ends[-1] is not ONE or number >= top:\n    break\n"
    )
    parts["many_begin"] = "latest = ends[-1]\nwaiting = len(own)"
    parts["many_count"] = f"if latest - (latest := {number}) is not MINUS_ONE:\n    break"
    parts["many_end"] = "ran = len(own) - waiting\nends[-1] += ran"
    if counted:
        parts["one_count"] += "seq = base + step * number\nif seq <= last.mark:\n    break\n"
        parts["one_mark"] = "last.mark = seq\nlast.seqs.append(seq)\n"
        parts["many_end"] += (
            "\nmark = row.mark\n"
            "row.seqs += range(mark + step, mark + step * ran + 1, step)\n"
            "row.mark = mark + step * ran"
        )
    parts["one_mark"] += "ends[-1] = number"


def _filled(source: str, parts: dict[str, str]) -> str:
    """Put parts into a text's `{name}` places; one that has a line alone keeps the indentation."""
    lines = []
    for line in source.split("\n"):
        name = line.strip()[1:-1]
        if line.strip() == "{" + name + "}" and name in parts:
            lines.append(indent(parts[name], line[: len(line) - len(line.lstrip())]))
        else:
            for key in ("names", "size", "no_run", "first", "text", "least", "most", "worth"):
                line = line.replace("{" + key + "}", parts[key])
            lines.append(line)
    return "\n".join(lines)
