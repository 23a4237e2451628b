"""Which adapters there are, by name, and which one fits a stream.

Knows the adapters' declarations and the entry points of other packages; no store and no stage.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import metadata
from typing import Any, TypeVar

from .adapters.a2a import A2aAdapter
from .adapters.acp import AcpAdapter
from .adapters.ag_ui import AgUiAdapter
from .adapters.anthropic import AnthropicAdapter
from .adapters.base import Adapter, Declaration
from .adapters.ekacode import EkacodeAdapter
from .adapters.langchain import LangChainAdapter
from .adapters.native import NativeAdapter
from .adapters.openai_chat import OpenAIChatAdapter
from .adapters.openai_responses import OpenAIResponsesAdapter
from .adapters.opencode import OpencodeAdapter
from .adapters.opencode_v2 import OpencodeV2Adapter
from .adapters.pydantic_ai import PydanticAIAdapter
from .adapters.t3code import T3CodeAdapter
from .adapters.vellum import VellumAdapter, VellumV2Adapter
from .adapters.vercel_ui import VercelUIAdapter
from .errors import CallerError, UnknownProtocol
from .model import SEQUENCINGS

#: Entry points of this group add adapters: the name is the protocol's, the value its class.
ENTRY_POINT_GROUP = "streamstore.adapters"

_Class = TypeVar("_Class", bound=type[Adapter])

_OWN: tuple[type[Adapter], ...] = (
    NativeAdapter,
    EkacodeAdapter,  # before opencode, whose events look the same but for two members
    OpencodeAdapter,
    OpencodeV2Adapter,
    AnthropicAdapter,
    OpenAIChatAdapter,
    OpenAIResponsesAdapter,
    VercelUIAdapter,
    AgUiAdapter,
    VellumAdapter,
    VellumV2Adapter,
    T3CodeAdapter,
    PydanticAIAdapter,
    LangChainAdapter,
    AcpAdapter,
    A2aAdapter,
)

#: What is wrong with each entry point that adds none.
_UNUSABLE: list[str] = []

#: What the program made known itself.
_REGISTERED: dict[str, type[Adapter]] = {}


@cache
def adapters() -> Mapping[str, type[Adapter]]:
    """Every adapter class by its protocol's name: ours, those of other packages, the program's.

    One that cannot be used is left out with a warning: what another package got wrong must not
    cost those who never asked for it.
    """
    _UNUSABLE.clear()
    found: dict[str, type[Adapter]] = {cls.declaration.name: cls for cls in _OWN}
    for point in metadata.entry_points(group=ENTRY_POINT_GROUP):
        problem = ""
        try:
            cls: type[Adapter] = point.load()
            name, wrong = cls.declaration.name, _misdeclared(cls)
        except Exception as error:
            problem = f"{type(error).__name__}: {error}"
        else:
            if name != point.name:
                problem = f"its declaration has the name {name!r}, and both must be the same"
            elif wrong:
                problem = wrong
            elif found.setdefault(name, cls) is not cls:
                problem = "there is another protocol of this name"
        if problem:
            _UNUSABLE.append(
                f"the adapter {point.value} of the entry point {point.name}: {problem}"
            )
            warnings.warn(f"streamstore cannot use {_UNUSABLE[-1]}", stacklevel=2)
    return found | _REGISTERED


def _misdeclared(cls: type[Adapter]) -> str:
    sequencing = cls.declaration.sequencing
    if sequencing in SEQUENCINGS:
        return ""
    return f"its sequencing must be one of {', '.join(SEQUENCINGS)}, not {sequencing!r:.80}"


def register(cls: _Class) -> _Class:
    """Make an adapter class known by its protocol's name in this process, without an entry point.

    For a script, a notebook or a test; `streamstore` commands do not see it. A class of the same
    name that was registered before is replaced. Returns the class, so that it is a decorator, too.

    Raises:
        CallerError: it declares no protocol, or not rightly, or the name is another protocol's.
    """
    if not isinstance(cls, type) or not isinstance(getattr(cls, "declaration", None), Declaration):
        raise CallerError(f"{cls!r:.80} is no class of an adapter with a declaration")
    name, problem = cls.declaration.name, _misdeclared(cls)
    if not problem and adapters().get(name) is not _REGISTERED.get(name):
        problem = f"there is another protocol named {name!r}"
    if problem:
        raise CallerError(f"{cls.__module__}.{cls.__qualname__} cannot be used: {problem}")
    _REGISTERED[name] = cls
    adapters.cache_clear()
    return cls


def adapter_named(name: str) -> type[Adapter]:
    """The adapter class of a protocol.

    Raises:
        UnknownProtocol: there is none; the error lists the names, and what could not be used.
    """
    if not isinstance(name, str):
        raise UnknownProtocol(
            f"a protocol is given by its name, not by {str(name)[:80]}; an adapter gets one by "
            f"streamstore.protocols.register, or by an entry point of the group {ENTRY_POINT_GROUP}"
        )
    cls = adapters().get(name)
    if cls is None:
        problem = f"no protocol is named {name!r}; there are: {', '.join(adapters())}"
        raise UnknownProtocol("; not usable is ".join([problem, *_UNUSABLE]))
    return cls


def is_own(cls: type[Adapter]) -> bool:
    """Whether an adapter class comes with this package: what it makes is known to be sound."""
    return cls in _OWN


def needs_events(adapter: Adapter, made: object) -> None:
    """Raise `CallerError` for what an adapter gave that is no list: a forgotten `return`, say."""
    if not isinstance(made, Sequence):
        cls = type(adapter)
        raise CallerError(
            f"{cls.__module__}.{cls.__qualname__}.decode must return a list of events, an empty "
            f"one for what says nothing, not {type(made).__name__}"
        )


def detect(wire: Any) -> type[Adapter] | None:
    """The adapter class that surely knows a wire object, None when none does.

    One of another package that raises does not know it, with a warning: the wire may be anybody's.
    """
    for cls in adapters().values():
        try:
            if cls.detects(wire):
                return cls
        except Exception as error:
            if is_own(cls):
                raise
            warnings.warn(
                f"{cls.__module__}.{cls.__qualname__}.detects must say True or False of any JSON "
                f"value: {type(error).__name__}: {error}",
                stacklevel=2,
            )
    return None
