"""What an unfinished JSON text says so far, on demand.

Tool inputs stream as text; a frontend that wants to show one before it is complete asks here. The
parsing is that of `jiter` (extra `partial`), imported when first used. Knows no part or event.
"""

from __future__ import annotations

from typing import Any

from .errors import CallerError

Json = Any


def partial_json(text: str, *, strings: bool = True) -> Json:
    """The value of a JSON text that may stop anywhere: its finished members.

    With `strings` also the string that is unfinished, as far as it came; without, it is absent
    until its closing quote. None while there is no value yet. Linear in the text at each call,
    nothing is kept: ask when somebody looks, not per delta.

    Raises:
        ValueError: what is there already is not JSON.
        CallerError: the extra `partial` is not installed.

    >>> partial_json('{"path": "a.txt", "content": "once up')
    {'path': 'a.txt', 'content': 'once up'}
    >>> partial_json('{"path": "a.txt", "content": "once up', strings=False)
    {'path': 'a.txt'}
    """
    try:
        from jiter import from_json
    except ImportError:
        raise CallerError(
            "partial JSON needs jiter: pip install 'chat-streamstore[partial]'"
        ) from None
    if not text.strip():
        return None
    data = text.encode("utf-8", "replace")  # a lone half of a surrogate pair has no bytes
    return from_json(data, partial_mode="trailing-strings" if strings else True)
