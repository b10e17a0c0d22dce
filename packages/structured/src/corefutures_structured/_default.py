"""`use` and `default_executor`: library code runs its calls on the executor that the program chose.

Touches the public interface of `corefutures` alone. Guarantees: one executor for a program however many threads ask for
it; the choice inside `use` is seen by the code inside the block only.
"""

from __future__ import annotations

import atexit
import concurrent.futures as standard
import os
import threading
from contextlib import AbstractContextManager
from contextvars import ContextVar, Token
from typing import TYPE_CHECKING, Any, Final

import corefutures

if TYPE_CHECKING:
    from types import TracebackType

#: The environment variable that names the backend of the program's default executor.
VARIABLE: Final = "COREFUTURES_BACKEND"
_FALLBACK: Final = "thread"

_chosen: ContextVar[standard.Executor | None] = ContextVar("corefutures_structured.chosen", default=None)
# Guards `_shared`. Reentrant, because a signal handler may ask while its holder makes the executor: it makes another
# one then, and the first that is entered stays.
_lock = threading.RLock()
_shared: standard.Executor | None = None


def default_executor() -> standard.Executor:
    """Return the executor that the program chose for code that doesn't choose itself.

    Inside a `use` block that is the block's. Elsewhere it is one executor for the whole program, made at the first
    call, by the name in the environment variable COREFUTURES_BACKEND ("thread" if it is not set), and shut down when
    the program ends. It is shared: don't shut it down.

    Raises:
        BackendError: COREFUTURES_BACKEND names no backend that can be used here.
        ValueError: What it says is no name.

    Thread safety: may be called from any thread.
    """
    chosen = _chosen.get()
    if chosen is not None:
        return chosen
    global _shared
    if _shared is None:
        with _lock:
            if _shared is None:
                name = os.environ.get(VARIABLE) or _FALLBACK
                try:
                    made = corefutures.create_executor(name)
                except Exception as error:
                    if os.environ.get(VARIABLE):
                        error.add_note(f"the name is that in the environment variable {VARIABLE}")
                    raise
                if _shared is None:
                    _shared = made
                    atexit.register(made.shutdown)
    return _shared


def use(name: str, /, **options: Any) -> Choice:
    """Have `default_executor()` return an executor of this backend inside a `with` block.

    Args:
        name: The name of a backend, or anything else that `corefutures.create_executor` takes.
        **options: Those of the executor.

    Returns:
        A context manager: it gives the executor, and shuts it down at the end of the block.

    Raises:
        BackendError: There is no such backend that can be used here.
        TypeError: An option is of the wrong type, or there is no such option.
        ValueError: An option makes no sense.

    Thread safety: the choice is context-local, as `contextvars` are: threads that are started in the block don't see it
    unless they are given its context.
    """
    return Choice(corefutures.create_executor(name, **options))


class Choice(AbstractContextManager[standard.Executor]):
    """The choice of an executor for one `with` block; made by `use`."""

    def __init__(self, executor: standard.Executor) -> None:
        self._executor = executor
        self._token: Token[standard.Executor | None] | None = None

    def __enter__(self) -> standard.Executor:
        if self._token is not None:
            raise RuntimeError("use() is for one block: call it again for another one")
        self._token = _chosen.set(self._executor)
        return self._executor

    def __exit__(
        self, exc_type: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        assert self._token is not None
        _chosen.reset(self._token)
        self._executor.__exit__(exc_type, error, traceback)


def _after_fork_in_child() -> None:
    global _lock
    _lock = threading.RLock()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
