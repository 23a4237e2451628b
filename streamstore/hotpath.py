"""The short way of a delta: one lookup, one comparison, one append.

Compiles, for the shape of a protocol's deltas and one sequencing, the function that every wire
object passes first, and the same as a loop. What is no plain delta that comes in order goes the
long way, which knows everything; this file knows shapes and rows, no event, stage or store.

Why compiled: with the wire's names as constants and no branch on the sequencing, a delta costs
about two thirds of what a method with a dozen attributes costs, and the single call and the loop
come from one text. The text holds nothing but what `DeltaShape` declares, quoted by `repr`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from textwrap import indent
from typing import Any

from .adapters.base import DeltaShape
from .doors import Door, Ingest, IngestMany, one_by_one
from .keys import MAX_NUMBER, is_id, is_number
from .model import Sequencing
from .rows import BlockRow, HotTable
from .verdicts import ACCEPTED

# A delta is taken in without a look into the tables where it is for the same row as the last one:
# what the row is found by stands in names of the closure, which cost half of an attribute.
_MODULE = '''
def make(hot, wake, merge, slow, plain):
    last = index = message_id = session_id = fresh = ids = None
    before = 0
    named = False

    def taken():
        # What waits in a row counts itself: a delta needs no counter.
        return before if last is None else before + last.passed + len(fresh)

    def release():
        nonlocal last, index, message_id, session_id, fresh, ids, before
        if last is not None:
            before += last.passed + len(fresh)
            last = index = message_id = session_id = fresh = ids = None

    def adopt(kind, key):
        nonlocal last, index, message_id, session_id, fresh, ids, before
        row = hot[key]
        if kind != {type} or type(key[2]) is not type(row.index):
            raise KeyError(kind)
        release()
        row.belong(hot)
        index, message_id, session_id = row.index, row.message_id, row.session_id
        fresh, ids = row.fresh, row.ids
        before -= row.passed + len(fresh)
        last = hot.last = row

    def go_on(wire, row):
        if row is None:
            return slow(wire)
        if row.room:
            merge(row)
        else:
            wake(row)
        return ACCEPTED

    def ingest(wire):
        """Take in one wire object (decoded JSON) and say what became of it."""
        {one_begin}
        try:
            {body}
            if (
                wire["type"] != {type}
                or {whole}[{session}] != session_id
                or {whole}[{message}] != message_id
                or {other}
            ):
                adopt(wire["type"], ({whole}[{session}], {whole}[{message}], {whole}[{block}]))
            row = last
            {one}
            text = {whole}[{text}]
            if (
                type(text) is str
                {is_text}
                {others}
                {one_fits}
            ):
                {one_mark}
                fresh.append(text)
                if {calm}:
                    return ACCEPTED
            else:
                row = None
        except (KeyError, TypeError, AttributeError):
            {one_missed}
            row = None
        return go_on(wire, row)

    def ingest_many(wires):
        """Take in wire objects; those not plainly accepted, with their place."""
        if type(wires) is not list:
            return each_alone(wires)
        notable = []
        rest = iter(wires)
        previous = None
        for wire in rest:
            ended = False
            while not ended:
                verdict = ingest(wire)
                if verdict is not ACCEPTED:
                    notable.append((len(wires) - rest.__length_hint__() - 1, verdict))
                row = last
                if row is not previous or row is None or not row.room{no_run}:
                    previous = row
                    break
                # A run: the second delta of the same row, and what follows it.
                waiting = fresh
                own, message, session = index, message_id, session_id
                {many_begin}
                try:
                    {run}
                except (KeyError, TypeError, AttributeError):
                    pass
                finally:
                    {many_end}
                    if len(row.fresh) >= row.room:
                        go_on(wire, row)
        return notable

    each_alone = one_by_one(ingest)
    hot.release = release
    return ingest, ingest_many, taken
'''

# What takes in the wire objects that follow one of the same row, and leaves at any other one.
_RUN = """\
for wire in rest:
    {body}
    if (
        wire["type"] != {type}
        or {whole}[{session}] != session
        or {whole}[{message}] != message
        or {many_other}
    ):
        break
    {many}
    text = {whole}[{text}]
    if not (
        type(text) is str
        {is_text}
        {others}
        {many_fits}
    ):
        break
    {many_mark}
    waiting.append(text)
else:
    ended = True
"""

# A row that is missing raises, as a member of the wire does: the long way says what it is. The
# usual delta has a known number of members, so that none needs to be looked for.
_NUMBERED = {
    "one": "seq = {whole}[{seq}]",
    "many_begin": "mark = row.mark",
    "many": "seq = {whole}[{seq}]",
    "many_mark": "mark = seq",
    "many_end": "row.mark = mark",
}
_LISTED = {
    **_NUMBERED,
    "one_mark": "row.mark = seq\nrow.seqs.append(seq)",
    "many_begin": "mark, seqs = row.mark, row.seqs",
    "many_mark": "mark = seq\nseqs.append(seq)",
}
_MODES: dict[str, dict[str, str]] = {
    "block": {
        **_NUMBERED,
        "one_fits": "and type(seq) is int and seq == row.mark + 1",
        "one_mark": "row.mark = seq",
        # `__class__` costs less than `type`; a seq that lies about it counts, and is kept nowhere.
        "many_begin": "following = row.mark + 1",
        "many_fits": "and seq == following and seq.__class__ is int",
        "many_mark": "following += 1",
        "many_end": "row.mark = following - 1",
        "calm": "seq < row.calm_to",
    },
    "sparse": {
        **_LISTED,
        "one_fits": f"and type(seq) is int and row.mark < seq <= {MAX_NUMBER}",
        "many_fits": f"and type(seq) is int and mark < seq <= {MAX_NUMBER}",
    },
    "session": {
        **_LISTED,
        "one_fits": f"and type(seq) is int and row.mark < seq <= {MAX_NUMBER} and row.follow(seq)",
        "many_fits": f"and type(seq) is int and seq == mark + 1 and mark < {MAX_NUMBER}",
        "no_run": " or row.message.session.intervals.ends[-1:] != [row.mark]",
        "many_begin": (
            "mark, seqs = row.mark, row.seqs\n"
            "ends = row.message.session.intervals.ends  # the last of which is the mark, too"
        ),
        "many_end": "row.mark = ends[-1] = mark",
    },
    "none": {
        # The last one had an id, so this one is taken to have one: `get` costs twice as much.
        "one_begin": "nonlocal named",
        "one": "event_id = wire[{id}] if named else wire.get({id})",
        "one_missed": "if named:\n    named = False\n    return ingest(wire)",
        "one_fits": (
            # Nothing else in JSON compares with a string: it raises, and goes the long way.
            "and (event_id is None or (\n"
            "    event_id > ids.top if ids.rises\n"
            "    else type(event_id) is str and event_id\n"
            "    and event_id not in ids.young and event_id not in ids.old))"
        ),
        "one_mark": (
            "if event_id is not None:\n"
            "    named = True\n"
            "    if ids.rises:\n"
            "        ids.top = event_id\n"
            "        ids.rising.append(event_id)\n"
            "    else:\n"
            "        ids.add(event_id)"
        ),
        "no_run": " or not ids.rises",
        "many_begin": "own_ids = ids\ntop, rising = ids.top, ids.rising",
        "many": "event_id = wire[{id}]",
        "many_fits": "and event_id > top",
        "many_mark": "top = event_id\nrising.append(event_id)",
        "many_end": "own_ids.top = top",
    },
}  # fmt: skip
# All deltas of a run have an id, or none has: asking each for one it may lack costs twice a look.
_UNNAMED = {"many": "", "many_fits": "and {id} not in wire", "many_mark": ""}
# Without ids that are unique nothing is read of them.
_MODES["alone"] = {"one": "", "one_fits": "", "one_mark": "", "many_begin": "", "many": ""}
_MODES["alone"] |= {"many_fits": "", "many_mark": "", "many_end": "pass"}


def door(
    shape: DeltaShape,
    mode: Sequencing,
    *,
    hot: HotTable,
    wake: Callable[[BlockRow], None],
    merge: Callable[[BlockRow], None],
    slow: Ingest,
) -> Door:
    """The functions through which a stream takes wire objects in.

    Args:
        hot: the blocks that the stream delivers in order.
        wake: told of a row that had nothing waiting.
        merge: told of a row in which as much waits as may wait in single pieces.
        slow: the long way.
    """
    if not shape.seq and mode in ("session", "sparse"):
        mode = "none"  # other events of the protocol have a seq, its deltas have none
    known = _known(shape, mode)
    named = shape.field
    # What has no effect must have its type all the same: a wrong one is for the long way to name.
    numbers = (*shape.spare, shape.seq) if shape.seq and mode == "none" else shape.spare
    name_of_id = shape.id if mode != "none" and not shape.body else ""

    def plain(body: Any) -> bool:
        """Whether a delta of an unusual size carries nothing that needs the long way."""
        if named and body.get(named, "text") != "text":
            return False
        for name in numbers:
            value = body.get(name)
            if value is not None and not is_number(value):
                return False
        if name_of_id:
            value = body.get(name_of_id)
            if value is not None and not is_id(value):
                return False
        return known.issuperset(body)

    return Door(*_compiled(shape, mode)(hot, wake, merge, slow, plain))


def _members(shape: DeltaShape, mode: Sequencing) -> set[str]:
    names = {shape.session, shape.message, shape.block, shape.text}
    if shape.seq and mode != "none":
        names.add(shape.seq)
    if shape.field_always:
        names.add(shape.field)
    if not shape.body:
        names.add("type")
    return names


def _known(shape: DeltaShape, mode: Sequencing) -> frozenset[str]:
    spare = {shape.field, shape.seq, *shape.spare}
    if not shape.body:
        spare.add(shape.id)
    return frozenset(_members(shape, mode) | spare)


@cache
def _compiled(
    shape: DeltaShape, mode: Sequencing
) -> Callable[..., tuple[Ingest, IngestMany, Callable[[], int]]]:
    alone = mode == "none" and not shape.id
    parts = dict.fromkeys(("one_begin", "one_missed", "no_run"), "")
    parts |= {"calm": "len(fresh) < row.room", **_MODES["alone" if alone else mode]}
    parts["body"] = f"body = wire[{shape.body!r}]" if shape.body else ""
    parts["whole"] = whole = "body" if shape.body else "wire"
    # An index that is a number may be met by `true` or `1.0`, an id only by itself. CPython has one
    # object for each small number: being that one says the class, too.
    for part, index in (("other", "index"), ("many_other", "own")):
        if shape.block_is_id:
            parts[part] = f"{{whole}}[{{block}}] != {index}"
        else:
            parts[part] = (
                f"(block := {{whole}}[{{block}}]) is not {index}\n"
                f"and (block.__class__ is not {index}.__class__ or block != {index})"
            )
    parts["is_text"] = 'and {whole}[{field}] == "text"' if shape.field_always else ""
    size = len(_members(shape, mode))
    others = "" if shape.others_ignored else f"and (len({whole}) == {size} or plain({whole}))"
    parts["others"] = others
    for name in ("type", "session", "message", "block", "text", "seq", "id", "field"):
        parts[name] = repr(getattr(shape, name))
    run = _fill(_RUN, **parts)
    if mode == "none" and not alone:
        unnamed = indent(_fill(_RUN, **{**parts, **_UNNAMED}), "    ")
        run = f"if type(wire) is dict and {{id}} in wire:\n{indent(run, '    ')}\nelse:\n{unnamed}"
    parts["run"] = run
    source = _fill(_fill(_MODULE, **parts), **parts)
    scope: dict[str, Any] = {"ACCEPTED": ACCEPTED, "one_by_one": one_by_one}
    exec(compile(source, f"<deltas of {shape.type}, {mode}>", "exec"), scope)
    made: Callable[..., Any] = scope["make"]
    return made


def _fill(source: str, /, **parts: str) -> str:
    """Put parts into a text's `{name}` places; a part of several lines keeps the indentation."""
    lines = []
    for line in source.split("\n"):
        name = line.strip()[1:-1]
        if line.strip() == "{" + name + "}" and name in parts:
            indent = line[: len(line) - len(line.lstrip())]
            # Lines that stand inside a bracket or a block keep their own indentation behind it.
            lines += [indent + part for part in parts[name].split("\n") if part]
        else:
            for key, part in parts.items():
                line = line.replace("{" + key + "}", part)
            lines.append(line)
    return "\n".join(lines)
