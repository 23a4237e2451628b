"""A real opencode server for tests: where its program comes from, how it is started and killed.

`STREAMSTORE_OPENCODE` names the program, or says `npm`: then `VERSION` of the npm package
`opencode-ai` is installed into a cache (`STREAMSTORE_OPENCODE_CACHE`, or one in the user's folder
for caches), once. Without it nothing is started and nothing is fetched. The server gets a home, a
configuration and a project of its own, none of this machine's settings, and no network but the
model it is told of. Run as a script it says where the program is, and installs it where that is
asked for. Knows nothing of streamstore.

Sources: opencode's documentation of its configuration; the environment variables that
`opencode` 1.18.33 reads.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import attrs

#: The version that the tests were written against; another one may say other things.
VERSION = "1.18.33"
VARIABLE = "STREAMSTORE_OPENCODE"
#: Installing fetches about 120 MB, starting migrates a database; both in seconds.
_INSTALL_S = 300
_START_S = 60

# The shell is the leader of a process group that ends when its input does: also when this process
# is killed, and with whatever the server has started.
_GUARD = '"$0" "$@" </dev/null & cat >/dev/null; kill -9 0'


class NotThere(Exception):
    """There is no opencode to be had; the reason is for a skipped test."""


def program() -> str:
    """The path of an opencode program; blocks while npm installs it.

    Raises:
        NotThere: none was asked for, or npm is missing.
        RuntimeError: what was asked for does not work.
    """
    named = os.environ.get(VARIABLE, "")
    if not named:
        raise NotThere(f"{VARIABLE} is neither the path of an opencode program nor 'npm'")
    if os.name != "posix":
        raise NotThere("the server is guarded by a POSIX shell")
    if named != "npm":
        found = shutil.which(named)
        if found is None:
            raise RuntimeError(f"{VARIABLE} names no program: {named}")
        return os.path.abspath(found)
    npm = shutil.which("npm")
    if npm is None:
        raise NotThere("npm is not installed")
    caches = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    cache = Path(os.environ.get("STREAMSTORE_OPENCODE_CACHE") or caches / "streamstore-opencode")
    return str(_installed(npm, cache / VERSION))


def _installed(npm: str, folder: Path) -> Path:
    if not folder.exists():
        folder.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Renamed when it is whole, so that a half one is never found, by nobody else either.
        with tempfile.TemporaryDirectory(dir=folder.parent, ignore_cleanup_errors=True) as made:
            (Path(made) / "package.json").write_text('{"private": true}')
            # The package's script only links the program of this machine, found below.
            subprocess.run(
                [npm, "install", "--no-audit", "--no-fund", "--ignore-scripts",
                 "--no-package-lock", f"opencode-ai@{VERSION}"],
                cwd=made, check=True, timeout=_INSTALL_S, stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
            )  # fmt: skip
            with suppress(OSError):  # another process was first
                os.rename(made, folder)
    # Several builds of one system may be there: with and without newer instructions of the CPU.
    for candidate in sorted(folder.glob("node_modules/opencode-*/bin/opencode")):
        with suppress(OSError, subprocess.SubprocessError):
            subprocess.run(
                [candidate, "--version"],
                check=True, timeout=_START_S, stdin=subprocess.DEVNULL, capture_output=True,
                env={"PATH": os.defpath, "HOME": str(folder)},
            )  # fmt: skip
            return candidate
    raise RuntimeError(f"npm installed no opencode that runs on this machine in {folder}")


@attrs.frozen
class Opencode:
    """A running server."""

    url: str
    port: int
    project: Path


@asynccontextmanager
async def running(
    path: str, folder: Path, model_url: str, *, port: int = 0, **settings: Any
) -> AsyncIterator[Opencode]:
    """A server below `folder`, with the model at `model_url` as its only one; killed at the end.

    `settings` are further members of opencode's configuration. A folder that was used before is
    the same server, started again.

    Raises:
        RuntimeError: it does not start; with what it said.
    """
    home, project = folder / "home", folder / "project"
    project.mkdir(exist_ok=True)
    model = {
        "name": "Scripted",
        "tool_call": True,
        "reasoning": True,
        "limit": {"context": 100_000, "output": 10_000},
    }
    config = {
        "model": "scripted/one",
        "small_model": "scripted/one",
        "enabled_providers": ["scripted"],
        "provider": {
            "scripted": {
                "npm": "@ai-sdk/openai-compatible",
                "name": "Scripted",
                "options": {"baseURL": model_url, "apiKey": "none"},
                "models": {"one": model},
            }
        },
        "share": "disabled",
        "autoupdate": False,
        "lsp": False,
        "formatter": False,
        **settings,
    }
    # A file, for the V2 half of the server reads no configuration from the environment.
    settled = home / "config" / "opencode" / "opencode.json"
    settled.parent.mkdir(parents=True, exist_ok=True)
    settled.write_text(json.dumps(config))
    environment = {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(home),
        "XDG_CONFIG_HOME": str(home / "config"),
        "XDG_DATA_HOME": str(home / "data"),
        "XDG_CACHE_HOME": str(home / "cache"),
        "XDG_STATE_HOME": str(home / "state"),
        "TMPDIR": str(home),
        "LANG": "C.UTF-8",
        "OPENCODE_DISABLE_MODELS_FETCH": "1",
        "OPENCODE_DISABLE_AUTOUPDATE": "1",
        "OPENCODE_DISABLE_DEFAULT_PLUGINS": "1",
        "OPENCODE_DISABLE_LSP_DOWNLOAD": "1",
        "OPENCODE_DISABLE_EXTERNAL_SKILLS": "1",
        # It installs the types of its plugin interface behind everybody's back.
        "npm_config_offline": "true",
        "npm_config_registry": "http://127.0.0.1:9/",
        "HTTP_PROXY": "http://127.0.0.1:9",
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "NO_PROXY": "127.0.0.1,localhost",
    }
    log = folder / "opencode.log"
    with log.open("ab") as errors:
        process = await asyncio.create_subprocess_exec(
            "/bin/sh", "-c", _GUARD, path, "serve", "--hostname", "127.0.0.1", "--port", str(port),
            "--print-logs",
            cwd=project, env=environment, start_new_session=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors,
        )  # fmt: skip
    try:
        assert process.stdout is not None
        try:
            async with asyncio.timeout(_START_S):
                while b"listening on" not in (line := await process.stdout.readline()):
                    if not line:
                        break
        except TimeoutError:
            line = b""
        if not line:
            said = log.read_text(errors="replace")[-2_000:]
            raise RuntimeError(f"opencode did not start within {_START_S} s:\n{said}")
        url = line.split()[-1].decode()
        yield Opencode(url=url, port=int(url.rpartition(":")[2]), project=project)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        await process.wait()


if __name__ == "__main__":
    try:
        print(program())
    except (NotThere, RuntimeError, OSError, subprocess.SubprocessError) as error:
        sys.exit(f"no opencode: {error}")
