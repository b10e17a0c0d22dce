"""Initializers that `adapt` runs: in each worker before its first call, by that call.

Touches the initializer. Guarantees: it runs once in a worker; after it has failed no call runs there, and the executor
is told by the outcome of the call.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from corefutures._blocking import threading
from corefutures_pools.foreign_code import drop_frame

if TYPE_CHECKING:
    from collections.abc import Callable


class WorkerNotInitialized(Exception):
    """The outcome of a call whose worker's initializer raised.

    Attributes:
        error: The initializer's exception.
    """

    def __init__(self, error: BaseException) -> None:
        super().__init__("the initializer of the worker failed")
        self.error = error


class _State(threading.local):
    initialized = False


class ThreadInitializer:
    """An initializer for workers that are threads of this process.

    Args:
        initializer: What to call.
        initargs: Its arguments.
    """

    def __init__(self, initializer: Callable[..., object], initargs: tuple[Any, ...]) -> None:
        self._initializer = initializer
        self._initargs = initargs
        self._state = _State()

    def __call__(self) -> None:
        """Initialize the current thread unless that has been done.

        Raises:
            WorkerNotInitialized: The initializer raised.
        """
        if self._state.initialized:
            return
        error = None
        try:
            self._initializer(*self._initargs)
        except BaseException as exc:
            drop_frame(exc)
            error = exc
        try:
            if error is not None:
                raise WorkerNotInitialized(error)
        finally:
            del error  # no cycle from its traceback to this frame
        self._state.initialized = True
