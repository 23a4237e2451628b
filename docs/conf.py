"""How Sphinx builds the documentation: `sphinx-build -W -b html docs docs/_build`.

The pages are plain Markdown; the reference is made of the docstrings, which are Google style with
names in single backticks and lists as in Markdown. Nothing is fetched from anywhere.
"""

from __future__ import annotations

import re
from importlib import metadata
from typing import Any

project = "streamstore"
author = "The streamstore developers"
copyright = author
release = version = metadata.version("chat-streamstore")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "streamstore"
html_show_sourcelink = False
html_copy_source = False

# Every heading can be linked to, as on the pages of a code host.
myst_heading_anchors = 3

autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
# Types of a signature need no page of their own; everything else that is referred to must be there.
nitpicky = True
nitpick_ignore_regex = [("py:(class|exc|obj|data)", r".*")]
python_use_unqualified_type_names = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True

_NAMES = re.compile(r"(?<![`:\w])`([^`\n]+(?:\n[^`\n]+)?)`(?!`)")
_ITEM = re.compile(r"(?<!\n)\n(?= *- )")
_TOGETHER = re.compile(r"(?m)^(    )(\w+(?:, \w+)+): ")


def _as_markdown(app: Any, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """Read a docstring as it is meant.

    - Names in single backticks are code.
    - A list begins, and ends, without an empty line.
    - Entries of a section may share one text: `todo, diff: the lists`.
    - What stands before a colon in the first line of an attribute's is not its type.
    """
    text = _NAMES.sub(lambda found: "``" + " ".join(found[1].split()) + "``", "\n".join(lines))
    text = _TOGETHER.sub(_each, _ITEM.sub("\n\n", text))
    lines[:] = text.split("\n")
    if what in ("attribute", "data", "property"):
        lines[:0] = [":meta public:", ""]  # says nothing, and napoleon finds its colon there


def _each(found: re.Match[str]) -> str:
    *others, last = found[2].split(", ")
    return "".join(f"{found[1]}{name}: as ``{last}``.\n" for name in others) + f"{found[1]}{last}: "


def _says_nothing(
    app: Any, what: str, name: str, obj: Any, skip: bool, options: Any
) -> bool | None:
    """Members of a named tuple document themselves as `Alias for field number 0`."""
    return True if type(obj).__name__ == "_tuplegetter" else None


def setup(app: Any) -> None:
    """Read docstrings as they are written; before napoleon does (500)."""
    app.connect("autodoc-process-docstring", _as_markdown, priority=100)
    app.connect("autodoc-skip-member", _says_nothing)
