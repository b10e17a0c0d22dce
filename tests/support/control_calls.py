"""What the tests of control have workers do: imported by worker processes and interpreters, so nothing of the tests."""

from __future__ import annotations

import os
import threading
import time
from contextvars import ContextVar
from typing import Any

from corefutures import cancel_requested

#: Seconds after which a call that is not asked gives up. No test that passes waits so long.
LIMIT = 30.0

tenant: ContextVar[Any] = ContextVar("tenant", default="nobody")
shade: ContextVar[Any] = ContextVar("shade")


def until_asked(result: Any = "stopped") -> Any:
    """Returns `result` once the call was asked to stop."""
    deadline = time.monotonic() + LIMIT
    while not cancel_requested():
        if time.monotonic() > deadline:
            return "never asked"
        time.sleep(0.001)
    return result


def until_asked_in_threads() -> list[Any]:
    """The same in several threads of the worker at a time."""
    results: list[Any] = []
    threads = [threading.Thread(target=lambda: results.append(until_asked())) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return results


def asked(payload: bytes = b"") -> bool:
    """Returns whether the call was asked to stop; takes as long as `payload` takes to arrive."""
    return cancel_requested()


def asked_before_any_call(answers: Any = None) -> None:
    """An initializer, which nobody can ask."""
    if cancel_requested():
        raise RuntimeError("an initializer was asked to stop")


def leave_thread_that_asks() -> int:
    """Leaves a thread in the worker that asks all the time for a while, whatever the worker does."""

    def ask() -> None:
        for _ in range(300):
            cancel_requested()
            time.sleep(0.0005)

    threading.Thread(target=ask).start()
    return os.getpid()


def seen() -> tuple[Any, Any]:
    """Returns what the call sees of the two variables."""
    return tenant.get(), shade.get("unset")


def change(value: Any) -> Any:
    """Changes both, which only the call itself may see."""
    tenant.set(value)
    shade.set(value)
    return seen()


def tenant_and(item: Any) -> tuple[Any, Any]:
    """Returns what the call sees of the first, and its argument."""
    return tenant.get(), item


#: Pools that a forked worker finds here.
inherited: list[Any] = []


def submit_to(pool: Any) -> Any:
    return pool.submit(abs, -1).result(LIMIT)


def submit_to_inherited() -> Any:
    return submit_to(inherited[0])


def wait_for(future: Any) -> Any:
    return future.result(LIMIT)


class Finalised:
    """As a result: calls `finalise` where it ends, which a test has set there."""

    finalise: Any = staticmethod(int)

    def __del__(self) -> None:
        self.finalise()
