"""Messages of an opencode V2 session that come at once: prompts, notes, switches, summaries.

A summary may come in pieces before it comes whole. What is remembered of them is `known`'s; knows
no step, text, thought or call of an assistant.

Sources: as for `opencode_v2`.
"""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from ...events import (
    BlockDelta,
    BlockOpened,
    BlockReplaced,
    Event,
    MessageClosed,
    MessageOpened,
    MessageUpdated,
    SessionUpdated,
)
from ..members import Members, a_string, an_object, maybe_id, objects
from .known import Known
from .reads import file_fields
from .told import Told, made


class Entries:
    """The messages of a stream's sessions that are no step and no command.

    Args:
        known: which messages there are.
    """

    def __init__(self, known: Known) -> None:
        self._known = known

    def prompted(self, told: Told, admitted: bool = False) -> Sequence[Event]:
        """A prompt is admitted, or delivered where `admitted` is false."""
        prompt, at = an_object(told.body, "prompt", told.at), f"{told.at}.prompt"
        message_id = maybe_id(told.body, "messageID", told.at) or told.id("inputID")
        text = a_string(prompt, "text", at)
        files = objects(prompt, "files", at) if prompt.get("files") is not None else []
        info = {name: value for name, value in prompt.items() if name not in ("text", "files")}
        info |= told.given("delivery")
        block = _whole_text(told, message_id, text)
        message = self._admitted if admitted else self._delivered
        return (
            *message(told, message_id, info),
            block,
            *(
                BlockReplaced(
                    session_id=told.session,
                    message_id=message_id,
                    block_index=f"file/{place}",
                    kind="file",
                    order=place + 1,
                    status="closed",
                    fields=file_fields(file),
                )
                for place, file in enumerate(files)
            ),
        )

    def promoted(self, told: Told) -> Sequence[Event]:
        """The next dialect says only which one is delivered."""
        message_id = told.id("inputID")
        self._known.saw(told.session, message_id, told.time)
        info = {} if told.time is None else {"time": {"created": told.time}}
        return (
            MessageUpdated(
                **told.first, message_id=message_id, role="user", order=told.time, info=info
            ),
        )

    def text_message(self, role: str, told: Told) -> Sequence[Event]:
        """A text that is nobody's, or the system's."""
        message_id, text = told.id("messageID"), told.string("text")
        block = _whole_text(told, message_id, text)
        return (*self._known.message(told, message_id, role, {}), block)

    def switched(self, member: str, told: Told) -> Sequence[Event]:
        """Another agent or model from here on."""
        info = told.given(member)
        message_id = maybe_id(told.body, "messageID", told.at)
        if message_id is None:
            return (SessionUpdated(**told.first, info=info),)
        return (
            *self._known.message(told, message_id, f"{member}-switched", info),
            SessionUpdated(session_id=told.session, info=info),
        )

    def compaction_started(self, told: Told) -> Sequence[Event]:
        """What is older is summed up; the next dialect names no message of it."""
        message_id = maybe_id(told.body, "messageID", told.at)
        if message_id is None:
            return (SessionUpdated(**told.first),)
        events = self._known.message(
            told, message_id, "compaction", told.given("reason"), closed=False
        )
        opened = BlockOpened(
            session_id=told.session, message_id=message_id, block_index="text", kind="compaction"
        )
        return (*events, opened)

    def compaction_delta(self, told: Told) -> Sequence[Event]:
        """A piece of the summary."""
        message_id = maybe_id(told.body, "messageID", told.at)
        if message_id is None:
            return ()
        text = told.string("text")
        return (BlockDelta(**told.first, message_id=message_id, block_index="text", text=text),)

    def compaction_ended(self, told: Told) -> Sequence[Event]:
        """The whole summary."""
        message_id = maybe_id(told.body, "messageID", told.at)
        if message_id is None:
            return (SessionUpdated(**told.first),)
        block = attrs.evolve(
            _whole_text(told, message_id, told.string("text")),
            kind="compaction",
            fields=told.given("recent"),
        )
        info = told.given("reason")
        return (
            MessageClosed(**told.first, message_id=message_id),
            MessageUpdated(
                session_id=told.session, message_id=message_id, role="compaction", info=info
            ),
            block,
        )

    def _admitted(self, told: Told, message_id: str, info: Members) -> Sequence[Event]:
        """It has no place and no time yet: the server has not made a message of it."""
        self._known.admitted(told.session, message_id, told.time)
        opened = MessageOpened(**told.first, message_id=message_id, role="user", info=info)
        return (opened, MessageClosed(session_id=told.session, message_id=message_id))

    def _delivered(self, told: Told, message_id: str, info: Members) -> Sequence[Event]:
        return self._known.message(told, message_id, "user", info, order=made(told))


def _whole_text(told: Told, message_id: str, text: str) -> BlockReplaced:
    return BlockReplaced(
        session_id=told.session,
        message_id=message_id,
        block_index="text",
        kind="text",
        order=0,
        text=text,
        whole=True,
        status="closed",
    )
