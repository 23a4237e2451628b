"""Errors of a response that were told: whoever sends the response again brings them again.

For protocols whose errors name no response and have no number. Knows messages and deliveries as an
adapter counts them; no protocol, event or store.
"""

from __future__ import annotations

import hashlib
import json
from typing import Any

from .bounded import remember

#: Of how many responses of a session it is remembered, and how many errors of each.
_RESPONSES, _ERRORS = 256, 16


def is_retold(told: dict[str, Any], message_id: str, delivery: int, error: Any) -> bool:
    """Whether an error of a response came in another delivery of it, in the same words; noted.

    What one delivery says twice are two errors. `told`: plain JSON in the adapter's memory.
    """
    try:
        words = hashlib.sha256(json.dumps(error, sort_keys=True).encode()).hexdigest()
    except (TypeError, ValueError):  # no JSON text stands for it: nobody sends it again
        return False
    errors: dict[str, int] = told.get(message_id, {})
    if errors.get(words, delivery) != delivery:
        return True
    remember(errors, words, delivery, _ERRORS)
    remember(told, message_id, errors, _RESPONSES)
    return False
