"""Time to draw a growing answer in a terminal."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from functools import partial
from json import loads
from typing import Any, NamedTuple

from streamstore import ChangeSet, StreamStore
from streamstore.insights import MarkdownScan, closed_markdown_blocks
from streamstore.terminal import escape

from .figures import Effort, Figure, Question, Skipped, installed
from .payloads import NATIVE_BLOCK, batches
from .timing import Piece, Variant, interleaved

TOTAL = "Time to draw an answer"
FACTOR = "Drawing: whole Markdown at each token over"

#: Ways to draw: the whole text again as a widget does that is set to it, or what is new.
WAYS = ("whole Markdown", "whole text", "closed blocks once", "appended range")
MODES = ("each", "10", "100")

ABOUT = """
`rich` draws into memory, 80 columns wide. *Whole Markdown* and *whole text* render everything
again, as `Live` does; *closed blocks once* prints each markdown block that can no longer change and
renders the rest again (`streamstore.insights.closed_markdown_blocks`); *appended range* prints the
edit's text. Each is driven by a store's change sets, per token (`ticks="each"`) or 10 or 100
deltas a tick. The baseline of the factors is the common way: whole Markdown at each token. A
terminal's own work, which comes on top, is in proportion to what is written.
"""


class _Size(NamedTuple):
    deltas: tuple[int, ...]
    rounds: int


_SIZES: dict[Effort, _Size] = {
    "tiny": _Size((40,), 1),
    "quick": _Size((30, 100, 300), 1),
    "full": _Size((100, 300, 1_000), 3),
}


def measure(effort: Effort) -> Iterator[Figure | Skipped]:
    """By the way of drawing, the ticks, and the length of the answer."""
    if not installed("rich"):
        yield Skipped("drawing", "rich is not installed: pip install 'chat-streamstore[cli]'")
        return
    size = _SIZES[effort]
    for deltas in size.deltas:
        variants: dict[str, Variant] = {
            f"{way}, {mode}": _variant(way, mode, deltas) for way in WAYS for mode in MODES
        }
        rounds = interleaved(variants, deltas, size.rounds, warm=deltas <= 100)
        for name in variants:
            way, _, mode = name.rpartition(", ")
            label = f"{way}, {'per token' if mode == 'each' else f'{mode} a tick'}"
            yield Figure(
                table=TOTAL,
                row=label,
                column=f"{deltas:,} deltas",
                unit="ms",
                spread=rounds.total(name),
                better="lower",
                x=deltas,
            )
            if name != "whole Markdown, each":
                yield Figure(
                    table=FACTOR,
                    row=label,
                    column=f"{deltas:,} deltas",
                    unit="times",
                    spread=rounds.ratio("whole Markdown, each", name),
                    baseline="whole Markdown rendered at each token",
                    better="higher",
                )


def _variant(way: str, mode: str, deltas: int) -> Variant:
    def variant() -> Iterator[Piece]:
        from rich.console import Console
        from rich.live import Live

        file = io.StringIO()
        console = Console(file=file, width=80, height=50, force_terminal=True, legacy_windows=False)
        store = StreamStore(ticks="each" if mode == "each" else "manual")
        stream: Any = store.open("native", sequencing="block")
        per_tick = 1 if mode == "each" else int(mode)

        def take(wires: list[Any]) -> None:
            for first in range(0, len(wires), per_tick):
                for wire in wires[first : first + per_tick]:
                    stream.ingest(wire)
                store.flush()

        live = Live(console=console, auto_refresh=False, vertical_overflow="visible")
        if way != "appended range":
            live.start()
        with store.subscribe(_drawer(way, store, console, live)):
            for start, stop in batches(1, deltas + 1, 100):
                wires = [loads(payload) for payload in NATIVE_BLOCK.payloads(start, stop)]
                yield partial(take, wires)
        if way != "appended range":
            live.stop()
        assert "store" in file.getvalue()

    return variant


def _drawer(way: str, store: StreamStore, console: Any, live: Any) -> Callable[[ChangeSet], None]:
    """A subscriber that draws; text of a stream is escaped in every way."""
    from rich.markdown import Markdown
    from rich.text import Text

    def appended(changes: ChangeSet) -> None:
        for edit in changes.text.values():
            console.print(Text(escape(edit.text)), end="", soft_wrap=True)

    def whole_text(changes: ChangeSet) -> None:
        for key, _ in changes.text:
            part = store.part(*key)
            assert part is not None
            live.update(Text(escape(part.text)), refresh=True)

    def whole_markdown(changes: ChangeSet) -> None:
        for key, _ in changes.text:
            part = store.part(*key)
            assert part is not None
            live.update(Markdown(escape(part.text)), refresh=True)

    scan: MarkdownScan | None = None

    def closed_once(changes: ChangeSet) -> None:
        nonlocal scan
        for key, _ in changes.text:
            part = store.part(*key)
            assert part is not None
            scan = closed_markdown_blocks(part.view, scan)
            for block in scan.closed:
                live.console.print(Markdown(escape(part.view.range(*block))))
            live.update(Markdown(escape(part.view.range(scan.offset))), refresh=True)

    return {
        "appended range": appended,
        "whole text": whole_text,
        "whole Markdown": whole_markdown,
        "closed blocks once": closed_once,
    }[way]


QUESTION = Question("drawing", "Time to draw in a terminal", ABOUT, measure)
