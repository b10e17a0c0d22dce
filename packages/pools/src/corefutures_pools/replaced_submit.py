"""Tools replace the standard library's `submit`; here their replacements are applied to our pools' calls as well.

Touches the standard library's pools, through a stand-in. Guarantees: the tool changes a call as it would there, and our
pool runs the changed call; the cost is one comparison while no tool has replaced anything.
"""

from __future__ import annotations

import contextlib
import sys
import weakref
from functools import partial
from types import FunctionType

TYPE_CHECKING = False  # as in `corefutures`

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Executor
    from typing import Any

#: Names of the arguments of tools' functions: keyword arguments of these names do not reach such a function.
_TAKEN_NAMES = frozenset({"self", "fn", "func", "instance"})


class Seen:
    """A function that a tool has changed, on its way to our `submit`, which unwraps it.

    It is called only if the tool has been removed meanwhile, so that `submit` did not unwrap it.
    """

    __slots__ = ("function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        return self.function(*args, **kwargs)


class StandardSubmit:
    """The `submit` of one of the standard library's pools.

    OpenTelemetry, Sentry, Datadog and others replace it, or its code, so that a call runs in the context of its
    submission. So a pool with a `submit` of its own compares:

        if Pool.submit is not plain.function:
            if type(fn) is not Seen:
                return plain.seen(self, OurPool.submit, fn, args, kwargs)
            fn = fn.function

    Reading a function's code (`is_recoded`) takes a tenth of the time of `submit`: a pool does it while not all of its
    workers have started, and when one is idle. A replacement is remembered until a call finds the original function
    again.

    Args:
        pool: The class.
        mark: A name that the code of its `submit` uses, and the code of no replacement.
        stand_in: Returns a `StandIn` for an executor.

    Attributes:
        function: The original `submit`; None while it is replaced.
    """

    __slots__ = ("_code", "_mark", "_pool", "_stand_in", "function")

    def __init__(self, pool: type[Executor], mark: str, stand_in: Callable[[Any], Any]) -> None:
        self._pool = pool
        self._mark = mark
        self._stand_in = stand_in
        self.function: Any = None
        self._code: Any = None
        self._is_plain()

    def is_recoded(self) -> bool:
        """Return whether the function's code has been replaced, and not the function."""
        function = self.function
        if function is None or function.__code__ is self._code:
            return False
        self.function = None
        return True

    def _is_plain(self) -> bool:
        """Return whether `submit` is the original now: tools may have come before us, and may be removed."""
        function = self._pool.submit
        plain = (
            type(function) is FunctionType
            and function.__globals__ is vars(sys.modules[self._pool.__module__])
            and self._mark in function.__code__.co_names
        )
        if plain:
            self.function, self._code = function, function.__code__
        return plain

    def seen(
        self,
        executor: Any,
        submit: Callable[..., Any],
        fn: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Any:
        """Submit a call as the replacement changes it.

        Args:
            executor: Our executor.
            submit: The `submit` of its class, which gets a `Seen`.
            fn: The function to call.
            args: Its positional arguments.
            kwargs: Its keyword arguments.

        Returns:
            Our future, or the object that the replacement returned in place of the standard future.
        """
        from corefutures._instrumentation import name_of  # here for start-up time only
        from corefutures_pools.helping import wrapper_frames  # here for start-up time only

        if self._is_plain():  # the tool has been removed
            return submit(executor, fn, *args, **kwargs)
        shown = fn
        if not _TAKEN_NAMES.isdisjoint(kwargs):
            fn, kwargs = partial(fn, **kwargs), {}
        stand_in = self._stand_in(executor)
        returned = stand_in.submit(fn, *args, **kwargs)
        if stand_in.submitted is None:  # the replacement has submitted nothing
            return returned
        standard, (fn, args, kwargs) = stand_in.submitted
        code = getattr(fn, "__code__", None)
        if fn is not shown and code is not None:
            wrapper_frames.add(code)
        future = submit(executor, Seen(fn), *args, **kwargs)
        if (observed := getattr(future, "_cf_observed", None)) is not None:
            observed.function = name_of(shown)
        return _joined(future, standard, returned, stand_in)


def _joined(future: Any, standard: Any, returned: Any, stand_in: Any) -> Any:
    """Move the callbacks of the standard future to ours, and return the result of `submit`."""
    callbacks, standard._done_callbacks = standard._done_callbacks, []
    for callback in callbacks:
        future.add_done_callback(callback)
    result = future if returned is standard else returned
    stand_in.submitted = None
    follower = weakref.ref(standard)
    del standard, returned
    if (kept := follower()) is not None:  # by the tool, or by the object that it has returned
        future.add_done_callback(partial(_follow, kept))
        kept.add_done_callback(partial(_cancel_too, weakref.ref(future)))
    return result


def _follow(standard: Any, future: Any) -> None:
    """End a standard future as ours has ended."""
    if future.cancelled():
        standard.cancel()
        standard.set_running_or_notify_cancel()
    elif not standard.done():
        if (error := future.exception()) is not None:
            standard.set_exception(error)
        else:
            standard.set_result(future.result())


def _cancel_too(reference: Any, standard: Any) -> None:
    future = reference()
    if standard.cancelled() and future is not None:
        future.cancel()


class StandIn:
    """The `self` of a replaced `submit`: keeps the call that the standard `submit` gets; otherwise it is the executor.

    A subclass has the attributes that the standard `submit` of its pool uses.
    """

    _broken = False
    _shutdown_lock: Any = contextlib.nullcontext()

    def __init__(self, executor: Any) -> None:
        self._executor = executor
        self.submitted: tuple[Any, tuple[Any, tuple[Any, ...], dict[str, Any]]] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._executor, name)
