"""The first hole is found without a look at the others: the same one as by a look at each."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from typing import Any

import pytest
from one_stream import frame

from streamstore import Limits, StreamStore
from streamstore.events import MessageRemoved, SessionRemoved
from streamstore.positions import Position, Positions, Progress


class Checked:
    """Every question that is asked is answered a second time, hole by hole."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.answers = self.held = 0
        before_holes, of_kin = Positions.before_holes, Positions._before_kins_holes

        def one(positions: Positions, progress: Progress, taken: Position) -> Position:
            first = looked_at_each(positions, [progress], taken)
            answer = before_holes(positions, progress, taken)
            assert (answer, answer._age) == (first, first._age)
            self.answers += 1
            self.held += answer is not taken
            return answer

        def kin(positions: Positions, taken: Position) -> str:
            some = list(positions._kin.values())
            first = looked_at_each(positions, some, taken) if len(some) > 1 else taken
            answer = of_kin(positions, taken)
            assert answer == first.event_id
            return answer

        monkeypatch.setattr(Positions, "before_holes", one)
        monkeypatch.setattr(Positions, "_before_kins_holes", kin)


def looked_at_each(positions: Positions, whose: Iterable[Any], taken: Position) -> Position:
    holders = {id(holder): holder for holder in whose}
    places: dict[int, list[Position]] = {}
    for row in positions.blocks.values():
        seen = set()
        for holder, place in row.holes_at.values():
            if len(holders) > 1 or id(holder) not in seen:  # its later ones stand later
                places.setdefault(id(holder), []).append(place)
            seen.add(id(holder))
    for session in positions.sessions.values():
        holes = session.intervals.holes()
        if holes and session.holes_at:
            known = [entry for entry in session.holes_at if entry[0] <= holes[0][0]]
            _, holder, place = known[-1] if known else (0, session.holes_at[0][1], Position())
            places.setdefault(id(holder), []).append(place)
    firsts = []
    for name, found in places.items():
        if name in holders:
            holder = holders[name]
            token = holder.token if isinstance(holder, Progress) else holder["token"]
            firsts.append(min(found, key=lambda place: seen_by(token, place)))
    first = min(firsts, key=lambda place: place._age, default=taken)
    return first if first._age < taken._age or first._age[0] > taken._age[0] else taken


def seen_by(token: int, place: Position) -> tuple[int, ...]:
    # What stands on another connection comes behind what was missed before it was noticed.
    own = place._age[0] == token
    return place._age if own else (token, place._seen, *place._age)


@pytest.mark.parametrize("seed", range(40))
def test_the_first_hole_is_the_one_that_a_look_at_each_finds(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    checked = Checked(monkeypatch)
    chance = random.Random(seed)
    limits = Limits(held_operations=chance.choice([3, 50]), ended_streams=chance.choice([2, 50]))
    store = StreamStore(ticks="manual", limits=limits)
    modes: Any = chance.choice([["block"], ["session"], ["block", "session"]])

    def opened() -> Any:
        of = chance.choice([None, None, "s0"])
        return store.open("native", sequencing=chance.choice(modes), session_id=of)

    streams, tops = [opened()], dict[tuple[Any, ...], int]()
    for step in range(120):
        what = chance.random()
        session, message = f"s{chance.randrange(3)}", f"m{chance.randrange(2)}"
        if what < 0.06:
            streams.append(opened())
        elif what < 0.11 and len(streams) > 1:
            streams.pop(chance.randrange(len(streams))).end()
        elif what < 0.13:
            saved = json.loads(json.dumps(store.save()))
            store = StreamStore.load(saved, ticks="manual", limits=limits)
            streams = [opened()]
        elif what < 0.16:
            store.apply(MessageRemoved(session_id=session, message_id=message))
        elif what < 0.17:
            store.apply(SessionRemoved(session_id=session))
        else:
            where = {"sessionId": session, "messageId": message, "blockIndex": chance.randrange(2)}
            top = tops.get(tuple(where.values()), 0)
            seq = chance.choice([top + 1, top + 1, top + chance.randint(2, 5), 1 + top // 2])
            tops[tuple(where.values())] = max(top, seq)
            kind = chance.choices(
                ["delta", "removed", "closed", "snapshot", "opened", "reset"], [84, 5, 5, 3, 1, 2]
            )[0]
            wire: dict[str, Any] = {"type": f"block.{kind}", **where, "seq": seq, "text": "x"}
            if kind == "opened":
                wire = {"type": "stream.opened", "generation": f"g{step}"}
                tops.clear()
            elif kind == "reset":
                wire["type"] = "message.reset"
            stream = chance.choice(streams)
            stream.feed(frame(step + 1, wire)) if chance.random() < 0.9 else stream.ingest(wire)
        for stream in streams:
            assert stream.position is not None
        assert store.health.resume.get("eventId") == store.flush().resume.get("eventId")
    assert checked.answers > 100 and checked.held > 10


def test_a_hole_behind_one_that_was_filled_holds_the_position_of_a_block_that_was_closed() -> None:
    store = StreamStore(ticks="manual")
    stream = store.open("native", sequencing="block")
    where = {"sessionId": "s", "messageId": "m", "blockIndex": 0}
    other: dict[str, Any] = {"type": "session.updated", "sessionId": "t", "info": {}}
    deltas = [{"type": "block.delta", **where, "seq": seq, "text": "x"} for seq in (1, 3, 5, 2)]
    closed = {"type": "block.closed", **where, "seq": 7}
    places = []
    for number, wire in enumerate([*deltas[:2], other, deltas[2], closed, deltas[3], other], 1):
        stream.feed(frame(number, wire))
        places.append(stream.position.event_id)
    # Of what waits, 3 came out with 2: 4 is missing before 5, and more before the close.
    assert places == ["1", "1", "1", "1", "1", "2", "2"]
    assert store.health.resume["eventId"] == "2"
