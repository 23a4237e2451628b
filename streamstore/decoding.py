"""The JSON door: text or bytes of one value to that value, or a reason why not.

Total: whatever arrives, the answer is a value or a reason. Knows no event and no protocol.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any, NoReturn

from .errors import MalformedEvent


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")


# One decoder, and its scanner: half of what `json.loads` costs is its Python wrapper.
_scan: Callable[[str, int], tuple[Any, int]] = getattr(
    json.JSONDecoder(parse_constant=_refuse), "scan_once"
)
_WHITE = " \t\r\n"


def decode_json(data: str | bytes) -> Any:
    """The JSON value that a text or its UTF-8 bytes hold; invalid UTF-8 becomes U+FFFD.

    A repeated key keeps its last value. Nothing but white space may stand around the value.

    Raises:
        MalformedEvent: it is not JSON, nests too deep, or holds NaN, an infinity or an integer of
            more digits than the interpreter reads (4,300).
    """
    text = data if isinstance(data, str) else data.decode("utf-8", "replace")
    try:
        value, end = _scan(text, 0)
        if end != len(text) and text[end:].strip(_WHITE):
            raise MalformedEvent("", f"not JSON: extra data at character {end}")
    except StopIteration:
        return _decode_padded(text)
    except RecursionError:
        raise MalformedEvent("", "not JSON: nests too deep") from None
    except ValueError as error:
        raise MalformedEvent("", f"not JSON: {error}") from None
    return value


def _decode_padded(text: str) -> Any:
    stripped = text.strip(_WHITE)
    if not stripped or stripped == text:
        raise MalformedEvent("", "not JSON: expected a value")
    return decode_json(stripped)
