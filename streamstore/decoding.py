"""The JSON door: text or bytes of one value to that value, or a reason why not.

Total: whatever arrives, the answer is a value or a reason. Knows no event and no protocol.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any, NoReturn

from .errors import CallerError, MalformedEvent


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant[:20]} is no finite number")


def _finite(digits: str) -> float:
    number = float(digits)
    if math.isinf(number):  # 1e999 would come out as what JSON cannot say
        _refuse(digits)
    return number


# One decoder, and its scanner: half of what `json.loads` costs is its Python wrapper.
_decoder: Any = json.JSONDecoder(parse_constant=_refuse, parse_float=_finite)
#: The value that starts at a character of a text, and where it ends. Raises what `decode_json`
#: catches: `StopIteration`, `ValueError`, `RecursionError`.
scan_json: Callable[[str, int], tuple[Any, int]] = _decoder.scan_once
_WHITE = " \t\r\n"
_HOLDERS = (dict, list)


def decode_json(data: str | bytes, loads: Callable[[Any], Any] | None = None) -> Any:
    """The JSON value that a text or its UTF-8 bytes hold; invalid UTF-8 becomes U+FFFD.

    A repeated key keeps its last value. Nothing but white space may stand around the value.
    `loads` is a faster decoder that is asked first; where it raises `ValueError` the standard
    library decides.

    Raises:
        MalformedEvent: it is not JSON, nests too deep, or holds NaN, an infinity (1e999 is one)
            or an integer of more digits than the interpreter reads (4,300).
    """
    if loads is not None:
        try:
            return loads(data)
        except ValueError:
            pass
    text = data if isinstance(data, str) else data.decode("utf-8", "replace")
    try:
        value, end = scan_json(text, 0)
        if end != len(text) and text[end:].strip(_WHITE):
            raise MalformedEvent("", f"not JSON: extra data at character {end}")
    except StopIteration:
        return _decode_padded(text)
    except RecursionError:
        raise MalformedEvent("", "not JSON: nests too deep") from None
    except ValueError as error:
        raise MalformedEvent("", f"not JSON: {error}") from None
    return value


def decoder_named(name: str) -> Callable[[Any], Any] | None:
    """What `decode_json` is to ask first: `standard` is None, `orjson` (extra `speed`) its loads.

    Raises:
        CallerError: there is no such decoder, or it is not installed.
    """
    if name == "standard":
        return None
    if name != "orjson":
        raise CallerError("decoder must be standard or orjson")
    try:
        from orjson import loads
    except ImportError:
        raise CallerError("no orjson: pip install 'chat-streamstore[speed]'") from None
    return loads


def nests_over(value: Any, bound: int) -> bool:
    """Whether a JSON value nests deeper than `bound`. Linear in its size, and does not recurse.

    >>> nests_over([[1]], 2), nests_over([[[]]], 2)
    (False, True)
    """
    level: list[Any] = [value] if isinstance(value, _HOLDERS) else []
    for _ in range(bound):
        level = [
            item
            for holder in level
            for item in (holder.values() if isinstance(holder, dict) else holder)
            if isinstance(item, _HOLDERS)
        ]
        if not level:
            return False
    return bool(level)


def _decode_padded(text: str) -> Any:
    stripped = text.strip(_WHITE)
    if not stripped or stripped == text:
        raise MalformedEvent("", "not JSON: expected a value")
    return decode_json(stripped)
