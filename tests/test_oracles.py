"""Every recorded case of every protocol: what `streamstore fold` prints is what the oracle holds.

The oracle is what the official client, or the server, made of the same bytes. A case is put through
the command's own door, lenient and strict, and everything that its oracle says is compared: final
object, errors, checkpoints, deltas alone, ways to resume (`oracles.py`). What differs is in
`differences.json`, to the letter, with the reason; the page on protocols is written from it.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from oracles import (
    POLICIES,
    TABLE,
    Claim,
    Policy,
    claims,
    differing,
    encoded,
    folded,
    known,
    logs_of,
)
from recordings import PROTOCOLS, case_of, corpora, folders, kept, plain_json

from streamstore.cli import main

CASES = [(protocol, name) for protocol in PROTOCOLS for name in folders(protocol)]


def left_out(log: Path) -> list[str]:
    """What the command says of a log whose last event lacks its blank line."""
    rest = log.read_bytes().replace(b"\r\n", b"\n").rpartition(b"\n\n")[2]
    cut = rest.startswith((b"event:", b"data:"))
    return [f"streamstore: {log}: its last event breaks off and is left out"] if cut else []


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(
    ("protocol", "name"), CASES, ids=[f"{protocol}-{name}" for protocol, name in CASES]
)
def test_what_fold_prints_is_what_the_official_client_made(
    protocol: str, name: str, policy: Policy, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case = case_of(protocol, name)
    names = logs_of(case, tmp_path)
    store = folded(case, names, policy)
    ours = plain_json(encoded(store, protocol))
    strict = ["--strict"] if policy == "strict" else []
    assert main(["fold", *names, "--protocol", protocol, "--as", protocol, *strict]) == 0
    printed, complained = capsys.readouterr()
    assert json.loads(printed) == ours
    assert complained.splitlines() == [told for name in names for told in left_out(Path(name))]
    assert differing(claims(case, policy, store, ours)) == known(case, policy)


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_so_many_cases_of_a_protocol_are_equal(protocol: str) -> None:
    """No case is lost, and each is equal but for those in the table, which the test above keeps."""
    cases = TABLE["cases"][protocol]
    assert len(kept(protocol)) == cases["kept"]
    assert len(folders(protocol)) == (cases["kept"] if corpora() is None else cases["all"])
    differ = {
        policy: {
            entry["case"]
            for entry in TABLE["differences"]
            if entry["protocol"] == protocol and policy in entry["policies"]
        }
        for policy in POLICIES
    }
    if corpora() is not None:
        assert differ["lenient"] | differ["strict"] <= folders(protocol).keys()
    for policy in POLICIES:
        equal = cases["all"] - len(differ[policy])
        print(f"{protocol} {policy}: {equal} of {cases['all']} cases equal")
        assert equal == EQUAL[protocol][policy]


#: How many cases are equal when all are at hand: nobody lets a number sink without saying so here.
EQUAL = {
    "anthropic": {"strict": 36, "lenient": 35},
    "openai-responses": {"strict": 24, "lenient": 24},
    "openai-chat": {"strict": 35, "lenient": 35},
    "vercel-ui": {"strict": 63, "lenient": 57},
    "ag-ui": {"strict": 71, "lenient": 63},
    "opencode": {"strict": 19, "lenient": 19},
}


def test_only_streams_that_go_on_differ_besides_a_few_by_law() -> None:
    reasons: dict[str, set[str]] = {}
    for entry in TABLE["differences"]:
        assert entry.keys() == {"protocol", "case", "policies", "because", "reason", "differs"}
        assert entry["reason"] and entry["differs"] and set(entry["policies"]) <= set(POLICIES)
        reasons.setdefault(entry["because"], set()).add(entry["case"])
        # A strict stream stops where the client does.
        assert entry["because"] != "goes on" or entry["policies"] == ["lenient"]
    assert {because: len(cases) for because, cases in reasons.items()} == {
        "goes on": 15,
        "law": 3,
        "not on the wire": 2,
    }


@pytest.mark.parametrize(
    ("theirs", "ours", "found"),
    [
        ({"a": [1, {"b": 2}]}, {"a": [1, {"b": 2.0}]}, []),
        ({"a": 1}, {"a": True}, [{"at": "/a", "theirs": 1, "ours": True}]),
        ({"a": None}, {}, [{"at": "/a", "theirs": None}]),
        ([], [""], [{"at": "/0", "ours": ""}]),
        ("x", ["x"], [{"at": "", "theirs": "x", "ours": ["x"]}]),
        (
            [{"id": "1", "t": "a"}, {"id": "1", "t": "a"}, {"id": "2", "t": "b"}],
            [{"id": "1", "t": "a"}, {"id": "2", "t": "bb"}],
            [
                {"at": "/0", "theirs": {"id": "1", "t": "a"}},
                {"at": "/2/t", "theirs": "b", "ours": "bb"},
            ],
        ),
        ([1, 2, 3], [4, 3], [{"at": "/0", "theirs": 1, "ours": 4}, {"at": "/1", "theirs": 2}]),
    ],
)
def test_a_difference_is_found_and_named_by_its_place(
    theirs: Any, ours: Any, found: list[Any]
) -> None:
    expected = [{"what": "it", **entry} for entry in found]
    assert differing([Claim("it", theirs, ours)]) == expected
