"""What a chunk does to the messages of its choices: parts that begin, go on and end.

What is remembered of the completion and of its choices is changed with it. Knows choices as they
were read, and what their chunk says beside them; neither how a chunk is read, nor which completion
it is of, nor a stream.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence

from ...errors import ProtocolStopped
from ...events import (
    BlockClosed,
    BlockDelta,
    BlockOpened,
    BlockUpdated,
    Event,
    MessageClosed,
    MessageReset,
    MessageUpdated,
    SessionError,
)
from ...model import thaw
from ..members import Members
from .chunks import (
    ANNOTATIONS,
    CALLS,
    CHOICE_READ,
    KNOWN,
    LOGPROBS,
    READ,
    REASONED,
    TEXTS,
    Choice,
    Fragment,
    Piece,
    error_of,
    is_empty,
)
from .memory import EMPTY_MEMBERS, choice_id, new_choice

#: Reasons to finish that leave a call as far as it came, and those that say that all of it came:
#: words that servers have of their own prove neither.
_CUT = ("length", "content_filter", "error")
_DONE = ("stop", "tool_calls", "function_call")
#: What vLLM sends behind arguments where it lost them, and others before them.
_NOTHING = "{}"
_DATA_ORDER = 2.5
_FUNCTION_ORDER = 3
_TOOL_ORDER = 4


def refuse_as_client(record: Members | None, choices: Sequence[Choice]) -> None:
    """Stop where the official client does: it finds choices and calls by their place in a list.

    Raises:
        ProtocolStopped: a choice or a tool call comes before its predecessor, or has no function.
    """
    known = set(record["choices"]) if record is not None else set()
    for choice in choices:
        key = str(choice.place)
        if record is None and choice.place >= len(choices):
            raise ProtocolStopped(f"choice {choice.place} in a first chunk of {len(choices)}")
        if key not in known:
            if record is not None and choice.place != len(known):
                raise ProtocolStopped(f"choice {choice.place} comes before choice {len(known)}")
            known.add(key)
        before = record["choices"].get(key) if record is not None else None
        calls = set(before["at"]) if before is not None else set()
        for call in choice.calls:
            if call.place is None or call.place > len(calls):
                raise ProtocolStopped(f"tool call {call.place} comes before {len(calls)}")
            calls.add(str(call.place))
            custom = call.wire.get("type") not in (None, "function")
            if not isinstance(call.wire.get("function"), dict) and not custom:
                raise ProtocolStopped(f"tool call {call.place} has no function")


def apply(
    completion: str,
    record: Members,
    wire: Members,
    choices: Sequence[Choice],
    begins: bool,
    whole: bool,
    told: list[int],
) -> list[Event]:
    """The events of a chunk that was read, and what to remember of it. Raises nothing.

    `told`: the choices whose own error was told, also before a replay.
    """
    head = _head(record, wire, choices, begins, whole)
    events: list[Event] = []
    if not any(choice.place == 0 for choice in choices):
        events += _opening(record, completion, 0, "", head, record["head"])
        record["head"] = True
    for choice in choices:
        key = str(choice.place)
        message_id = choice_id(completion, choice.place)
        known: Members | None = record["choices"].get(key)
        info: Members = {}
        if choice.place == 0:
            info, head = head, {}
        made = known is not None
        if known is None:
            known = record["choices"][key] = new_choice({})
            if choice.place == 0 and record.get("failed"):
                known["closed"] = "error"
        role = _first(known, choice, info, made)
        flags = _flags(known)
        known["fresh"] = []
        blocks, called = _parts(known, choice, message_id, info)
        if not whole:
            follow(known, choice, called, made)
            if _flags(known) != flags:
                info["wire"] = _flags(known)
        ends = _ends(known, choice, message_id, whole, told)
        if choice.place:
            info.update({} if made else {"completionId": completion})
            opened = made
        else:
            opened, record["head"] = record["head"], True
        events += _opening(record, completion, choice.place, role, info, opened)
        if len(blocks) > 1 and not events:
            # The refusal of one part, say a removed one, must not take the others with it.
            events.append(MessageUpdated(message_id=message_id))
        events += blocks
        events += ends
    return events


def _head(
    record: Members, wire: Members, choices: Sequence[Choice], begins: bool, whole: bool
) -> Members:
    """Info of the completion itself: what its first chunk says, the last usage and moderation."""
    info: Members = {}
    usage, fingerprint = wire.get("usage"), wire.get("system_fingerprint")
    if begins:
        info["completion"] = {name: thaw(v) for name, v in wire.items() if name not in READ}
        told = ("usage", "system_fingerprint") if whole else ("usage",)
        info.update({name: thaw(wire[name]) for name in told if name in wire})
        if not whole:
            info["system_fingerprint"] = thaw(fingerprint)
    else:
        if usage is not None or record["usage"] or not record["more"]:
            info["usage"] = thaw(usage)
        if fingerprint != record["fingerprint"] or not record["more"]:
            info["system_fingerprint"] = thaw(fingerprint)
        record["more"] = True
        if wire.get("moderation") is not None:
            info["moderation"] = thaw(wire["moderation"])
        if not choices or usage is not None or any(choice.finish for choice in choices):
            rest = {
                name: thaw(v) for name, v in wire.items() if name not in KNOWN and v is not None
            }
            if rest:
                info["completionEnd"] = rest
    record["usage"], record["fingerprint"] = usage is not None, thaw(fingerprint)
    return info


def _opening(
    record: Members, completion: str, index: int, role: str, info: Members, opened: bool
) -> list[Event]:
    """The update that begins a message, or says what is new of it; none for nothing new."""
    message_id = choice_id(completion, index)
    if opened:
        if not info and not role:
            return []
        return [MessageUpdated(message_id=message_id, info=info, role=role or None)]
    order = record["order"]
    if order is not None and index:
        order += index / (index + 1)  # behind its siblings, before the next completion
    whole = record["fresh"]
    begun = MessageUpdated(
        message_id=message_id, info=info, role=role or "assistant", order=order, whole=whole
    )
    return [begun, MessageReset(message_id=message_id)] if whole else [begun]


def _first(known: Members, choice: Choice, info: Members, made: bool) -> str:
    """What a choice's first chunk says, and its last; the role where it is new."""
    told: Members = known["choice"]
    before = dict(told)
    if not made or choice.finish:
        extras = {name: thaw(v) for name, v in choice.wire.items() if name not in CHOICE_READ}
        if not made:
            told.update(extras, index=choice.place)
            if "finish_reason" in choice.wire:
                told["finish_reason"] = choice.wire["finish_reason"]
        elif any(value is not None and told.get(n) != value for n, value in extras.items()):
            info["choiceEnd"] = extras
        if choice.finish:
            told["finish_reason"] = choice.finish
    _note_logprobs(told, choice, made)
    if told != before:
        info["choice"] = thaw(told)
    if choice.role and not known["delta"].get("role"):
        known["delta"]["role"] = choice.role
        info["delta"] = dict(known["delta"])
        return choice.role
    return ""


def _note_logprobs(told: Members, choice: Choice, made: bool) -> None:
    """Which lists of log probabilities there are; the tokens themselves are parts."""
    logprobs = choice.logprobs
    if logprobs is None:
        if not made and "logprobs" in choice.wire:
            told["logprobs"] = None
        return
    if told.get("logprobs") is None:
        names: Iterable[str] = LOGPROBS if made else logprobs
        told["logprobs"] = {
            name: [] if name in choice.tokens else thaw(logprobs.get(name)) for name in names
        }


def _parts(
    known: Members, choice: Choice, message_id: str, info: Members
) -> tuple[list[Event], list[str]]:
    """The events of a choice's parts, in the order of the delta's members; blocks of its calls."""
    events: list[Event] = []
    empty: Members = {}
    for name, value in choice.delta.items():
        if name == "content":
            for piece in choice.pieces:
                events += _piece(known, message_id, piece)
            if choice.pieces and name not in choice.lines:
                continue
        if name == "role":
            if value is None and "role" not in known["delta"]:
                empty[name] = None
        elif name in CALLS and not is_empty(value):
            continue  # below: behind the texts
        elif is_empty(value):
            if name not in known["texts"] and f"delta:{name}" not in known["blocks"]:
                there = known["delta"].get(name)
                if name not in known["delta"] or (there is None and value is not None):
                    empty[name] = thaw(value)
        elif name in choice.lines:
            block = f"delta:{name}"
            events += _open(known, message_id, block, "data", _DATA_ORDER)
            events.append(text_delta(message_id, block, choice.lines[name], "json"))
        elif name == ANNOTATIONS and not isinstance(value, str):
            for item in value:
                block = f"annotation:{known['sources']}"
                known["sources"] += 1
                events += _open(
                    known, message_id, block, "source", _DATA_ORDER, _source_fields(item)
                )
        else:
            block = known["texts"].get(name)
            if block is None:
                own = name in TEXTS and not _mirrors(known, choice.delta, name)
                block = known["texts"][name] = name if own else f"delta:{name}"
            kind, order = TEXTS.get(block, ("data", _DATA_ORDER))
            events += _open(known, message_id, block, kind, order)
            events.append(text_delta(message_id, block, value))
    for name in list(empty)[: max(0, EMPTY_MEMBERS - len(known["delta"]))]:
        known["delta"][name] = empty[name]
        info["delta"] = dict(known["delta"])
    for name, lines in choice.tokens.items():
        if lines:
            block = f"logprobs:{name}"
            events += _open(known, message_id, block, "data", _DATA_ORDER)
            events.append(text_delta(message_id, block, lines, "json"))
    if choice.function is not None:
        events += _call(known, message_id, "function_call", choice.function, _FUNCTION_ORDER)
    called = []
    for fragment in choice.calls:
        block, order = _call_of(known, fragment)
        events += _call(known, message_id, block, fragment, order)
        called.append(block)
    return events, called


def _piece(known: Members, message_id: str, piece: Piece) -> list[Event]:
    """The events of a typed piece of content: it opens its part, says what is new, adds a text."""
    block = piece.block
    if block == "content":
        known["texts"][block] = block
    kind, order = TEXTS.get(block, TEXTS["thinking"])
    pieces: dict[str, Members] = known.setdefault("pieces", {})
    before = pieces.get(block)
    wire = {**(before or {}), **piece.wire}
    if before is not None and block == REASONED:
        wire["summary"] = [{**before["summary"][0], **wire["summary"][0]}]
    pieces[block] = wire
    fields = {"wire": thaw(wire)} if wire != before else {}
    events = _open(known, message_id, block, kind, order, fields)
    if fields and not events:
        events.append(BlockUpdated(message_id=message_id, block_index=block, fields=fields))
    if piece.text:
        events.append(text_delta(message_id, block, piece.text))
    return events


def _mirrors(known: Members, delta: Members, name: str) -> bool:
    """Whether a reasoning member begins as another one that is shown, with the same text."""
    return TEXTS[name][0] == "reasoning" and any(
        known["texts"].get(other) == other and delta.get(other) == delta[name]
        for other, (kind, _) in TEXTS.items()
        if kind == "reasoning"
    )


def _open(
    known: Members,
    message_id: str,
    block: str,
    kind: str,
    order: float,
    fields: Members | None = None,
) -> list[Event]:
    """Open a block unless it was; one that comes after the end is settled with its message."""
    if block in known["blocks"]:
        return []
    known["blocks"][block] = True
    opened = BlockOpened(
        message_id=message_id, block_index=block, kind=kind, order=order, fields=fields or {}
    )
    return [opened]


def text_delta(message_id: str, block: str, text: str, field: str = "text") -> Event:
    """Text for a field of a part."""
    return BlockDelta(message_id=message_id, block_index=block, text=text, field=field)


def _source_fields(item: Members) -> Members:
    """An annotation as it came, with the address and title of a citation where one reads them."""
    citation = item.get("url_citation")
    told = citation if isinstance(citation, dict) else {}
    return {"wire": item, **{name: told[name] for name in ("url", "title") if name in told}}


def _call_of(known: Members, fragment: Fragment) -> tuple[str, float]:
    """The block of the call that a fragment is of, and its place; see the file's rules."""
    at, ids = known["at"], known["ids"]
    index = fragment.place
    if index is None:  # some servers number nothing: a name begins the next call
        begins = fragment.name and fragment.id not in ids
        if known["last"] is not None and not begins:
            index = int(known["last"])
        else:
            index = max((int(key) for key in at), default=-1) + 1
    key = known["last"] = str(index)
    block: str | None = ids.get(fragment.id)
    if block is None:
        block = at.get(key)
        if block is not None and fragment.name:
            call = known["calls"][block]
            if fragment.id and call["wire"].get("id"):  # it has another id already
                block = None
            elif call["from"] is not None:  # no piece of a name comes behind the input
                name = _call_fields(call["wire"]).get("tool", fragment.name)
                block = block if name == fragment.name and not _is_next(call, fragment) else None
    if block is None:
        number = sum(name.startswith(f"tool:{index}.") for name in known["calls"])
        first = f"tool:{index}"
        block = first if first not in known["calls"] else f"{first}.{number + 1}"
    at[key] = block
    if fragment.id:
        ids.setdefault(fragment.id, block)
    of, _, number_of = block.removeprefix("tool:").partition(".")
    after = int(number_of or 0)
    return block, _TOOL_ORDER + int(of) + (after / (after + 1) if after else 0)


def _call(
    known: Members, message_id: str, block: str, fragment: Fragment, order: float
) -> list[Event]:
    calls: dict[str, Members] = known["calls"]
    events: list[Event] = []
    if block not in calls:
        calls[block] = {"wire": fragment.wire, "from": None}
        fields = {**_call_fields(fragment.wire), "state": {"status": "pending"}}
        events += _open(known, message_id, block, "tool", order, fields)
        known["fresh"] = [*known["fresh"], block]
    else:
        wire = calls[block]["wire"]
        before = _call_fields(wire)
        if _fill(wire, fragment.wire):
            after = _call_fields(wire)
            fields = {name: value for name, value in after.items() if value != before.get(name)}
            events.append(BlockUpdated(message_id=message_id, block_index=block, fields=fields))
    if fragment.text:
        # Where a call comes under two indexes, only one of them brings its input.
        source = known["last"] if block != "function_call" else ""
        call = calls[block]
        first, whole = call["from"] is None, call.get("whole")
        if whole == fragment.text:
            return events  # nothing comes behind a whole object: some servers send it again
        if first and fragment.text.isspace():  # they have not begun
            events.append(text_delta(message_id, block, fragment.text, "input"))
            return events
        if first:
            call["from"] = source
        if call["from"] != source:
            return events
        call.pop("again", None)
        held = call.pop("held", "")
        is_whole = "custom" not in call["wire"] and _is_object(fragment.text)
        if is_whole and not first and fragment.text == _NOTHING:
            call["held"] = fragment.text  # more may follow, else it was no part of them
            if held:
                events.append(text_delta(message_id, block, held, "input"))
            return events
        if whole is not None and fragment.text[0] == "{" and not whole.strip("{} \t\r\n"):
            # What the call began with stood for nothing yet: its arguments come now.
            del call["whole"]
            first = True
            events.append(_input(message_id, block, fragment.text))
        else:
            events.append(text_delta(message_id, block, held + fragment.text, "input"))
        if is_whole and first:
            call["whole"] = fragment.text
        elif is_whole:
            call["again"] = fragment.text
    return events


def _input(message_id: str, block: str, text: str) -> Event:
    """All of the arguments of a call, in the place of what came of them."""
    return BlockUpdated(message_id=message_id, block_index=block, fields={"input": text})


def _said_again(known: Members, message_id: str) -> list[Event]:
    """Arguments that came in pieces and, at their end, as a whole object: they are that object.

    Whatever stands before it, no JSON ends with a whole object inside another value; so an empty
    one at the end is none of them. Not where the answer may have been cut, behind a part of them.
    """
    finish = known["choice"].get("finish_reason")
    if finish in _DONE:  # what is held stays so: there are servers that say this in each chunk
        return [
            _input(message_id, block, call.pop("again"))
            for block, call in known["calls"].items()
            if "again" in call
        ]
    return held_back(known, message_id) if finish else []


def held_back(known: Members, message_id: str) -> list[Event]:
    """What was held back of arguments, where nothing will say that it is none of them."""
    return [
        text_delta(message_id, block, call.pop("held"), "input")
        for block, call in known["calls"].items()
        if "held" in call
    ]


def _is_next(call: Members, fragment: Fragment) -> bool:
    """Whether a fragment that names a known call's function brings other arguments, all of them."""
    whole = call.get("whole")
    if whole is None or fragment.id or fragment.text == whole:
        return False
    return _is_object(fragment.text)


def _is_object(text: str) -> bool:
    """Whether a text is a JSON object from its first character to its last."""
    if text[:1] != "{" or text[-1:] != "}":
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _call_fields(wire: Members) -> Members:
    """Part fields of a call: its name, its id, and all of it but the input as it came."""
    fields: Members = {"wire": thaw(wire)}
    named = next(
        (wire[name] for name in ("function", "custom") if isinstance(wire.get(name), dict)), wire
    )
    if named.get("name"):
        fields["tool"] = named["name"]
    if wire.get("id"):
        fields["callId"] = wire["id"]
    return fields


def _fill(known: Members, given: Members) -> bool:
    """Take what was absent, null or empty so far: the first value holds. Whether there was any."""
    changed = False
    for name, value in given.items():
        there = known.get(name)
        if isinstance(there, dict) and isinstance(value, dict):
            changed |= _fill(there, value)
        elif name not in known or (there in (None, "") and value not in (None, "")):
            known[name] = value
            changed = True
    return changed


def follow(known: Members, choice: Choice, called: Sequence[str], made: bool) -> None:
    """Follow what the official client's snapshot says beside the wire, for info `wire`.

    - `merged`: a second chunk came, so that every member of the message is there, most as null;
    - `parsed`: this chunk ended the content, so that the message has `parsed`: null;
    - `fresh`: blocks of calls that came with this chunk, and have no `parsed_arguments` yet.
    """
    known["merged"] = known["merged"] or made
    known["parsed"] = False
    ends = bool(known["closed"] or choice.finish)
    for block in called:
        if known["tool"] != block:
            ends = True
            known["fresh"] = [one for one in known["fresh"] if one != known["tool"]]
            known["tool"] = block
    if ends and "content" in known["texts"] and not known["done"]:
        known["done"] = known["parsed"] = True


def _flags(known: Members) -> Members:
    flags = {name: known[name] for name in ("merged", "parsed", "fresh") if known[name]}
    return thaw(flags)  # type: ignore[no-any-return]


def _ends(
    known: Members, choice: Choice, message_id: str, whole: bool, told: list[int]
) -> list[Event]:
    """What the end of a choice says: its parts are closed, its calls are to be run."""
    events = _said_again(known, message_id)
    if not choice.finish and not whole:
        return events
    called = choice.finish not in _CUT
    for block, is_open in known["blocks"].items():
        if is_open:
            known["blocks"][block] = False
            if called and block in known["calls"]:
                fields = {"state": {"status": "running"}}
                events.append(BlockUpdated(message_id=message_id, block_index=block, fields=fields))
            events.append(BlockClosed(message_id=message_id, block_index=block))
    status = "error" if choice.finish == "error" else "completed"
    if known["closed"] not in (status, "error"):
        known["closed"] = status
        error = choice.wire.get("error") if status == "error" else None
        found = error_of(error) if error else None
        events.append(MessageClosed(message_id=message_id, status=status, error=found))
        if found is not None and choice.place not in told:
            told.append(choice.place)
            events.append(SessionError(error=found))
    return events
