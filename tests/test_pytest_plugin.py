"""The pytest plugin: a log beside the test into a store, a transcript against a stored file."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from streamstore.errors import CallerError
from streamstore.log import open_log
from streamstore.pytest_plugin import StreamLog, TranscriptSnapshot
from streamstore.testing import sample

pytest_plugins = ["pytester"]

TEST = """
import pytest

def test_a_replayed_log(streamlog, transcript_snapshot):
    store = streamlog("log.jsonl", flush_every=2)
    assert store.session_ids() == ("s1",)
    assert len(streamlog.read("log.jsonl")) > 10
    transcript_snapshot(store)
    transcript_snapshot("a text\\x1b", name="by name")

@pytest.mark.parametrize("what", ["a/b"])
def test_twice(transcript_snapshot, what):
    transcript_snapshot("first")
    transcript_snapshot("second")
"""


@pytest.fixture
def run(pytester, monkeypatch):
    """Run pytest with this plugin, whether it is installed as one or not."""
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makepyfile(test_it=TEST)
    (pytester.path / "log.jsonl").write_bytes(sample("sparse", seed=1).data())
    return lambda *words: pytester.runpytest("-p", "streamstore.pytest_plugin", *words)


def test_transcripts_are_stored_and_then_compared(run, pytester):
    run("--streamstore-update").assert_outcomes(passed=2)
    folder = pytester.path / "transcripts" / "test_it"
    names = {file.name for file in folder.iterdir()}
    assert names == {
        "by-name.txt",
        "test_a_replayed_log.txt",
        "test_twice-a-b.txt",
        "test_twice-a-b-2.txt",
    }
    assert (folder / "by-name.txt").read_text() == "a text\\x1b"
    assert (folder / "test_a_replayed_log.txt").read_text().startswith("session s1\n")
    run().assert_outcomes(passed=2)


def test_a_transcript_that_differs_shows_how(run, pytester):
    run("--streamstore-update")
    stored = pytester.path / "transcripts" / "test_it" / "test_a_replayed_log.txt"
    stored.write_text(stored.read_text().replace("session s1", "session s7"))
    result = run()
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*-session s7", "*+session s1", "*--streamstore-update*"])
    run("--streamstore-update").assert_outcomes(passed=2)
    run().assert_outcomes(passed=2)


def test_a_transcript_that_is_not_stored_fails_and_says_what_to_do(run):
    result = run("-k", "replayed")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(["*no transcript is stored in *test_a_replayed_log.txt*"])


def test_other_line_ends_are_the_same_transcript(tmp_path):
    snapshot = TranscriptSnapshot(tmp_path, "test", update=False)
    (tmp_path / "test.txt").write_bytes(b"a\r\nb\r\n")
    snapshot("a\nb\n")


def test_the_fixtures_are_listed_with_their_purpose(run):
    result = run("--fixtures", "-v")
    result.stdout.fnmatch_lines(["streamlog*", "*beside the test file*", "transcript_snapshot*"])


def test_logs_are_read_as_they_are_asked_for(tmp_path):
    (tmp_path / "log.sse").write_bytes(sample("none", seed=1).data("frames"))
    streamlog = StreamLog(tmp_path)
    assert streamlog("log.sse", protocol="native", sequencing="none").session_ids() == ("s1",)
    assert streamlog.read("log.sse", sequencing="none").sequencing == "none"


def test_one_connection_of_a_recording_is_replayed_by_its_number(tmp_path):
    with open_log(str(tmp_path / "talk.jsonl")) as log:
        for connection, text in ((1, "one"), (2, "two")):
            wire = {"type": "block.delta", "messageId": "m", "blockIndex": 0, "text": text}
            log.append(json.dumps(wire), connection=connection)
    streamlog = StreamLog(tmp_path)
    with pytest.raises(CallerError, match="2 connections: name one, from connection=1 on"):
        streamlog("talk.jsonl")
    assert streamlog("talk.jsonl", connection=2).part("main", "m", 0).text == "two"


def test_two_transcripts_are_not_stored_in_one_file(run, pytester):
    test = """
        import pytest

        @pytest.mark.parametrize("what", ["a b", "a/b"])
        def test_it(transcript_snapshot, what):
            transcript_snapshot("the same", "shared")
            transcript_snapshot(what)
    """
    pytester.makepyfile(test_it=test)
    result = run("--streamstore-update")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*another transcript was just stored in test_it-a-b.txt: give *"])


def test_the_plugin_imports_neither_pytest_nor_the_testing_tools():
    """It is loaded in every test run of everybody who installed the package."""
    code = (
        "import sys, streamstore.pytest_plugin;"
        "print([name for name in ('pytest', 'hypothesis', 'streamstore.testing')"
        " if name in sys.modules])"
    )
    root = Path(__file__).resolve().parent.parent
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=root
    )
    assert found.stdout.strip() == "[]"
