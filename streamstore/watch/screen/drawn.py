"""What the screen is drawn to, which may be gone at any time: its window is closed, its line drops.

Textual draws in a thread of its own. That thread ends where it cannot write, and whoever waits for
it then, to put the terminal back, waits for ever: a process that nobody sees, with its connection.
Its other thread, which reads the keys, asks a terminal that is gone again and again, as fast as it
can: where there is nothing to draw, nobody else would learn of it.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from typing import Any

from textual.driver import Driver

#: How often somebody looks whether the terminal is still there, in seconds.
_LOOK_S = 1.0


class Drawn:
    """A file of a terminal; once that is gone, what is written goes nowhere and no write fails.

    Args:
        file: what is written to.
        gone: called once, in the thread that writes, when it cannot be written any more.
    """

    def __init__(self, file: Any, gone: Callable[[], object]) -> None:
        self._file = file
        self._gone: Callable[[], object] | None = gone

    def write(self, text: str) -> None:
        try:
            self._file.write(text)
        except OSError:
            self._lose()

    def flush(self) -> None:
        try:
            self._file.flush()
        except OSError:
            self._lose()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._file, name)

    def _lose(self) -> None:
        try:  # what it still holds would fail again when the interpreter exits
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, self._file.fileno())
            os.close(nowhere)
        except (OSError, ValueError):
            pass  # it is no file
        gone, self._gone = self._gone, None
        if gone is not None:
            gone()


def outlasting(driver: type[Driver]) -> type[Driver]:
    """A driver that ends its application where its terminal is gone, whoever tells of that.

    No signal does where one was ignored: under `nohup`.
    """

    class Outlasting(driver):  # type: ignore[misc, valid-type]
        def __init__(self, app: Any, **options: Any) -> None:
            super().__init__(app, **options)
            self._event_loop = loop = asyncio.get_running_loop()
            self._next_look: asyncio.TimerHandle | None = None

            def gone() -> None:
                try:
                    loop.call_soon_threadsafe(app.exit)
                except RuntimeError:
                    pass  # the loop is closed: it has ended

            file = getattr(self, "_file", None)  # of each driver that writes in a thread
            if file is not None:
                self._file: Any = Drawn(file, gone)
            self._gone = gone

        def start_application_mode(self) -> None:
            super().start_application_mode()
            keys = getattr(self, "fileno", None)  # of each driver that reads keys from a file
            if keys is not None and os.isatty(keys):
                self._look(keys)

        def stop_application_mode(self) -> None:
            if self._next_look is not None:
                self._next_look.cancel()
            super().stop_application_mode()

        def _look(self, keys: int) -> None:
            if os.isatty(keys):
                self._next_look = self._event_loop.call_later(_LOOK_S, self._look, keys)
            else:
                self._gone()

    return Outlasting
