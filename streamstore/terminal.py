r"""Text that is safe to print: what a stream says never drives the terminal it is shown on.

A model, a tool's output or a file name may hold escape sequences that move the cursor, rename the
window, fill the clipboard or type into the shell; bidi controls make text read otherwise than it
is. All of it becomes visible escapes here. Knows characters and nothing else.

- `escape`: any text, on as many lines as it has
- `one_line`: any text, on one line of a bounded length
- `json_text`: a JSON value whose text is just as safe, and the same value when read
"""

from __future__ import annotations

import json
import re
from typing import Any

# What a terminal may act on or a reader may be misled by:
# - C0 but tab and newline, DEL, C1: escape sequences start there, in C1 without an ESC;
# - bidi controls: marks, embeddings, overrides and isolates reorder what stands around them;
# - U+2028 and U+2029, at which some renderers break lines and others do not;
# - surrogates, which no encoding writes: printing one would raise.
_ACTIVE = "\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff"
_UNSAFE = re.compile(f"[{_ACTIVE}]")
_UNSAFE_IN_LINE = re.compile(f"[\t\n{_ACTIVE}]")
_SHORT = {"\t": "\\t", "\n": "\\n", "\r": "\\r"}


def escape(text: str) -> str:
    r"""A text without control characters but newline and tab; the others as visible escapes.

    Total and linear; what is harmless comes back as the same object. Every character is escaped
    by itself, so a text may be escaped piece by piece. It is for eyes: a backslash that was in
    the text is not doubled, so escapes cannot be undone.

    >>> print(escape("red \x1b[31m, \x9b2J, name\u202etxt.exe"))
    red \x1b[31m, \x9b2J, name\u202etxt.exe
    >>> escape("tab\tand newline\n stay, \r does not; neither does half a pair: \ud83d")
    'tab\tand newline\n stay, \\r does not; neither does half a pair: \\ud83d'
    """
    return _UNSAFE.sub(_visible, text)


def one_line(text: str, limit: int = 200) -> str:
    r"""A text on one line of at most `limit` characters, cut at its end with an ellipsis.

    Costs `limit` characters, however long the text is.

    >>> one_line("a\nb\x07")
    'a\\nb\\x07'
    >>> one_line("a long line", 6)
    'a lon…'
    """
    # An escaped text is never shorter, so that more than `limit` characters cannot be needed.
    shown = _UNSAFE_IN_LINE.sub(_visible, text[: limit + 1])
    return shown if len(shown) <= limit else shown[: max(0, limit - 1)] + "…"[: max(0, limit)]


def json_text(value: Any, *, ascii_only: bool = False) -> str:
    r"""JSON of a value, keys sorted and indented by 2, safe to print and equal when read again.

    What `escape` would make visible is a `\u` escape of JSON here, inside strings. Other
    characters stay readable; `ascii_only` escapes all but ASCII, for outputs that could not
    write them.

    >>> print(json_text({"b": "\x9b \u202e ü", "a": [1]}))
    {
      "a": [
        1
      ],
      "b": "\u009b \u202e ü"
    }
    >>> json.loads(json_text("\x1b\x7f\ud83d")) == "\x1b\x7f\ud83d"
    True
    """
    text = json.dumps(value, ensure_ascii=ascii_only, sort_keys=True, indent=2, allow_nan=False)
    return _UNSAFE.sub(_json_escape, text)


def _visible(found: re.Match[str]) -> str:
    character = found.group()
    short = _SHORT.get(character)
    if short is not None:
        return short
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def _json_escape(found: re.Match[str]) -> str:
    return f"\\u{ord(found.group()):04x}"
