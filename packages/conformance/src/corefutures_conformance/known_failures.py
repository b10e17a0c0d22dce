"""Where the standard library, or an engine that a backend is made of, breaks a rule: recorded with the reason."""

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
_NO_EXIT_CODE = "gh-139462: the broken-pool error does not say how the worker ended"
_UNPICKLING_BREAKS = "gh-103061, gh-79492: what fails at unpickling breaks the process pool"
_NOT_SHAREABLE = "the interpreter pool's NotShareableError hides why pickling failed"
_SENT_AHEAD = "a process pool takes calls that it has sent ahead for running (EXTRA_QUEUED_CALLS)"

_ENGINE_REMEMBERS = (
    "its own cluster has the scheduler in this process, where Dask remembers up to 100,000 keys; on a cluster that "
    "was joined (-o address=…) the rule is kept"
)

_JOB_ENDS = "MPI ends the whole job when a rank dies, the program that has the executor included"
_LOST_WITH_THE_JOB = (
    *(f"{how}_while_{what}" for how in ("kill", "crash", "os_exit") for what in ("running", "unpickling", "pickling")),
    "as_completed_ends_at_a_loss",
    "broken_pool_refuses_map",
    "broken_pool_refuses_submit",
    "busy_calls_end_at_a_loss",
    "callbacks_run_at_a_loss",
    "cancelled_calls_stay_cancelled_at_a_loss",
    "crash_while_pickling_an_exception",
    "each_future_has_its_own_broken_error",
    "finished_calls_keep_their_results_at_a_loss",
    "loss_during_shutdown_ends_it",
    "loss_is_noticed_while_others_are_busy",
    "loss_of_a_new_worker_is_noticed_while_others_are_busy",
    "loss_while_a_large_argument_is_sent",
    "lost_call_fails_with_broken_executor",
    "map_ends_at_a_loss",
    "os_exit_while_starting",
    "os_exit_with_status_zero_while_running",
    "shutdown_after_a_loss_returns",
    "wait_wakes_at_a_loss",
    "waiting_calls_end_at_a_loss",
)

KNOWN_FAILURES: tuple[KnownFailure, ...] = (
    KnownFailure(
        (_INTERPRETER,),
        "exceptions.raised_exception_is_not_shown",
        "CPython crashes where an exception whose str and repr fail crosses between interpreters (no issue known)",
    ),
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
        (_THREAD, _PROCESS, _INTERPRETER),
        "shutting_down.shutdown_that_waits_returns_in_a_callback",
        _SELF_JOIN,
    ),
    KnownFailure((_THREAD,), "shutting_down.shutdown_that_waits_returns_in_a_call", _SELF_JOIN),
    KnownFailure(
        (_THREAD, _PROCESS, _INTERPRETER),
        "shutting_down.submit_works_in_a_thread_that_outlives_the_main_one",
        "gh-148280: once the main thread has ended submit() is refused, although other threads go on",
    ),
    KnownFailure((_THREAD, _PROCESS, _INTERPRETER), "initializing.failing_initializer_is_the_cause", _NO_CAUSE),
    KnownFailure(
        (_THREAD, _PROCESS, _INTERPRETER),
        "initializing.failing_initializer_is_the_cause_in_submit",
        _NO_CAUSE,
    ),
    KnownFailure(
        (_PROCESS,),
        "worker_loss.cancelled_calls_stay_cancelled_at_a_loss",
        "gh-107219: a process pool that breaks stumbles over a cancelled call and leaves the others pending",
        until=(3, 12),
    ),
    KnownFailure((_PROCESS,), "worker_loss.exit_code_is_told", _NO_EXIT_CODE, until=(3, 15)),
    KnownFailure((_PROCESS,), "worker_loss.signal_is_told", _NO_EXIT_CODE, until=(3, 15)),
    KnownFailure(
        (_PROCESS,),
        "worker_loss.each_future_has_its_own_broken_error",
        "gh-101267: all futures of a broken process pool share one exception object",
        until=(3, 12),
    ),
    KnownFailure(
        (_PROCESS, _INTERPRETER),
        "transport.arguments_are_taken_at_submit",
        "arguments are pickled when the call is sent, not when it is submitted",
    ),
    KnownFailure(
        (_PROCESS,),
        "transport.argument_that_exits_at_pickling_is_an_error",
        "SystemExit while an argument is pickled ends the queue's feeder thread, and the future stays pending",
    ),
    KnownFailure((_PROCESS,), "transport.argument_that_does_not_unpickle_fails_alone", _UNPICKLING_BREAKS),
    KnownFailure((_PROCESS,), "transport.argument_that_exits_at_unpickling_fails_alone", _UNPICKLING_BREAKS),
    KnownFailure((_PROCESS,), "transport.result_that_does_not_unpickle_fails_alone", _UNPICKLING_BREAKS),
    KnownFailure((_PROCESS,), "transport.result_that_exits_at_unpickling_fails_alone", _UNPICKLING_BREAKS),
    KnownFailure((_PROCESS,), "transport.exception_that_does_not_unpickle_fails_alone", _UNPICKLING_BREAKS),
    KnownFailure((_PROCESS,), "transport.workers_outlive_what_cannot_cross", _UNPICKLING_BREAKS),
    KnownFailure((_INTERPRETER,), "transport.unpicklable_argument_fails_alone", _NOT_SHAREABLE),
    KnownFailure((_INTERPRETER,), "transport.unpicklable_callable_fails_alone", _NOT_SHAREABLE),
    KnownFailure((_INTERPRETER,), "transport.unpicklable_result_fails_alone", _NOT_SHAREABLE),
    KnownFailure((_INTERPRETER,), "transport.result_that_does_not_unpickle_fails_alone", _NOT_SHAREABLE),
    KnownFailure(
        (_INTERPRETER,),
        "transport.memory_error_arrives",
        "an interpreter pool takes a call's MemoryError for a result, and raises it in the next call (no issue known)",
    ),
    KnownFailure((_PROCESS,), "concurrency.running_is_false_for_calls_that_wait", _SENT_AHEAD),
    KnownFailure((_PROCESS,), "concurrency.every_waiting_call_can_be_cancelled", _SENT_AHEAD),
    KnownFailure(
        (_THREAD, _PROCESS, _INTERPRETER),
        "resources.arguments_of_a_cancelled_call_are_released",
        "a cancelled call keeps its arguments until a worker would have taken it",
    ),
    KnownFailure(
        (_PROCESS,),
        "initializing.failing_initializer_gives_each_future_an_error_of_its_own",
        "gh-101267: the futures of a broken process pool share one exception",
        until=(3, 13),
    ),
    KnownFailure(
        ("dask",),
        "shutting_down.submit_works_in_a_thread_that_outlives_the_main_one",
        "gh-148280: Dask's scheduler, in this process, uses a pool of asyncio, which takes no calls then",
    ),
    KnownFailure(
        ("mpi", "ray", "slurm"),
        "shutting_down.submit_works_in_a_thread_that_outlives_the_main_one",
        "gh-148280: the engine's library ends with the main thread, so that the executor takes no calls then",
    ),
    *(KnownFailure(("mpi",), f"worker_loss.{rule}", _JOB_ENDS) for rule in _LOST_WITH_THE_JOB),
    KnownFailure(("mpi",), "resources.threads_end_after_a_loss", _JOB_ENDS),
    KnownFailure(("mpi",), "resources.descriptors_are_closed_after_a_loss", _JOB_ENDS),
    KnownFailure(("dask",), "resources.memory_does_not_grow_with_calls", _ENGINE_REMEMBERS),
    KnownFailure(("dask",), "resources.memory_does_not_grow_with_failing_calls", _ENGINE_REMEMBERS),
    KnownFailure(("dask",), "resources.memory_does_not_grow_with_cancelled_calls", _ENGINE_REMEMBERS),
)


def failures(target: str) -> dict[str, str]:
    """Return the rules that `target` is known to break on this Python: rule id → reason."""
    version = sys.version_info[:2]
    return {
        failure.rule: failure.reason
        for failure in KNOWN_FAILURES
        if target in failure.targets and failure.first <= version < failure.until
    }
