"""What the `_meta` of a tool or of chunks comes to, merged by key.

Knows JSON objects alone: no part, session or event.
"""

from __future__ import annotations

from ..members import Members

#: Keys of a tool's `_meta` that carry text of a terminal, all of it or more; the field that it
#: streams into; keys, and members of each, that are remembered.
TERMINAL, OUTPUT, _META = ("terminal_output", "terminal_output_delta"), "output", 64
#: Keys of it that clients read in a `tool_call_update` only.
SHOWN = (*TERMINAL, "terminal_exit")


def merge_meta(held: Members, said: Members) -> tuple[Members, str, bool]:
    """What a tool's `_meta` comes to; the text of its terminal, and whether that is all of it.

    Agents send a key, and a member of a namespace such as `claudeCode`, when it changes.
    """
    said, printed, anew = dict(said), "", False
    for key in TERMINAL:
        value = said.get(key)
        if isinstance(value, dict) and type(value.get("data")) is str:
            printed += value["data"]
            anew = anew or (key == TERMINAL[0] and TERMINAL[1] in held)
            said[key] = {name: of for name, of in value.items() if name != "data"}
    return merged_meta(held, said), printed, anew


def merged_meta(held: Members, said: Members) -> Members:
    """What is known of a `_meta` where more is said of it."""
    said = dict(said)
    for key, value in said.items():
        before = held.get(key)
        if isinstance(value, dict) and isinstance(before, dict):
            said[key] = _newest(before, value)
    merged = _newest(held, said)
    return {key: value for key, value in merged.items() if value is not None}


def meta_field(meta: Members) -> Members:
    """The field that keeps it; none for an empty one."""
    return {"_meta": meta} if meta else {}


def _newest(before: Members, said: Members) -> Members:
    """The members of both that were said last."""
    kept = {name: value for name, value in before.items() if name not in said}
    return dict([*kept.items(), *said.items()][-_META:])


def meta_name(meta: Members) -> str | None:
    """What a tool is called by agents that do not say its `name`."""
    namespace = meta.get("claudeCode")
    name = namespace.get("toolName") if isinstance(namespace, dict) else None
    name = name or meta.get("tool_name")
    return name if type(name) is str else None
