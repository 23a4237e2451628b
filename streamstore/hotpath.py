"""The short way of a delta: one lookup, one comparison, one append.

Compiles, for each shape of a protocol's deltas and one sequencing, the function that every wire
object passes first, and the same as a loop. What is no plain delta that comes in order goes the
long way, which knows everything; this file knows shapes and rows, no event, stage or store.

Why compiled: with the wire's names as constants and no branch on the sequencing, a delta costs
about two thirds of what a method with a dozen attributes costs, and the single call and the loop
come from one text. The text holds nothing but what `DeltaShape` declares, quoted by `repr`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from textwrap import indent
from typing import Any, TypeAlias

from .adapters.base import DeltaShape
from .doors import Door, Ingest, IngestMany, one_by_one
from .keys import MAX_NUMBER
from .model import Sequencing
from .rows import BlockRow, HotTable
from .verdicts import ACCEPTED, Verdict

#: For one wire object, for a list of them; how many were taken; and what forgets the last row.
_Made: TypeAlias = tuple[Ingest, IngestMany, Callable[[], int], Callable[[], None]]

# A delta is taken in without a look into the tables where it is for the same row as the last one:
# what the row is found by stands in names of the closure, which cost half of an attribute. A
# text is added to the empty one where it is appended, before anything is noted of the delta: it
# raises where it is none, and asking for its type costs 10 ns more. What adds to a text and is
# none, of which JSON has nothing, becomes empty when it is joined.
_MODULE = '''
def make(hot, wake, merge, slow):
    last = index = message_id = session_id = fresh = seqs = ends = ids = field = None
    before = 0
    size = 0
    named = False

    def taken():
        # What waits in a row counts itself: a delta needs no counter.
        return before if last is None else before + last.passed + len(fresh)

    def release():
        nonlocal last, index, message_id, session_id, fresh, seqs, ends, ids, before
        if last is not None:
            before += last.passed + len(fresh)
            last = index = message_id = session_id = fresh = seqs = ends = ids = None

    def adopt(kind, session, message, block, body):
        nonlocal last, index, message_id, session_id, fresh, seqs, ends, ids, before, field, size
        of = {of}
        at = {at}
        row = hot[(session, message, at) if of == "text" else (session, message, at, of)]
        if kind != {type} or type(at) is not type(row.index):
            raise KeyError(kind)
        hot.release()
        row.belong(hot)
        index, message_id, session_id = {index}, row.message_id, row.session_id
        fresh, seqs, ids = row.fresh, row.seqs, row.ids
        field = of
        # With one member more than the usual delta: whether that is the field is looked up.
        size = {size} if of == "text" else {other_size}
        {adopted}
        before -= row.passed + len(fresh)
        last = hot.last = row

    def plain(body):
        # Whether a delta with more members than it needs carries nothing for the long way.
        more = len(body) - {size}
        {spare}
        return not more

    def go_on(wire, row):
        if row is None:
            return slow(wire)
        if not row.room:
            wake(row)
        elif len(row.fresh) >= row.room:
            merge(row)
        else:
            row.calm()
        return ACCEPTED

    def ingest(wire):
        """Take in one wire object (decoded JSON) and say what became of it."""
        {one_begin}
        try:
            {body}
            if (
                {event}["type"] != {type}
                or {whole}[{session}] != session_id
                or {whole}[{message}] != message_id
                or {other}
            ):
                at = {whole}[{session}], {whole}[{message}], {whole}[{block}]
                adopt({event}["type"], *at, {whole})
            row = last
            {one}
            {named}
            {if_} (
                True
                {is_text}
                {others}
                {one_fits}
            ):
                fresh.append("" + {whole}[{text}])
                {one_mark}
                {calm}:
                    return ACCEPTED
            else:
                row = None
        except (LookupError, TypeError, AttributeError):
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
                except (LookupError, TypeError, AttributeError):
                    pass
                finally:
                    {many_end}
                    if len(row.fresh) >= row.room:
                        go_on(wire, row)
        return notable

    each_alone = one_by_one(ingest)
    return ingest, ingest_many, taken, release
'''

# What takes in the wire objects that follow one of the same row, and leaves at any other one.
_RUN = """\
for wire in rest:
    {body}
    if (
        {event}["type"] != {type}
        or {whole}[{session}] != session
        or {whole}[{message}] != message
        or {many_other}
    ):
        break
    {many}
    if not (
        True
        {is_text}
        {others}
        {many_fits}
    ):
        break
    waiting.append("" + {whole}[{text}])
    {many_mark}
else:
    ended = True
"""

# A row that is missing raises, as a member of the wire does: the long way says what it is. The
# usual delta has a known number of members, so that none needs to be looked for.
_LISTED = {
    "one": "seq = {whole}[{seq}]",
    # One comparison says that there is room, and that it is no number beyond the end: see `calm`.
    "one_fits": (
        "and seq.__class__ is int and row.mark < seq\n"
        f"and (seq < row.calm_to or seq <= {MAX_NUMBER})"
    ),
    "one_mark": "row.mark = seq\nseqs.append(seq)",
    "calm": "if seq < row.calm_to",
    "many_begin": "mark, calm, own_seqs = row.mark, row.calm_to, seqs",
    "many": "seq = {whole}[{seq}]",
    "many_fits": (
        f"and seq.__class__ is int and mark < seq and (seq < calm or seq <= {MAX_NUMBER})"
    ),
    "many_mark": "mark = seq\nown_seqs.append(seq)",
    "many_end": "row.mark = mark",
}
# `__class__` costs less than `type`, about which nothing in JSON lies. The difference to the next
# one is 1, of which CPython has one object: a sum would make one, and what is that object is no
# float, either. Only `true` behind 0 would look the same, and a row of mark 0 is not hot.
_MODES: dict[str, dict[str, str]] = {
    "block": {
        "one": "seq = {whole}[{seq}]",
        "one_fits": "and seq - row.mark is ONE",
        "one_mark": "row.mark = seq",
        # One expression compares and goes on: the end of a run is known from what waits.
        "many_begin": "mark = row.mark\nbelow = mark - len(waiting)",
        "many": "",
        "many_fits": "and mark - (mark := {whole}[{seq}]) is MINUS_ONE",
        "many_mark": "",
        "many_end": "row.mark = below + len(waiting)",
        "calm": "if seq < row.calm_to",
    },
    "sparse": _LISTED,
    "session": {
        **_LISTED,
        "one_fits": (
            "and seq - ends[-1] is ONE and row.mark < seq\n"
            f"and (seq < row.calm_to or seq <= {MAX_NUMBER})"
        ),
        "one_mark": "row.mark = ends[-1] = seq\nseqs.append(seq)",
        # In a run the end of the last interval is the mark, too, and its seqs are known from their
        # number, as in `block`: a range of them costs less than appending each.
        "no_run": f" or ends[-1:] != [row.mark] or row.mark > {MAX_NUMBER} - len(wires)",
        "many_begin": (
            "mark, own_seqs, own_ends = row.mark, seqs, ends\nbelow = mark - len(waiting)"
        ),
        "many": "",
        "many_fits": "and mark - (mark := {whole}[{seq}]) is MINUS_ONE",
        "many_mark": "",
        "many_end": (
            "mark = below + len(waiting)\n"
            "own_seqs += range(row.mark + 1, mark + 1)\n"
            "row.mark = own_ends[-1] = mark"
        ),
        "adopted": "ends = row.message.session.intervals.ends",
    },
    "none": {
        # The last one had an id, and its session's rise, so this one is taken to be the same:
        # `get` costs twice as much. Where it is not, reading or comparing raises.
        "one_begin": "nonlocal named",
        "named": (
            # Nothing else in JSON compares with a string: it raises, and goes the long way.
            "if named:\n"
            "    event_id = {event}[{id}]\n"
            "    if (\n"
            "        event_id > ids.top\n"
            "        {is_text}\n"
            "        {others}\n"
            "    ):\n"
            "        fresh.append(\"\" + {whole}[{text}])\n"
            "        ids.top = event_id\n"
            "        ids.rising.append(event_id)\n"
            "        {calm}:\n"
            "            return ACCEPTED\n"
            "    else:\n"
            "        row = None"
        ),
        "one": "",
        "if_": "elif",
        "one_missed": "if named:\n    named = False\n    return ingest(wire)",
        "one_fits": (
            "and ((event_id := {event}.get({id})) is None or (type(event_id) is str and event_id\n"
            "    and (ids.top is None or event_id > ids.top)\n"
            "    and event_id not in ids.young and event_id not in ids.old))"
        ),
        "one_mark": (
            "if event_id is not None:\n"
            "    ids.add(event_id)\n"
            "    named = ids.top is not None"
        ),
        "no_run": " or ids.top is None",
        "many_begin": "own_ids = ids\ntop, rising = ids.top, ids.rising",
        "many": "event_id = {event}[{id}]",
        "many_fits": "and event_id > top",
        "many_mark": "top = event_id\nrising.append(event_id)",
        "many_end": "own_ids.top = top\nrow.calm()",
    },
}  # fmt: skip
# All deltas of a run have an id, or none has: asking each for one it may lack costs twice a look.
_UNNAMED = {"many": "", "many_fits": "and {id} not in {event}", "many_mark": ""}
# Without ids that are unique nothing is read of them.
_MODES["alone"] = {"one": "", "one_fits": "", "one_mark": "", "many_begin": "", "many": ""}
_MODES["alone"] |= {"many_fits": "", "many_mark": "", "many_end": "row.calm()"}


def door(
    shapes: Sequence[DeltaShape],
    mode: Sequencing,
    *,
    hot: HotTable,
    wake: Callable[[BlockRow], None],
    merge: Callable[[BlockRow], None],
    slow: Ingest,
    wrapped: bool = False,
) -> Door:
    """The functions through which a stream takes wire objects in.

    Args:
        shapes: of the deltas of a protocol; those of the first one cost the least.
        wrapped: and of these, those that come in their envelope.
        hot: the blocks that the stream delivers in order.
        wake: told of a row that had nothing waiting.
        merge: told of a row in which as much waits as may wait in single pieces.
        slow: the long way.
    """

    def made(shape: DeltaShape, inside: bool, otherwise: Ingest) -> _Made:
        # Where other events of the protocol have a seq, its deltas may have none.
        counts = shape.seq or mode not in ("session", "sparse")
        return _compiled(shape, mode if counts else "none", inside)(hot, wake, merge, otherwise)

    forms: dict[str | None, tuple[DeltaShape, bool]]
    forms = {shape.type: (shape, False) for shape in shapes}
    if shapes[0].envelope:
        forms[None] = shapes[0], True  # what is in an envelope has no type of its own
    first = forms.pop(None if wrapped else shapes[0].type)
    others = {kind: made(*form, slow) for kind, form in forms.items()}
    ways = {kind: other[0] for kind, other in others.items()}

    def elsewhere(wire: Any) -> Verdict:
        try:
            way = ways.get(wire.get("type"), slow)
        except (AttributeError, TypeError):
            way = slow
        return way(wire)

    usual = made(*first, elsewhere if others else slow)
    all_ = [usual, *others.values()]

    def release() -> None:
        for _, _, _, each in all_:
            each()

    def all_taken() -> int:
        return sum(each() for _, _, each, _ in all_)

    hot.release = release if others else usual[3]
    return Door(usual[0], usual[1], all_taken if others else usual[2])


def _numbered(prefix: str, block: Any) -> int | str:
    """The index of a block that has a number on the wire."""
    if type(block) is not int:
        raise TypeError(block)
    return f"{prefix}{block}" if prefix else block


def _members(shape: DeltaShape, mode: Sequencing) -> set[str]:
    names = {shape.session, shape.message, shape.block, shape.text}
    if shape.seq and mode != "none":
        names.add(shape.seq)
    if shape.field_always:
        names.add(shape.field)
    if not shape.body:
        names.add("type")
    return names


def _spare(shape: DeltaShape, mode: Sequencing) -> dict[str, str]:
    """By member that a delta may have: what it must be, as it must be for the long way, too."""
    a_number = f"value is None or value.__class__ is int and 0 <= value <= {MAX_NUMBER}"
    spare = dict.fromkeys(shape.spare, a_number)
    if shape.seq and mode == "none":
        spare[shape.seq] = a_number
    if shape.field and not shape.field_always:
        spare[shape.field] = "value == field"
    if shape.id and not shape.body:
        # In `none` it is looked at beside.
        an_id = "value is None or value.__class__ is str and value"
        spare[shape.id] = "True" if mode == "none" else an_id
    return spare


@cache
def _compiled(shape: DeltaShape, mode: Sequencing, wrapped: bool) -> Callable[..., _Made]:
    alone = mode == "none" and not shape.id
    parts = dict.fromkeys(("one_begin", "one_missed", "no_run", "adopted"), "")
    parts |= {
        "named": "",
        "if_": "if",
        "calm": "for _ in row.credit",
        **_MODES["alone" if alone else mode],
    }
    parts["event"] = event = "inner" if wrapped else "wire"
    parts["whole"] = whole = "body" if shape.body else event
    body = [f"inner = wire[{shape.envelope!r}]"] if wrapped else []
    body += [f"body = {event}[{shape.body!r}]"] if shape.body else []
    parts["body"] = "\n".join(body)
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
    parts["of"] = repr(shape.of_field)
    parts["at"], parts["index"] = "block", "block"
    if shape.block_is_id:
        parts["at"] = f"{shape.prefix!r} + block"  # what is no string raises
    elif shape.block_is_number:
        parts["at"] = f"numbered({shape.prefix!r}, block)"
    if shape.field:
        parts["of"] = "body[{field}]" if shape.field_always else 'body.get({field}, "text")'
    parts["is_text"] = "and {whole}[{field}] == field" if shape.field_always else ""
    size = len(_members(shape, mode))
    parts |= {"size": str(size), "other_size": str(size if shape.field_always else -1)}
    parts["spare"] = "\n".join(
        f"if {name!r} in body:\n"
        f"    value = body[{name!r}]\n"
        f"    if not ({fits}):\n        return False\n"
        f"    more -= 1"
        + ('\nelif field != "text":\n    return False' if name == shape.field else "")
        for name, fits in _spare(shape, mode).items()
    )
    others = "" if shape.others_ignored else f"and (len({whole}) == size or plain({whole}))"
    if shape.never:
        others += f"\nand {shape.never!r} not in {event}"
    if wrapped:
        others += '\nand "type" not in wire'  # with one, that is the event
    parts["others"] = others
    for name in ("type", "session", "message", "block", "text", "seq", "id", "field"):
        parts[name] = repr(getattr(shape, name))
    parts["named"] = _fill(parts["named"], **parts)
    run = _fill(_RUN, **parts)
    if mode == "none" and not alone:
        unnamed = indent(_fill(_RUN, **{**parts, **_UNNAMED}), "    ")
        an_event = "type(wire) is dict"
        if wrapped:
            an_event += f" and type(inner := wire.get({shape.envelope!r})) is dict"
        run = f"if {an_event} and {{id}} in {event}:\n{indent(run, '    ')}\nelse:\n{unnamed}"
    parts["run"] = run
    source = _fill(_fill(_MODULE, **parts), **parts)
    scope: dict[str, Any] = {
        "ACCEPTED": ACCEPTED,
        "ONE": 1,
        "MINUS_ONE": -1,
        "one_by_one": one_by_one,
        "numbered": _numbered,
    }
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
