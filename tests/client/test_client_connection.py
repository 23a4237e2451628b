"""A connection over drops, silence, redirects and refusals, in virtual time."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from random import Random
from typing import Any

import pytest
from recordings import PROTOCOLS, cases
from virtual import EVENT_STREAM, Answer, VirtualClock, VirtualTransport, events, run, served

from streamstore import CallerError, Limits, Stream, StreamStore, UnknownProtocol
from streamstore.client import (
    AfterSeq,
    CertificateRefused,
    Connection,
    ConnectionLost,
    LastEventId,
    PoisonedStream,
    Policy,
    Read,
    Request,
    SnapshotRefused,
    StartingAfter,
    StreamRefused,
    TooManyRedirects,
    connect,
)
from streamstore.client.owning import SameLoop
from streamstore.events import MessageOpened, MessageUpdated
from streamstore.ticks import ManualTicks

URL = "http://server/events"


def delta(seq: int, text: str | None = None, **members: Any) -> dict[str, Any]:
    return {
        "type": "block.delta", "sessionId": "s", "messageId": "m", "blockIndex": 0, "seq": seq,
        "text": f"{seq} " if text is None else text, **members,
    }  # fmt: skip


def frame(wire: dict[str, Any], id: Any = None) -> bytes:
    head = "" if id is None else f"id: {id}\n"
    return f"{head}data: {json.dumps(wire)}\n\n".encode()


def frames(first: int, last: int) -> list[bytes]:
    return [frame(delta(seq), seq) for seq in range(first, last + 1)]


def text_of(store: StreamStore) -> str:
    store.flush()
    part = store.part("s", "m", 0)
    return "" if part is None else part.text


def make(
    transport: VirtualTransport, store: StreamStore | None = None, **options: Any
) -> Connection:
    options.setdefault("clock", VirtualClock())
    options.setdefault("chance", lambda: 0.0)
    options.setdefault("protocol", "native")
    return connect(
        URL, store=store if store is not None else StreamStore(), transport=transport, **options
    )


async def ended(connection: Connection) -> BaseException | None:
    """The error with which a connection ends, None for none."""
    async with connection:
        try:
            await connection.wait()
        except Exception as error:
            assert error is connection.error
            return error
    return None


async def after(connection: Connection, ms: float) -> Connection:
    async with connection:
        await asyncio.sleep(ms / 1000)
    return connection


# --- opening --------------------------------------------------------------------------------------


def test_events_of_a_stream_reach_the_store() -> None:
    async def main() -> None:
        store = StreamStore()
        transport = VirtualTransport(served(events(*frames(1, 3), drop=False)))
        async with make(transport, store) as connection:
            await connection.opened()
            await asyncio.sleep(1)
            assert text_of(store) == "1 2 3 "
            assert connection.state == "open" and connection.position == "3"
        assert transport.open_now == 0 and connection.state == "ended"
        assert connection.error is None

    run(main())


@pytest.mark.parametrize("status", [204, 400, 401, 403, 404, 409, 410, 412, 422])
def test_204_and_4xx_end_at_once_with_a_clear_error(status: int) -> None:
    transport = VirtualTransport(served(Answer(status, {})))
    error = run(ended(make(transport)))
    assert isinstance(error, StreamRefused) and error.status == status
    assert str(status) in str(error) and len(transport.requests) == 1 and transport.open_now == 0


@pytest.mark.parametrize(
    ("status", "kind", "body", "says"),
    [
        (400, "application/json", [b'{"error": {"mess', b'age":\n "no \x1b model"}}'],
         '; it says: {"error": {"message": "no ? model"}}'),
        (401, "application/problem+json; charset=utf-8", [b'"Bearer sk-secret is wrong"'],
         '; it says: "Bearer *** is wrong"'),
        (403, "text/plain", [b"no session 0123-4567"], "; it says: no session ***"),
        (200, "application/json", [b'{"id": "r"}'], '; it says: {"id": "r"}'),
        (403, "text/plain, text/plain; charset=utf-8", [b"no"], "; it says: no"),  # of a proxy
        (422, "text/plain", [b"never ", 1e9], "; it says: never"),
        (404, "text/plain", [b"half ", ConnectionLost("cut")], "; it says: half"),
        (403, "text/plain", [b"x" * 3_000, b"y" * 3_000, 1e9], f"; it says: {'x' * 400}..."),
        (403, "text/plain", [], "as headers"),
        (400, "text/html", [b"<html>"], "answered 400"),
    ],
)  # fmt: skip
def test_a_refusal_says_what_the_server_says_of_it(
    status: int, kind: str, body: list[Any], says: str
) -> None:
    transport = VirtualTransport(served(Answer(status, {"content-type": kind}, body)))
    headers = {"Authorization": "Bearer sk-secret", "Cookie": "sid=0123-4567; lang=en"}
    connection = make(transport, headers=headers)
    error = run(ended(connection))
    assert isinstance(error, StreamRefused) and error.status == status
    assert str(error).endswith(says) and transport.open_now == 0


def test_what_passes_says_why_while_it_waits() -> None:
    body = [b"too many requests"]
    transport = VirtualTransport(served(Answer(429, {"content-type": "text/plain"}, body)))
    connection = make(transport)

    async def main() -> str:
        async with connection:
            await asyncio.sleep(0.1)
            return connection.status.reason

    assert run(main()).endswith("answered 429; it says: too many requests")


def test_200_of_another_type_is_never_fed() -> None:
    body = [b'{"type":"block.delta"}\n']
    store = StreamStore()
    transport = VirtualTransport(served(Answer(200, {"content-type": "text/html"}, body)))
    assert isinstance(run(ended(make(transport, store))), StreamRefused)
    assert store.health.counts["verdicts"] == {}


@pytest.mark.parametrize("status", [408, 425, 429, 500, 503])
def test_what_passes_is_asked_again_after_what_retry_after_says(status: int) -> None:
    transport = VirtualTransport(
        served(Answer(status, {"retry-after": "90"}), events(*frames(1, 1), drop=False))
    )
    run(after(make(transport), 100_000))
    assert transport.times == [0, 90_000]


def test_what_a_transport_was_asked_to_wait_is_waited() -> None:
    busy = ConnectionLost("busy", sent=False, after_ms=90_000)
    transport = VirtualTransport(served(busy, events(*frames(1, 1), drop=False)))
    run(after(make(transport), 100_000))
    assert transport.times == [0, 90_000]


@pytest.mark.parametrize(
    "value", ["half \ud800", {1, 2}, object(), float("nan"), {"temperature": float("-inf")}]
)
def test_what_is_no_json_is_the_callers_fault(value: Any) -> None:
    with pytest.raises(CallerError, match="json= cannot be sent as JSON"):
        connect(URL, store=StreamStore(), json=[value], transport=VirtualTransport(served()))


def test_a_date_in_retry_after_is_held_against_the_injected_wall_clock() -> None:
    clock = VirtualClock(wall=0.0)
    headers = {"retry-after": "Thu, 01 Jan 1970 00:02:00 GMT"}
    transport = VirtualTransport(served(Answer(503, headers, after_ms=19_000), events(drop=False)))
    run(after(make(transport, clock=clock), 130_000))
    assert transport.times == [0, 120_000]


def test_redirects_are_followed_up_to_ten_and_the_next_attempt_starts_anew() -> None:
    hops = [Answer(307, {"location": f"/{n}"}) for n in range(10)]
    transport = VirtualTransport(served(*hops, events(*frames(1, 1)), events(drop=False)))
    run(after(make(transport), 5_000))
    assert [request.url.rpartition("/")[2] for request in transport.requests] == [
        "events", *map(str, range(10)), "events",
    ]  # fmt: skip
    assert transport.open_now == 0


def test_an_eleventh_redirect_ends() -> None:
    transport = VirtualTransport(served(Answer(302, {"location": "/again"})))
    assert isinstance(run(ended(make(transport))), TooManyRedirects)
    assert len(transport.requests) == 11 and transport.open_now == 0


def test_credentials_are_not_sent_across_origins_but_again_to_their_own() -> None:
    secrets = {"Authorization": "a", "Cookie": "b", "Proxy-Authorization": "c", "X-Mine": "d"}
    transport = VirtualTransport(
        served(
            Answer(307, {"location": "http://other/e"}), events(*frames(1, 1)), events(drop=False)
        )
    )
    run(after(make(transport, headers=secrets), 5_000))
    first, other, again = transport.requests
    assert other.url == "http://other/e" and not other.credentials
    assert {"authorization", "cookie", "proxy-authorization"}.isdisjoint(other.headers)
    assert other.headers["x-mine"] == "d"
    assert first.headers["cookie"] == again.headers["cookie"] == "b"


@pytest.mark.parametrize(
    "url",
    ["server/events", "ftp://h/", "", "http://", "http://h:x/", "http://h:99999/", "http://[h/"],
)
def test_what_is_no_address_is_the_callers_fault(url: str) -> None:
    with pytest.raises(CallerError):
        connect(url, store=StreamStore(), transport=VirtualTransport(served(Answer())))


class HeadersWithoutItems:
    items = 3


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("method", 3),
        ("method", b"POST"),
        ("method", "G T"),
        ("method", "GÄT"),
        ("method", "GET\n"),
        ("headers", dict),
        ("headers", HeadersWithoutItems()),
        ("chance", 0.5),
        ("snapshot", []),
        ("owner", 3),
        ("owner", SameLoop),
        ("resume", LastEventId),
    ],
)
def test_a_wrong_argument_is_said_by_its_name(name: str, value: Any) -> None:
    options = {"transport": VirtualTransport(served()), name: value}
    with pytest.raises(CallerError, match=f"^{name}= takes "):
        connect(URL, store=StreamStore(), **options)


@pytest.mark.parametrize("method", [None, "", "get", "Post"])
def test_a_method_is_sent_in_upper_case(method: str | None) -> None:
    transport = VirtualTransport(served(Answer(404)))
    run(ended(make(transport, method=method)))
    assert transport.requests[0].method == (method or "get").upper()


@pytest.mark.parametrize(
    "make_it",
    [lambda: AfterSeq(3), lambda: AfterSeq("s", ""), lambda: StartingAfter(3)],  # type: ignore[arg-type]
)
def test_a_way_to_resume_without_its_name_is_the_callers_fault(make_it: Any) -> None:
    with pytest.raises(CallerError, match="must be a string that is not empty"):
        make_it()


def test_an_unknown_protocol_is_said_at_once() -> None:
    with pytest.raises(UnknownProtocol):
        connect(URL, store=StreamStore(), protocol="nope", transport=VirtualTransport(served(0)))


# --- drops, and going on --------------------------------------------------------------------------


def test_after_a_drop_it_goes_on_behind_the_last_event_and_doubles_nothing() -> None:
    """The server sends two events again, and the first connection is cut inside one."""
    store = StreamStore()
    transport = VirtualTransport(
        served(events(*frames(1, 3), b"id: 4\ndata: {"), events(*frames(2, 5), drop=False))
    )
    connection = run(after(make(transport, store), 5_000))
    assert [request.headers.get("last-event-id") for request in transport.requests] == [None, "3"]
    assert text_of(store) == "1 2 3 4 5 "
    assert transport.times == [0, 1_000] and connection.reconnects == 1
    assert connection.unrepaired == 0


def test_the_position_lies_before_the_first_missing_operation() -> None:
    """Operation 3 is missing when the stream is cut: going on behind 4 would lose it."""
    store = StreamStore()
    opened = frame({"type": "stream.opened", "sequencing": "block"})
    lost = [frame(delta(seq), f"e{seq}") for seq in (1, 2, 4)]
    rest = [frame(delta(seq), f"e{seq}") for seq in (3, 4, 5)]
    transport = VirtualTransport(served(events(opened, *lost), events(opened, *rest, drop=False)))
    run(after(make(transport, store), 5_000))
    assert transport.requests[1].headers["last-event-id"] == "e2"
    assert text_of(store) == "1 2 3 4 5 "


def test_the_id_is_kept_over_connections_that_bring_none_and_forgotten_when_the_server_says_so() -> (
    None
):
    forget = b"id:\ndata: " + json.dumps(delta(2)).encode() + b"\n\n"
    transport = VirtualTransport(
        served(
            events(*frames(1, 1)),
            events(),
            events(b": hello\n\n"),
            events(forget),
            events(drop=False),
        )
    )
    run(after(make(transport), 60_000))
    sent = [request.headers.get("last-event-id") for request in transport.requests]
    assert sent == [None, "1", "1", "1", None]


@pytest.mark.parametrize(
    ("sequencing", "saved"),
    [
        *itertools.product(["session", "block", "sparse"], [False, True]),
        ("none", False),  # of saved ones without seq the last comes first
    ],
)
def test_of_two_connections_that_are_lost_together_each_goes_on_where_it_stood(
    sequencing: Any, saved: bool
) -> None:
    """Both are cut, and cut again before anything comes: neither sends the other one's id."""
    store = StreamStore()
    transports = {
        name: VirtualTransport(
            served(
                events(frame(delta(1, sessionId=name), f"{name}1"), wait),
                *[events(b": hello\n\n")] * 2,
                events(frame(delta(2, sessionId=name), f"{name}2"), drop=False),
            )
        )
        for name, wait in (("a", 5_000), ("b", 5_100))
    }

    async def main(store: StreamStore, ms: float) -> None:
        async with (
            make(transports["a"], store, sequencing=sequencing),
            make(transports["b"], store, sequencing=sequencing),
        ):
            await asyncio.sleep(ms / 1000)
            if saved:
                saves.append(json.loads(json.dumps(store.save())))

    saves: list[Any] = []
    run(main(store, 5_500 if saved else 30_000))  # both wait then
    if saved:
        run(main(StreamStore.load(saves[0]), 30_000))
    for name, transport in transports.items():
        sent = [request.headers.get("last-event-id") for request in transport.requests]
        assert sent == [None, *[f"{name}1"] * 3]


def test_who_was_never_told_an_id_sends_none_of_another_connection() -> None:
    """It was cut before anything came: behind the other one's id its own events would be lost."""
    store = StreamStore()
    first = VirtualTransport(
        served(events(b": hello\n\n", 1_000), events(b": hello\n\n"), events(*frames(1, 3)))
    )
    second = VirtualTransport(served(events(*frames(3, 3), 1_500), events(drop=False)))

    async def main() -> None:
        async with make(first, store), make(second, store):
            await asyncio.sleep(4.5)

    run(main())
    assert [request.headers.get("last-event-id") for request in first.requests] == [None] * 3
    assert text_of(store) == "1 2 3 "


@pytest.mark.parametrize("sequencing", ["session", "block"])
def test_who_waits_while_another_one_is_closed_asks_for_what_that_one_missed(
    sequencing: Any,
) -> None:
    """Its own id lies behind the hole: nothing but a second drop would have filled it."""
    store = StreamStore()
    heir = VirtualTransport(
        served(
            events(1_000, frame(delta(1, sessionId="t"), 4), 500),
            Answer(503, {"retry-after": "3"}),
            events(*frames(2, 3), drop=False),
        )
    )
    other = VirtualTransport(
        served(events(frame(delta(1), 1), frame(delta(3), 3), drop=False))  # 2 was lost
    )

    async def main() -> None:
        async with make(heir, store, sequencing=sequencing) as waiting:
            async with make(other, store, sequencing=sequencing):
                await asyncio.sleep(2.7)
                assert waiting.status.state == "waiting" and waiting.position == "4"
            await asyncio.sleep(10)

    run(main())
    assert [request.headers.get("last-event-id") for request in heir.requests] == [None, "4", "1"]
    assert text_of(store) == "1 2 3 " and not store.health.gaps


def streams_of(store: StreamStore) -> list[Stream]:
    """The streams that are opened from here on."""
    opened: list[Stream] = []
    really = store.open

    def open_(*args: Any, **options: Any) -> Stream:
        opened.append(really(*args, **options))
        return opened[-1]

    store.open = open_  # type: ignore[method-assign]
    return opened


def test_a_lost_connection_leaves_no_stream_behind_when_it_is_given_up() -> None:
    store = StreamStore()
    opened = streams_of(store)
    run(after(make(VirtualTransport(served(events(*frames(1, 1)))), store), 500))
    run(ended(make(VirtualTransport(served(events(*frames(1, 1)), Answer(404, {}))), store)))
    assert len(opened) == 4 and all(stream.ended for stream in opened)


@pytest.mark.parametrize("clean", [True, False])
def test_what_is_asked_once_opens_one_stream(clean: bool) -> None:
    store = StreamStore()
    opened = streams_of(store)
    body = frames(1, 2) if clean else [*frames(1, 2), ConnectionLost("cut")]
    transport = VirtualTransport(served(lambda: Answer(body=body)))
    error = run(ended(make(transport, store, method="POST", sequencing="session")))
    assert isinstance(error, ConnectionLost) is not clean
    assert len(opened) == 1 and opened[0].ended


class Slow(SameLoop):
    """An owner that comes by a second after, or whose answer comes a second after."""

    def __init__(self, before: bool) -> None:
        self.before = before

    async def run(self, work: Any) -> Any:
        await asyncio.sleep(1 if self.before else 0)
        result = work()
        await asyncio.sleep(0 if self.before else 1)
        return result


@pytest.mark.parametrize("before", [True, False])
@pytest.mark.parametrize("tenths", range(5, 80, 5))
def test_given_up_while_its_owner_is_awaited_it_leaves_no_stream_open(
    before: bool, tenths: int
) -> None:
    store = StreamStore()
    opened = streams_of(store)
    transport = VirtualTransport(served(events(*frames(1, 1))))
    run(after(make(transport, store, owner=Slow(before)), 100 * tenths + 50))
    assert all(stream.ended for stream in opened)


def test_an_answer_that_is_asked_for_again_goes_on_behind_no_id_of_another_stream() -> None:
    """It came to its end in the middle, and may be repeated: it never had an id."""
    store = StreamStore()
    part = {"sessionId": "s", "messageId": "m", "blockIndex": 0}
    half = [frame({"type": "block.opened", "kind": "text", **part}), 1_000]
    transport = VirtualTransport(served(*[lambda: Answer(body=half)] * 3, Answer(404, {})))

    async def main() -> None:
        options: Any = {"method": "POST", "reconnect": True, "sequencing": "none"}
        async with make(transport, store, **options):
            await asyncio.sleep(0.5)
            other = store.open("native", sequencing="none")
            other.feed(frame({"type": "block.opened", **part, "sessionId": "t"}, 9))
            other.end()
            await asyncio.sleep(20)

    run(main())
    sent = [request.headers.get("last-event-id") for request in transport.requests]
    assert len(sent) == 4 and set(sent) == {None}


def test_retry_is_kept_over_connections() -> None:
    transport = VirtualTransport(served(events(b"retry: 5000\n\n"), events(), events(drop=False)))
    run(after(make(transport), 60_000))
    assert transport.times == [0, 5_000, 15_000]


def test_the_end_of_the_body_is_a_drop_like_any_other() -> None:
    transport = VirtualTransport(served(lambda: Answer(body=frames(1, 1)), events(drop=False)))
    run(after(make(transport), 2_000))
    assert transport.times == [0, 1_000]


def test_a_loaded_store_goes_on_where_it_was_saved() -> None:
    store = StreamStore()
    stream = store.open("native")
    stream.feed(b"".join(frames(1, 7)))
    loaded = StreamStore.load(store.save())
    transport = VirtualTransport(served(events(*frames(8, 9), drop=False)))
    run(after(make(transport, loaded), 1_000))
    assert transport.requests[0].headers["last-event-id"] == "7"
    assert text_of(loaded) == "".join(f"{n} " for n in range(1, 10))


def test_only_a_minute_of_health_makes_the_next_wait_a_first_one() -> None:
    def lasting(ms: float) -> Any:
        return lambda: Answer(body=[b": hi\n", ms, b": hi\n", 1.0, ConnectionLost("cut")])

    transport = VirtualTransport(
        served(
            ConnectionLost("no"),
            ConnectionLost("no"),
            lasting(30_000),
            lasting(44_000),
            events(drop=False),
        )
    )
    run(after(make(transport, policy=Policy(healthy_ms=40_000)), 200_000))
    waits = [
        later - sooner for sooner, later in zip(transport.times, transport.times[1:], strict=False)
    ]
    assert waits[:4] == pytest.approx([1_000, 2_000, 30_001 + 4_000, 44_001 + 1_000])


def test_a_connection_that_died_of_silence_was_healthy_only_until_its_last_byte() -> None:
    quiet = lambda: Answer(body=[b": hi\n", None])  # noqa: E731
    transport = VirtualTransport(served(ConnectionLost("no"), quiet, events(drop=False)))
    run(after(make(transport, policy=Policy(healthy_ms=40_000)), 100_000))
    assert transport.times[:3] == [0, 1_000, 1_000 + 45_000 + 2_000]


def test_states_are_told_one_after_the_other() -> None:
    async def main() -> None:
        transport = VirtualTransport(served(events(*frames(1, 1)), Answer(404, {})))
        seen = []
        async with make(transport) as connection:
            async for status in connection:
                seen.append((status.state, status.wait_ms, status.reconnects))
        assert seen[-1] == ("ended", 0, 1)
        assert [state for state, *_ in seen if state != "connecting"] == [
            "open",
            "waiting",
            "ended",
        ]
        assert ("waiting", 1_000, 0) in seen

    run(main())


# --- the watchdog ---------------------------------------------------------------------------------


@pytest.mark.parametrize(("heartbeat", "limit"), [(None, 45_000), (10_000, 25_000)])
def test_a_silent_connection_is_given_up(heartbeat: float | None, limit: float) -> None:
    transport = VirtualTransport(served(lambda: Answer(body=[b"data", None]), events(drop=False)))
    connection = make(transport, policy=Policy(heartbeat_ms=heartbeat))
    run(after(connection, limit + 2_000))
    assert transport.times == [0, limit + 1_000] and transport.open_now == 0


def test_any_byte_keeps_it_alive_also_half_a_comment() -> None:
    body = [piece for _ in range(100) for piece in (b":", 44_999)]
    transport = VirtualTransport(served(lambda: Answer(body=[*body, None])))
    run(after(make(transport), 100 * 44_999))
    assert len(transport.requests) == 1


def test_a_head_that_does_not_come_is_silence_too() -> None:
    transport = VirtualTransport(served(Answer(after_ms=10**9), events(drop=False)))
    run(after(make(transport), 22_000))
    assert transport.times == [0, 21_000]


def test_a_post_may_think_before_its_head() -> None:
    transport = VirtualTransport(served(Answer(after_ms=44_000), events(drop=False)))
    run(after(make(transport, method="POST"), 47_000))
    assert transport.times == [0]


# --- storms ---------------------------------------------------------------------------------------


def test_a_thousand_clients_of_a_server_that_accepts_and_drops_form_no_storm() -> None:
    """Dropped together, they come back ever thinner.

    Each wait adds a chance of its own to when a client comes back, and no sum of chances is denser
    than its widest: once the doubling has ended (waits of 20 to 30 s) that is a tenth of the
    clients in a second, and no client comes twice in 20 s.
    """

    async def main() -> Counter[int]:
        asked: Counter[int] = Counter()

        def serve(request: Request) -> Answer:
            asked[int(asyncio.get_running_loop().time())] += 1
            return Answer(body=[b": hello\n\n", ConnectionLost("dropped")])

        transport = VirtualTransport(serve)
        clients = [make(transport, chance=Random(n).random) for n in range(1000)]
        for client in clients:
            client.start()
        await asyncio.sleep(150)
        for client in clients:
            await client.aclose()
        return asked

    asked = run(main())
    assert asked[0] == 1000
    settled = [asked[second] for second in range(75, 150)]
    assert sum(settled) <= 1000 * (75 / 20 + 1)
    assert max(settled) <= 1.3 * 1000 / 10
    # Before, the widest chance is half a second, and twice as much with each further attempt.
    assert max(asked[second] for second in range(15, 75)) <= 1.3 * 1000 / 4


# --- the server's position, or none ---------------------------------------------------------------


def snapshot_of(*upto: int, calls: list[Read] | None = None) -> Any:
    """Fetches the state up to one seq after the other, in 50 ms each."""
    left = list(upto)

    async def fetch(read: Read) -> list[Any]:
        if calls is not None:
            calls.append(read)
        seq = left.pop(0) if len(left) > 1 else left[0]
        text = "".join(f"{n} " for n in range(1, seq + 1))
        token = await read.token("s")
        await asyncio.sleep(0.05)
        part = {"blockIndex": 0, "kind": "text", "text": text}
        return [
            {
                "type": "snapshot", "sessionId": "s", "seq": seq, "complete": True,
                "readFrom": token, "messages": [{"info": {"id": "m", "role": "assistant"}, "parts": [part]}],
            }
        ]  # fmt: skip

    return fetch


def test_the_state_is_fetched_when_a_stream_is_open_and_not_before() -> None:
    calls: list[Read] = []
    store = StreamStore()
    transport = VirtualTransport(
        served(ConnectionLost("no"), events(100, *frames(5, 6), drop=False))
    )
    connection = make(transport, store, snapshot=snapshot_of(5, calls=calls))
    run(after(connection, 3_000))
    assert len(calls) == 1 and calls[0].reason == "the connection is new"
    assert text_of(store) == "1 2 3 4 5 6 "


@pytest.mark.parametrize("status", [409, 410, 412])
def test_a_position_that_is_too_old_is_dropped_and_the_state_fetched(status: int) -> None:
    store = StreamStore()
    calls: list[Read] = []
    transport = VirtualTransport(
        served(
            events(*frames(1, 3), 100.0),
            Answer(status, {}),
            events(frame(delta(9), 9), 10_000, frame(delta(10), 10), drop=False),
        )
    )
    connection = make(transport, store, snapshot=snapshot_of(2, 9, calls=calls))
    run(after(connection, 1_900))
    sent = [request.headers.get("last-event-id") for request in transport.requests]
    assert sent == [None, "3", None]
    assert transport.times == [0, 1_100, 1_100]
    assert text_of(store) == "1 2 3 4 5 6 7 8 9 "
    assert connection.position == "9"


@pytest.mark.parametrize("head_ms", [0, 700, 2_000])
def test_a_look_at_the_notes_while_a_connection_is_opened_leaves_its_state_to_be_fetched(
    head_ms: float,
) -> None:
    """It comes a second after an event: a connection that is slower to open than to drop, say."""
    store = StreamStore()
    calls: list[Read] = []
    transport = VirtualTransport(
        served(
            events(*frames(1, 3), 5_000, *frames(3, 3), 300),
            Answer(410, {}),
            Answer(body=[*frames(7, 7), None], after_ms=head_ms),
        )
    )
    fetch = snapshot_of(3, 7, calls=calls)
    policy = Policy(first_delay_ms=10)
    connection = run(after(make(transport, store, snapshot=fetch, policy=policy), 20_000))
    assert [request.headers.get("last-event-id") for request in transport.requests] == [
        None, "3", None,
    ]  # fmt: skip
    assert [read.reason for read in calls] == ["the connection is new", "the connection was lost"]
    assert text_of(store) == "1 2 3 4 5 6 7 " and connection.position == "7"


@pytest.mark.parametrize("session_id", ["s", None])
@pytest.mark.parametrize("saved", [None, "behind its end", "while it lives", "between two"])
def test_a_state_that_was_not_fetched_before_a_connection_ended_is_fetched_by_the_next_one(
    session_id: str | None, saved: str | None
) -> None:
    """The ids of what came meanwhile lie behind it: the next one would go on there, without it.

    Nor need the program come to its end: what it saved meanwhile is what the next one has.
    """
    store = StreamStore()
    calls: list[Read] = []
    states: list[Any] = []

    async def saving(connection: Connection) -> Connection:
        async with connection:
            await asyncio.sleep(0.1)
            assert connection.state == ("waiting" if saved == "between two" else "open")
            assert not store.resync
            states.append(store.save())
        return connection

    def connected(fetch: Any, first: int, last: int, ms: float) -> tuple[Connection, Any]:
        cut = fetch is never and saved == "between two"
        transport = VirtualTransport(served(events(*frames(first, last), drop=cut)))
        connection = make(transport, store, snapshot=fetch, session_id=session_id)
        work = saving(connection) if fetch is never else after(connection, ms)
        return run(work), transport.requests[0].headers.get("last-event-id")

    assert connected(never, 8, 9, 100)[1] is None
    assert text_of(store) == "8 9 "
    if saved is not None:
        store = StreamStore.load(store.save() if saved == "behind its end" else states[0])
    connection, sent = connected(snapshot_of(11, calls=calls), 10, 11, 10)
    assert sent == "9" and not connection.status.synced
    connection, sent = connected(snapshot_of(12, calls=calls), 12, 12, 2_000)
    assert sent == "11" and connection.status.synced and connection.status.resync_error is None
    assert text_of(store) == "".join(f"{n} " for n in range(1, 13)) and not store.resync
    assert [read.sessions for read in calls] == [{}, {}]
    assert not store.save()["resync"]
    connected(snapshot_of(12, calls=calls), 12, 12, 2_000)
    assert len(calls) == 2  # it is there


async def never(read: Read) -> Any:
    await asyncio.Event().wait()


def fetches_t(calls: list[Read]) -> Callable[[Read], Awaitable[list[Any]]]:
    """A server's state, which has session `t` alone."""

    async def fetch(read: Read) -> list[Any]:
        calls.append(read)
        token = await read.token("t")
        return [{"type": "snapshot", "sessionId": "t", "messages": [], "readFrom": token}]

    return fetch


@pytest.mark.parametrize("meanwhile", [False, True])
def test_a_state_that_was_not_fetched_is_no_business_of_a_connection_of_another_session(
    meanwhile: bool,
) -> None:
    """It cannot fetch that, and asked for it as long as it lived, and said that it failed."""
    store = StreamStore()
    calls: list[Read] = []
    fetch = fetches_t(calls)

    async def main() -> None:
        left = make(
            VirtualTransport(served(events(*frames(8, 9), drop=False))),
            store, snapshot=never, session_id="s",
        )  # fmt: skip
        other = [frame(delta(seq, sessionId="t"), seq) for seq in range(1, 9)]
        body = [item for one in other for item in (one, 20_000)]
        transport = VirtualTransport(served(Answer(body=[*body, 1e9])))
        if not meanwhile:
            await after(left, 100)
        async with make(transport, store, snapshot=fetch, session_id="t") as connection:
            if meanwhile:
                await after(left, 100)
            await asyncio.sleep(150)
            assert connection.status.synced and connection.status.resync_error is None
            assert [read.sessions for read in calls] == [{}]
            connection.request_resync({"s": "asked for by name"})
            await asyncio.sleep(5)
            assert isinstance(connection.status.resync_error, SnapshotRefused)

    run(main())
    assert list(store.resync) == ["s"]  # the next one of that session fetches it


def test_a_state_that_was_not_fetched_is_no_business_of_a_connection_to_another_server() -> None:
    """Both follow all that theirs has: it asked its own for what that does not know, for ever."""
    store = StreamStore()
    calls: list[Read] = []
    fetch = fetches_t(calls)

    async def main() -> None:
        left = make(
            VirtualTransport(served(events(*frames(8, 9), drop=False))), store, snapshot=never
        )
        other = [frame(delta(seq, sessionId="t"), f"t{seq}") for seq in range(1, 9)]
        body = [item for one in other for item in (one, 20_000)]
        transport = VirtualTransport(served(Answer(body=[*body, 1e9])))
        async with make(transport, store, snapshot=fetch) as connection:
            await after(left, 100)
            await asyncio.sleep(150)
            assert connection.status.synced and connection.status.resync_error is None
            assert [read.sessions for read in calls] == [{}]
            assert list(store.resync) == ["s"]

    run(main())


def test_a_state_that_was_not_fetched_is_asked_for_until_one_that_has_it_comes() -> None:
    store = StreamStore()
    store.ask_resync("s", "a connection ended before the state was fetched")
    calls: list[Read] = []
    whole = snapshot_of(3)

    async def fetch(read: Read) -> list[Any]:
        calls.append(read)
        return await whole(read) if len(calls) > 1 else []  # type: ignore[no-any-return]

    async def main() -> None:
        other = [frame(delta(seq, sessionId="t"), seq) for seq in range(1, 40)]
        body = [item for one in other for item in (one, 1_000)]
        transport = VirtualTransport(served(Answer(body=[*body, None])))
        async with make(transport, store, snapshot=fetch) as connection:
            await asyncio.sleep(0.5)
            assert isinstance(connection.status.resync_error, SnapshotRefused)
            await asyncio.sleep(30)
            assert connection.status.resync_error is None

    run(main())
    assert text_of(store) == "1 2 3 " and not store.resync
    assert [list(read.sessions) for read in calls] == [[], ["s"]]


def test_of_a_state_to_be_fetched_a_save_says_more_than_that_events_are_missing() -> None:
    """Those may still come, and the note would go with them; the state before does not."""
    store = StreamStore()

    async def never(read: Read) -> Any:
        await asyncio.Event().wait()

    async def main() -> None:
        opened = frame({"type": "stream.opened", "sequencing": "session"})
        body = [opened, *frames(1, 1), *frames(3, 3), None]
        transport = VirtualTransport(served(Answer(body=body)))
        async with make(transport, store, snapshot=never):
            await asyncio.sleep(0.1)
            assert store.resync == {"s": "operations of the session are missing"}
            assert store.save()["resync"] == {
                "s": "a connection ended before the state was fetched"
            }

    run(main())


def test_what_a_state_did_not_repair_and_something_else_did_is_no_error_any_more() -> None:
    store = StreamStore()

    async def fetch(read: Read) -> list[Any]:
        return [{"type": "snapshot", "sessionId": "s", "messages": [], "complete": False}]

    def at(seq: int) -> bytes:
        return frame(delta(seq), seq)

    opened = frame({"type": "stream.opened", "sequencing": "session"})
    body = [opened, at(1), at(3), 10_000, at(4), 10_000, at(2), 3_000, at(5), 3_000]

    async def main() -> None:
        transport = VirtualTransport(served(Answer(body=[*body, None])))
        async with make(transport, store, snapshot=fetch) as connection:
            await asyncio.sleep(15)
            assert isinstance(connection.status.resync_error, SnapshotRefused)
            await asyncio.sleep(10)
            assert text_of(store) == "1 2 3 4 5 " and not store.resync
            assert connection.status.synced and connection.status.resync_error is None

    run(main())


def test_a_failed_fetch_is_tried_again_and_no_position_is_sent_before_one_succeeds() -> None:
    """What came meanwhile has positions of its own; going on from there would jump over a hole."""
    store = StreamStore()
    at: list[float] = []
    good = snapshot_of(2, 10)

    async def fetch(read: Read) -> Any:
        at.append(asyncio.get_running_loop().time())
        if 2 <= len(at) <= 5:
            raise OSError("down")
        return await good(read)

    positions = []

    async def main() -> None:
        transport = VirtualTransport(
            served(
                events(*frames(1, 3), 100.0),
                Answer(410, {}),
                events(frame(delta(9), 9), 4_000),  # cut before a fetch succeeds
                events(frame(delta(9), 9), frame(delta(10), 10), drop=False),
            )
        )
        store.ingest(delta(0, ""))
        connection = make(transport, store, snapshot=fetch)
        async with connection:
            for _ in range(400):
                await asyncio.sleep(0.1)
                positions.append((connection.status.synced, connection.position))
        assert [r.headers.get("last-event-id") for r in transport.requests] == [
            None,
            "3",
            None,
            None,
        ]

    run(main())
    assert len(at) == 6
    assert {position for synced, position in positions if not synced} <= {None, "3"}
    assert positions[-1] == (True, "10")
    assert text_of(store) == "1 2 3 4 5 6 7 8 9 10 "


def test_waits_between_failed_fetches_grow_to_thirty_seconds() -> None:
    at: list[float] = []

    async def fetch(read: Read) -> Any:
        at.append(asyncio.get_running_loop().time())
        raise OSError("down")

    transport = VirtualTransport(
        served(lambda: Answer(body=[piece for _ in range(1000) for piece in (b":\n", 10_000)]))
    )
    connection = make(transport, snapshot=fetch)
    run(after(connection, 200_000))
    waits = [round(later - sooner) for sooner, later in itertools.pairwise(at)]
    assert waits[:6] == [1, 2, 4, 8, 16, 20] and set(waits[6:]) == {20}
    assert isinstance(connection.status.resync_error, OSError)


def test_a_fetch_that_never_ends_has_failed() -> None:
    calls = []

    async def fetch(read: Read) -> Any:
        calls.append(asyncio.get_running_loop().time())
        await asyncio.Event().wait()

    transport = VirtualTransport(
        served(lambda: Answer(body=[piece for _ in range(1000) for piece in (b":\n", 10_000)]))
    )
    run(after(make(transport, snapshot=fetch), 125_000))
    assert calls == [0, 121]


def test_a_storm_of_reconnects_ends_in_one_trailing_resync() -> None:
    """Ten connections within the 20 s of one fetch: that fetch, and one more."""
    runs: list[float] = []
    now = 0

    async def fetch(read: Read) -> Any:
        nonlocal now
        now += 1
        assert now == 1, "never two at once"
        runs.append(asyncio.get_running_loop().time())
        await asyncio.sleep(20)
        now -= 1
        return []

    flapping = [events(b": hi\n\n", 100.0) for _ in range(10)]
    transport = VirtualTransport(
        served(
            *flapping, lambda: Answer(body=[piece for _ in range(99) for piece in (b":\n", 9_000)])
        )
    )
    connection = make(transport, snapshot=fetch, policy=Policy(most_delay_ms=1_000))
    run(after(connection, 120_000))
    assert connection.reconnects == 10
    assert len(runs) == 2 and connection.status.synced


def test_what_the_store_asks_for_is_fetched_within_a_second_and_asked_once() -> None:
    """A hole in a session's seq: shown at once, and the session fetched."""
    calls: list[Read] = []
    store = StreamStore()
    opened = frame({"type": "stream.opened", "sequencing": "session"})
    transport = VirtualTransport(
        served(
            events(
                opened, *frames(1, 2), 5_000, *frames(5, 5), *[20.0] * 10, *frames(6, 6), drop=False
            )
        )
    )
    connection = make(transport, store, snapshot=snapshot_of(2, 6, calls=calls))
    run(after(connection, 20_000))
    reasons = [(read.reason, dict(read.sessions)) for read in calls]
    assert len(reasons) == 2 and list(reasons[1][1]) == ["s"]
    assert text_of(store) == "1 2 3 4 5 6 " and not store.health.gaps


def test_what_a_fetched_state_does_not_repair_is_said_and_asked_for_ever_more_rarely() -> None:
    """A session that was let go, and a state that does not say when its read began."""
    calls: list[float] = []
    clock = VirtualClock()
    store = StreamStore()
    store.ask_resync("gone", "nobody has it")

    async def fetch(read: Read) -> Any:
        calls.append(clock.now() / 1000)
        return []

    beats = [piece for _ in range(300) for piece in (*frames(1, 1), 1_000)]
    transport = VirtualTransport(served(events(*beats, drop=False)))
    connection = make(transport, store, snapshot=fetch, clock=clock)

    async def main() -> None:
        async with connection:
            await asyncio.sleep(200)
            assert connection.status.synced
            error = connection.status.resync_error
            assert isinstance(error, SnapshotRefused)
            assert "'gone'" in str(error) and "readFrom" in str(error)
            waits = [after - before for before, after in itertools.pairwise(calls)]
            assert waits == sorted(waits) and 10 < waits[-1] <= 32 and len(calls) < 20

            # What another session lacks is fetched as soon as ever.
            store.ask_resync("other", "a hole")
            known = len(calls)
            await asyncio.sleep(4)
            assert len(calls) == known + 1

            # And who asks for it gets it.
            await connection.resync()
            assert len(calls) == known + 2
            store._stages.resync.clear()
            await connection.resync()
            assert connection.status.resync_error is None

    run(main())


@pytest.mark.parametrize("late", [0, 2], ids=["at once", "two states behind"])
def test_a_hole_that_a_fetched_state_ends_before_is_fetched_although_no_event_comes_any_more(
    late: int,
) -> None:
    calls: list[int] = []
    top = 0

    async def fetch(read: Read) -> Any:
        calls.append(top if top < 8 or len(calls) > 1 + late else 5)
        text = "".join(f"{seq} " for seq in range(1, calls[-1] + 1))
        await asyncio.sleep(3)
        part = {"blockIndex": 0, "kind": "text", "text": text, "status": "open"}
        message = {"info": {"id": "m", "role": "assistant"}, "parts": [part]}
        snapshot = {"type": "snapshot", "sessionId": "s", "messages": [message]}
        return [{**snapshot, "seq": calls[-1], "complete": True}]

    async def body() -> AsyncIterator[bytes]:
        nonlocal top
        for seq, wait in ((1, 5.0), (2, 5.0), (5, 2.5), (8, 1.0)):
            top = seq
            yield frame(delta(seq), seq)
            await asyncio.sleep(wait)
        while True:
            yield b": beat\n\n"
            await asyncio.sleep(10)

    async def main() -> None:
        store = StreamStore()
        transport = VirtualTransport(served(Answer(body=body())))
        connection = make(transport, store, snapshot=fetch, sequencing="session")
        async with connection:
            await asyncio.sleep(17)  # the second hole came while the state was fetched
            error = connection.status.resync_error
            assert isinstance(error, SnapshotRefused) and "behind" in str(error)
            assert [gap.missing for gap in store.health.gaps] == [((6, 7),)]
            await asyncio.sleep(100)
            assert text_of(store) == "1 2 3 4 5 6 7 8 " and not store.health.gaps
            assert connection.status.resync_error is None and not store.resync
            await asyncio.sleep(1_000)
        assert calls == [1, 5, *[5] * late, 8]

    run(main())


def test_however_often_it_is_asked_for_a_state_is_fetched_once_a_second() -> None:
    calls: list[Read] = []

    async def main() -> None:
        transport = VirtualTransport(served(events(*frames(1, 2), drop=False)))
        async with make(transport, snapshot=snapshot_of(2, calls=calls)) as connection:
            for _ in range(1000):
                connection.request_resync()
                await asyncio.sleep(0.01)

    run(main())
    assert 9 <= len(calls) <= 11


def test_states_that_the_store_refuses_again_and_again_end_with_a_reason() -> None:
    async def fetch(read: Read) -> Any:
        return [{"type": "snapshot", "sessionId": "s", "messages": 7}]

    transport = VirtualTransport(
        served(lambda: Answer(body=[piece for _ in range(99) for piece in (b":\n", 9_000)]))
    )
    error = run(ended(make(transport, snapshot=fetch)))
    assert isinstance(error, PoisonedStream) and "messages" in str(error)
    assert transport.open_now == 0


async def _nothing(read: Read) -> Any:
    return None


async def _one(read: Read) -> Any:
    return {"type": "snapshot"}


async def _yields(read: Read) -> Any:
    yield {"type": "snapshot"}


@pytest.mark.parametrize(
    ("fetch", "says"),
    [
        (lambda read: [], "`async def`.*'list'"),
        (lambda read: None, "`async def`.*'NoneType'"),
        (_yields, "`async def`.*'async_generator'"),
        (_nothing, "list of wire objects, not 'NoneType'"),
        (_one, "list of wire objects, not 'dict'"),
    ],
)
def test_a_snapshot_function_that_never_gives_a_state_ends_it(fetch: Any, says: str) -> None:
    transport = VirtualTransport(served(events(*frames(1, 3), drop=False)))
    connection = make(transport, snapshot=fetch)

    async def main() -> None:
        async with connection:
            await asyncio.sleep(10)
            assert connection.state == "ended"

    run(main())
    assert isinstance(connection.error, CallerError)
    assert re.search(says, str(connection.error))


def test_a_snapshot_function_may_be_anything_that_gives_a_coroutine() -> None:
    store = StreamStore()
    good = snapshot_of(5)
    transport = VirtualTransport(served(events(100, *frames(5, 6), drop=False)))
    run(after(make(transport, store, snapshot=lambda read: good(read)), 3_000))
    assert text_of(store) == "1 2 3 4 5 6 "
    with pytest.raises(CallerError, match="snapshot= takes a function, not 'list'"):
        make(transport, store, snapshot=[])


def test_resync_comes_back_when_the_state_is_merged() -> None:
    async def main() -> None:
        store = StreamStore()
        calls: list[Read] = []
        transport = VirtualTransport(served(events(*frames(1, 2), drop=False)))
        async with make(transport, store, snapshot=snapshot_of(2, 3, calls=calls)) as connection:
            await asyncio.sleep(0.2)
            await connection.resync()
            assert text_of(store) == "1 2 3 " and connection.status.synced
        with pytest.raises(CallerError):
            await connection.resync()

    run(main())


def test_the_loop_has_turns_while_a_large_state_is_taken_in() -> None:
    async def fetch(read: Read) -> Any:
        return [
            {"type": "snapshot", "sessionId": f"s{n}", "messages": [], "info": {"n": n}}
            for n in range(20)
        ]

    async def main() -> None:
        store = StreamStore(ticks="manual")
        seen: list[int] = []
        transport = VirtualTransport(served(lambda: Answer(body=[b":\n", 9_000])))
        async with make(transport, store, snapshot=fetch) as connection:
            for _ in range(200):
                store.flush()
                seen.append(len(store.session_ids()))
                await asyncio.sleep(0)
            assert connection.status.synced
        assert sorted(seen) == seen and set(range(1, 20)) <= set(seen)

    run(main())


def test_who_waits_for_a_resync_hears_when_the_connection_ends() -> None:
    async def main() -> None:
        transport = VirtualTransport(served(lambda: Answer(body=[b":\n", 100.0]), Answer(404, {})))

        async def fetch(read: Read) -> Any:
            raise OSError("down")

        async with make(transport, snapshot=fetch) as connection:
            await connection.opened()
            with pytest.raises(StreamRefused):
                await connection.resync()

    run(main())


def test_without_a_snapshot_function_a_loss_is_counted() -> None:
    transport = VirtualTransport(
        served(events(frame(delta(1))), events(frame(delta(2))), events(drop=False))
    )
    connection = run(after(make(transport), 5_000))
    assert connection.unrepaired == 2
    with pytest.raises(CallerError, match="snapshot="):
        connection.require_snapshot()


# --- generations ----------------------------------------------------------------------------------


def opening(generation: str) -> bytes:
    return frame({"type": "stream.opened", "sequencing": "sparse", "generation": generation})


def test_a_position_of_another_generation_is_not_sent() -> None:
    """The server started again: its first event says so and has no id, then the connection drops."""
    store = StreamStore()
    calls: list[Read] = []
    transport = VirtualTransport(
        served(
            events(opening("a"), *frames(1, 3), 100.0),
            events(opening("b")),
            events(opening("b"), frame(delta(1, "new "), "b1"), drop=False),
        )
    )
    connection = make(transport, store, snapshot=snapshot_of(1, calls=calls))
    run(after(connection, 10_000))
    sent = [request.headers.get("last-event-id") for request in transport.requests]
    assert sent == [None, "3", None]
    assert len(calls) >= 2 and connection.position == "b1"


def test_within_one_chunk_nobody_can_tell_whose_an_id_is_so_it_is_not_sent() -> None:
    transport = VirtualTransport(
        served(
            events(opening("a"), *frames(1, 3)),
            events(frames(4, 4)[0] + opening("b")),
            events(opening("b"), *frames(1, 2)),
            events(drop=False),
        )
    )
    run(after(make(transport), 20_000))
    sent = [request.headers.get("last-event-id") for request in transport.requests]
    assert sent == [None, "3", None, "2"]


class ComesBy(SameLoop):
    """An owner as `connect_blocking` has one: what is fed to it is taken in later."""

    async def feed(self, stream: Stream, data: bytes) -> bool:
        stream.feed_threadsafe(data)
        asyncio.get_running_loop().call_later(0.5, lambda: stream.ended or stream.feed(b""))
        return False


@pytest.mark.parametrize("owner", [SameLoop, ComesBy])
@pytest.mark.parametrize("then", ["stays", "is dropped", "is left", "is saved"])
def test_a_server_that_began_anew_while_nobody_listened_is_asked_for_its_state(
    then: str, owner: type[SameLoop]
) -> None:
    """It knows no id of before: what it said meanwhile, of a new session above all, is missed."""
    store = StreamStore()
    calls: list[Read] = []
    states: list[Any] = []

    async def fetch(read: Read) -> list[Any]:
        calls.append(read)
        if then in ("is left", "is saved") and len(calls) == 2:
            await asyncio.Event().wait()
        known = ["s", "t"] if len(calls) > 1 else ["s"]
        part = {"blockIndex": 0, "kind": "text", "text": "1 2 3 "}
        messages = [{"info": {"id": "m", "role": "assistant"}, "parts": [part]}]
        wire = {"type": "snapshot", "seq": 3, "messages": messages}
        return [{**wire, "sessionId": one, "readFrom": await read.token(one)} for one in known]

    def new(seq: int) -> bytes:
        return frame(delta(seq, sessionId="t"), f"b{seq}")

    async def main() -> list[str | None]:
        transport = VirtualTransport(
            served(
                events(opening("a"), *frames(1, 3), 3_000),
                events(opening("b"), new(3), 10, drop=then == "is dropped"),
                events(opening("b"), new(4), drop=False),
            )
        )
        async with make(transport, store, snapshot=fetch, owner=owner()):
            await asyncio.sleep(20)
            if then == "is saved":
                states.append(store.save())
        return [request.headers.get("last-event-id") for request in transport.requests]

    dropped = then == "is dropped"
    assert run(main()) == [None, "3", None][: 3 if dropped else 2]
    assert [read.sessions for read in calls] == [{}, {}]
    if then in ("is left", "is saved"):
        if states:
            store = StreamStore.load(states[0])
        assert store.resync["t"]
        calls.append(calls[-1])
        transport = VirtualTransport(served(events(opening("b"), new(4), drop=False)))
        connection = make(transport, store, snapshot=fetch)
        run(after(connection, 5_000))
        assert connection.position == "b4"
    store.flush()
    part = store.part("t", "m", 0)
    assert part is not None and part.text == "1 2 3 4 "[: 6 if then == "stays" else 8]


@pytest.mark.parametrize("saved", [False, True])
def test_an_id_of_a_counter_that_is_over_is_no_place_to_go_on_for_the_next_connection_either(
    saved: bool,
) -> None:
    """The new counter gave none yet: what it said between the two connections was missing."""
    store = StreamStore()
    calls: list[Read] = []
    states: list[Any] = []

    async def main() -> None:
        transport = VirtualTransport(
            served(
                events(opening("a"), *frames(1, 3), 3_000),
                events(opening("b"), drop=False),
            )
        )
        async with make(transport, store, snapshot=snapshot_of(3, calls=calls)) as connection:
            await asyncio.sleep(20)
            assert connection.status.synced and not store.resync
            states.append(store.save())
        assert [request.headers.get("last-event-id") for request in transport.requests] == [
            None, "3",
        ]  # fmt: skip

    run(main())
    assert len(calls) == 2
    if saved:
        store = StreamStore.load(states[0])
    assert list(store.resync) == ["s"]
    transport = VirtualTransport(served(events(opening("b"), 2_000, *frames(6, 6), drop=False)))
    connection = make(transport, store, snapshot=snapshot_of(5, calls=calls))
    run(after(connection, 5_000))
    assert text_of(store) == "1 2 3 4 5 6 " and not store.resync
    assert len(calls) == 3 and connection.position == "6"


@pytest.mark.parametrize("shown", [False, True])
@pytest.mark.parametrize("saved", [False, True])
def test_what_a_new_counter_said_before_it_gave_an_id_is_there_in_whatever_connection(
    saved: bool, shown: bool
) -> None:
    """The store may have a note of its own of the session that was shown; and a connection that
    fetched the state because of another one knows no better id than that one."""
    store = StreamStore()
    calls: list[Read] = []
    states: list[Any] = []
    held = asyncio.Event()

    async def fetch(read: Read) -> list[Any]:
        calls.append(read)
        if len(calls) == 2 and shown:
            await held.wait()
        said = {"s": 3} if len(calls) == 1 else {"s": 1, "t": len(calls)}
        wires: list[Any] = []
        for one, seq in said.items():
            text = "".join(f"{n} " for n in range(1, seq + 1))
            part = {"blockIndex": 0, "kind": "text", "text": text}
            messages = [{"info": {"id": "m", "role": "assistant"}, "parts": [part]}]
            wires.append(
                {
                    "type": "snapshot", "sessionId": one, "seq": seq, "messages": messages,
                    "readFrom": await read.token(one), "generation": "ba"[len(calls) == 1],
                }
            )  # fmt: skip
        return wires

    def again(drop: bool) -> Any:
        return events(opening("b"), 3_000, drop=drop)

    async def main() -> None:
        transport = VirtualTransport(
            served(events(opening("a"), *frames(1, 3), 3_000), again(False))
        )
        async with make(transport, store, snapshot=fetch):
            await asyncio.sleep(6)
            assert bool(store.resync) == shown
            states.append(store.save())

    run(main())
    if saved:
        store = StreamStore.load(states[0])
    transport = VirtualTransport(served(again(True), again(True), again(False)))
    connection = make(transport, store, snapshot=fetch)
    run(after(connection, 20_000))
    assert [request.headers.get("last-event-id") for request in transport.requests] == [None] * 3
    part = store.part("t", "m", 0)
    assert part is not None and part.text == "1 2 3 4 5 "
    assert [read.sessions for read in calls] == [{}] * 5


def test_a_number_that_is_too_old_is_none_that_the_next_connection_has_to_fetch_for() -> None:
    """The state was fetched, and the number is that of the state."""
    store = StreamStore()
    calls: list[Read] = []
    transport = VirtualTransport(
        served(events(3_000, *frames(1, 3), 3_000), Answer(410, {}), events(100, drop=False))
    )
    options: dict[str, Any] = {
        "resume": AfterSeq("s"), "session_id": "s", "sequencing": "session",
        "snapshot": snapshot_of(3, 9, calls=calls),
    }  # fmt: skip

    async def main() -> None:
        async with make(transport, store, **options) as it:
            await asyncio.sleep(20)
            assert it.status.synced and text_of(store).endswith("8 9 ")
            assert not store.save()["resync"]

    run(main())
    assert len(calls) == 2 and not store.resync


# --- poison ---------------------------------------------------------------------------------------


def test_the_same_poison_event_again_and_again_ends_with_a_reason() -> None:
    poison = b"id: 4\ndata: {"
    transport = VirtualTransport(served(events(*frames(1, 3), poison), events(poison)))
    error = run(ended(make(transport)))
    assert isinstance(error, PoisonedStream)
    assert "'3'" in str(error) and "5 connections" in str(error)
    assert len(transport.requests) == 6


@pytest.mark.parametrize("drop", [True, False], ids=["a proxy's limit", "the watchdog"])
def test_an_idle_server_that_says_all_again_at_each_opening_is_no_poison(drop: bool) -> None:
    """It has nothing more to say and no heartbeat: it is asked again for as long as it is."""
    idle = events(*frames(1, 3), 30_000, drop=drop)
    store = StreamStore()
    transport = VirtualTransport(served(*[idle] * 20, events(*frames(1, 4), drop=False)))
    connection = run(after(make(transport, store), 3_600_000))
    assert len(transport.requests) > 20 and connection.error is None
    assert text_of(store) == "1 2 3 4 "


def test_silence_in_the_middle_of_an_event_is_poison() -> None:
    transport = VirtualTransport(served(events(*frames(1, 3), b"data: {", drop=False)))
    assert isinstance(run(ended(make(transport))), PoisonedStream)


def test_progress_between_is_no_poison() -> None:
    number = 0

    def serve(request: Request) -> Answer:
        nonlocal number
        number += 1
        return Answer(body=[*frames(number, number), b"data: {", ConnectionLost("cut")])

    transport = VirtualTransport(serve)
    connection = run(after(make(transport), 600_000))
    assert connection.state == "ended" and connection.error is None and connection.reconnects > 20


def test_a_server_that_greets_and_drops_is_no_poison_but_waited_for() -> None:
    transport = VirtualTransport(served(events(*frames(1, 3)), events(b": hello\n\n")))
    connection = run(after(make(transport), 600_000))
    assert connection.error is None and connection.reconnects > 20


def test_what_no_adapter_knows_ends_with_the_stores_reason() -> None:
    odd = b"".join(b'data: {"odd": 1}\n\n' for _ in range(64))
    transport = VirtualTransport(served(events(odd, drop=False)))
    assert isinstance(run(ended(make(transport, protocol="auto"))), UnknownProtocol)
    assert transport.open_now == 0


def test_a_store_that_was_closed_ends_the_connection() -> None:
    store = StreamStore()

    async def main() -> None:
        transport = VirtualTransport(
            served(events(*frames(1, 1), 1_000, *frames(2, 2), drop=False))
        )
        async with make(transport, store) as connection:
            await asyncio.sleep(0.5)
            store.close()
            with pytest.raises(CallerError):
                await connection.wait()
        assert transport.open_now == 0

    run(main())


@pytest.mark.parametrize(
    "answer", [events(*frames(1, 1), drop=False), lambda: Answer(after_ms=1e9)]
)
def test_a_store_that_was_closed_ends_a_connection_that_is_idle(answer: Any) -> None:
    store = StreamStore()
    policy = Policy(silence_ms=1e12, head_ms=1e12)

    async def main() -> None:
        transport = VirtualTransport(served(answer))
        async with make(transport, store, policy=policy) as connection:
            await asyncio.sleep(0.5)
            store.close()
            with pytest.raises(CallerError, match="store was closed"):
                await connection.wait()
            assert connection.state == "ended" and "closed" in connection.status.reason
            assert asyncio.get_running_loop().time() < 1
        assert transport.open_now == 0

    run(main())


# --- questions, which must not be asked twice -----------------------------------------------------


UNVERIFIED = CertificateRefused("the certificate does not verify")


@pytest.mark.parametrize("options", [{}, {"json": {}}, {"reconnect": True}])
def test_a_certificate_that_never_verified_ends_it_and_the_text_stays(options: Any) -> None:
    async def main() -> None:
        store = StreamStore()
        store.open("native").feed(b"".join(frames(1, 2)))
        transport = VirtualTransport(served(UNVERIFIED))
        connection = make(transport, store, **options)
        assert await ended(connection) is UNVERIFIED
        assert connection.status.reason == str(UNVERIFIED) and len(transport.requests) == 1
        assert text_of(store) == "1 2 "

    run(main())


@pytest.mark.parametrize(
    "first",
    [events(*frames(1, 2)), Answer(503), Answer(307, {"location": "/there"})],
    ids=["events", "503", "redirect"],
)
def test_a_certificate_of_a_server_that_has_answered_is_waited_for(first: Any) -> None:
    async def main() -> None:
        store = StreamStore()
        answers = served(first, UNVERIFIED, UNVERIFIED, events(*frames(1, 3), drop=False))
        transport = VirtualTransport(answers)
        async with make(transport, store) as connection:
            reasons = [status.reason async for status in connection_until(connection, store)]
        assert str(UNVERIFIED) in reasons and connection.error is None
        assert text_of(store) == "1 2 3 " and len(transport.requests) == 4

    async def connection_until(connection: Connection, store: StreamStore) -> AsyncIterator[Any]:
        async for status in connection:
            yield status
            if status.state == "open":
                await asyncio.sleep(0.1)
                if text_of(store) == "1 2 3 ":
                    return

    run(main())


@pytest.mark.parametrize(("opened", "final"), [(False, True), (True, False)])
def test_a_redirect_to_a_certificate_that_never_verified(opened: bool, final: bool) -> None:
    """Where the stream was open before, the next attempt may be sent elsewhere."""

    async def main() -> None:
        before = [events(*frames(1, 1))] if opened else []
        moved = Answer(307, {"location": "https://other/"})
        transport = VirtualTransport(
            served(*before, moved, UNVERIFIED, events(*frames(1, 2), drop=False))
        )
        store = StreamStore()
        connection = await after(make(transport, store), 60_000)
        assert (connection.error is UNVERIFIED) == final
        assert text_of(store) == ("" if final else "1 2 ")

    run(main())


def test_a_post_that_was_answered_is_not_repeated() -> None:
    store = StreamStore()
    transport = VirtualTransport(served(events(frame(delta(1)))))
    error = run(ended(make(transport, store, json={"q": 1})))
    assert isinstance(error, ConnectionLost) and len(transport.requests) == 1
    assert transport.requests[0].method == "POST" and transport.requests[0].body == b'{"q":1}'
    assert text_of(store) == "1 "


def test_the_end_of_its_answer_is_the_end() -> None:
    transport = VirtualTransport(served(lambda: Answer(body=frames(1, 2))))
    store = StreamStore()
    assert run(ended(make(transport, store, json={}))) is None
    assert text_of(store) == "1 2 " and len(transport.requests) == 1


@pytest.mark.parametrize(
    "first",
    [ConnectionLost("refused", sent=False), Answer(429, {"retry-after": "1"}), Answer(503, {})],
)
def test_a_post_that_surely_was_not_acted_on_is_repeated(first: Any) -> None:
    transport = VirtualTransport(served(first, lambda: Answer(body=frames(1, 1))))
    assert run(ended(make(transport, json={}))) is None
    assert len(transport.requests) == 2


@pytest.mark.parametrize("first", [ConnectionLost("gone"), Answer(500, {}), Answer(502, {})])
def test_a_post_that_may_have_been_acted_on_is_not(first: Any) -> None:
    transport = VirtualTransport(served(first))
    error = run(ended(make(transport, json={})))
    if isinstance(first, ConnectionLost):
        assert error is first
    else:
        assert isinstance(error, StreamRefused) and error.status == first.status
    assert len(transport.requests) == 1


# --- answers that end in the middle ---------------------------------------------------------------


def named(kind: str, **members: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **members})}\n\n".encode()


def anthropic_events(message_id: str = "msg_1") -> list[bytes]:
    """A message of two blocks."""
    message = {"id": message_id, "type": "message", "role": "assistant", "content": []}
    blocks = []
    for index, (kind, member) in enumerate([("thinking", "thinking"), ("text", "text")]):
        start = {"type": kind, member: ""}
        delta = {"type": f"{member}_delta", member: "so "}
        blocks += [
            named("content_block_start", index=index, content_block=start),
            named("content_block_delta", index=index, delta=delta),
            named("content_block_delta", index=index, delta=delta),
            named("content_block_stop", index=index),
        ]
    return [
        named("message_start", message=message),
        named("ping"),
        *blocks,
        named("message_delta", delta={"stop_reason": "end_turn"}, usage={"output_tokens": 4}),
        named("message_stop"),
    ]


def chat_events(*, finished: bool = True, more: int = 0) -> list[bytes]:
    """A completion; servers that are sloppy leave the reason of its end out."""
    head = {"id": "c1", "object": "chat.completion.chunk", "created": 1, "model": "m"}
    choices: list[dict[str, Any]] = [
        {"delta": {"role": "assistant", "content": ""}},
        {"delta": {"content": "hello "}},
        {"delta": {"content": "there"}},
        *[{"delta": {"content": ""}}] * more,
    ]
    if finished:
        choices.append({"delta": {}, "finish_reason": "stop"})
    return [frame({**head, "choices": [{"index": 0, **choice}]}) for choice in choices]


def answered(body: Any, protocol: str, **options: Any) -> tuple[Connection, StreamStore]:
    """A connection whose question has this answer, and its store, when it has ended."""
    store = options.pop("store", None) or StreamStore()
    transport = VirtualTransport(served(lambda: Answer(body=body)))
    options.setdefault("json", {"q": 1})
    connection = make(transport, store, protocol=protocol, **options)
    run(ended(connection))
    store.flush()
    assert len(transport.requests) == 1 and transport.open_now == 0
    assert connection.state == "ended"
    return connection, store


def cut_parts(store: StreamStore) -> list[Any]:
    return [
        part.block_index
        for session in store.session_ids()
        for message in store.messages(session)
        for part in store.parts(session, message.id)
        if part.gap
    ]


def open_messages(store: StreamStore) -> list[str]:
    return [
        message.id
        for session in store.session_ids()
        for message in store.messages(session)
        if message.status == "open"
    ]


@pytest.mark.parametrize("half", [b"", b'event: x\ndata: {"a', b": comm", b"event: x"])
@pytest.mark.parametrize("count", range(len(anthropic_events()) + 1))
def test_an_answer_that_ends_in_the_middle_ends_with_what_the_store_shows(
    count: int, half: bytes
) -> None:
    """A body without a length ends like that when the server dies: nothing else says that it did."""
    sent = anthropic_events()[:count]
    connection, store = answered([*sent, *([half] if half else [])], "anthropic")
    text = "".join(part.text for part in store.parts("main", "msg_1"))
    assert text == "so " * b"".join(sent).count(b'"so "')
    whole = not open_messages(store) and b"data" not in half
    assert whole == (connection.error is None)
    if whole:
        assert connection.status.reason == "all of it has come"
        return
    assert isinstance(connection.error, ConnectionLost)
    reason = str(connection.error)
    assert connection.status.reason == reason
    assert reason.startswith("the answer ended in the middle: ")
    if cut := cut_parts(store):
        assert f"part {cut[0]} of message 'msg_1'" in reason
    elif open_messages(store):
        assert "message 'msg_1' has not ended" in reason
    else:
        assert "an event was cut off" in reason


def test_what_an_answer_that_ends_in_the_middle_brought_is_kept() -> None:
    connection, store = answered(anthropic_events()[:9], "anthropic")
    assert connection.error is not None
    thinking, text = store.parts("main", "msg_1")
    assert (thinking.text, thinking.gap, text.text, text.gap) == ("so so ", False, "so so ", True)


@pytest.mark.parametrize(
    ("body", "whole"),
    [
        pytest.param(chat_events(), True, id="without DONE"),
        pytest.param([*chat_events(), b"data: [DONE]\n\n"], True, id="with DONE"),
        pytest.param([*chat_events(), b"data: [DONE]\n"], True, id="DONE without its blank line"),
        pytest.param([*chat_events(), b"data: [DONE]"], True, id="DONE without its line end"),
        pytest.param([*chat_events(), b": bye"], True, id="half a comment behind it"),
        pytest.param([*chat_events(), b"data:"], True, id="the name of a line behind it"),
        pytest.param(
            [chat_events()[0], b"".join(chat_events(more=50)[1:]) + b'data: {"usage'],
            False,
            id="half an event of a run",
        ),
        pytest.param(
            [*chat_events(), b"data: " + b"x" * 2_000], False, id="half an event that is too long"
        ),
        pytest.param([*chat_events(), b'data: {"usage'], False, id="half an event behind it"),
        pytest.param([*chat_events(), b"data: {}\n"], False, id="an event without its blank line"),
        pytest.param(chat_events(finished=False), False, id="without a reason"),
        pytest.param(
            [*chat_events(finished=False), b"data: [DONE]\n\n"], False, id="DONE without a reason"
        ),
    ],
)
def test_a_sloppy_end_is_an_error_only_where_the_store_shows_a_cut(body: Any, whole: bool) -> None:
    store = StreamStore(limits=Limits(event_line_bytes=1_000))
    connection, _ = answered(body, "openai-chat", store=store)
    assert (connection.error is None) == whole
    assert bool(cut_parts(store)) == ("part" in str(connection.error))
    assert [part.text for part in store.parts("main", "c1")] == ["hello there"]


@pytest.mark.parametrize("end", [b"\n\n", b"\r\r", b"\r\n\r\n", b"\n\r", b"\n", b""])
def test_a_whole_answer_of_which_the_store_was_fed_half_is_whole(end: bytes) -> None:
    """The owner of the store may stop in the middle of an event; the server did not."""

    class Full(SameLoop):
        fed = 0

        async def feed(self, stream: Stream, data: bytes) -> bool:
            self.fed += 1
            return await super().feed(stream, data) if self.fed <= 2 else True

    first, second = frames(1, 2)
    body = [first, second[:20], second[20:].rstrip() + end]
    connection, store = answered(body, "native", owner=Full())
    assert text_of(store) == "1 "
    reason = "an event was cut off" if end in (b"\n", b"") else "None"
    assert reason in str(connection.error)


def test_a_protocol_whose_messages_have_no_end_ends_with_its_answer() -> None:
    """Its text is counted, so that nothing can be missing behind what came."""
    opened = frame({"type": "message.opened", "sessionId": "s", "messageId": "q", "role": "user"})
    connection, store = answered([opened, *frames(1, 2)], "native")
    assert connection.error is None and text_of(store) == "1 2 "
    assert sorted(open_messages(store)) == ["m", "q"]


@pytest.mark.parametrize("protocol", ["native", "auto"])
def test_an_empty_answer_and_one_of_comments_are_whole(protocol: str) -> None:
    for body in ([], [b": hello\n\n"], [b": hel"]):
        assert answered(body, protocol)[0].error is None


@pytest.mark.parametrize(
    ("block", "cut"),
    [
        ({"type": "block.opened", "kind": "text"}, True),
        ({"type": "block.delta", "text": "so"}, True),
        ({"type": "block.replaced", "kind": "text", "text": "so", "whole": True}, False),
        ({"type": "block.closed"}, False),
        ({"type": "block.opened", "kind": "tool"}, False),
    ],
    ids=["opened", "streaming", "replaced", "closed", "tool"],
)
def test_without_a_count_a_part_is_cut_where_the_end_marks_it(
    block: dict[str, Any], cut: bool
) -> None:
    place = {"sessionId": "s", "messageId": "m", "blockIndex": 0}
    opened = {"type": "block.opened", "kind": "text"}
    begun = [frame({**opened, **place})] if block["type"] in ("block.delta", "block.closed") else []
    connection, store = answered([*begun, frame({**block, **place})], "native", sequencing="none")
    assert cut_parts(store) == ([0] if cut else [])
    assert ("part 0 of message 'm'" in str(connection.error)) == cut
    assert cut or connection.error is None


@pytest.mark.parametrize("last", [b"\n", b"", b"cut", b'\n{"cut'])
def test_a_last_line_counts_without_its_end(last: bytes) -> None:
    """JSON lines that are called an event stream: their last line is one without its end, too."""
    wires: list[dict[str, Any]] = [
        {"type": "message.opened", "sessionId": "s", "messageId": "m", "role": "assistant"},
        {"type": "message.closed", "sessionId": "s", "messageId": "m"},
    ]
    body = "\n".join(json.dumps(wire) for wire in wires).encode()
    connection, store = answered([body[:-3] if last == b"cut" else body + last], "native")
    assert open_messages(store) == (["m"] if last == b"cut" else [])
    assert (connection.error is None) == (b"cut" not in last)


def test_other_messages_of_the_store_do_not_count() -> None:
    """What is open there began before, or is another open stream's: nothing says that it is ours."""
    store = StreamStore()
    cut = store.open("anthropic")
    cut.feed(b"".join(anthropic_events("msg_0")[:5]))
    assert answered(anthropic_events(), "anthropic", store=store)[0].error is None
    cut.end()
    assert answered(anthropic_events("msg_2"), "anthropic", store=store)[0].error is None

    beside = store.open("anthropic")
    answer = anthropic_events("msg_3")

    async def body() -> AsyncIterator[bytes]:
        yield answer[0]
        beside.feed(b"".join(anthropic_events("msg_4")[:1]))
        for chunk in answer[1:]:
            yield chunk

    assert answered(body(), "anthropic", store=store)[0].error is None
    assert open_messages(store) == ["msg_0", "msg_4"]


def test_what_the_user_announces_meanwhile_does_not_count() -> None:
    store = StreamStore()
    answer = anthropic_events()

    async def body() -> AsyncIterator[bytes]:
        yield answer[0]
        store.apply(
            MessageOpened(session_id="main", message_id="mine", role="assistant", local=True)
        )
        for chunk in answer[1:]:
            yield chunk

    assert answered(body(), "anthropic", store=store)[0].error is None
    assert open_messages(store) == ["mine"]


def test_a_part_that_another_open_stream_brings_as_well_is_not_cut() -> None:
    store = StreamStore()
    other = store.open("openai-chat", session_id="main")
    sent = b"".join(chat_events(finished=False))
    other.feed(sent)
    connection, _ = answered([sent], "openai-chat", store=store)
    assert connection.error is None and not cut_parts(store)


def test_an_answer_that_ends_in_the_middle_and_may_be_asked_for_again_is() -> None:
    """A GET, or a POST that the caller says to repeat: its end is a drop, as it always was."""
    for options in ({"json": {}, "reconnect": True}, {}):
        store = StreamStore()
        transport = VirtualTransport(
            served(lambda: Answer(body=anthropic_events()[:5]), events(drop=False))
        )
        connection = make(transport, store, protocol="anthropic", **options)
        run(after(connection, 5_000))
        assert len(transport.requests) == 2 and connection.error is None
        assert connection.unrepaired == 1


def test_a_whole_answer_to_a_post_is_not_asked_for_again() -> None:
    """Each time would be a new question, and cost what one costs: what is repeated is a drop."""
    sent = anthropic_events()
    for bodies in ([sent], [sent[:5], sent]):
        answers = [partial(Answer, body=body) for body in bodies]
        transport = VirtualTransport(served(*answers, events(drop=False)))
        connection = make(transport, protocol="anthropic", json={}, reconnect=True)
        run(after(connection, 5_000))
        assert len(transport.requests) == len(bodies)
        assert connection.state == "ended" and connection.error is None


def test_what_is_followed_by_a_post_goes_on_behind_a_clean_end() -> None:
    async def state(read: Any) -> list[Any]:
        return []

    without_ids = [frame(delta(1)), frame(delta(2))]
    for options, body in (({"snapshot": state}, without_ids), ({}, frames(1, 2))):
        store = StreamStore()
        transport = VirtualTransport(served(partial(Answer, body=body), events(drop=False)))
        connection = make(transport, store, json={}, reconnect=True, **options)
        run(after(connection, 5_000))
        assert len(transport.requests) == 2 and connection.error is None


def test_a_get_that_may_not_be_repeated_ends_in_the_middle_like_a_post() -> None:
    sent = anthropic_events()
    options: dict[str, Any] = {"json": None, "reconnect": False}
    assert isinstance(answered(sent[:5], "anthropic", **options)[0].error, ConnectionLost)
    assert answered(sent, "anthropic", **options)[0].error is None


@pytest.mark.parametrize("half", [b"", b"data: {"])
def test_behind_the_end_of_a_response_nothing_is_cut(half: bytes) -> None:
    """Whether the body ends or breaks off there: the response says itself that it has ended."""
    body = [*response_events(), half]
    connection, _ = answered(body, "openai-responses", resume=StartingAfter())
    assert connection.error is None


def test_a_response_that_cannot_be_resumed_may_end_in_the_middle() -> None:
    """Nothing named it, so that nothing can be asked for: its answer is an answer like others."""
    sent = [event for event in response_events() if b'"response":' not in event]
    connection, store = answered(sent[:4], "openai-responses", resume=StartingAfter())
    assert isinstance(connection.error, ConnectionLost) == bool(
        open_messages(store) or cut_parts(store)
    )


#: Recorded answers that end in the middle: of an event, of a part, or (Anthropic, OpenAI) before
#: the end of the message. All others are whole, also where a tool waits for the user.
CUT = {
    "anthropic": """cut-before-stop sdk-fixture-basic sdk-fixture-compaction sdk-fixture-fallback
        sdk-fixture-fallback-credit sdk-fixture-incomplete-partial-json sdk-fixture-refusal
        sdk-fixture-tool-use""",
    "openai-responses": "cut-before-completed",
    "openai-chat": "cut-before-finish",
    "vercel-ui": """malformed-missing-field malformed-reasoning-delta malformed-text-delta-first
        malformed-tool-delta resume-continue-cut4 resume-continue-cut8 resume-replay-cut15
        resume-replay-cut4 resume-replay-cut8 truncated""",
    "ag-ui": """chunks-without-finish ends-without-finish malformed-args-first
        malformed-chunk-role-conflict malformed-content-first malformed-missing-field
        malformed-reasoning-content-first malformed-start-twice malformed-truncated
        malformed-wrong-type""",
    "opencode": "reconnect_gap",
}


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_recorded_answers_are_whole_or_end_in_the_middle(protocol: str) -> None:
    told, names = set(), set()
    for case in cases(protocol):
        connection, store = answered([case.bodies[0]], protocol)
        names.add(case.name)
        if isinstance(connection.error, ConnectionLost):
            told.add(case.name)
            assert cut_parts(store) or open_messages(store)
    assert told == names & set(CUT[protocol].split())


def waits_for_the_user() -> list[Any]:
    """Answers that are whole, with something in them that has not ended."""
    start: list[Any] = [{"type": "start", "messageId": "m"}]
    tool = {"type": "tool-input-available", "toolCallId": "t", "toolName": "n", "input": {}}
    finish = {"type": "finish", "finishReason": "tool-calls"}
    text = [
        {"type": "text-start", "id": "1"},
        {"type": "text-delta", "id": "1", "delta": "hi"},
        {"type": "text-end", "id": "1"},
    ]
    begun = {"type": "tool-input-start", "toolCallId": "t", "toolName": "n"}
    more = {"type": "tool-input-delta", "toolCallId": "t", "inputTextDelta": "{"}
    asked = {"type": "tool-approval-request", "toolCallId": "t", "approvalId": "a"}
    at = {"sessionId": "s", "messageId": "m"}
    native = [
        {"type": "message.opened", **at, "role": "assistant"},
        {"type": "block.opened", **at, "blockIndex": 0, "kind": "text"},
        {"type": "block.closed", **at, "blockIndex": 0, "text": "hi"},
        {"type": "session.status", "sessionId": "s", "status": "idle"},
    ]
    return [
        pytest.param("vercel-ui", [*start, tool, finish], id="a tool of the client's"),
        pytest.param("vercel-ui", [*start, begun, more, tool, finish], id="its input streamed"),
        pytest.param("vercel-ui", [*start, tool, asked, finish], id="an approval"),
        pytest.param("vercel-ui", text, id="a writer without start and finish"),
        pytest.param("vercel-ui", [{"type": "data-x", "data": 1}], id="data alone"),
        pytest.param("native", native, id="an idle session"),
    ]


@pytest.mark.parametrize(("protocol", "wires"), waits_for_the_user())
def test_what_waits_for_the_user_is_no_answer_that_was_cut(protocol: str, wires: Any) -> None:
    connection, store = answered([frame(wire) for wire in wires], protocol)
    assert connection.error is None
    assert open_messages(store)


def test_what_the_program_says_of_another_message_meanwhile_cuts_none() -> None:
    store = StreamStore()
    cut = store.open("anthropic")
    cut.feed(b"".join(anthropic_events("msg_0")[:5]))
    cut.end()
    answer = anthropic_events()

    async def body() -> AsyncIterator[bytes]:
        yield answer[0]
        store.apply(MessageUpdated(session_id="main", message_id="msg_0", info={"hidden": True}))
        for chunk in answer[1:]:
            yield chunk

    assert answered(body(), "anthropic", store=store)[0].error is None


# --- other ways to resume -------------------------------------------------------------------------


def test_after_goes_on_behind_the_last_seq_before_a_hole() -> None:
    opened = frame({"type": "stream.opened", "sequencing": "session"})

    def log(*seqs: int) -> list[bytes]:
        return [opened, *(frame(delta(seq)) for seq in seqs)]

    store = StreamStore()
    transport = VirtualTransport(
        served(events(*log(1, 2, 4)), events(*log(3, 4, 5)), events(drop=False))
    )
    connection = connect(
        URL + "?follow=1&after=0", store=store, protocol="native", resume=AfterSeq("s"),
        transport=transport, clock=VirtualClock(), chance=lambda: 0.0,
    )  # fmt: skip
    run(after(connection, 10_000))
    asked = [request.url.partition("?")[2] for request in transport.requests]
    assert asked == ["follow=1&after=0", "follow=1&after=2", "follow=1&after=5"]
    assert text_of(store) == "1 2 3 4 5 "


def response_events() -> list[bytes]:
    """A background response of one message."""
    response = {"id": "resp_1", "object": "response", "status": "in_progress", "output": []}
    item = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "status": "in_progress",
        "content": [],
    }
    part = {"type": "output_text", "text": "", "annotations": []}
    at = {"item_id": "msg_1", "output_index": 0, "content_index": 0}
    full = {**part, "text": "Hello there"}
    done = {**item, "status": "completed", "content": [full]}
    wires: list[dict[str, Any]] = [
        {"type": "response.created", "response": response},
        {"type": "response.in_progress", "response": response},
        {"type": "response.output_item.added", "output_index": 0, "item": item},
        {"type": "response.content_part.added", **at, "part": part},
        *(
            {"type": "response.output_text.delta", **at, "delta": text, "logprobs": []}
            for text in ("Hel", "lo", " the", "re")
        ),
        {"type": "response.output_text.done", **at, "text": "Hello there", "logprobs": []},
        {"type": "response.content_part.done", **at, "part": full},
        {"type": "response.output_item.done", "output_index": 0, "item": done},
        {
            "type": "response.completed",
            "response": {**response, "status": "completed", "output": [done]},
        },
    ]
    return [
        f"event: {wire['type']}\ndata: {json.dumps({**wire, 'sequence_number': n})}\n\n".encode()
        for n, wire in enumerate(wires)
    ]


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_background_response_is_resumed_by_its_numbers_and_ends_when_it_has_ended(
    cut: int,
) -> None:
    sent = response_events()

    def serve(request: Request) -> Answer:
        if request.method == "POST":
            return Answer(body=[*sent[:cut], sent[cut][:20], ConnectionLost("cut")])
        query = request.url.partition("?")[2]
        assert query == f"stream=true&starting_after={cut - 1}"
        assert request.url.startswith("http://api/v1/responses/resp_1?") and request.body is None
        return Answer(body=sent[cut:])

    store = StreamStore()
    transport = VirtualTransport(serve)
    connection = connect(
        "http://api/v1/responses", store=store, protocol="openai-responses",
        json={"background": True, "stream": True}, resume=StartingAfter(),
        transport=transport, clock=VirtualClock(), chance=lambda: 0.0,
    )  # fmt: skip
    assert run(ended(connection)) is None
    assert [request.method for request in transport.requests] == ["POST", "GET"]
    store.flush()
    [session] = store.session_ids()
    [message] = store.messages(session)
    assert [part.text for part in store.parts(session, message.id)] == ["Hello there"]
    assert message.status == "completed"


def test_a_cut_before_anything_of_a_response_came_is_no_end_of_it() -> None:
    """An event that belongs to no response says nothing of one."""
    sent = response_events()
    alive = b'data: {"type": "keepalive", "sequence_number": 0}\n\n'
    answers = [Answer(body=[alive, ConnectionLost("cut")]), Answer(body=sent)]
    store = StreamStore()
    transport = VirtualTransport(lambda request: answers.pop(0))
    connection = connect(
        "http://api/v1/responses/resp_1?stream=true", store=store, protocol="openai-responses",
        resume=StartingAfter("resp_1"), transport=transport, clock=VirtualClock(),
        chance=lambda: 0.0,
    )  # fmt: skip
    assert run(ended(connection)) is None
    assert len(transport.requests) == 2
    store.flush()
    [session] = store.session_ids()
    assert [message.status for message in store.messages(session)] == ["completed"]


def test_what_is_said_of_a_body_is_not_said_where_a_response_goes_on_without_one() -> None:
    sent = response_events()
    answers = [Answer(body=[b"".join(sent[:3]), ConnectionLost("cut")]), Answer(body=sent[3:])]
    transport = VirtualTransport(lambda request: answers.pop(0))
    connection = connect(
        "http://api/v1/responses", store=StreamStore(), protocol="openai-responses", body=b"{}",
        headers={"Content-Length": "2", "Content-Type": "application/json", "X-Of": "mine"},
        resume=StartingAfter(), transport=transport, clock=VirtualClock(), chance=lambda: 0.0,
    )  # fmt: skip
    assert run(ended(connection)) is None
    first, second = (request.headers for request in transport.requests)
    assert first["content-length"] == "2" and second["x-of"] == "mine"
    assert not {"content-length", "content-type"} & set(second)


def test_a_cut_behind_the_end_of_a_response_is_no_loss() -> None:
    transport = VirtualTransport(served(events(*response_events())))
    connection = connect(
        "http://api/v1/responses", store=StreamStore(), protocol="openai-responses", json={},
        resume=StartingAfter(), transport=transport, clock=VirtualClock(),
    )  # fmt: skip
    assert run(ended(connection)) is None
    assert len(transport.requests) == 1


def began(response_id: str) -> dict[str, Any]:
    response = {"id": response_id, "object": "response", "status": "in_progress", "output": []}
    return {"type": "response.created", "response": response, "sequence_number": 0}


@pytest.mark.parametrize("method", ["POST", "GET"])
@pytest.mark.parametrize("response_id", [None, "resp_1"])
@pytest.mark.parametrize(
    "others",
    [["other"], ["other", "message"], ["other", "mine"]],
    ids=["session", "message", "answer"],
)
def test_other_answers_of_a_store_do_not_keep_a_response_from_its_end(
    method: str, response_id: str | None, others: list[str]
) -> None:
    if "mine" in others and response_id is None and method == "POST":
        return  # the latest that has not ended is followed
    store = StreamStore()
    store.open("openai-responses", session_id="other").ingest(began("r0"))
    if "mine" in others:
        store.open("openai-responses", session_id="mine").ingest(began("r0"))
    if "message" in others:
        store.open("native", session_id="mine").ingest(
            {"type": "message.opened", "sessionId": "mine", "messageId": "u", "role": "user"}
        )
    transport = VirtualTransport(served(*[events(*response_events())] * 5))
    url = "http://api/v1/responses"
    connection = connect(
        url if method == "POST" else f"{url}/resp_1?stream=true", store=store,
        protocol="openai-responses", session_id="mine", json={} if method == "POST" else None,
        resume=StartingAfter(response_id), transport=transport, clock=VirtualClock(),
        chance=lambda: 0.0,
    )  # fmt: skip
    assert run(ended(connection)) is None
    assert len(transport.requests) == 1
    assert {one.id: one.status for one in store.messages("other")} == {"r0": "open"}


def test_an_address_whose_last_step_is_no_response_follows_the_latest() -> None:
    """`.../responses/stream` is a proxy's own address."""
    sent = response_events()
    answers = [Answer(body=sent[:4]), Answer(body=sent[4:])]
    transport = VirtualTransport(lambda request: answers.pop(0))
    url, store = "http://api/responses/stream", StreamStore()
    connection = connect(
        url, store=store, protocol="openai-responses", resume=StartingAfter(),
        transport=transport, clock=VirtualClock(), chance=lambda: 0.0,
    )  # fmt: skip
    assert run(ended(connection)) is None
    asked = [request.url for request in transport.requests]
    assert asked == [url, f"{url}?stream=true&starting_after=3"]
    store.flush()
    assert [message.status for message in store.messages("main")] == ["completed"]


def test_what_a_url_names_is_resumed_and_not_a_later_response_of_the_session() -> None:
    """The number of one response says nothing of another's events: they would be jumped over."""
    sent = response_events()
    store = StreamStore()

    async def cut() -> AsyncIterator[bytes]:
        for chunk in sent[:3]:
            yield chunk
        store.open("openai-responses", session_id="mine").ingest(began("r9"))
        raise ConnectionLost("cut")

    answers = [Answer(body=cut()), Answer(body=sent[3:])]
    transport = VirtualTransport(lambda request: answers.pop(0))
    url = "http://api/v1/responses/resp_1?stream=true"
    connection = connect(
        url, store=store, session_id="mine", protocol="openai-responses", resume=StartingAfter(),
        transport=transport, clock=VirtualClock(), chance=lambda: 0.0,
    )  # fmt: skip
    assert run(ended(connection)) is None
    assert [request.url for request in transport.requests] == [url, f"{url}&starting_after=2"]
    store.flush()
    assert {one.id: one.status for one in store.messages("mine")} == {
        "resp_1": "completed",
        "r9": "open",
    }


async def two_responses(
    store: StreamStore, url: str, one: VirtualTransport, other: VirtualTransport
) -> None:
    """Ask for two responses of one session at once, and follow them for a while."""
    first, second = (
        connect(
            url,
            store=store,
            protocol="openai-responses",
            resume=StartingAfter(),
            json={},
            transport=transport,
            clock=VirtualClock(),
            chance=lambda: 0.0,
        )
        for transport in (one, other)
    )
    async with first, second:
        await asyncio.sleep(30)


def test_of_two_responses_of_one_session_each_connection_goes_on_with_its_own() -> None:
    """Each asked for the latest one: what the other had still to bring never came."""
    store, url = StreamStore(), "http://api/v1/responses"
    transports = {
        name: VirtualTransport(
            served(
                events(*[one.replace(b"resp_1", name.encode()) for one in response_events()[:3]]),
                events(b": hello\n\n"),
                events(drop=False),
            )
        )
        for name in ("resp_a", "resp_b")
    }

    run(two_responses(store, url, *transports.values()))
    for name, transport in transports.items():
        sent = [request.url for request in transport.requests]
        assert sent == [url, *[f"{url}/{name}?stream=true&starting_after=2"] * 2]


@pytest.mark.parametrize("cut", range(1, 12))
def test_of_two_responses_of_one_session_what_is_resumed_is_of_the_one_that_was_asked_for(
    cut: int,
) -> None:
    """Most events name no response: those of the first were taken for the latest one's."""
    store, url = StreamStore(), "http://api/v1/responses"
    transports = {}
    for name, text in (("resp_a", b"Jello"), ("resp_b", b"Hullo")):
        sent = [
            one.replace(b"resp_1", name.encode())
            .replace(b"msg_1", b"msg_" + name.encode())
            .replace(b'"Hel"', b'"%b"' % text[:3])
            .replace(b"Hello", text)
            for one in response_events()
        ]
        transports[name] = VirtualTransport(
            served(events(*sent[:cut]), events(*sent[cut:], drop=False))
        )

    run(two_responses(store, url, *transports.values()))
    store.flush()
    for name, text in (("resp_a", "Jello there"), ("resp_b", "Hullo there")):
        message = store.message("main", name)
        assert message is not None and message.status == "completed"
        assert [part.text for part in store.parts("main", name)] == [text]
    assert store.health.counts["verdicts"] == {"accepted": 24}


def test_a_connection_ends_with_its_response_though_another_one_of_the_session_runs() -> None:
    """It went on with that one, which another connection brings."""
    store, url = StreamStore(), "http://api/v1/responses"
    store.open("openai-responses").ingest(began("r9"))
    transport = VirtualTransport(served(events(*response_events()), Answer(404, {})))
    connection = connect(
        url, store=store, protocol="openai-responses", resume=StartingAfter(), json={},
        transport=transport, clock=VirtualClock(), chance=lambda: 0.0,
    )  # fmt: skip
    store.open("openai-responses").ingest(began("r10"))
    assert run(ended(connection)) is None
    assert [request.url for request in transport.requests] == [url]


@pytest.mark.parametrize("sent", ["all of it again", "the whole of it"])
def test_what_says_again_that_a_response_has_ended_ends_the_connection(sent: str) -> None:
    whole = json.loads(response_events()[-1].partition(b"data: ")[2])["response"]
    store = StreamStore()
    store.open("openai-responses", session_id="main").feed(b"".join(response_events()))
    body = response_events() if sent == "all of it again" else [frame(whole)]
    transport = VirtualTransport(served(*[events(*body)] * 5))
    connection = connect(
        "http://api/v1/responses/resp_1?stream=true", store=store, protocol="openai-responses",
        resume=StartingAfter(), transport=transport, clock=VirtualClock(), chance=lambda: 0.0,
    )  # fmt: skip
    assert run(ended(connection)) is None
    assert len(transport.requests) == 1


def test_an_older_response_that_ended_is_not_the_end_of_a_new_one() -> None:
    store = StreamStore()
    done = {**began("r0")["response"], "status": "completed"}
    store.open("openai-responses", session_id="mine").ingest(done)
    alive = b'data: {"type": "keepalive", "sequence_number": 0}\n\n'
    connection = connect(
        "http://api/v1/responses", store=store, protocol="openai-responses", json={},
        session_id="mine", resume=StartingAfter(), clock=VirtualClock(),
        transport=VirtualTransport(served(events(alive))),
    )  # fmt: skip
    assert isinstance(run(ended(connection)), ConnectionLost)


# --- ticks ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["none", "each", "manual", "asyncio", "scheduler"])
def test_every_kind_of_ticks_works(kind: str) -> None:
    async def main() -> None:
        ticks: Any = {"none": None, "scheduler": ManualTicks(interval_ms=16)}.get(kind, kind)
        store = StreamStore(ticks=ticks)
        seen: list[str] = []

        def hear(changes: Any) -> None:
            seen.extend(edit.text for edit in changes.text.values())

        store.subscribe(hear)
        transport = VirtualTransport(
            served(events(*frames(1, 3)), events(*frames(2, 5), drop=False))
        )
        async with make(transport, store):
            await asyncio.sleep(5)
            if kind == "scheduler":
                ticks.run()
            if kind == "manual":
                assert seen == []
                store.flush()
            assert "".join(seen) == "1 2 3 4 5 "

    run(main())


def test_a_subscriber_that_raises_does_not_end_the_connection() -> None:
    reported = []
    store = StreamStore(on_error=lambda error, subscription: reported.append(error))

    def hear(changes: Any) -> None:
        raise ValueError("mine")

    store.subscribe(hear)
    transport = VirtualTransport(served(events(*frames(1, 3), drop=False)))
    connection = run(after(make(transport, store), 1_000))
    assert connection.error is None and reported and text_of(store) == "1 2 3 "


class FrameworkHeaders:
    """Headers as a framework has them: no `Mapping`."""

    def items(self) -> Any:
        return iter([("X-Trace", "7")])


def test_headers_of_a_framework_that_are_no_mapping_are_sent() -> None:
    transport = VirtualTransport(served(Answer(404, EVENT_STREAM)))
    headers: Any = FrameworkHeaders()
    run(ended(make(transport, headers=headers)))
    assert transport.requests[0].headers["x-trace"] == "7"


def test_the_head_of_a_request_says_what_is_wanted() -> None:
    transport = VirtualTransport(served(Answer(404, EVENT_STREAM)))
    run(ended(make(transport, headers={"Accept": "text/event-stream, */*"})))
    assert transport.requests[0].headers == {
        "accept": "text/event-stream, */*", "cache-control": "no-store",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("authorization", "Bearer hidden\n"),
        ("Authorization", " hidden"),
        ("cookie", "hid\r\nden"),
        ("cookie", b"hidden"),
        ("cookie", None),
        ("cookie", "hid\ud800"),
        ("a b", "hidden"),
        ("", "hidden"),
    ],
)
def test_a_header_that_cannot_be_sent_is_said_at_once_and_not_shown(name: str, value: Any) -> None:
    with pytest.raises(CallerError) as caught:
        connect(
            URL, store=StreamStore(), headers={name: value}, transport=VirtualTransport(served())
        )
    assert repr(name) in str(caught.value) and "hid" not in str(caught.value)


def test_a_request_does_not_show_what_its_headers_say() -> None:
    request = Request(url=URL, headers={"authorization": "Bearer hidden"})
    assert "authorization" in repr(request) and "hidden" not in repr(request)
