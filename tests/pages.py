"""Pages of the documentation as programs: somebody follows one to the letter, in an empty folder.

A code block is run by its language: `python` in one namespace per page, `sh` by a shell, `json` and
`toml` are read. A shell block of nothing but installations is not run, because the tests have
installed already; `pip install -e .` makes known what the page's own `pyproject.toml` declares. A
comment directly above a block says what else it is:

- `<!-- file: NAME -->`: the reader saves it under that name
- `<!-- output -->`: what the block before printed; `...` stands for anything
- `<!-- exit N -->`: the shell's exit code, where it is not 0
- `<!-- not run: WHY -->`: nothing is done with it

Anything else, another language or another comment, is a mistake of the page. Knows no page.
"""

from __future__ import annotations

import contextlib
import doctest
import io
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any, NamedTuple

from markdown_it import MarkdownIt

_COMMENT = re.compile(r"<!--\s*(.*?)\s*-->\s*", re.DOTALL)
_INSTALLS = re.compile(r"(?:python3? -m )?(?:pip install|venv)\b|(?:\.|source) \S+/activate\b")


class Block(NamedTuple):
    """A code block: its language, what the comments above it say, its text, and its first line."""

    language: str
    notes: tuple[str, ...]
    text: str
    line: int


def blocks(markdown: str) -> list[Block]:
    """The code blocks of a page in order, without those of the documentation's builder."""
    found: list[Block] = []
    notes: list[str] = []
    for token in MarkdownIt().parse(markdown):
        if token.type == "html_block":
            notes += _COMMENT.findall(token.content)
            continue
        if token.type == "fence" and not token.info.startswith("{"):
            assert token.map is not None
            text = token.content
            found.append(Block(token.info.strip(), tuple(notes), text, token.map[0] + 2))
        notes = []
    return found


class Reader:
    """Follows pages in one folder.

    Args:
        folder: where files are saved and commands run.
        skips: comments above blocks that somebody else runs.
        names: words of shell blocks that stand for something, with what they stand for.
    """

    def __init__(
        self, folder: Path, skips: tuple[str, ...] = (), names: dict[str, str] | None = None
    ) -> None:
        self._folder = folder
        self._skips = skips
        self._words = names or {}
        self.namespace: dict[str, Any] = {"__name__": "page"}
        """What the page's Python has made so far, by name."""
        self._printed: str | None = None
        self.ran = 0
        """How many blocks were run, or compared."""

    def follow(self, page: str, markdown: str) -> None:
        """Do everything that a page says.

        Raises:
            AssertionError: a block does not do what the page says it does.
        """
        for block in blocks(markdown):
            where = f"{page}:{block.line}"
            try:
                self._do(block, where)
            except Exception as error:
                error.add_note(f"in the block at {where}")
                raise

    def _do(self, block: Block, where: str) -> None:
        code = 0
        for note in block.notes:
            what, _, rest = note.partition(" ")
            if note in self._skips or note.startswith("not run: "):
                return
            if what == "file:":
                self._save(rest, block.text)
                return
            if note == "output":
                self._compare(block.text)
                return
            assert what == "exit", f"no comment is {note!r}"
            code = int(rest)
        self.ran += 1
        if block.language == "python":
            self._printed = self._python(block, where)
        elif block.language == "sh":
            commands = [line for line in block.text.splitlines() if line.strip()]
            if not all(map(_INSTALLS.match, commands)):
                self._printed = self._shell(block.text, code)
            elif "pip install -e ." in commands:
                self._install()
        elif block.language == "json":
            json.loads(block.text)
        elif block.language == "toml":
            tomllib.loads(block.text)
        else:
            raise AssertionError(f"a {block.language or 'nameless'} block says not what it is")

    def _save(self, name: str, text: str) -> None:
        file = self._folder / name
        assert file.resolve().is_relative_to(self._folder.resolve())
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text, encoding="utf-8")

    def _install(self) -> None:
        """What installing the page's own project comes to: its name and its entry points."""
        project = tomllib.loads((self._folder / "pyproject.toml").read_text())["project"]
        name, version = project["name"], project["version"]
        points = [
            line
            for group, entries in project["entry-points"].items()
            for line in (f"[{group}]", *(f"{key} = {value}" for key, value in entries.items()))
        ]
        folder = f"{name.replace('-', '_')}-{version}.dist-info"
        self._save(
            f"{folder}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n"
        )
        self._save(f"{folder}/entry_points.txt", "\n".join(points) + "\n")

    def _compare(self, expected: str) -> None:
        assert self._printed is not None, "nothing was run whose output this could be"
        self.ran += 1
        want, got = _trimmed(expected), _trimmed(self._printed)
        if not doctest.OutputChecker().check_output(want, got, doctest.ELLIPSIS):
            raise AssertionError(f"the page says\n{want}\nbut it is\n{got}")

    def _python(self, block: Block, where: str) -> str:
        printed = io.StringIO()
        # So that a traceback names the page's own line.
        code = compile("\n" * (block.line - 1) + block.text, where, "exec")
        with contextlib.chdir(self._folder), contextlib.redirect_stdout(printed):
            exec(code, self.namespace)
        return printed.getvalue()

    def _shell(self, script: str, code: int) -> str:
        for name, meaning in self._words.items():
            script = re.sub(rf"\b{name}\b", meaning, script)
        environment = {
            **os.environ,
            "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
            "PYTHONPATH": str(self._folder),
            "PYTHONUTF8": "1",
            "PYTHONDONTWRITEBYTECODE": "1",
            "COLUMNS": "80",
            "TERM": "dumb",
            # A plugin that is installed is loaded once, one that is not as well.
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "PYTEST_PLUGINS": "streamstore.pytest_plugin",
        }
        environment.pop("PYTEST_ADDOPTS", None)
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", script],
            cwd=self._folder,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=120,
            check=False,
        )
        printed = done.stdout.decode()
        assert done.returncode == code, f"exit code {done.returncode}, not {code}:\n{printed}"
        return printed


def _trimmed(text: str) -> str:
    """Without what nobody sees: blanks at the ends of lines, empty lines at the end."""
    return "\n".join(line.rstrip() for line in text.splitlines()).rstrip("\n") + "\n"
