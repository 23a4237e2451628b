"""Nothing that an example prints drives a terminal: the code blocks of the pages, on a bad day.

The examples are the blocks of README.md and docs/. Each page is followed once more to the letter,
but what its streams say (texts, ids, roles, names of tools, titles, errors) begins with escape
sequences and bidi controls: in the dicts of its Python, in its JSON, in the files that it saves, in
the recorded log that it opens, in the samples that it draws. What the page says the output is does
not count here; that it ran to its end, and printed nothing that acts, does.
"""

from __future__ import annotations

import ast
import contextlib
import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
from conftest import ROOT
from pages import Block, Reader, blocks

from streamstore.testing import samples

#: What each text begins with. JSON may carry all but C0 as it is, so that is how it stands there.
HOSTILE = "\x1b]0;owned\x07\x1b[2J\x9b31m\r\x08\x7f\u202egpj.exe\u2066\u061c\u200f"
#: All of C0 but newline and tab, DEL, C1, and what reorders text.
ACTIVE = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
SEEN = "\\x1b]0;owned"

#: Members that hold what somebody wrote, and members that hold ids.
TEXTS = {
    "text", "title", "output", "message", "words", "role", "who", "tool", "permission", "path",
    "tools", "content", "delta",
}  # fmt: skip
IDS = {"messageId", "sessionId", "chatId", "line", "callId"}

#: What words of drawn samples begin with: short, because a sample holds many.
ACTS = "\x9b"
#: Ids that a page also makes by itself, of an f-string.
MADE = {"docs/howto/bound-a-store.md": {"s1"}}


def _inside(text: str) -> str:
    """A text inside a string of JSON."""
    return json.dumps(text, ensure_ascii=False)[1:-1]


def spoilt_json(text: str, ids: frozenset[str]) -> str:
    """JSON anywhere in a text, with spoilt values; shape and framing stay."""

    def spoil(found: re.Match[str]) -> str:
        head, name, value = found.groups()
        if name in TEXTS or value in ids:
            return f'{head}"{_inside(HOSTILE)}{value}"'
        return found.group()

    return re.sub(r'("(\w+)": )"((?:[^"\\]|\\.)*)"', spoil, text)


def _spoilt(value: ast.expr) -> ast.expr:
    spoil = ast.parse(
        f"(lambda it: {HOSTILE!r} + it if isinstance(it, str) else it)(0)", mode="eval"
    ).body
    assert isinstance(spoil, ast.Call)
    spoil.args = [value]
    return spoil


class _Spoiler(ast.NodeTransformer):
    """Python whose dicts say hostile texts, and whose ids are hostile wherever they stand."""

    def __init__(self, ids: frozenset[str]) -> None:
        self._ids = ids

    def visit_Dict(self, node: ast.Dict) -> ast.AST:
        self.generic_visit(node)
        for place, (key, value) in enumerate(zip(node.keys, node.values, strict=True)):
            if isinstance(key, ast.Constant) and key.value in TEXTS:
                if isinstance(value, ast.Constant) and not isinstance(value.value, str):
                    continue
                node.values[place] = _spoilt(value)
        return node

    def visit_keyword(self, node: ast.keyword) -> ast.AST:
        self.generic_visit(node)
        if node.arg == "text":
            node.value = _spoilt(node.value)
        return node

    def visit_JoinedStr(self, node: ast.JoinedStr) -> ast.AST:
        for value in node.values:
            if isinstance(value, ast.FormattedValue):
                self.generic_visit(value)
        return node

    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        if isinstance(node.value, str):
            if node.value in self._ids:
                return ast.copy_location(ast.Constant(HOSTILE + node.value), node)
            return ast.copy_location(ast.Constant(spoilt_json(node.value, self._ids)), node)
        if isinstance(node.value, bytes):
            text = spoilt_json(node.value.decode(), self._ids)
            return ast.copy_location(ast.Constant(text.encode()), node)
        return node


def spoilt_python(text: str, ids: frozenset[str]) -> str:
    """A Python block that does the same with hostile texts."""
    return ast.unparse(ast.fix_missing_locations(_Spoiler(ids).visit(ast.parse(text))))


def ids_of(page: str) -> frozenset[str]:
    """The ids that a page gives its sessions, messages and calls, in Python or in JSON."""
    named = "|".join(sorted(IDS))
    return frozenset(re.findall(rf'"(?:{named})": "([^"\\]+)"', page)) - {"main"}


class HostileReader(Reader):
    """Follows a page whose streams are hostile, and keeps what each block printed."""

    def __init__(self, folder: Path, ids: frozenset[str], **options: Any) -> None:
        super().__init__(folder, **options)
        self._ids = ids
        self.printed: list[tuple[str, str]] = []
        self.stopped: list[str] = []

    def _save(self, name: str, text: str) -> None:
        if name.endswith(".py"):
            text = spoilt_python(text, self._ids)
        elif name.endswith((".sse", ".jsonl")):
            text = spoilt_json(text, self._ids)
        super()._save(name, text)

    def _compare(self, expected: str) -> None:
        pass

    def _python(self, block: Block, where: str) -> str:
        told = io.StringIO()
        block = block._replace(text=spoilt_python(block.text, self._ids))
        try:
            with contextlib.redirect_stderr(told):
                printed = super()._python(block, where)
        except Exception as error:
            self.stopped.append(f"{where}: {error!r}")
            printed = ""
        self.printed.append((where, printed + told.getvalue()))
        return printed

    def _shell(self, script: str, code: int) -> str:
        # Whatever the exit code is: a test of the page fails where a text is another.
        # What pytest says of that is pytest's.
        quiet = "export PYTEST_ADDOPTS='--tb=no -rN'"
        script = re.sub(r"(streamstore check \S+)(?!.* --runs)", r"\1 --runs 1", script)
        printed = super()._shell(f"{quiet}\n{{\n{script}\n}} || true\nexit {code}", code)
        self.printed.append((script, printed))
        return printed


def read(name: str, page: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> HostileReader:
    """Follow a page in a folder of its own."""
    words = tuple(ACTS + word for word in samples._WORDS)
    monkeypatch.setattr(samples, "_WORDS", words)
    log = "tests/data/opencode/tools/stream.sse"
    (folder / log).parent.mkdir(parents=True)
    spoilt = spoilt_json((ROOT / log).read_text("utf-8").replace('":"', '": "'), frozenset())
    (folder / log).write_text(spoilt, encoding="utf-8")
    names = {"LOG": log} if name == "README.md" else {}
    ids = ids_of(page) - MADE.get(name, set())
    reader = HostileReader(folder, ids, skips=("setup", "test"), names=names)
    reader.follow(name, page)
    return reader


def acts(reader: HostileReader) -> list[str]:
    """What was printed that acts on a terminal, each with the block that did it."""
    found = []
    for where, text in reader.printed:
        match = ACTIVE.search(text)
        if match is not None:
            found.append(f"{where} printed {text[max(0, match.start() - 40) :][:90]!r}")
    return found


def prints(block: Block) -> bool:
    """Whether something is printed when a block is run."""
    if any(note.startswith("not run") for note in block.notes):
        return False
    return block.language == "sh" or (block.language == "python" and "print(" in block.text)


PAGES = {
    path.relative_to(ROOT).as_posix(): path
    for path in (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
    if "_build" not in path.parts and path.name != "benchmarks.md"
    if any(map(prints, blocks(path.read_text("utf-8"))))
}
#: Pages that print no text of a stream, or as JSON alone.
SILENT = {"docs/check.md", "docs/design.md", "docs/howto/add-a-protocol.md", "docs/limits.md"}


@pytest.mark.parametrize("name", PAGES)
def test_an_example_shows_what_is_hostile_and_nothing_acts(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = read(name, PAGES[name].read_text("utf-8"), tmp_path, monkeypatch)
    assert not acts(reader)
    assert not reader.stopped
    # Else the page would pass because nothing hostile came to where it prints.
    assert any(SEEN in text for _, text in reader.printed) is (name not in SILENT)


TALK = """
<!-- file: talk.jsonl -->
```text
{"type": "message.opened", "messageId": "m", "role": "assistant", "seq": 1}
{"type": "block.delta", "messageId": "m", "blockIndex": 0, "seq": 2, "text": "Hi"}
```
```python
from streamstore import StreamStore
from streamstore.terminal import escape
store = StreamStore("native")
delta = {"type": "block.delta", "messageId": "m", "blockIndex": 0, "seq": 1, "text": "Hi"}
store.ingest_many([{"type": "message.opened", "messageId": "m", "role": "user"}, delta])
```
"""
PRINTS = {
    "a text": "print(store.part('main', 'm', 0).text)",
    "an id": "print(*(message.id for message in store.messages('main')))",
    "a key": "print(*store.part('main', 'm', 0).key)",
    "a role": "print(store.message('main', 'm').role)",
    "what came in a file": "print(open('talk.jsonl').read())",
    "a text, to standard error": "import sys\nprint(store.part('main', 'm', 0).text, file=sys.stderr)",
}


def follow(page: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> HostileReader:
    return read("a page", TALK + page, folder, monkeypatch)


@pytest.mark.parametrize("code", PRINTS.values(), ids=PRINTS)
def test_an_example_that_prints_what_it_was_told_is_found(
    code: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert acts(follow(f"```python\n{code}\n```", tmp_path, monkeypatch))


def test_a_program_or_a_command_of_a_page_that_prints_it_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = (
        "<!-- file: show.py -->\n```python\nfrom streamstore import StreamStore\n"
        "store = StreamStore()\nstore.feed(open('talk.jsonl', 'rb').read())\n"
        "print(store.part('main', 'm', 0).text)\n```\n"
    )
    for folder, command in (("1", "python show.py"), ("2", "cat talk.jsonl")):
        (tmp_path / folder).mkdir()
        page = f"{program}```sh\n{command}\n```"
        [(_, printed)] = follow(page, tmp_path / folder, monkeypatch).printed[1:]
        assert ACTIVE.search(printed)


def test_an_example_that_escapes_what_it_prints_is_harmless(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code = "print(escape(store.part('main', 'm', 0).text), repr(store.message('main', 'm').id))"
    reader = follow(f"```python\n{code}\n```", tmp_path, monkeypatch)
    assert not acts(reader) and SEEN in reader.printed[-1][1]
