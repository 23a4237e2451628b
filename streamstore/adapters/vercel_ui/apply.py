"""What a chunk does to the message that its stream writes: which part of the adapter takes it.

A chunk here has the members that its type needs. Puts the parts of a message together: starts and
ends (`lifecycle`), `steps`, `texts`, `tools` and what comes whole (`wholes`). Knows no stream
before its start, and nothing of what those parts remember.

Sources: the reader of the npm package `ai` 7.0.173.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from ...events import Event
from ..base import Context
from ..members import Members
from .lifecycle import Lifecycle
from .schema import INPUT_DELTA
from .steps import Steps
from .texts import Texts
from .tools import Tools
from .wholes import WHOLE, Wholes
from .writing import Writing


class Chunks:
    """What takes the chunks of a stream.

    Args:
        context: what the adapter was given.
        writing: the message that the stream writes.

    Attributes:
        lifecycle, steps, texts, tools, wholes: what takes the chunks.
    """

    def __init__(self, context: Context, writing: Writing) -> None:
        self.lifecycle = Lifecycle(context, writing)
        self.steps = Steps(writing)
        self.texts = Texts(context, writing)
        self.tools = Tools(context, writing)
        self.wholes = Wholes(writing)

    def apply(self, name: str, wire: Members) -> Sequence[Event]:
        """The events of a chunk of a type; `data-` stands for all of `data-NAME`."""
        return _HANDLERS[name](self, wire)


_HANDLERS: Mapping[str, Callable[[Chunks, Members], Sequence[Event]]] = {
    "start": lambda chunks, wire: chunks.lifecycle.start(wire),
    "finish": lambda chunks, wire: chunks.lifecycle.finish(wire),
    "abort": lambda chunks, wire: chunks.lifecycle.abort(wire),
    "error": lambda chunks, wire: chunks.lifecycle.error(wire),
    "message-metadata": lambda chunks, wire: chunks.lifecycle.message_metadata(wire),
    "start-step": lambda chunks, wire: chunks.steps.started(wire),
    "finish-step": lambda chunks, wire: chunks.steps.finished(wire),
    "reset-step": lambda chunks, wire: chunks.steps.reset(wire),
    "text-start": lambda chunks, wire: chunks.texts.text_started(wire),
    "text-delta": lambda chunks, wire: chunks.texts.text(wire),
    "text-end": lambda chunks, wire: chunks.texts.text_ended(wire),
    "reasoning-start": lambda chunks, wire: chunks.texts.reasoning_started(wire),
    "reasoning-delta": lambda chunks, wire: chunks.texts.reasoning(wire),
    "reasoning-end": lambda chunks, wire: chunks.texts.reasoning_ended(wire),
    "tool-input-start": lambda chunks, wire: chunks.tools.input_started(wire),
    INPUT_DELTA: lambda chunks, wire: chunks.tools.input_text(wire),
    "tool-input-available": lambda chunks, wire: chunks.tools.input_available(wire),
    "tool-input-error": lambda chunks, wire: chunks.tools.input_error(wire),
    "tool-approval-request": lambda chunks, wire: chunks.tools.approval_asked(wire),
    "tool-approval-response": lambda chunks, wire: chunks.tools.approval_answered(wire),
    "tool-output-available": lambda chunks, wire: chunks.tools.output_available(wire),
    "tool-output-error": lambda chunks, wire: chunks.tools.output_error(wire),
    "tool-output-denied": lambda chunks, wire: chunks.tools.output_denied(wire),
    "data-": lambda chunks, wire: chunks.wholes.data(wire),
    **dict.fromkeys(WHOLE, lambda chunks, wire: chunks.wholes.take(wire)),
}
