"""Which rows of a timeline are shown: a line of words, as one types it.

Knows rows by their facts, verdict and bytes; no screen and no store.
"""

from __future__ import annotations

import json
import re

import attrs

from .row import Row

_WORD = re.compile(r'(-?)(?:([A-Za-z]+):(=?))?(?:"((?:[^"\\]|\\.)*)"?|(\S+))', re.DOTALL)
_ESCAPED = re.compile(r'\\(["\\])')
_NAMES = {
    "s": "session", "session": "session",
    "m": "message", "message": "message",
    "t": "type", "type": "type",
    "v": "verdict", "verdict": "verdict",
}  # fmt: skip

_WHOLE = ("session", "message", "type")


@attrs.frozen
class _Term:
    field: str  # "" for free text
    value: str  # casefolded, unless it is whole
    escaped: str
    no: bool
    whole: bool = False


@attrs.frozen
class Filter:
    """Rows that fit all words: `session:`, `message:`, `type:` and `verdict:` (or `s: m: t: v:`).

    A word without such a name is looked for in all that the event says. `-` before a word excludes
    what fits. Quotes hold a value with spaces together; in them `\\"` is a quote. Parts of ids and
    types fit, cases do not matter, but behind `=` (`message:=msg_1`) it is the whole id or type as
    it stands. `verdict:notable` is everything that was not plainly accepted.

    A row costs what is looked at: its facts, and its bytes for free text.

    >>> Filter.parse('type:delta -verdict:accepted "hello world"').text
    'type:delta -verdict:accepted "hello world"'
    >>> Filter.of_message("s", 'with "quotes"').text
    'session:="s" message:="with \\\\"quotes\\\\""'
    >>> bool(Filter.parse("   "))
    False
    """

    text: str = ""
    _terms: tuple[_Term, ...] = ()

    @classmethod
    def parse(cls, text: str) -> Filter:
        """A filter from its words; total: what is no field's name is looked for as it stands."""
        terms = []
        for minus, name, whole, quoted, word in _WORD.findall(text):
            field = _NAMES.get(name.lower(), "")
            value = _ESCAPED.sub(r"\1", quoted) or word
            if name and not field:
                value = f"{name}:{whole}{value}"  # such as a URL
            if not value:
                continue
            if whole and field in _WHOLE:
                terms.append(_Term(field, value, "", bool(minus), True))
            else:
                escaped = json.dumps(value)[1:-1].casefold()
                terms.append(_Term(field, value.casefold(), escaped, bool(minus)))
        return cls(" ".join(text.split()), tuple(terms))

    @classmethod
    def of_message(cls, session_id: str | None, message_id: str) -> Filter:
        """The events of one message, of that session where it is known."""
        named = [("session", session_id), ("message", message_id)]
        words = [f"{name}:={_quoted(value)}" for name, value in named if value is not None]
        return cls.parse(" ".join(words))

    def __bool__(self) -> bool:
        return bool(self._terms)

    def fits(self, row: Row) -> bool:
        """Whether a row is to be shown."""
        return all(_fits(term, row) is not term.no for term in self._terms)


def _quoted(value: str) -> str:
    return '"' + re.sub(r'(["\\])', r"\\\1", value) + '"'


def _fits(term: _Term, row: Row) -> bool:
    facts, value = row.facts, term.value
    if term.whole:
        at = {"session": facts.session_id, "message": facts.message_id, "type": facts.type}
        return value == at[term.field]
    if term.field == "session":
        return value in (facts.session_id or "").casefold()
    if term.field == "message":
        return value in (facts.message_id or "").casefold()
    if term.field == "type":
        return value in facts.type.casefold() or any(value in kind for kind in facts.kinds)
    if term.field == "verdict":
        if row.verdict is None:
            return value in "note"
        if value == "notable":
            return row.verdict.kind != "accepted"
        return f"{row.verdict.kind}:{row.verdict.reason}".casefold().startswith(value)
    said = row.data.decode("utf-8", "replace").casefold()
    return value in said or term.escaped in said or value in facts.excerpt.casefold()
