"""A request to terminate as an interrupt, so that what has to be put back or closed is.

Knows signals alone.
"""

from __future__ import annotations

import signal
import threading
from typing import Any


class interruptible:
    """While it is entered, SIGTERM and SIGHUP raise `KeyboardInterrupt`; in the main thread alone.

    A signal that whoever started this has ignored stays so: SIGHUP under `nohup`.
    """

    def __init__(self) -> None:
        self._before: list[tuple[int, Any]] = []

    def __enter__(self) -> None:
        if threading.current_thread() is not threading.main_thread():
            return
        for name in ("SIGTERM", "SIGHUP"):
            number = getattr(signal, name, None)  # not every system has both
            if number is not None and signal.getsignal(number) == signal.SIG_DFL:
                self._before.append((number, signal.signal(number, signal.default_int_handler)))

    def __exit__(self, *_: object) -> None:
        while self._before:
            signal.signal(*self._before.pop())
