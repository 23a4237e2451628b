"""A language model that says what a script says: an OpenAI-compatible server on 127.0.0.1.

It answers `POST .../chat/completions` with an event stream, one chunk of JSON per step, and waits
in the middle of an answer where the script has an `asyncio.Event`: so a test decides what has been
said when something happens, without any time. Knows HTTP/1.1 as far as such a client needs it;
nothing of streamstore.

Source: OpenAI's reference of chat completions, streaming.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable
from typing import Any, TypeAlias

import attrs

Wire: TypeAlias = dict[str, Any]


@attrs.frozen
class Call:
    """The model calls a tool; its arguments come in two halves."""

    name: str
    arguments: Wire
    id: str = "call_1"


@attrs.frozen
class Thought:
    """A piece of reasoning, as providers send it beside OpenAI's own members."""

    text: str


#: A piece of text, of reasoning, a call, or something to wait for.
Step: TypeAlias = str | Thought | Call | asyncio.Event
#: The body of a request to the steps of its answer.
Script: TypeAlias = Callable[[Wire], Iterable[Step]]


def last_text(body: Wire, role: str = "user") -> str:
    """The text of the latest message of that role, "" for none."""
    for message in reversed(body["messages"]):
        if message["role"] == role:
            content = message.get("content") or ""
            if isinstance(content, str):
                return content
            return "".join(piece.get("text", "") for piece in content)
    return ""


class ScriptedModel:
    """The server; `async with ScriptedModel(script) as model`, then `model.url`.

    Attributes:
        asked: the bodies of the requests, in order.
    """

    def __init__(self, script: Script) -> None:
        self.script = script
        self.asked: list[Wire] = []
        self._server: asyncio.Server | None = None
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """The base address, as clients of OpenAI want it."""
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}/v1"

    async def __aenter__(self) -> ScriptedModel:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        return self

    async def __aexit__(self, *error: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
                fields = dict(line.lower().split(": ", 1) for line in head[1:] if line)
                data = await reader.readexactly(int(fields.get("content-length", "0")))
                if "/chat/completions" not in head[0]:
                    writer.write(b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n")
                    continue
                body = json.loads(data)
                self.asked.append(body)
                await self._answer(body, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _answer(self, body: Wire, writer: asyncio.StreamWriter) -> None:
        number = len(self.asked)

        async def say(delta: Wire | None, **members: Any) -> None:
            chunk: Wire = {
                "id": f"chatcmpl-{number}",
                "object": "chat.completion.chunk",
                "created": 1_700_000_000,
                "model": body["model"],
                "choices": [],
                **members,
            }
            if delta is not None:
                finish = delta.pop("finish_reason", None)
                chunk["choices"] = [{"index": 0, "delta": delta, "finish_reason": finish}]
            await send(json.dumps(chunk))

        async def send(text: str) -> None:
            data = f"data: {text}\n\n".encode()
            writer.write(b"%x\r\n%s\r\n" % (len(data), data))
            await writer.drain()

        writer.write(
            b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
            b"transfer-encoding: chunked\r\n\r\n"
        )
        await say({"role": "assistant", "content": ""})
        calls = 0
        for step in self.script(body):
            if isinstance(step, asyncio.Event):
                await step.wait()
            elif isinstance(step, Thought):
                await say({"reasoning_content": step.text})
            elif isinstance(step, Call):
                whole = json.dumps(step.arguments)
                half = len(whole) // 2
                function = {"name": step.name, "arguments": whole[:half]}
                head = {"index": calls, "id": step.id, "type": "function", "function": function}
                await say({"tool_calls": [head]})
                rest = {"index": calls, "function": {"arguments": whole[half:]}}
                await say({"tool_calls": [rest]})
                calls += 1
            else:
                await say({"content": step})
        await say({"finish_reason": "tool_calls" if calls else "stop"})
        usage = {"prompt_tokens": 10, "completion_tokens": 20, "total_tokens": 30}
        await say(None, usage=usage)
        await send("[DONE]")
        writer.write(b"0\r\n\r\n")
        await writer.drain()
