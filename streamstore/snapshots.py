"""How a fetched state and live events become one, as a list of events.

Compares a snapshot with the rows and says which events bring what the rows lack, and whether a
part may still lack text. It changes nothing; knows no gate, delivery, tick or clock.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import attrs

from . import checks
from .errors import MalformedEvent
from .events import (
    BlockClosed,
    BlockRemoved,
    BlockReplaced,
    BlockSnapshot,
    BlockUpdated,
    Event,
    MessageClosed,
    MessageRemoved,
    MessageUpdated,
    Snapshot,
)
from .keys import BlockIndex, is_order, message_order
from .model import CLOSED_STATUSES, Sequencing
from .rows import STREAMED_KINDS, BlockRow, MessageRow, SessionRow

TouchedSince: TypeAlias = Callable[[Any, int], bool]

_MESSAGE_STATUS = checks.one_of("open", *CLOSED_STATUSES)
_PART_STATUS = checks.one_of("open", "closed", "incomplete")

#: Members of a snapshot's part that are not its fields.
_PART_MEMBERS = frozenset(("blockIndex", "kind", "order", "status", "text", "seq", "gap"))


@attrs.frozen
class FetchedPart:
    """One part of a snapshot, checked."""

    index: BlockIndex
    kind: str
    order: float | None
    open: bool
    text: str | None
    seq: int | None
    fields: Mapping[str, Any]


@attrs.frozen
class FetchedMessage:
    """One message of a snapshot, checked."""

    id: str
    role: str | None
    parent_id: str | None
    order: float | None
    status: str
    error: Any
    client_id: str | None
    info: Mapping[str, Any]
    parts: tuple[FetchedPart, ...]


@attrs.frozen
class Step:
    """One event that a snapshot comes down to.

    Attributes:
        event: what to apply.
        gap: its part may lack text from here on; None leaves that as it is.
        counted: it is an operation of a `block` stream that the gate has to judge.
    """

    event: Event
    gap: bool | None = None
    counted: bool = False


def read_messages(snapshot: Snapshot) -> tuple[FetchedMessage, ...]:
    """The messages of a snapshot, checked before anything of it is applied. Linear in them.

    Raises:
        MalformedEvent: a member is missing or wrong; the error gives its path.
    """
    found = []
    for number, message in enumerate(snapshot.messages):
        at = f"messages.{number}"
        info = _member(message, "info", dict, at, {})
        parts = _member(message, "parts", list, at, [])
        found.append(
            FetchedMessage(
                id=_first((message, info), "id", checks.ID, f"{at}.info", required=True),
                role=_first((message, info), "role", checks.ID, f"{at}.info"),
                parent_id=_first((message, info), "parentId", checks.ID, f"{at}.info"),
                order=_first((message, info), "order", checks.ORDER, f"{at}.info"),
                status=_first((message,), "status", _MESSAGE_STATUS, at) or "open",
                error=message.get("error"),
                client_id=_first((message, info), "clientId", checks.ID, f"{at}.info"),
                info=info,
                parts=tuple(
                    _read_part(part, f"{at}.parts.{place}") for place, part in enumerate(parts)
                ),
            )
        )
    return tuple(found)


def _read_part(part: Any, at: str) -> FetchedPart:
    if not isinstance(part, dict):
        raise MalformedEvent(at, "must be an object")
    return FetchedPart(
        index=_first((part,), "blockIndex", checks.INDEX, at, required=True),
        kind=_first((part,), "kind", checks.ID, at, required=True),
        order=_first((part,), "order", checks.ORDER, at),
        open=_first((part,), "status", _PART_STATUS, at) == "open",
        text=_first((part,), "text", checks.TEXT, at),
        seq=_first((part,), "seq", checks.NUMBER, at),
        fields={name: value for name, value in part.items() if name not in _PART_MEMBERS},
    )


def _member(given: Mapping[str, Any], name: str, kind: type, at: str, default: Any) -> Any:
    value = given.get(name, default)
    if not isinstance(value, kind):
        what = "an object" if kind is dict else "an array"
        raise MalformedEvent(f"{at}.{name}", f"must be {what}")
    return value


def _first(
    given: tuple[Mapping[str, Any], ...],
    name: str,
    check: checks.Check,
    at: str,
    required: bool = False,
) -> Any:
    accepts, what = check
    for members in given:
        value = members.get(name)
        if value is not None:
            if not accepts(value):
                raise MalformedEvent(f"{at}.{name}", f"must be {what}")
            return value
    if required:
        raise MalformedEvent(f"{at}.{name}", "is missing")
    return None


def plan(
    snapshot: Snapshot,
    messages: tuple[FetchedMessage, ...],
    session: SessionRow,
    mode: Sequencing,
    touched_since: TouchedSince,
    epoch: int,
) -> list[Step]:
    """The events that a snapshot comes down to. Linear in it, and in the messages it removes.

    `epoch` is when the read began. With a seq in a `session` or `sparse` stream the snapshot
    replaces what it covers; without one, live state stays where it was touched since.
    """
    if mode in ("session", "sparse") and snapshot.seq is not None:
        return _positioned(snapshot, snapshot.seq, messages, session)
    return _unpositioned(snapshot, messages, session, mode, touched_since, epoch)


def _message_steps(session: SessionRow, fetched: FetchedMessage, seq: int | None) -> list[Step]:
    updated = MessageUpdated(
        session_id=session.id,
        seq=seq,
        message_id=fetched.id,
        info=fetched.info,
        whole=True,
        role=fetched.role,
        parent_id=fetched.parent_id,
        order=fetched.order,
        client_id=fetched.client_id,
    )
    return [Step(updated), *_closing(session, fetched, seq)]


def _closing(session: SessionRow, fetched: FetchedMessage, seq: int | None) -> list[Step]:
    if fetched.status == "open":
        return []
    closed = MessageClosed(
        session_id=session.id,
        seq=seq,
        message_id=fetched.id,
        status=fetched.status,
        error=fetched.error,
    )
    return [Step(closed)]


def _is_unopened(live: MessageRow, fetched: FetchedMessage) -> bool:
    if live.order is None and _fetched_order(fetched) is not None:
        return True
    return not live.info.values and "role" not in live.entity.values


def _filling(
    session: SessionRow, fetched: FetchedMessage, live: MessageRow, epoch: int
) -> list[Step]:
    """What a message lacks that is live and whose opening nobody saw: no event may bring it."""
    known, own = live.info.values, live.entity.values
    role = None if "role" in own else fetched.role
    client_id = None if "clientId" in own else fetched.client_id
    unopened = _is_unopened(live, fetched)
    if not unopened and role is None and client_id is None:
        return []
    info = fetched.info if unopened else {}  # else one that was whole may have taken it away
    updated = MessageUpdated(
        session_id=session.id,
        message_id=fetched.id,
        info={name: value for name, value in info.items() if name not in known},
        role=role,
        parent_id=None if "parentId" in own else fetched.parent_id,
        order=None if "order" in own else fetched.order,
        client_id=client_id,
    )
    # The end of one whose opening was seen, or that began anew during the read, or in which
    # something is live and open, is still to come: what was read may be how it ended before.
    unseen = "role" not in own and live.emptied < epoch
    over = unseen and live.closed_as == "open"
    over = over and all(block.closed or not block.exists for block in live.blocks.values())
    return [Step(updated), *(_closing(session, fetched, None) if over else ())]


def _unsaid(part: FetchedPart, block: BlockRow) -> dict[str, Any]:
    """What a live part lacks whose opening nobody saw: its kind, its place and fields."""
    # Text that streams is newer than the read, whichever field it is of.
    known = block.fields.values.keys() | {name for name, cell in block.cells() if cell.length}
    return {
        "kind": None if block.declared else part.kind,
        "order": part.order if block.order is None else None,
        "fields": {name: value for name, value in part.fields.items() if name not in known},
    }


def _block(
    cls: type[BlockReplaced],
    session: SessionRow,
    fetched: FetchedMessage,
    part: FetchedPart,
    seq: int | None,
    text: str | None,
) -> BlockReplaced:
    return cls(
        session_id=session.id,
        seq=seq,
        message_id=fetched.id,
        block_index=part.index,
        kind=part.kind,
        order=part.order,
        text=text,
        whole=True,
        status="open" if part.open else "closed",
        fields=part.fields,
    )


def _positioned(
    snapshot: Snapshot,
    seq: int,
    messages: tuple[FetchedMessage, ...],
    session: SessionRow,
) -> list[Step]:
    steps: list[Step] = []
    for fetched in messages:
        known = session.messages.get(fetched.id)
        if known is not None and seq < known.covered:
            continue  # a newer one says everything
        steps += _message_steps(session, fetched, seq)
        indexes = {part.index for part in fetched.parts}
        for part in fetched.parts:
            # A state leaves empty members out: without a text there was none.
            text = part.text or ""
            steps.append(Step(_block(BlockSnapshot, session, fetched, part, seq, text)))
        message = session.messages.get(fetched.id)
        for block in message.blocks.values() if message is not None else ():
            absent = block.key.block_index not in indexes and not block.local
            if known is not None and known.covered == seq and block.snapshot_seq < seq:
                continue  # one of this position lacked it before: what is there came behind it
            # Also one that a removal of the message hides: what came below tells that it was there.
            if absent and (_was_there(block, seq) if block.first >= 0 else block.exists):
                steps.append(Step(_gone(session, block, seq)))
    for message in _absent(snapshot, messages, session):
        if session.fetched_at == seq and message.covered < seq:
            continue  # one of this position lacked it before: what is there came behind it
        if _known_before(message, seq):
            # What is opened above the snapshot stays, without what lies below it.
            steps.append(
                Step(
                    MessageRemoved(
                        session_id=session.id, seq=seq, message_id=message.key.message_id
                    )
                )
            )
    return steps


def _was_there(row: MessageRow | BlockRow, seq: int) -> bool:
    """Whether something of it lies at or below `seq` that nothing above it undid up to there.

    What went with a reset, or a removal of its message or session, and may begin anew with any
    event, was not removed itself.
    """
    if isinstance(row, BlockRow):
        message = row.message
        undone = (message.reset_seq, *message.resets, *_removals(message, message.session))
    else:
        undone = _removals(row.session)
    low = max((at for at in undone if at <= seq), default=-1)
    if row.floor > seq:
        return row.first <= seq  # its window no longer tells what lies below
    snapshot = row.snapshot_seq if isinstance(row, BlockRow) else row.covered
    if any(low < at <= seq for at in (row.first, row.floor, row.mark, snapshot)):
        return True
    at = bisect_right(row.seqs, low)
    return at < len(row.seqs) and row.seqs[at] <= seq


def _removals(*rows: MessageRow | SessionRow) -> tuple[int, ...]:
    return tuple(at for row in rows for at in (row.removed, row.boundary))


def _known_before(message: MessageRow, seq: int) -> bool:
    # All of it above the snapshot: its opening may still be on the way. What has no position at
    # all is of an older counter, or came without one.
    blocks = message.blocks.values()
    rows: tuple[MessageRow | BlockRow, ...] = (message, *blocks)
    return (
        any(row.first >= 0 and _was_there(row, seq) for row in rows)
        or all(row.first < 0 for row in rows)
        or any(block.previous for block in blocks)
    )


def _gone(session: SessionRow, block: BlockRow, seq: int | None) -> BlockRemoved:
    return BlockRemoved(
        session_id=session.id,
        seq=seq,
        message_id=block.key.message_id,
        block_index=block.key.block_index,
    )


def _absent(
    snapshot: Snapshot, messages: tuple[FetchedMessage, ...], session: SessionRow
) -> list[MessageRow]:
    """Live messages that a complete snapshot, or page, should have and lacks."""
    if not snapshot.complete:
        return []
    ids = {fetched.id for fetched in messages}
    low = high = None
    if snapshot.before is not None:
        if not messages:
            return []
        edge = session.messages.get(snapshot.before)
        if edge is None:
            return []
        high = message_order(edge.order, snapshot.before)
        low = min(message_order(_fetched_order(fetched), fetched.id) for fetched in messages)
    found = []
    for message in session.messages.values():
        if not message.exists or message.local or message.key.message_id in ids:
            continue
        if low is not None and high is not None:
            place = message_order(message.order, message.key.message_id)
            if not low <= place < high:
                continue
        found.append(message)
    return found


def _fetched_order(fetched: FetchedMessage) -> float | None:
    if fetched.order is not None:
        return fetched.order
    time = fetched.info.get("time")
    created = time.get("created") if isinstance(time, dict) else None
    return created if is_order(created) else None


def _unpositioned(
    snapshot: Snapshot,
    messages: tuple[FetchedMessage, ...],
    session: SessionRow,
    mode: Sequencing,
    touched_since: TouchedSince,
    epoch: int,
) -> list[Step]:
    steps: list[Step] = []
    for fetched in messages:
        message = session.messages.get(fetched.id)
        if message is not None and message.removed_now:
            if mode == "block" or touched_since(message, epoch):
                continue  # removed for good, or during the read: it stays removed
        live = message if message is not None and message.exists else None
        if live is None and session.emptied >= epoch:
            continue  # with its session, during the read
        if live is not None and max(live.emptied, session.emptied) >= epoch and mode != "block":
            continue  # it began anew during the read, or will with its next event
        if live is None or live.local or not touched_since(live, epoch):
            steps += _message_steps(session, fetched, None)
        else:
            steps += _filling(session, fetched, live, epoch)
        indexes = {part.index for part in fetched.parts}
        for part in fetched.parts:
            block = None if message is None else message.blocks.get(part.index)
            if mode == "block" and block is not None and block.removed_now:
                continue
            if mode == "block" and part.seq is not None:
                event = _block(BlockSnapshot, session, fetched, part, part.seq, part.text or "")
                steps.append(Step(event, counted=True))
            elif block is None or block.emptied < epoch:  # else it is of what was removed since
                steps += _part(session, fetched, part, block, mode, touched_since, epoch)
        # What goes with a reset is not removed: what is rebuilt may begin with a delta.
        for block in live.blocks.values() if live is not None and not live.resetting else ():
            if block.key.block_index not in indexes and block.exists and not block.local:
                if not touched_since(block, epoch):
                    steps.append(Step(_gone(session, block, None)))
    for message in _absent(snapshot, messages, session):
        if touched_since(message, epoch) or any(
            touched_since(block, epoch) for block in message.blocks.values()
        ):
            continue
        steps.append(Step(MessageRemoved(session_id=session.id, message_id=message.key.message_id)))
    return steps


def _part(
    session: SessionRow,
    fetched: FetchedMessage,
    part: FetchedPart,
    block: BlockRow | None,
    mode: Sequencing,
    touched_since: TouchedSince,
    epoch: int,
) -> list[Step]:
    settled = not part.open or fetched.status != "open"
    may_lack = part.kind in STREAMED_KINDS and not settled
    if block is None or block.local or (not block.exists and not block.removed_now):
        return [_whole(session, fetched, part, may_lack)]
    touched = touched_since(block, epoch)
    if block.removed_now:
        return [] if touched else [_whole(session, fetched, part, may_lack)]
    text = part.text
    live = block.cell.working()
    # What a connection cut is repaired by a fetched text that has ended: it is all there is, but
    # where the live one goes on behind it.
    repairs = block.gap and text is not None and settled
    repairs = repairs and not (text != live and live.startswith(text or ""))
    takes_place = block.previous and any(
        (text, *(part.fields.get(field) for field in block.others))
    )
    if not (repairs or takes_place):
        if touched:
            return _beside_live(session, fetched, part, block, live, mode, may_lack)
        if text is None or _keeps(live, text, block.gap):
            return _below_live(session, fetched, part, block)
    # An empty text proves nothing of a part that is still open.
    contains = text is not None and text != "" and text.startswith(live)
    gap = block.gap and not settled and not contains
    event = _block(BlockReplaced, session, fetched, part, None, text)
    if touched and not takes_place:
        event = attrs.evolve(event, whole=False)  # what it lacks may have been said since the read
    return [Step(event, gap=gap)]


def _whole(session: SessionRow, fetched: FetchedMessage, part: FetchedPart, may_lack: bool) -> Step:
    """A part as it was fetched."""
    return Step(_block(BlockReplaced, session, fetched, part, None, part.text), gap=may_lack)


def _beside_live(
    session: SessionRow,
    fetched: FetchedMessage,
    part: FetchedPart,
    block: BlockRow,
    live: str,
    mode: Sequencing,
    may_lack: bool,
) -> list[Step]:
    """What a part that was touched since the read takes from it: what nobody has said yet."""
    said = live or block.whole_text or block.cell.replaced >= 0  # set to nothing, with a seq
    if part.text and not (said or block.declared) and mode != "block":
        # What touched it said nothing of its text, which began before the stream did.
        event = _block(BlockReplaced, session, fetched, part, None, part.text)
        event = attrs.evolve(event, whole=False, status=None, **_unsaid(part, block))
        return [Step(event, gap=may_lack)]
    if block.declared and (block.order is not None or part.order is None):
        return []
    at: dict[str, Any] = {"message_id": fetched.id, "block_index": part.index}
    return [Step(BlockUpdated(session_id=session.id, **at, **_unsaid(part, block)))]


def _below_live(
    session: SessionRow, fetched: FetchedMessage, part: FetchedPart, block: BlockRow
) -> list[Step]:
    """What a part takes whose live text stays: the fetched fields, and its end."""
    at: dict[str, Any] = {
        "session_id": session.id,
        "message_id": fetched.id,
        "block_index": part.index,
    }
    said: dict[str, Any] = {"kind": part.kind, "order": part.order, "fields": part.fields}
    steps = [Step(BlockUpdated(**at, **said, whole=True))]
    if not part.open and not block.closed:
        steps.append(Step(BlockClosed(**at)))
    return steps


def _keeps(live: str, fetched: str, gap: bool) -> bool:
    """Whether live text stays against an older or empty fetched one."""
    if fetched == "":
        return live != ""
    return not gap and len(live) > len(fetched) and live.startswith(fetched)
