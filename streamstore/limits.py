"""Every bound of the library in one value, each with the policy that holds when it is reached.

Knows nothing but numbers; the stages read them.
"""

from __future__ import annotations

import attrs


def _positive(_: object, attribute: attrs.Attribute[int], value: int) -> None:
    if type(value) is not int or value < 1:
        raise ValueError(f"limits.{attribute.name} must be a positive integer, not {value!r}")


def _bound(default: int) -> int:
    field: int = attrs.field(default=default, validator=_positive)
    return field


@attrs.frozen(kw_only=True)
class Limits:
    """Bounds on what a store holds; nothing is ever dropped from the middle of a stream.

    One that is no integer from 1 raises `ValueError`.

    Attributes:
        held_operations: operations of one block that wait behind a hole (`block` streams). Over it
            an operation is refused (`over_limit`) and not marked as taken in, so that a resend
            fills it. Until then, or a snapshot of the block, it is missing: the part has a gap.
            Also stretches of a session's numbers with holes between (`session` streams): over it
            the oldest hole is given up. What comes for it then is a duplicate; the session is to be
            fetched again.
        late_window: operations of one block that are kept in seq order, so that a late one goes
            to its place (`session` and `sparse` streams). What lies below is refused
            (`unplaceable`), the block is marked suspect and a resync is asked for. Also those
            that wait until the block is opened again, behind its removal or in a new generation:
            over it, refused (`over_limit`). And patches of a session's state, by seq.
        event_ids: event ids that are remembered at least, per session; twice as many at most.
            An older id is new again.
        tombstones: removed messages and blocks that are remembered per session. Over it the
            oldest goes and the session's floor rises to its position.
        removed_sessions: removed sessions that are remembered, each with its event ids, and
            sessions of which nothing is shown yet. Over it the oldest is forgotten, with what waits
            in it (counted): what comes for it then is a new session. So many notes
            to fetch a session (`health.resync`) are kept of sessions that are not known.
        pending_results: tool results of one session that wait for their call, and events of
            an unknown generation that wait for its opening. Over it: refused (`over_limit`).
        spill_characters: text of one part that `buffered` delivery holds back; one more and
            all of it is shown.
        open_requests: permissions, and questions, of one session that wait for an answer; over it
            a further one is refused (`over_limit`).
        text_fields: fields of one part, beside `text`, into which text streams; over it a delta
            for another one is refused (`over_limit`).
        state_bytes: size of a session's shared state after a patch, about what its JSON takes; a
            patch that would pass it does not fit and changes nothing.
        session_errors: errors kept per session; the oldest goes first.
        answered_requests: answered permissions and questions remembered per session, so that
            an answer before its question counts; the oldest goes first. Also generations of its
            counter: what is of an older one is not stale any more but waits for its opening.
        history_changes: change sets kept for `pull(since=...)`; an older version gets a reset.
        history_characters: characters of text in that history; over it the oldest change sets
            go, and such a pull gets a reset.
        subscriber_changes: entries in a subscriber's pending change set; over it the pending
            set becomes one reset.
        inbox_bytes: bytes that wait in `feed_threadsafe`; over it `InboxFull` is raised and
            the caller keeps them.
        line_bytes: length of one JSON line; a longer one is skipped and counted.
        event_line_bytes: length of one line of an event stream. Over it the event is skipped and
            counted; its id still counts.
        event_bytes: size of one event of an event stream, with `data_line_bytes` charged for each
            of its data lines. Over it the event is skipped and counted; its id still counts.
        data_line_bytes: what a data line costs beside its bytes.
        event_id_bytes: length of an event-stream id; a longer one is void, the former stays.
        ended_streams: ended streams whose position is kept until one of their protocol and session
            is opened; the oldest goes first. As many when a saved state is loaded, with the streams
            that were open in it.
        nesting: arrays and objects inside each other in one wire object; a deeper one is
            malformed. Every walk of a value recurses.
        undetected_events: events in which `protocol="auto"` has to recognise a stream; with the
            last of them `UnknownProtocol` is raised.
        pending_merge: deltas of one part that wait for a tick as separate strings; at this many,
            or at the end of a longer batch, they are merged into one, and such ones with others of
            their size (3 bytes a character instead of 13).
    """

    held_operations: int = _bound(4096)
    late_window: int = _bound(512)
    event_ids: int = _bound(32_768)
    tombstones: int = _bound(10_000)
    removed_sessions: int = _bound(1024)
    pending_results: int = _bound(1024)
    spill_characters: int = _bound(24_000)
    open_requests: int = _bound(1024)
    text_fields: int = _bound(64)
    state_bytes: int = _bound(16 * 1024 * 1024)
    session_errors: int = _bound(256)
    answered_requests: int = _bound(1024)
    history_changes: int = _bound(256)
    history_characters: int = _bound(65_536)
    subscriber_changes: int = _bound(10_000)
    inbox_bytes: int = _bound(16 * 1024 * 1024)
    line_bytes: int = _bound(8 * 1024 * 1024)
    event_line_bytes: int = _bound(1024 * 1024)
    event_bytes: int = _bound(8 * 1024 * 1024)
    data_line_bytes: int = _bound(64)
    event_id_bytes: int = _bound(8 * 1024)
    ended_streams: int = _bound(1024)
    nesting: int = _bound(200)
    undetected_events: int = _bound(64)
    pending_merge: int = _bound(1024)
