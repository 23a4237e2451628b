"""OpenAI Chat Completions: chunks and whole completions, to canonical events and back.

- Identity: a completion's `id`, the same on each of its chunks; a choice's `index`; inside it the
  members of its delta and the `index` of a tool call. Choice 0 is the message with the completion's
  id, the others are `{id}#1`, `{id}#2`. Where a wire says less:
  - no id (absent, null or ""): the chunk is of the stream's completion, whose id is made up; what
    comes for a choice that has ended is of the next one;
  - another id on each chunk of a stream, as some servers do: still one completion, as long as no id
    came twice and the chunk does not open one (a role and nothing else, where others have none);
  - an id that a completion of another `created` has (servers with few ids): `{id}@{created}`;
  - a tool call's id that is known counts more than its index (servers that send one call under two
    of them); another id *and* a name under a known index begin another call (`tool:0.1`), and so
    does another name behind arguments, or the same with another whole object of them (servers that
    give all calls one index, and none an id).
- Seq, event ids: none, so that a chunk that is sent again is text again. Nothing can be told of an
  argument fragment that came twice either, but of one that is a whole object: the one the call
  began with, or the last behind pieces, which takes their place when the choice is finished. An
  empty object that a call begins with stands for nothing where another follows.
- Reconnect: the wire cannot resume. A new request is a new sample with a new id, a new message; the
  cut one keeps what it has, marked as a gap. The same completion on a *new* stream is a replay: its
  first chunk there resets the message (announced as a rewrite), which is built again and keeps its
  place. From then on that stream delivers it; what an older one still brings is a duplicate. A
  first chunk without the role that the completion began with goes on where the other one stopped.
- Snapshots: a whole `chat.completion` or a list of them (what `encode` gives, or the API's
  `{"object": "list", "data"}`), taken as a replay in one piece.
- The end: a choice is complete with its `finish_reason`; an error in the stream ends the choices
  that are not, with what they have.

What is kept where, for a completion with the id `c`:

- message `c`: info `completion` (members of the first chunk), `usage` and `system_fingerprint` (of
  the last one, also null, as the official client has them), `moderation` (of the last chunk that
  has one, where it is not the first), `completionEnd` (what a chunk that ends something says beside
  them);
- each choice's message: info `choice` (index, finish_reason, ...), `delta` (its members that are no
  part: the role, and what was null or empty), `choiceEnd`, `completionId` (of choices but the
  first), `wire` (what `encode` needs besides);
- parts `content` and `refusal` (text), `reasoning_content`, `reasoning` and `thinking` (reasoning),
  `content:thinking` and `content:reasoning` (reasoning: pieces of a content that is a list, below),
  `tool:{index}` and `function_call` (tool; arguments stream into the field `input`, the call as it
  came is the field `wire`), `annotation:{n}` (source), `logprobs:content`, `logprobs:refusal` and
  `delta:{name}` (data: a member that is unknown, as text, or as JSON, one value a line, in the
  field `json`; for log probabilities one token a line). Servers that rename a reasoning member
  send its text under both names: the one that began second is data, so that it is shown once.

A content may be a list of typed pieces, as Mistral's thinking models and Databricks stream it. The
texts of its pieces `text`, `thinking` and `reasoning` (its summary) go on the parts `content`,
`content:thinking` and `content:reasoning`, whose field `wire` is the piece but for its text; other
pieces are data (`delta:content`), and so is the whole list in a strict stream, since the official
client joins no pieces. `encode` gives one piece of each, the text last, unless the content only
ever came as text.

Ids, names and roles are never joined: the first that is not empty holds, also where the official
client would write `call_1call_1`. A call is `pending` until its choice is finished, then `running`:
what it gave is not on this wire.

Sources: the types and the accumulator of the official Python client (3.52), checked against its
snapshots of recorded streams; reports of what compatible servers send.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any, ClassVar, NamedTuple

from ..errors import MalformedEvent, ProtocolStopped, RepeatedEvent, UnknownEvent
from ..events import (
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
from ..keys import PartKey, is_number
from ..model import Json, Message, Part, thaw
from .base import (
    NAMED,
    ONLY,
    Context,
    Declaration,
    DeltaShape,
    PlainDelta,
    Reads,
    ShortShape,
)
from .members import (
    Members,
    a_list,
    a_number,
    an_event,
    an_object,
    are_objects,
    describe,
    maybe_object,
    objects,
    path_to,
    wrong,
)

_CHUNK = "chat.completion.chunk"
_WHOLE = "chat.completion"

#: Members of a chunk that are read or mean nothing (`obfuscation` is padding).
_READ = frozenset(("object", "choices", "usage", "system_fingerprint", "obfuscation", "error"))
#: Members that every completion has, which the last chunk does not say anew.
_KNOWN = _READ | {"id", "created", "model", "service_tier", "moderation"}
_CHOICE_READ = frozenset(("index", "delta", "message", "logprobs", "finish_reason"))
_CALLS = frozenset(("tool_calls", "function_call"))
#: Reasons to finish that leave a call as far as it came.
_CUT = ("length", "content_filter", "error")
#: The parts of the thinking pieces of a content that is a list, and of those of its reasoning.
_THOUGHT, _REASONED = "content:thinking", "content:reasoning"
_ANNOTATIONS = "annotations"

#: Text members of a delta: the kind of their part and its place.
_TEXTS = {
    "reasoning_content": ("reasoning", 0),
    "reasoning": ("reasoning", 0),
    "thinking": ("reasoning", 0),
    "content": ("text", 1),
    "refusal": ("text", 2),
}
_DATA_ORDER = 2.5
_FUNCTION_ORDER = 3
_TOOL_ORDER = 4

#: What the official client's message holds once a second chunk was merged into it.
_DEFAULTS = (
    "content", "refusal", "role", "annotations", "audio", "function_call", "tool_calls",
)  # fmt: skip
_LOGPROBS = ("content", "refusal")

# Bounds of the memory. Completions that can still be told from a reuse of their id, per session:
# an older one that is replayed is built anew at the end. Completions in the making, per session:
# over it the oldest that is finished goes, else the oldest. Ids of one stream. Empty members.
_REMEMBERED = 1024
_OPEN = 16
_STREAM_IDS = 64
_EMPTY_MEMBERS = 64


class OpenAIChatAdapter:
    """Chunks of Chat Completions in, a list of `chat.completion` objects out.

    - `{"object": "chat.completion.chunk", "id", "choices": [{"index", "delta", "finish_reason"}]}`:
      one chunk; it may carry several choices and several tool fragments;
    - `{"object": "chat.completion", ...}`, or a list of them: whole completions;
    - `{"error": {...}}`: the request failed; ends what is not finished, or a strict stream;
    - a chunk with `object: ""` (an asynchronous content filter) says nothing, as for the official
      client. One without `object`, or with another one (`chat.completion.done`), is taken unless
      the stream is strict.
    """

    declaration: ClassVar[Declaration] = Declaration(
        name="openai-chat",
        sequencing="none",
        snapshots=True,
        sentinels=("[DONE]",),
        identity="completion id, choice index, member of the delta, tool call index",
    )
    delta: ClassVar[DeltaShape | None] = None
    short: ClassVar[ShortShape] = ShortShape(
        text=("choices", ONLY, "delta", NAMED),
        text_needed=True,
        named=lambda wire: _text_member(wire["choices"][0]["delta"]),
        same=(("id",), ("object",)),
        numbers=(("choices", ONLY, "index"),),
        optional=(
            (("choices", ONLY, "finish_reason"), "null"),
            (("choices", ONLY, "logprobs"), "null"),
            (("usage",), "null"),
            (("error",), "empty"),
            (("moderation",), "null"),
            (("system_fingerprint",), "same"),
        ),
        repeated=("choices", ONLY, "delta"),
        guard=lambda adapter, wire: (adapter._record, "stream"),  # another stream may deliver it
    )

    def __init__(self, context: Context) -> None:
        self._context = context
        self._strict = context.strict
        # This stream: its number, its completion, that one's id, and the ids that it began.
        self._own = context.own
        # The session: {"order", "streams", "known": {message: facts}, "open": {message: record}}.
        self._session = context.of_session()
        # What the short ways look at, made from the memory: the completion of this stream, and
        # its choices in which no chunk changes anything but a text.
        self._id: str | None = None
        self._record: Members = {}
        self._armed: dict[int, _Armed] = {}
        self._rearm()

    @classmethod
    def detects(cls, wire: Any) -> bool:
        """A chunk or a whole completion, by its `object`; a list of whole ones.

        Of a chunk that has none (GitHub Copilot, Zhipu) the delta in each choice tells.
        """
        if isinstance(wire, dict):
            kind = wire.get("object")
            if kind is None and wire.get("type") is None:
                choices: Any = wire.get("choices")
                return (
                    are_objects(choices)
                    and bool(choices)
                    and all(isinstance(choice.get("delta"), dict) for choice in choices)
                )
            if kind == "list":
                return isinstance(wire.get("data"), list) and cls.detects(wire["data"])
            return kind in (_CHUNK, _WHOLE) and isinstance(wire.get("choices"), list)
        return (
            isinstance(wire, list)
            and bool(wire)
            and isinstance(wire[0], dict)
            and wire[0].get("object") == _WHOLE
            and isinstance(wire[0].get("choices"), list)
        )

    def plain(self, wire: Any) -> PlainDelta | None:
        """The text or arguments of a chunk that carries nothing else, of a part that is open."""
        usual = self._usual(wire)
        if usual is None:
            return None
        delta, (keys, known, call) = usual
        if len(delta) == 1:
            text = delta.get("content")  # the usual one costs no items
            if text.__class__ is str and text:
                return (keys["content"], text, None)
            ((name, text),) = delta.items()
        else:
            # Servers that repeat the role, or say of each chunk what is not in it.
            name, text = "", None
            for member, value in delta.items():
                if value is None or value == "":
                    if member not in keys and known[member] is None and value == "":
                        return None
                elif member == "role":
                    if value.__class__ is not str or not known.get("role"):
                        return None
                elif name:
                    return None
                else:
                    name, text = member, value
        if text.__class__ is str and text:
            return (keys[name], text, None)
        return _arguments(call, text) if name == "tool_calls" else None

    def decode(self, wire: Any) -> Sequence[Event]:
        """The events of one wire object; none for a filter's chunk.

        What concerns a message comes before what concerns its parts, so that a part that takes
        nothing more does not keep the rest of a chunk away.
        """
        if isinstance(wire, list):
            return self._wholes(wire, "")
        wire = an_event(wire)
        try:
            usual = self._usual(wire)
            if usual is not None and len(usual[0]) == 1:
                found = _arguments(usual[1].call, usual[0]["tool_calls"])
                if found is not None:
                    (_, message_id, block, field), text, _ = found
                    return [_delta(message_id, block, text, field)]
        except (KeyError, TypeError, AttributeError):
            pass  # it says more than that, or is malformed: read it all
        error = wire.get("error")
        if error:
            return self._failed(wire, error)
        kind = wire.get("object")
        if kind == _CHUNK:
            return self._chunk(wire)
        if not self._strict and type(kind) is str and kind and _is_chunk(wire):
            return self._chunk(wire)
        if kind == _WHOLE:
            return self._wholes([wire], None)
        if kind == "list":
            return self._wholes(a_list(wire, "data"), "data")
        if kind is None and not self._strict:
            if _is_whole(wire):
                return self._wholes([wire], None)
            if "choices" in wire:
                return self._chunk(wire)
            raise wrong(wire, "object", "", "a string")
        if kind == "error" and not self._strict:
            return self._failed(wire, wire)
        if kind is None or kind == "":
            return ()
        if type(kind) is not str:
            raise wrong(wire, "object", "", "a string")
        raise UnknownEvent(kind)

    def encode(self, reads: Reads) -> Json:
        """Every completion as the official client's snapshot has it; linear in what is stored."""
        completions: dict[tuple[str, str], _Encoded] = {}
        for session_id in reads.session_ids():
            for message in reads.messages(session_id):
                info = message.info
                of = info.get("completionId")
                key = (session_id, of if isinstance(of, str) else message.id)
                if isinstance(info.get("completion"), dict):
                    completions.setdefault(key, _Encoded({}, [])).head.update(_wire_head(message))
                choice = info.get("choice")
                if isinstance(choice, dict):
                    parts = reads.parts(session_id, message.id)
                    found = completions.setdefault(key, _Encoded({}, []))
                    found.choices.append(_wire_choice(message, parts))
        return [
            {**found.head, "object": _WHOLE, "choices": sorted(found.choices, key=_index_of)}
            for found in completions.values()
        ]

    # -- what a chunk is of ----------------------------------------------------------------------

    def _place(self, wire: Members, wire_id: str, choices: Sequence[_Choice]) -> _Place:
        """Which completion a chunk is of, and whether it begins it. Changes nothing."""
        own, session = self._own, self._session
        current = own.get("current")
        ids = own.get("ids", {})
        if current is not None and (not wire_id or (self._strict and wire_id not in ids)):
            record = session.get("open", {}).get(current)
            if self._strict or own["id"] or record is None or not _goes_beyond(record, choices):
                return _Place(current)
        if wire_id in ids:
            return _Place(ids[wire_id])
        role = any(choice.role for choice in choices)
        if current is not None and not own.get("stable"):
            brings = any(not all(map(_is_empty, choice.delta.values())) for choice in choices)
            record = session.get("open", {}).get(current)
            unfinished = record is not None and not _finished(record)
            # Where the role is on every chunk, or with an end, it begins nothing.
            opens = not (unfinished and own.get("voiced")) and any(
                _opens(choice) and not (unfinished and choice.finish) for choice in choices
            )
            another = brings and wire_id == own.get("passing")
            if not opens and (unfinished or not brings) and not another:
                return _Place(current)
        if not wire_id:
            return _Place(None, begins=True)
        known = session.get("known", {})
        created = wire.get("created")
        again = _reused(known, wire_id, created)
        for message_id in (again, wire_id):
            facts = known.get(message_id)
            if facts is not None and facts["role"] and not role:
                return _Place(message_id, joins=True)  # the middle: another stream began it
        return _Place(again, begins=True)

    def _begin(self, wire: Members, wire_id: str, place: _Place, role: bool) -> str:
        """Take a completion over: this stream delivers it from here on. Its message's id."""
        own, session = self._own, self._session
        message_id = place.message_id or self._context.new_id()
        if "stream" not in own:
            own["stream"] = session["streams"] = session.get("streams", 0) + 1
        opened: dict[str, Members] = session.setdefault("open", {})
        known: dict[str, Members] = session.setdefault("known", {})
        if place.begins:
            facts = known.pop(message_id, None)
            if facts is None:
                order = session["order"] = session.get("order", -1) + 1
                created = wire.get("created")
                facts = {
                    "order": order,
                    "created": created if is_number(created) else None,
                    "role": role,
                }
            known[message_id] = facts
            _bound(known, _REMEMBERED)
            _retire(opened, message_id)
        if message_id not in opened:
            opened[message_id] = _new_record(known[message_id]["order"], place.begins)
            while len(opened) > _OPEN:
                finished = (name for name, record in opened.items() if _finished(record))
                _retire(opened, next(finished, next(iter(opened))))
        opened[message_id]["stream"] = own["stream"]
        ids: dict[str, str] = own.setdefault("ids", {})
        if wire_id:
            ids[wire_id] = message_id
            _bound(ids, _STREAM_IDS)
        own["id"], own["current"] = wire_id, message_id
        for name in ("passing", "voiced"):
            own.pop(name, None)
        return message_id

    def _chunk(self, wire: Members) -> list[Event]:
        wire_id = _maybe_text(wire, "id", "")
        choices = [
            _read_choice(choice, f"choices.{number}", number, False, self._strict, not self._strict)
            for number, choice in enumerate(_choices(wire, self._strict))
        ]
        if not (wire_id or choices or self._strict or "current" in self._own):
            return []  # what some gateways say before the completion, of which there is nothing yet
        return self._take(wire, wire_id, choices, False)

    def _take(
        self, wire: Members, wire_id: str, choices: list[_Choice], whole: bool
    ) -> list[Event]:
        own = self._own
        if whole:
            known = self._session.get("known", {})
            again = _reused(known, wire_id, wire.get("created")) if wire_id else None
            place = _Place(again, begins=True)
        else:
            place = self._place(wire, wire_id, choices)
        opened: dict[str, Members] = self._session.get("open", {})
        record = None if place.begins else opened.get(place.message_id or "")
        if self._strict and not whole:
            _refuse(record, choices)
        if place.begins or place.joins:
            role = any(choice.role for choice in choices)
            message_id = self._begin(wire, wire_id, place, role)
        else:
            assert place.message_id is not None
            message_id = place.message_id
            if record is not None and record["stream"] != own["stream"]:
                raise RepeatedEvent("another stream delivers this completion")
            own["stable"] = own.get("stable", False) or own["ids"].get(wire_id) == message_id
            if choices:
                own["voiced"] = own.get("voiced", True) and all(choice.role for choice in choices)
            if wire_id not in own["ids"] and any(choice.role for choice in choices):
                own["passing"] = wire_id  # when it comes again, a completion began with it
            if own["ids"].get(wire_id) == message_id:
                own["id"], own["current"] = wire_id, message_id
        opened = self._session["open"]
        record = opened.get(message_id)
        if record is None:  # finished long ago, and forgotten; a usage may still come
            facts = self._session["known"].get(message_id, {"order": None})
            record = opened[message_id] = _new_record(facts["order"], False)
            record["stream"] = own["stream"]
        events = _apply(message_id, record, wire, choices, place.begins, whole)
        self._rearm()
        return events

    def _wholes(self, values: list[Any], at: str | None) -> list[Event]:
        """Whole completions, each taken in by itself; all are read before one is taken."""
        read: list[tuple[Members, str, list[_Choice]]] = []
        for number, value in enumerate(values):
            place = "" if at is None else path_to(at, str(number))
            if not isinstance(value, dict):
                raise MalformedEvent(place, f"must be an object, not {describe(value)}")
            if value.get("object") not in (None, _WHOLE):
                raise wrong(value, "object", place, f'"{_WHOLE}"')
            wire_id = _maybe_text(value, "id", place)
            choices_at = path_to(place, "choices")
            choices = [
                _read_choice(choice, f"{choices_at}.{spot}", spot, True, False, not self._strict)
                for spot, choice in enumerate(objects(value, "choices", place))
            ]
            read.append((value, wire_id, choices))
        events: list[Event] = []
        for value, wire_id, choices in read:
            events += self._take(value, wire_id, choices, True)
        return events

    def _failed(self, wire: Members, error: Any) -> list[Event]:
        """An error in the stream: what the chunk brings besides, then the end of what is open."""
        message = error.get("message") if isinstance(error, dict) else error
        if type(message) is not str or not message:
            message = "an error occurred while streaming"
        if self._strict:
            raise ProtocolStopped(message)
        events: list[Event] = []
        before = self._delivered()
        ended = _ended(before)
        if wire.get("object") == _CHUNK and wire.get("choices"):
            events = self._chunk(wire)
        name = "error"
        if isinstance(error, dict):
            told = (error.get(member) for member in ("type", "code"))
            name = next((value for value in told if type(value) is str and value), name)
        told_error = {"name": name, "message": message, "data": thaw(error)}
        record = self._delivered()
        if record is not None:
            for key in _keys(record):
                if record is before and key in ended:
                    continue
                if key in record["choices"]:
                    record["choices"][key]["closed"] = "error"
                else:
                    record["failed"] = True
                message_id = _message_id(self._own["current"], int(key))
                closed = MessageClosed(message_id=message_id, status="error", error=told_error)
                events.append(closed)
        self._rearm()
        return [SessionError(error=told_error), *events]

    def _delivered(self) -> Members | None:
        """This stream's completion, unless another stream delivers it now."""
        record: Members | None = self._session.get("open", {}).get(self._own.get("current"))
        return record if record is not None and record["stream"] == self._own["stream"] else None

    # -- the short ways --------------------------------------------------------------------------

    def _usual(self, wire: Any) -> tuple[Any, _Armed] | None:
        """The delta of a chunk that has one choice in the making, and nothing beside it."""
        choices = wire["choices"]
        if wire["id"] != self._id or wire["object"] != _CHUNK or len(choices) != 1:
            return None
        (choice,) = choices
        get, record = wire.get, self._record
        index, finish = choice["index"], choice.get("finish_reason")
        armed = self._armed[index]
        if (
            (finish is not None and finish != "")
            or choice.get("logprobs") is not None
            or get("usage") is not None
            or get("moderation") is not None
            or get("system_fingerprint") != record["fingerprint"]
            or get("error")
            or index.__class__ is not int
            or record["stream"] != self._own["stream"]
        ):
            return None
        return choice["delta"], armed

    def _rearm(self) -> None:
        """Make what the short ways look at from the memory; costs the choices of the completion."""
        current: str = self._own.get("current", "")
        record = self._session.get("open", {}).get(current)
        if record is not self._record:
            self._record, self._armed = record or {}, {}
        if record is None or not record["more"] or record["usage"] or not self._own.get("stable"):
            self._id, self._armed = None, {}
            return
        self._id = self._own["id"]
        for key, choice in record["choices"].items():
            index = int(key)
            ended = choice["closed"] and not choice["done"] and "content" in choice["texts"]
            if not choice["merged"] or choice["parsed"] or choice["fresh"] or ended:
                self._armed.pop(index, None)
                continue
            armed = self._armed.get(index)
            keys = armed.keys if armed is not None else {}
            message_id = _message_id(current, index)
            if len(keys) != len(choice["texts"]):
                keys = {
                    name: PartKey(self._context.session_id, message_id, block)
                    for name, block in choice["texts"].items()
                }
            call = self._last_call(message_id, choice) if choice["calls"] else None
            self._armed[index] = _Armed(keys, choice["delta"], call)

    def _last_call(self, message_id: str, choice: Members) -> _Call | None:
        """The call that came last, when more of its arguments would change nothing here."""
        last, at = choice["last"], choice["at"]
        block = at.get(last)
        if block is None or choice["tool"] != block or choice["calls"][block]["from"] != last:
            return None
        place, wire = int(last), choice["calls"][block]["wire"]
        if wire.get("index") is None or not isinstance(wire.get("function"), dict):
            return None  # the next fragment says what it is
        if not choice["calls"][block].keys().isdisjoint(("whole", "again")):
            return None  # the next fragment may be another call's, or says that more comes
        if self._strict and place > len(at):
            return None  # a lenient stream began it
        return _Call(place, (self._context.session_id, message_id, block, "input"), wire)


def _text_member(delta: Members) -> str:
    """The member with the text, of a delta that the short way took in.

    Raises:
        TypeError: it has arguments, which stand deeper.
    """
    name = next(name for name, value in delta.items() if value and name != "role")
    if delta[name].__class__ is not str:
        raise TypeError(name)
    return name


class _Armed(NamedTuple):
    """A choice for the short ways.

    Attributes:
        keys: of its text parts, by the delta's member.
        known: members that may ride along when they are null or empty, and its role.
        call: the call whose arguments may follow, None for none.
    """

    keys: dict[str, PartKey]
    known: Members
    call: _Call | None


class _Call(NamedTuple):
    """A call for the short ways.

    Attributes:
        place: the index under which its fragments come.
        key: of its input.
        wire: the call as it came, which fragments may repeat.
    """

    place: int
    key: tuple[str, str, str, str]
    wire: Members


class _Place(NamedTuple):
    """Which completion a chunk is of: its message, and whether it begins or goes on here."""

    message_id: str | None
    begins: bool = False
    joins: bool = False


class _Fragment(NamedTuple):
    """A piece of a tool call; `wire` is all of it but the input, "" stands for what is absent."""

    place: int | None
    id: str
    name: str
    text: str
    wire: Members


class _Piece(NamedTuple):
    """A typed piece of a content: its block, its text, and all of it but the text."""

    block: str
    text: str
    wire: Members


class _Choice(NamedTuple):
    """A choice of a chunk, read: what is not here is in `wire`, as it came."""

    place: int
    finish: str
    role: str
    delta: Members
    calls: list[_Fragment]
    function: _Fragment | None
    pieces: list[_Piece]
    lines: dict[str, str]
    logprobs: Members | None
    tokens: dict[str, str]
    wire: Members


class _Encoded(NamedTuple):
    head: Members
    choices: list[Members]


# --- memory ---------------------------------------------------------------------------------------


def _new_record(order: int | None, begins: bool) -> Members:
    """A completion in the making.

    `fresh`: its messages are built from nothing, so that the first event of each says all. There
    may be `failed`: an error ended it before anything of its first choice came.
    """
    return {
        "order": order,
        "fresh": begins,
        "head": not begins,
        "stream": 0,
        "more": not begins,
        "usage": False,
        "fingerprint": None,
        "choices": {},
    }


def _new_choice(choice: Members) -> Members:
    """A choice in the making.

    `texts` names the block of each text member; `blocks` says which are open; `calls` holds each
    call as it came but for its input, with the index that brings it and, as `whole`, the
    arguments that it began with where they were a whole object, as `again`, the last piece of them
    where that is one; `at` and `ids` which call an index
    and an id stand for; `merged`, `parsed`, `fresh`, `done` and `tool` follow the official
    client, which dresses its snapshot in nulls: see `_follow`. There may be `pieces`: by block, the
    field `wire` of a text that came in typed pieces.
    """
    return {
        "choice": choice,
        "delta": {},
        "texts": {},
        "blocks": {},
        "calls": {},
        "at": {},
        "ids": {},
        "last": None,
        "sources": 0,
        "closed": None,
        "merged": False,
        "parsed": False,
        "fresh": [],
        "done": False,
        "tool": None,
    }


def _finished(record: Members) -> bool:
    return bool(record["choices"]) and all(
        choice["closed"] for choice in record["choices"].values()
    )


def _goes_beyond(record: Members, choices: Sequence[_Choice]) -> bool:
    """Whether a chunk brings something, and all of it for choices that have ended.

    A role alone begins a choice, but where it ends one a second time.
    """
    brought = [
        record["choices"].get(str(choice.place), {})
        for choice in choices
        if any(
            not _is_empty(value) and (name != "role" or not choice.finish)
            for name, value in choice.delta.items()
        )
    ]
    return bool(brought) and all(known.get("closed") for known in brought)


def _opens(choice: _Choice) -> bool:
    """Whether a choice says who speaks and brings nothing else, as the first chunk of one does."""
    return bool(choice.role) and all(
        name == "role" or _is_empty(value) for name, value in choice.delta.items()
    )


def _keys(record: Members) -> list[str]:
    """Keys of the choices that have a message: the first has one before anything of it comes."""
    keys = list(record["choices"])
    if "0" not in keys and (record["fresh"] or not keys):
        keys.append("0")
    return keys


def _ended(record: Members | None) -> set[str]:
    """Keys of the choices that ended."""
    if record is None:
        return set()
    ended = {key for key, choice in record["choices"].items() if choice["closed"]}
    return ended | {"0"} if record.get("failed") else ended


def _retire(opened: dict[str, Members], message_id: str) -> None:
    """Forget a completion; an adapter that still looks at it must not take it for its own."""
    record = opened.pop(message_id, None)
    if record is not None:
        record["stream"] = 0


def _bound(table: dict[str, Any], size: int) -> None:
    while len(table) > size:
        del table[next(iter(table))]


def _message_id(completion: str, index: int) -> str:
    return completion if index == 0 else f"{completion}#{index}"


def _reused(known: dict[str, Members], wire_id: str, created: Any) -> str:
    """The message of a completion: another one where the id was used at another time."""
    facts = known.get(wire_id)
    if facts is None or facts["created"] is None or not is_number(created):
        return wire_id
    return wire_id if facts["created"] == created else f"{wire_id}@{created}"


# --- reading --------------------------------------------------------------------------------------


def _choices(wire: Members, strict: bool) -> list[Members]:
    """The choices of a chunk; one that brings a usage alone may leave them out, or say null."""
    if wire.get("choices") is None and wire.get("usage") is not None and not strict:
        return []
    return objects(wire, "choices")


def _is_whole(wire: Members) -> bool:
    choices = wire.get("choices")
    return (
        isinstance(choices, list)
        and bool(choices)
        and all(isinstance(choice, dict) and "message" in choice for choice in choices)
    )


def _is_chunk(wire: Members) -> bool:
    """Whether what says that it is something else has choices as a chunk has them.

    Perplexity's have both: its whole answers an empty delta, its chunks the message so far.
    """
    choices: Any = wire.get("choices")
    return (
        wire["object"].startswith("chat.")
        and are_objects(choices)
        and bool(choices)
        and all("delta" in choice for choice in choices)
        and (wire["object"] != _WHOLE or not _is_whole(wire))
    )


def _read_choice(
    choice: Members, at: str, number: int, whole: bool, strict: bool, apart: bool
) -> _Choice:
    """A choice of a chunk or of a whole completion.

    `apart`: the typed pieces of its content, too, and what compatible servers put otherwise.
    """
    index = number if whole else 0
    if strict or choice.get("index") is not None:
        index = a_number(choice, "index", at)
    finish = _maybe_text(choice, "finish_reason", at)
    body = "message" if whole else "delta"
    if strict or whole:
        delta = an_object(choice, body, at)
    else:
        delta = maybe_object(choice, body, at) or {}
    body_at = path_to(at, body)
    calls: list[_Fragment] = []
    function = None
    pieces: list[_Piece] = []
    lines: dict[str, str] = {}
    if apart and isinstance(delta.get("tool_calls"), dict) and delta["tool_calls"]:
        delta = {**delta, "tool_calls": [delta["tool_calls"]]}  # a call without its list
    if delta.get("tool_calls") is not None:
        calls_at = path_to(body_at, "tool_calls")
        for place, call in enumerate(objects(delta, "tool_calls", body_at)):
            calls.append(_read_call(call, f"{calls_at}.{place}", place if whole else None, apart))
    if delta.get("function_call") is not None:
        call = an_object(delta, "function_call", body_at)
        function_at = path_to(body_at, "function_call")
        name, text, rest = _read_function(call, "arguments", function_at, apart)
        function = _Fragment(None, "", name, text, rest)
    for name, value in delta.items():
        if name in ("content", "refusal") and type(value) is not str and value is not None:
            if not are_objects(value):  # a list of typed pieces, as some servers send
                raise wrong(delta, name, body_at, "a string")
        if name in _CALLS or name == "role" or type(value) is str or _is_empty(value):
            continue
        if name == "content" and apart and isinstance(value, list):
            pieces, others = _read_pieces(value)
            if others:
                lines[name] = _line(others, path_to(body_at, name))
            elif not pieces:
                delta = {**delta, name: ""}
            continue
        if name != _ANNOTATIONS or not are_objects(value):
            lines[name] = _line(value, path_to(body_at, name))
    told = choice.get("logprobs")
    if apart and type(told) is float:  # Together's: that of the one token in the chunk
        token = {"token": delta.get("content"), "logprob": told}
        choice = {**choice, "logprobs": {"content": [token]}}
    logprobs = maybe_object(choice, "logprobs", at)
    tokens: dict[str, str] = {}
    for name in _LOGPROBS if logprobs is not None else ():
        if logprobs is not None and logprobs.get(name) is not None:
            logprobs_at = path_to(at, "logprobs")
            tokens[name] = "".join(
                _line(token, path_to(logprobs_at, name))
                for token in a_list(logprobs, name, logprobs_at)
            )
    return _Choice(
        place=index,
        finish=finish,
        role=_maybe_text(delta, "role", body_at),
        delta=delta,
        calls=calls,
        function=function,
        pieces=pieces,
        lines=lines,
        logprobs=logprobs,
        tokens=tokens,
        wire=choice,
    )


def _read_pieces(values: list[Members]) -> tuple[list[_Piece], list[Members]]:
    """A content that is a list: its pieces of text and thinking, and those that are neither."""
    pieces: list[_Piece] = []
    others: list[Members] = []
    for piece in values:
        kind = piece.get("type")
        told: Any = piece.get(kind) if kind in ("text", "thinking") else None
        rest: Json = ""
        if kind == "thinking" and isinstance(told, list):
            said = [one["text"] for one in told if _is_text(one)]
            if len(said) < len(told):  # references, say
                others.append({**piece, kind: [one for one in told if not _is_text(one)]})
                piece = {"type": kind}
            told, rest = "".join(said), []
        if kind == "reasoning" and isinstance(piece.get("summary"), list):
            summary = [one for one in piece["summary"] if _is_text(one, "summary_text")]
            if len(summary) == len(piece["summary"]):
                found = _read_summary(piece, summary)
                if found.text or len(found.wire["summary"][0]) > 1 or len(piece) > 2:
                    pieces.append(found)
                continue
        if type(told) is not str:
            others.append(piece)
        elif told or len(piece) > 2:
            block = "content" if kind == "text" else _THOUGHT
            pieces.append(_Piece(block, told, thaw({**piece, kind: rest})))
    return pieces, others


def _read_summary(piece: Members, summary: Sequence[Any]) -> _Piece:
    """A piece of reasoning: the texts of its summary are one, and so is what they have beside."""
    beside: Members = {"type": "summary_text"}
    for one in summary:
        beside.update((name, value) for name, value in one.items() if name != "text")
    text = "".join(one["text"] for one in summary)
    return _Piece(_REASONED, text, thaw({**piece, "summary": [beside]}))


def _is_text(piece: Any, kind: str = "text") -> bool:
    return isinstance(piece, dict) and piece.get("type") == kind and type(piece.get("text")) is str


def _read_call(call: Members, at: str, place: int | None, apart: bool) -> _Fragment:
    index = place
    if call.get("index") is not None:
        index = a_number(call, "index", at)
    name = text = ""
    rest: Members = {}
    for member, value in call.items():
        streams = {"function": "arguments", "custom": "input"}.get(member)
        if streams is None or value is None:
            rest[member] = thaw(value)
            continue
        found = _read_function(an_object(call, member, at), streams, path_to(at, member), apart)
        name, text = name or found[0], text or found[1]
        rest[member] = found[2]
    _maybe_text(call, "type", at)
    return _Fragment(index, _maybe_text(call, "id", at), name, text, rest)


def _read_function(
    function: Members, streams: str, at: str, apart: bool
) -> tuple[str, str, Members]:
    """Name and input of a call, and the whole of it without the input."""
    if apart and isinstance(function.get(streams), dict):  # it is parsed already
        line = _line(function[streams], path_to(at, streams))
        function = {**function, streams: line.removesuffix("\n")}
    text = _maybe_text(function, streams, at)
    rest: Members = {
        name: thaw(value) for name, value in function.items() if name != streams or not value
    }
    return _maybe_text(function, "name", at), text, rest


def _maybe_text(members: Members, name: str, at: str) -> str:
    """A string, "" where it is absent or null."""
    value = members.get(name)
    if value is None:
        return ""
    if type(value) is not str:
        raise wrong(members, name, at, "a string")
    return value


def _is_empty(value: Any) -> bool:
    return value is None or value in ("", [], {})


def _line(value: Any, at: str) -> str:
    """A value as one line of JSON; ASCII, so that no half of a surrogate pair is in it."""
    try:
        return json.dumps(value, separators=(",", ":")) + "\n"
    except ValueError:
        raise MalformedEvent(at, "holds a number of too many digits") from None


def _refuse(record: Members | None, choices: Sequence[_Choice]) -> None:
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


def _arguments(
    known: _Call | None, calls: Any
) -> tuple[tuple[str, str, str, str], str, None] | None:
    """The usual fragment, more arguments of the call that came last; None for others.

    Raises:
        KeyError, TypeError, AttributeError: it says more, or something else.
    """
    if known is None or calls.__class__ is not list or len(calls) != 1:
        return None
    place, key, wire = known
    call = calls[0]
    index, function = call["index"], call["function"]
    text = function["arguments"]
    if (
        index.__class__ is int
        and index == place
        and text.__class__ is str
        and text
        and (text[0] != "{" or text[-1] != "}")  # it may be all of them, once more
        and (len(call) == 2 or _repeats(wire, call, ("index", "function")))
        and (len(function) == 1 or _repeats(wire["function"], function, ("arguments",)))
    ):
        return (key, text, None)
    return None


def _repeats(known: Members, given: Members, beside: tuple[str, ...]) -> bool:
    """Whether members say what is known, or nothing of it; but for those that are read beside.

    Raises:
        KeyError: there is one of which nothing is known.
    """
    for name, value in given.items():
        if name not in beside and value != known[name] and value is not None and value != "":
            return False
    return True


# --- a chunk into events --------------------------------------------------------------------------


def _apply(
    completion: str,
    record: Members,
    wire: Members,
    choices: Sequence[_Choice],
    begins: bool,
    whole: bool,
) -> list[Event]:
    """The events of a chunk that was read, and what to remember of it. Raises nothing."""
    head = _head(record, wire, choices, begins, whole)
    events: list[Event] = []
    if not any(choice.place == 0 for choice in choices):
        events += _opening(record, completion, 0, "", head, record["head"])
        record["head"] = True
    for choice in choices:
        key = str(choice.place)
        message_id = _message_id(completion, choice.place)
        known: Members | None = record["choices"].get(key)
        info: Members = {}
        if choice.place == 0:
            info, head = head, {}
        made = known is not None
        if known is None:
            known = record["choices"][key] = _new_choice({})
            if choice.place == 0 and record.get("failed"):
                known["closed"] = "error"
        role = _first(known, choice, info, made)
        flags = _flags(known)
        known["fresh"] = []
        blocks, called = _parts(known, choice, message_id, info)
        if not whole:
            _follow(known, choice, called, made)
            if _flags(known) != flags:
                info["wire"] = _flags(known)
        ends = _ends(known, choice, message_id, whole)
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
    record: Members, wire: Members, choices: Sequence[_Choice], begins: bool, whole: bool
) -> Members:
    """Info of the completion itself: what its first chunk says, the last usage and moderation."""
    info: Members = {}
    usage, fingerprint = wire.get("usage"), wire.get("system_fingerprint")
    if begins:
        info["completion"] = {name: thaw(v) for name, v in wire.items() if name not in _READ}
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
                name: thaw(v) for name, v in wire.items() if name not in _KNOWN and v is not None
            }
            if rest:
                info["completionEnd"] = rest
    record["usage"], record["fingerprint"] = usage is not None, thaw(fingerprint)
    return info


def _opening(
    record: Members, completion: str, index: int, role: str, info: Members, opened: bool
) -> list[Event]:
    """The update that begins a message, or says what is new of it; none for nothing new."""
    message_id = _message_id(completion, index)
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


def _first(known: Members, choice: _Choice, info: Members, made: bool) -> str:
    """What a choice's first chunk says, and its last; the role where it is new."""
    told: Members = known["choice"]
    before = dict(told)
    if not made or choice.finish:
        extras = {name: thaw(v) for name, v in choice.wire.items() if name not in _CHOICE_READ}
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


def _note_logprobs(told: Members, choice: _Choice, made: bool) -> None:
    """Which lists of log probabilities there are; the tokens themselves are parts."""
    logprobs = choice.logprobs
    if logprobs is None:
        if not made and "logprobs" in choice.wire:
            told["logprobs"] = None
        return
    if told.get("logprobs") is None:
        names: Iterable[str] = _LOGPROBS if made else logprobs
        told["logprobs"] = {
            name: [] if name in choice.tokens else thaw(logprobs.get(name)) for name in names
        }


def _parts(
    known: Members, choice: _Choice, message_id: str, info: Members
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
        elif name in _CALLS and not _is_empty(value):
            continue  # below: behind the texts
        elif _is_empty(value):
            if name not in known["texts"] and f"delta:{name}" not in known["blocks"]:
                there = known["delta"].get(name)
                if name not in known["delta"] or (there is None and value is not None):
                    empty[name] = thaw(value)
        elif name in choice.lines:
            block = f"delta:{name}"
            events += _open(known, message_id, block, "data", _DATA_ORDER)
            events.append(_delta(message_id, block, choice.lines[name], "json"))
        elif name == _ANNOTATIONS and not isinstance(value, str):
            for item in value:
                block = f"annotation:{known['sources']}"
                known["sources"] += 1
                events += _open(
                    known, message_id, block, "source", _DATA_ORDER, _source_fields(item)
                )
        else:
            block = known["texts"].get(name)
            if block is None:
                own = name in _TEXTS and not _mirrors(known, choice.delta, name)
                block = known["texts"][name] = name if own else f"delta:{name}"
            kind, order = _TEXTS.get(block, ("data", _DATA_ORDER))
            events += _open(known, message_id, block, kind, order)
            events.append(_delta(message_id, block, value))
    for name in list(empty)[: max(0, _EMPTY_MEMBERS - len(known["delta"]))]:
        known["delta"][name] = empty[name]
        info["delta"] = dict(known["delta"])
    for name, lines in choice.tokens.items():
        if lines:
            block = f"logprobs:{name}"
            events += _open(known, message_id, block, "data", _DATA_ORDER)
            events.append(_delta(message_id, block, lines, "json"))
    if choice.function is not None:
        events += _call(known, message_id, "function_call", choice.function, _FUNCTION_ORDER)
    called = []
    for fragment in choice.calls:
        block, order = _call_of(known, fragment)
        events += _call(known, message_id, block, fragment, order)
        called.append(block)
    return events, called


def _piece(known: Members, message_id: str, piece: _Piece) -> list[Event]:
    """The events of a typed piece of content: it opens its part, says what is new, adds a text."""
    block = piece.block
    if block == "content":
        known["texts"][block] = block
    kind, order = _TEXTS.get(block, _TEXTS["thinking"])
    pieces: dict[str, Members] = known.setdefault("pieces", {})
    before = pieces.get(block)
    wire = {**(before or {}), **piece.wire}
    if before is not None and block == _REASONED:
        wire["summary"] = [{**before["summary"][0], **wire["summary"][0]}]
    pieces[block] = wire
    fields = {"wire": thaw(wire)} if wire != before else {}
    events = _open(known, message_id, block, kind, order, fields)
    if fields and not events:
        events.append(BlockUpdated(message_id=message_id, block_index=block, fields=fields))
    if piece.text:
        events.append(_delta(message_id, block, piece.text))
    return events


def _mirrors(known: Members, delta: Members, name: str) -> bool:
    """Whether a reasoning member begins as another one that is shown, with the same text."""
    return _TEXTS[name][0] == "reasoning" and any(
        known["texts"].get(other) == other and delta.get(other) == delta[name]
        for other, (kind, _) in _TEXTS.items()
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


def _delta(message_id: str, block: str, text: str, field: str = "text") -> Event:
    return BlockDelta(message_id=message_id, block_index=block, text=text, field=field)


def _source_fields(item: Members) -> Members:
    """An annotation as it came, with the address and title of a citation where one reads them."""
    citation = item.get("url_citation")
    told = citation if isinstance(citation, dict) else {}
    return {"wire": item, **{name: told[name] for name in ("url", "title") if name in told}}


def _call_of(known: Members, fragment: _Fragment) -> tuple[str, float]:
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
    known: Members, message_id: str, block: str, fragment: _Fragment, order: float
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
        if first:
            call["from"] = source
        if call["from"] != source:
            return events
        call.pop("again", None)
        is_whole = "custom" not in call["wire"] and _is_object(fragment.text)
        if whole is not None and fragment.text[0] == "{" and not json.loads(whole):
            # What the call began with stood for nothing yet: its arguments come now.
            del call["whole"]
            first = True
            events.append(_input(message_id, block, fragment.text))
        else:
            events.append(_delta(message_id, block, fragment.text, "input"))
        if is_whole and first:
            call["whole"] = fragment.text
        elif is_whole and len(fragment.text) > 2:
            call["again"] = fragment.text
    return events


def _input(message_id: str, block: str, text: str) -> Event:
    """All of the arguments of a call, in the place of what came of them."""
    return BlockUpdated(message_id=message_id, block_index=block, fields={"input": text})


def _said_again(known: Members, message_id: str) -> list[Event]:
    """Arguments that came in pieces and, at their end, as a whole object: they are that object.

    Whatever stands before it, no JSON ends with a whole object inside another value. Not where
    the answer was cut, which may have been behind a part of them.
    """
    if known["choice"].get("finish_reason") in (None, "", *_CUT):
        return []
    return [
        _input(message_id, block, call.pop("again"))
        for block, call in known["calls"].items()
        if "again" in call
    ]


def _is_next(call: Members, fragment: _Fragment) -> bool:
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


def _follow(known: Members, choice: _Choice, called: Sequence[str], made: bool) -> None:
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


def _ends(known: Members, choice: _Choice, message_id: str, whole: bool) -> list[Event]:
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
        events.append(MessageClosed(message_id=message_id, status=status))
    return events


# --- back to the wire -----------------------------------------------------------------------------


def _index_of(choice: Members) -> int:
    index = choice.get("index")
    return index if type(index) is int else 0


def _wire_head(message: Message) -> Members:
    info = message.info
    head: Members = thaw(info["completion"])
    later = ("usage", "system_fingerprint", "moderation")
    head.update({name: thaw(info[name]) for name in later if name in info})
    return head


def _wire_choice(message: Message, parts: Sequence[Part]) -> Members:
    info = message.info
    choice: Members = thaw(info["choice"])
    members = info.get("delta")
    body: Members = thaw(members) if isinstance(members, dict) else {}
    flags = info.get("wire")
    flags = flags if isinstance(flags, dict) else {}
    fresh = flags.get("fresh", ())
    calls: list[Members] = []
    pieces: list[Json] = []
    listed = False
    for part in parts:
        block = str(part.block_index)
        kind, _, rest = block.partition(":")
        if part.kind == "tool":
            told = bool(flags) and block not in fresh
            call = _wire_call(part, block == "function_call", told, bool(flags.get("merged")))
            if block == "function_call":
                body[block] = call
            else:
                calls.append(call)
        elif kind == "annotation":
            body[_ANNOTATIONS] = [*(body.get(_ANNOTATIONS) or ()), thaw(part.fields.get("wire"))]
        elif kind == "logprobs" and isinstance(choice.get("logprobs"), dict):
            choice["logprobs"][rest] = _values(part)
        elif block in ("content", _THOUGHT, _REASONED):
            body["content"] = part.view.raw()
            pieces.append(_wire_piece(part))
            listed = listed or block != "content" or "wire" in part.fields
        elif block in _TEXTS:
            body[block] = part.view.raw()
        elif kind == "delta":
            values = _values(part)
            body[rest] = value = _fold(values) if values else part.view.raw()
            if rest == "content" and isinstance(value, list):
                pieces, listed = [*pieces, *value], True
    if listed:
        body["content"] = pieces
    if calls:
        body["tool_calls"] = calls
    if flags.get("merged"):
        body = {**dict.fromkeys(_DEFAULTS), **body}
    if flags.get("parsed"):
        body.setdefault("parsed", None)
    return {**choice, "message": body}


def _wire_piece(part: Part) -> Members:
    """A text as the one piece of a content that is a list."""
    wire = part.fields.get("wire")
    piece: Members = thaw(wire) if isinstance(wire, dict) else {}
    text = part.view.raw()
    if part.block_index == _REASONED:
        summary = piece.get("summary")
        beside = summary[0] if are_objects(summary) and summary else {"type": "summary_text"}
        return {"type": "reasoning", **piece, "summary": [{**beside, "text": text}]}
    if part.block_index != _THOUGHT:
        return {"type": "text", **piece, "text": text}
    thinking = text if piece.get("thinking") == "" else [{"type": "text", "text": text}]
    return {"type": "thinking", **piece, "thinking": thinking}


def _wire_call(part: Part, legacy: bool, told: bool, merged: bool) -> Members:
    """A call as it came, with its input, and with the nulls of the official client.

    `told`: the client said that it began; `merged`: it was merged into a message after that.
    """
    wire = part.fields.get("wire")
    call: Members = thaw(wire) if isinstance(wire, dict) else {}
    view = part.others.get("input")
    text = view.raw() if view is not None else ""
    merged = merged and told
    if legacy:
        if text:
            call["arguments"] = text
        return {**dict.fromkeys(("arguments", "name")), **call} if merged else call
    name, streams = ("custom", "input") if "custom" in call else ("function", "arguments")
    function = call.get(name)
    if text:
        function = {**(function or {}), streams: text}
    if merged:
        call = {**dict.fromkeys(("id", "function", "type")), **call}
        if name == "function" and isinstance(function, dict):
            function = {**dict.fromkeys(("arguments", "name")), **function}
    if told and isinstance(function, dict) and call.get("type") == "function":
        function.setdefault("parsed_arguments", None)
    if function is not None:
        call[name] = function
    return call


def _values(part: Part) -> list[Json]:
    """The values of a data part, one from each line of its JSON."""
    view = part.others.get("json")
    if view is None:
        return []
    try:
        return [json.loads(line) for line in view.raw().split("\n") if line]
    except ValueError:  # of another writer
        return []


def _fold(values: list[Json]) -> Json:
    """What an unknown member came to: texts and lists are joined, of the rest the last holds."""
    folded, *rest = values
    for value in rest:
        folded = _join(folded, value)
    return folded


def _join(first: Json, second: Json, name: str = "") -> Json:
    if isinstance(first, dict) and isinstance(second, dict):
        joined = {key: _join(first.get(key), value, key) for key, value in second.items()}
        return {**first, **joined}
    if isinstance(first, list) and isinstance(second, list):
        merged = list(first)
        for item in second:
            index = item.get("index") if isinstance(item, dict) else None
            place = next((n for n, one in enumerate(merged) if _has_index(one, index)), None)
            if place is None:
                merged.append(item)
            else:
                merged[place] = _join(merged[place], item)
        return merged
    if isinstance(first, str) and isinstance(second, str) and name not in ("id", "type", "name"):
        return first + second
    return first if second is None or (name == "id" and first) else second


def _has_index(item: Json, index: Any) -> bool:
    return type(index) is int and isinstance(item, dict) and item.get("index") == index
