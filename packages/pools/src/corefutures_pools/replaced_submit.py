"""What tools put in place of the standard library's `submit`, done to the calls of our pools as well.

Touches the standard library's pools, on a stand-in. Guarantees: the tool does with a call what it would do there, what
comes of it is run and returned by ours; one comparison while nothing was replaced.
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

#: What the functions of tools may call their own arguments: keyword arguments of that name are kept from them.
_TAKEN_NAMES = frozenset({"self", "fn", "func", "instance"})


class Seen:
    """A function as a tool has left it, on its way to our `submit`, which unwraps it unless the tool has just gone."""

    __slots__ = ("function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function = function

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Calls the function."""
        return self.function(*args, **kwargs)


class StandardSubmit:
    """The `submit` of one of the standard library's pools.

    OpenTelemetry, Sentry, Datadog and others replace it, or its code, so that a call runs under what was current where
    it was submitted. So whoever has a `submit` of their own compares:

        if Pool.submit is not plain.function:
            if type(fn) is not Seen:
                return plain.seen(self, OurPool.submit, fn, args, kwargs)
            fn = fn.function

    Reading a function's code (`is_recoded`) takes as long as a tenth of all the rest: that is done when a pool is made,
    and where a worker has nothing to do. What is found is remembered, until a call finds the function as it was.

    Args:
        pool: The class.
        mark: A name that the code of its `submit` uses, and that of no replacement.
        stand_in: Returns a `StandIn` for an executor.

    Attributes:
        function: It, as it is where nobody has replaced it; None while it is not known like that.
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
        """Returns whether its code has been replaced, and not the function."""
        function = self.function
        if function is None or function.__code__ is self._code:
            return False
        self.function = None
        return True

    def _is_plain(self) -> bool:
        """Looks at it; tools may have been here before us, and may go."""
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
        """Submits a call as the replacement has it done.

        Args:
            executor: Ours.
            submit: Its `submit`, of the class, which gets a `Seen`.
            fn: What to call.
            args: Its positional arguments.
            kwargs: Its keyword arguments.

        Returns:
            Our future, or what the replacement returned in place of the standard one.
        """
        from corefutures._instrumentation import name_of  # here for start-up time only
        from corefutures_pools import helping as _hosting  # here for start-up time only

        if self._is_plain():  # again, or only now
            return submit(executor, fn, *args, **kwargs)
        shown = fn
        if not _TAKEN_NAMES.isdisjoint(kwargs):
            fn, kwargs = partial(fn, **kwargs), {}
        stand_in = self._stand_in(executor)
        returned = stand_in.submit(fn, *args, **kwargs)
        if stand_in.submitted is None:  # it has done something else
            return returned
        standard, (fn, args, kwargs) = stand_in.submitted
        code = getattr(fn, "__code__", None)
        if fn is not shown and code is not None:
            _hosting.wrapper_frames.add(code)
        future = submit(executor, Seen(fn), *args, **kwargs)
        if (observed := getattr(future, "_cf_observed", None)) is not None:
            observed.function = name_of(shown)
        return _joined(future, standard, returned, stand_in)


def _joined(future: Any, standard: Any, returned: Any, stand_in: Any) -> Any:
    """Returns what `submit` is to return, once the standard future has handed over all that hangs on it."""
    callbacks, standard._done_callbacks = standard._done_callbacks, []
    for callback in callbacks:
        future.add_done_callback(callback)
    result = future if returned is standard else returned
    stand_in.submitted = None
    follower = weakref.ref(standard)
    del standard, returned
    if (kept := follower()) is not None:  # by the tool, or in what it has returned
        future.add_done_callback(partial(_follow, kept))
        kept.add_done_callback(partial(_cancel_too, weakref.ref(future)))
    return result


def _follow(standard: Any, future: Any) -> None:
    """Ends a standard future as ours has ended."""
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
    """What a replaced `submit` works on: takes the call that it gives to the standard one; else is the executor.

    A subclass has what the standard `submit` of its pool touches.
    """

    _broken = False
    _shutdown_lock: Any = contextlib.nullcontext()

    def __init__(self, executor: Any) -> None:
        self._executor = executor
        self.submitted: tuple[Any, tuple[Any, tuple[Any, ...], dict[str, Any]]] | None = None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._executor, name)
