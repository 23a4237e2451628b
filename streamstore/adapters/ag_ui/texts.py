"""The texts of AG-UI messages, whatever their role: streamed, come whole, or fetched.

Of each message it is known whether it has a text, how many parts, which of mixed content (`text`,
`parts`, `mixed`), whether its start was seen (`implicit`), and what a fetched history said of its
text (`fetched`, `lacking`). Knows no call, no activity, no snapshot and no end of a run.

Sources: the reducer of `@ag-ui/client` 1.0.0.
"""

from __future__ import annotations

from ...events import BlockClosed, BlockDelta, BlockOpened, BlockRemoved, BlockReplaced, Event
from ...model import Json
from ..members import Members
from .known import Known
from .messages import CONTENT, TEXT, kind_of, mixed_parts, picked
from .runs import Runs
from .verify import STREAMED, Flow


class Texts:
    """The texts of a thread's messages.

    Args:
        runs: the run that the stream delivers.
        flow: what is in progress of the stream.
        known: the messages of the thread.
    """

    def __init__(self, runs: Runs, flow: Flow, known: Known) -> None:
        self._runs = runs
        self._flow = flow
        self._known = known

    def streams_text(self, message_id: str, kind: str) -> bool:
        """Whether a delta of a kind (`text`, `reasoning`) has nothing to do but be appended."""
        record = self._known.messages.get(message_id)
        return (
            record is not None
            and record["text"]
            and record["role"] != "activity"
            and message_id in self._flow.open(kind)
            and not self._runs.adds(record)
        )

    # -- streamed ------------------------------------------------------------------------------

    def text_started(self, event: Members) -> list[Event]:
        """A message starts, with its text."""
        return self._start(event, event.get("role", "assistant"))

    def reasoning_started(self, event: Members) -> list[Event]:
        """The same, of reasoning."""
        return self._start(event, "reasoning")

    def _start(self, event: Members, role: str) -> list[Event]:
        message_id = event["messageId"]
        record = self._known.messages.get(message_id)
        self._runs.cool_one(message_id)
        if record is None:
            info = picked(event, "name", "subagentRunId", "metadata")
            events = self._known.added(message_id, role, info)
            self._known.open(message_id)
            return [*events, *self._open(message_id, self._known.messages[message_id])]
        if record["role"] == "activity":
            return self._known.refused(message_id)
        self._known.open(message_id)
        moved = self._known.named(message_id, record)
        events = self._known.rebuilt(message_id, record)
        if not record["role"]:  # its deltas came first
            record["role"] = role
            if not events:
                record["info"].update(picked(event, "name", "subagentRunId"))
                self._known.merged(message_id, record, event)
                return [self._known.opening(message_id, record)]
        if events:
            record["info"] = picked(event, "name", "subagentRunId")
            events += [self._known.updated(message_id, record), *self._open(message_id, record)]
            events += moved
            record.pop("lacking", None)
        self._runs.new(message_id, record, 0)
        events += self._reopened(message_id, record)
        return events + self._known.merged(message_id, record, event)

    def content(self, event: Members) -> list[Event]:
        """More of a text."""
        message_id, streamed = event["messageId"], STREAMED[event["type"]]
        text = event["delta"]
        delta = self._known.block(BlockDelta, message_id, TEXT, text=text)
        record = self._known.messages.get(message_id)
        if record is None:
            if message_id in self._flow.open(streamed):
                return [delta]  # a snapshot dropped the message: the store refuses it
            again = self._known.is_gone(message_id)
            made = self._implicit(message_id, streamed)
            # What a snapshot in a replay took away no delta brings back, only the message whole.
            return [made[-1], delta, *made[:-1]] if again else [delta, *made]
        if record["role"] == "activity":
            return self._known.refused(message_id, text)
        if "implicit" in record:  # it was never started, and may come again
            anew = self._known.rebuilt(message_id, record)
            if anew:
                return [*anew, delta, *self._implied(message_id, record)]
        new = self._runs.new(message_id, record, len(text))
        if text and not new:
            return self._known.merged(message_id, record, event)
        delta = self._known.block(BlockDelta, message_id, TEXT, text=text[len(text) - new :])
        record.pop("fetched", None)
        opened = [] if record["text"] else self._open(message_id, record)
        return [*opened, delta, *self._known.merged(message_id, record, event)]

    def ended(self, event: Members) -> list[Event]:
        """A text is whole; its message goes on until its run ends."""
        message_id = event["messageId"]
        record = self._known.messages.get(message_id)
        self._runs.cool_one(message_id)
        if record is None or record["role"] == "activity":
            return []
        # A text that was fetched whole and closed would take no delta any more.
        ends = record["text"] and "fetched" not in record
        closed = [self._known.block(BlockClosed, message_id, TEXT)] if ends else []
        return closed + self._known.merged(message_id, record, event)

    def encrypted(self, event: Members) -> list[Event]:
        """A message's encrypted value."""
        entity = event["entityId"]
        record = self._known.messages.get(entity)
        if record is None or record["role"] == "activity":
            return []
        record["info"]["encryptedValue"] = event["encryptedValue"]
        return [self._known.updated(entity, record)]

    def _open(self, message_id: str, record: Members) -> list[Event]:
        """The block of a message's text; takes the place of mixed content."""
        kind, order = kind_of(record["role"]), record["parts"]
        events: list[Event] = [
            self._known.block(BlockOpened, message_id, TEXT, kind=kind, order=order)
        ]
        events += [
            self._known.block(BlockRemoved, message_id, index)
            for index, _ in enumerate(record.pop("mixed", ()))
        ]
        if record["info"].pop(CONTENT, None) is not None:
            events.append(self._known.updated(message_id, record))
        record["text"] = True
        record["parts"] += 1
        return events

    def _reopened(self, message_id: str, record: Members) -> list[Event]:
        """The block of a text that a fetched history lacked, where it comes from its start.

        What comes in the middle is refused: alone it would look like all of it.
        """
        if not record.pop("lacking", False):
            return []
        kind = kind_of(record["role"])
        # Before the calls, which stand where the history had them: from 0 on.
        return [self._known.block(BlockOpened, message_id, TEXT, kind=kind, order=-1)]

    def _implicit(self, message_id: str, streamed: str) -> list[Event]:
        """A message whose start was not seen; if one comes, it says what it is."""
        role = "reasoning" if streamed == "reasoning" else ""
        old = self._known.old_role(message_id) is not None
        record = self._known.add(message_id, role, {})
        record["implicit"] = record["role"]
        opened = self._implied(message_id, record)
        return opened[:-1] if old else opened

    def _implied(self, message_id: str, record: Members) -> list[Event]:
        """What stands behind the first delta of a message that was not started."""
        record["role"] = record["implicit"]
        self._known.open(message_id)
        return [*self._open(message_id, record), self._known.updated(message_id, record)]

    # -- come whole ----------------------------------------------------------------------------

    def set_content(self, message_id: str, record: Members, content: Json) -> list[Event]:
        """Make a message's content what came: a text, a list of parts, or None for nothing."""
        events: list[Event] = []
        if isinstance(content, str):
            record.pop("fetched", None)
            events += self._reopened(message_id, record)
            if record["text"]:
                # Set as empty and added to: a text that comes whole would take no delta more.
                events.append(
                    self._known.block(
                        BlockReplaced, message_id, TEXT, text="", order=0, status="open"
                    )
                )
            else:
                record["parts"] = 0
                events += self._open(message_id, record)
            record["parts"] = 1
            events.append(self._known.block(BlockDelta, message_id, TEXT, text=content))
            return events
        if record["text"]:
            events.append(self._known.block(BlockRemoved, message_id, TEXT))
            record["text"] = False
            self._runs.cool_all()
        parts = mixed_parts(content or ())
        kinds = [part["kind"] for part in parts]
        for index, kind in enumerate(record.get("mixed", ())):
            if kinds[index : index + 1] != [kind]:
                events.append(self._known.block(BlockRemoved, message_id, index))
        for index, fields in enumerate(parts):
            events.append(
                self._known.block(
                    BlockReplaced,
                    message_id,
                    index,
                    kind=fields.pop("kind"),
                    order=index,
                    text=fields.pop("text", None),
                    status="closed",
                    whole=True,
                    fields=fields,
                )
            )
        record.update(mixed=kinds, parts=len(kinds))
        return events

    def close(self, message_id: str, record: Members) -> list[Event]:
        """The end of the text of a message that came whole, where nothing more streams into it."""
        if record["text"] and not self._flow.streams(message_id):
            return [self._known.block(BlockClosed, message_id, TEXT)]
        return []

    def note_fetched(self, record: Members, content: Json) -> None:
        """A message that is known is in a fetched history, with this content."""
        if isinstance(content, str):
            record["fetched"] = True  # it may become the text
        elif record["text"]:
            record["lacking"] = True  # it may have been taken away

    def learn(self, record: Members, content: Json) -> None:
        """Remember the content of a fetched message that is new."""
        if isinstance(content, list):
            kinds = [part["kind"] for part in mixed_parts(content)]
            record.update(mixed=kinds, parts=len(kinds))
        elif content is not None:
            record.update(text=True, parts=1, fetched=True)
