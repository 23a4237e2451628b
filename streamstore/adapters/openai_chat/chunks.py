"""What a chunk or a whole completion of Chat Completions says of each of its choices.

Content that is a list, calls, and members that are not known are read here; a member of the wrong
type is refused by its path. Knows the wire, one object at a time; no event of ours, and remembers
nothing.

Sources: as for `openai_chat`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any, NamedTuple

from ...errors import MalformedEvent
from ...model import Json, thaw
from ..members import (
    Members,
    a_list,
    a_number,
    an_object,
    are_objects,
    maybe_object,
    objects,
    path_to,
    wrong,
)

CHUNK = "chat.completion.chunk"
WHOLE = "chat.completion"
#: Members of a chunk that are read or mean nothing (`obfuscation` is padding).
READ = frozenset(("object", "choices", "usage", "system_fingerprint", "obfuscation", "error"))
#: Members that every completion has, which the last chunk does not say anew.
KNOWN = READ | {"id", "created", "model", "service_tier", "moderation"}
#: Members of a choice that are read.
CHOICE_READ = frozenset(("index", "delta", "message", "logprobs", "finish_reason"))
CALLS = frozenset(("tool_calls", "function_call"))
#: The parts of the thinking pieces of a content that is a list, and of those of its reasoning.
THOUGHT, REASONED = "content:thinking", "content:reasoning"
ANNOTATIONS = "annotations"
#: Text members of a delta: the kind of their part and its place.
TEXTS = {
    "reasoning_content": ("reasoning", 0),
    "reasoning": ("reasoning", 0),
    "thinking": ("reasoning", 0),
    "content": ("text", 1),
    "refusal": ("text", 2),
}
LOGPROBS = ("content", "refusal")


def text_member(delta: Members) -> str:
    """The member with the text, of a delta that the short way took in.

    Raises:
        TypeError: it has arguments, which stand deeper.
    """
    name = next(name for name, value in delta.items() if value and name != "role")
    if delta[name].__class__ is not str:
        raise TypeError(name)
    return name


class Call(NamedTuple):
    """A call for the short ways.

    Attributes:
        place: the index under which its fragments come.
        key: of its input.
        wire: the call as it came, which fragments may repeat.
    """

    place: int
    key: tuple[str, str, str, str]
    wire: Members


class Fragment(NamedTuple):
    """A piece of a tool call; `wire` is all of it but the input, "" stands for what is absent."""

    place: int | None
    id: str
    name: str
    text: str
    wire: Members


class Piece(NamedTuple):
    """A typed piece of a content: its block, its text, and all of it but the text."""

    block: str
    text: str
    wire: Members


class Choice(NamedTuple):
    """A choice of a chunk, read: what is not here is in `wire`, as it came."""

    place: int
    finish: str
    role: str
    delta: Members
    calls: list[Fragment]
    function: Fragment | None
    pieces: list[Piece]
    lines: dict[str, str]
    logprobs: Members | None
    tokens: dict[str, str]
    wire: Members


def choices_of(wire: Members, strict: bool) -> list[Members]:
    """The choices of a chunk; one that brings a usage alone may leave them out, or say null."""
    if wire.get("choices") is None and wire.get("usage") is not None and not strict:
        return []
    return objects(wire, "choices")


def is_whole(wire: Members) -> bool:
    """Whether a wire object is a completion that is not streamed."""
    choices = wire.get("choices")
    return (
        isinstance(choices, list)
        and bool(choices)
        and all(isinstance(choice, dict) and "message" in choice for choice in choices)
    )


def is_chunk(wire: Members) -> bool:
    """Whether what says that it is something else has choices as a chunk has them.

    Perplexity's have both: its whole answers an empty delta, its chunks the message so far.
    """
    choices: Any = wire.get("choices")
    return (
        wire["object"].startswith("chat.")
        and are_objects(choices)
        and bool(choices)
        and all("delta" in choice for choice in choices)
        and (wire["object"] != WHOLE or not is_whole(wire))
    )


def read_choice(
    choice: Members, at: str, number: int, whole: bool, strict: bool, apart: bool
) -> Choice:
    """A choice of a chunk or of a whole completion.

    `apart`: the typed pieces of its content, too, and what compatible servers put otherwise.
    """
    index = number if whole else 0
    if strict or choice.get("index") is not None:
        index = a_number(choice, "index", at)
    finish = maybe_text(choice, "finish_reason", at)
    body = "message" if whole else "delta"
    if strict or whole:
        delta = an_object(choice, body, at)
    else:
        delta = maybe_object(choice, body, at) or {}
    body_at = path_to(at, body)
    calls: list[Fragment] = []
    function = None
    pieces: list[Piece] = []
    lines: dict[str, str] = {}
    if apart and isinstance(delta.get("tool_calls"), dict) and delta["tool_calls"]:
        delta = {**delta, "tool_calls": [delta["tool_calls"]]}  # a call without its list
    if delta.get("tool_calls") is not None:
        calls_at = path_to(body_at, "tool_calls")
        for place, call in enumerate(objects(delta, "tool_calls", body_at)):
            calls.append(_read_call(call, f"{calls_at}.{place}", place if whole else None, apart))
    if delta.get("function_call") is not None:
        call = an_object(delta, "function_call", body_at)
        function_at = path_to(body_at, "function_call")
        name, text, rest = _read_function(call, "arguments", function_at, apart)
        function = Fragment(None, "", name, text, rest)
    for name, value in delta.items():
        if name in ("content", "refusal") and type(value) is not str and value is not None:
            if not are_objects(value):  # a list of typed pieces, as some servers send
                raise wrong(delta, name, body_at, "a string")
        if name in CALLS or name == "role" or type(value) is str or is_empty(value):
            continue
        if name == "content" and apart and isinstance(value, list):
            pieces, others = _read_pieces(value)
            if others:
                lines[name] = _line(others, path_to(body_at, name))
            elif not pieces:
                delta = {**delta, name: ""}
            continue
        if name != ANNOTATIONS or not are_objects(value):
            lines[name] = _line(value, path_to(body_at, name))
    told = choice.get("logprobs")
    if apart and type(told) is float:  # Together's: that of the one token in the chunk
        token = {"token": delta.get("content"), "logprob": told}
        choice = {**choice, "logprobs": {"content": [token]}}
    logprobs = maybe_object(choice, "logprobs", at)
    tokens: dict[str, str] = {}
    for name in LOGPROBS if logprobs is not None else ():
        if logprobs is not None and logprobs.get(name) is not None:
            logprobs_at = path_to(at, "logprobs")
            tokens[name] = "".join(
                _line(token, path_to(logprobs_at, name))
                for token in a_list(logprobs, name, logprobs_at)
            )
    return Choice(
        place=index,
        finish=finish,
        role=maybe_text(delta, "role", body_at),
        delta=delta,
        calls=calls,
        function=function,
        pieces=pieces,
        lines=lines,
        logprobs=logprobs,
        tokens=tokens,
        wire=choice,
    )


def _read_pieces(values: list[Members]) -> tuple[list[Piece], list[Members]]:
    """A content that is a list: its pieces of text and thinking, and those that are neither."""
    pieces: list[Piece] = []
    others: list[Members] = []
    for piece in values:
        kind = piece.get("type")
        told: Any = piece.get(kind) if kind in ("text", "thinking") else None
        rest: Json = ""
        if kind == "thinking" and isinstance(told, list):
            said = [one["text"] for one in told if _is_text(one)]
            if len(said) < len(told):  # references, say
                others.append({**piece, kind: [one for one in told if not _is_text(one)]})
                piece = {"type": kind}
            told, rest = "".join(said), []
        if kind == "reasoning" and isinstance(piece.get("summary"), list):
            summary = [one for one in piece["summary"] if _is_text(one, "summary_text")]
            if len(summary) == len(piece["summary"]):
                found = _read_summary(piece, summary)
                if found.text or len(found.wire["summary"][0]) > 1 or len(piece) > 2:
                    pieces.append(found)
                continue
        if type(told) is not str:
            others.append(piece)
        elif told or len(piece) > 2:
            block = "content" if kind == "text" else THOUGHT
            pieces.append(Piece(block, told, thaw({**piece, kind: rest})))
    return pieces, others


def _read_summary(piece: Members, summary: Sequence[Any]) -> Piece:
    """A piece of reasoning: the texts of its summary are one, and so is what they have beside."""
    beside: Members = {"type": "summary_text"}
    for one in summary:
        beside.update((name, value) for name, value in one.items() if name != "text")
    text = "".join(one["text"] for one in summary)
    return Piece(REASONED, text, thaw({**piece, "summary": [beside]}))


def _is_text(piece: Any, kind: str = "text") -> bool:
    return isinstance(piece, dict) and piece.get("type") == kind and type(piece.get("text")) is str


def _read_call(call: Members, at: str, place: int | None, apart: bool) -> Fragment:
    index = place
    if call.get("index") is not None:
        index = a_number(call, "index", at)
    name = text = ""
    rest: Members = {}
    for member, value in call.items():
        streams = {"function": "arguments", "custom": "input"}.get(member)
        if streams is None or value is None:
            rest[member] = thaw(value)
            continue
        found = _read_function(an_object(call, member, at), streams, path_to(at, member), apart)
        name, text = name or found[0], text or found[1]
        rest[member] = found[2]
    maybe_text(call, "type", at)
    return Fragment(index, maybe_text(call, "id", at), name, text, rest)


def _read_function(
    function: Members, streams: str, at: str, apart: bool
) -> tuple[str, str, Members]:
    """Name and input of a call, and the whole of it without the input."""
    if apart and isinstance(function.get(streams), dict):  # it is parsed already
        line = _line(function[streams], path_to(at, streams))
        function = {**function, streams: line.removesuffix("\n")}
    text = maybe_text(function, streams, at)
    rest: Members = {
        name: thaw(value) for name, value in function.items() if name != streams or not value
    }
    return maybe_text(function, "name", at), text, rest


def error_of(error: Any) -> Members:
    """An error of the wire as `{name, message, data}`."""
    members = error if isinstance(error, dict) else {"message": error}
    message = members.get("message")
    if type(message) is not str or not message:
        message = "an error occurred while streaming"
    told = (members.get(member) for member in ("type", "code"))
    name = next((value for value in told if type(value) is str and value), "error")
    return {"name": name, "message": message, "data": thaw(error)}


def maybe_text(members: Members, name: str, at: str) -> str:
    """A string, "" where it is absent or null."""
    value = members.get(name)
    if value is None:
        return ""
    if type(value) is not str:
        raise wrong(members, name, at, "a string")
    return value


def is_empty(value: Any) -> bool:
    """Whether a member says nothing."""
    return value is None or value in ("", [], {})


def _line(value: Any, at: str) -> str:
    """A value as one line of JSON; ASCII, so that no half of a surrogate pair is in it."""
    try:
        return json.dumps(value, separators=(",", ":")) + "\n"
    except ValueError:
        raise MalformedEvent(at, "holds a number of too many digits") from None


def more_arguments(
    known: Call | None, calls: Any
) -> tuple[tuple[str, str, str, str], str, None] | None:
    """The usual fragment, more arguments of the call that came last; None for others.

    Raises:
        KeyError, TypeError, AttributeError: it says more, or something else.
    """
    if known is None or calls.__class__ is not list or len(calls) != 1:
        return None
    place, key, wire = known
    call = calls[0]
    index, function = call["index"], call["function"]
    text = function["arguments"]
    if (
        index.__class__ is int
        and index == place
        and text.__class__ is str
        and text
        and (text[0] != "{" or text[-1] != "}")  # it may be all of them, once more
        and (len(call) == 2 or _repeats(wire, call, ("index", "function")))
        and (len(function) == 1 or _repeats(wire["function"], function, ("arguments",)))
    ):
        return (key, text, None)
    return None


def _repeats(known: Members, given: Members, beside: tuple[str, ...]) -> bool:
    """Whether members say what is known, or nothing of it; but for those that are read beside.

    Raises:
        KeyError: there is one of which nothing is known.
    """
    for name, value in given.items():
        if name not in beside and value != known[name] and value is not None and value != "":
            return False
    return True


def index_of(choice: Members) -> int:
    """The index of a choice, 0 where it has none."""
    index = choice.get("index")
    return index if type(index) is int else 0
