"""When a vellum-assistant message was made, as its id says. Knows an id, and nothing else."""

from __future__ import annotations


def time_of_id(message_id: str) -> int | None:
    """When a UUIDv7 was made, in ms since the epoch; None for any other id.

    >>> time_of_id("019e6f3c-8000-7abc-8def-0123456789ab")
    1779982696448
    """
    head = message_id[:8] + message_id[9:13]
    if len(message_id) != 36 or message_id[14] != "7" or not head.isalnum() or not head.isascii():
        return None
    try:
        return int(head, 16)
    except ValueError:
        return None
