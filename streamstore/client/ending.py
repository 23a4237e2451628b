"""How a stream of the store ends under a connection: by the program, or with something unfinished.

Knows a stream; no request and no policy.
"""

from __future__ import annotations

from ..errors import CallerError
from ..keys import PartKey
from ..pipeline import Stream
from .policy import between_events


async def program_ends(stream: Stream) -> None:
    """Never returns, and may watch from another thread than the one that owns the stream.

    Raises:
        CallerError: the program ended the stream, by closing the store above all.
    """
    import asyncio

    loop = asyncio.get_running_loop()
    over = asyncio.Event()

    def tell() -> None:
        try:
            loop.call_soon_threadsafe(over.set)
        except RuntimeError:
            pass  # the connection, and its loop, have ended in this very moment

    stream.on_end = tell
    try:
        if not stream.ended:
            await over.wait()
    finally:
        stream.on_end = None
    raise CallerError("the store was closed, or the connection's stream was ended")


def left_unfinished(stream: Stream, tail: bytes) -> str:
    """What the end of a stream leaves unfinished, in words; "" for nothing.

    It is what the store shows from then on: `part.gap`, or a message that is open. A server that
    ends without a word, with nothing begun that has not ended, has said all.
    """
    key = stream.unfinished
    if isinstance(key, PartKey):
        return f"part {key.block_index!r:.80} of message {key.message_id!r:.80} was still streaming"
    if key is not None:
        return f"message {key.message_id!r:.80} has not ended"
    # The bytes count as well: whoever owns the store need not have fed it all of them.
    if stream.half_event and not between_events(tail):
        return "an event was cut off"
    return ""
