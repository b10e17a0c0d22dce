"""Where the standard library itself breaks a rule: recorded with the issue it is known by, not bent."""

from __future__ import annotations

import sys
from dataclasses import dataclass


@dataclass(frozen=True)
class KnownFailure:
    """A rule that a target is known to break."""

    targets: tuple[str, ...]
    rule: str
    reason: str
    first: tuple[int, int] = (3, 11)
    until: tuple[int, int] = (4, 0)
    """Pythons from `first` on, below `until`."""


_THREAD = "concurrent.futures:ThreadPoolExecutor"
_PROCESS = "concurrent.futures:ProcessPoolExecutor"
_INTERPRETER = "concurrent.futures:InterpreterPoolExecutor"

_SELF_JOIN = "gh-131598: shutdown() in a callback or a call joins the thread that it runs in"
_NO_CAUSE = "the broken-pool error says that an initializer failed and not why: the error is logged and dropped"

KNOWN_FAILURES: tuple[KnownFailure, ...] = (
    KnownFailure(
        (_THREAD, _INTERPRETER),
        "shutting_down.shutdown_with_cancel_wakes_wait",
        "gh-109934: a thread pool's shutdown(cancel_futures=True) cancels without notifying who waits",
    ),
    KnownFailure(
        (_PROCESS,),
        "shutting_down.shutdown_with_cancel_wakes_wait",
        "gh-136655: a process pool's shutdown(cancel_futures=True) cancels without notifying who waits",
    ),
    KnownFailure(
        (_PROCESS,),
        "shutting_down.shutdown_with_cancel_cancels_every_call_that_waits",
        "a process pool takes calls that it has sent ahead for running (EXTRA_QUEUED_CALLS)",
    ),
    KnownFailure(
        (_PROCESS,),
        "shutting_down.shutdown_again_waits",
        "a process pool's shutdown(wait=False) forgets the thread that a later shutdown(wait=True) would join",
    ),
    KnownFailure(
        (_THREAD, _PROCESS, _INTERPRETER), "shutting_down.shutdown_that_waits_returns_in_a_callback", _SELF_JOIN
    ),
    KnownFailure((_THREAD,), "shutting_down.shutdown_that_waits_returns_in_a_call", _SELF_JOIN),
    KnownFailure((_THREAD, _PROCESS, _INTERPRETER), "initializing.failing_initializer_is_the_cause", _NO_CAUSE),
    KnownFailure(
        (_THREAD, _PROCESS, _INTERPRETER), "initializing.failing_initializer_is_the_cause_in_submit", _NO_CAUSE
    ),
    KnownFailure(
        (_PROCESS,),
        "initializing.failing_initializer_is_noticed_while_others_work",
        "a process pool watches a list of workers made before the last one was started (forkserver and spawn)",
        first=(3, 14),
    ),
)


def failures(target: str) -> dict[str, str]:
    """The rules that `target` is known to break on this Python: rule id → reason."""
    version = sys.version_info[:2]
    return {
        failure.rule: failure.reason
        for failure in KNOWN_FAILURES
        if target in failure.targets and failure.first <= version < failure.until
    }
