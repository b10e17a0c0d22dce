"""Runs small programs of threads under every schedule with a bounded number of preemptions (CHESS, Musuvathi 2008).

One thread runs at a time. Before each instruction of our code that can touch shared objects, and before each operation
of a lock, queue or clock, the explorer decides which thread goes on. `world` has the primitives that stand in the seam.
Guarantees: a schedule is a list of decisions, and running it again does the same; a deadlock is a failure, not a hang.
"""

from __future__ import annotations

import _thread
import ast
import dis
import gc
import logging
import os
import select
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from contextvars import Context
from dataclasses import dataclass, field, replace
from functools import partial
from itertools import count
from random import Random
from types import CodeType, FrameType
from typing import Any

#: Instructions that read or write a container, or an attribute by way of something else.
_CONTAINERS = (
    "STORE_SUBSCR", "BINARY_SUBSCR", "BINARY_OP", "DELETE_SUBSCR", "FOR_ITER", "CONTAINS_OP", "STORE_GLOBAL",
    "DELETE_GLOBAL", "LIST_EXTEND", "UNPACK", "DELETE_ATTR", "STORE_ATTR",
)  # fmt: skip
#: Methods and built-in functions, written in C, that read or change a container that threads may share.
_METHODS = frozenset({
    "append", "appendleft", "pop", "popleft", "popitem", "remove", "extend", "clear", "get", "setdefault", "add",
    "discard", "update", "index", "insert", "copy", "items", "keys", "values", "count", "put", "get_nowait",
})  # fmt: skip
_FUNCTIONS = frozenset({
    "len", "list", "tuple", "set", "dict", "sorted", "any", "all", "zip", "map", "next", "min", "max", "sum", "iter",
    "reversed", "enumerate",
})  # fmt: skip
#: The end of what a forked child says.
_ENDED = "(end)"
#: Seconds of the real clock that a forked child gets.
_CHILD_SECONDS = 20
#: After so many decisions a schedule that is chosen at random is a fair one.
_UNFAIR = 2_000
#: How often a thread may look in vain while others could run.
_PATIENCE = 3
#: Instructions after which CPython runs signal handlers and finalisers: calls, loops, the beginning of a function.
_AFTER = ("CALL", "JUMP_BACKWARD", "RESUME")
#: Before an instruction: threads may be switched; a handler may run.
_SWITCH, _HANDLER = 1, 2
#: No step has such a number.
_NEVER = 1 << 60


class Places:
    """Where in a program's code threads are switched, and where handlers run.

    A switch matters only before an instruction that touches an object which another thread may touch. Left out are
    attributes that nobody writes after construction, local variables, and calls of our own functions: their bodies have
    switches of their own.

    Args:
        files: The sources of the files that are explored, by name.
    """

    def __init__(self, files: dict[str, str]) -> None:
        self._callees: dict[str, dict[tuple[int | None, ...], ast.expr]] = {}
        self._written: set[str] = set()
        for name, source in files.items():
            tree = ast.parse(source)
            self._callees[name] = {
                (node.lineno, node.end_lineno, node.col_offset, node.end_col_offset): node.func
                for node in ast.walk(tree)
                if isinstance(node, ast.Call)
            }
            for function in ast.walk(tree):
                if isinstance(function, ast.FunctionDef | ast.Module) and getattr(function, "name", "") != "__init__":
                    self._written |= {
                        node.attr
                        for statement in function.body
                        if not isinstance(statement, ast.ClassDef | ast.FunctionDef)
                        for node in ast.walk(statement)
                        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store)
                    }
        self._kinds: dict[int, dict[int, int]] = {}  # by the identity of a code object: to hash one is dear
        self._points: dict[int, dict[int, int]] = {}  # the same, without what only handlers need
        self._kept: list[CodeType] = []
        self.interrupts = False  # some thread has a handler

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Has `Run.instruction` called before each instruction of the files, where Python can do so for all threads."""
        if sys.version_info < (3, 12):
            yield
            return
        monitoring = sys.monitoring
        tool = monitoring.DEBUGGER_ID
        monitoring.use_tool_id(tool, "explorer")
        monitoring.register_callback(tool, monitoring.events.INSTRUCTION, _on_instruction)
        things = [getattr(thing, "__code__", None) for thing in gc.get_objects()]
        functions = [code for code in things if isinstance(code, CodeType)]
        # By identity: copies of a module have code objects that are equal.
        codes = {id(inner): inner for code in functions for inner in _with_inner(code)}
        own = [code for code in codes.values() if self.explored(code.co_filename)]
        for code in own:
            monitoring.set_local_events(tool, code, monitoring.events.INSTRUCTION)
        monitoring.restart_events()  # other places were disabled before
        try:
            yield
        finally:
            for code in own:
                monitoring.set_local_events(tool, code, 0)
            monitoring.free_tool_id(tool)

    def kinds(self, code: CodeType) -> dict[int, int]:
        """Returns what may happen before the instructions of a function, by their offsets: see `_SWITCH`."""
        kinds = self._kinds.get(id(code))
        if kinds is None:
            self._kept.append(code)
            kinds = self._kinds[id(code)] = self._find_kinds(code)
        return kinds

    def points(self, code: CodeType) -> dict[int, int]:
        """Returns of `kinds` those that have an effect: without a handler, only switches."""
        kinds = self.kinds(code)
        if self.interrupts:
            return kinds
        points = self._points.get(id(code))
        if points is None:
            points = self._points[id(code)] = {offset: kind for offset, kind in kinds.items() if kind & _SWITCH}
        return points

    def explored(self, filename: str) -> bool:
        """Whether threads may be switched in a file."""
        return filename in self._callees

    def _find_kinds(self, code: CodeType) -> dict[int, int]:
        kinds, previous = {}, ""
        for instruction in dis.get_instructions(code):
            name = instruction.opname
            if name.startswith(("LOAD_ATTR", "LOAD_METHOD")):
                matters = instruction.argval in self._written
            elif name.startswith("CALL") and not name.startswith("CALL_INTRINSIC"):
                matters = self._is_foreign(code, instruction)
            else:
                matters = name.startswith(_CONTAINERS)
            kind = _SWITCH * matters + _HANDLER * previous.startswith(_AFTER)
            if kind:
                kinds[instruction.offset] = kind
            previous = name
        return kinds

    def _is_foreign(self, code: CodeType, instruction: dis.Instruction) -> bool:
        """Whether a call is one of C code that reads or changes what threads share."""
        where = instruction.positions
        callee = None if where is None else self._callees[code.co_filename].get(tuple(where))
        if isinstance(callee, ast.Attribute):
            return callee.attr in _METHODS
        if isinstance(callee, ast.Name):
            return callee.id in _FUNCTIONS or callee.id in (*code.co_varnames, *code.co_freevars, *code.co_cellvars)
        return False


def _with_inner(code: CodeType) -> Iterator[CodeType]:
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _with_inner(constant)


def _on_instruction(code: CodeType, offset: int) -> object:
    run = Run.current
    if run is None:
        return None
    kind = run.places.kinds(code).get(offset, 0)
    if not kind & (_SWITCH | _HANDLER if run.places.interrupts else _SWITCH):
        return sys.monitoring.DISABLE  # for good: that saves half of the time
    run.instruction(kind)
    return None


class Abandoned(BaseException):
    """Ends the threads of a schedule that is over."""


class Interrupted(BaseException):
    """What a signal handler of a model raises, as Ctrl-C does."""


#: A schedule: the steps at which another option than the first one was taken, and which.
Schedule = list[list[int]]


@dataclass
class Decision:
    """A place where something else could have come next."""

    step: int  # the number of the step, from the beginning of the program
    chosen: int
    costs: list[int] = field(default_factory=list)  # of each option, in preemptions; none if they are not known
    options: list[int] = field(default_factory=list)  # the numbers of the actors


class Host:
    """A thread of the system: it runs one actor after another, as to start one for each of them is dear."""

    def __init__(self) -> None:
        self.gate = _closed_gate()
        self.live: Callable[[], None] | None = None
        _thread.start_new_thread(self._serve, ())

    def _serve(self) -> None:
        while True:
            self.gate.acquire()
            live, self.live = self.live, None
            if live is None:
                return
            Context().run(live)

    def renew(self) -> None:
        """Takes another gate: nobody but the actor that has ended opens the old one."""
        self.gate = _closed_gate()

    def end(self) -> None:
        """Ends the thread, which has no actor."""
        self.gate.release()


def _closed_gate() -> Any:
    gate = _thread.allocate_lock()
    gate.acquire()
    return gate


#: Those that have no actor.
_idle_hosts: list[Host] = []


def _end_hosts() -> None:
    while _idle_hosts:
        _idle_hosts.pop().end()


@dataclass
class Actor:
    """A thread of the program."""

    name: str
    run: Callable[[], object]
    host: Host
    number: int = 0
    gate: Any = None  # its thread waits there while another one runs
    finished: Any = field(default_factory=_thread.allocate_lock)  # held until its thread is about to end
    blocked: Callable[[], bool] | None = None  # returns whether it may go on; None: it can run
    deadline: float | None = None  # when a wait with a time limit ends, by the virtual clock
    timed_out: bool = False
    ended: bool = False
    handlers: list[Callable[[], object]] = field(default_factory=list)  # each interrupts it at most once
    error: BaseException | None = None
    ident: int = 0  # of the thread of the system
    own: bool = True  # the program's, not started by one of its threads
    check: Callable[[], object] | None = None  # called before each of its system calls, and after each other point
    stopped: bool = False  # it is not to run, until that changes
    thread: Any = None  # what `threading` knows of it

    def __post_init__(self) -> None:
        self.gate = self.host.gate
        self.finished.acquire()


class Priorities:
    """Chooses at random as PCT does (Burckhardt 2010): threads have priorities, and a few decisions change them.

    A fault that shows itself if so many decisions are made in one way is found with a known probability. A schedule
    that has become long goes on fairly, as Coyote's: at random, without priorities. So two threads that share the work
    can't keep a third one from its part for ever.

    Args:
        random: Decides.
        changes: At how many decisions the thread of the highest priority gets the lowest.
        length: About how many decisions there are.
    """

    def __init__(self, random: Random, changes: int, length: int) -> None:
        self._random = random
        self._changes = {random.randrange(max(1, length)) for _ in range(changes)}
        self._of: dict[int, float] = {}
        self._lowest = 0.0

    def choose(self, options: Sequence[Actor | None], index: int) -> int:
        """Returns which of the options is taken; None stands for a handler that interrupts."""
        if index >= _UNFAIR:
            return self._random.randrange(len(options))
        for option in options:
            self._of.setdefault(id(option), self._random.random())
        best = max(range(len(options)), key=lambda number: self._of[id(options[number])])
        if index in self._changes:
            self._lowest -= 1
            self._of[id(options[best])] = self._lowest
            best = max(range(len(options)), key=lambda number: self._of[id(options[number])])
        if options[best] is None:
            self._of[id(None)] = self._random.random()
        return best


class Failure(Exception):
    """A schedule under which the program did something wrong."""


class Run:
    """One execution under one schedule.

    Args:
        places: Where threads are switched.
        known: The decisions to make first. If their options are known, as they are of the run before, other ones are a
            failure: the program did not do the same. After them, the first option is taken each time.
        preemptions: How many may be spent. What is dearer is no decision.
        delays: Whether it costs as much as a preemption if, of threads that can run when one ends or blocks, another
            goes on than the first (delay bounding, Emmi 2011): for programs of many threads.
        most_steps: More switching points than this count as a livelock.
    """

    current: Run | None = None

    def __init__(
        self, places: Places, known: Sequence[Decision] = (), *, preemptions: int = _NEVER, delays: bool = False,
        most_steps: int = 20_000,
    ) -> None:  # fmt: skip
        self.delays = delays
        self.actors: list[Actor] = []
        self.priorities: Priorities | None = None
        self.decisions = list(known)
        self._ahead = [decision for decision in reversed(known) if decision.chosen]
        self._affordable = preemptions - sum(one.costs[one.chosen] for one in self._ahead if one.costs)
        #: Before the step of this number the running thread goes on: it did so in the run before, or all is spent.
        self._undecided_until = 0
        self._look_ahead()
        self.now = 1000.0
        self.running: Actor | None = None
        self.failure: Failure | None = None
        self.over = False
        #: Called after a schedule under which nothing went wrong, as the program's own check is.
        self.checks: list[Callable[[], object]] = []
        #: Called once the schedule and its check are over.
        self.closers: list[Callable[[], object]] = []
        self.places = places
        self._steps = 0
        self._most_steps = most_steps
        self._done = _thread.allocate_lock()
        self._done.acquire()
        self._in_handler = False
        self._settled = 0  # more than 0: nothing is decided, see `settled`
        self._polls = 0
        self._polled_last: Actor | None = None
        self._is_child = False
        self._report = -1  # where a child says what went wrong
        #: How the names of those threads end that can't start.
        self.refused_threads = ""
        #: Whether threads that the program has not spawned itself (a pool's workers) may be left waiting at the end.
        self.idle_threads_may_wait = False

    @property
    def schedule(self) -> Schedule:
        """What was decided."""
        return [[decision.step, decision.chosen] for decision in self.decisions if decision.chosen]

    # ── the program's threads ────────────────────────────────────────────────────────────────────────────────

    def spawn(self, name: str, run: Callable[[], object], *handlers: Callable[[], object], own: bool = True) -> Actor:
        """Adds a thread; it runs once it is chosen.

        Args:
            name: For messages.
            run: What it runs.
            *handlers: Signal handlers, each of which interrupts it once at most, at any point.
            own: Whether it is the program's: see `idle_threads_may_wait`.
        """
        host = _idle_hosts.pop() if _idle_hosts else Host()
        actor = Actor(name, run, host, number=len(self.actors), handlers=list(handlers), own=own)
        if handlers and not self.places.interrupts:
            self.places.interrupts = True
            if sys.version_info >= (3, 12):
                sys.monitoring.restart_events()
        self.actors.append(actor)
        host.live = partial(self._live, actor)
        return actor

    def _live(self, actor: Actor) -> None:
        try:
            if not self.over:
                actor.ident = _thread.get_ident()
                if sys.version_info < (3, 12):
                    sys.settrace(self._trace)
                actor.run()
        except Abandoned:
            pass
        except BaseException as error:
            actor.error = error
            if not self.over:
                text = "".join(traceback.format_exception(error))
                self._fail(f"{actor.name} raised {type(error).__name__}: {error}\n{text}")
        finally:
            sys.settrace(None)
            actor.ended = True
            if not self.over:
                with suppress(Abandoned):
                    self._hand_on(actor)
            actor.host.renew()
            actor.finished.release()

    def _trace(self, frame: FrameType, event: str, arg: Any) -> Any:
        if event != "call" or not self.places.explored(frame.f_code.co_filename):
            return None
        kinds = self.places.points(frame.f_code)
        if not kinds:
            return None
        frame.f_trace_opcodes = True
        frame.f_trace_lines = False

        def trace_inside(frame: FrameType, event: str, arg: Any) -> Any:
            if event == "opcode" and (kind := kinds.get(frame.f_lasti)):
                self.instruction(kind)
            return trace_inside

        return trace_inside

    def instruction(self, kind: int) -> None:
        """A thread of the program is about to run an instruction of a file that is explored."""
        actor = self.running
        if actor is None or actor.ident != _thread.get_ident():
            return
        if kind & _HANDLER and actor.handlers and not self._in_handler:
            self.point(interrupts=True)
        elif kind & _SWITCH:
            self.point()
            if actor.check is not None:
                actor.check()

    # ── decisions ────────────────────────────────────────────────────────────────────────────────────────────

    @contextmanager
    def settled(self) -> Iterator[None]:
        """Has what comes before the hand-off run under one schedule: a thread goes on until it blocks."""
        self._settled += 1
        try:
            yield
        finally:
            self._settled -= 1

    def point(self, *, interrupts: bool = False) -> None:
        """Lets another thread run before the running one goes on, or a handler of its own, if the schedule says so."""
        if self.over:
            raise Abandoned
        self._steps += 1
        if self._steps > self._most_steps:  # a thread that polls without sleeping
            self._fail(f"the program does not come to an end\n{self._stacks()}")
            raise Abandoned
        if self._steps < self._undecided_until or self._settled:
            return
        me = self.running
        assert me is not None
        others = self._others(me)
        options: list[Actor | None] = [me, *others]
        costs = [0] + [1] * len(others)
        if interrupts and me.handlers:
            options.append(None)
            costs.append(1)
        chosen = options[self._decide(costs, options)]
        if chosen is None:
            handler = me.handlers.pop(0)
            self._in_handler = True
            try:
                handler()
            finally:
                self._in_handler = False
        elif chosen is not me:
            self._switch(me, chosen)

    def wait(self, ready: Callable[[], bool], timeout: float | None = None) -> bool:
        """Blocks the running thread until `ready()` or for `timeout` virtual seconds; returns whether it was ready."""
        me = self.running
        assert me is not None
        self.point()
        if ready():
            return True
        if timeout is not None and timeout <= 0:
            return False
        me.blocked, me.timed_out = ready, False
        me.deadline = None if timeout is None else self.now + timeout
        try:
            self._hand_on(me)
            me.gate.acquire()
            if self.over:
                raise Abandoned
            # A time that is up and the event may come at the same moment.
            return not me.timed_out if timeout is None or not self._is_due(me) else ready()
        finally:
            me.blocked = me.deadline = None

    def poll(self) -> None:
        """The running thread looks whether something is ready, which it is, perhaps again and again.

        Schedulers are fair: one that does so many times in a row while others could run lets one of these run. Without
        that, a loop that waits for what a preempted thread does would not end.
        """
        me = self.running
        assert me is not None
        self._polls = self._polls + 1 if self._polled_last is me else 0
        self._polled_last = me
        if self._polls > _PATIENCE:
            self._polls = 0
            if others := self._others(me):
                self._switch(me, self._choose(others))
                return
            # It is alone: time passes meanwhile.
            first = self._next_due()
            self.now = self.now + 0.001 if first is None else max(self.now, first.deadline or 0.0)
        self.point()

    def _next_due(self) -> Actor | None:
        """Returns the thread whose wait ends first by its time limit, if there is one."""
        timed = [actor for actor in self.actors if not (actor.ended or actor.stopped) and actor.deadline is not None]
        return min(timed, key=lambda actor: actor.deadline or 0.0, default=None)

    def _others(self, me: Actor) -> list[Actor]:
        """Returns the other threads that can run."""
        return [actor for actor in self.actors if actor is not me and self._can_run(actor)]

    def _can_run(self, actor: Actor) -> bool:
        if actor.ended or actor.stopped:
            return False
        return actor.blocked is None or actor.blocked() or self._is_due(actor)

    def _is_due(self, actor: Actor) -> bool:
        """Whether the wait of an actor has lasted as long as it may."""
        return actor.deadline is not None and actor.deadline <= self.now

    def _choose(self, candidates: list[Actor]) -> Actor:
        """Returns which thread goes on in place of the one that ran."""
        self._steps += 1
        return candidates[self._decide([0, *[int(self.delays)] * (len(candidates) - 1)], candidates)]

    def _decide(self, costs: list[int], options: Sequence[Actor | None]) -> int:
        step = self._steps
        if step < self._undecided_until and self._ahead:  # as in the run before
            return 0
        if self._ahead:
            decision = self._ahead.pop()
            numbers = [-1 if option is None else option.number for option in options]
            if decision.costs and (decision.step, decision.options) != (step, numbers):
                self._fail(f"the program does not do the same when it is run again: see step {step}")
                raise Abandoned
            self._look_ahead()
            return decision.chosen if decision.chosen < len(costs) else 0  # a stored one may be of another program
        if len(costs) == 1 or self._settled or min(costs[1:]) > self._affordable:
            return 0
        chosen = 0 if self.priorities is None else self.priorities.choose(options, len(self.decisions))
        numbers = [-1 if option is None else option.number for option in options]
        self.decisions.append(Decision(step, chosen, costs, numbers))
        return chosen

    def _look_ahead(self) -> None:
        """Finds the step of the next decision that is known, or can be made."""
        if self._ahead:
            self._undecided_until = self._ahead[-1].step
        else:
            self._undecided_until = 0 if self._affordable > 0 else _NEVER

    def _switch(self, me: Actor, other: Actor) -> None:
        self._polled_last = None
        self.running = other
        other.gate.release()
        me.gate.acquire()
        if self.over:
            raise Abandoned

    def _hand_on(self, me: Actor) -> None:
        """The running thread has ended or blocks: another one goes on; who that is costs no preemption."""
        candidates = self._others(me)
        # A wait with a time limit may also end by that: time passes as soon as nothing else can happen.
        if not candidates:
            first = self._next_due()
            if first is not None:
                self.now = max(self.now, first.deadline or 0.0)
                first.timed_out = True
                candidates = [first]
        if not candidates:
            own = [actor for actor in self.actors if actor.own or not self.idle_threads_may_wait]
            if all(actor.ended for actor in own):
                self.over = True
                self._done.release()
            else:
                stuck = [actor.name for actor in own if not actor.ended]
                self._fail(f"deadlock: {', '.join(stuck)} wait for ever\n{self._stacks()}")
            return
        chosen = self._choose(candidates)
        self.running = chosen
        chosen.gate.release()

    def _stacks(self) -> str:
        """Returns where the threads are that have not ended."""
        frames = sys._current_frames()
        told = []
        for actor in self.actors:
            if not actor.ended and actor.ident in frames:
                lines = traceback.format_stack(frames[actor.ident])
                told.append(f"{actor.name}:\n" + "".join(line for line in lines if "explorer.py" not in line))
        return "\n".join(told)

    def _fail(self, message: str) -> None:
        if self._is_child:
            self._end_child(message)
        if self.failure is None:
            self.failure = Failure(message)
        if not self.over:
            self.over = True
            self._done.release()

    # ── forks ────────────────────────────────────────────────────────────────────────────────────────────────

    def fork(self, child: Callable[[], object]) -> None:
        """The running thread forks the process for real; what `child()` raises in the child fails the schedule.

        No other thread is left in the child, and the locks are as they were. From the fork on, handlers included, the
        child runs under one schedule.
        """
        self.point()
        reader, self._report = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of threads in a process that forks
            pid = os.fork()
        if pid == 0:
            try:
                child()
            except BaseException as error:
                self._end_child("".join(traceback.format_exception(error)))
            self._end_child("")
        os.close(self._report)
        with open(reader, encoding="utf-8") as report:
            if not select.select([report], [], [], _CHILD_SECONDS)[0]:
                os.kill(pid, signal.SIGKILL)
            message = report.read()
        os.waitpid(pid, 0)
        if message != _ENDED:
            self._fail(f"in a forked child: {message.removesuffix(_ENDED) or 'it hangs, or has died'}")
            raise Abandoned

    def begin_child(self) -> None:
        """Leaves the running thread alone in the forked child: called before all other handlers of the fork."""
        self.actors = [actor for actor in self.actors if actor is self.running]
        self._is_child = True
        self._settled += 1
        self._ahead.clear()
        self._look_ahead()
        _idle_hosts.clear()  # they are threads of the parent

    def _end_child(self, message: str) -> None:
        with open(self._report, "w", encoding="utf-8", closefd=False) as report:
            report.write(message + _ENDED)
        os._exit(0)

    # ── from outside ─────────────────────────────────────────────────────────────────────────────────────────

    def go(self) -> None:
        """Runs the program to its end."""
        Run.current = self
        try:
            self._steps += 1
            chosen = self.actors[self._decide([0] * len(self.actors), self.actors)]
            self.running = chosen
            chosen.gate.release()
            if not self._done.acquire(timeout=20):
                self.failure = Failure(f"a thread left the explorer: {[a.name for a in self.actors if not a.ended]}")
                self.over = True
            for actor in self.actors:  # those that wait for ever: nothing of them is to run in the next schedule
                if not actor.ended:
                    actor.gate.release()
                if actor.finished.acquire(timeout=5):
                    _idle_hosts.append(actor.host)
            if self.failure is None and self._ahead and self._ahead[0].costs:
                self.failure = Failure("the program does not do the same when it is run again: it ends early")
        finally:
            Run.current = None


# ── the same each time ───────────────────────────────────────────────────────────────────────────────────────────

_numbers = count(1)


def hash_by_number(*classes: type) -> None:
    """Has sets of such objects iterate in the same order in each run: their addresses differ."""

    def number(self: Any) -> int:
        known: int = self.__dict__.setdefault("_explorer_number", 0)
        if not known:
            known = self.__dict__["_explorer_number"] = next(_numbers)
        return known

    for one in classes:
        one.__hash__ = number  # type: ignore[method-assign, assignment]


@contextmanager
def _undisturbed() -> Iterator[None]:
    """Has no finaliser run at a moment that depends on how much memory was used; and nothing logged."""
    gc.collect()
    gc.freeze()
    gc.disable()
    logging.disable()  # what threads say that are abandoned
    hooks = sys.unraisablehook, sys.excepthook
    quiet = Abandoned, Interrupted  # also raised where nothing can be raised, as in finalisers
    sys.unraisablehook = lambda told: None if told.exc_type in quiet else hooks[0](told)
    sys.excepthook = lambda kind, error, trace: None if kind in quiet else hooks[1](kind, error, trace)
    try:
        yield
    finally:
        _end_hosts()
        sys.unraisablehook, sys.excepthook = hooks
        logging.disable(logging.NOTSET)
        gc.enable()
        gc.unfreeze()


def _collect_now_and_then(schedules: int) -> None:
    if schedules % 100 == 0:
        gc.collect()


def _after_fork_in_child() -> None:
    if Run.current is not None:
        Run.current.begin_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)


@dataclass
class Report:
    """What an exploration has found.

    Attributes:
        schedules: How many were run.
        complete: Whether those were all, with that many preemptions.
        failure: What went wrong; None if nothing did.
        schedule: What leads there, for `run_once`.
        files: In which files threads were switched.
    """

    schedules: int
    complete: bool
    failure: Failure | None = None
    schedule: Schedule = field(default_factory=list)
    files: tuple[str, ...] = ()


Program = Callable[[Run], "Callable[[], object] | None"]


def run_once(program: Program, schedule: Schedule, places: Places, *, delays: bool = False) -> Run:
    """Runs a program under one schedule; its own check comes at the end."""
    known = [Decision(step, chosen) for step, chosen in schedule]
    run = Run(places, known, preemptions=0, delays=delays)
    _run(run, program)
    return run


def _run(run: Run, program: Program) -> None:
    global _numbers
    _numbers = count(1)
    check = program(run)
    run.go()
    if run.failure is None and check is not None:
        try:
            for one in (check, *run.checks):
                one()
        except Exception as error:
            run.failure = Failure("".join(traceback.format_exception(error)))
    for close in run.closers:
        close()


def explore(
    program: Program,
    places: Places,
    *,
    preemptions: int = 2,
    delays: bool = False,
    most: int = 1_000_000,
    first: Iterable[Schedule] = (),
) -> Report:
    """Runs a program under every schedule with at most so many preemptions, depth first.

    Args:
        program: Is given the run, spawns threads, and returns the check of the end.
        places: Where threads are switched.
        preemptions: How often at most a thread that could go on has to wait, or is interrupted.
        delays: See `Run`.
        most: How many schedules at most.
        first: Schedules that failed in earlier runs, tried before all others.
    """
    with places.watched(), _undisturbed():
        return _explore(program, places, preemptions, delays, most, first)


def _explore(
    program: Program, places: Places, preemptions: int, delays: bool, most: int, first: Iterable[Schedule]
) -> Report:
    run = run_once(program, [], places)  # what is made at the first use is there in all others
    if run.failure is not None:
        return Report(1, False, run.failure)
    schedules = 0
    for known in first:
        schedules += 1
        run = run_once(program, known, places, delays=delays)
        if run.failure is not None:
            return Report(schedules, False, run.failure, known)
    decisions: list[Decision] | None = []
    while decisions is not None:
        if schedules >= most:
            return Report(schedules, False)
        schedules += 1
        run = Run(places, decisions, preemptions=preemptions, delays=delays)
        _run(run, program)
        if run.failure is not None:
            return Report(schedules, False, run.failure, run.schedule)
        decisions = _next(run.decisions, preemptions)
        _collect_now_and_then(schedules)
    return Report(schedules, True)


def search(program: Program, places: Places, *, changes: int, most: int, seed: int = 1) -> Report:
    """Looks for a failure in schedules that are chosen at random: see `Priorities`. For what has a fault."""
    random = Random(seed)
    length = 0
    with places.watched(), _undisturbed():
        run_once(program, [], places)  # as in `_explore`
        for number in range(most):
            _collect_now_and_then(number)
            run = Run(places)
            run.priorities = Priorities(random, changes, length)
            _run(run, program)
            length = max(length, len(run.decisions))
            if run.failure is not None:
                return Report(number + 1, False, run.failure, run.schedule)
    return Report(most, False)


def _next(decisions: list[Decision], preemptions: int) -> list[Decision] | None:
    """The decisions of the next schedule after one, depth first; None after the last."""
    spent = sum(decision.costs[decision.chosen] for decision in decisions)
    for index in range(len(decisions) - 1, -1, -1):
        last = decisions[index]
        spent -= last.costs[last.chosen]
        for option in range(last.chosen + 1, len(last.costs)):
            if spent + last.costs[option] <= preemptions:
                return [*decisions[:index], replace(last, chosen=option)]
    return None
