"""Structured concurrency over any executor: scopes, open-ended iteration, retries, and a default executor.

Uses the public interface of `corefutures` alone. Guarantees: importing this package imports nothing else: a worker that
unpickles a call of a scope loads `_deadline` only.
"""

from __future__ import annotations

TYPE_CHECKING = False  # `typing` is much of the import time of a worker; type checkers know the name

if TYPE_CHECKING:
    from corefutures_structured._deadline import time_left as time_left
    from corefutures_structured._default import default_executor as default_executor, use as use
    from corefutures_structured._iteration import (
        Completions as Completions,
        ItemIterator as ItemIterator,
        ItemOutcome as ItemOutcome,
        completions as completions,
        imap as imap,
    )
    from corefutures_structured._retrying import (
        RetriedFuture as RetriedFuture,
        RetryingExecutor as RetryingExecutor,
        RetryState as RetryState,
        retrying as retrying,
    )
    from corefutures_structured._scope import Scope as Scope, scope as scope

_MODULES = {
    "Completions": "_iteration",
    "ItemIterator": "_iteration",
    "ItemOutcome": "_iteration",
    "RetriedFuture": "_retrying",
    "RetryState": "_retrying",
    "RetryingExecutor": "_retrying",
    "Scope": "_scope",
    "completions": "_iteration",
    "default_executor": "_default",
    "imap": "_iteration",
    "retrying": "_retrying",
    "scope": "_scope",
    "time_left": "_deadline",
    "use": "_default",
}
__all__ = [*_MODULES]


def __getattr__(name: str) -> object:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module  # here for start-up time only

    value: object = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *_MODULES})
