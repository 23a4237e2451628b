"""Adapters of other packages: which are used, and that theirs cannot cost what is not theirs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from streamstore import StreamStore, protocols
from streamstore.adapters.base import Declaration, StatelessAdapter
from streamstore.cli import main
from streamstore.errors import CallerError, UnknownProtocol
from streamstore.events import BlockDelta, MessageOpened
from streamstore.keys import MAX_NUMBER
from streamstore.protocols import register


class Theirs(StatelessAdapter):
    declaration = Declaration(name="theirs", sequencing="none")
    made: Any = ()

    @classmethod
    def detects(cls, wire: Any) -> bool:
        return False

    def decode(self, wire: Any) -> Any:
        return self.made

    def encode(self, reads: Any) -> Any:
        return []


class Nameless:
    pass


class Misspelt(Theirs):
    declaration = Declaration(name="theirs", sequencing="blocks")  # type: ignore[arg-type]


Install = Callable[[str, str], None]


@pytest.fixture
def install(monkeypatch: pytest.MonkeyPatch) -> Iterator[Install]:
    def installed(name: str, value: str) -> None:
        point = metadata.EntryPoint(name, value, protocols.ENTRY_POINT_GROUP)
        monkeypatch.setattr(protocols.metadata, "entry_points", lambda group: [point])
        protocols.adapters.cache_clear()

    yield installed
    monkeypatch.undo()
    protocols.adapters.cache_clear()


@pytest.mark.parametrize(
    ("name", "value", "problem"),
    [
        ("theirs", "no_such_module:Theirs", "ModuleNotFoundError: No module named"),
        ("theirs", f"{__name__}:NoSuchClass", "AttributeError: "),
        ("theirs", f"{__name__}:Nameless", "AttributeError: "),
        ("theirs", f"{__name__}:Misspelt", "its sequencing must be one of block, .*, not 'blocks'"),
        ("their", f"{__name__}:Theirs", "its declaration has the name 'theirs', and both must"),
        ("native", "test_protocols:Theirs", "its declaration has the name 'theirs'"),
    ],
)
def test_an_adapter_that_cannot_be_used_costs_nobody_else(
    install: Install, name: str, value: str, problem: str
) -> None:
    install(name, value)
    with pytest.warns(UserWarning, match=f"cannot use the adapter {value} of the entry point"):
        store = StreamStore("native")
    store.ingest({"type": "message.opened", "messageId": "m", "role": "user"})
    assert len(store.flush().added) == 2
    with pytest.raises(UnknownProtocol, match=f"no protocol is named 'theirs'.*{problem}"):
        StreamStore("theirs")


def test_one_that_is_sound_is_there_by_its_name(install: Install) -> None:
    install("theirs", f"{__name__}:Theirs")
    assert StreamStore("theirs").ingest({}).kind == "accepted"


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (MessageOpened(message_id=7, role="user"), "messageId"),
        (BlockDelta(message_id="m", block_index=0, text=None), "text"),
        (BlockDelta(message_id="m", block_index=0, text="t", seq=MAX_NUMBER + 1), "seq"),
    ],
)
def test_what_one_makes_is_held_to_the_types_of_an_event(
    install: Install, monkeypatch: pytest.MonkeyPatch, event: Any, reason: str
) -> None:
    install("theirs", f"{__name__}:Theirs")
    monkeypatch.setattr(Theirs, "made", (MessageOpened(message_id="a", role="user"), event))
    store = StreamStore("theirs")
    store.ingest({})
    monkeypatch.setattr(Theirs, "made", (event,))
    verdict = store.ingest({})
    assert (verdict.kind, verdict.reason) == ("malformed", reason)
    store.flush()
    assert [message.id for message in store.messages("main")] == ["a"]
    saved = json.loads(json.dumps(store.save()))
    assert StreamStore.load(saved).state()["sessions"] == store.state()["sessions"]


def test_of_one_that_makes_objects_it_is_said_what_it_should_make(
    install: Install, monkeypatch: pytest.MonkeyPatch
) -> None:
    install("theirs", f"{__name__}:Theirs")
    monkeypatch.setattr(Theirs, "made", ({"type": "message.opened"},))
    with pytest.raises(CallerError, match=r"one of streamstore\.events, not dict"):
        StreamStore("theirs").ingest({})


@pytest.mark.parametrize("wire", [{"type": "x.of.nobody"}, ["no", "object"], None])
def test_detection_that_raises_says_so_and_costs_no_other_protocol(
    install: Install, monkeypatch: pytest.MonkeyPatch, wire: Any
) -> None:
    install("theirs", f"{__name__}:Theirs")
    monkeypatch.setattr(Theirs, "detects", classmethod(lambda cls, wire: wire["no such member"]))
    with pytest.warns(UserWarning, match=r"Theirs\.detects must say True or False"):
        assert protocols.detect(wire) is None
    message = {"type": "message.opened", "sessionId": "s", "messageId": "m", "role": "user"}
    store = StreamStore(ticks="manual")
    with pytest.warns(UserWarning, match="must say True or False"):
        store.feed(b"".join(json.dumps(each).encode() + b"\n" for each in (wire, message)))
    store.flush()
    assert [found.id for found in store.messages("s")] == ["m"]  # an adapter before theirs knew it


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(protocols, "_REGISTERED", {})
    yield
    monkeypatch.undo()
    protocols.adapters.cache_clear()


@pytest.mark.usefixtures("registry")
def test_one_that_a_program_registers_is_there_by_its_name(monkeypatch: pytest.MonkeyPatch):
    assert register(Theirs) is Theirs
    made = MessageOpened(message_id="a", role="user")
    monkeypatch.setattr(Theirs, "made", (made,))
    store = StreamStore("theirs")
    assert store.ingest({}).kind == "accepted"
    store.flush()
    assert [message.id for message in StreamStore.load(store.save()).messages("main")] == ["a"]
    monkeypatch.setattr(Theirs, "made", ({"type": "message.opened"},))
    with pytest.raises(CallerError, match=r"one of streamstore\.events, not dict"):
        store.ingest({})


@pytest.mark.usefixtures("registry")
def test_one_without_encode_is_told_so(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delattr(Theirs, "encode")
    register(Theirs)
    with pytest.raises(CallerError, match=r"test_protocols\.Theirs has no encode"):
        StreamStore("theirs").encode("theirs")


@pytest.mark.usefixtures("registry")
def test_a_class_that_is_made_again_takes_the_place_of_the_one_before():
    register(Theirs)

    @register
    class Again(Theirs):
        pass

    assert protocols.adapter_named("theirs") is Again
    assert list(protocols.adapters()).count("theirs") == 1


@pytest.mark.usefixtures("registry")
def test_what_is_no_sound_adapter_is_not_registered(install: Install):
    for given, problem in (
        (Nameless, r"Nameless'> is no class of an adapter with a declaration"),
        ("theirs", "'theirs' is no class of an adapter"),
        (Theirs(), "Theirs object .* is no class of an adapter"),
        (Misspelt, r"test_protocols\.Misspelt cannot be used: its sequencing must be one of"),
        (_named("native"), "cannot be used: there is another protocol named 'native'"),
    ):
        with pytest.raises(CallerError, match=problem):
            register(given)  # type: ignore[type-var]
    install("theirs", f"{__name__}:Theirs")
    with pytest.raises(CallerError, match="another protocol named 'theirs'"):
        register(_named("theirs"))
    assert protocols.adapter_named("theirs") is Theirs


def _named(name: str) -> Any:
    return type("Other", (Theirs,), {"declaration": Declaration(name=name, sequencing="none")})


def test_an_adapter_in_the_place_of_its_name_is_told_how_it_gets_one():
    given: Any = Theirs
    for take in (StreamStore, StreamStore("native").open):
        with pytest.raises(
            UnknownProtocol, match=r"by its name, not by .*Theirs.*register, .*entry point of"
        ):
            take(given)


@pytest.mark.parametrize(
    "made",
    [
        pytest.param(lambda: None, id="nothing"),
        pytest.param(lambda: MessageOpened(message_id="a", role="user"), id="one"),
        pytest.param(lambda: iter(()), id="iterator"),
    ],
)
def test_of_one_that_makes_no_list_it_is_said_whose_fault_that_is(
    install: Install,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
    made: Callable[[], Any],
) -> None:
    install("theirs", f"{__name__}:Theirs")
    monkeypatch.setattr(Theirs, "decode", lambda self, wire: made())
    fault = r"test_protocols\.Theirs\.decode must return a list of events, .* not \w+"
    with pytest.raises(CallerError, match=fault):
        StreamStore("theirs").ingest({})
    with pytest.raises(CallerError, match=fault):
        StreamStore("theirs").feed(b"{}\n")
    (tmp_path / "log.jsonl").write_bytes(b"{}\n")
    for command in ("fold", "check"):
        assert main([command, str(tmp_path / "log.jsonl"), "--protocol", "theirs"]) == 2
        said = capsys.readouterr().err
        assert said.count("\n") == 1
        assert "Theirs.decode must return a list of events" in said
