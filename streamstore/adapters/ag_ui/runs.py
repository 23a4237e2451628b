"""Which run an AG-UI stream delivers, whether it is new or a replay, and what of it is in progress.

Of each run a thread remembers who started it last and how often its state was patched; of the one
that goes on what a stream needs that was not there when it started. From that follows what of a
replay is new to a message or call, known here by its id and its own memory alone: `run`, who made
it, and `added`, what other runs added. Knows no message's content and makes no event.

Sources: the reducer of `@ag-ui/client` 1.0.0.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import islice

from ..base import Context
from ..bounded import forget_oldest
from ..members import Members

#: Runs that a thread remembers, runs that wrote into a message that another one made, what came for
#: how many of those in a run, thoughts of a run that had no id; the oldest go.
_RUNS = 256
_ALSO = 16
_CAME = 8192
_THOUGHTS = 65_536


def drop_past(context: Context) -> None:
    """Forget what a saved stream left, where another one speaks for its run now, or began the next
    when it was over: who comes now goes on with what the thread has."""
    own = context.own
    if "session" not in own:
        return
    shared = context.shared.get(own["session"], {})
    known: Members = shared.get("known", {})
    if own["start"] is None:
        past = "nameless" in own and own["nameless"] != known.get("named")
    else:
        run: Members = shared.get("runs", {}).get(own["run"], own)
        over = "now" not in run and known.get("starts") != own["start"]
        past = over or run["start"] != own["start"]
        if "lanes" in run.get("now", ()):
            own["lanes"] = run["now"]["lanes"]  # a stream that went on with it has brought more
    if past:
        session_id = own["session"]
        own.clear()
        own["session"] = session_id


class Runs:
    """The runs of a thread, and the one that a stream of it delivers.

    In the stream's own memory: `session`, `run` and `start` (of the last RUN_STARTED; `start` is
    None before one), `ended`, `runs` that this stream started, `nameless` and `since` of one that
    came late, and what is in progress of no run. Shared by the thread: `runs`, with what is in
    progress of each, and of `known` what says how they follow one another.

    Attributes:
        cool: messages and calls, by id, whose deltas may not take the short way any more; the
            adapter takes them out.
        run, start: the run as the thread remembers it, and its start by this stream: where
            `run["start"]` is another one, a stream started it anew, and delivers it whole.
    """

    def __init__(self, context: Context) -> None:
        self._context = context
        self._own = own = context.own
        own.setdefault("session", context.session_id)
        if "run" not in own:
            own.update({"run": "", "start": None}, ended=False, runs={}, **_nothing_yet())
        own.setdefault("came", {})  # a saved stream may lack it
        self.cool: dict[str, None] = {}
        self.start: int | None = own["start"]
        self.run: Members = {"start": self.start}
        if self.start is not None:
            self.run = self.all.get(own["run"], self.run)

    # -- what is remembered --------------------------------------------------------------------

    @property
    def session_id(self) -> str:
        """The session of the thread."""
        session_id: str = self._own["session"]
        return session_id

    def table(self, name: str) -> Members:
        """A table of the thread: `messages`, `calls`, `runs`, `early`, `gone`, `interrupts`, ..."""
        table: Members = self._context.of_session(self._own["session"]).setdefault(name, {})
        return table

    @property
    def all(self) -> Members:
        """The thread's last runs, by id."""
        return self.table("runs")

    @property
    def id(self) -> str:
        """The run that was started last; empty before one."""
        run: str = self._own["run"]
        return run

    @property
    def since(self) -> int | None:
        """How many starts there were when a stream came late; None for one that did not."""
        since: int | None = self._own.get("since")
        return since

    @property
    def replay(self) -> bool:
        """Whether the run is a replay."""
        replay: bool = self.now["replay"]
        return replay

    @property
    def now(self) -> Members:
        """What is in progress: of a run, until it ends, it lies with the run, so that a stream that
        was not there when it started may go on with it."""
        run = self.run if self.run["start"] == self.start else {}
        now: Members = run.get("now", self._own)
        return now

    @property
    def speaks(self) -> bool:
        """Whether what the stream delivers counts; else another one delivers its run whole."""
        if self.start is not None:
            return bool(self.run["start"] == self.start)
        named = self.table("known").get("named")
        return bool(self._own.get("nameless", named) == named)

    def is_latest(self) -> bool:
        """Whether the run is the last one that was new: an older one that is replayed is not."""
        return bool(self.table("known").get("latest") == self._own["run"])

    @contextmanager
    def of_session(self, session_id: str) -> Iterator[None]:
        """Meanwhile, speak of another session than the stream's own one."""
        before, self._own["session"] = self.session_id, session_id
        try:
            yield
        finally:
            self._own["session"] = before

    # -- a run's start and end -----------------------------------------------------------------

    def joined(self, event: Members) -> str | None:
        """The run that was started last, where it has not ended: the first event of the stream is
        not its start. A server that resumes behind the last event does not repeat it."""
        runs: Members = self._context.shared.get(self.session_id, {}).get("runs", {})
        run = next(reversed(runs), None)
        if run is None or "now" not in runs[run] or event.get("runId", run) != run:
            return None
        return run

    def lanes_of(self, run: str) -> Members:
        """The chunks that were assembled where a run was cut."""
        lanes: Members = self.all[run]["now"].get("lanes", {})
        return lanes

    def join(self, run: str) -> None:
        """Go on with a run that `joined` found."""
        self.run = self.all[run]
        self.start = self._own["runs"][run] = self.run["start"]
        self._own.update(run=run, start=self.start)

    def begin(self) -> None:
        """Deliver what belongs to no run that is known: until another stream starts that one."""
        known = self.table("known")
        self._own["nameless"] = known.setdefault("named", 0)
        self._own["since"] = known.get("starts", 0)

    def keep(self, lanes: Members) -> None:
        """Chunks that are assembled, for a stream that goes on with the run."""
        self._own["lanes"] = self.now["lanes"] = lanes

    def started(self, event: Members) -> None:
        """Deliver a run from its start on; `event` says which, and of which thread."""
        own, run = self._own, event["runId"]
        ended = own.get("ended", False)
        goes_on = own["start"] is not None and not ended
        before = self.now
        if not self._context.bound:
            if own["session"] != event["threadId"]:
                goes_on, before = False, {}  # ids of another thread
            own["session"] = event["threadId"]
        self.cool_all()
        runs, known = self.all, self.table("known")
        record: Members | None = runs.pop(run, None)
        # On the stream that started it, too, where it had not ended: one that was saved and loaded.
        anew = goes_on and own["run"] == run
        replay = record is not None and (anew or own["runs"].get(run) != record["start"])
        # It may be the one that a stream which came late brought the rest of, before it had a name.
        ours = ended and own.get("nameless") == known.get("named")
        names = record is None and "named" in known and not ours
        if record is None:
            record = {"thoughts": [], "first": known.get("starts", 0)}
        if not replay:
            record["deltas"] = 0
            known["latest"] = run
        record["start"] = known["starts"] = known.get("starts", 0) + 1
        runs[run] = self.run = record
        own["runs"][run] = record["start"]
        forget_oldest(runs, _RUNS)
        forget_oldest(own["runs"], _RUNS)
        self.start = record["start"]
        own.update(run=run, start=self.start, ended=False)
        dropped = record.get("now", {}).get("dropped")
        now = record["now"] = _nothing_yet()
        if dropped:  # whoever says the start may go on behind it, and not bring it all again
            now["dropped"] = dropped
        now.update(replay=replay, skip=record["deltas"] if replay else 0)
        if names:
            now["names"] = True
        if replay and not anew:  # of what this stream brings again
            now["rebuilt"] = before.get("rebuilt", {})
            before["rebuilt"] = {}
        for cut in islice(reversed(runs.values()), _ALSO, _ALSO + 1):
            cut.pop("now", None)

    def over(self) -> None:
        """The run has ended: what was in progress is the stream's own from here on."""
        self._own.update(self.now, ended=True)
        self.run.pop("now", None)

    def failed(self) -> bool:
        """The run has failed; whether it is a replay of one that had."""
        told = self.replay and "error" in self.run
        self.run["error"] = None
        return told

    def next_thought(self, new_id: Callable[[], str]) -> tuple[str, Callable[[], None]]:
        """The id of a message that names none, the same one in a replay of its run; and what
        notes that it was used."""
        now, made = self.now, self.run.setdefault("thoughts", [])
        place: int = now["thoughts"]
        found: str = made[place] if place < len(made) else new_id()

        def note() -> None:
            now["thoughts"] = place + 1
            if place < _THOUGHTS:
                made[place:] = [found, *made[place + 1 :]]

        return found, note

    # -- replays -------------------------------------------------------------------------------

    def is_rebuilt(self, name: str) -> bool:
        """Whether a message or call was built anew in this replay; from now on it was."""
        now = self.now
        follows = now["replay"] or now.get("names", False)
        rebuilt = not follows or name in now["rebuilt"]
        if follows:
            now["rebuilt"][name] = None
        return rebuilt

    def has_brought(self, name: str) -> bool:
        """Whether a message or call was built anew in this replay."""
        return name in self.now["rebuilt"]

    def may_be(self, name: str) -> bool:
        """Whether a run that is new may be the one that was streamed outside any, as one of its
        messages or calls may tell that it has not brought yet."""
        now = self.now
        return bool(now.get("names") and name not in now["rebuilt"])

    def is_told(self) -> None:
        """The run is the one that was streamed outside any: no other one may be."""
        self.now["names"] = False
        self.note_named()

    def note_named(self) -> None:
        """What was streamed outside any run has one: who came late to it changes nothing more."""
        self.table("known")["named"] += 1
        self.cool_all()

    def follow(self) -> Members:
        """The run is a replay from here on; what was built anew in it, by name."""
        now = self.now
        now["replay"] = True
        brought: Members = now["rebuilt"]
        return brought

    def comes_again(self, message_id: str, record: Members | None) -> bool:
        """Whether a replay may yet bring a message: this run made it, or a later one."""
        now = self.now
        if not now["replay"] or message_id in now["rebuilt"]:
            return False
        if record is None:
            return True  # an old one: nobody knows
        made = self.all.get(record["run"])
        return made is not None and bool(made.get("first", 0) >= self.run.get("first", 0))

    def follows(self, record: Members) -> bool:
        """Whether the run that made a message began behind this one."""
        made = self.all.get(record["run"])
        return made is not None and bool(made.get("first", 0) > self.run.get("first", 0))

    def goes_on(self, record: Members) -> bool:
        """Whether the run that made a message has not ended."""
        return "now" in self.all.get(record["run"], ())

    def adds(self, record: Members) -> bool:
        """Whether this run adds to a message or call that another one made."""
        return self._own["start"] is not None and record["run"] != self._own["run"]

    def new(self, name: str, record: Members, size: int) -> int:
        """How much is new of what comes for a message or call: counted where this run adds to it.

        It cannot be built anew, nobody sends again what the other run said: a replay goes on
        behind what is there.
        """
        if not self.adds(record):
            return size
        now, run = self.now, self._own["run"]
        added, came = record.setdefault("added", {}), now["came"]
        known: int = added.pop(run, 0)
        brought: int = came.pop(name, 0) + size
        came[name] = brought
        forget_oldest(came, _CAME)
        if not now["replay"]:
            known = 0
        added[run] = max(known, brought)
        forget_oldest(added, _ALSO)
        return min(size, max(0, brought - known))

    def holds_none(self, record: Members) -> None:
        """A message or call was made anew: it holds nothing of what other runs added."""
        record.pop("added", None)

    def skips(self) -> bool:
        """Whether a patch of the state is one that the state holds, in a replay; counted."""
        now = self.now
        if now["skip"] > 0:
            now["skip"] -= 1
            return True
        return False

    def skip_none(self) -> None:
        """The state was brought whole: patches count from here on."""
        self.now["skip"] = 0

    def patched(self) -> None:
        """A patch of the state came."""
        if "deltas" in self.run:
            self.run["deltas"] += 1

    # -- what the short way may take -----------------------------------------------------------

    @property
    def known(self) -> Members:
        """What is known of the session; `cooled`: how often some stream of it did what no short
        way may miss, such as a replay, or dropping a call."""
        known = self.table("known")
        known.setdefault("cooled", 0)
        return known

    def cool_one(self, entity: str) -> None:
        """No delta of a message or call takes the short way any more."""
        self.cool[entity] = None

    def cool_all(self) -> None:
        """No delta takes the short way any more, of this stream or another one of the session."""
        self.known["cooled"] += 1


def _nothing_yet() -> Members:
    """What is in progress where nothing is."""
    return {
        "replay": False,
        # Of a replay: what was rebuilt, and patches of the state to skip.
        "rebuilt": {},
        "skip": 0,
        # How much came for what another run made (characters, patches).
        "came": {},
        # Calls that a snapshot took away before their end, for a stream that goes on with them.
        "dropped": {},
        # Messages to close at the end, subagents, thoughts without an id.
        "opened": {},
        "subagents": {},
        "thoughts": 0,
    }
