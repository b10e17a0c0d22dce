"""Worker threads that help: a call that waits for another one runs it; also the running of a call in this thread.

Touches the core's blocking seam and, for messages, `inspection.stacks`. Guarantees: a call that waits for one that has
not started runs it in place of sleeping (JSR 166 calls that helping); a cycle of calls that wait for each other raises
in one of them; other threads pay nothing.
"""

from __future__ import annotations

from corefutures._blocking import RLock, clock, current_workers, threading
from corefutures_pools.foreign_code import drop_frame
from corefutures_pools.lifecycle import renew_in_child

TYPE_CHECKING = False  # as in `corefutures`: a first pool does without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping
    from types import CodeType
    from typing import Any

    from corefutures_pools.inspection.stacks import Frame

#: The code of functions that run calls: the next frame in a stack is a call. For the names in a `DeadlockError`.
call_frames: set[CodeType] = set()

#: The code of functions that only wrap a call: the frame after them is the call. So do those of our private modules.
wrapper_frames: set[CodeType] = set()

# Guards the wait-for graph, which is every `WorkerThread.awaited`, against the search for a cycle: of two threads that
# close a cycle together, the later one sees it. No other lock is taken and no foreign code runs under it. Reentrant,
# because a finaliser that interrupts its holder may wait for a call.
_wait_graph_lock = RLock()


def run_call(
    future: Any, fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any] | None
) -> tuple[Any, BaseException | None]:
    """Run `fn(*args, **kwargs)`, the call of `future`, in this thread.

    Args:
        future: The future, for observers.
        fn: The function to call.
        args: Its positional arguments.
        kwargs: Its keyword arguments; None for none.

    Returns:
        The result, and the exception that was raised in its place, without this frame in its traceback (F6).
    """
    observed = future._cf_observed
    if observed is not None:
        observed.begin(threading.current_thread().name)
    try:
        return fn(*args, **(kwargs or {})), None
    except BaseException as exc:
        drop_frame(exc)
        return None, exc
    finally:
        if observed is not None:
            observed.finished = clock.perf_counter()
        # The frames of an exception's traceback refer to this one, as their caller: no cycle.
        del future, fn, args, kwargs, observed


call_frames.add(run_call.__code__)


class WorkerThread:
    """A worker thread of a pool.

    Args:
        calls: The futures of the calls that it runs: more than one if it runs some in place, innermost last.
        claim: Takes a call that has not started out of the pool's queue; returns False if it is not there.
        run: Runs a call that was claimed, in this thread.
        workers: Returns the worker threads of the same pool.
    """

    __slots__ = (
        "_claim", "_needs_all", "_run", "_workers", "awaited", "busy_since", "calls", "cancelled", "failed", "finished",
        "runs_calls", "taking", "values",
    )  # fmt: skip

    def __init__(
        self,
        calls: list[Any],
        claim: Callable[[Any], bool],
        run: Callable[[Any], None],
        workers: Callable[[], Iterable[WorkerThread]],
    ) -> None:
        self.calls = calls
        self._claim = claim
        self._run = run
        self._workers = workers
        self.runs_calls = False  # true once its initializer has returned
        self.taking: Any = None  # the call that is between the queue and `calls`, for a forked child (E11)
        self.awaited: tuple[Any, ...] = ()  # the futures that the innermost call waits for, asleep
        self.values: Any = None  # a `WorkerValues`, once a call has used `worker_local`
        self._needs_all = False  # whether it needs all of them, without a time limit
        # Numbers of calls so far, for the statistics; written by this thread alone.
        self.finished = self.failed = self.cancelled = 0
        # The time when it last began a call after it had been idle, and how many calls had ended then.
        self.busy_since = (clock.monotonic(), 0)

    def help_one(self, awaited: Iterable[Any], *, timed: bool = False) -> bool:
        """Run a call in place of sleeping; return False if there is none that can be run.

        That is one of `awaited` that has not started; if all threads of the pool sleep, also one that a call of
        theirs waits for. A thread with a time limit sleeps instead, unless all others do.
        """
        if not self.runs_calls:
            return False
        alone = all(worker is self or worker.awaited for worker in list(self._workers()))
        if timed and not alone:
            return False
        for future in awaited:
            for wanted in _wait_for_leaves(future) if alone else (future,):
                if self._take(wanted):
                    self.end_blocking()
                    del awaited, future
                    self._run(wanted)
                    return True
        return False

    def help_until(self, awaited: Iterable[Any], ended: Callable[[], bool], *, timed: bool, needs_all: bool) -> None:
        """Run calls in place of sleeping as long as there are any; then note what this thread is about to sleep for.

        Args:
            awaited: The futures that it waits for.
            ended: Returns whether it need not sleep any more.
            timed: Whether it has a time limit.
            needs_all: See `begin_blocking`.

        Raises:
            DeadlockError: See `begin_blocking`.
        """
        while not ended():
            if not self.help_one(awaited, timed=timed):
                self.begin_blocking(tuple(awaited), needs_all=needs_all)
                # Two threads may have looked while the other one was awake. The later one sees now that both sleep.
                if not self.help_one(awaited, timed=timed):
                    return

    def _take(self, future: Any) -> bool:
        self.taking = future
        try:
            if not self._claim(future):
                return False
            self.calls.append(future)
            return True
        finally:
            self.taking = None

    def adopt(self, future: Any) -> bool:
        """Take a call that has not started out of the pool's queue, for this thread; return whether it was there.

        The call is a stream, which this thread runs step by step, while the call that takes its items goes on.
        """
        if not self.runs_calls:
            return False
        self.taking = future
        try:
            if not self._claim(future):
                return False
            if self.calls:
                self.calls.insert(len(self.calls) - 1, future)
            return True
        finally:
            self.taking = None

    def mark_busy(self) -> None:
        """Note that the next call begins now. For threads that were idle: they have the time to look at a clock."""
        self.busy_since = (clock.monotonic(), self.finished + self.failed + self.cancelled)

    def running_since(self) -> float | None:
        """Return when its outermost call began, by `time.monotonic`; None if that is not known."""
        since, ended = self.busy_since
        return since if self.finished + self.failed + self.cancelled == ended else None

    def begin_blocking(self, awaited: tuple[Any, ...], *, needs_all: bool) -> None:
        """Note that the innermost call sleeps until some of `awaited` end or, if it `needs_all`, until all have ended.

        Raises:
            DeadlockError: It would sleep for ever: one of them belongs to a call that waits for this one.
        """
        cycle: list[tuple[Any, WorkerThread]] = []
        if needs_all:
            for future in awaited:
                if (held := getattr(future, "_cf_held", None)) is not None and held.waits_for_ever(self.calls):
                    raise held.deadlock(_call_name(self.calls[-1], self))
        with _wait_graph_lock:
            self.awaited, self._needs_all = awaited, needs_all
            if needs_all and self.calls:
                cycle = self._find_cycle(awaited)
        if cycle:
            self.end_blocking()
            from corefutures._exceptions import DeadlockError  # here for start-up time only

            names = [_call_name(future, worker) for future, worker in cycle]
            raise DeadlockError("these calls wait for each other: " + " → ".join([*names, names[0]]))

    def end_blocking(self) -> None:
        """Note that the innermost call runs again."""
        self.awaited, self._needs_all = (), False

    def _find_cycle(self, awaited: tuple[Any, ...]) -> list[tuple[Any, WorkerThread]]:
        """Return the path in the wait-for graph from one of `awaited` to a call of this thread, if there is one."""
        paths = [[(future, worker)] for future in awaited if (worker := _worker_of(future)) is not None]
        seen: set[WorkerThread] = set()
        while paths:
            path = paths.pop()
            worker = path[-1][1]
            if worker is self:
                return path
            if worker not in seen and worker._needs_all:
                seen.add(worker)
                paths += [
                    [*path, (future, runner)] for future in worker.awaited if (runner := _worker_of(future)) is not None
                ]
        return []


def _worker_of(future: Any) -> WorkerThread | None:
    """Return the thread that runs the call of `future`; call nothing of a future that is not ours."""
    for worker in list(current_workers.values()):
        for running in list(worker.calls):
            if running is future:
                return None if running.done() else worker
    return None


def _wait_for_leaves(future: Any) -> Iterator[Any]:
    """Yield the leaves of the wait-for graph under `future`: the awaited futures that no thread runs."""
    left, seen = [future], set[WorkerThread]()
    while left:
        future = left.pop()
        worker = _worker_of(future)
        if worker is None:
            held = getattr(future, "_cf_held", None)  # it waits for slots
            holders = () if held is None else held.holders()
            left.extend(holders)
            if not holders:
                yield future
        elif worker not in seen:
            seen.add(worker)
            left.extend(worker.awaited)


def call_names(worker: WorkerThread, stacks: Mapping[int, list[Frame]] | None = None) -> list[str]:
    """Return the names for messages of the calls that a thread runs, or their functions' names; innermost last.

    Args:
        worker: The thread.
        stacks: The stacks of all threads; None to have them collected.
    """
    ident = next((ident for ident, known in list(current_workers.items()) if known is worker), None)
    if stacks is None:
        from corefutures_pools.inspection.stacks import own_stacks  # here for start-up time only

        stacks = own_stacks()
    stack = [] if ident is None else stacks.get(ident, [])
    known, skipped = _places(call_frames), _places(wrapper_frames)
    functions = []
    expected = False
    for file, _, function in stack:
        name = function.rpartition(".")[2]  # as far as every kind of stack has it
        if expected and (file, name) not in skipped and not _in_private_module(file):
            functions.append(function)
            expected = False
        expected = expected or (file, name) in known
    functions.reverse()
    names = []
    for future in list(worker.calls):
        function = functions.pop() if functions else "a call"
        names.append(f"{function} (named {future._cf_name!r})" if future._cf_name else function)
    return names


def _places(codes: set[CodeType]) -> set[tuple[str, str]]:
    return {(code.co_filename, code.co_name) for code in codes}


def _in_private_module(file: str) -> bool:
    """Return whether a file is a module of the toolkit, or a private one of another distribution of ours."""
    within, _, rest = file.replace("\\", "/").rpartition("/corefutures")
    distribution, _, module = rest.partition("/")
    return bool(within) and (distribution == "_pools" or module.startswith(("_", "registry/")))


def _call_name(future: Any, worker: WorkerThread) -> str:
    names, calls = call_names(worker), list(worker.calls)
    return names[calls.index(future)] if future in calls and len(names) == len(calls) else "a call"


def _after_fork_in_child() -> None:
    global _wait_graph_lock
    _wait_graph_lock = RLock()


renew_in_child(_after_fork_in_child)
