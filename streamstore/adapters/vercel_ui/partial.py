"""The input of a tool as the SDK's client shows it while it streams: a JSON text, cut and closed.

Knows JSON texts and the client's rules for one that stops in the middle; no chunk and no part.

Sources: the partial JSON reader of the npm package `ai` 7.0.173, checked on recorded streams.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ...decoding import decode_json
from ...errors import MalformedEvent
from ..members import Members

# An escape by number is over after four digits, whatever stands between them.
_STRING = re.compile(r'"(?:[^"\\]+|\\u(?:[^0-9a-fA-F]*[0-9a-fA-F]){4}|\\[^u])*', re.DOTALL)
_NUMBER = re.compile(r"[0-9eE.\-]+")
_LITERALS = ("true", "false", "null")


def partial(text: str) -> Members:
    """`{"input": value}` of a JSON text that may stop anywhere; empty where it says nothing yet.

    What the client shows: the text up to its last whole token, closed. It differs from
    `partialjson`, which leaves a number or literal out that may not be complete.
    """
    for attempt in (text, closed(text)):
        try:
            return {"input": decode_json(attempt)}
        except MalformedEvent:
            pass
    return {}


def closed(text: str) -> str:
    """A JSON text cut behind its last whole token, with what is open there closed. Linear.

    What is no JSON is not looked for: it stays in, and the result is no JSON either.

    >>> closed('{"a": [1, {"b": "x'), closed('{"a": -'), closed('[tr')
    ('{"a": [1, {"b": "x"}]}', '{}', '[true]')
    """
    closers: list[str] = []
    expects = "value"  # or item, key, name, colon, more, nothing
    keep = at = 0
    rest = ""

    def behind() -> str:
        return "more" if closers else "nothing"

    while at < len(text):
        char = text[at]
        at += 1
        if expects in ("value", "item"):
            if char == "]" and expects == "item":  # an array may end where its first one may be
                keep = at
                closers.pop()
                expects = behind()
            elif char == '"':
                found = _STRING.match(text, at - 1)
                assert found is not None
                keep = at = found.end()
                if text.startswith('"', at):
                    keep = at = at + 1
                else:
                    rest, at = '"', len(text)
                expects = behind()
            elif char in "tfn":
                word = next(word for word in _LITERALS if word[0] == char)
                length = 1
                while length < len(word) and text.startswith(word[length], at):
                    length, at = length + 1, at + 1
                keep = at
                if at == len(text):
                    rest = word[length:]
                expects = behind()
                at += _passes(text, at, closers)
            elif char in "-0123456789":
                found = _NUMBER.match(text, at - 1)
                assert found is not None
                digits = found[0].rstrip("eE.-")
                if digits:
                    keep = at - 1 + len(digits)
                at = found.end()
                expects = behind()
                at += _passes(text, at, closers)
            elif char in "{[":
                keep = at
                closers.append("}" if char == "{" else "]")
                expects = "key" if char == "{" else "item"
        elif expects in ("key", "name"):
            if char == '"':
                end = text.find('"', at)
                at = len(text) if end < 0 else end + 1
                expects = "colon"
            elif char == "}" and expects == "key":
                keep = at
                closers.pop()
                expects = behind()
        elif expects == "colon":
            if char == ":":
                expects = "value"
        elif expects == "more":
            if char == ",":
                expects = "name" if closers[-1] == "}" else "value"
            elif char == closers[-1]:
                keep = at
                closers.pop()
                expects = behind()
            elif closers[-1] == "]":
                keep = at
    return text[:keep] + rest + "".join(reversed(closers))


def _passes(text: str, at: int, closers: Sequence[str]) -> int:
    """1 where the character behind a number or literal ends it and is nothing else."""
    if at >= len(text):
        return 0
    return 0 if closers and text[at] in (",", closers[-1]) else 1
