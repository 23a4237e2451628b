"""Ways to break the library by a few lines each: the simulation must notice every one of them.

Each is a context manager that plants one defect and takes it out again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import attrs

from streamstore import (
    pipeline,
    reducer,
    rows,
    session_values,
    snapshots,
    subscribers,
    verdicts,
    watermarks,
)
from streamstore.adapters.openai_chat import OpenAIChatAdapter
from streamstore.adapters.openai_chat import adapter as openai_chat
from streamstore.adapters.openai_chat import apply as openai_chat_apply
from streamstore.adapters.openai_responses import OpenAIResponsesAdapter
from streamstore.adapters.openai_responses import adapter as openai_responses
from streamstore.adapters.openai_responses.apply import Output
from streamstore.adapters.openai_responses.memory import Here
from streamstore.changes import MergedChanges
from streamstore.client import resuming, resync, watch
from streamstore.errors import RepeatedEvent
from streamstore.ingress import Ingress
from streamstore.jsonpatch import apply_patch
from streamstore.marks import EventIds, FieldMarks, Marks
from streamstore.model import freeze
from streamstore.positions import Position, Positions
from streamstore.reducer import Reducer
from streamstore.rows import SessionRow
from streamstore.session_values import SessionValues

_INHERITED = object()
DEFECTS: dict[str, Callable[[], Any]] = {}


def _defect(name: str) -> Callable[[Callable[[], Iterator[Any]]], Any]:
    def kept(plant: Callable[[], Iterator[Any]]) -> Any:
        @contextmanager
        def planted() -> Iterator[None]:
            changes = list(plant())
            before = [(owner, at, vars(owner).get(at, _INHERITED)) for owner, at, _ in changes]
            for owner, at, value in changes:
                setattr(owner, at, value)
            try:
                yield
            finally:
                for owner, at, value in before:
                    if value is _INHERITED:
                        delattr(owner, at)
                    else:
                        setattr(owner, at, value)

        DEFECTS[name] = planted
        return planted

    return kept


@_defect("a late operation that is known is taken in again")
def _known() -> Iterator[Any]:
    yield Marks, "knows", lambda self, seq: False


@_defect("what waits behind a hole is forgotten when it is filled")
def _drain() -> Iterator[Any]:
    yield watermarks.Gate, "drain", lambda self, block: []


@_defect("a snapshot sets no marks")
def _cover() -> Iterator[Any]:
    yield Ingress, "_cover", lambda self, event, session: None


@_defect("event ids are not remembered")
def _ids() -> Iterator[Any]:
    yield EventIds, "__contains__", lambda self, event_id: False


@_defect("the last field to arrive wins, whatever its number")
def _fields() -> Iterator[Any]:
    merge = FieldMarks.merge

    def arrived(self: Any, given: Any, seq: Any = None, whole: bool = False) -> bool:
        return merge(self, given, None, whole)

    yield FieldMarks, "merge", arrived


@_defect("the resume position jumps over holes")
def _position() -> Iterator[Any]:
    yield (
        Positions,
        "before_holes",
        lambda self, progress, taken: Position(progress.received, taken.event_id),
    )


@_defect("a subscriber that raises keeps the others from hearing")
def _raising() -> Iterator[Any]:
    def notify(self: Any, changes: Any) -> None:
        for subscription in self._by_scope.get((), ()):
            try:
                subscription._callback(changes)
            except Exception as error:
                self._on_error(error, subscription)
                return

    yield subscribers.Subscribers, "notify", notify


@_defect("merged change sets forget what was added meanwhile")
def _merged() -> Iterator[Any]:
    add = MergedChanges.add

    def forgetful(self: Any, changes: Any) -> None:
        kept = dict(self._text)
        add(self, changes)
        for field in kept:
            self._text[field] = kept[field]
            self._text.pop(field, None)

    yield MergedChanges, "add", forgetful


@_defect("a saved state lacks what waits behind holes")
def _saved() -> Iterator[Any]:
    save = pipeline.save_session

    def lossy(session: Any) -> Any:
        held = {}
        for message in session.messages.values():
            for block in message.blocks.values():
                held[id(block)] = (block, block.held)
                block.held = {}
        try:
            return save(session)
        finally:
            for block, before in held.values():
                block.held = before

    yield pipeline, "save_session", lossy


@_defect("what the short way left is not settled before a late event")
def _settle() -> Iterator[Any]:
    settle = rows.BlockRow.settle

    def lossy(self: Any, window: int) -> int:
        if len(self.fresh) > 2:
            self.fresh.reverse()
        return int(settle(self, window))

    yield rows.BlockRow, "settle", lossy


@_defect("a removal leaves no tombstone for its blocks")
def _tombstones() -> Iterator[Any]:
    admit = watermarks.Gate.admit

    def forgetful(self: Any, mode: Any, event: Any, session: Any, message: Any, *rest: Any) -> Any:
        if message is not None and message.removed_now and mode == "block":
            message.gone = False
        return admit(self, mode, event, session, message, *rest)

    yield watermarks.Gate, "admit", forgetful


# --- of what is said beside texts -----------------------------------------------------------------


@_defect("an answer is forgotten when it comes before the request")
def _answers() -> Iterator[Any]:
    def forgetful(self: Any, event: Any, session: Any, arrival: Any) -> None:
        self._requests(session, event).pop(event.request_id, None)

    yield SessionValues, "_answered", forgetful


@_defect("a permission and a question of one id are one")
def _one_id() -> Iterator[Any]:
    alike = staticmethod(lambda event, request_id: f"permissions {request_id}")
    yield SessionValues, "_answer", alike


@_defect("the last todo list, diff or status to arrive wins, whatever its number")
def _own() -> Iterator[Any]:
    own = SessionValues._own

    def arrived(self: Any, event: Any, session: Any, arrival: Any) -> None:
        own(self, attrs.evolve(event, seq=None), session, arrival)

    yield SessionValues, "_own", arrived


@_defect("errors are kept in the order in which they come")
def _errors() -> Iterator[Any]:
    def arrived(self: Any, event: Any, session: Any, arrival: Any) -> None:
        session.errors.append((event.seq, freeze(event.error)))

    yield SessionValues, "_session_error", arrived


@_defect("a patch of the shared state is applied to what is there when it comes")
def _patches() -> Iterator[Any]:
    def arrived(self: Any, event: Any, session: Any, arrival: Any) -> Any:
        state = (event.state,)
        if event.patch is not None:
            state = apply_patch(session.own.values.get("state"), event.patch, self._limits)
        if state is None:
            return verdicts.CONFLICT
        session.own.put("state", freeze(state[0]), -1)

    yield SessionValues, "_set_state", arrived


@_defect("a patch that does not fit is carried out as far as it goes")
def _halfway() -> Iterator[Any]:
    patch = session_values.apply_patch

    def halfway(document: Any, steps: Any, *rest: Any) -> Any:
        for step in steps:
            done = patch(document, [step], *rest)
            document = document if done is None else done[0]
        return (document,)

    yield session_values, "apply_patch", halfway


@_defect("what is said of a removed session adds it again")
def _sessions() -> Iterator[Any]:
    yield SessionRow, "removed_now", property(lambda self: False)


@_defect("a session that begins anew has what it had before")
def _again() -> Iterator[Any]:
    yield Reducer, "_session_removed", lambda self, event, session, arrival: None


@_defect("a message of the user stays beside the server's own")
def _adopt() -> Iterator[Any]:
    yield Reducer, "_adopt", lambda self, session, message, client_id: None


@_defect("what the user takes back stays")
def _rollback() -> Iterator[Any]:
    yield Reducer, "_message_rollback", lambda self, event, message, arrival: None


@_defect("a fetched state removes what the user said meanwhile")
def _locals() -> Iterator[Any]:
    def absent(snapshot: Any, messages: Any, session: Any) -> Any:
        ids = {fetched.id for fetched in messages}
        return [m for m in session.messages.values() if m.exists and m.key.message_id not in ids]

    yield snapshots, "_absent", absent


@_defect("an input that streamed stays beside the one that is said whole")
def _input() -> Iterator[Any]:
    yield Reducer, "_field_text", lambda self, block, name, value, seq: None


@_defect("a tool goes back to a lower state")
def _rank() -> Iterator[Any]:
    yield reducer, "tool_rank", lambda state: 0 if isinstance(state, dict) else -1


@_defect("a result that waits under a removal does not meet its call again")
def _met() -> Iterator[Any]:
    learn = Reducer._learn_call

    def once(self: Any, session: Any, block: Any) -> None:
        call_id = block.fields.values.get("callId")
        if call_id != block.call_id or session.calls.get(call_id) is not block:
            learn(self, session, block)

    yield Reducer, "_learn_call", once


@_defect("a result whose call is not known is thrown away")
def _unmet() -> Iterator[Any]:
    result = Reducer._tool_result

    def forgetful(self: Any, event: Any, session: Any, arrival: Any) -> Any:
        found = result(self, event, session, arrival)
        if found is verdicts.HELD:
            session.results_size -= len(session.results.pop(event.call_id))
        return found

    yield Reducer, "_tool_result", forgetful


# --- of the server's counter ----------------------------------------------------------------------


@_defect("a generation is whatever the last opening says, also a stale one")
def _generations() -> Iterator[Any]:
    def anything(self: Any, session: Any, event: Any, stream: Any) -> None:
        return None

    yield watermarks.Gate, "generation", anything


@_defect("what comes before its generation is opened is thrown away")
def _unopened() -> Iterator[Any]:
    restart = Ingress._restart

    def forgetful(self: Any, session: Any, generation: str) -> None:
        session.waiting = []
        restart(self, session, generation)

    yield Ingress, "_restart", forgetful


@_defect("a new counter keeps the old one's marks")
def _marks() -> Iterator[Any]:
    yield Marks, "restart", lambda self: None


@_defect("what is said anew is appended to the previous text")
def _previous() -> Iterator[Any]:
    yield Reducer, "_renew", lambda self, block: setattr(block, "previous", False)


@_defect("the previous text goes when the counter starts again")
def _forgotten() -> Iterator[Any]:
    restart = Reducer._restart_block

    def forgetful(self: Any, block: Any) -> None:
        for _, cell in block.cells():
            cell.replace("")
        restart(self, block)

    yield Reducer, "_restart_block", forgetful


@_defect("a reset message keeps its old blocks")
def _reset() -> Iterator[Any]:
    yield Reducer, "_message_reset", lambda self, event, message, arrival: None


@_defect("results of the old counter wait for calls of the new one")
def _results() -> Iterator[Any]:
    restart = Reducer.restart

    def kept(self: Any, session: Any, generation: str) -> None:
        waiting, size = dict(session.results), session.results_size
        restart(self, session, generation)
        session.results.update(waiting)
        session.results_size = size

    yield Reducer, "restart", kept


# --- of small bounds ------------------------------------------------------------------------------


@_defect("what waited under a tombstone is not counted when that is forgotten")
def _uncounted() -> Iterator[Any]:
    yield Reducer, "_drop_held", lambda self, block: setattr(block, "held", {})


# --- of the client and its disk -------------------------------------------------------------------


@_defect("a connection resumes one event too far")
def _cursor() -> Iterator[Any]:
    position = resuming.LastEventId.position

    def further(self: Any, store: Any, stream: Any) -> Any:
        found = position(self, store, stream)
        return found and str(int(found) + 1)

    yield resuming.LastEventId, "position", further


@_defect("a session is resumed one number too far")
def _after() -> Iterator[Any]:
    position = resuming.AfterSeq.position

    def further(self: Any, store: Any, stream: Any) -> Any:
        found = position(self, store, stream)
        return None if found is None else found + 1

    yield resuming.AfterSeq, "position", further


@_defect("a fetched state is thrown away")
def _apply() -> Iterator[Any]:
    yield resync.Resync, "_apply", lambda self, wires: True


@_defect("a silent connection is not given up")
def _silence() -> Iterator[Any]:
    async def never(self: Any) -> None:
        await asyncio.Event().wait()

    yield watch.Silence, "watch", never


# --- of OpenAI's protocols ------------------------------------------------------------------------


@_defect("an event of a response that came before is taken in again")
def _numbers() -> Iterator[Any]:
    here = OpenAIResponsesAdapter._here

    def anything(self: Any, key: str, number: Any, kind: str, lane: str, offered: int = -1) -> Any:
        try:
            return here(self, key, number, kind, lane, offered)
        except RepeatedEvent:
            return Here(key, self._responses[key], None)

    yield OpenAIResponsesAdapter, "_here", anything


@_defect("a response goes on one event too far")
def _starting_after() -> Iterator[Any]:
    resume = OpenAIResponsesAdapter.resume

    def further(self: Any, response_id: Any = None) -> Any:
        found = resume(self, response_id)
        if found is None or found.starting_after is None:
            return found
        return found._replace(starting_after=found.starting_after + 1)

    yield OpenAIResponsesAdapter, "resume", further


@_defect("a response has ended when its connection has")
def _clean() -> Iterator[Any]:
    yield resuming.StartingAfter, "done", lambda self, store, stream, clean: True


@_defect("late text of a response is put behind what came")
def _unnumbered() -> Iterator[Any]:
    kind = "response.output_text.delta"
    delta = openai_responses.HANDLERS[kind]

    def arrived(output: Any, wire: Any, here: Any) -> Any:
        first, *others = delta(output, wire, here)
        return [attrs.evolve(first, seq=None), *others]

    yield openai_responses, "HANDLERS", {**openai_responses.HANDLERS, kind: arrived}


@_defect("the end of a response says nothing of its parts")
def _whole() -> Iterator[Any]:
    put = Output.put

    def nothing(self: Any, here: Any, response: Any, output: Any, final: bool) -> Any:
        info, events = put(self, here, response, output, final)
        return info, [] if final else events

    yield Output, "put", nothing


@_defect("a completion that is sent again is appended to what there is")
def _afresh() -> Iterator[Any]:
    record = openai_chat.new_record

    def stale(order: Any, begins: bool) -> Any:
        return {**record(order, begins), "fresh": False}

    yield openai_chat, "new_record", stale


@_defect("what an older stream still brings of a completion is taken in")
def _older() -> Iterator[Any]:
    begin = OpenAIChatAdapter._begin

    def shared(self: Any, *given: Any) -> Any:
        self._own["stream"] = self._session["streams"] = 1
        return begin(self, *given)

    yield OpenAIChatAdapter, "_begin", shared


@_defect("every choice of a completion is the first one")
def _choices() -> Iterator[Any]:
    for module in (openai_chat, openai_chat_apply):
        yield module, "choice_id", lambda completion, index: completion


@_defect("the names of a call are joined, as its arguments are")
def _joined() -> Iterator[Any]:
    fill = openai_chat_apply._fill

    def joined(known: Any, given: Any) -> bool:
        for name in ("id", "name"):
            if name in known and given.get(name):
                known[name] += given[name]
                return True
        return bool(fill(known, given))

    yield openai_chat_apply, "_fill", joined


@_defect("a cut completion lacks nothing")
def _cut() -> Iterator[Any]:
    yield Reducer, "cut", lambda self, blocks: None


OF_OPENAI = (
    "an event of a response that came before is taken in again",
    "a response goes on one event too far",
    "a response has ended when its connection has",
    "late text of a response is put behind what came",
    "the end of a response says nothing of its parts",
    "a completion that is sent again is appended to what there is",
    "what an older stream still brings of a completion is taken in",
    "every choice of a completion is the first one",
    "the names of a call are joined, as its arguments are",
    "a cut completion lacks nothing",
)
OF_BOUNDS = ("what waited under a tombstone is not counted when that is forgotten",)
OF_THE_CLIENT = (
    "a connection resumes one event too far",
    "a session is resumed one number too far",
    "a fetched state is thrown away",
    "a silent connection is not given up",
)
