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
  began with, or the last behind pieces, which takes their place when the choice is finished with a
  reason that leaves nothing out (`stop`, `tool_calls`, `function_call`). An empty object (`{}`)
  that a call begins with stands for nothing where another follows, as Bedrock sends it; one behind
  pieces waits for what follows, and is none of them where the choice is finished so, as with vLLM.
- Reconnect: the wire cannot resume. A new request is a new sample with a new id, a new message; the
  cut one keeps what it has, marked as a gap. The same completion on a *new* stream is a replay: its
  first chunk there resets the message (announced as a rewrite), which is built again and keeps its
  place. From then on that stream delivers it; what an older one still brings is a duplicate. A
  first chunk without the role that the completion began with goes on where the other one stopped.
- A choice's index that counts chunks (old versions of Foundry Local and of TGI) makes a message of
  each chunk: until one of the indexes comes again nothing tells it from `n` choices that begin
  one after the other, each with a role and its first text, and what was shown is not moved.
- Snapshots: a whole `chat.completion` or a list of them (what `encode` gives, or the API's
  `{"object": "list", "data"}`), taken as a replay in one piece.
- The end: a choice is complete with its `finish_reason`; an error in the stream ends the choices
  that are not, with what they have. One in a choice that ends with `error` (OpenRouter) is its own.
  Each is told once, however often the completion is replayed.

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

Sources: the types and the accumulator of the official Python client (3.57), checked against its
snapshots of recorded streams; reports of what compatible servers send.

Which completion a chunk is of is decided here. How a chunk is read is in `chunks`, what
is remembered in `memory`, what becomes of a message in `apply`, and the way
back to the wire in `messages`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, NamedTuple

from ...errors import MalformedEvent, ProtocolStopped, RepeatedEvent, UnknownEvent
from ...events import (
    Event,
    MessageClosed,
    SessionError,
)
from ...keys import PartKey, is_number
from ...model import Json
from ..base import (
    NAMED,
    ONLY,
    Context,
    Declaration,
    DeltaShape,
    PlainDelta,
    Reads,
    ShortShape,
)
from ..bounded import forget_oldest
from ..members import (
    Members,
    a_list,
    an_event,
    are_objects,
    describe,
    objects,
    path_to,
    wrong,
)
from ..retold import is_retold
from .apply import apply, held_back, refuse_as_client, text_delta
from .chunks import (
    CHUNK,
    WHOLE,
    Call,
    Choice,
    choices_of,
    error_of,
    index_of,
    is_chunk,
    is_empty,
    is_whole,
    maybe_text,
    more_arguments,
    read_choice,
    text_member,
)
from .memory import (
    REMEMBERED,
    choice_id,
    ended_choices,
    goes_beyond,
    is_finished,
    keys_of,
    new_record,
    opens_one,
    retire,
    reused_id,
)
from .messages import Encoded, wire_choice, wire_head

# Completions in the making, per session: over it the oldest that is finished goes, else the oldest.
# Ids of one stream.
_OPEN = 16
_STREAM_IDS = 64


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
        named=lambda wire: text_member(wire["choices"][0]["delta"]),
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
        # The session: {"order", "streams", "known": {message: facts}, "open": {message: record},
        # "told": {message: errors}}.
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
            return kind in (CHUNK, WHOLE) and isinstance(wire.get("choices"), list)
        return (
            isinstance(wire, list)
            and bool(wire)
            and isinstance(wire[0], dict)
            and wire[0].get("object") == WHOLE
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
        return more_arguments(call, text) if name == "tool_calls" else None

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
                found = more_arguments(usual[1].call, usual[0]["tool_calls"])
                if found is not None:
                    (_, message_id, block, field), text, _ = found
                    return [text_delta(message_id, block, text, field)]
        except (KeyError, TypeError, AttributeError):
            pass  # it says more than that, or is malformed: read it all
        error = wire.get("error")
        if error:
            return self._failed(wire, error)
        kind = wire.get("object")
        if kind == CHUNK:
            return self._chunk(wire)
        if not self._strict and type(kind) is str and kind and is_chunk(wire):
            return self._chunk(wire)
        if kind == WHOLE:
            return self._wholes([wire], None)
        if kind == "list":
            return self._wholes(a_list(wire, "data"), "data")
        if kind is None and not self._strict:
            if is_whole(wire):
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
        completions: dict[tuple[str, str], Encoded] = {}
        for session_id in reads.session_ids():
            for message in reads.messages(session_id):
                info = message.info
                of = info.get("completionId")
                key = (session_id, of if isinstance(of, str) else message.id)
                if isinstance(info.get("completion"), dict):
                    completions.setdefault(key, Encoded({}, [])).head.update(wire_head(message))
                choice = info.get("choice")
                if isinstance(choice, dict):
                    parts = reads.parts(session_id, message.id)
                    found = completions.setdefault(key, Encoded({}, []))
                    found.choices.append(wire_choice(message, parts))
        return [
            {**found.head, "object": WHOLE, "choices": sorted(found.choices, key=index_of)}
            for found in completions.values()
        ]

    # -- what a chunk is of ----------------------------------------------------------------------

    def _place(self, wire: Members, wire_id: str, choices: Sequence[Choice]) -> _Place:
        """Which completion a chunk is of, and whether it begins it. Changes nothing."""
        own, session = self._own, self._session
        current = own.get("current")
        ids = own.get("ids", {})
        if current is not None and (not wire_id or (self._strict and wire_id not in ids)):
            record = session.get("open", {}).get(current)
            if self._strict or own["id"] or record is None or not goes_beyond(record, choices):
                return _Place(current)
        if wire_id in ids:
            return _Place(ids[wire_id])
        role = any(choice.role for choice in choices)
        if current is not None and not own.get("stable"):
            brings = any(not all(map(is_empty, choice.delta.values())) for choice in choices)
            record = session.get("open", {}).get(current)
            unfinished = record is not None and not is_finished(record)
            # Where the role is on every chunk, or with an end, it begins nothing.
            opens = not (unfinished and own.get("voiced")) and any(
                opens_one(choice) and not (unfinished and choice.finish) for choice in choices
            )
            another = brings and wire_id == own.get("passing")
            if not opens and (unfinished or not brings) and not another:
                return _Place(current)
        if not wire_id:
            return _Place(None, begins=True)
        known = session.get("known", {})
        created = wire.get("created")
        again = reused_id(known, wire_id, created)
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
            forget_oldest(known, REMEMBERED)
            retire(opened, message_id)
        if message_id not in opened:
            opened[message_id] = new_record(known[message_id]["order"], place.begins)
            while len(opened) > _OPEN:
                finished = (name for name, record in opened.items() if is_finished(record))
                retire(opened, next(finished, next(iter(opened))))
        opened[message_id]["stream"] = own["stream"]
        ids: dict[str, str] = own.setdefault("ids", {})
        if wire_id:
            ids[wire_id] = message_id
            forget_oldest(ids, _STREAM_IDS)
        own["id"], own["current"] = wire_id, message_id
        for name in ("passing", "voiced"):
            own.pop(name, None)
        return message_id

    def _chunk(self, wire: Members) -> list[Event]:
        wire_id = maybe_text(wire, "id", "")
        choices = [
            read_choice(choice, f"choices.{number}", number, False, self._strict, not self._strict)
            for number, choice in enumerate(choices_of(wire, self._strict))
        ]
        if not (wire_id or choices or self._strict or "current" in self._own):
            return []  # what some gateways say before the completion, of which there is nothing yet
        return self._take(wire, wire_id, choices, False)

    def _take(self, wire: Members, wire_id: str, choices: list[Choice], whole: bool) -> list[Event]:
        own = self._own
        if whole:
            known = self._session.get("known", {})
            again = reused_id(known, wire_id, wire.get("created")) if wire_id else None
            place = _Place(again, begins=True)
        else:
            place = self._place(wire, wire_id, choices)
        opened: dict[str, Members] = self._session.get("open", {})
        record = None if place.begins else opened.get(place.message_id or "")
        if self._strict and not whole:
            refuse_as_client(record, choices)
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
            record = opened[message_id] = new_record(facts["order"], False)
            record["stream"] = own["stream"]
        facts = self._session["known"].get(message_id, {})
        told: list[int] = facts.get("told", [])
        events = apply(message_id, record, wire, choices, place.begins, whole, told)
        if told:
            facts["told"] = told
        self._rearm()
        return events

    def _wholes(self, values: list[Any], at: str | None) -> list[Event]:
        """Whole completions, each taken in by itself; all are read before one is taken."""
        read: list[tuple[Members, str, list[Choice]]] = []
        for number, value in enumerate(values):
            place = "" if at is None else path_to(at, str(number))
            if not isinstance(value, dict):
                raise MalformedEvent(place, f"must be an object, not {describe(value)}")
            if value.get("object") not in (None, WHOLE):
                raise wrong(value, "object", place, f'"{WHOLE}"')
            wire_id = maybe_text(value, "id", place)
            choices_at = path_to(place, "choices")
            choices = [
                read_choice(choice, f"{choices_at}.{spot}", spot, True, False, not self._strict)
                for spot, choice in enumerate(objects(value, "choices", place))
            ]
            read.append((value, wire_id, choices))
        events: list[Event] = []
        for value, wire_id, choices in read:
            events += self._take(value, wire_id, choices, True)
        return events

    def _failed(self, wire: Members, error: Any) -> list[Event]:
        """An error in the stream: what the chunk brings besides, then the end of what is open."""
        told_error = error_of(error)
        if self._strict:
            raise ProtocolStopped(told_error["message"])
        events: list[Event] = []
        before = self._delivered()
        ended = ended_choices(before)
        if wire.get("object") == CHUNK and wire.get("choices"):
            events = [
                event for event in self._chunk(wire) if not isinstance(event, SessionError)
            ]  # a choice may tell it, too
        record = self._delivered()
        if record is not None:
            for key in keys_of(record):
                if record is before and key in ended:
                    continue
                message_id = choice_id(self._own["current"], int(key))
                if key in record["choices"]:
                    record["choices"][key]["closed"] = "error"
                    events += held_back(record["choices"][key], message_id)
                else:
                    record["failed"] = True
                closed = MessageClosed(message_id=message_id, status="error", error=told_error)
                events.append(closed)
        self._rearm()
        current, told = self._own.get("current"), self._session.setdefault("told", {})
        if current is None or not is_retold(told, current, self._own["stream"], told_error):
            events.insert(0, SessionError(error=told_error))
        elif not events:
            raise RepeatedEvent("an error of this completion")
        return events

    def _delivered(self) -> Members | None:
        """This stream's completion, unless another stream delivers it now."""
        record: Members | None = self._session.get("open", {}).get(self._own.get("current"))
        return record if record is not None and record["stream"] == self._own["stream"] else None

    # -- the short ways --------------------------------------------------------------------------

    def _usual(self, wire: Any) -> tuple[Any, _Armed] | None:
        """The delta of a chunk that has one choice in the making, and nothing beside it."""
        choices = wire["choices"]
        if wire["id"] != self._id or wire["object"] != CHUNK or len(choices) != 1:
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
            message_id = choice_id(current, index)
            if len(keys) != len(choice["texts"]):
                keys = {
                    name: PartKey(self._context.session_id, message_id, block)
                    for name, block in choice["texts"].items()
                }
            call = self._last_call(message_id, choice) if choice["calls"] else None
            self._armed[index] = _Armed(keys, choice["delta"], call)

    def _last_call(self, message_id: str, choice: Members) -> Call | None:
        """The call that came last, when more of its arguments would change nothing here."""
        last, at = choice["last"], choice["at"]
        block = at.get(last)
        if block is None or choice["tool"] != block or choice["calls"][block]["from"] != last:
            return None
        place, wire = int(last), choice["calls"][block]["wire"]
        if wire.get("index") is None or not isinstance(wire.get("function"), dict):
            return None  # the next fragment says what it is
        if not choice["calls"][block].keys().isdisjoint(("whole", "again", "held")):
            return None  # the next fragment may be another call's, or says that more comes
        if self._strict and place > len(at):
            return None  # a lenient stream began it
        return Call(place, (self._context.session_id, message_id, block, "input"), wire)


class _Armed(NamedTuple):
    """A choice for the short ways.

    Attributes:
        keys: of its text parts, by the delta's member.
        known: members that may ride along when they are null or empty, and its role.
        call: the call whose arguments may follow, None for none.
    """

    keys: dict[str, PartKey]
    known: Members
    call: Call | None


class _Place(NamedTuple):
    """Which completion a chunk is of: its message, and whether it begins or goes on here."""

    message_id: str | None
    begins: bool = False
    joins: bool = False
