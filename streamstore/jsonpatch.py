"""RFC 6902 patches of a shared state, through the `jsonpatch` package where it is installed.

Knows JSON values alone. The package is an extra (`patch`), imported at the first patch.
"""

from __future__ import annotations

from typing import Any

from .errors import CallerError


def apply_patch(document: Any, patch: list[Any]) -> tuple[Any] | None:
    """The patched copy of a JSON document in a one-tuple; None when the patch does not fit.

    Raises:
        CallerError: the package `jsonpatch` is missing; says how to install it.
    """
    try:
        import jsonpatch
    except ImportError:
        raise CallerError(
            "session.state patches need the package jsonpatch: "
            "pip install 'chat-streamstore[patch]'"
        ) from None
    from .model import thaw

    try:
        return (jsonpatch.apply_patch(thaw(document), patch),)
    except Exception:  # the package raises errors of its own and of what it calls
        return None
