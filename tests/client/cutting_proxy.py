"""A TCP proxy on 127.0.0.1 that cuts connections where a test says, in the middle of an event.

It copies bytes and knows of HTTP only which connection asked for an event stream. Knows nothing of
streamstore.
"""

from __future__ import annotations

import asyncio


class CuttingProxy:
    """In front of a server; `async with CuttingProxy(port) as proxy`, then `proxy.url`.

    - `cut()`: the next bytes of the event stream that was opened first are forwarded by half, then
      all connections are reset, and new ones at once; comes back when that has happened
    - `refuse()`: all connections are reset now, and new ones at once
    - `mend()`: connections are taken again, for another port if one is given

    Attributes:
        refused: connections that were reset at once.
    """

    def __init__(self, port: int) -> None:
        self.port = port
        self.refused = 0
        self._open: dict[asyncio.StreamWriter, bool] = {}
        self._cutting = False
        self._broken = False
        self._cut_done = asyncio.Event()
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """Where clients connect to."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def __aenter__(self) -> CuttingProxy:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def cut(self) -> None:
        """Break every connection, the oldest event stream in the middle of what comes next."""
        self._cut_done.clear()
        self._cutting = True
        await self._cut_done.wait()

    def refuse(self) -> None:
        """Break every connection, and take none."""
        self._cutting = False
        self._broken = True
        for writer in self._open:
            writer.transport.abort()

    def mend(self, port: int | None = None) -> None:
        """Take connections again."""
        self.port = self.port if port is None else port
        self._broken = False

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._broken:
            self.refused += 1
            writer.transport.abort()
            return
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            writer.transport.abort()
            return
        if self._broken:  # meanwhile
            back.transport.abort()
            writer.transport.abort()
            return
        self._open[writer] = False
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self._ask(reader, writer, back))
                group.create_task(self._answer(there, writer))
        except* ConnectionError:
            pass
        finally:
            self._open.pop(writer, None)
            back.transport.abort()
            writer.transport.abort()

    async def _ask(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, to: asyncio.StreamWriter
    ) -> None:
        while data := await reader.read(65536):
            if b"accept: text/event-stream" in data.lower():
                self._open[writer] = True
            to.write(data)
            await to.drain()
        raise ConnectionResetError

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            if self._cutting and writer is next(
                one for one, stream in self._open.items() if stream
            ):
                writer.write(data[: len(data) // 2])
                await writer.drain()
                self.refuse()
                self._cut_done.set()
                raise ConnectionResetError
            writer.write(data)
            await writer.drain()
        writer.close()
