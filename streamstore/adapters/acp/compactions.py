"""Compactions of a session: each a part where it was first spoken of, with its summary's text.

Knows messages by their memory; no tool and no request.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...events import BlockClosed, BlockDelta, BlockOpened, BlockReplaced, Event
from ..members import Members, a_string, an_id, an_object, objects
from .messages import Messages
from .schema import WIRE

#: Compactions of a session that are remembered.
_COMPACTIONS = 64


class Compactions:
    """The compactions of each session, whose summaries may come in chunks."""

    def __init__(self, messages: Messages) -> None:
        self._messages = messages

    def update(self, session_id: str, update: Members, at: str) -> Sequence[Event]:
        """How a compaction goes; its summary where it is said whole."""
        status = a_string(update, "status", at)
        whole = "summary" in update
        pieces = objects(update, "summary", at) if update.get("summary") is not None else []
        texts = [
            a_string(piece, "text", f"{at}.summary.{number}")
            for number, piece in enumerate(pieces)
            if piece.get("type") == "text"
        ]
        where, known, events = self._part(session_id, update, at)
        known[WIRE] = {**known[WIRE], "status": status}
        if "error" in update:
            known[WIRE]["error"] = update["error"]
        fields = {WIRE: known[WIRE]}
        text = "".join(texts) if whole else None
        events.append(BlockReplaced(**where, kind="compaction", text=text, fields=fields))
        return events if status == "in_progress" else [*events, BlockClosed(**where)]

    def chunk(self, session_id: str, update: Members, at: str) -> Sequence[Event]:
        """More of a summary."""
        content = an_object(update, "content", at)
        said = an_id(content, "type", f"{at}.content") == "text"
        text = a_string(content, "text", f"{at}.content") if said else ""
        where, _, events = self._part(session_id, update, at)
        return [*events, BlockDelta(**where, text=text)]

    def _part(
        self, session_id: str, update: Members, at: str
    ) -> tuple[dict[str, Any], Members, list[Event]]:
        """The part of a compaction, made where it is first spoken of; its memory, what made it."""
        compaction_id = an_id(update, "compactionId", at)
        memory = self._messages.of_session(session_id)
        compactions: dict[str, Members] = memory.setdefault("compactions", {})
        known = compactions.get(compaction_id)
        where: dict[str, Any] = {"session_id": session_id}
        if known is not None:
            where.update(message_id=known["message"], block_index=known["block"])
            return where, known, []
        message_id, message, events = self._messages.message(
            session_id, "assistant", None, inner=True
        )
        where["message_id"] = message_id
        closed = self._messages.next_part(where, message, None)
        known = {"message": message_id, "block": where["block_index"]}
        known[WIRE] = {"compactionId": compaction_id, "status": "in_progress"}
        compactions[compaction_id] = known
        if len(compactions) > _COMPACTIONS:
            del compactions[next(iter(compactions))]
        order, fields = where["block_index"], {WIRE: known[WIRE]}
        opened = BlockOpened(**where, kind="compaction", order=order, fields=fields)
        return where, known, [*events, opened, *closed]
