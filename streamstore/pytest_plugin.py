"""Fixtures for pytest: replay a log that lies beside the test, compare a transcript with a file.

pytest loads this by its entry point. It knows `streamstore.testing` and pytest, and imports neither
before it must: a test run that uses no fixture of it pays for nothing but this file.

- `streamlog`: `streamlog("tools.jsonl")` is a store that took in that log
- `transcript_snapshot`: `transcript_snapshot(store)` fails where the transcript is not the stored
  one; `pytest --streamstore-update` stores it
"""

from __future__ import annotations

import re
from difflib import unified_diff
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pytest

    from .model import Sequencing
    from .pipeline import StreamStore
    from .testing import Log

_UPDATE = "--streamstore-update"
#: Folder of the stored transcripts, beside the test file.
FOLDER = "transcripts"


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the option that stores transcripts."""
    group = parser.getgroup("streamstore")
    group.addoption(
        _UPDATE,
        action="store_true",
        default=False,
        help="write the files that transcript_snapshot compares with",
    )


def pytest_configure(config: pytest.Config) -> None:
    """Make the fixtures; they are pytest's own only here, so that this file imports without it."""
    config.pluginmanager.register(_fixtures(), "streamstore-fixtures")


def _fixtures() -> object:
    import pytest

    stored: dict[Path, str] = {}

    class Fixtures:
        @pytest.fixture
        def streamlog(self, request: pytest.FixtureRequest) -> StreamLog:
            """Replays logs that lie beside the test file: `streamlog("tools.jsonl")`."""
            return StreamLog(request.path.parent)

        @pytest.fixture
        def transcript_snapshot(self, request: pytest.FixtureRequest) -> TranscriptSnapshot:
            """Compares transcripts with stored ones: `transcript_snapshot(store)`."""
            folder = request.path.parent / FOLDER / request.path.stem
            update = bool(request.config.getoption(_UPDATE))
            test = request.node.nodeid.partition("::")[2]
            return TranscriptSnapshot(folder, test, update, stored)

    return Fixtures()


class StreamLog:
    """What the fixture `streamlog` is: logs of one folder, into stores.

    >>> import tempfile
    >>> line = '{"type": "block.delta", "messageId": "m", "blockIndex": 0, "text": "hi", "seq": 1}'
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = Path(folder, "hi.jsonl").write_text(line)
    ...     StreamLog(Path(folder))("hi.jsonl").part("main", "m", 0).text
    'hi'
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __call__(self, *names: str, **options: Any) -> StreamStore:
        """A store that took in a log, by its path beside the test file.

        States that were fetched are named beside it, as for `Log.read`; options are those of
        `streamstore.testing.replay`, and `connection` as for `Log.read`.
        """
        from .testing import replay

        reading = {name: options[name] for name in ("protocol", "sequencing") if options.get(name)}
        reading["connection"] = options.pop("connection", None)
        return replay(self.read(*names, **reading), **options)

    def read(
        self,
        *names: str,
        protocol: str = "auto",
        sequencing: Sequencing | None = None,
        connection: int | None = None,
    ) -> Log:
        """The log itself, as `Log.read` gives it."""
        from .testing import Log

        paths = [self._folder / name for name in names]
        return Log.read(*paths, protocol=protocol, sequencing=sequencing, connection=connection)


class TranscriptSnapshot:
    """What the fixture `transcript_snapshot` is: transcripts of one test, by name.

    Attributes:
        folder: where they are stored: `transcripts/<test file>/` beside the test file.
    """

    def __init__(
        self, folder: Path, test: str, update: bool, stored: dict[Path, str] | None = None
    ) -> None:
        self.folder = folder
        self._stored: dict[Path, str] = {} if stored is None else stored  # in this run
        self._test = test
        self._update = update
        self._number = 0

    def __call__(self, shown: StreamStore | str, name: str | None = None) -> None:
        """Compare a store's transcript, or a text, with the stored one.

        The file is named after the test; a second one of a test has a number, or its own `name`.

        Raises:
            AssertionError: it differs, with the lines that do, or none is stored yet; or another
                one was stored in the same file by this run.
        """
        __tracebackhide__ = True
        from .terminal import escape
        from .testing import transcript

        text = escape(shown) if isinstance(shown, str) else transcript(shown)
        file = self._file(name)
        if self._update:
            if self._stored.setdefault(file, text) != text:
                raise AssertionError(
                    f"another transcript was just stored in {file.name}: give one a name of its own"
                )
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(text.encode())
            return
        if not file.is_file():
            raise AssertionError(f"no transcript is stored in {file}: run pytest {_UPDATE}")
        # Whoever checks the file out may have other line ends.
        stored = file.read_bytes().decode().replace("\r\n", "\n")
        if text != stored:
            lines = unified_diff(
                stored.split("\n"), text.split("\n"), "stored", "now", lineterm="", n=2
            )
            raise AssertionError(
                "\n".join([f"the transcript is not that of {file.name}:", *lines])
                + f"\nIf it should be so: pytest {_UPDATE}"
            )

    def _file(self, name: str | None) -> Path:
        if name is None:
            self._number += 1
            name = self._test if self._number == 1 else f"{self._test} {self._number}"
        words = re.split(r"[^\w.]+", name)
        return self.folder / ("-".join(filter(None, words)).strip(".") + ".txt")
