"""Observers: the hooks that they may have, and the one thread that calls them.

Touches `_audience`, and pluggy, like the registry and the backend authors' door. Guarantees: executors and workers
never wait for an observer; one that fails is logged and disturbs neither calls nor other observers; no lock of ours
is held while one runs.
"""

from __future__ import annotations

import atexit
import inspect
import logging
import os
import threading
from collections.abc import Callable
from operator import attrgetter
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, Final

import pluggy

from corefutures._blocking import start_thread
from corefutures._foreign_code import log_failure
from corefutures._instrumentation import PROJECT, Call, Told, _drop, instrumentation
from corefutures._options import shown

if TYPE_CHECKING:
    from concurrent.futures import Executor, Future

LOGGER = logging.getLogger("concurrent.futures")

#: Seconds that the end of the program waits for observers to hear the rest.
_AT_EXIT: Final = 5.0

_hookspec = pluggy.HookspecMarker(PROJECT)


class ObserverSpecification:
    """What an observer may implement: any of these, each with those of the arguments that it wants.

    `executor` and `future` are None once nobody else refers to them, `time` is when it happened, in seconds by
    `time.perf_counter`.
    """

    @staticmethod
    @_hookspec
    def corefutures_executor_created(executor: Executor | None, name: str, time: float) -> None:
        """An executor was made."""

    @staticmethod
    @_hookspec
    def corefutures_executor_shut_down(executor: Executor | None, name: str, time: float) -> None:
        """An executor was asked to shut down."""

    @staticmethod
    @_hookspec
    def corefutures_worker_started(executor: Executor | None, name: str, worker: str, time: float) -> None:
        """A worker is ready to take calls."""

    @staticmethod
    @_hookspec
    def corefutures_worker_lost(
        executor: Executor | None, name: str, worker: str, error: BaseException, time: float
    ) -> None:
        """A worker has ended that should not have; `error` tells how."""

    @staticmethod
    @_hookspec
    def corefutures_call_submitted(
        call: Call, executor: Executor | None, name: str, future: Future[Any] | None, time: float
    ) -> None:
        """A call was submitted."""

    @staticmethod
    @_hookspec
    def corefutures_call_started(
        call: Call, executor: Executor | None, name: str, future: Future[Any] | None, worker: str, time: float
    ) -> None:
        """A worker began with a call. Not told where it can't be known."""

    @staticmethod
    @_hookspec
    def corefutures_call_finished(
        call: Call, executor: Executor | None, name: str, future: Future[Any] | None, worker: str | None, time: float
    ) -> None:
        """A call has ended, but was not cancelled: `call.outcome` tells how."""

    @staticmethod
    @_hookspec
    def corefutures_call_cancelled(
        call: Call, executor: Executor | None, name: str, future: Future[Any] | None, time: float
    ) -> None:
        """A call was cancelled."""


#: What each argument of a hook is.
_ARGUMENTS: Final[dict[str, Callable[[Told], object]]] = {
    "call": attrgetter("call"),
    "error": attrgetter("error"),
    "executor": lambda told: told.origin.executor,
    "future": lambda told: None if told.call is None else told.call.future,
    "name": lambda told: told.origin.name,
    "time": attrgetter("time"),
    "worker": attrgetter("worker"),
}


class _Hooks(pluggy.PluginManager):
    """The hooks of one observer. A marker is not needed: the names are enough."""

    def __init__(self, observer: object) -> None:
        super().__init__(PROJECT)
        self.observer = observer
        self.gone = False
        self._failed: set[str] = set()
        self.add_hookspecs(ObserverSpecification)
        try:
            self.register(observer)
            self.check_pending()
        except pluggy.PluginValidationError as error:
            raise ValueError(f"{shown(observer)} can't observe: {' '.join(str(error).split())}") from error
        # There is one implementation of each hook, so it is called without pluggy, which takes as long as all the rest.
        self._called = {
            name: (implementation.function, [_ARGUMENTS[argument] for argument in implementation.argnames])
            for name, caller in vars(self.hook).items()
            if isinstance(caller, pluggy.HookCaller)
            for implementation in caller.get_hookimpls()
        }
        if not self._called:
            raise TypeError(_without_hooks(observer))

    def parse_hookimpl_opts(self, plugin: object, name: str) -> Any:
        """Returns how pluggy takes an attribute of the observer; None: not as a hook."""
        if not name.startswith("corefutures_") or name == "corefutures_backend":
            return None
        options = super().parse_hookimpl_opts(plugin, name)
        if options is None and inspect.isroutine(getattr(plugin, name, None)):
            return pluggy.HookimplOpts(
                wrapper=False, hookwrapper=False, optionalhook=False, tryfirst=False, trylast=False, specname=None
            )
        return options

    def tell(self, told: Told) -> None:
        """Calls the observer's hook, if it has it. The first failure of each hook is logged."""
        called = self._called.get(told.hook)
        if called is None or self.gone:
            return
        function, arguments = called
        try:
            function(*[argument(told) for argument in arguments])
        except BaseException:
            if told.hook not in self._failed:
                self._failed.add(told.hook)
                log_failure(LOGGER, "%s of %r failed; its next failures are not logged", told.hook, self.observer)


def _without_hooks(observer: object) -> str:
    """Returns what is said of an object that has no hook: what it may have meant as one, or an example."""
    import difflib  # here for start-up time: only failures need it

    hooks = {name.removeprefix("corefutures_"): name for name in vars(ObserverSpecification) if "corefutures_" in name}
    for name in dir(observer):
        if not name.startswith("__") and (close := difflib.get_close_matches(name.removeprefix("on_"), hooks, 1, 0.75)):
            return f"{shown(observer)} has none of the hooks of an observer: call its {name}() {hooks[close[0]]}()"
    return (
        f"{shown(observer)} has none of the hooks of an observer: an object is to be added that has methods such as"
        " corefutures_call_finished(self, call)"
    )


class _Delivery:
    """The thread that calls the observers, from the first one's arrival until the last one has left."""

    def __init__(self) -> None:
        # What was told, and in between functions that this thread is to call: an observer is told of what came
        # after it was added, and of what came before it was removed.
        self.queue: SimpleQueue[Any] = SimpleQueue()
        self._listening: list[_Hooks] = []  # this thread's alone
        self._ends = False
        self.thread = threading.Thread(target=self._run, name="corefutures-observers", daemon=True)

    def _run(self) -> None:
        get = self.queue.get
        while not self._ends:
            told = get()
            if isinstance(told, Told):
                for hooks in list(self._listening):
                    hooks.tell(told)
                del told  # nothing is kept alive while there is nothing to do
            else:
                told()

    def add(self, hooks: _Hooks) -> None:
        self.queue.put(lambda: self._listening.append(hooks))

    def remove(self, hooks: _Hooks, *, last: bool) -> threading.Event:
        """Has an observer leave after all that was told so far; returns what is set then."""
        left = threading.Event()

        def leave() -> None:
            self._listening = [other for other in self._listening if other is not hooks]
            self._ends = self._ends or last
            left.set()

        self.queue.put(leave)
        return left


# Guards the two below and `instrumentation`, so that they fit together. No other lock is taken and no observer is
# called under it. Reentrant, because a signal handler may interrupt its holder.
_gate = threading.RLock()
_observers: list[_Hooks] = []
_delivery: _Delivery | None = None


def add_observer(observer: object, /) -> None:
    """Has an observer told of what happens to calls, workers and executors from now on.

    It is called in a thread of its own, which it shares with other observers, soon after things have happened: the
    times that it gets are those at which they did. What happens faster than observers can hear it is kept for them.

    Args:
        observer: An object or module with functions that are named and have arguments as the hooks of
            `ObserverSpecification`: any of them, each with as few of the arguments as it needs.

    Raises:
        TypeError: It is a class, or has no such function.
        ValueError: A function or argument has a name that no hook has, or it observes already.

    Thread safety: may be called from any thread. A forked child has no observers.
    """
    global _delivery
    if isinstance(observer, type):
        raise TypeError(f"add_observer() takes an object, not its class: add_observer({observer.__name__}())")
    hooks = _Hooks(observer)
    with _gate:
        if any(known.observer is observer for known in _observers):
            raise ValueError(f"{observer!r} is an observer already")
        delivery = _delivery
        if delivery is None:
            delivery = _Delivery()
            start_thread(delivery.thread)
            _delivery = delivery
            instrumentation.post = delivery.queue.put
        _observers.append(hooks)
        delivery.add(hooks)
        instrumentation.present = True


def remove_observer(observer: object, /) -> None:
    """Takes back `add_observer`, once the observer has been told of all that happened before.

    Args:
        observer: The same object.

    Raises:
        ValueError: It is no observer.

    Thread safety: may be called from any thread, also by the observer itself, which is not called again then.
    """
    global _delivery
    with _gate:
        hooks = next((known for known in _observers if known.observer is observer), None)
        delivery = _delivery
        if hooks is None or delivery is None:
            raise ValueError(f"{shown(observer)} is no observer: it was not added, or has been removed already")
        _observers.remove(hooks)
        if last := not _observers:
            instrumentation.present = instrumentation.always
            instrumentation.post = _drop
            _delivery = None
        left = delivery.remove(hooks, last=last)
    if threading.current_thread() is delivery.thread:
        hooks.gone = True
        return
    left.wait()
    if last:
        delivery.thread.join()


def catch_up(timeout: float | None = None) -> None:
    """Waits until the observers have been told of all that has happened so far; not for observers.

    Args:
        timeout: Seconds to wait at most.
    """
    delivery = _delivery
    if delivery is not None and threading.current_thread() is not delivery.thread:
        told = threading.Event()
        delivery.queue.put(told.set)
        told.wait(timeout)


def _forget_in_child() -> None:
    global _gate, _delivery
    _gate = threading.RLock()
    _delivery = None
    _observers.clear()
    instrumentation.present = instrumentation.always
    instrumentation.post = _drop


atexit.register(catch_up, _AT_EXIT)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_in_child)
