"""A tool's input as Anthropic's SDK takes it while it streams, and where it refuses it.

The SDK parses the whole input again at each delta and raises at the first that makes it refuse.
This says the same of each delta at the cost of its characters, from a state of bounded size: `in`
is what is being read, `stack` the open brackets, `token` an unfinished word or escape, `digits` the
length of an integer. Something else in the place of a comma ends an array or object, and whatever
follows a complete value is let alone, both without a fault, as in the SDK's parser. Knows JSON
texts and plain states; no event and no part.

Sources: the parser of the published Python SDK (`jiter`), checked on random texts.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping

from ...decoding import decode_json, nests_over
from ...errors import MalformedEvent, ProtocolStopped
from ...model import Json
from ...partialjson import partial_json
from ...text import has_surrogate
from ..members import Members

_DEPTH = 201
_DIGITS = 4300
_SPACE = frozenset(" \t\n\r")
_ORDINARY = re.compile(r'[^"\\\x00-\x1f]*')
_HEX = re.compile("[0-9A-Fa-f]{4}")
_WORDS: Mapping[str, str] = {
    "t": "true", "f": "false", "n": "null", "N": "NaN", "I": "Infinity", "-": "-Infinity",
}  # fmt: skip
#: What may follow in a number: by what was read last, the next by its character.
_NUMBERS: Mapping[str, Mapping[str, str]] = {
    "-": {"0": "zero"} | dict.fromkeys("123456789", "integer"),
    "zero": {".": "point", "e": "e", "E": "e"} | dict.fromkeys("0123456789", ""),
    "integer": {".": "point", "e": "e", "E": "e"} | dict.fromkeys("0123456789", "integer"),
    "point": dict.fromkeys("0123456789", "fraction"),
    "fraction": {"e": "e", "E": "e"} | dict.fromkeys("0123456789", "fraction"),
    "e": {"+": "sign", "-": "sign"} | dict.fromkeys("0123456789", "exponent"),
    "sign": dict.fromkeys("0123456789", "exponent"),
    "exponent": dict.fromkeys("0123456789", "exponent"),
}
_ENDS_NUMBER = frozenset(("zero", "integer", "fraction", "exponent"))
_VALUES: Mapping[str, str] = {"-": "-", "0": "zero"} | dict.fromkeys("123456789", "integer")


def parsed(text: str, given: Json) -> Json:
    """The value of a tool input as far as it came; `given` where it has none yet."""
    try:
        value = decode_json(text)
    except MalformedEvent:
        pass
    else:
        if not nests_over(value, _DEPTH):
            return value
    if not text.strip():
        return given
    try:
        return finite(partial_json(text, strings=False))
    except ValueError:
        start = text[: _read_on({}, text)]
    try:
        return finite(partial_json(start, strings=False)) if start.strip() else given
    except ValueError:
        return given


def finite(value: Json) -> Json:
    """A value without what JSON cannot say: as JavaScript does it, NaN and infinities are null."""
    if isinstance(value, dict):
        return {name: finite(item) for name, item in value.items()}
    if isinstance(value, list):
        return [finite(item) for item in value]
    return None if type(value) is float and not math.isfinite(value) else value


def next_state(state: Members | None, piece: str) -> Members | None:
    """The state behind a piece of a tool input that starts with `state`.

    Raises:
        ProtocolStopped: the client's parser refuses the input with this piece.
    """
    if state is None and not piece:
        return None
    state = dict(state or {})
    whole = not has_surrogate(piece) and _read_on(state, piece) == len(piece)
    if not whole or not (state["stack"] or state["in"] in _ENDS_NUMBER | {"end"}):
        raise ProtocolStopped("the input of a tool is not JSON")
    return state


def _read_on(state: Members, text: str) -> int:
    """Read a text from a state on and change the state; how many characters are no fault."""
    reading, token = state.get("in", "value"), state.get("token", "")
    stack, digits = state.get("stack", ""), state.get("digits", 0)
    place, end = 0, len(text)
    while place < end and reading != "end":
        if reading in ("string", "name") and not token:
            ordinary = _ORDINARY.match(text, place)
            place = ordinary.end() if ordinary else place
            if place == end:
                break
        char = text[place]
        after = "comma" if stack else "end"
        if reading in ("string", "name"):
            if token:
                token += char
                ended = _ends_escape(token)
                if ended is None:
                    break
                token = "" if ended else token
            elif char == "\\":
                token = char
            elif char == '"':
                reading = after if reading == "string" else "colon"
            else:
                break
        elif reading == "word":
            token += char
            word = _WORDS[token[0]]
            if not word.startswith(token):
                break
            if word == token:
                reading, token = after, ""
        elif reading in _NUMBERS:
            follows = _NUMBERS[reading].get(char)
            digits = digits + 1 if follows == "integer" else 0
            if follows:
                reading = follows
                if digits > _DIGITS:
                    break
            elif follows is None and reading in _ENDS_NUMBER:
                reading = after
                continue  # the character is not of the number
            elif reading == "-" and char == "I":
                reading, token = "word", "-I"
            else:
                break
        elif char in _SPACE:
            pass
        elif reading == "comma":
            if char == ",":
                reading = "key" if stack[-1] == "{" else "value"
            else:
                closed = char == ("}" if stack[-1] == "{" else "]")
                stack = stack[:-1]
                reading = "comma" if stack else "end"
                if not closed:
                    continue  # what is around it may still have a use for the character
        elif reading == "colon":
            if char != ":":
                break
            reading = "value"
        elif reading in ("key", "first key"):
            if char == '"':
                reading = "name"
            elif char == "}" and reading == "first key":
                stack = stack[:-1]
                reading = "comma" if stack else "end"
            else:
                break
        elif char == "]" and reading == "first value":
            stack = stack[:-1]
            reading = "comma" if stack else "end"
        elif len(stack) >= _DEPTH:
            break
        elif char in "{[":
            stack += char
            reading = "first key" if char == "{" else "first value"
        elif char == '"':
            reading = "string"
        elif char in _VALUES:
            reading, digits = _VALUES[char], 1
        elif char in _WORDS:
            reading, token = "word", char
        else:
            break
        place += 1
    else:
        place = end
    state.update({"in": reading, "token": token, "stack": stack, "digits": digits})
    return place


def _ends_escape(token: str) -> bool | None:
    """Whether an escape is complete; None when it is none."""
    length, char = len(token), token[-1]
    if length == 2:
        return True if char in '"\\/bfnrt' else False if char == "u" else None
    if length in (7, 8):  # behind the high half of a surrogate pair
        return False if char == "\\u"[length - 7] else None
    digits = token[8:] or token[2:6]
    if len(digits.encode("utf-8", "surrogatepass")) < 4:
        return False  # the parser looks at four bytes or none
    if _HEX.fullmatch(digits) is None:
        return None
    code = int(digits, 16)
    low = 0xDC00 <= code <= 0xDFFF
    if length == 12:
        return True if low else None
    return None if low else not 0xD800 <= code <= 0xDBFF
