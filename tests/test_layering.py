"""The layering of `streamstore/`, kept by reading the imports with `ast`; nothing is imported.

A file imports only from rows that stand above it in `ROWS`; files of one row, the stages above all,
do not know each other. Below the wiring there is no clock, randomness, thread, event loop, socket,
file or logging, so that every race can be replayed.

A new module needs a place in `ROWS`; that is the only thing to edit for most changes.
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

import pytest

PACKAGE = "streamstore"
ROOT = Path(__file__).resolve().parent.parent / PACKAGE


class Row(NamedTuple):
    """Modules of one height; `*` stands for what has no line of its own."""

    purpose: str
    modules: str
    pure: bool = False  # below the wiring: nothing of `IMPURE`
    family: bool = False  # may import each other


# Lowest first. A module may import from the rows before its own. `__init__` is the package itself.
ROWS = (
    Row("errors, bounds, verdicts", "errors limits verdicts", pure=True),
    Row("identities", "keys", pure=True),
    Row("what a member of an event has to be", "checks", pure=True),
    Row("growing text, the JSON door", "text decoding", pure=True),
    Row("what a frontend reads, how it is made quickly", "model filling", pure=True),
    Row("vocabulary, what changed", "events changes", pure=True),
    Row(
        "what a row is made of, patches of a state",
        "cells marks ordering jsonpatch partialjson framing",
        pure=True,
    ),
    Row("the rows of the tables", "rows", pure=True),
    Row("how an event arrived", "arrivals", pure=True),
    Row("what events say of a session itself", "session_values", pure=True),
    Row("the state as JSON", "state", pure=True),
    Row("how a stream takes wires in", "doors", pure=True),
    Row("which sessions a store lets go of", "eviction", pure=True),
    Row(
        "what adapters share",
        "adapters.base adapters.bounded adapters.members adapters.retold",
        pure=True,
        family=True,
    ),
    Row(
        "parts of one adapter",
        "adapters.anthropic.* adapters.openai_chat.* adapters.openai_responses.* "
        "adapters.pydantic_ai.*",
        pure=True,
        family=True,
    ),
    Row(
        "opencode V2: forms of the wire, which beginning of an id",
        "adapters.opencode_v2.beginnings adapters.opencode_v2.items adapters.opencode_v2.reads",
        pure=True,
    ),
    Row("opencode V2: an event as it came", "adapters.opencode_v2.told", pure=True),
    Row("opencode V2: which messages there are", "adapters.opencode_v2.known", pure=True),
    Row(
        "opencode V2: what is done to a session or its messages, in ways that do not know each other",
        "adapters.opencode_v2.calls adapters.opencode_v2.entries adapters.opencode_v2.session "
        "adapters.opencode_v2.steps adapters.opencode_v2.texts",
        pure=True,
    ),
    Row("ACP: names and forms of the wire", "adapters.acp.metas adapters.acp.schema", pure=True),
    Row(
        "ACP: messages, what a session has", "adapters.acp.messages adapters.acp.session", pure=True
    ),
    Row(
        "ACP: what is done to messages, the way back to the wire",
        "adapters.acp.compactions adapters.acp.tools adapters.acp.wire",
        pure=True,
    ),
    Row("ACP: requests of both sides", "adapters.acp.requests", pure=True),
    Row("vellum: what ids and calls say", "adapters.vellum.calls adapters.vellum.ids", pure=True),
    Row("vellum: reads", "adapters.vellum.reads", pure=True),
    Row("vellum: the way back to the wire", "adapters.vellum.items", pure=True),
    Row(
        "AG-UI: forms of the wire, which run a stream delivers",
        "adapters.ag_ui.chunks adapters.ag_ui.messages adapters.ag_ui.runs adapters.ag_ui.schema",
        pure=True,
    ),
    Row("AG-UI: which sequence is allowed", "adapters.ag_ui.verify", pure=True),
    Row("AG-UI: which messages there are", "adapters.ag_ui.known", pure=True),
    Row(
        "AG-UI: what is done to a message or a session, in ways that do not know each other",
        "adapters.ag_ui.activities adapters.ag_ui.session adapters.ag_ui.texts",
        pure=True,
    ),
    Row("AG-UI: calls, whose results are texts", "adapters.ag_ui.calls", pure=True),
    Row(
        "AG-UI: what waits at the end of a run, what comes whole",
        "adapters.ag_ui.interrupts adapters.ag_ui.snapshots",
        pure=True,
    ),
    Row("AG-UI: starts and ends of runs", "adapters.ag_ui.lifecycle", pure=True),
    Row("AG-UI: which part takes an event", "adapters.ag_ui.apply", pure=True),
    Row(
        "Vercel: forms of chunks and of texts of inputs, what is remembered",
        "adapters.vercel_ui.memory adapters.vercel_ui.partial adapters.vercel_ui.schema",
        pure=True,
    ),
    Row("Vercel: names of states and fields", "adapters.vercel_ui.parts", pure=True),
    Row(
        "Vercel: UIMessages, which message a stream writes",
        "adapters.vercel_ui.messages adapters.vercel_ui.writing",
        pure=True,
    ),
    Row(
        "Vercel: what is done to a message, in ways that do not know each other",
        "adapters.vercel_ui.lifecycle adapters.vercel_ui.lists adapters.vercel_ui.texts "
        "adapters.vercel_ui.tools adapters.vercel_ui.wholes",
        pure=True,
    ),
    Row("Vercel: steps, which parts that come whole begin", "adapters.vercel_ui.steps", pure=True),
    Row("Vercel: which part takes a chunk", "adapters.vercel_ui.apply", pure=True),
    Row("Vercel: chunks before the start", "adapters.vercel_ui.early", pure=True),
    Row(
        "LangChain: forms of the wire",
        "adapters.langchain.graph adapters.langchain.messages",
        pure=True,
    ),
    Row("LangChain: chunks added up", "adapters.langchain.chunks", pure=True),
    Row("LangChain: which messages there are", "adapters.langchain.known", pure=True),
    Row(
        "LangChain: what is done to messages, in ways that do not know each other",
        "adapters.langchain.contents adapters.langchain.places adapters.langchain.plain "
        "adapters.langchain.runs",
        pure=True,
    ),
    Row(
        "LangChain: what brings them",
        "adapters.langchain.agent adapters.langchain.steps",
        pure=True,
    ),
    Row("LangChain: what calls bring them", "adapters.langchain.callbacks", pure=True),
    Row(
        "stages, which do not know each other",
        "hotpath plainpath runs sse jsonlines watermarks positions coalescer reducer snapshots store "
        "saved subscribers history ticks insights adapters.* adapters.acp.adapter "
        "adapters.anthropic.adapter adapters.openai_chat.adapter adapters.openai_responses.adapter "
        "adapters.opencode_v2.adapter adapters.pydantic_ai.adapter adapters.vellum.adapter "
        "adapters.vellum.envelopes adapters.vercel_ui.adapter",
        pure=True,
    ),
    Row(
        "adapters of several files, by their protocol's name",
        "adapters.acp adapters.ag_ui adapters.anthropic adapters.langchain adapters.openai_chat "
        "adapters.openai_responses adapters.opencode_v2 adapters.pydantic_ai adapters.vellum "
        "adapters.vercel_ui",
        pure=True,
    ),
    Row("what a terminal may be shown", "terminal", pure=True),
    Row("signals that end a command", "interrupting"),
    Row("what command lines have in common", "commandline"),
    Row("the adapters by name", "adapters protocols"),
    Row("change sets to await", "iterating"),
    Row("files: logs and saved states", "log.*", family=True),
    Row("what other threads leave", "inbox"),
    Row("what the streams of a store share", "stages", pure=True),
    Row("the way of an event through the stages", "ingress", pure=True),
    Row("the wiring of a stream", "streams", pure=True),
    Row("the wiring", "pipeline"),
    Row("the public names", "__init__"),
    Row("logs and saved states on disk", "log"),
    Row("what bytes of a log turn out to be", "sight"),
    Row("what of a transcript waits for its turn", "waiting", pure=True),
    Row("recorded logs, transcripts", "logs transcript"),
    Row("logs into a store", "feeding"),
    Row(
        "network I/O, tests of users, frameworks",
        "client client.* testing testing.* frontends.*",
        family=True,
    ),
    Row("the frameworks by name", "frontends"),
    Row("laws for the command, fixtures for pytest", "check pytest_plugin"),
    Row("the transcript in a terminal", "replay"),
    Row("what `record` does", "recording recording.*", family=True),
    Row("what `serve` does", "serve serve.*", family=True),
    Row("what `watch` does", "watch watch.*", family=True),
    Row("the command", "cli cli.*", family=True),
    Row("python -m", "__main__"),
)

# Standard library modules that know a clock, chance, threads, loops, the system or other modules
# by a name made up at run time.
IMPURE = frozenset(
    "_thread asyncio concurrent datetime fileinput getpass glob http importlib io locale logging "
    "mmap multiprocessing os pathlib platform queue random sched secrets select selectors shutil "
    "signal socket socketserver sqlite3 ssl subprocess tempfile threading time urllib uuid "
    "warnings zoneinfo".split()
)
IMPURE_CALLS = frozenset({"__import__", "breakpoint", "input", "open", "print"})

# (module, what it may import all the same, inside functions only): why.
EXCEPTIONS = {
    ("ticks", "asyncio"): "the asyncio scheduler; loaded when one is made",
    ("ticks", "threading"): "a GUI's timers say in which thread they fire; starts none",
    ("adapters.opencode_v2.reads", "datetime"): "reads dates that are written out; asks no clock",
}

RUNTIME = frozenset({"attr", "attrs", "cattr", "cattrs", "sortedcontainers"})
# Where other packages may be imported: inside functions, so that the bare package imports.
MAY_USE_EXTRAS = (
    "cli",
    "cli.*",
    "client",
    "client.*",
    "decoding",
    "frontends",
    "frontends.*",
    "jsonpatch",
    "partialjson",
    "log",
    "replay",
    "serve",
    "serve.*",
    "testing",
    "testing.*",
    "pytest_plugin",
    "watch",
    "watch.*",
)
# Modules that stand on packages of an extra as a whole: they import those at module level, and are
# imported inside functions only, or by each other.
ON_EXTRAS = {
    "watch.screen.*": frozenset({"rich", "textual"}),
}


def row_of(module: str, rows: tuple[Row, ...] = ROWS) -> int | None:
    """The height of a module: its own line before a pattern's; None when it has no place."""
    for match in (str.__eq__, fnmatchcase):
        for height, row in enumerate(rows):
            if any(match(module, pattern) for pattern in row.modules.split()):
                return height
    return None


def stands_on(module: str) -> frozenset[str]:
    """The packages of an extra without which a module does not import."""
    for pattern, packages in ON_EXTRAS.items():
        if fnmatchcase(module, pattern):
            return packages
    return frozenset()


class Import(NamedTuple):
    line: int
    target: str  # absolute, dotted
    name: str  # the `x` of `from target import x`, or ""
    deferred: bool  # inside a function, or only for type checkers


def module_name(root: Path, file: Path) -> str:
    """`adapters/base.py` is `adapters.base`, `adapters/__init__.py` is `adapters`."""
    parts = file.relative_to(root).with_suffix("").parts
    return ".".join(parts if parts == ("__init__",) else [p for p in parts if p != "__init__"])


def imports_of(tree: ast.Module, package: str) -> Iterator[Import]:
    """All imports of a file that lies in `package` (absolute, dotted), wherever they stand."""

    def walk(node: ast.AST, deferred: bool) -> Iterator[Import]:
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Import(node.lineno, alias.name, "", deferred)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join(above + ([base] if base else []))
            for alias in node.names:
                yield Import(node.lineno, base, alias.name, deferred)
        elif isinstance(node, ast.Call) and node.args:
            called = node.func.attr if isinstance(node.func, ast.Attribute) else ""
            called = node.func.id if isinstance(node.func, ast.Name) else called
            first = node.args[0]
            if called == "import_module" and isinstance(first, ast.Constant):
                yield Import(node.lineno, str(first.value), "", deferred)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            for child in (*node.decorator_list, node.args, *filter(None, [node.returns])):
                yield from walk(child, deferred)
            for child in node.body:
                yield from walk(child, True)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            for child in node.body:
                yield from walk(child, True)
            for child in node.orelse:
                yield from walk(child, deferred)
        else:
            for child in ast.iter_child_nodes(node):
                yield from walk(child, deferred or isinstance(node, ast.Lambda))

    return walk(tree, False)


def check(root: Path) -> list[str]:
    """Everything in a package that breaks the rules, one line each."""
    files = {module_name(root, file): file for file in sorted(root.rglob("*.py"))}
    problems: list[str] = []
    used: set[tuple[str, str]] = set()

    for module, file in files.items():
        where = f"{root.name}/{file.relative_to(root).as_posix()}"
        tree = ast.parse(file.read_text(encoding="utf-8"), str(file))
        if not (ast.get_docstring(tree) or "").strip():
            problems.append(f"{where}: does not open with a docstring that says what it is for")
        height = row_of(module)
        if height is None:
            problems.append(f"{where}: `{module}` has no place in ROWS of tests/test_layering.py")
            continue
        row = ROWS[height]
        inside = module if file.name == "__init__.py" else module.rpartition(".")[0]
        package = PACKAGE if inside in ("", "__init__") else f"{PACKAGE}.{inside}"

        for found in imports_of(tree, package):
            at = f"{where}:{found.line}"
            top = found.target.partition(".")[0]
            if top == PACKAGE:
                target = dependency(found, files)
                if target == module:
                    continue
                theirs = row_of(target)
                if theirs is None:
                    problems.append(f"{at}: imports `{target}`, which has no place in ROWS")
                elif theirs > height:
                    problems.append(
                        f"{at}: `{module}` ({row.purpose}) imports `{target}` "
                        f"({ROWS[theirs].purpose}), which stands on top of it"
                    )
                elif theirs == height and not row.family:
                    problems.append(
                        f"{at}: `{module}` imports `{target}` of its own row ({row.purpose})"
                    )
                elif not found.deferred and not stands_on(target) <= stands_on(module):
                    problems.append(
                        f"{at}: `{module}` imports `{target}` at module level, which stands on "
                        f"{' and '.join(sorted(stands_on(target)))}; it is imported inside the "
                        "function that needs it"
                    )
            elif top in sys.stdlib_module_names:
                if row.pure and top in IMPURE:
                    used.add((module, top))
                    if (module, top) not in EXCEPTIONS:
                        problems.append(
                            f"{at}: `{module}` imports `{top}`; below the wiring there is no "
                            "clock, chance, thread, loop, I/O or logging"
                        )
                    elif not found.deferred:
                        problems.append(
                            f"{at}: `{module}` may import `{top}` inside functions only "
                            f"({EXCEPTIONS[module, top]})"
                        )
            elif top not in RUNTIME:
                if not any(fnmatchcase(module, pattern) for pattern in MAY_USE_EXTRAS):
                    problems.append(
                        f"{at}: `{module}` imports `{top}`, which is no runtime dependency"
                    )
                elif not found.deferred and top not in stands_on(module):
                    problems.append(
                        f"{at}: `{module}` imports `{top}` at module level; an extra's package "
                        "is imported inside the function that needs it"
                    )

        if row.pure:
            problems += [
                f"{where}:{node.lineno}: `{module}` calls `{node.func.id}()`; no I/O below the wiring"
                for node in ast.walk(tree)
                if isinstance(node, ast.Call)
                and isinstance(node.func, ast.Name)
                and node.func.id in IMPURE_CALLS
            ]

    problems += [
        f"EXCEPTIONS: `{module}` does not import `{name}` (any more): take the line out"
        for module, name in EXCEPTIONS
        if module in files and (module, name) not in used
    ]
    # An import of three names from a wrong place is one problem.
    return list(dict.fromkeys(problems))


def dependency(found: Import, files: dict[str, Path]) -> str:
    """The module that an import inside the package is for: `from . import keys` is for `keys`."""
    base = found.target.removeprefix(PACKAGE).lstrip(".")
    child = f"{base}.{found.name}" if base else found.name
    return child if found.name and child in files else base or "__init__"


# --- the package itself ---------------------------------------------------------------------------


def test_every_file_has_its_place_and_imports_only_from_rows_above_it() -> None:
    problems = check(ROOT)
    assert not problems, "\n" + "\n".join(problems)


def test_the_package_was_read() -> None:
    """An empty or moved package would pass the test above without having been looked at."""
    assert {"errors", "keys", "__init__"} <= {module_name(ROOT, f) for f in ROOT.rglob("*.py")}


def test_no_module_has_two_places_in_the_table() -> None:
    names = [name for row in ROWS for name in row.modules.split()]
    assert len(names) == len(set(names))


# --- the checker can fail -------------------------------------------------------------------------

DOC = '"""A file with a purpose."""\n'


def package(tmp_path: Path, files: dict[str, str]) -> Path:
    """A small package on disk, with the files that every case needs and those of the case."""
    root = tmp_path / PACKAGE
    for name, text in {"__init__.py": DOC, "keys.py": DOC, "store.py": DOC, **files}.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")
    return root


VIOLATIONS = {
    "no place in the table": ({"helpers.py": DOC}, "`helpers` has no place in ROWS"),
    "a lower row imports a higher one": (
        {"keys.py": DOC + "from .store import Store\n"},
        "keys.py:2: `keys` (identities) imports `store`",
    ),
    "the same by its absolute name": (
        {"keys.py": DOC + "import streamstore.store\n"},
        "imports `store`",
    ),
    "the same as a module of the package": (
        {"keys.py": DOC + "from . import store\n"},
        "imports `store`",
    ),
    "the same from the absolute package": (
        {"keys.py": DOC + "from streamstore import store\n"},
        "imports `store`",
    ),
    "the same inside a function": (
        {"keys.py": DOC + "def f():\n    from .store import Store\n"},
        "keys.py:3: `keys` (identities) imports `store`",
    ),
    "the same for type checkers only": (
        {"keys.py": DOC + "if TYPE_CHECKING:\n    from .store import Store\n"},
        "imports `store`",
    ),
    "the public names from below": (
        {"store.py": DOC + "from . import Store\n"},
        "imports `__init__`",
    ),
    "a module that is not there": (
        {"store.py": DOC + "from .nowhere import x\n"},
        "imports `nowhere`, which has no place",
    ),
    "a stage imports a stage": (
        {"reducer.py": DOC + "from .store import Store\n"},
        "`reducer` imports `store` of its own row",
    ),
    "an adapter imports an adapter": (
        {
            "adapters/__init__.py": DOC,
            "adapters/native.py": DOC,
            "adapters/opencode.py": DOC + "from .native import x\n",
        },
        "`adapters.opencode` imports `adapters.native` of its own row",
    ),
    "an adapter imports a stage": (
        {"adapters/__init__.py": DOC, "adapters/opencode.py": DOC + "from ..store import x\n"},
        "`adapters.opencode` imports `store` of its own row",
    ),
    "what adapters share imports an adapter": (
        {"adapters/base.py": DOC + "from . import opencode\n", "adapters/opencode.py": DOC},
        "imports `adapters.opencode`",
    ),
    "the wiring imports what stands on it": (
        {"pipeline.py": DOC + "from .log import x\n"},
        "`pipeline` (the wiring) imports `log`",
    ),
    "the public names import what stands on them": (
        {"__init__.py": DOC + "from .cli import main\n", "cli.py": DOC},
        "imports `cli`",
    ),
    "a clock": ({"store.py": DOC + "import time\n"}, "`store` imports `time`"),
    "a clock in a function": (
        {"store.py": DOC + "def f():\n    from time import monotonic\n"},
        "`store` imports `time`",
    ),
    "chance, under another name": (
        {"keys.py": DOC + "from random import random as r\n"},
        "`keys` imports `random`",
    ),
    "a part of a module": (
        {"store.py": DOC + "import concurrent.futures\n"},
        "`store` imports `concurrent`",
    ),
    "logging": ({"store.py": DOC + "import logging\n"}, "`store` imports `logging`"),
    "output": (
        {"store.py": DOC + "def f():\n    print(1)\n"},
        "store.py:3: `store` calls `print()`",
    ),
    "an import by another road": (
        {"store.py": DOC + "x = __import__('time')\n"},
        "`store` calls `__import__()`",
    ),
    "the module for imports by name": (
        {"store.py": DOC + "import importlib\n"},
        "`store` imports `importlib`",
    ),
    "an import by name": (
        {
            "adapters/__init__.py": DOC
            + "import importlib\nimportlib.import_module('streamstore.cli')\n"
        },
        "adapters/__init__.py:3: `adapters` (the adapters by name) imports `cli`",
    ),
    "an exception, but at module level": (
        {"ticks.py": DOC + "import asyncio\ndef f():\n    import threading\n"},
        "ticks.py:2: `ticks` may import `asyncio` inside functions only",
    ),
    "an exception that nobody uses": (
        {"ticks.py": DOC + "def f():\n    import threading\n"},
        "`ticks` does not import `asyncio`",
    ),
    "an extra's package in the core": (
        {"store.py": DOC + "def f():\n    import orjson\n"},
        "`store` imports `orjson`, which is no runtime dependency",
    ),
    "an extra's package at module level": (
        {"cli.py": DOC + "import rich\n"},
        "`cli` imports `rich` at module level",
    ),
    "a module that stands on an extra, imported at module level": (
        {
            "watch/app.py": DOC + "from .screen.pane import Pane\n",
            "watch/screen/pane.py": DOC + "import textual\n",
        },
        "watch/app.py:2: `watch.app` imports `watch.screen.pane` at module level, "
        "which stands on rich and textual",
    ),
    "the same by the package that holds it": (
        {
            "watch/screen/__init__.py": DOC + "from . import pane\n",
            "watch/screen/pane.py": DOC + "import textual\n",
        },
        "`watch.screen` imports `watch.screen.pane` at module level",
    ),
    "another extra's package in a module that stands on one": (
        {"watch/screen/pane.py": DOC + "import httpx, textual\n"},
        "`watch.screen.pane` imports `httpx` at module level",
    ),
    "no docstring": ({"store.py": "import attrs\n"}, "store.py: does not open with a docstring"),
    "an empty file": ({"adapters/__init__.py": ""}, "adapters/__init__.py: does not open"),
    "a comment instead of a docstring": ({"store.py": "# a store\n"}, "does not open"),
}


@pytest.mark.parametrize(("files", "message"), VIOLATIONS.values(), ids=VIOLATIONS.keys())
def test_a_violation_is_reported_once_and_clearly(
    tmp_path: Path, files: dict[str, str], message: str
) -> None:
    problems = check(package(tmp_path, files))
    assert len(problems) == 1, problems
    assert message in problems[0]


def test_what_the_rules_allow_is_not_reported(tmp_path: Path) -> None:
    root = package(
        tmp_path,
        {
            "__init__.py": DOC + "from .pipeline import StreamStore\nfrom .keys import PartKey\n",
            "store.py": DOC + "import attrs, sortedcontainers\nfrom .keys import PartKey\n"
            "def f(stream):\n    stream.open()\n",
            "events.py": DOC + "from cattrs.gen import override\nfrom . import keys\n",
            "ticks.py": DOC + "if TYPE_CHECKING:\n    import asyncio\n"
            "def f():\n    import asyncio, threading\n",
            "adapters/__init__.py": DOC + "import importlib\nfrom . import opencode\n",
            "adapters/base.py": DOC + "from ..events import Event\n",
            "adapters/opencode.py": DOC + "import json\nfrom .base import Adapter\n",
            "pipeline.py": DOC
            + "import time\nfrom . import store\nfrom .adapters import opencode\n",
            "log.py": DOC + "import os, sqlite3\nfrom . import StreamStore\n",
            "client/__init__.py": DOC + "from .transport import connect\n",
            "client/backoff.py": DOC + "import random\n",
            "client/transport.py": DOC + "from .backoff import Backoff\n"
            "async def f():\n    import httpx\n",
            "testing.py": DOC + "from .log import read\n",
            "watch/app.py": DOC + "if TYPE_CHECKING:\n    from .screen.pane import Pane\n"
            "def f():\n    from .screen import pane\n",
            "watch/screen/__init__.py": DOC,
            "watch/screen/pane.py": DOC + "import rich\nfrom textual.widget import Widget\n",
            "watch/screen/screen.py": DOC + "from .pane import Pane\n",
            "cli.py": DOC
            + "import streamstore\nfrom .log import read\ndef f():\n    import rich\n",
            "__main__.py": DOC + "from .cli import main\n",
        },
    )
    assert check(root) == []
