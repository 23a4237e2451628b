"""The page that says which keys there are."""

from __future__ import annotations

from typing import ClassVar

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen

from ..drawing import Piece
from .pane import Pane

HELP = """\
 space        pause, go on
 n            step: one event           t    one tick (all within 16 ms)
 + -          faster, slower (logs)     e    to the end (logs)

 up down j k  select an event           pgup pgdn home end   further
 f            follow the newest         ] [  next, previous notable event
 g            group by arrival, or by message
 enter        collapse, open the group  c    collapse, open all of them

 /            filter: words that must fit, such as
                type:delta  message:msg_1  session:s  verdict:duplicate
                -type:heartbeat  "free text"  verdict:notable
                message:=msg_1 is the whole id, message:msg_1 a part of it
 m            only the selected event's message
 escape       no filter, and back

 tab          next pane                 z    this pane alone
 w            a wider state: the part's, the message's, all of it
 q ctrl+c     quit

 ok accepted   dup taken in before   late to its place   held waits
 REF! refused  BAD! malformed        unk unknown type
 +12 characters of a delta           #7 its seq"""


class Help(ModalScreen[None]):
    """The keys."""

    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,question_mark,enter,space", "close", "Close")
    ]
    DEFAULT_CSS = """
    Help { align: center middle; }
    Help > Keys { width: 84; max-width: 100%; height: 26; max-height: 100%;
        border: round $accent; background: $surface; }
    """

    def compose(self) -> ComposeResult:
        yield Keys()

    def action_close(self) -> None:
        self.dismiss()


class Keys(Pane):
    """`HELP`, which scrolls where the terminal is small."""

    def __init__(self) -> None:
        super().__init__(id="keys")
        self.follows = False
        self._text = HELP.split("\n")
        self.border_title = "keys"
        self.border_subtitle = "escape closes"

    @property
    def lines(self) -> int:
        return len(self._text)

    def pieces(self, y: int, width: int) -> list[Piece]:
        return [Piece(self._text[y])]
