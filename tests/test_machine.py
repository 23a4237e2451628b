"""A store driven at random against the naive fold: arrivals in any order and again, ticks, saves and
loads, streams that end and streams that open, two sessions whose messages have the same ids.
"""

from __future__ import annotations

import json
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
)
from mirror import Mirror
from naive import ENDED, fold, missing, objects
from strategies import FRAMINGS, SESSIONS, Wire, logs, malformed

from streamstore import StreamStore


class Machine(RuleBasedStateMachine):
    """The rules that every sequencing shares; `came` is what the naive fold folds."""

    sequencing: Any = "block"

    def __init__(self) -> None:
        super().__init__()
        self.came: list[Wire] = []
        self.taken: list[Wire] = []
        self.shown: Any = {}
        self.values: list[Any] = []

    @initialize(
        data=st.data(),
        delivery=st.sampled_from(["streaming", "streaming", "buffered"]),
    )
    def begin(self, data: Any, delivery: str) -> None:
        self.log = json.loads(json.dumps(data.draw(logs(self.sequencing))))
        self.waiting = list(range(len(self.log)))
        self.delivery = delivery
        self.store = StreamStore("native", ticks="manual", delivery=delivery)  # type: ignore[arg-type]
        self.streams = [self.open()]
        self.mirror = Mirror(self.store)

    def open(self) -> Any:
        return self.store.open("native", sequencing=self.sequencing)

    def take(self, event: Wire, stream: Any) -> None:
        """Bring an event; the naive fold hears of it, too."""
        expected = self.expected(event)
        verdict = stream.ingest(event)
        assert (verdict.reason or verdict.kind) in expected, (verdict, expected)
        self.came.append(event)
        if verdict.taken:
            self.taken.append(event)

    def expected(self, event: Wire) -> set[str]:
        """What may become of an event, from what came before it."""
        gone = self.removed(event)
        if gone and not event["type"].endswith(".removed"):
            return {"removed"}
        if self.sequencing == "none":
            named = [(came["sessionId"], came.get("id")) for came in self.came if "id" in came]
            again = (event["sessionId"], event.get("id")) in named
            return {"duplicate"} if again else {"accepted", "sealed"}
        if event["type"] not in ("block.delta", "block.replaced"):
            return {"accepted", "late", "duplicate"}
        key = tuple(event[name] for name in ("sessionId", "messageId", "blockIndex"))
        before = [
            came
            for came in self.came
            if tuple(came.get(name) for name in ("sessionId", "messageId", "blockIndex")) == key
        ]
        for came in before:
            if came["type"] in ("block.delta", "block.replaced") and came["seq"] == event["seq"]:
                return {"duplicate"}
            if came["type"] == "block.snapshot" and came["seq"] >= event["seq"]:
                return {"duplicate"}
        below = range(1, event["seq"])
        holes = [
            number
            for start, stop in missing([*before, event]).get(key, ())
            for number in range(start, stop + 1)
        ]
        return {"held"} if any(number in below for number in holes) else {"accepted"}

    def removed(self, event: Wire) -> bool:
        names = ("sessionId", "messageId", "blockIndex")
        return any(
            came["type"].endswith(".removed")
            and all(came.get(name) in (None, event.get(name)) for name in names)
            for came in self.came
        )

    def sees_all(self) -> None:
        """Show everything and compare it with the naive fold."""
        for session_id in SESSIONS:
            self.store.release(session_id)
        self.flush()
        assert self.shown == fold(self.came, self.sequencing)

    # -- rules -----------------------------------------------------------------------------

    @precondition(lambda self: self.waiting)
    @rule(data=st.data())
    def bring(self, data: Any) -> None:
        for _ in range(data.draw(st.integers(1, 4))):
            if self.waiting:
                place = self.waiting.pop(self.pick(data))
                self.take(self.log[place], data.draw(st.sampled_from(self.streams)))

    def pick(self, data: Any) -> int:
        """The place, among those that wait, of the event that comes next: any one."""
        return data.draw(st.integers(0, min(5, len(self.waiting) - 1)))

    @rule(data=st.data())
    def bring_something_malformed(self, data: Any) -> None:
        stream = data.draw(st.sampled_from(self.streams))
        wire = data.draw(malformed(self.log)) if self.sequencing == "block" else {"type": 7}
        assert stream.ingest(wire).kind == "malformed"

    @rule()
    def flush(self) -> None:
        changes = self.store.flush()
        self.shown, self.values = self.store.state()["sessions"], objects(self.store)
        self.mirror.check()
        if self.delivery == "streaming":
            assert self.shown == fold(self.came, self.sequencing)
        assert not self.store.flush()
        assert changes.version == self.store.version

    @rule()
    def release(self) -> None:
        self.sees_all()

    @rule()
    def save_and_load(self) -> None:
        saved = json.loads(json.dumps(self.store.save()))
        self.store = StreamStore.load(saved, ticks="manual")
        self.streams = [self.open() for _ in self.streams]
        self.mirror = Mirror(self.store)
        self.values = objects(self.store)

    @rule()
    def open_another(self) -> None:
        if len(self.streams) < 3:
            self.streams.append(self.open())

    @invariant()
    def nothing_is_shown_between_ticks(self) -> None:
        if hasattr(self, "store"):
            assert self.store.state()["sessions"] == self.shown
            now = objects(self.store)
            assert all(mine is other for mine, other in zip(now, self.values, strict=True))

    def teardown(self) -> None:
        if hasattr(self, "store"):
            for place in self.waiting:
                self.take(self.log[place], self.streams[0])
            self.sees_all()


class BlockMachine(Machine):
    """Numbered operations: any order, any of them again, over any stream."""

    @precondition(lambda self: self.came)
    @rule(data=st.data())
    def bring_again(self, data: Any) -> None:
        event = data.draw(st.sampled_from(self.came))
        self.take(event, data.draw(st.sampled_from(self.streams)))

    @rule(data=st.data())
    def end_and_open(self, data: Any) -> None:
        place = data.draw(st.integers(0, len(self.streams) - 1))
        self.streams[place].end()
        self.streams[place] = self.open()

    @rule(data=st.data())
    def bring_everything_again_as_bytes(self, data: Any) -> None:
        stream = self.open()
        stream.feed(data.draw(st.sampled_from(FRAMINGS))(self.came))
        self.streams.append(stream)


class NoneMachine(Machine):
    """No numbers: what comes is what counts, but for ids that came before."""

    sequencing = "none"

    def pick(self, data: Any) -> int:
        """In order: what comes before its opening is another text here."""
        return 0

    @precondition(lambda self: any("id" in event for event in self.taken))
    @rule(data=st.data())
    def bring_again(self, data: Any) -> None:
        named = [event for event in self.taken if "id" in event and not self.removed(event)]
        if named:
            event = data.draw(st.sampled_from(named))
            self.take(event, data.draw(st.sampled_from(self.streams)))

    @precondition(lambda self: len(self.streams) == 1)
    @rule()
    def end_and_open(self) -> None:
        self.streams[0].end()
        self.came.append(ENDED)
        self.streams = [self.open()]


TestBlockMachine = BlockMachine.TestCase
TestNoneMachine = NoneMachine.TestCase
TestBlockMachine.settings = TestNoneMachine.settings = settings(stateful_step_count=25)
