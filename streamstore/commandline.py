"""What the command lines of all commands have in common: how words are read, help is laid out.

Knows argparse and the files that a word names with `@`; no command, and not what a word is for.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .errors import CallerError
from .model import SEQUENCINGS


class Format(argparse.RawDescriptionHelpFormatter):
    """Wraps the description, keeps the lines of the epilog."""

    def _fill_text(self, text: str, width: int, indent: str) -> str:
        if text.endswith("\n"):
            return super()._fill_text(text, width, indent)
        return argparse.HelpFormatter._fill_text(self, text, width, indent)


def add_sequencing(parser: argparse.ArgumentParser) -> None:
    """Add `--sequencing`."""
    parser.add_argument(
        "--sequencing",
        choices=SEQUENCINGS,
        metavar="S",
        help=f"what a hole in seq means, where it is not what the protocol says: "
        f"{', '.join(SEQUENCINGS)}",
    )


def count(text: str) -> int:
    """An integer from 1.

    Raises:
        ArgumentTypeError: it is none.
    """
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"must be an integer from 1, not {text!r}")
    return number


def speed(text: str) -> float:
    """How many times as fast as recorded; inf for `max`.

    Raises:
        ArgumentTypeError: it is neither `max` nor a number above 0.
    """
    try:
        factor = math.inf if text == "max" else float(text)
    except ValueError:
        factor = 0.0
    if not factor > 0:
        raise argparse.ArgumentTypeError(f"must be a number above 0 or max, not {text!r}")
    return factor


def headers(given: Sequence[str]) -> dict[str, str]:
    """`Name: value` each, or `@FILE` with one on each line.

    Raises:
        CallerError: one is none, or a file cannot be read.
    """
    lines: list[str] = []
    for text in given:
        if text.startswith("@"):
            named = _read(text[1:], "--header").split("\n")
            lines += [line.strip() for line in named if line.strip()]
        else:
            lines.append(text)
    found: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        name, colon, value = line.partition(":")
        name = name.strip()
        if not colon or not name or not name.isascii() or any(c.isspace() for c in name):
            # Its text may be a secret.
            raise CallerError(f"--header: number {number} is not of the form 'Name: value'")
        found[name] = value.strip()
    return found


def body(given: str | None) -> Any:
    """JSON, or `@FILE` with it; None for none.

    Raises:
        CallerError: it is none, or the file cannot be read.
    """
    if given is None:
        return None
    text = _read(given[1:], "--json") if given.startswith("@") else given
    try:
        value = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise CallerError(f"--json: not JSON: {error}") from None
    if value is None:
        raise CallerError("--json: null is no body")
    return value


def _read(name: str, option: str) -> str:
    try:
        return Path(name).read_text("utf-8-sig")  # editors on Windows write a mark
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not text in UTF-8"
        raise CallerError(f"{option}: {name}: {reason}") from None
