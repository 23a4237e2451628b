"""Resuming by a protocol's own number: a query parameter, and where events carry it.

Pure: wire objects in, numbers out. Knows two protocols' spelling; no log.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ..keys import is_number

#: Query parameter by protocol: the number of the last event that the client has.
PARAMETERS: Mapping[str, str] = {"openai-responses": "starting_after", "opencode-v2": "after"}


def number_of(protocol: str, wire: Any) -> int | None:
    """The number of an event; None where it carries none.

    >>> number_of("openai-responses", {"type": "response.created", "sequence_number": 0})
    0
    """
    if not isinstance(wire, dict):
        return None
    if protocol == "opencode-v2":
        durable = wire.get("durable")
        found = durable.get("seq") if isinstance(durable, dict) else None
    else:
        found = wire.get("sequence_number")
    return found if is_number(found) else None
