"""The server over real sockets: what it says when it cannot, and that it leaves nothing behind."""

from __future__ import annotations

import argparse
import gc
import logging
import math
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx
import pytest

from streamstore import CallerError, StreamStore
from streamstore.serve import Faults, command, running, serving
from streamstore.testing import sample

DATA = Path(__file__).resolve().parent.parent / "data"
TOOLS = DATA / "opencode" / "tools" / "stream.sse"


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "talk.jsonl"
    path.write_bytes(sample("session", 1).data())
    return path


def threads() -> list[str]:
    return [thread.name for thread in threading.enumerate() if "streamstore" in thread.name]


def free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


# -- serving ---------------------------------------------------------------------------------------


def test_a_log_is_served_and_nothing_is_left(
    log: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temp = tmp_path / "temp"
    temp.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(temp))
    fds = len(os.listdir("/proc/self/fd")) if os.path.isdir("/proc/self/fd") else 0
    with serving(log, speed=math.inf, at_end="close") as url:
        store = StreamStore()
        store.feed(httpx.get(f"{url}/any/path").content)
        assert store.messages("s1") and threads() == ["streamstore serve"]
        port = int(url.rpartition(":")[2])
        assert not free(port) and list(temp.iterdir())
    gc.collect()
    assert free(port) and not threads() and not list(temp.iterdir())
    if fds:
        assert len(os.listdir("/proc/self/fd")) <= fds


def test_it_ends_at_once_whatever_its_clients_do(log: Path) -> None:
    """One is in the middle of a stream, one reads nothing, one has hung up in a stall."""
    with serving(TOOLS, speed=0.001) as url:
        port = int(url.rpartition(":")[2])
        reading = httpx.Client(timeout=None)
        stream = reading.stream("GET", f"{url}/event")
        response = stream.__enter__()
        pieces = response.iter_bytes()
        next(pieces)
        idle = socket.create_connection(("127.0.0.1", port))
        idle.sendall(b"GET /event HTTP/1.1\r\nhost: h\r\n\r\n")
        gone = socket.create_connection(("127.0.0.1", port))
        gone.sendall(b"GET /event HTTP/1.1\r\nhost: h\r\n\r\n")
        gone.recv(10)
        gone.close()
    assert not threads() and free(port)
    with pytest.raises(httpx.HTTPError):
        list(pieces)
    reading.close()
    idle.close()


def test_a_client_that_never_reads_is_let_go_with_its_full_buffers(tmp_path: Path) -> None:
    path = tmp_path / "a.jsonl"
    line = b'{"type": "block.delta", "messageId": "m", "blockIndex": 0, "text": "%s"}\n' % (
        b"x" * 9999
    )
    path.write_bytes(line * 2_000)
    with serving(path, speed=math.inf) as url:
        slow = socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])))
        slow.sendall(b"GET / HTTP/1.1\r\nhost: h\r\n\r\n")
        # Another one gets all 20 MB meanwhile.
        with httpx.stream("GET", url, timeout=None) as response:
            size = 0
            for piece in response.iter_bytes():
                size += len(piece)
                if size > 2_000 * 9_999:
                    break
    assert not threads()
    slow.close()


def test_the_system_holds_little_of_a_client_that_never_reads() -> None:
    listener = running._listen("127.0.0.1", 0)
    with listener, socket.create_connection(listener.getsockname()), listener.accept()[0] as served:
        # Linux takes twice as much, and by itself up to 4 MB.
        assert served.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) <= 2 * 128 * 1024


def test_who_wants_a_websocket_is_not_told_to_install_one(
    log: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Another server of this process, as one of an example, may have silenced them.
    monkeypatch.setattr(logging.getLogger("uvicorn"), "propagate", True)
    caplog.set_level(logging.WARNING, "uvicorn.error")
    upgrade = {"connection": "upgrade", "upgrade": "websocket"}
    with serving(log, speed=math.inf, at_end="close") as url:
        assert httpx.get(url, headers=upgrade).status_code == 200
    assert set(caplog.messages) == {"Unsupported upgrade request."}


def test_who_interrupts_it_before_it_is_up_does_not_wait_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What stops the server was not there yet when it was to be stopped."""
    leaving = threading.Event()
    seen: list[bool] = []

    class Interrupted(threading.Event):
        def wait(self, timeout: float | None = None) -> bool:
            raise KeyboardInterrupt

        def set(self) -> None:
            super().set()
            leaving.set()

    def make() -> Any:
        seen.append(leaving.wait(10))
        return None

    async def serve(*_: object, **__: object) -> None:
        seen.append(False)  # as itself it would run for ever

    monkeypatch.setattr("uvicorn.Server.serve", serve)
    found = SimpleNamespace(Event=Interrupted, Thread=threading.Thread)
    monkeypatch.setattr(running, "threading", found)
    with (
        socket.create_server(("127.0.0.1", 0)) as listener,
        pytest.raises(KeyboardInterrupt),
        running._threaded(make, listener, None),
    ):
        raise AssertionError("it was not up")
    assert seen == [True] and threads() == []


def test_an_error_in_the_block_ends_it_too(log: Path) -> None:
    with pytest.raises(ZeroDivisionError), serving(log):
        raise ZeroDivisionError
    assert not threads()


def test_a_broken_connection_is_one_for_the_client(log: Path, capfd: Any) -> None:
    with serving(log, speed=math.inf, faults="disconnect", seed=4) as url:
        with pytest.raises(httpx.RemoteProtocolError, match="incomplete"):
            httpx.get(url)
        # The same replay again is another connection, another replay meets the same as the first.
        seen = []
        for name in ("a", "b", "a"):
            data = b""
            try:
                with httpx.stream("GET", f"{url}/@{name}/x") as response:
                    for piece in response.iter_bytes():
                        data += piece
            except httpx.HTTPError:
                pass
            seen.append(data)
        assert len(set(seen)) == 3
    assert capfd.readouterr() == ("", "")


def test_servers_beside_each_other_end_in_any_order_and_leave_logging_as_it_was(log: Path) -> None:
    logger = logging.getLogger("uvicorn.error")
    before = logger.level, list(logger.filters)
    one, two = serving(log, speed=math.inf), serving(TOOLS, speed=math.inf)
    first, second = one.__enter__(), two.__enter__()
    assert first != second
    one.__exit__(None, None, None)
    assert httpx.get(f"{second}/session").json() == []
    two.__exit__(None, None, None)
    assert (logger.level, list(logger.filters)) == before and not threads()


def test_what_a_host_header_says_leads_nowhere(log: Path) -> None:
    with serving(TOOLS) as url:
        for host in ("h/@other/event?", "[", "\u00fc"):
            answer = httpx.get(f"{url}/session", headers=[(b"host", host.encode())])
            assert answer.json() == [] or answer.status_code == 400


@pytest.mark.parametrize("cors", [None, "*", "http://page.example"])
def test_pages_of_other_origins_may_read_it_where_it_was_said(cors: str | None) -> None:
    origin = {"origin": "http://page.example"}
    with serving(TOOLS, cors=cors, speed=1000) as url:
        answer = httpx.get(f"{url}/session", headers=origin)
        assert answer.headers.get("access-control-allow-origin") == cors
        asked = {**origin, "access-control-request-method": "GET",
                 "access-control-request-headers": "last-event-id"}  # fmt: skip
        preflight = httpx.options(f"{url}/event", headers=asked)
        assert (preflight.status_code == 200) == (cors is not None)
        # What nobody may do is refused by an answer that the page can read.
        asked["access-control-request-method"] = "DELETE"
        preflight = httpx.options(f"{url}/session/x", headers=asked)
        assert (preflight.status_code == 200) == (cors is not None)
        answer = httpx.delete(f"{url}/session/x", headers=origin)
        assert answer.headers.get("access-control-allow-origin") == cors
        assert answer.status_code == 501
        with httpx.stream("GET", f"{url}/event", headers=origin) as response:
            assert response.headers.get("access-control-allow-origin") == cors


def test_a_page_of_another_origin_is_not_allowed_by_the_name_of_one() -> None:
    with serving(TOOLS, cors="http://page.example") as url:
        answer = httpx.get(f"{url}/session", headers={"origin": "http://evil.example"})
        assert answer.headers.get("access-control-allow-origin") is None


def test_what_cannot_work_is_said_in_one_line(log: Path, tmp_path: Path) -> None:
    with serving(log) as url:
        port = int(url.rpartition(":")[2])
        with pytest.raises(CallerError, match=f"port {port}: .*in use.*0 is any"):
            serving(log, port=port).__enter__()
    for options, message in (
        ({"port": 70_000}, "a port is a number"),
        ({"host": "nowhere.invalid"}, "cannot listen on nowhere.invalid"),
        ({"speed": 0}, "speed"),
        ({"speed": "max"}, r"speed must be above 0, or math\.inf, not 'max'"),
        ({"heartbeat": -1}, "heartbeat"),
        ({"longest_pause": -1}, "longest_pause"),
        ({"longest_pause": math.nan}, "longest_pause"),
        ({"at_end": "stop"}, "at_end"),
        ({"faults": "flood"}, "no fault is named 'flood'"),
        ({"protocol": "nothing"}, "no protocol is named 'nothing'"),
    ):
        with pytest.raises(Exception, match=message) as caught:
            serving(log, **options).__enter__()  # type: ignore[arg-type]
        assert "\n" not in str(caught.value)
    with pytest.raises(CallerError, match="could recover from dup"):
        path = next((DATA / "anthropic").glob("*/stream.sse"))
        serving(path, faults=Faults.of("dup")).__enter__()
    assert not threads()


def test_without_the_extra_it_says_what_to_install(
    log: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("uvicorn", "starlette"):
        with monkeypatch.context() as context:
            context.setitem(sys.modules, module, None)
            with pytest.raises(CallerError, match=r"pip install 'chat-streamstore\[serve\]'"):
                serving(log).__enter__()


def test_the_package_is_imported_without_the_extra() -> None:
    code = (
        "import sys; sys.modules.update(uvicorn=None, starlette=None, httpx=None)\n"
        "import streamstore.serve, streamstore.serve.command"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


# -- the command -----------------------------------------------------------------------------------


def parsed(*arguments: str) -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    command.add_to(parser.add_subparsers())
    return parser.parse_args(["serve", *arguments])


def test_arguments() -> None:
    found = parsed("a.sse", "--speed", "max", "--faults", "dup,drop", "--cors", "--loop")
    assert found.logs == ["a.sse"] and found.speed == math.inf and found.cors == "*" and found.loop
    assert parsed("a").cors is None and parsed("a", "--cors", "http://p").cors == "http://p"


@pytest.mark.parametrize(
    "wrong",
    [["--speed", "0"], ["--speed", "fast"], ["--every", "0"], ["--stall", "-1"],
     ["--heartbeat", "inf"], ["--longest-pause", "-1"], ["--longest-pause", "nan"], ["--end", "stop"], ["--port", "x"]],
)  # fmt: skip
def test_wrong_arguments_are_refused(wrong: list[str], capsys: Any) -> None:
    with pytest.raises(SystemExit) as exit:
        parsed("a.sse", *wrong)
    assert exit.value.code == 2 and wrong[0] in capsys.readouterr().err


COMMAND = (
    "import argparse, sys\n"
    "from streamstore.serve import command\n"
    "parser = argparse.ArgumentParser()\n"
    "command.add_to(parser.add_subparsers())\n"
    "sys.exit(command.run(parser.parse_args(['serve', *sys.argv[1:]])))"
)


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_the_command_says_where_it_is_and_ends_cleanly(how: signal.Signals, tmp_path: Path) -> None:
    log = tmp_path / "talk\x1b[31m.jsonl"
    log.write_bytes(sample("session", 1).data())
    temp = tmp_path / "temp"
    temp.mkdir()
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, str(log), "--port", "0"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "TMPDIR": str(temp)},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line.startswith("serving ") and "\\x1b[31m" in line and "\x1b" not in line
        url = next(word for word in line.split() if word.startswith("http://127.0.0.1:"))
        with httpx.stream("GET", url) as response:
            next(response.iter_bytes())
            process.send_signal(how)
            assert process.wait(10) == 0
        assert process.communicate() == ("", "")
        assert not list(temp.iterdir())
    finally:
        process.kill()
        process.communicate()
