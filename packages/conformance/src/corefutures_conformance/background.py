"""A call that goes on in a thread of its own while the rule acts: for what blocks until the rule does.

Imports the standard library and `deadlines` alone. Nothing here waits without a bound; no thread keeps the
process alive.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from corefutures_conformance.deadlines import Overdue, limit

T = TypeVar("T")


class BackgroundCall(Generic[T]):
    """Runs `call()` in a daemon thread from now on.

    Thread safety: for the thread that made it.
    """

    def __init__(self, call: Callable[[], T], what: str) -> None:
        """Start the call.

        Args:
            call: what may block.
            what: its name in messages: "shutdown()".
        """
        self._what = what
        self._box: list[tuple[bool, Any]] = []
        self._thread = threading.Thread(target=self._run, args=(call,), name=f"background {what}", daemon=True)
        self._thread.start()

    def _run(self, call: Callable[[], T]) -> None:
        try:
            outcome: tuple[bool, Any] = (True, call())
        except BaseException as error:
            outcome = (False, error)
        self._box.append(outcome)

    def goes_on(self, seconds: float = 0.05) -> bool:
        """Watch the call for a short while; say whether it was still going on then, or raise what it raised."""
        self._thread.join(seconds)
        if self._box and not self._box[0][0]:
            raise self._box[0][1]
        return self._thread.is_alive()

    def outcome(self, seconds: float | None = None) -> T:
        """Return what the call returned, or raise what it raised.

        Args:
            seconds: the limit; `limit()` by default.

        Raises:
            Overdue: when it does not return in time.
        """
        seconds = limit() if seconds is None else seconds
        self._thread.join(seconds)
        if not self._box:
            raise Overdue(f"waited {seconds:g} s for {self._what} to return")
        succeeded, value = self._box[0]
        if succeeded:
            return value  # type: ignore[no-any-return]
        raise value
