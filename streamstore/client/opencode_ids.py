"""Ids as opencode makes them: they sort in the order of making, by the server's clock.

An id is a prefix, 12 hexadecimal digits of the time (ms times 4096, plus a counter, cut to 48
bits), and 14 letters of chance. opencode compares ids to tell which message came later, so an id of
a client whose clock is wrong hides a reply or repeats it (its issues 11863, 14236, 28618): the time
used here is the server's, and never before the latest id that is known. Pure: time and chance come
from outside.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

_LETTERS = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ID = re.compile(r"[a-z]+_([0-9a-f]{12})")
_PER_MS = 4096
_BITS = 48


class AscendingIds:
    """Makes ids that sort behind all that were made or named before.

    >>> ids = AscendingIds(lambda: 0.0)
    >>> ids.next("msg", 1.0)
    'msg_00000000100100000000000000'
    >>> ids.next("prt", 1.0, after=["msg_000000005000abc"])
    'prt_00000000500100000000000000'
    """

    def __init__(self, chance: Callable[[], float]) -> None:
        self._chance = chance
        self._last = 0

    def next(self, prefix: str, server_ms: float, after: Iterable[str] = ()) -> str:
        """A new id, later than those in `after`; linear in them."""
        known = [int(found[1], 16) for found in map(_ID.match, after) if found]
        # The server cuts its time to 48 bits, and so it starts again every 2.2 years: ids from
        # before that are no reason to run ahead.
        now = int(server_ms) * _PER_MS % 2**_BITS
        half = 2 ** (_BITS - 1)
        latest = max((one for one in known if (one - now) % 2**_BITS < half), default=0)
        self._last = max(now, self._last if self._last - now < half else 0, latest) + 1
        letters = "".join(_LETTERS[int(self._chance() * 62) % 62] for _ in range(14))
        return f"{prefix}_{self._last % 2**_BITS:012x}{letters}"
