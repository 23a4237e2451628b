"""When to try again and what an answer means: pure rules, no time passes."""

from __future__ import annotations

import json
import time
from random import Random

import pytest

from streamstore import CallerError, StreamStore
from streamstore.client import Policy, Request, StreamRefused
from streamstore.client.answers import (
    CREDENTIALS,
    Later,
    Opened,
    Redirected,
    TooOld,
    judge,
    redirected,
)
from streamstore.client.asking import Reply
from streamstore.client.opencode_ids import AscendingIds
from streamstore.client.policy import Backoff, Place, PoisonWatch, retry_after

EVENTS = {"content-type": "text/event-stream"}


def answer(status: int, headers: dict[str, str] | None = None, resuming: bool = False) -> object:
    return judge(Request(url="http://h/e"), status, headers or {}, wall_ms=0.0, resuming=resuming)


# --- backoff --------------------------------------------------------------------------------------


def test_waits_double_from_one_second_to_thirty_and_no_further() -> None:
    for chance, expected in (
        (0.0, [1000, 2000, 4000, 8000, 16000, 20000, 20000, 20000]),
        (1.0, [1500, 3000, 6000, 12000, 24000, 30000, 30000, 30000]),
    ):
        backoff = Backoff(Policy())
        assert [round(backoff.next(chance)) for _ in range(8)] == expected


def test_every_wait_is_spread_also_when_the_doubling_has_ended() -> None:
    random = Random(1)
    for attempt in range(12):
        waits = []
        for _ in range(200):
            backoff = Backoff(Policy())
            backoff.attempts = attempt
            waits.append(backoff.next(random.random()))
        assert max(waits) - min(waits) > 0.25 * max(waits)


def test_the_ten_thousandth_wait_is_still_thirty_seconds() -> None:
    backoff = Backoff(Policy())
    backoff.attempts = 10_000
    assert backoff.next(1.0) == 30_000


@pytest.mark.parametrize(("lived", "then"), [(59_999.0, 2000.0), (60_000.0, 1000.0)])
def test_only_a_minute_of_health_makes_the_next_wait_a_first_one(lived: float, then: float) -> None:
    backoff = Backoff(Policy())
    backoff.next(0.0)
    backoff.lived(lived)
    assert backoff.next(0.0) == then


@pytest.mark.parametrize(
    ("retry", "least", "most"),
    [
        (0, 100, 150),
        (99, 100, 150),
        (250, 250, 375),
        (5_000, 5_000, 7_500),
        (45_000, 45_000, 67_500),
        (600_000, 600_000, 600_000),
        (10**18, 600_000, 600_000),
    ],
)
def test_retry_is_the_first_wait_within_100_ms_and_10_min(
    retry: float, least: float, most: float
) -> None:
    for chance, expected in ((0.0, least), (1.0, most)):
        backoff = Backoff(Policy())
        backoff.retry_ms = retry
        assert backoff.next(chance) == pytest.approx(expected)


def test_a_wait_is_never_below_what_retry_asks_for() -> None:
    for retry in (100, 20_000, 29_000, 30_000, 400_000, 590_000):
        backoff = Backoff(Policy())
        backoff.retry_ms = retry
        assert all(retry <= backoff.next(0.0) <= 600_000 for _ in range(20))


@pytest.mark.parametrize(
    ("asked", "waits"),
    [(0, 1_000), (60_000, 60_000), (10**9, 600_000)],
)
def test_retry_after_is_waited_for_within_10_min(asked: float, waits: float) -> None:
    assert Backoff(Policy()).next(0.0, asked) == waits
    assert waits <= Backoff(Policy()).next(1.0, asked) <= max(600_000, 1_500)


@pytest.mark.parametrize(
    ("value", "ms"),
    [
        ("0", 0.0),
        (" 120 ", 120_000.0),
        ("Thu, 01 Jan 1970 00:01:00 GMT", 60_000.0),
        ("Thursday, 01-Jan-70 00:01:00 GMT", 60_000.0),
        ("Mon, 01 Jan 1900 00:00:00 GMT", 0.0),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("", None),
        ("9" * 5000, None),
        ("Thu, 99 Jan 1970 00:00:00 GMT", None),
        (None, None),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_nothing_else(
    value: str | None, ms: float | None
) -> None:
    assert retry_after(value, 0.0) == ms


def test_a_date_is_held_against_the_wall_clock() -> None:
    assert retry_after("Thu, 01 Jan 1970 00:01:00 GMT", 45_000.0) == 15_000.0


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the system has one time zone")
@pytest.mark.parametrize(
    "value", ["Thu Jan  1 00:01:00 1970", "Thu, 01 Jan 1970 00:01:00", "01 Jan 1970 00:01:00 -0000"]
)
def test_a_date_is_in_utc_wherever_the_program_runs(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TZ", "JST-9")
    time.tzset()
    try:
        assert retry_after(value, 0.0) == 60_000.0
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("value", [0, -1, True, float("nan"), float("inf"), "1"])
def test_a_policy_refuses_what_is_no_time(value: object) -> None:
    with pytest.raises(CallerError, match="first_delay_ms must be a number above 0"):
        Policy(first_delay_ms=value)  # type: ignore[arg-type]


def test_silence_is_two_and_a_half_heartbeats_or_45_seconds() -> None:
    assert Policy().limit_ms == 45_000
    assert Policy(heartbeat_ms=10_000).limit_ms == 25_000


# --- answers --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "kind",
    [
        "text/event-stream",
        "text/event-stream;charset=utf-8",
        "Text/Event-Stream ; x=y",
        "text/event-stream;x='a,b'",
        'text/event-stream; profile="https://a/b,https://c/d"',
        r'text/event-stream; profile="a\",text/html"',
        "text/event-stream, text/event-stream",  # said twice, once by a proxy
        "text/event-stream, text/event-stream; charset=utf-8",
        "text/plain, text/event-stream, */*",
    ],
)
def test_200_with_an_event_stream_opens(kind: str) -> None:
    assert answer(200, {"content-type": kind}) == Opened()


@pytest.mark.parametrize("kind", ["application/json, application/json", "a/b+json;q=1, a/b+json"])
def test_a_reply_that_says_twice_that_it_is_json_is_json(kind: str) -> None:
    assert Reply(200, {"content-type": kind}, b"{}").is_json


@pytest.mark.parametrize(
    "kind",
    ["", "text/html", "application/json", "text/event-streams", "text/event-stream, text/html"],
)
def test_200_with_anything_else_ends_and_says_what_it_was(kind: str) -> None:
    with pytest.raises(StreamRefused, match=kind.split(", ")[-1] or "no content type") as caught:
        answer(200, {"content-type": kind})
    assert caught.value.status == 200
    assert str(caught.value).endswith("a stream of your own server needs that content type")


@pytest.mark.parametrize(
    ("kind", "chunk"),
    [
        ("application/x-ndjson", "each chunk to `Stream.feed`"),
        ("application/jsonl; charset=utf-8", "each chunk to `Stream.feed`"),
        ("application/json-seq", "each chunk without its record separators .0x1e. to `Stream.feed"),
    ],
)
def test_200_with_json_lines_says_how_they_are_read(kind: str, chunk: str) -> None:
    with pytest.raises(StreamRefused, match=chunk) as caught:
        answer(200, {"content-type": kind})
    assert "check the address" not in str(caught.value)
    store = StreamStore()
    stream = store.open("native")
    event = {"type": "block.delta", "sessionId": "s", "messageId": "m", "blockIndex": 0}
    for seq, text in enumerate("ab", 1):
        line = json.dumps({**event, "seq": seq, "text": text}).encode() + b"\n"
        separator = b"\x1e" if "seq" in kind else b""
        stream.feed((separator + line).replace(b"\x1e", b""))
    stream.end()
    part = store.part("s", "m", 0)
    assert part is not None and part.text == "ab"


@pytest.mark.parametrize("status", [201, 202, 204, 205, 206, 300, 304, 305, 306, 399])
def test_another_status_below_400_ends_even_with_an_event_stream(status: int) -> None:
    with pytest.raises(StreamRefused) as caught:
        answer(status, EVENTS)
    assert caught.value.status == status


@pytest.mark.parametrize("status", sorted(set(range(400, 500)) - {408, 425, 429}))
def test_every_other_4xx_ends(status: int) -> None:
    with pytest.raises(StreamRefused, match=str(status)) as caught:
        answer(status)
    assert caught.value.status == status


@pytest.mark.parametrize("status", [408, 425, 429, 500, 502, 503, 504, 599])
def test_what_passes_is_tried_again(status: int) -> None:
    found = answer(status, {"retry-after": "7"})
    assert isinstance(found, Later) and found.after_ms == 7_000


@pytest.mark.parametrize("status", [409, 410, 412])
def test_a_position_that_is_too_old_is_no_end_but_only_when_one_was_sent(status: int) -> None:
    assert isinstance(answer(status, resuming=True), TooOld)
    with pytest.raises(StreamRefused):
        answer(status)


def test_an_error_shows_no_secret_of_the_address() -> None:
    request = Request(url="http://user:secret@h/e?token=secret")
    with pytest.raises(StreamRefused) as caught:
        judge(request, 401, {}, wall_ms=0.0, resuming=False)
    assert "secret" not in str(caught.value) and "http://h/e" in str(caught.value)


# --- redirects ------------------------------------------------------------------------------------

SECRETS = dict.fromkeys(CREDENTIALS, "secret")


@pytest.mark.parametrize(
    "there",
    [
        "http://other/e",
        "https://h/e",
        "http://h:81/e",
        "//other/e",
        "http://sub.h/e",
        "http://u:p@other/e",
    ],
)
def test_credentials_never_leave_their_origin(there: str) -> None:
    request = Request(url="http://h/e", headers={**SECRETS, "accept": "x", "last-event-id": "7"})
    found = redirected(request, 307, there)
    assert found.headers == {"accept": "x", "last-event-id": "7"}
    assert not found.credentials
    assert "@" not in found.url


@pytest.mark.parametrize("there", ["/f", "http://h/f", "http://h:80/f", "HTTP://H/f", "f"])
def test_within_the_origin_they_stay(there: str) -> None:
    found = redirected(Request(url="http://h/e", headers=SECRETS), 302, there)
    assert found.headers == SECRETS and found.credentials and found.url.endswith("/f")


@pytest.mark.parametrize(
    ("there", "then"),
    [
        ("/f", "http://u:p@h/f"), ("http://h/f", "http://u:p@h/f"), ("//h:80/f", "http://u:p@h:80/f"),
        ("http://v@h/f", "http://v@h/f"), ("http://other/f", "http://other/f"),
    ],
)  # fmt: skip
def test_credentials_in_the_address_stay_within_the_origin_as_well(there: str, then: str) -> None:
    found = redirected(Request(url="http://u:p@h/e"), 307, there)
    assert found.url == then and (found.credentials or "@" not in found.url)


def test_what_was_dropped_does_not_come_back_with_the_way_back() -> None:
    away = redirected(Request(url="http://h/e", headers=SECRETS), 307, "http://evil/e")
    back = redirected(away, 307, "http://h/e")
    assert back.headers == {} and not back.credentials


@pytest.mark.parametrize("there", [None, "", "ftp://h/e", "javascript:alert(1)", "file:///e"])
def test_a_redirect_to_nowhere_ends(there: str | None) -> None:
    with pytest.raises(StreamRefused):
        redirected(Request(url="http://h/e"), 307, there)


@pytest.mark.parametrize(
    ("status", "method", "then"),
    [
        (301, "POST", "GET"), (302, "POST", "GET"), (303, "POST", "GET"), (307, "POST", "POST"),
        (308, "POST", "POST"), (303, "PUT", "GET"), (302, "PUT", "PUT"), (301, "GET", "GET"),
    ],
)  # fmt: skip
def test_a_redirect_keeps_the_method_as_browsers_do(status: int, method: str, then: str) -> None:
    request = Request(
        method=method, url="http://h/e", headers={"content-type": "x"}, body=b"secret"
    )
    found = redirected(request, status, "/f")
    assert found.method == then
    assert (found.body is None) == (then != method)
    assert ("content-type" in found.headers) == (then == method)


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_redirects_are_followed(status: int) -> None:
    assert isinstance(answer(status, {"location": "/f"}), Redirected)


# --- poison ---------------------------------------------------------------------------------------


def test_the_same_end_five_times_is_one_too_many() -> None:
    watch = PoisonWatch(5)
    place = Place("7", 0, 30)
    assert [watch.ended(place, b"abc", False, False) for _ in range(5)] == [False] * 4 + [True]


@pytest.mark.parametrize(
    ("size", "tail", "moved"),
    [(31, b"abc", False), (30, b"\n\n", False), (30, b"\r\n\r\n", False), (30, b"abc", True)],
)
def test_progress_another_place_or_an_end_between_events_starts_anew(
    size: int, tail: bytes, moved: bool
) -> None:
    watch = PoisonWatch(2)
    assert not watch.ended(Place("7", 0, 30), b"abc", False, False)
    assert not watch.ended(Place("7", 0, size), tail, False, moved)
    assert not watch.ended(Place("7", 0, 30), b"abc", False, False)
    assert watch.ended(Place("7", 0, 30), b"abc", False, False)


def test_a_replay_of_nothing_but_what_is_known_counts_also_when_it_ends_between_events() -> None:
    watch = PoisonWatch(2)
    place = Place(None, 3, 90)
    assert not watch.ended(place, b"\n\n", True, False)
    assert watch.ended(place, b"\n\n", True, False)


# --- ids ------------------------------------------------------------------------------------------


def test_ids_ascend_whatever_the_clock_does_and_follow_what_is_known() -> None:
    ids = AscendingIds(Random(1).random)
    known = "msg_1fcc84f70001csLBtW6khbvY1V"
    made = [ids.next("msg", ms, [known]) for ms in (0.0, 5.0, 3.0, 0.0)]
    assert made == sorted(made) and made[0] > known
    assert all(len(one) == len(known) for one in made)


def test_an_id_of_a_recording_is_the_time_of_its_server() -> None:
    # tests/data/opencode/reconnect_gap: the session was created at 1795242341516, and 9 ms later
    # this event said so.
    made = AscendingIds(lambda: 0.0).next("evt", 1795242341525.0)
    assert made.startswith("evt_1fcc83495001")
