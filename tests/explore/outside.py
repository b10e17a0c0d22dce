"""Our models under the explorers of others: frontrun (partial-order reduction) and interleave-test (PCT, random).

Each gets copies of our modules whose seam has the library's locks and threads. A model is the same program as under our
own explorer: one that spawns its threads when it is set up, and uses no other ability of a `Run`.
"""

from __future__ import annotations

import _thread
import threading
import time
import types
from collections.abc import Callable
from typing import Any

from modelling import Fault, Model
from world import World


class _Lookup(types.ModuleType):
    """A module whose names are looked up in the real one at each use: explorers replace them there while they run."""

    def __init__(self, real: types.ModuleType, **own: Any) -> None:
        super().__init__(real.__name__)
        self.__dict__.update(own)
        self._real = real

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


#: Ident → the thread, of those that a pool has started: the explorers don't tell `threading` of them.
_threads: dict[int, Any] = {}
_outside = threading.Thread(name="outside")


def _current_thread() -> Any:
    return _threads.get(threading.get_ident(), _outside)


class OutsideWorld(World):
    """Our modules over the primitives of another explorer.

    Args:
        model: The model whose modules are copied.
        fault: What is put back into them.
        rlock: The class of its reentrant locks.
        allocate_lock: Makes a lock that any thread may release.
        thread: The class of its threads.
    """

    def __init__(self, model: Model, fault: Fault | None, *, rlock: Any, allocate_lock: Any, thread: Any) -> None:
        self._rlock, self._allocate_lock, self._thread = rlock, allocate_lock, thread
        super().__init__(*model.modules, edits=() if fault is None else fault.edits)

    def _make_stand_ins(self) -> dict[str, types.ModuleType]:
        return {"_thread": _Lookup(_thread, RLock=self._rlock, allocate_lock=self._allocate_lock), "time": time}

    def _fill(self, seam: Any) -> None:
        seam.threading = _Lookup(
            threading, Thread=self._thread, current_thread=_current_thread, _register_atexit=lambda *_, **__: None
        )
        seam.clock = _Lookup(time, perf_counter=lambda: time.monotonic())
        seam._spins_to_skip = 1 << 60


class Threads:
    """What a model is set up with in the place of a `Run`: its threads are collected, and the explorer starts them."""

    idle_threads_may_wait = False

    def __init__(self) -> None:
        self.bodies: list[Callable[[], object]] = []

    def spawn(self, name: str, run: Callable[[], object]) -> None:
        """Adds a thread."""
        self.bodies.append(run)


# ── interleave-test ──────────────────────────────────────────────────────────────────────────────────────────


def interleave(model: Model, fault: Fault | None = None, *, schedule: Any = None, **options: Any) -> Any:
    """Runs a model under interleave-test; returns its `Result`.

    Args:
        model: The model.
        fault: What is put back.
        schedule: A failure of an earlier run, whose schedule is run once more.
        options: Of `interleave_test.explore`.
    """
    import interleave_test

    class Thread(interleave_test.Thread):
        def run(self) -> None:
            _threads[threading.get_ident()] = self
            super().run()

        def join(self, timeout: float | None = None) -> None:
            if running:  # else at the end of the program, which joins the threads of all pools
                super().join(timeout)

    world = OutsideWorld(
        model, fault, rlock=interleave_test.RLock, thread=Thread,
        # Looked up when it is called, as a program's own: it is replaced while the library runs.
        allocate_lock=lambda: threading.Lock(),
    )  # fmt: skip

    def program() -> None:
        threads = Threads()
        check = model.program(threads, world)  # type: ignore[arg-type]
        tasks = [interleave_test.spawn(body) for body in threads.bodies]
        for task in tasks:
            task.join()
        check()

    running = True
    files = [file for module in world.modules.values() if (file := module.__file__)]
    try:
        with world.installed():
            common = {"include": files, "timeout": 60, "raise_on_failure": False}
            # What is made at the first use is made before the first schedule: a replay would not do the same.
            interleave_test.explore(program, seed=1, strategy="pct", iterations=1, **common)
            if schedule is not None:
                return interleave_test.replay(program, schedule, **common)
            return interleave_test.explore(program, seed=1, **common, **options)
    finally:
        running = False


# ── frontrun ─────────────────────────────────────────────────────────────────────────────────────────────────


class _Lock:
    """A lock that any thread may release, of a semaphore.

    frontrun's own lock can't be released by another thread: it takes a thread that acquires such a lock twice, as a
    parker does, for one that waits for itself.
    """

    def __init__(self) -> None:
        self._semaphore = threading.BoundedSemaphore(1)

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        return self._semaphore.acquire(blocking, None if timeout < 0 else timeout)

    def release(self) -> None:
        try:
            self._semaphore.release()
        except ValueError:
            raise RuntimeError("release unlocked lock") from None

    def locked(self) -> bool:
        return not self._semaphore._value


class _Place:
    """A thread of frontrun, which knows only those that it starts itself: it runs what a pool's thread would."""

    def __init__(self) -> None:
        self.given, self.ended = threading.Semaphore(0), threading.Event()
        self.work: Callable[[], object] | None = None

    def serve(self) -> None:
        self.given.acquire()
        assert self.work is not None
        self.work()
        self.ended.set()


class _Execution:
    current: _Execution | None = None

    def __init__(self, model: Model, world: World, places: int) -> None:
        _Execution.current = self
        self.places = [_Place() for _ in range(places)]
        self.free = self.places.copy()
        self.threads = Threads()
        self.check = model.program(self.threads, world)  # type: ignore[arg-type]


class _PlacedThread:
    """`threading.Thread`, in one of the places."""

    def __init__(
        self, group: None = None, target: Any = None, name: str | None = None, args: Any = (), kwargs: Any = None,
        *, daemon: bool | None = None,
    ) -> None:  # fmt: skip
        self.name, self.daemon = name or "Thread", daemon
        self.ident: int | None = None
        self._body = lambda: target(*args, **(kwargs or {}))
        self._place: _Place | None = None

    def start(self) -> None:
        assert _Execution.current is not None
        self._place = place = _Execution.current.free.pop()
        place.work = self._run
        place.given.release()

    def _run(self) -> None:
        self.ident = threading.get_ident()
        _threads[self.ident] = self
        self._body()

    def is_alive(self) -> bool:
        return self._place is not None and not self._place.ended.is_set()

    def join(self, timeout: float | None = None) -> None:
        if self._place is None:
            raise RuntimeError("cannot join thread before it is started")
        if _Execution.current is not None:  # else at the end of the program, which joins the threads of all pools
            self._place.ended.wait(timeout)


def frontrun(
    model: Model, fault: Fault | None = None, *, places: int = 0, backwards: bool = False, **options: Any
) -> Any:
    """Runs a model under frontrun; returns its `InterleavingResult`.

    Args:
        model: The model.
        fault: What is put back.
        places: How many threads pools start.
        backwards: Whether the last thread of the model is the first in the list: its search depends on that order.
        options: Of `frontrun.explore`.
    """
    import frontrun as library

    classes: list[Any] = []
    library.explore(setup=lambda: classes.append(threading.RLock), workers=[lambda _: None], invariant=lambda _: True)
    world = OutsideWorld(model, fault, rlock=classes[0], allocate_lock=_Lock, thread=_PlacedThread)

    def body_of(number: int) -> Callable[[_Execution], object]:
        return lambda execution: execution.threads.bodies[number]()

    def place_of(number: int) -> Callable[[_Execution], object]:
        return lambda execution: execution.places[number].serve()

    def holds(execution: _Execution) -> bool:
        execution.check()
        return True

    with world.installed():
        spawned = len(_Execution(model, world, places).threads.bodies)
        workers = [*map(body_of, range(spawned)), *map(place_of, range(places))]
        try:
            return library.explore(
                setup=lambda: _Execution(model, world, places),
                workers=workers[::-1] if backwards else workers,
                invariant=holds, clock="virtual", detect_io=False, preemption_bound=1, timeout_per_run=60.0,
                deadlock_timeout=60.0, reproduce_on_failure=1, **options,
            )  # fmt: skip
        finally:
            _Execution.current = None
