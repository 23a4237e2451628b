"""What a server of OpenAI's meant: answers, each a list of what is said in it, one after the other.

A script is plain data: `{"id", "session", "first", "entries", ...}` for each answer. Answers of one
session follow each other; those of two know nothing of each other. Draws from the generator it is
given alone; knows no library and no wire.

Entries of a response (`openai-responses`), each one event:

    begin, progress           the response begins, goes on
    item, itemed              an item (`type`) begins, is whole (`status`)
    part, text, whole, parted a part (`list`, `part`, `of`) begins, grows, its text is whole, it is
    note                      an annotation of a text
    input, inputted           a call's input grows, is whole
    step                      the server's own tool goes on (`status`)
    new                       an event that nobody knows yet
    error                     something went wrong
    end                       the response ends (`status`); `told`: with all of its output

Entries of a completion (`openai-chat`), each one chunk: `{"says": [...]}` of

    role                      a choice begins; perhaps with the first of its text
    text                      a member of the message grows
    call, input               a call begins, its input grows; `more` of another one beside it
    finish                    a choice ends (`reason`)

and `{"usage": n}`, `{"error": ...}`, `{"done": True}`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from random import Random
from typing import Any

Entry = dict[str, Any]
Answer = dict[str, Any]

_WORDS = (
    "a",
    "bc ",
    "é",
    "\n",
    "שׁ",
    "\U0001f600",
    "e\u0301",
    "\u2028",
    "x y ",
    '"\\',
    "}",
    "[DONE]",
)
_PARTS = ("output_text", "output_text", "output_text", "refusal")
_CALLS = ("function_call", "custom_tool_call", "web_search_call")


def responses(random: Random, *, followed: bool) -> list[Answer]:
    """Some responses; `followed`: of one session, and each comes to an end."""
    server = _Server(random)
    return server.answers(lambda answer: server.response(answer, followed), followed)


def completions(random: Random, *, followed: bool) -> list[Answer]:
    """Some completions; `followed`: of one session."""
    server = _Server(random)
    return server.answers(server.completion, followed)


class _Server:
    def __init__(self, random: Random) -> None:
        self._random = random
        self._words = 0

    def answers(self, make: Callable[[Answer], Iterator[Entry]], single: bool) -> list[Answer]:
        """A chain of answers in each session."""
        chance = self._random.random
        found: list[Answer] = []
        for session in ("s1",) if single or chance() < 0.6 else ("s1", "s2"):
            for _ in range(1 if chance() < 0.5 else 2):
                answer: Answer = {"id": f"r{len(found)}", "session": session}
                answer["entries"] = list(make(answer))
                found.append(answer)
        return found

    def _word(self) -> str:
        """A piece of text that comes once in a script."""
        self._words += 1
        return f"{self._words}{_WORDS[int(self._random.random() * len(_WORDS))]}"

    def _pieces(self) -> Iterator[str]:
        for _ in range(int(self._random.random() * 6)):
            yield self._word()

    # -- responses -------------------------------------------------------------------------------

    def response(self, answer: Answer, ends: bool) -> Iterator[Entry]:
        chance = self._random.random
        answer["first"] = 0 if chance() < 0.8 else 1  # some servers count from 1
        yield {"say": "begin"}
        if chance() < 0.7:
            yield {"say": "progress"}
        lanes = [self._item(number) for number in range(1 + int(chance() * 3))]
        said = list(self._mingled(lanes))
        draw = chance()
        if draw < 0.6:
            yield from said
            yield {"say": "end", "status": "completed", "told": True}
            return
        said = said[: 1 + int(chance() * len(said))]
        yield from said
        if draw < 0.75:
            if chance() < 0.5:
                whole = {entry["item"] for entry in said if entry["say"] == "itemed"}
                for entry in said:
                    if entry["say"] == "item" and entry["item"] not in whole:
                        yield {**entry, "say": "itemed", "status": "incomplete"}
            yield {"say": "end", "status": "incomplete", "told": True}
        elif draw < 0.9 or ends:
            if chance() < 0.3:
                yield {"say": "error"}
            yield {"say": "end", "status": "failed", "told": chance() < 0.6}

    def _mingled(self, lanes: list[Iterator[Entry]]) -> Iterator[Entry]:
        """Items begin in their order, and may grow at the same time."""
        chance = self._random.random
        apart = chance() < 0.6
        begun: list[Iterator[Entry]] = []
        waiting = list(lanes)
        while begun or waiting:
            if not begun or (waiting and not apart and chance() < 0.3):
                begun.append(waiting.pop(0))
                lane = begun[-1]
            else:
                lane = begun[int(chance() * len(begun))]
            for _ in range(1 + int(chance() * 4)):
                entry = next(lane, None)
                if entry is None:
                    begun.remove(lane)
                    break
                yield entry
            if chance() < 0.02:
                yield {"say": "new"}

    def _item(self, number: int) -> Iterator[Entry]:
        chance = self._random.random
        draw = chance()
        kind = "message" if draw < 0.5 else "reasoning" if draw < 0.7 else _CALLS[int(chance() * 3)]
        item: Entry = {"item": number, "type": kind}
        yield {"say": "item", **item}
        if kind == "message":
            for part in range(1 + int(chance() * 2)):
                type_ = _PARTS[int(chance() * len(_PARTS))]
                yield from self._part({**item, "list": "content", "part": part, "of": type_})
        elif kind == "reasoning":
            for part in range(int(chance() * 3)):
                yield from self._part(
                    {**item, "list": "summary", "part": part, "of": "summary_text"}
                )
            if chance() < 0.3:
                yield from self._part(
                    {**item, "list": "content", "part": 0, "of": "reasoning_text"}
                )
        elif kind == "web_search_call":
            for status in ("in_progress", "searching", "completed"):
                if chance() < 0.8:
                    yield {"say": "step", **item, "status": status}
        else:
            for piece in self._pieces():
                yield {"say": "input", **item, "text": piece}
            yield {"say": "inputted", **item}
        yield {"say": "itemed", **item, "status": "completed"}

    def _part(self, part: Entry) -> Iterator[Entry]:
        yield {"say": "part", **part}
        notes = 0
        for piece in self._pieces():
            yield {"say": "text", **part, "text": piece}
            if part["of"] == "output_text" and self._random.random() < 0.05:
                yield {"say": "note", **part, "note": notes}
                notes += 1
        yield {"say": "whole", **part}
        yield {"say": "parted", **part}

    # -- completions -----------------------------------------------------------------------------

    def completion(self, answer: Answer) -> Iterator[Entry]:
        """A completion; `style` says how its server writes chunks."""
        chance = self._random.random
        styles = ("roles", "calls", "nulls", "padding", "usage", "prompt")
        answer["style"] = [style for style in styles if chance() < 0.2]
        choices = 1 if chance() < 0.6 else 2 + int(chance() * 2)
        lanes = [self._choice(answer, number) for number in range(choices)]
        if chance() < 0.4:  # all of them begin in one chunk
            yield {"says": [next(lane) for lane in lanes]}
        yield from self._chunks(lanes)
        draw = chance()
        if draw < 0.4:
            yield {"usage": 1 + self._words}
        if draw < 0.9:
            yield {"done": True}

    def _chunks(self, lanes: list[Iterator[Entry]]) -> Iterator[Entry]:
        chance = self._random.random
        waiting = list(lanes)
        stops = chance() < 0.1
        while waiting:
            if stops and chance() < 0.05:
                yield {"error": f"overloaded {self._words}"}
                return
            many = 1 if chance() < 0.75 else 1 + int(chance() * len(waiting))
            at = int(chance() * len(waiting))
            says = []
            for lane in (waiting[at:] + waiting[:at])[:many]:
                entry = next(lane, None)
                if entry is None:
                    waiting.remove(lane)
                else:
                    says.append(entry)
            if says:
                says.sort(key=lambda entry: int(entry["choice"]))
                yield {"says": says}

    def _choice(self, answer: Answer, number: int) -> Iterator[Entry]:
        chance = self._random.random
        own = {"choice": number}
        role: Entry = {"say": "role", **own}
        if "prompt" in answer["style"]:
            role["text"] = self._word()
        yield role
        if chance() < 0.3:
            member = "reasoning_content" if chance() < 0.7 else "reasoning"
            for piece in self._pieces():
                yield {"say": "text", **own, "member": member, "text": piece}
        for piece in self._pieces():
            yield {"say": "text", **own, "member": "content", "text": piece}
        reason = "stop"
        if chance() < 0.15:
            for piece in self._pieces():
                yield {"say": "text", **own, "member": "refusal", "text": piece}
        elif chance() < 0.35:
            reason = "tool_calls"
            calls = [self._call({**own, "call": call}) for call in range(1 + int(chance() * 3))]
            yield from self._pairs(list(self._calls(calls)))
        if chance() < 0.1:
            reason = "length"
        yield {"say": "finish", **own, "reason": reason}

    def _calls(self, calls: list[Iterator[Entry]]) -> Iterator[Entry]:
        """Calls that begin in their order; some grow at the same time."""
        for call in calls:
            yield next(call)
            if self._random.random() < 0.6:
                yield from call
        for call in calls:
            yield from call

    def _pairs(self, entries: list[Entry]) -> Iterator[Entry]:
        """Some of two calls in one chunk."""
        while entries:
            entry = entries.pop(0)
            if entries and entries[0]["call"] != entry["call"] and self._random.random() < 0.2:
                entry["more"] = [entries.pop(0)]
            yield entry

    def _call(self, call: Entry) -> Iterator[Entry]:
        begun: Entry = {"say": "call", **call}
        if self._random.random() < 0.2:  # its first piece comes with it
            begun["text"] = self._word()
        yield begun
        for piece in self._pieces():
            yield {"say": "input", **call, "text": piece}
