"""What is remembered of completions and their choices, as plain JSON.

Knows records, and choices as they were read; makes no event.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ...keys import is_number
from ..members import Members
from .chunks import Choice, is_empty

#: What the official client's message holds once a second chunk was merged into it.
DEFAULTS = (
    "content", "refusal", "role", "annotations", "audio", "function_call", "tool_calls",
)  # fmt: skip

#: Completions that can still be told from a reuse of their id, per session: an older one that is
#: replayed is built anew at the end.
REMEMBERED = 1024
#: Members of a choice's deltas that were empty.
EMPTY_MEMBERS = 64


def new_record(order: int | None, begins: bool) -> Members:
    """A completion in the making.

    `fresh`: its messages are built from nothing, so that the first event of each says all. There
    may be `failed`: an error ended it before anything of its first choice came.
    """
    return {
        "order": order,
        "fresh": begins,
        "head": not begins,
        "stream": 0,
        "more": not begins,
        "usage": False,
        "fingerprint": None,
        "choices": {},
    }


def new_choice(choice: Members) -> Members:
    """A choice in the making.

    `texts` names the block of each text member; `blocks` says which are open; `calls` holds each
    call as it came but for its input, with the index that brings it and, as `whole`, the arguments
    that it began with where they were a whole object, as `again`, the last piece of them where that
    is one, as `held`, an empty one behind others, of which only what follows says whether it is of
    them; `at` and `ids` which call an index and an id stand for; `merged`, `parsed`, `fresh`,
    `done` and `tool` follow the official client, which dresses its snapshot in nulls: see
    `apply.follow`. There may be `pieces`: by block, the field `wire` of a text that came in typed
    pieces.
    """
    return {
        "choice": choice,
        "delta": {},
        "texts": {},
        "blocks": {},
        "calls": {},
        "at": {},
        "ids": {},
        "last": None,
        "sources": 0,
        "closed": None,
        "merged": False,
        "parsed": False,
        "fresh": [],
        "done": False,
        "tool": None,
    }


def is_finished(record: Members) -> bool:
    """Whether each choice of a completion that began has ended."""
    return bool(record["choices"]) and all(
        choice["closed"] for choice in record["choices"].values()
    )


def goes_beyond(record: Members, choices: Sequence[Choice]) -> bool:
    """Whether a chunk brings something, and all of it for choices that have ended.

    A role alone begins a choice, but where it ends one a second time.
    """
    brought = [
        record["choices"].get(str(choice.place), {})
        for choice in choices
        if any(
            not is_empty(value) and (name != "role" or not choice.finish)
            for name, value in choice.delta.items()
        )
    ]
    return bool(brought) and all(known.get("closed") for known in brought)


def opens_one(choice: Choice) -> bool:
    """Whether a choice says who speaks and brings nothing else, as the first chunk of one does."""
    return bool(choice.role) and all(
        name == "role" or is_empty(value) for name, value in choice.delta.items()
    )


def keys_of(record: Members) -> list[str]:
    """Keys of the choices that have a message: the first has one before anything of it comes."""
    keys = list(record["choices"])
    if "0" not in keys and (record["fresh"] or not keys):
        keys.append("0")
    return keys


def ended_choices(record: Members | None) -> set[str]:
    """Keys of the choices that ended."""
    if record is None:
        return set()
    ended = {key for key, choice in record["choices"].items() if choice["closed"]}
    return ended | {"0"} if record.get("failed") else ended


def retire(opened: dict[str, Members], message_id: str) -> None:
    """Forget a completion; an adapter that still looks at it must not take it for its own."""
    record = opened.pop(message_id, None)
    if record is not None:
        record["stream"] = 0


def choice_id(completion: str, index: int) -> str:
    """The id of the message of a choice: the first has the completion's."""
    return completion if index == 0 else f"{completion}#{index}"


def reused_id(known: dict[str, Members], wire_id: str, created: Any) -> str:
    """The message of a completion: another one where the id was used at another time."""
    facts = known.get(wire_id)
    if facts is None or facts["created"] is None or not is_number(created):
        return wire_id
    return wire_id if facts["created"] == created else f"{wire_id}@{created}"
