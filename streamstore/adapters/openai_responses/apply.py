"""What the events of an OpenAI response do to its items and their parts: canonical events.

An event here has its place, `Here`: its response began, its number and seq are known, it was not
taken in before. What is remembered stands in the entry of that place, nothing in an object of this
file; a handler that raises has changed nothing. Knows no lane, no lifecycle event and no other
response.

Sources: the accumulator of the published Python SDK (3.57.0), and reports about other servers (no
item events, no indexes).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

from ...errors import ProtocolStopped
from ...events import (
    BlockDelta,
    BlockEvent,
    BlockOpened,
    BlockReplaced,
    BlockUpdated,
    Event,
    MessageUpdated,
    PermissionAsked,
    PermissionReplied,
)
from ...keys import PartKey, hot_key, is_id
from ...model import TOOL_RANKS
from ..members import Members, a_number, a_string, an_id, an_object, are_objects, objects
from .items import (
    ANNOTATIONS,
    DIFF,
    WIRE,
    answer_of,
    answered,
    commands_of,
    diff_of,
    input_of,
    item_kind,
    order_of,
    part_kind,
    printed_of,
    tool_name,
    tool_state,
)
from .memory import (
    STEPS,
    Entry,
    Here,
    announced_type,
    check_done,
    is_another,
    look_again,
    may_hold,
    placed,
)
from .schema import INPUT, NOTHING, PROGRESS, TEXTS, WHOLE, Text, said

#: A text that refuses, an image as far as there is one; the part that has a response's sound.
_REFUSAL, _PREVIEW, _AUDIO = "refusal", "partialImage", "audio"

#: The events of a wire object in its place.
Handler: TypeAlias = Callable[["Output", Members, Here], list[Event]]


class Output:
    """The output of a session's responses; `HANDLERS` are its methods, by event type.

    Args:
        session_id: the session.
        strict: refuse what the SDK's accumulator refuses.
    """

    def __init__(self, session_id: str, strict: bool) -> None:
        self._session = session_id
        self._strict = strict

    def put(
        self, here: Here, response: Members, output: list[Members], final: bool
    ) -> tuple[Members, list[Event]]:
        """Take a response's own list of items in: the message's info, the events of its parts."""
        info = {name: value for name, value in response.items() if name != "output"}
        events: list[Event] = []
        results = {
            item["call_id"]: item
            for item in output
            if is_id(item.get("call_id")) and item["type"].endswith("_output")
        }
        for place, item in placed(here.entry["items"], output):
            more, found = self._put_item(here, place, item, final, results)
            info.update(more)
            events += found
        return info, events

    # -- items ---------------------------------------------------------------------------------

    def _item_added(self, wire: Members, here: Here) -> list[Event]:
        if wire.get("item") is None:
            return []  # an index without an item
        return self._item(wire, here, final=False)

    def _item_done(self, wire: Members, here: Here) -> list[Event]:
        return self._item(wire, here, final=True)

    def _item(self, wire: Members, here: Here, final: bool) -> list[Event]:
        item = an_object(wire, "item")
        an_id(item, "type", "item")
        place = self._place(wire, here.entry, item.get("id"), new=not final)
        known = here.entry["items"].get(str(place), {})
        if not (final or self._strict) and is_another(known, item):
            place = self._move(wire, here.entry)
            known = {}
        elif (final or not known.get("added")) and not (
            self._strict or may_hold(known, item["type"])
        ):
            place = self._apart(wire, here.entry, item.get("id"), item["type"])
            known = here.entry["items"].get(str(place), {})
        if self._strict:
            if not final and known.get("added"):
                raise ProtocolStopped(f"duplicate response output index {place}")
            if final:
                check_done(here.entry["items"], place, known, item)
        if not final and known.get("done") and here.seq is None:
            return []
        info, events = self._put_item(here, place, item, final, {})
        _note_index(here.entry["items"][str(place)], wire, place)
        if info:
            updated = MessageUpdated(message_id=here.message, info=info, seq=here.seq)
            events.insert(0, updated)
        if is_id(item.get("call_id")):
            events += self._answer(here, place, item, final)
        return events

    def _put_item(
        self,
        here: Here,
        place: int,
        item: Members,
        final: bool,
        results: Mapping[str, Members],
    ) -> tuple[Members, list[Event]]:
        """Take an item in: what the message's info says of it, and the events of its parts."""
        memory: Members = here.entry["items"].setdefault(str(place), {})
        late = memory.get("done", False) and not final
        if not final:
            memory["added"] = True
        if not late or self._strict:
            if memory.get("type", item["type"]) != item["type"]:
                look_again(here.entry)  # a strict stream has to refuse what does not fit any more
            memory.pop("guessed", None)
            for name, member in (("id", "id"), ("type", "type"), ("call", "call_id")):
                if is_id(item.get(member)):
                    memory[name] = item[member]
            if final:
                memory["done"] = True
        if item["type"] not in ("message", "reasoning"):
            return {}, self._put_own(here, place, memory, item, final, results)
        if final:
            item = _as_streamed(item, memory.get("parts", {}))
        skeleton = dict(item)
        events: list[Event] = []
        for name in ("summary", "content"):
            parts: Any = item.get(name)
            if are_objects(parts):
                skeleton[name] = []
                indexes = _indexes(name, len(parts), memory) if final else range(len(parts))
                events += [
                    self._put_part(here, place, memory, (name, index), part, final)
                    for index, part in zip(indexes, parts, strict=True)
                ]
        return {f"output/{place}": skeleton}, events

    def _put_own(
        self,
        here: Here,
        place: int,
        memory: Members,
        item: Members,
        final: bool,
        results: Mapping[str, Members],
    ) -> list[Event]:
        """Take in an item that is a part of its own."""
        kind = item_kind(item["type"])
        wire = dict(item)
        fields: Members = {WIRE: wire}
        if final:
            _forget_plain(here, place, "output", place)
        if kind == "tool":
            member = INPUT.get(item["type"], "")
            if type(item.get(member)) is str:
                del wire[member]
                if item[member] or final:
                    fields["input"] = item[member]
            name = item.get("name")
            fields["tool"] = name if is_id(name) else tool_name(item["type"])
            call = item.get("call_id")
            call = call if is_id(call) else item.get("id")
            if is_id(call):
                fields["callId"] = call
            state = tool_state(item, final, results.get(str(item.get("call_id"))))
            if not (memory.get("done") and not final):
                memory["state"] = state
            fields["state"] = state
        if final and memory.get("commands"):
            # All of them: where one was streamed, the others' events may be lost.
            for index, command in enumerate(commands_of(item)):
                fields[f"command/{index}"] = command
        if final and memory.get(DIFF) and diff_of(item) is not None:
            fields[DIFF] = diff_of(item)
        if final and memory.get("printed"):
            chunks: Any = item.get("output")
            if are_objects(chunks) and len(chunks) == memory["printed"]:
                for index, chunk in enumerate(chunks):
                    fields |= printed_of(index, [chunk])
        if final and memory.pop("preview", False):
            fields[_PREVIEW] = None
        parts = memory.setdefault("parts", {})
        known = parts.setdefault("", {"kind": kind})
        shared = {
            "message_id": here.message,
            "block_index": str(place),
            "kind": known["kind"],
            "order": order_of(place, "", 0),
            "fields": fields,
            "seq": here.seq,
        }
        if not final:
            return [BlockOpened(**shared), *_permissions(here.message, item)]
        member = INPUT.get(item["type"], "")
        whole = here.seq is None and (not member or type(item.get(member)) is str)
        # A text says that nothing is missing any more, as a number does where there is one.
        put = BlockReplaced(text="" if whole else None, status="closed", **shared)
        return [put, *_permissions(here.message, item)]

    def _put_part(
        self,
        here: Here,
        place: int,
        memory: Members,
        where: tuple[str, int],
        part: Members,
        final: bool,
    ) -> Event:
        """Take in one part of a message or of reasoning."""
        name = f"{where[0]}/{where[1]}"
        type_ = said(part, "type") or ""
        member = WHOLE.get(type_, "text")
        wire = dict(part)
        text = wire.pop(member) if type(part.get(member)) is str else None
        fields: Members = {WIRE: wire}
        if isinstance(part.get(ANNOTATIONS), list):
            fields[ANNOTATIONS] = wire.pop(ANNOTATIONS)
        if type_ == "refusal":
            fields[_REFUSAL] = True
        parts: dict[str, Members] = memory.setdefault("parts", {})
        known = parts.get(name)
        if known is None:
            kind = part_kind(where[0], type_, memory.get("type"), text)
            known = parts[name] = {"type": type_, "kind": kind}
        elif known.pop("implied", False):
            if known["type"] != type_:
                look_again(here.entry)
            known["type"] = type_
        if not final:
            if where[0] == "content" and not known.get("added"):  # else it is only told again
                memory["last"] = [where[1], here.seq]
                memory.pop("counts", None)  # this server says which part it means
                known.pop("begun", None)
            known["added"] = True
        if final:
            known["done"] = True
            known.pop(ANNOTATIONS, None)
            _forget_plain(here, place, *where)
        elif ANNOTATIONS in fields and not known.get("done"):
            listed = {str(number): value for number, value in enumerate(fields[ANNOTATIONS])}
            listed.update(known.get(ANNOTATIONS, {}))  # this opening may be the late one
            if listed:
                known[ANNOTATIONS] = listed
                fields[ANNOTATIONS] = _listed(listed)
        shared = {
            "message_id": here.message,
            "block_index": f"{place}/{name}",
            "kind": known["kind"],
            "order": _order(memory, place, where),
            "fields": fields,
            "seq": here.seq,
        }
        if not final and not text:
            return BlockOpened(**shared)
        return BlockReplaced(text=text, status="closed" if final else "open", **shared)

    def _answer(self, here: Here, place: int, item: Members, final: bool) -> list[Event]:
        """What the result of a call of the same response says of that call, whichever came last.

        Without a seq: it is made of two items, and neither one's place says when both are there.
        """
        items = here.entry["items"]
        if item["type"].endswith("_output") and (final or not items[str(place)].get("done")):
            items[str(place)]["answer"] = answer_of(item)
        of_call = {
            key: memory for key, memory in items.items() if memory.get("call") == item["call_id"]
        }
        answers = [memory for memory in of_call.values() if "answer" in memory]
        asked = next((key for key, memory in of_call.items() if "state" in memory), None)
        if not answers or asked is None:
            return []
        call = items[asked]
        for memory in answers:
            call["state"] = answered(call["state"], memory["answer"])
            if call.get("done"):
                del memory["answer"]  # nothing comes of the call any more that lacks it
        return [
            BlockUpdated(
                message_id=here.message, block_index=asked, fields={"state": call["state"]}
            )
        ]

    # -- parts ---------------------------------------------------------------------------------

    def _part(self, name: str, final: bool, wire: Members, here: Here) -> list[Event]:
        part = an_object(wire, "part")
        type_ = said(part, "type")
        item = "reasoning" if name == "summary" or type_ == "reasoning_text" else "message"
        named = announced_type(here.entry, wire.get("item_id")) if name == "content" else None
        if named is not None:
            item = named  # whatever the part is: vLLM announces that of reasoning as a text
        guessed = named is None and name == "content" and type_ not in WHOLE
        place = self._place(wire, here.entry, wire.get("item_id"), "" if guessed else item)
        index = self._index(wire, name, here.entry, place, new=not final)
        if final:
            index = self._meant(name, index, here, place)
        if self._strict and name == "content" and not final:
            known = self._known_item(here, place)
            if known.get("type") == "message":  # where it is appended, whatever its index says
                index = sum(part.get("added", False) for part in known.get("parts", {}).values())
        memory, implied = self._imply_item(wire, here, place, item)
        if implied and guessed:
            memory["guessed"] = True
        known = memory.get("parts", {}).get(f"{name}/{index}", {})
        if not final and known.get("done") and here.seq is None:
            return []
        return [self._put_part(here, place, memory, (name, index), part, final), *implied]

    def _text_delta(self, text: Text, wire: Members, here: Here) -> list[Event]:
        delta = a_string(wire, "delta")
        place = self._place(wire, here.entry, wire.get("item_id"), text.item)
        where = (text.list, 0)
        counted = False
        if text.list:
            told = self._index(wire, text.list, here.entry, place)
            where = (text.list, self._meant(text.list, told, here, place, text))
            counted = where[1] != told
        if self._strict:
            self._check_text(text, here, place, where)
        implied = self._imply(text, wire, here, place, where)
        if text.list == "content":
            _note_delta(here.entry["items"][str(place)], where[1], here.seq, counted)
        block = f"{place}/{where[0]}/{where[1]}" if text.list else str(place)
        field = "text" if text.list else "input"
        usual = place == wire.get("output_index") and not counted and not here.entry.get("moved")
        if here.seq is not None and here.live is not None and usual:
            memory = here.entry["items"][str(place)]
            key = hot_key(PartKey(self._session, here.message, block), field)
            size, index = 6, where[1]
            if text.list:
                memory = memory["parts"][f"{where[0]}/{where[1]}"]
            else:
                size, index = 5, place
            if not memory.get("done"):
                member = f"{text.list or 'output'}_index"
                keys = here.live.setdefault(wire["type"], (member, size, {}))[2]
                keys.setdefault(place, {})[index] = key
        appended = BlockDelta(
            message_id=here.message, block_index=block, field=field, text=delta, seq=here.seq
        )
        return [appended, *implied]

    def _text_done(self, text: Text, wire: Members, here: Here) -> list[Event]:
        whole = wire.get(text.whole)
        if whole is not None:
            a_string(wire, text.whole)
        place = self._place(wire, here.entry, wire.get("item_id"), text.item)
        if not text.list:
            return self._input_done(text, wire, here, place)
        told = self._index(wire, text.list, here.entry, place)
        where = (text.list, self._meant(text.list, told, here, place))
        if self._strict:
            self._check_text(text, here, place, where)
        implied = self._imply(text, wire, here, place, where)
        known = here.entry["items"][str(place)]["parts"][f"{where[0]}/{where[1]}"]
        known["done"] = True
        _forget_plain(here, place, *where)
        ended = BlockReplaced(
            message_id=here.message,
            block_index=f"{place}/{where[0]}/{where[1]}",
            text=whole,
            status="closed",
            seq=here.seq,
        )
        return [ended, *implied]

    def _input_done(self, text: Text, wire: Members, here: Here, place: int) -> list[Event]:
        implied = self._imply(text, wire, here, place, ("", 0))
        memory = here.entry["items"][str(place)]
        whole = wire.get(text.whole)
        if memory.get("done") and here.seq is None:
            return []
        state = {**memory.get("state", {"status": "pending"})}
        if TOOL_RANKS.get(state["status"], 0) <= TOOL_RANKS["running"]:
            state["status"] = "running"
        fields: Members = {"state": state}
        if whole is not None:
            fields["input"] = whole
            state.update(input_of({text.whole: whole}))
        if is_id(wire.get("name")):
            fields["tool"] = wire["name"]
        if not memory.get("done"):
            memory["state"] = state
        if here.seq is None and whole is not None:
            # Nothing of it is missing, however it began: no number says so.
            block = str(place)
            put = BlockReplaced(message_id=here.message, block_index=block, text="", fields=fields)
            return [put, *implied]
        return [self._updated(here, place, fields), *implied]

    def _annotation(self, wire: Members, here: Here) -> list[Event]:
        number = a_number(wire, "annotation_index")
        place = self._place(wire, here.entry, wire.get("item_id"), "message")
        told = self._index(wire, "content", here.entry, place)
        where = ("content", self._meant("content", told, here, place))
        text = TEXTS["response.output_text"]
        implied = self._imply(text, wire, here, place, where)
        known = here.entry["items"][str(place)]["parts"][f"{where[0]}/{where[1]}"]
        if known.get("done"):
            return []  # its end told them all
        found = known.setdefault(ANNOTATIONS, {})
        found[str(number)] = wire.get("annotation")
        block = f"{place}/{where[0]}/{where[1]}"
        # The list as far as it came, whatever came first: it goes out without a seq.
        added = BlockUpdated(
            message_id=here.message, block_index=block, fields={ANNOTATIONS: _listed(found)}
        )
        if not implied or here.seq is None:
            return [added, *implied]
        # A part of which nothing has a seq yet would count as cut when the stream ends.
        counted = BlockUpdated(message_id=here.message, block_index=block, seq=here.seq)
        return [counted, added, *implied]

    def _progress(self, item: str, status: str, wire: Members, here: Here) -> list[Event]:
        place = self._place(wire, here.entry, wire.get("item_id"), item)
        memory = here.entry["items"].get(str(place), {})
        if memory.get("done"):
            return []
        implied = self._imply(Text(item, "", ""), wire, here, place, ("", 0))
        memory = here.entry["items"][str(place)]
        state = memory.get("state", {"status": "pending"})
        if TOOL_RANKS[status] >= TOOL_RANKS.get(state["status"], 0):
            state = {**state, "status": status}
        memory["state"] = state
        return [self._updated(here, place, {"state": state}), *implied]

    def _preview(self, wire: Members, here: Here) -> list[Event]:
        image = a_string(wire, "partial_image_b64")
        number = wire.get("partial_image_index")
        place = self._place(wire, here.entry, wire.get("item_id"), "image_generation_call")
        if here.entry["items"].get(str(place), {}).get("done"):
            return []
        implied = self._imply(Text("image_generation_call", "", ""), wire, here, place, ("", 0))
        here.entry["items"][str(place)]["preview"] = True
        fields = {_PREVIEW: {"index": number, "b64": image}}
        return [self._updated(here, place, fields), *implied]

    def _command(self, member: str, wire: Members, here: Here) -> list[Event]:
        text = a_string(wire, member)
        number = a_number(wire, "command_index")
        place = self._place(wire, here.entry, wire.get("item_id"))
        implied = self._imply(Text("shell_call", "", ""), wire, here, place, ("", 0))
        memory = here.entry["items"][str(place)]
        memory["commands"] = max(memory.get("commands", 0), number + 1)
        field = f"command/{number}"
        if member == "delta":
            return [self._appended(here, place, field, text, here.seq), *implied]
        if memory.get("done") and here.seq is None:
            return []
        return [self._updated(here, place, {field: text} if text else {}), *implied]

    def _patch(self, member: str, wire: Members, here: Here) -> list[Event]:
        text = a_string(wire, member)
        place = self._place(wire, here.entry, wire.get("item_id"))
        implied = self._imply(Text("apply_patch_call", "", ""), wire, here, place, ("", 0))
        memory = here.entry["items"][str(place)]
        memory[DIFF] = True
        if member == "delta":
            return [self._appended(here, place, DIFF, text, here.seq), *implied]
        if memory.get("done") and here.seq is None:
            return []
        return [self._updated(here, place, {DIFF: text}), *implied]

    def _printed(self, wire: Members, here: Here) -> list[Event]:
        delta = an_object(wire, "delta")
        number = a_number(wire, "command_index")
        texts = [
            (name, a_string(delta, name, "delta"))
            for name in ("stdout", "stderr")
            if delta.get(name) is not None
        ]
        place = self._place(wire, here.entry, wire.get("item_id"))
        implied = self._imply(Text("shell_call_output", "", ""), wire, here, place, ("", 0))
        memory = here.entry["items"][str(place)]
        memory["printed"] = max(memory.get("printed", 0), number + 1)
        appended: list[Event] = [
            self._appended(here, place, f"{name}/{number}", text, here.after(step))
            for step, (name, text) in enumerate(texts)
        ]
        if implied and not appended:  # as above: something of it has the seq
            appended.append(self._updated(here, place, {}))
        return [*appended, *implied]

    def _printed_all(self, wire: Members, here: Here) -> list[Event]:
        output = objects(wire, "output")
        number = a_number(wire, "command_index")
        place = self._place(wire, here.entry, wire.get("item_id"))
        implied = self._imply(Text("shell_call_output", "", ""), wire, here, place, ("", 0))
        fields: Members = {f"output/{number}": output}
        if number < here.entry["items"][str(place)].get("printed", 0):
            fields |= printed_of(number, output)
        return [self._updated(here, place, fields), *implied]

    def _sound(self, field: str, wire: Members, here: Here) -> list[Event]:
        delta = a_string(wire, "delta")
        events: list[Event] = [self._appended(here, _AUDIO, field, delta, here.seq)]
        if not here.entry.get(_AUDIO):
            here.entry[_AUDIO] = True
            wire_part = {WIRE: {"type": _AUDIO}}
            events.append(
                BlockOpened(
                    message_id=here.message, block_index=_AUDIO, kind="data", fields=wire_part
                )
            )
        return events

    def _nothing(self, wire: Members, here: Here) -> list[Event]:
        return []

    def _appended(
        self, here: Here, place: int | str, field: str, text: str, seq: int | None
    ) -> Event:
        return BlockDelta(
            message_id=here.message, block_index=str(place), field=field, text=text, seq=seq
        )

    def _updated(self, here: Here, place: int, fields: Members) -> Event:
        return BlockUpdated(
            message_id=here.message, block_index=str(place), fields=fields, seq=here.seq
        )

    # -- where it stands -----------------------------------------------------------------------

    def _place(
        self, wire: Members, entry: Entry, item_id: Any, of: str = "", new: bool = False
    ) -> int:
        """Where an event's item stands, of which it says that it is `of` that type."""
        place = self._told_place(wire, entry, item_id, new)
        if self._strict or may_hold(entry["items"].get(str(place)), of):
            return place
        return self._apart(wire, entry, item_id, of)

    def _apart(self, wire: Members, entry: Entry, item_id: Any, of: str) -> int:
        """Where an item of a type stands whose index is one of another: behind all, or where it
        came to stand so; there are gateways that announce no item and number none."""
        items, index = entry["items"], wire.get("output_index")
        own = {int(place): item for place, item in items.items() if item.get("type") == of}
        for place, item in own.items():
            if is_id(item_id) and item.get("id") == item_id:
                return place
        for place in sorted(own, reverse=True):
            unnumbered = index is None and not own[place].get("done")
            if unnumbered or (index is not None and index in (place, own[place].get("at"))):
                return place
        return max(map(int, items)) + 1

    def _told_place(self, wire: Members, entry: Entry, item_id: Any, new: bool) -> int:
        """The output index; where the wire has none, that of the item, else the last or next."""
        moved = None
        if wire.get("output_index") is not None or self._strict:
            index = a_number(wire, "output_index")
            moved = entry.get("moved", {}).get(str(index))
            if moved is None or self._strict:
                return index
        items = entry["items"]
        for place, item in items.items():
            if is_id(item_id) and item.get("id") == item_id:
                return int(place)
        if moved is not None:
            return int(moved)
        last = max(map(int, items), default=-1)
        return last + 1 if new else max(last, 0)

    def _move(self, wire: Members, entry: Entry) -> int:
        """The place behind all items, of one that is added at the index of another."""
        behind = max(map(int, entry["items"])) + 1
        if wire.get("output_index") is not None:
            entry.setdefault("moved", {})[str(wire["output_index"])] = behind
            look_again(entry)
        return behind

    def _index(self, wire: Members, name: str, entry: Entry, place: int, new: bool = False) -> int:
        """The content or summary index; where the wire has none, the last or next there."""
        member = f"{name}_index"
        if wire.get(member) is not None or self._strict:
            return a_number(wire, member)
        parts: Members = entry["items"].get(str(place), {}).get("parts", {})
        number = sum(part.startswith(f"{name}/") for part in parts)
        return number if new else max(number - 1, 0)

    def _meant(
        self, name: str, index: int, here: Here, place: int, text: Text | None = None
    ) -> int:
        """The part that a content index means; `text`: of a delta.

        There are servers (vLLM before it had calls, Tiles) that count deltas with it, and what ends
        the text, too. That is certain where a part was announced, has not ended, and the very
        next event is a delta of the part behind it, which nothing announced: nobody else begins
        a part like that. From there on what nothing announced is of the part that was.
        """
        memory: Members = here.entry["items"].get(str(place), {})
        parts: Members = memory.get("parts", {})
        if self._strict or name != "content" or f"content/{index}" in parts:
            return index
        if text is None or "counts" in memory:
            return int(memory.get("counts", index))
        last, seq = memory.get("last", (-1, None))
        known = parts.get(f"content/{last}", {})
        if index - 1 != last or not known.get("added") or known.get("done"):
            return index
        if memory.get("type") != "reasoning" and known["type"] != text.part:
            return index
        if (seq is None) != (here.seq is None):
            return index
        if here.seq is not None and (
            here.seq != seq + STEPS or len(here.entry["starts"]) != 1 or not _is_next(here)
        ):
            return index  # what announced it may be late
        return int(last)

    def _imply_item(
        self, wire: Members, here: Here, place: int, type_: str
    ) -> tuple[Members, list[Event]]:
        """The memory of an item, which is made with what is known when its opening did not come."""
        items = here.entry["items"]
        memory = items.get(str(place))
        if memory is not None:
            return memory, []
        made: Members = {"type": type_}
        memory = items[str(place)] = made
        _note_index(memory, wire, place)
        around = str(memory.get("at"))
        if type_ == "reasoning" and items.get(around, {}).get("type") == "message":
            memory["within"] = int(around)  # it comes before the text of that, also here
        skeleton: Members = {"type": type_}
        if is_id(wire.get("item_id")):
            memory["id"] = skeleton["id"] = wire["item_id"]
        if type_ == "message":
            skeleton.update(role="assistant", status="in_progress", content=[])
        elif type_ == "reasoning":
            skeleton.update(summary=[])
        else:
            return memory, []
        # Without a seq, so that the opening's own word counts, whenever it comes.
        updated = MessageUpdated(message_id=here.message, info={f"output/{place}": skeleton})
        return memory, [updated]

    def _imply(
        self, text: Text, wire: Members, here: Here, place: int, where: tuple[str, int]
    ) -> list[Event]:
        """The events of an item and part that are there now although their opening did not come."""
        memory, events = self._imply_item(wire, here, place, text.item)
        parts = memory.setdefault("parts", {})
        name = f"{where[0]}/{where[1]}" if where[0] else ""
        if name in parts:
            return events
        fields: Members
        if name:
            kind = part_kind(where[0], text.part, memory.get("type"), "")
            parts[name] = {"type": text.part, "kind": kind, "implied": True}
            fields = {WIRE: {"type": text.part}}
            if text.part == "refusal":
                fields[_REFUSAL] = True
        else:
            kind = item_kind(text.item)
            parts[name] = {"kind": kind}
            fields = {WIRE: {"type": text.item}}
            if memory.get("id") is not None:
                fields[WIRE]["id"] = memory["id"]
            if kind == "tool":
                memory.setdefault("state", {"status": "pending"})
                fields["state"] = memory["state"]
        opened = BlockOpened(
            message_id=here.message,
            block_index=f"{place}/{name}" if name else str(place),
            kind=kind,
            order=_order(memory, place, where),
            fields=fields,
        )
        return [*events, opened]

    # -- what the SDK refuses ------------------------------------------------------------------

    def _known_item(self, here: Here, place: int) -> Members:
        memory: Members = here.entry["items"].get(str(place), {})
        if not memory.get("added"):
            raise ProtocolStopped(f"an event for output index {place} before its output item")
        return memory

    def _check_text(self, text: Text, here: Here, place: int, where: tuple[str, int]) -> None:
        if text.item == "function_call":
            if self._known_item(here, place).get("type") != "function_call":
                raise ProtocolStopped("arguments for an item that is no function call")
        elif text.part == "output_text":
            memory = self._known_item(here, place)
            part = memory.get("parts", {}).get(f"content/{where[1]}", {})
            if memory.get("type") != "message" or part.get("type") != "output_text":
                raise ProtocolStopped(f"no text at content index {where[1]} of output {place}")


def _order(memory: Members, place: int, where: tuple[str, int]) -> float:
    """Where a part stands; of reasoning in the place of a message, before what that says."""
    if "within" in memory:
        return order_of(memory["within"], "", 250_000 * (where[0] == "content") + where[1])
    return order_of(place, *where)


def _is_next(here: Here) -> bool:
    """Whether an event's number is the one behind all that came of its response."""
    entry = here.entry
    return bool(here.seq == entry["base"] + STEPS * (entry["ends"][-1] + 1))


def _note_delta(memory: Members, index: int, seq: int | None, counted: bool) -> None:
    """Note a delta of a content: where an item has no other yet, see `Output._meant`.

    Of a numbered part only the first one: the short way notes none.
    """
    part = memory["parts"][f"content/{index}"]
    if counted:
        memory["counts"] = index
        memory.pop("last", None)
    elif "begun" not in part:
        part["begun"] = True
        memory["last"] = [index, seq]
    elif seq is None:
        memory.pop("last", None)


def _note_index(memory: Members, wire: Members, place: int) -> None:
    """Note of an item that stands elsewhere which output index its events have."""
    if wire.get("output_index") not in (None, place):
        memory.setdefault("at", wire["output_index"])


def _forget_plain(here: Here, place: int, name: str, index: int) -> None:
    """A part, or an input, is whole: what still comes of it takes the long way."""
    if here.live is not None:
        for member, _, keys in here.live.values():
            if member == f"{name}_index":
                keys.get(place, {}).pop(index, None)


def _as_streamed(item: Members, parts: Mapping[str, Members]) -> Members:
    """A whole item of reasoning with its parts in the list that they were streamed in.

    Gateways stream a summary and end with a content in its place: that would be there twice.
    """
    for told, streamed in (("content", "summary"), ("summary", "content")):
        found: Any = item.get(told)
        if (
            item["type"] == "reasoning"
            and found
            and are_objects(found)
            and not item.get(streamed)
            and parts.keys() == {f"{streamed}/{index}" for index in range(len(found))}
            and all(type(part.get("text")) is str for part in found)
        ):
            renamed: list[Members] = [
                {"type": parts[f"{streamed}/{index}"]["type"], "text": part["text"]}
                for index, part in enumerate(found)
            ]
            return {**item, told: [], streamed: renamed}
    return item


def _indexes(name: str, count: int, memory: Members) -> Sequence[int]:
    """Where the parts of a whole list were streamed: some servers go on counting over items."""
    known = [part.partition("/") for part in memory.get("parts", {})]
    streamed = sorted(int(index) for of, _, index in known if of == name)
    return streamed if len(streamed) == count else range(count)


def _listed(found: Members) -> list[Any]:
    """Annotations of a part in their order, as far as they came."""
    return [found[number] for number in sorted(found, key=int)]


def _permissions(message: str, item: Members) -> list[Event]:
    """Permissions that an item asks for or gives."""
    request = item.get("approval_request_id")
    if item["type"] == "mcp_approval_request" and is_id(item.get("id")):
        call = item["id"]
        return [PermissionAsked(request_id=call, message_id=message, call_id=call, payload=item)]
    return [PermissionReplied(request_id=request, payload=item)] if is_id(request) else []


def fetched_part(event: BlockEvent) -> Members:
    """An event of a part as a part of a snapshot."""
    part: Members = {"blockIndex": event.block_index, "status": "open"}
    if isinstance(event, BlockOpened | BlockReplaced):
        part.update(event.fields, kind=event.kind, order=event.order)
    if isinstance(event, BlockReplaced) and event.text is not None:
        part["text"] = event.text
    return part


# --- the events -----------------------------------------------------------------------------------


def _handlers() -> Iterator[tuple[str, Handler]]:
    output = Output
    yield "response.output_item.added", output._item_added
    yield "response.output_item.done", output._item_done
    for family, name in (
        ("response.content_part", "content"),
        ("response.reasoning_part", "content"),  # of servers that announce raw reasoning
        ("response.reasoning_summary_part", "summary"),
    ):
        for suffix in ("added", "done"):
            yield f"{family}.{suffix}", _bound(output._part, name, suffix == "done")
    for family, text in TEXTS.items():
        yield f"{family}.delta", _bound(output._text_delta, text)
        yield f"{family}.done", _bound(output._text_done, text)
    yield "response.output_text.annotation.added", output._annotation
    for item, steps in PROGRESS.items():
        for step, status in steps.items():
            yield f"response.{item}.{step}", _bound(output._progress, item, status)
    yield "response.image_generation_call.partial_image", output._preview
    yield "response.shell_call_command.added", _bound(output._command, "command")
    yield "response.shell_call_command.delta", _bound(output._command, "delta")
    yield "response.shell_call_command.done", _bound(output._command, "command")
    yield "response.apply_patch_call_operation_diff.delta", _bound(output._patch, "delta")
    yield "response.apply_patch_call_operation_diff.done", _bound(output._patch, "diff")
    yield "response.shell_call_output_content.delta", output._printed
    yield "response.shell_call_output_content.done", output._printed_all
    yield "response.audio.delta", _bound(output._sound, "data")
    yield "response.audio.transcript.delta", _bound(output._sound, "text")
    for kind in NOTHING:
        yield kind, output._nothing


def _bound(method: Callable[..., list[Event]], *given: Any) -> Handler:
    """A handler with its first arguments behind the output filled in."""
    return partial(_call, method, given)


def _call(
    method: Callable[..., list[Event]],
    given: tuple[Any, ...],
    output: Output,
    wire: Members,
    here: Here,
) -> list[Event]:
    return method(output, *given, wire, here)


#: What an event does, by its type; raises `MalformedEvent` and, strict, `ProtocolStopped`.
HANDLERS: Mapping[str, Handler] = dict(_handlers())
