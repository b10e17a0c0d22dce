"""`worker_local`: a value that each worker makes once, at its first use, and closes when the worker leaves.

Touches the core's `_blocking`, to learn in which worker this thread is. A worker imports this file with its first
value. Guarantees: at most one value in each worker; a factory that fails fails its call alone; values are closed in
reverse order.
"""

from __future__ import annotations

import sys

from corefutures import _blocking
from corefutures._foreign_code import log_failure

TYPE_CHECKING = False  # as in `corefutures`: workers do without `typing`

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, Generic, TypeVar

    _T = TypeVar("_T")

    class _Typed(Generic[_T]):
        """A class with a type argument."""

else:

    class _Typed:
        """The same for workers, which do without `typing`."""

        __class_getitem__ = classmethod(lambda cls, item: cls)


class WorkerValues:
    """The values of one worker.

    Thread safety: any thread of the worker may call `get`; `close` is called once, when no call runs any more.
    """

    __slots__ = ("_closers", "_in_progress", "_locks", "_values", "process")

    def __init__(self) -> None:
        self.process = _blocking.system.getpid()
        self._values: dict[str, Any] = {}  # by key; an entry is written under its lock, read without it
        self._locks: dict[str, Any] = {}  # one for each key: the factory runs under it
        self._in_progress: set[str] = set()  # guarded by the lock of the key
        self._closers: list[tuple[str, Callable[[], object]]] = []  # oldest first; only appended to, an atomic step

    def get(self, local: WorkerLocal[Any]) -> Any:
        """Return the value of `local`; make it first if this worker has none."""
        key = local._key
        try:
            return self._values[key]
        except KeyError:
            pass
        with self._locks.setdefault(key, _blocking.RLock()):
            if key in self._values:
                return self._values[key]
            if key in self._in_progress:  # the same thread, as the lock is reentrant
                raise RuntimeError(
                    f"this worker is making {local!r}: its factory, or a call that the factory waits for, uses it"
                )
            self._in_progress.add(key)
            try:
                value, close = _open(local._factory(*local._args, **local._kwargs))
            finally:
                self._in_progress.discard(key)
            if close is not None:
                self._closers.append((repr(local), close))
            self._values[key] = value
            return value

    def close(self) -> None:
        """Close the values, the newest first; log errors, as there is no call that could raise them."""
        if self.process != _blocking.system.getpid():  # a worker that this one has forked: the values are not its own
            return
        self._values.clear()
        while self._closers:
            name, close = self._closers.pop()
            try:
                close()
            except BaseException as exc:
                import logging  # hardly any worker needs it

                log_failure(logging.getLogger("concurrent.futures"), f"Exception while closing {name}:", error=exc)


def _open(made: Any) -> tuple[Any, Callable[[], object] | None]:
    """Return the value that calls see of the object that a factory has made, and the function that closes it."""
    close = getattr(made, "close", None)
    if callable(close):
        return made, close
    if hasattr(made, "__enter__") and hasattr(made, "__exit__") and not hasattr(made, "acquire"):  # no lock
        return made.__enter__(), lambda: made.__exit__(None, None, None)
    return made, None


#: The values of this process or interpreter, if it is a worker, by process id: a worker may fork another one.
_own: dict[int, WorkerValues] = {}


def _values_here() -> WorkerValues:
    """Return the values of the worker that runs this code.

    Raises:
        RuntimeError: This is no worker of a pool.
    """
    thread: Any = _blocking.current_workers.get(_blocking._thread.get_ident())
    if thread is not None:
        if thread.values is None:
            thread.values = WorkerValues()  # only this thread writes it
        values: WorkerValues = thread.values
        return values
    if not _blocking.in_worker():
        raise RuntimeError(
            "a worker-local value exists in the calls of thread, process and interpreter pools only: this code runs"
            " outside of a worker"
        )
    process = _blocking.system.getpid()
    found = _own.get(process)
    if found is None:
        from corefutures_pools.workers.worker_loop import exit_callbacks  # the worker has it; a thread does without

        made = WorkerValues()
        found = _own.setdefault(process, made)  # threads of a call may come at once
        if found is made:
            exit_callbacks.append(made.close)
    return found


class WorkerLocal(_Typed["_T"]):
    """A value that each worker makes once: see `worker_local`."""

    def __init__(
        self, key: str, module: str, factory: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> None:
        self.__module__ = module
        self._key = key
        self._factory, self._args, self._kwargs = factory, args, kwargs

    def get(self) -> _T:
        """Return the value of the worker that runs this call; make it first if there is none yet.

        Raises:
            RuntimeError: This code runs outside of a worker, or in the factory itself.
            BaseException: Whatever the factory raises; the next `get` calls it again.

        Thread safety: in a worker process or interpreter any thread may call it, in a pool of threads the thread of
        the call.
        """
        value: _T = _values_here().get(self)
        return value

    def __repr__(self) -> str:
        arguments = [*map(repr, self._args), *(f"{name}={value!r}" for name, value in self._kwargs.items())]
        factory = getattr(self._factory, "__qualname__", repr(self._factory))
        return f"worker_local({', '.join([factory, *arguments])})"

    def __reduce__(self) -> str | tuple[Any, ...]:
        name = self._name()
        # The main module of a worker is another one, so that its objects travel by value.
        if name is not None and self.__module__ not in _MAIN_MODULES:
            return name
        return _rebuild, (self._key, self.__module__, name, self._factory, self._args, self._kwargs)

    def _name(self) -> str | None:
        """Return the name of the module's variable that this object is, None if it is none."""
        module = sys.modules.get(self.__module__)
        for name, value in list(vars(module).items()) if module is not None else ():
            if value is self:
                return name
        return None


_MAIN_MODULES = ("__main__", "__mp_main__")


def _rebuild(
    key: str, module: str, name: str | None, factory: Callable[..., _T], args: tuple[Any, ...], kwargs: dict[str, Any]
) -> WorkerLocal[_T]:
    """Return the object that a worker's own main module has made, or else a copy with the same key."""
    own = None if name is None else getattr(sys.modules.get("__main__"), name, None)
    if isinstance(own, WorkerLocal) and own._factory == factory and (own._args, own._kwargs) == (args, kwargs):
        return own
    return WorkerLocal(key, module, factory, args, kwargs)


def worker_local(factory: Callable[..., _T], *args: Any, **kwargs: Any) -> WorkerLocal[_T]:
    """Declare a value that each worker makes once, with `factory(*args, **kwargs)`, when a call first asks for it.

    Call it at the top of a module, or pass the object to calls; a call gets the value with `get()`. Each thread of a
    thread pool, each worker process and each worker interpreter has its own value; a worker that replaces a lost one
    makes it anew. When a worker leaves, its values are closed, the newest first: an object with a `close` method by
    that method, another context manager by leaving it (`get()` then returns the result of entering it). Errors of
    closing are logged. A worker that is killed closes nothing.

    Args:
        factory: Makes the value. It must be picklable if the object is passed to processes or interpreters.
        args: Its positional arguments.
        kwargs: Its keyword arguments.

    Returns:
        An object with the method `get`. It can be pickled; its copies stand for the same value.

    Raises:
        TypeError: `factory` can't be called.
    """
    if not callable(factory):
        raise TypeError(f"the factory of a worker-local value must be callable, not {factory!r}")
    module = sys._getframe(1).f_globals.get("__name__", "__main__")
    return WorkerLocal(_blocking.system.urandom(16).hex(), module, factory, args, kwargs)
