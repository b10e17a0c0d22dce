"""`Simulation`: runs simulated calls one at a time, in an order that `Choices` decides, by a clock of its own.

Touches `threading`. Guarantees: while calls block only in what the simulation knows, one thread runs at a time, and the
same choices give the same run; a wait that nothing can end raises.
"""

from __future__ import annotations

import contextlib
import itertools
import sys
import threading
import traceback
import weakref
from collections.abc import Callable, Iterator
from typing import Any, Final

from corefutures import DeadlockError, Future, WorkerLostError
from corefutures.backend import add_cancel_probe, clock, start_thread
from corefutures_pools.foreign_code import class_name
from corefutures_pools.future import begin, fail, finish
from corefutures_pools.helping import run_call
from corefutures_testing._choices import Choices
from corefutures_testing._future import Pool, SimulatedFuture
from corefutures_testing._waits import current_simulation, install_clock, leave, take_part

#: How many of the waiting calls of an executor may be the next one to start: with all of them, long queues take long.
_WINDOW: Final = 32
#: How probable it is that a thread which could go on does so, and that no fault happens, at each decision.
_GO_ON: Final = 0.6
_NO_FAULT: Final = 0.9
#: How often a program may ask whether a call has ended before another call goes on in any case.
_POLLS: Final = 4
#: Seconds after which a wait is given up that no call can end, if other threads take part, which might.
_STUCK: Final = 30.0


class Stopped(BaseException):
    """Ends a simulated call that was stopped: it is raised where the call waits."""


class Task:
    """A call that has started and has not ended; it has a thread, which runs only when it is the call's turn."""

    __slots__ = ("awaits", "deadline", "detached", "ended", "future", "limit", "lost", "pool", "stopped", "turn")

    def __init__(self, pool: Pool, future: SimulatedFuture[Any], turn: threading.Condition) -> None:
        self.pool = pool
        self.future = future
        self.turn = turn  # notified when it is the call's turn
        self.lost: str | None = None  # its worker is lost "before" or "after" it runs
        self.limit: float | None = None  # when the call is stopped
        self.detached = False  # it blocks in something that the simulation doesn't know, or runs for long
        self.stopped = False
        self.wait_for(None, None, ())

    def wait_for(
        self, ended: Callable[[], bool] | None, deadline: float | None, awaits: tuple[SimulatedFuture[Any], ...]
    ) -> None:
        """Note what the call waits for; None for its turn only."""
        self.ended = ended
        self.deadline = deadline
        self.awaits = awaits

    def is_ready(self, now: float) -> bool:
        """Return whether the call, which does not run, could go on."""
        if self.stopped or self.ended is None or (self.deadline is not None and now >= self.deadline):
            return True
        before, _asking.task = getattr(_asking, "task", None), self
        try:
            return self.ended()
        except BaseException:  # the call asks again, and raises it in its own thread
            return True
        finally:
            _asking.task = before


class _Runner:
    """A thread that runs calls, one after the other; between them it is idle."""

    def __init__(self, simulation: Simulation) -> None:
        self.turn = threading.Condition(simulation.lock)
        self.task: Task | None = None
        self.ends = False
        self.thread = threading.Thread(target=self._run, args=(simulation,), name="simulated worker", daemon=True)

    def _run(self, simulation: Simulation) -> None:
        ident = threading.get_ident()
        take_part(simulation)
        try:
            while (task := self._next()) is not None:
                _tasks[ident] = task
                simulation.run(task)
                del _tasks[ident]
                simulation.end_turn(task, self)
                del task
        finally:
            leave()

    def _next(self) -> Task | None:
        with self.turn:
            while self.task is None and not self.ends:
                self.turn.wait()
            task, self.task = self.task, None
            return task


class Simulation:
    """Runs the calls of simulated executors, when a thread waits for one of them.

    A thread of the program that waits drives the simulation: it decides which call goes on, and sleeps until that call
    waits or has ended.

    Args:
        choices: What decides.
        patience: Real seconds after which a call that does not come back, or a program that does not wait, is supposed
            to block in something that the simulation doesn't know. It then goes on without it.
        cancellations: How many of the waiting calls are cancelled, at most.
        losses: How many calls lose their worker, at most.
        delays: How many times the clock moves on although calls could run, at most.

    Thread safety: every method may be called from any thread.
    """

    def __init__(
        self, choices: Choices, *, patience: float, cancellations: int = 0, losses: int = 0, delays: int = 0
    ) -> None:
        # Guards all that follows, the queues of the executors and the tasks. No call and no callback of the program
        # runs under it, but for the predicates of waits. Reentrant: a signal handler or finaliser may submit.
        self.lock = threading.RLock()
        self.choices = choices
        self.patience = patience
        self.now = 0.0
        self.events: list[str] = []
        self.notes: list[str] = []  # why a replay may differ
        self.traced = False
        self._cancellations, self._losses, self._delays = cancellations, losses, delays
        self._changed = threading.Condition(self.lock)  # a turn has ended, or a call was submitted, cancelled, ended
        self._changes = 0
        self._pools: list[Pool] = []
        self._tasks: dict[Task, None] = {}  # those that wait for their turn
        self._running: Task | None = None  # whose turn it is; None while the program runs
        self._driver: int | None = None  # the thread that decides
        self._idle: list[_Runner] = []
        self._runners: list[_Runner] = []
        self._threads: set[int] = set()  # those of the program that take part
        self._awaited: dict[int, list[SimulatedFuture[Any]]] = {}  # by thread: what `wait` subscribed to
        self._loops: weakref.WeakSet[Any] = weakref.WeakSet()  # event loops that will take a turn
        self._polls = 0  # how often a program has asked whether a call is done, since the last change
        self._watching = False
        self._finished = threading.Event()  # no call is left and none can come
        self.closed = False
        self._numbers = itertools.count(1)
        _prepare()

    # ── for executors and futures ────────────────────────────────────────────────────────────────────────

    def make_pool(self, max_workers: int) -> Pool:
        """Make the queue and the workers of an executor."""
        pool = Pool(self, max_workers)
        with self.lock:
            self._pools = [known for known in self._pools if not known.closed or known.has_calls()]
            self._pools.append(pool)
            if self._finished.is_set():
                self._finished.clear()
                self._watching = False
        self.join_in()
        return pool

    def join_in(self) -> None:
        """Note that this thread takes part: its waits are ours."""
        ident = threading.get_ident()
        if ident not in _tasks and (ident not in self._threads or current_simulation() is not self):
            self._threads.add(ident)
            take_part(self)

    def submit(self, pool: Pool, future: SimulatedFuture[Any]) -> None:
        """Queue a call; other calls, or this one, may run before that returns."""
        self.join_in()
        with self.lock:
            future._cf_number = next(self._numbers)
            self.tell("{} is submitted", future)
            pool.waiting[future] = None
            self._note_change()
            self.let_others_run()
            self._watch()
        if "asyncio" in sys.modules:
            self._follow_loop()

    def forget(self, pool: Pool, future: SimulatedFuture[Any]) -> None:
        """Take a call that was cancelled out of the queue."""
        with self.lock:
            if pool.waiting.pop(future, future) is None:
                self.tell("{} is cancelled", future)
            self._note_change()

    def subscribe(self, future: SimulatedFuture[Any]) -> None:
        """Note that this thread is about to wait for a future, among others."""
        self.join_in()
        with self.lock:
            awaited = self._awaited.setdefault(threading.get_ident(), [])
            awaited[:] = [other for other in awaited if not Future.done(other)]
            awaited.append(future)

    def awaited_here(self) -> tuple[SimulatedFuture[Any], ...]:
        """Return the futures, not done yet, that this thread has subscribed to."""
        with self.lock:
            return tuple(future for future in self._awaited.get(threading.get_ident(), ()) if not Future.done(future))

    def stop(self, future: SimulatedFuture[Any], error: BaseException) -> bool:
        """Stop a call that runs: its future fails with `error`; return False if it has ended."""
        with self.lock:
            task = next((task for task in self._all_tasks() if task.future is future), None)
            if task is not None:
                self._stop(task)
        stopped = fail(future, error)
        with self.lock:
            self._note_change()
        return stopped

    def _stop(self, task: Task) -> None:
        task.stopped = True
        if task.detached:  # its thread goes on by itself, to no effect
            task.pool.tasks.pop(task, None)
        self.tell("{} is stopped", task.future)

    # ── waiting ──────────────────────────────────────────────────────────────────────────────────────────

    def run_until(
        self,
        ended: Callable[[], bool],
        deadline: float | None = None,
        awaits: tuple[SimulatedFuture[Any], ...] = (),
        *,
        raises: bool = True,
        idles: bool = True,
    ) -> None:
        """Let calls run until `ended()`, or until the clock is at `deadline`.

        Args:
            ended: Whether this thread can go on; asked often.
            deadline: When to give up, by this simulation's clock; None for never.
            awaits: The calls that are awaited: they may run in the place of a call that waits.
            raises: Whether to raise if no call can change anything; otherwise the thread returns.
            idles: Whether to wait in real time while only calls that the simulation doesn't control may end it.

        Raises:
            DeadlockError: No call can go on.
        """
        task = _tasks.get(threading.get_ident())
        if task is not None and task.pool.simulation is self:
            with self.lock:
                self._suspend(task, ended, deadline, awaits)
            return
        self.join_in()
        with self.lock:
            self._drive(ended, deadline, raises, idles)

    def sleep(self, seconds: float) -> None:
        """Let calls run until that much time has passed by this simulation's clock."""
        with self.lock:
            deadline = self.now + seconds
        self.run_until(lambda: False, deadline)

    def let_others_run(self) -> None:
        """Let other calls run before this thread goes on, if the choices say so. Called with the lock."""
        task = _tasks.get(threading.get_ident())
        if task is not None and task.pool.simulation is self:
            if not task.detached and self._can_go_on() and self.choices.choose(2, _GO_ON):
                self._suspend(task, None, None, ())
        elif self._driver is None and self._running is None:
            self._driver = threading.get_ident()
            try:
                while self._can_go_on() and self.choices.choose(2, _GO_ON):
                    self._step(None)
            finally:
                self._driver = None
                self._changed.notify_all()

    def _suspend(
        self,
        task: Task,
        ended: Callable[[], bool] | None,
        deadline: float | None,
        awaits: tuple[SimulatedFuture[Any], ...],
    ) -> None:
        """Wait, in the thread of a call, until the driver lets the call go on."""
        if task.stopped:
            raise Stopped
        if deadline is None and len(awaits) == 1:
            self._refuse_circle(task, awaits[0])
        task.wait_for(ended, deadline, awaits)
        task.detached = False
        self._tasks[task] = None
        if self._running is task:
            self._running = None
        self._note_change()
        try:
            while self._running is not task:
                task.turn.wait()
        finally:
            self._tasks.pop(task, None)
            task.wait_for(None, None, ())
        if task.stopped:
            raise Stopped

    def _refuse_circle(self, task: Task, future: SimulatedFuture[Any]) -> None:
        """Raise DeadlockError if the call of a future waits, directly or not, for the call of this task."""
        runs, names = {other.future: other for other in self._all_tasks()}, [self._name(task.future)]
        while (other := runs.pop(future, None)) is not None:
            names.append(self._name(future))
            if other is task:
                raise DeadlockError("these calls wait for each other: " + " → ".join(names))
            if other.deadline is not None or len(other.awaits) != 1:
                return
            future = other.awaits[0]

    def _drive(self, ended: Callable[[], bool], deadline: float | None, raises: bool, idles: bool) -> None:
        """Let calls run, in a thread of the program, until `ended()` or `deadline`."""
        me = threading.get_ident()
        while not (ended() or (deadline is not None and self.now >= deadline)):
            if self._driver not in (None, me):  # that thread tells us when a turn has ended
                self._changed.wait(self.patience)
                continue
            changes, before, self._driver = self._changes, self._driver, me
            try:
                went_on = self._step(deadline)
            finally:
                self._driver = before
                self._changed.notify_all()
            if went_on or changes != self._changes:
                continue
            if not idles and self._has_others():
                return
            if not self._idle_until_change(deadline):
                if not raises:
                    return
                raise DeadlockError(self._describe_deadlock())
        if self._driver is None:
            self.let_others_run()

    def _idle_until_change(self, deadline: float | None) -> bool:
        """Wait in real time, as no call can go on; return False if nothing can change.

        Calls that are detached, and other threads, may change something. Meanwhile this clock follows the real one.
        """
        if not self._has_others():
            return False
        changes, began = self._changes, clock.monotonic()
        while changes == self._changes:
            wake = self._next_time(deadline)
            passed = clock.monotonic() - began
            if wake is None and passed > _STUCK:
                return False
            if wake is not None and wake - self.now <= passed:
                self._advance(wake)
                return True
            left = _STUCK if wake is None else wake - self.now - passed
            self._changed.wait(min(left, max(self.patience, 0.05)))
        return True

    def _has_others(self) -> bool:
        """Return whether calls are detached, or other threads of the program take part."""
        if any(task.detached for task in self._all_tasks()):
            return True
        if len(self._threads) > 1:
            self._threads &= {thread.ident for thread in threading.enumerate() if thread.ident is not None}
        return bool(self._threads - {threading.get_ident()})

    @contextlib.contextmanager
    def _released(self) -> Iterator[None]:
        """Release the lock, however often this thread has acquired it: callbacks run, which may wait for anything."""
        depth = self.lock._release_save()  # type: ignore[attr-defined]  # as `threading.Condition` does
        try:
            yield
        finally:
            self.lock._acquire_restore(depth)  # type: ignore[attr-defined]

    # ── turns ────────────────────────────────────────────────────────────────────────────────────────────

    def _step(self, deadline: float | None) -> bool:
        """Let one call go on until it waits or ends, or move the clock; return False if neither is possible."""
        if self._running is not None:  # a signal handler has interrupted the driver, or an interrupt has
            self._await_turn()
            return True
        if self._cancellations and (waiting := self._startable(_WINDOW)):
            chosen = self.choices.choose(1 + len(waiting), _NO_FAULT)
            if chosen:
                self._cancellations -= 1
                with self._released():
                    waiting[chosen - 1].cancel()
                return True
        options: list[Any] = [task for task in self._tasks if task.is_ready(self.now)]
        options += self._startable(_WINDOW)
        wake = self._next_time(deadline)
        if options and wake is not None and self._delays and self.choices.choose(2, _NO_FAULT):
            self._delays -= 1
            self._advance(wake)
        elif options:
            option = options[self.choices.choose(len(options))]
            self._take_turn(option if isinstance(option, Task) else self._start(option))
        elif wake is not None and not self._has_others():
            self._advance(wake)
        else:
            return False
        return True

    def _can_go_on(self) -> bool:
        return any(task.is_ready(self.now) for task in self._tasks) or bool(self._startable(1))

    def _startable(self, most: int) -> list[SimulatedFuture[Any]]:
        """Return waiting calls that may start now: the oldest ones of each executor, in the order of submission.

        In an executor whose workers are all busy, those are the calls that the calls of its workers wait for.
        """
        found: list[SimulatedFuture[Any]] = []
        for pool in self._pools:
            if pool.waiting:
                if len(pool.tasks) < pool.max_workers:
                    found += itertools.islice(pool.waiting, most)
                else:
                    awaited = dict.fromkeys(future for task in pool.tasks for future in task.awaits)
                    found += [future for future in awaited if future in pool.waiting][:most]
        if len(self._pools) > 1:
            found.sort(key=lambda future: future._cf_number)
        return found[:most]

    def _start(self, future: SimulatedFuture[Any]) -> Task:
        """Make a task of a call that waits."""
        pool = future._cf_pool
        runner = self._idle.pop() if self._idle else None
        if runner is None:
            runner = _Runner(self)
            start_thread(runner.thread)
            self._runners.append(runner)
        del pool.waiting[future]
        task = Task(pool, future, runner.turn)
        if self._losses and (fate := self.choices.choose(3, _NO_FAULT)):
            self._losses -= 1
            task.lost = "before" if fate == 1 else "after"
        if future._cf_timeout is not None:
            task.limit = self.now + future._cf_timeout
        pool.tasks[task] = None
        runner.task = task
        self.tell("{} starts", future)
        return task

    def _take_turn(self, task: Task) -> None:
        """Let a call go on, and wait until it waits, or has ended."""
        if task in self._tasks:
            self.tell("{} goes on", task.future)
        self._running = task
        task.turn.notify()
        self._await_turn()

    def _await_turn(self) -> None:
        until = clock.monotonic() + self.patience
        while (task := self._running) is not None:
            left = until - clock.monotonic()
            if left > 0:
                self._changed.wait(left)
                continue
            task.detached = True
            self._running = None
            if task.stopped:
                task.pool.tasks.pop(task, None)
            self.notes.append(
                f"{self._name(task.future)} has not come back within {self.patience:g} s: it computes for long, or"
                f" blocks in what the simulation doesn't know{self._place(task)}"
            )
            self.tell("{} is detached", task.future)

    def run(self, task: Task) -> None:
        """Run the call of a task, in its thread, and end its future."""
        with self.lock:
            while self._running is not task and not task.detached:
                task.turn.wait()
        call = begin(task.future)
        if call is None:
            return
        function, args, kwargs = call
        del call
        future, lost = task.future, task.lost
        result, error = (None, None) if lost == "before" else run_call(future, function, args, kwargs)
        if lost is not None:
            result, error = None, WorkerLostError(f"the simulation lost the worker of this call {lost} it ran")
            self.tell(f"{{}} loses its worker {lost} it runs", future)
        elif error is not None and isinstance(error, Stopped):
            error = WorkerLostError("the simulation has stopped this call")
        else:
            self.tell("{} returns" if error is None else f"{{}} raises {class_name(error)}", future)
        try:
            finish(future, result, error)
        finally:  # the traceback of the error refers to this frame
            del task, future, function, args, kwargs, result, error

    def end_turn(self, task: Task, runner: _Runner) -> None:
        """Give up the turn of a call that has ended; its thread is idle from now on."""
        with self.lock:
            task.pool.tasks.pop(task, None)
            if self._running is task:
                self._running = None
            self._idle.append(runner)
            self._note_change()
            if all(pool.closed for pool in self._pools):
                self.end_idle()

    # ── the clock ────────────────────────────────────────────────────────────────────────────────────────

    def _next_time(self, deadline: float | None) -> float | None:
        """Return when the next wait or call has run out of time."""
        times = [deadline, *(task.deadline for task in self._tasks)]
        times += [task.limit for task in self._all_tasks() if not task.stopped]
        return min((when for when in times if when is not None and when > self.now), default=None)

    def _advance(self, when: float) -> None:
        self.now = when
        self.tell(f"the clock is at {when:g} s")
        for task in self._all_tasks():
            if task.limit is not None and task.limit <= when and not task.stopped:
                self._stop(task)
                text = f"the call ran longer than its {task.future._cf_timeout:g} s"
                with self._released():
                    fail(task.future, TimeoutError(text))
        self._note_change()

    # ── programs that don't wait for us ──────────────────────────────────────────────────────────────────

    def _follow_loop(self) -> None:
        """Have the event loop of this thread, if one runs, take turns: its tasks await calls without blocking."""
        import asyncio  # here, where a program has imported it

        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        if loop not in self._loops and threading.get_ident() not in _tasks:
            self._loops.add(loop)
            loop.call_soon(self._take_turn_in_loop, loop)

    def _take_turn_in_loop(self, loop: Any) -> None:
        with self.lock:
            went_on = False
            if self._driver is None:
                if self._can_go_on() and self.choices.choose(2, _GO_ON):
                    went_on = True  # in the next iteration
                else:
                    self._driver = threading.get_ident()
                    try:
                        went_on = self._step(None)
                    finally:
                        self._driver = None
                        self._changed.notify_all()
            if went_on:
                loop.call_soon(self._take_turn_in_loop, loop)
            elif any(pool.has_calls() for pool in self._pools):  # a detached call runs
                loop.call_later(min(self.patience, 0.01), self._take_turn_in_loop, loop)
            else:
                self._loops.discard(loop)

    def is_deciding(self) -> bool:
        """Return whether this thread lets calls run at this moment, and does not wait."""
        return self._driver == threading.get_ident()

    def poll(self, future: SimulatedFuture[Any]) -> None:
        """Let calls run now and then, as the program asks whether one of them has ended, and may ask for long."""
        if getattr(_asking, "task", None) is not None or running_call() is future:
            return
        self.join_in()
        with self.lock:
            self._polls += 1
            if self._polls < _POLLS:
                self.let_others_run()
                return
            task = _tasks.get(threading.get_ident())
            if task is not None and task.pool.simulation is self:
                if not task.detached:
                    self._suspend(task, None, None, ())
            elif self._driver is None and self._running is None:
                self._driver = threading.get_ident()
                try:
                    self._step(None)
                finally:
                    self._driver = None
                    self._changed.notify_all()

    def _watch(self) -> None:
        """Start the thread that lets calls run when the program does not wait for us."""
        if not self._watching:
            self._watching = True
            watcher = threading.Thread(target=_watch, args=(self, self._finished), daemon=True)
            watcher.name = "simulation watcher"
            start_thread(watcher)

    def watch_once(self, changes: int) -> int:
        """Let calls run if nothing has changed meanwhile; return the number of changes, -1 if nothing is left to do."""
        with self.lock:
            if not any(pool.has_calls() for pool in self._pools):
                self._watching = False
                return -1
            if changes == self._changes and self._driver is None and self._running is None and self._can_go_on():
                self.notes.append(
                    f"the program has not waited for a call for {self.patience:g} s: it computes for long, or blocks in"
                    " what the simulation doesn't know"
                )
                self._driver = threading.get_ident()
                try:
                    while self._can_go_on():
                        self._step(None)
                finally:
                    self._driver = None
                    self._changed.notify_all()
            elif changes == self._changes and self._running is None and self._driver is None:
                self._follow_real_clock()
            return self._changes

    def _follow_real_clock(self) -> None:
        """Let as much time pass as has passed for the calls that are detached, and for the program."""
        if any(task.detached for task in self._all_tasks()):
            self._advance(self.now + self.patience)

    def close(self) -> None:
        """Cancel what waits, stop what runs, and end the threads."""
        for pool in self._pools:
            pool.close()
            for future in list(pool.waiting):
                future.cancel()
        with self.lock:
            self._cancellations = self._losses = self._delays = 0
            self.choices = Choices()
            for task in self._all_tasks():
                if not task.detached:
                    self._stop(task)
            for _ in range(1000):  # a call may wait again while it ends
                if not any(task.is_ready(self.now) for task in self._tasks):
                    break
                self._driver, before = threading.get_ident(), self._driver
                try:
                    self._step(None)
                finally:
                    self._driver = before
            for runner in self._runners:
                runner.ends = True
                runner.turn.notify_all()
            self._threads.clear()
        self.closed = True
        self._finished.set()
        for pool in self._pools:
            pool.close()

    def end_idle(self) -> list[threading.Thread]:
        """End the threads that run no call, and return them."""
        with self.lock:
            ended, self._idle = self._idle, []
            for runner in ended:
                runner.ends = True
                runner.turn.notify_all()
                if runner in self._runners:
                    self._runners.remove(runner)
            if all(pool.closed and not pool.has_calls() for pool in self._pools):
                self._finished.set()
            return [runner.thread for runner in ended]

    def abandon_threads(self) -> None:
        """In a forked child: forget the threads, which are the parent's."""
        self.lock = threading.RLock()
        self._changed = threading.Condition(self.lock)
        self._tasks.clear()
        self._idle.clear()
        self._runners.clear()
        self._threads.clear()
        self._running = self._driver = None
        self._watching = False

    # ── what is told ─────────────────────────────────────────────────────────────────────────────────────

    def tell(self, text: str, future: SimulatedFuture[Any] | None = None) -> None:
        """Add a line to the record of the schedule, if there is one."""
        if self.traced:
            self.events.append(text.format("" if future is None else self._name(future)))

    def _name(self, future: SimulatedFuture[Any]) -> str:
        return f"call {future._cf_number} ({future._cf_label})"

    def _note_change(self) -> None:
        self._changes += 1
        self._polls = 0
        self._changed.notify_all()

    def _all_tasks(self) -> list[Task]:
        return [task for pool in self._pools for task in pool.tasks]

    def _place(self, task: Task) -> str:
        """Return where the call of a detached task is."""
        ident = next((ident for ident, other in _tasks.items() if other is task), None)
        frame = None if ident is None else sys._current_frames().get(ident)
        if frame is None:
            return ""
        own = __name__.partition(".")[0]
        stack = [one for one, _ in traceback.walk_stack(frame)]
        theirs = [
            one
            for one in stack
            if not str(one.f_globals.get("__name__")).startswith((own, "threading", "corefutures_pools"))
        ]
        found = (theirs or stack)[0]
        return f": {found.f_code.co_filename}:{found.f_lineno}, in {found.f_code.co_qualname}"

    def _describe_deadlock(self) -> str:
        waits = []
        for task in self._tasks:
            names = [self._name(future) for future in task.awaits if not Future.done(future)]
            waits.append(f"{self._name(task.future)} waits for {', '.join(names) or 'what no call brings about'}")
        held = [self._name(future) for pool in self._pools for future in pool.waiting]
        if held:
            waits.append(f"no worker is free for {', '.join(held)}")
        return "; ".join(["no simulated call can go on, and the program waits", *waits])


# ── what the rest of corefutures is told ─────────────────────────────────────────────────────────────────────

#: `task`: the call for which this thread asks whether it could go on.
_asking = threading.local()
#: Thread ident → the call that the thread runs.
_tasks: dict[int, Task] = {}


def _watch(simulation: Simulation, finished: threading.Event) -> None:
    """Have calls run that the program doesn't wait for: it may have dropped the executor, or blocks elsewhere."""
    changes = -2
    while changes != -1 and not finished.wait(simulation.patience):
        changes = simulation.watch_once(changes)


def running_call() -> SimulatedFuture[Any] | None:
    """Return the future of the call that runs in this thread."""
    task = _tasks.get(threading.get_ident())
    return None if task is None else task.future


def _call_was_asked() -> bool:
    task = getattr(_asking, "task", None) or _tasks.get(threading.get_ident())
    return task is not None and (task.future._cf_cancel_requested or task.stopped)


_prepared: list[bool] = []


def _prepare() -> None:
    """Have the core's waits read our clock, and calls learn that they are asked to stop; once."""
    if not _prepared:
        _prepared.append(True)
        add_cancel_probe(_call_was_asked)
        install_clock()
