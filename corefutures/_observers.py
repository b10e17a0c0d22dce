"""Observers: the hooks that they may implement, and the one thread that calls them.

Touches `_instrumentation`, and pluggy, like the registry and the backend authors' door. Guarantees: executors and
workers never wait for an observer; a failing observer is logged and disturbs neither calls nor other observers; no
lock of ours is held while an observer runs.
"""

from __future__ import annotations

import atexit
import inspect
import logging
import os
from collections.abc import Callable
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

import pluggy

from corefutures._blocking import queue, start_thread, threading
from corefutures._foreign_code import log_failure
from corefutures._instrumentation import PROJECT, CallRecord, Event, discard, instrumentation
from corefutures._options import shown

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future

LOGGER = logging.getLogger("concurrent.futures")

#: Seconds that the end of the program waits until observers have been called for the remaining events.
_AT_EXIT: Final = 5.0

_hookspec = pluggy.HookspecMarker(PROJECT)


class ObserverSpecification:
    """The hooks that an observer may implement: any of these, each with any of its arguments.

    `executor` and `future` are None once nobody else refers to them; `time` is that of the event, in seconds by
    `time.perf_counter`.
    """

    @staticmethod
    @_hookspec
    def corefutures_executor_created(executor: Executor | None, name: str, time: float) -> None:
        """Observe that an executor was made."""

    @staticmethod
    @_hookspec
    def corefutures_executor_shut_down(executor: Executor | None, name: str, time: float) -> None:
        """Observe that an executor was asked to shut down."""

    @staticmethod
    @_hookspec
    def corefutures_worker_started(executor: Executor | None, name: str, worker: str, time: float) -> None:
        """Observe that a worker is ready to take calls."""

    @staticmethod
    @_hookspec
    def corefutures_worker_lost(
        executor: Executor | None, name: str, worker: str, error: BaseException, time: float
    ) -> None:
        """Observe that a worker has ended unexpectedly; `error` says how."""

    @staticmethod
    @_hookspec
    def corefutures_call_submitted(
        call: CallRecord, executor: Executor | None, name: str, future: Future[Any] | None, time: float
    ) -> None:
        """Observe that a call was submitted."""

    @staticmethod
    @_hookspec
    def corefutures_call_started(
        call: CallRecord, executor: Executor | None, name: str, future: Future[Any] | None, worker: str, time: float
    ) -> None:
        """Observe that a worker started a call. Not emitted where the start can't be known."""

    @staticmethod
    @_hookspec
    def corefutures_call_finished(
        call: CallRecord,
        executor: Executor | None,
        name: str,
        future: Future[Any] | None,
        worker: str | None,
        time: float,
    ) -> None:
        """Observe that a call has ended without being cancelled: `call.outcome` says how."""

    @staticmethod
    @_hookspec
    def corefutures_call_cancelled(
        call: CallRecord, executor: Executor | None, name: str, future: Future[Any] | None, time: float
    ) -> None:
        """Observe that a call was cancelled."""


#: How each argument of a hook is made from an event.
_ARGUMENTS: Final[dict[str, Callable[[Event], object]]] = {
    "call": attrgetter("call"),
    "error": attrgetter("error"),
    "executor": attrgetter("executor_info.executor"),
    "future": lambda event: None if event.call is None else event.call.future,
    "name": attrgetter("executor_info.name"),
    "time": attrgetter("time"),
    "worker": attrgetter("worker"),
}


class _Observer(pluggy.PluginManager):
    """The hooks of one observer. They need no marker: the names are enough."""

    def __init__(self, observer: object) -> None:
        super().__init__(PROJECT)
        self.observer = observer
        self.removed = False
        self._failed: set[str] = set()
        self.add_hookspecs(ObserverSpecification)
        try:
            self.register(observer)
            self.check_pending()
        except pluggy.PluginValidationError as error:
            raise ValueError(f"{shown(observer)} can't observe: {' '.join(str(error).split())}") from error
        # Each hook has one implementation, so it is called without pluggy, whose call takes as long as all the rest.
        self._hooks = {
            name: (implementation.function, [_ARGUMENTS[argument] for argument in implementation.argnames])
            for name, caller in vars(self.hook).items()
            if isinstance(caller, pluggy.HookCaller)
            for implementation in caller.get_hookimpls()
        }
        if not self._hooks:
            raise TypeError(_without_hooks(observer))

    def parse_hookimpl_opts(self, plugin: object, name: str) -> Any:
        """Return pluggy's options for an attribute of the observer; None if it is no hook."""
        if not name.startswith("corefutures_") or name == "corefutures_backend":
            return None
        options = super().parse_hookimpl_opts(plugin, name)
        if options is None and inspect.isroutine(getattr(plugin, name, None)):
            return pluggy.HookimplOpts(
                wrapper=False, hookwrapper=False, optionalhook=False, tryfirst=False, trylast=False, specname=None
            )
        return options

    def notify(self, event: Event) -> None:
        """Call the observer's hook for the event, if it has one. The first failure of each hook is logged."""
        hook = self._hooks.get(event.hook)
        if hook is None or self.removed:
            return
        function, arguments = hook
        try:
            function(*[argument(event) for argument in arguments])
        except BaseException:
            if event.hook not in self._failed:
                self._failed.add(event.hook)
                log_failure(LOGGER, "%s of %r failed; its next failures are not logged", event.hook, self.observer)


def _without_hooks(observer: object) -> str:
    """Return the refusal of an object that has no hook: which method may be meant as one, or an example."""
    import difflib  # here for start-up time: only failures need it

    hooks = {name.removeprefix("corefutures_"): name for name in vars(ObserverSpecification) if "corefutures_" in name}
    for name in dir(observer):
        if not name.startswith("__") and (close := difflib.get_close_matches(name.removeprefix("on_"), hooks, 1, 0.75)):
            return f"{shown(observer)} has none of the hooks of an observer: call its {name}() {hooks[close[0]]}()"
    return (
        f"{shown(observer)} has none of the hooks of an observer: an object is to be added that has methods such as"
        " corefutures_call_finished(self, call)"
    )


class _DispatchThread:
    """The thread that calls the observers: it runs from the first observer's arrival until the last one's removal."""

    def __init__(self) -> None:
        # Events, and between them functions that the thread is to call: an observer gets the events that were
        # emitted after it was added and before it was removed.
        self.queue: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._observers: list[_Observer] = []  # used by this thread alone
        self._ends = False
        self.thread = threading.Thread(target=self._run, name="corefutures-observers", daemon=True)

    def _run(self) -> None:
        get = self.queue.get
        while not self._ends:
            item = get()
            if isinstance(item, Event):
                for observer in list(self._observers):
                    observer.notify(item)
            else:
                item()
            del item  # keep nothing alive while the queue is empty

    def add(self, observer: _Observer) -> None:
        self.queue.put(lambda: self._observers.append(observer))

    def remove(self, observer: _Observer, *, last: bool) -> threading.Event:
        """Remove an observer after all events so far; the event that is returned is set then."""
        removed = threading.Event()

        def remove() -> None:
            self._observers = [other for other in self._observers if other is not observer]
            self._ends = self._ends or last
            removed.set()

        self.queue.put(remove)
        return removed


# Guards the two below and `instrumentation`, so that they fit together. No other lock is taken and no observer is
# called under it. Reentrant, because a signal handler may interrupt its holder.
_lock = threading.RLock()
_observers: list[_Observer] = []
_dispatch_thread: _DispatchThread | None = None


def add_observer(observer: object, /) -> None:
    """Have an observer called for the events of calls, workers and executors from now on.

    Its functions are called soon after the events, in a thread that it shares with other observers; the times that
    they get are those of the events. Events that come faster than observers can handle are queued.

    Args:
        observer: An object or module with functions that are named and have arguments as the hooks of
            `ObserverSpecification`: any of them, each with as few of the arguments as it needs.

    Raises:
        TypeError: It is a class, or has no such function.
        ValueError: A function or argument has a name that no hook has, or it observes already.

    Thread safety: may be called from any thread. A forked child has no observers.
    """
    global _dispatch_thread
    if isinstance(observer, type):
        raise TypeError(f"add_observer() takes an object, not its class: add_observer({observer.__name__}())")
    added = _Observer(observer)
    with _lock:
        if any(known.observer is observer for known in _observers):
            raise ValueError(f"{observer!r} is an observer already")
        dispatch = _dispatch_thread
        if dispatch is None:
            dispatch = _DispatchThread()
            start_thread(dispatch.thread)
            _dispatch_thread = dispatch
            instrumentation.sink = dispatch.queue.put
        _observers.append(added)
        dispatch.add(added)
        instrumentation.enabled = True


def remove_observer(observer: object, /) -> None:
    """Undo `add_observer`, once the observer has been called for all events so far.

    Args:
        observer: The same object.

    Raises:
        ValueError: It is no observer.

    Thread safety: may be called from any thread, also by the observer itself, which is not called again then.
    """
    global _dispatch_thread
    with _lock:
        known = next((known for known in _observers if known.observer is observer), None)
        dispatch = _dispatch_thread
        if known is None or dispatch is None:
            raise ValueError(f"{shown(observer)} is no observer: it was not added, or has been removed already")
        _observers.remove(known)
        if last := not _observers:
            instrumentation.enabled = instrumentation.always_enabled
            instrumentation.sink = discard
            _dispatch_thread = None
        removed = dispatch.remove(known, last=last)
    if threading.current_thread() is dispatch.thread:
        known.removed = True
        return
    removed.wait()
    if last:
        dispatch.thread.join()


def flush(timeout: float | None = None) -> None:
    """Wait until the observers have been called for all events so far; not for observers themselves.

    Args:
        timeout: Seconds to wait at most.
    """
    dispatch = _dispatch_thread
    if dispatch is not None and threading.current_thread() is not dispatch.thread:
        flushed = threading.Event()
        dispatch.queue.put(flushed.set)
        flushed.wait(timeout)


def _after_fork_in_child() -> None:
    global _lock, _dispatch_thread
    _lock = threading.RLock()
    _dispatch_thread = None
    _observers.clear()
    instrumentation.enabled = instrumentation.always_enabled
    instrumentation.sink = discard


atexit.register(flush, _AT_EXIT)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
