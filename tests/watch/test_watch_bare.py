"""The package without what the screen stands on: everything else imports, and says what to do."""

from __future__ import annotations

import subprocess
import sys

from conftest import ROOT

LOG = str(ROOT / "tests" / "data" / "opencode" / "tools" / "stream.sse")


def without_textual(code: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    missing = "import sys\nsys.modules.update(rich=None, textual=None)\n"
    words = [sys.executable, "-c", missing + code, *arguments]
    return subprocess.run(words, check=False, capture_output=True, text=True)


def test_every_module_but_those_of_the_screen_imports() -> None:
    ran = without_textual(
        "import importlib, pkgutil, streamstore.watch as watch\n"
        "for found in pkgutil.walk_packages(watch.__path__, 'streamstore.watch.'):\n"
        "    if not found.name.startswith('streamstore.watch.screen.'):\n"
        "        importlib.import_module(found.name)\n"
        "        print(found.name)\n"
    )
    assert (ran.returncode, ran.stderr) == (0, "")
    assert {"streamstore.watch.app", "streamstore.watch.screen"} <= set(ran.stdout.split())


def test_an_application_says_what_to_install() -> None:
    ran = without_textual(
        "from streamstore.errors import CallerError\n"
        "from streamstore.watch.app import application\n"
        "try:\n"
        "    application(None, None, 'talk', clock=float)\n"
        "except CallerError as error:\n"
        "    print(error)\n"
    )
    assert ran.stderr == ""
    assert ran.stdout == "watching needs textual: pip install 'chat-streamstore[cli]'\n"


def test_the_command_helps_and_says_what_to_install() -> None:
    command = "from streamstore.cli import main\nsys.exit(main(sys.argv[1:]))\n"
    ran = without_textual(command, "watch", "--help")
    assert ran.returncode == 0 and "A full-screen inspector" in ran.stdout
    ran = without_textual(command, "watch", LOG)
    assert (ran.returncode, ran.stdout) == (2, "")
    assert ran.stderr.endswith("watching needs textual: pip install 'chat-streamstore[cli]'\n")
