"""Writes the tables and lists that the code itself says: `python docs/tables.py`.

A page holds a table between `<!-- table: NAME -->` and `<!-- end of table -->`; what stands there
is replaced. A test asserts that the pages say what this would write. Knows declarations, limits,
the table of recorded cases that differ, and Markdown; nothing of a store.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import attrs

from streamstore import Limits
from streamstore.adapters.base import Adapter, Declaration
from streamstore.protocols import adapters

DOCS = Path(__file__).resolve().parent
#: How many recorded cases there are, and which of them differ from their oracle; a test holds
#: every case against it.
_CASES = DOCS.parent / "tests" / "differences.json"

_TABLE = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end of table -->)", re.DOTALL)


def _own() -> dict[str, type[Adapter]]:
    """The adapters of this package by their protocol's name; others may be installed."""
    return {
        name: cls for name, cls in adapters().items() if cls.__module__.startswith("streamstore.")
    }


def protocols() -> str:
    """What each protocol of this package can and cannot promise."""
    rows = [("protocol", "told apart by", "sequencing", "repetition", "order", "resume", "fetch")]
    for name, cls in _own().items():
        says = cls.declaration
        rows.append(
            (
                f"`{name}`",
                says.identity or "session, message and part ids of the wire",
                f"`{says.sequencing}`",
                _repetition(says),
                "any, by seq" if says.sequencing != "none" else "arrival only",
                "at a position" if says.resumes else "no: fetch or replay",
                "yes" if says.snapshots else "no",
            )
        )
    return _table(rows)


def references() -> str:
    """A section of the reference for each file of adapters."""
    names: dict[str, list[str]] = {}
    for name, cls in _own().items():
        names.setdefault(cls.__module__, []).append(name)
    return "\n".join(
        f"## {', '.join(found)}\n\n```{{eval-rst}}\n.. automodule:: {module}\n```\n"
        for module, found in names.items()
    )


def _repetition(says: Declaration) -> str:
    ways = []
    if says.sequencing != "none":
        ways.append("seq")
    if says.ids_unique:
        ways.append("event id")
    return "known by " + " or ".join(ways) if ways else "of one event: not known"


#: Who made the oracle of a protocol's recorded cases.
_ORACLES: Mapping[str, str] = {
    "anthropic": "the SDK's accumulator: message, error, checkpoints on the way",
    "openai-responses": "the response of the last event, from deltas alone too; the SDK's running "
    "one; resumed in three ways",
    "openai-chat": "the SDK's accumulator: completion, error, checkpoints on the way",
    "vercel-ui": "lenient `readUIMessageStream`, strict `Chat`; chats of several requests",
    "ag-ui": "`HttpAgent`: messages, state, interrupts, whether the run failed",
    "opencode": "what the server's REST reads gave when it was quiet",
}


def oracles() -> str:
    """How many recorded cases end as the official client, or the server, has them."""
    found = json.loads(_CASES.read_text("utf-8"))
    rows = [("protocol", "cases", "strict", "lenient", "held against")]
    for name, cases in found["cases"].items():
        equal = []
        for policy in ("strict", "lenient"):
            differ = {
                entry["case"]
                for entry in found["differences"]
                if entry["protocol"] == name and policy in entry["policies"]
            }
            equal.append(f"{cases['all'] - len(differ)} equal")
        rows.append((f"`{name}`", str(cases["all"]), *equal, _ORACLES[name]))
    return _table(rows)


def differences() -> str:
    """Every recorded case that ends in something else than its oracle, with the reason."""
    rows = [("protocol", "case", "streams", "why", "reason")]
    streams: dict[tuple[str, str], set[str]] = {}
    entries = json.loads(_CASES.read_text("utf-8"))["differences"]
    for entry in entries:
        streams.setdefault((entry["protocol"], entry["case"]), set()).update(entry["policies"])
    for (protocol, case), policies in streams.items():
        entry = next(e for e in entries if (e["protocol"], e["case"]) == (protocol, case))
        which = "all" if len(policies) == 2 else policies.pop()
        row = f"`{protocol}`", f"`{case}`", which, _BECAUSE[entry["because"]], entry["reason"]
        rows.append(row)
    return _table(rows)


_BECAUSE = {
    "goes on": "the client stops",
    "law": "by law",
    "not on the wire": "no event says it",
}


def limits() -> str:
    """Every bound, its default, and what happens when it is reached."""
    meanings = _attributes(inspect.getdoc(Limits) or "")
    rows = [("limit", "default", "what it bounds, and what happens over it")]
    rows += [
        (f"`{field.name}`", f"{field.default:,}", meanings[field.name])
        for field in attrs.fields(Limits)
    ]
    return _table(rows)


#: The tables by name.
TABLES: Mapping[str, Callable[[], str]] = {
    "protocols": protocols,
    "oracles": oracles,
    "differences": differences,
    "limits": limits,
    "references": references,
}


def _attributes(docstring: str) -> dict[str, str]:
    """The entries of a docstring's `Attributes:` section, each on one line."""
    section = docstring.partition("Attributes:\n")[2]
    found: dict[str, str] = {}
    name = ""
    for line in section.splitlines():
        entry = re.match(r"    (\w+): (.*)", line)
        if entry:
            name = entry[1]
            found[name] = entry[2]
        elif name and line.strip():
            found[name] += " " + line.strip()
    return found


def _table(rows: Iterable[tuple[str, ...]]) -> str:
    lines = ["| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |" for row in rows]
    lines.insert(1, "|" + " --- |" * lines[0].count(" | ") + " --- |")
    return "\n".join(lines) + "\n"


def written(page: str) -> str:
    """A page with its tables as the code says them now."""
    return _TABLE.sub(lambda found: f"{found[1]}\n{TABLES[found[2]]()}\n{found[3]}", page)


def pages() -> list[Path]:
    """The pages that hold such tables."""
    return [page for page in sorted(DOCS.rglob("*.md")) if _TABLE.search(page.read_text("utf-8"))]


def main() -> int:
    """Write every table; returns the exit code."""
    for page in pages():
        before = page.read_text("utf-8")
        after = written(before)
        if after != before:
            page.write_text(after, "utf-8")
            print(f"written: {page.relative_to(DOCS)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
