"""Copies of our modules that take their locks, threads, queues and clocks from the explorer.

They take them from a copy of the seam, `corefutures._blocking`, where the explorer's replace the standard library's.
The program's own copies are left alone.
"""

from __future__ import annotations

import concurrent.futures.thread  # what ours import besides is to keep the real primitives
import importlib
import importlib.abc
import importlib.machinery
import os
import pathlib
import select
import sys
import types
from collections import deque
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from multiprocessing.connection import wait
from queue import Empty
from typing import Any

from explorer import Places, Run


def run() -> Run:
    """The execution that goes on."""
    assert Run.current is not None
    return Run.current


def exploring() -> bool:
    """Whether the thread that asks is one of an execution."""
    return Run.current is not None and Run.current.running is not None


def get_ident() -> int:
    """The ident of the thread that runs; 0 while a program is set up."""
    current = Run.current
    return 0 if current is None or current.running is None else current.running.number + 1


class Mutex:
    """`allocate_lock`'s: a lock that any thread may release."""

    def __init__(self) -> None:
        self._held = False

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Takes the lock."""
        if not exploring():
            assert not blocking or not self._held
            held, self._held = self._held, True
            return not held
        if not blocking:
            run().point()
            if self._held:
                return False
        elif not run().wait(lambda: not self._held, None if timeout < 0 else timeout):
            return False
        self._held = True
        return True

    def release(self) -> None:
        """Gives it back."""
        if exploring():
            run().point()
        if not self._held:
            raise RuntimeError("release unlocked lock")
        self._held = False

    def locked(self) -> bool:
        """Whether somebody has it."""
        if exploring():
            run().point()
        return self._held

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


class RLock:
    """A reentrant lock."""

    def __init__(self) -> None:
        self._owner: int | None = None
        self._count = 0

    def acquire(self, blocking: bool = True, timeout: float = -1) -> bool:
        """Takes the lock, once more if this thread has it."""
        me = get_ident()
        if self._owner != me:
            if not exploring():
                assert self._owner is None
            elif not blocking:
                run().point()
                if self._owner is not None:
                    return False
            elif not run().wait(lambda: self._owner is None, None if timeout < 0 else timeout):
                return False
            self._owner = me
        self._count += 1
        return True

    def release(self) -> None:
        """Gives it back."""
        if self._owner != get_ident():
            raise RuntimeError("cannot release un-acquired lock")
        if exploring():
            run().point()
        self._count -= 1
        if not self._count:
            self._owner = None

    def locked(self) -> bool:
        """Whether somebody has it."""
        return self._owner is not None

    def _is_owned(self) -> bool:
        return self._owner == get_ident()

    def _release_save(self) -> tuple[int, int | None]:
        saved = self._count, self._owner
        self._count, self._owner = 0, None
        return saved

    def _acquire_restore(self, saved: tuple[int, int | None]) -> None:
        self.acquire()
        self._count = saved[0]

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *_: object) -> None:
        self.release()


class SimpleQueue:
    """`queue.SimpleQueue`: each method is one step."""

    def __init__(self) -> None:
        self._items: deque[Any] = deque()

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Appends an item."""
        if exploring():
            run().point()
        self._items.append(item)

    put_nowait = put

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Takes the first item, after waiting for one."""
        if exploring():
            if not block:
                run().point()
            elif not run().wait(lambda: bool(self._items), timeout):
                raise Empty
        if not self._items:
            raise Empty
        return self._items.popleft()

    def get_nowait(self) -> Any:
        """Takes the first item, if there is one."""
        return self.get(False)

    def empty(self) -> bool:
        """Whether there is none."""
        return not self._items

    def qsize(self) -> int:
        """How many there are."""
        return len(self._items)


class Thread:
    """`threading.Thread`, as far as pools use it."""

    def __init__(
        self,
        group: None = None,
        target: Any = None,
        name: str | None = None,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
        *,
        daemon: bool | None = None,
        context: Any = None,
    ) -> None:
        self.name = name or "Thread"
        self.daemon = daemon
        self._work = lambda: target(*args, **(kwargs or {}))
        self._actor: Any = None

    @property
    def ident(self) -> int | None:
        """Its ident once it was started."""
        return None if self._actor is None else self._actor.number + 1

    native_id = ident

    def start(self) -> None:
        """Starts it."""
        if run().refused_threads and self.name.endswith(run().refused_threads):
            raise RuntimeError("can't start new thread")
        self._actor = run().spawn(self.name, self._work, own=False)
        self._actor.thread = self
        if exploring():
            run().point()

    def is_alive(self) -> bool:
        """Whether it runs."""
        return self._actor is not None and not self._actor.ended

    def join(self, timeout: float | None = None) -> None:
        """Waits for its end."""
        actor = self._actor
        if Run.current is None:  # at the end of the tests, where pools that a schedule left are joined
            return
        if actor is None:
            raise RuntimeError("cannot join thread before it is started")
        run().wait(lambda: actor.ended, timeout)


def current_thread() -> Thread:
    """`threading.current_thread`."""
    current = Run.current
    if current is None or current.running is None:
        return _OUTSIDE
    actor = current.running
    thread: Thread = getattr(actor, "thread", None) or Thread(name=actor.name)
    thread._actor = actor
    actor.thread = thread
    return thread


_OUTSIDE = Thread(name="outside")


def sleep(seconds: float) -> None:
    """`time.sleep`: whatever else can happen does, and then time passes."""
    run().wait(lambda: False, seconds)


def start_new_thread(function: Any, args: tuple[Any, ...], kwargs: dict[str, Any] | None = None) -> int:
    """`_thread.start_new_thread`."""
    thread = Thread(target=function, args=args, kwargs=kwargs, name="thread")
    thread.start()
    return thread.ident or 0


def _before_call(descriptor: int = -1) -> None:
    """A system call is about to be made, which blocks while there is nothing to read from `descriptor`."""
    actor = run().running
    check = None if actor is None else actor.check
    if check is not None:
        check()
    if descriptor >= 0 and os.get_blocking(descriptor):
        run().wait(lambda: is_readable(descriptor) or (check is not None and _raises(check)))
    else:
        run().point()
    if check is not None:
        check()


def _raises(check: Any) -> bool:
    try:
        check()
    except BaseException:
        return True
    return False


def is_readable(descriptor: int) -> bool:
    """Whether there is something to read from a descriptor, or its end."""
    return bool(select.select([descriptor], [], [], 0)[0])


def read(descriptor: int, size: int) -> bytes:
    """`os.read`."""
    if exploring():
        _before_call(descriptor)
    return os.read(descriptor, size)


def write(descriptor: int, content: Any) -> int:
    """`os.write`."""
    if exploring():
        _before_call()
    return os.write(descriptor, content)


def wait_ready(objects: Sequence[Any], timeout: float | None = None) -> list[Any]:
    """`multiprocessing.connection.wait`."""
    if exploring():
        run().wait(lambda: bool(wait(objects, 0)), timeout)
    return wait(objects, 0)


class Epoll:
    """`select.epoll`: a poll that finds nothing blocks in the explorer."""

    def __init__(self, real: Any = None) -> None:
        self._real = select.epoll() if real is None else real
        for name in ("register", "unregister", "modify", "fileno", "close"):
            setattr(self, name, getattr(self._real, name))

    @classmethod
    def fromfd(cls, descriptor: int) -> Epoll:
        """Wraps a descriptor of one."""
        return cls(select.epoll.fromfd(descriptor))

    @property
    def closed(self) -> bool:
        """Whether it was closed."""
        return self._real.closed

    def poll(self, timeout: float | None = None, maxevents: int = -1) -> list[tuple[int, int]]:
        """Waits until something is ready."""
        if exploring():
            if timeout is None or timeout < 0:
                timeout = None
            if timeout == 0 or self._real.poll(0, maxevents):
                run().poll()
            else:
                run().wait(lambda: self._real.closed or bool(self._real.poll(0, maxevents)), timeout)
        return self._real.poll(0, maxevents)

    def __enter__(self) -> Epoll:
        return self

    def __exit__(self, *_: object) -> None:
        self._real.close()


def stand_ins() -> dict[str, types.ModuleType]:
    """The modules that are put in the places of those of the standard library."""
    import _thread as real_thread
    import queue as real_queue
    import threading as real_threading
    import time as real_time

    low = types.ModuleType("_thread")
    low.__dict__.update(vars(real_thread))
    low.__dict__.update(
        allocate_lock=Mutex,
        RLock=RLock,
        get_ident=get_ident,
        lock=Mutex,
        LockType=Mutex,
        start_new_thread=start_new_thread,
    )
    high = types.ModuleType("threading")
    source = getattr(real_threading, "__file__", None)
    assert source is not None
    # `Condition`, `Event` and the rest are Python code over locks: a copy of it runs over ours.
    with open(source, encoding="utf-8") as file:
        code = compile(file.read(), "<threading over the explorer>", "exec")
    high.__dict__.update(__name__="threading", __file__=source)
    saved = {name: sys.modules.get(name) for name in ("_thread", "threading")}
    sys.modules["_thread"] = low
    try:
        exec(code, high.__dict__)
    finally:
        for name, module in saved.items():
            if module is not None:
                sys.modules[name] = module
    high._after_fork.__code__ = (lambda: None).__code__  # it is registered, and knows nothing of the explorer's threads
    high.__dict__.update(
        Lock=Mutex, RLock=RLock, Thread=Thread, get_ident=get_ident, current_thread=current_thread,
        _allocate_lock=Mutex, main_thread=lambda: _OUTSIDE, _register_atexit=lambda *_, **__: None,
    )  # fmt: skip
    queues = types.ModuleType("queue")
    queues.__dict__.update(vars(real_queue))
    queues.__dict__.update(SimpleQueue=SimpleQueue)
    times = types.ModuleType("time")
    times.__dict__.update(vars(real_time))
    times.__dict__.update(sleep=sleep)
    selects = types.ModuleType("select")
    selects.__dict__.update(vars(select))
    if hasattr(select, "epoll"):
        selects.__dict__.update(epoll=Epoll)
    return {"select": selects, "_thread": low, "threading": high, "queue": queues, "time": times}


OURS = ("corefutures", "corefutures_pools", "corefutures_thread", "corefutures_structured")


def _is_ours(name: str) -> bool:
    return name.partition(".")[0] in OURS


@contextmanager
def _standard_library_replaced(stand_ins: dict[str, types.ModuleType]) -> Iterator[None]:
    """Has `import` find these modules: for the seam alone, from which all others take them."""
    originals = {name: sys.modules[name] for name in stand_ins}
    sys.modules.update(stand_ins)
    try:
        yield
    finally:
        sys.modules.update(originals)


@contextmanager
def _copies(modules: dict[str, types.ModuleType]) -> Iterator[None]:
    """Has `import` find these modules, and new copies of all others that are ours."""
    kept = {name: module for name, module in sys.modules.items() if _is_ours(name)}
    for name in kept:
        del sys.modules[name]
    sys.modules.update(modules)
    try:
        yield
    finally:
        for name in [name for name in sys.modules if _is_ours(name)]:
            del sys.modules[name]
        sys.modules.update(kept)


class _Editor(importlib.abc.MetaPathFinder):
    """Finds modules whose source is changed before it is run."""

    def __init__(self, edits: Sequence[tuple[str, str, str]], sources: dict[str, str]) -> None:
        self._edits = edits
        self._sources = sources

    def find_spec(self, fullname: str, path: Any = None, target: Any = None) -> Any:
        edits = [(right, wrong) for module, right, wrong in self._edits if module == fullname]
        if not edits:
            return None
        spec = importlib.machinery.PathFinder.find_spec(fullname, path)
        assert spec is not None
        assert spec.origin is not None
        source = pathlib.Path(spec.origin).read_text(encoding="utf-8")
        for right, wrong in edits:
            assert source.count(right) == 1, f"{fullname} has this {source.count(right)} times: {right}"
            source = source.replace(right, wrong)
        self._sources[spec.origin] = source
        spec.loader = _Edited(fullname, spec.origin, source)
        return spec


class _Edited(importlib.machinery.SourceFileLoader):
    """Runs a changed source under the file's name."""

    def __init__(self, fullname: str, origin: str, source: str) -> None:
        super().__init__(fullname, origin)
        self._source = source

    def get_code(self, fullname: str) -> Any:
        return compile(self._source, self.path, "exec")


@cache
def _code_of_standard_base() -> types.CodeType:
    source = pathlib.Path(concurrent.futures._base.__file__ or "").read_text(encoding="utf-8")
    return compile(source, "<the standard library's futures>", "exec")


class World:
    """Our modules over the explorer's primitives.

    Args:
        names: The modules that a program uses; each is an attribute, by the last part of its name.
        edits: Of a module, a text of its source and another one that stands in its place: an old fault.
    """

    def __init__(self, *names: str, edits: Sequence[tuple[str, str, str]] = ()) -> None:
        self._stand_ins = self._make_stand_ins()
        self.sources: dict[str, str] = {}  # of the modules that were changed, by file
        editor = _Editor(edits, self.sources)
        sys.meta_path.insert(0, editor)
        try:
            self._load(names)
        finally:
            sys.meta_path.remove(editor)

    def _load(self, names: tuple[str, ...]) -> None:
        with _copies({}):
            with _standard_library_replaced(self._stand_ins):
                self.blocking: Any = importlib.import_module("corefutures._blocking")
            self._fill(self.blocking)
            # A lock for each future, as on free-threaded builds: there are more schedules than with one for all.
            importlib.import_module("corefutures._future").SHARED_LOCK = (None,)
            for name in names:
                setattr(self, name.rpartition(".")[2].lstrip("_"), importlib.import_module(name))
            self.modules = {name: module for name, module in sys.modules.items() if _is_ours(name)}

    def _make_stand_ins(self) -> dict[str, types.ModuleType]:
        """Returns what the seam is to find in the places of modules of the standard library."""
        return stand_ins()

    def _fill(self, seam: Any) -> None:
        """Puts into the seam what it does not import itself."""
        for name in ("queue", "select", "threading"):
            setattr(seam, name, self._stand_ins[name])
        clock = {**vars(seam.clock), "monotonic": self.now, "perf_counter": self.now, "time": self.now}
        seam.clock = types.SimpleNamespace(**clock)
        seam.system = types.SimpleNamespace(**{**vars(seam.system), "read": read, "write": write})
        seam.wait_ready = wait_ready
        seam._spins_to_skip = 1 << 60  # nobody spins: what comes of it is in the schedules anyway

    def __getattr__(self, name: str) -> Any:
        raise AttributeError(name)

    def standard_base(self) -> Any:
        """A copy of the standard library's `concurrent.futures._base`, over the explorer's primitives."""
        module = types.ModuleType("concurrent.futures._base")
        with _standard_library_replaced(self._stand_ins):
            exec(_code_of_standard_base(), module.__dict__)
        return module

    @contextmanager
    def installed(self) -> Iterator[None]:
        """Makes imports that come later, on first use, find these copies."""
        with _copies(self.modules):
            yield

    def places(self, *endings: str) -> Places:
        """Returns where threads are switched: in those files of ours whose names end like this."""
        files = {}
        for module in self.modules.values():
            file = getattr(module, "__file__", None) or ""
            if file.endswith(endings):
                files[file] = self.sources.get(file) or pathlib.Path(file).read_text(encoding="utf-8")
        return Places(files)

    @staticmethod
    def wait_until(ready: Any, timeout: float) -> bool:
        """Blocks the running thread until `ready()` was true: it may be false again by now."""
        was_ready = run().wait(ready, timeout)
        run().point()
        return was_ready

    @staticmethod
    def now() -> float:
        """The virtual clock."""
        return Run.current.now if Run.current is not None else 1000.0
