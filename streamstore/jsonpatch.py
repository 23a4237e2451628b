"""RFC 6902 patches of a shared state, through the `jsonpatch` package where it is installed.

Knows JSON values alone. The package is an extra (`patch`), imported at the first patch.
"""

from __future__ import annotations

from typing import Any, Final

from .decoding import nests_over
from .errors import MissingExtra
from .limits import Limits

_DEFAULT = Limits()
_ALL = ("remove", "")

#: What is wrong, and what to do, where the package is missing.
MISSING: Final = (
    "patches of a state (RFC 6902) need the package jsonpatch: "
    "pip install 'chat-streamstore[patch]'"
)


def need_patches(session_id: str | None = None) -> None:
    """Make sure that patches can be applied, before anything is changed for one.

    Raises:
        MissingExtra: they cannot, and the state of this session will lack what they say.
    """
    try:
        import jsonpatch  # noqa: F401
    except ImportError:
        raise MissingExtra(MISSING, session_id) from None


def apply_patch(document: Any, patch: list[Any], limits: Limits = _DEFAULT) -> tuple[Any] | None:
    """The patched copy of a JSON document in a one-tuple; None when the patch does not fit.

    A result that nests deeper than `Limits.nesting`, or is larger than `Limits.state_bytes`, does
    not fit: a few operations that copy can double a document each. Linear in the document, and
    once more for each operation that copies.

    Raises:
        MissingExtra: the package `jsonpatch` is missing; says how to install it.
    """
    need_patches()
    import jsonpatch

    from .model import thaw

    value = thaw(document)
    try:
        for operations in _stretches(patch):
            value = jsonpatch.apply_patch(value, operations, in_place=True)
            if nests_over(value, limits.nesting) or _size_over(value, limits.state_bytes):
                return None
    except Exception:  # the package raises errors of its own and of what it calls
        return None
    return (value,)


def _stretches(patch: list[Any]) -> list[list[Any]]:
    """The operations in stretches, each of which ends with the only one in it that copies.

    Where the whole document is removed null is left, as in fast-json-patch (the client of AG-UI):
    RFC 6902 asks only that what is removed is there. The package refuses it.
    """
    stretches: list[list[Any]] = [[]]
    for operation in patch:
        if isinstance(operation, dict) and (operation.get("op"), operation.get("path")) == _ALL:
            operation = {"op": "replace", "path": "", "value": None}
        stretches[-1].append(operation)
        if isinstance(operation, dict) and operation.get("op") == "copy":
            stretches.append([])
    return [stretch for stretch in stretches if stretch]


def _size_over(value: Any, bound: int) -> bool:
    """Whether a JSON value takes more than `bound` bytes or so; stops counting there."""
    size, waiting = 0, [value]
    while waiting and size <= bound:
        item = waiting.pop()
        size += 8
        if isinstance(item, str):
            size += len(item)
        elif isinstance(item, dict):
            size += sum(map(len, item))
            waiting += item.values()
        elif isinstance(item, list):
            waiting += item
    return size > bound
