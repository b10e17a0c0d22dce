"""Defects in control: who says that it can, and doesn't; who can't, and doesn't say so."""

from __future__ import annotations

import time
from concurrent.futures import BrokenExecutor, Future
from contextvars import copy_context
from typing import Any, ClassVar

from reference import ProcessExecutor, ThreadExecutor

import corefutures
from mutants import mutant

ABLE = dict.fromkeys(
    (
        "asks_running",
        "limits_pending",
        "limits_shutdown",
        "handles_exit",
        "counts_calls",
        "carries_context",
        "runs_in_place",
        "slots",
        "streams",
        "worker_values",
        "shares_objects",
    ),
    True,
)


class Able(corefutures.ThreadPoolExecutor):
    """A correct executor that can do all of it, but end calls that run."""

    abilities: ClassVar[dict[str, bool]] = ABLE


class Killer(Able):
    """One that says it can do that as well."""

    abilities: ClassVar[dict[str, bool]] = {**ABLE, "kills_running": True}

    def _cf_begin_limiting(self) -> None: ...  # it can


@mutant("control.a_view_runs_calls_in_the_same_pool", says="is not in the repr")
class ViewsForgetTheName(Able):
    """The name is lost."""

    def options(self, *, timeout: float | None = None, name: str | None = None) -> Any:
        super().options(timeout=timeout, name=name)
        return super().options(timeout=timeout)


@mutant(
    "control.options_that_make_no_sense_are_refused",
    says="was accepted",
    also=("control.a_view_runs_calls_in_the_same_pool", "control.a_timeout_is_refused"),
)
class TakesAnyOption(Able):
    """Whatever options it is given, it ignores them."""

    def options(self, **_: Any) -> Any:
        return super().options()


@mutant(
    "control.kill_ends_a_running_call",
    says="the killed call to end",
    also=(
        "control.kill_of_others_than_running_calls",
        "control.a_call_that_runs_too_long_is_stopped",
        "control.*",
    ),
    deadline=2,
)
class KillsNobody(Killer):
    """kill() says True, and that is all; a timeout is forgotten."""

    def kill(self, future: Any) -> bool:
        return not future.done()


@mutant("control.kill_spares_the_other_calls", says="failed another", also=("control.*",), deadline=2)
class KillsEverybody(Killer):
    """kill() ends all calls that run."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        future = super().submit(fn, *args, **kwargs)
        self.__dict__.setdefault("submitted", []).append(future)
        return future

    def kill(self, future: Any) -> bool:
        for other in self.__dict__["submitted"]:
            other._cf_abandon(BrokenExecutor("killed"))
        return True


@mutant("control.a_call_in_time_is_left_alone", says="too long", also=("control.*",), deadline=2)
class HasNoPatience(Killer):
    """Every call with a timeout takes too long."""

    def _cf_submit_with(self, timeout: float | None, name: str | None, fn: Any, args: Any, kwargs: Any) -> Any:
        future: Future[Any] = corefutures.Future()
        future.set_exception(TimeoutError("too long"))
        return future


@mutant(
    "control.a_running_call_can_be_asked_to_stop",
    says="a call that was asked to stop to end",
    also=("control.requests_to_others_than_running_calls",),
    deadline=2,
)
class AsksNobody(Able):
    """request_cancel() says True, and that is all."""

    def request_cancel(self, future: Any) -> bool:
        return True


@mutant(
    "control.a_full_executor_raises",
    says="took more calls than max_pending allows",
    also=(
        "control.a_full_executor_blocks",
        "control.a_full_executor_has_its_caller_run",
        "control.shutdown_wakes_blocked_submitters",
    ),
    deadline=2,
)
class IsNeverFull(Able):
    """Any number of calls may wait."""

    def __init__(self, max_workers: int = 1, *, max_pending: int = 1, when_full: str = "raise", **options: Any) -> None:
        super().__init__(max_workers, **options)


@mutant(
    "control.a_callback_may_submit_to_a_full_executor",
    says="a done-callback that submits to a full executor to have done so",
    deadline=2,
)
class WaitsForItself(Able):
    """Its own threads wait for a place like all others."""

    def _cf_is_handled(self, future: Any, fn: Any, pool: Any) -> bool:
        while pool.limiter is not None and pool.owns_current_thread() and pool.limiter._tokens.empty():
            time.sleep(0.001)
        return super()._cf_is_handled(future, fn, pool)


@mutant("control.a_limited_shutdown_gives_up", says="returned although a call ran")
class ShutdownGivesUpSilently(Able):
    """shutdown(timeout=…) does not wait."""

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False, timeout: float | None = None) -> None:
        super().shutdown(wait and timeout is None, cancel_futures=cancel_futures)


@mutant("control.at_exit_is_understood", says="'never' was accepted")
class TakesAnyExit(Able):
    """at_exit may be anything."""

    def __init__(self, max_workers: int = 1, *, at_exit: str = "wait", **options: Any) -> None:
        super().__init__(max_workers, **options)


@mutant("control.stats_add_up", says="in place of")
class CountsTheWorkersTwice(Able):
    """There are fewer workers than it says."""

    def stats(self) -> Any:
        stats = super().stats()
        return stats._replace(workers=2 * stats.workers)


@mutant(
    "control.named_variables_travel_with_the_call",
    says="in place of what their submitter had set",
    also=("control.what_a_call_sets_is_its_own",),
)
class CarriesNothing(Able):
    """Context variables stay where they are."""

    def __init__(self, max_workers: int = 1, *, context: Any = None, **options: Any) -> None:
        super().__init__(max_workers, **options)


@mutant(
    "control.a_call_sees_the_context_of_a_wrapper",
    says="in place of what their context had",
    also=("control.named_variables_travel_with_the_call", "control.what_a_call_sets_is_its_own"),
)
class TakesItsMakersContext(Able):
    """Calls see the variables as they were where the executor was made."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.made_in = copy_context()

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        return self.made_in.copy().run(super().submit, fn, *args, **kwargs)


class Promising(ThreadExecutor, corefutures.Executor):
    """A correct executor that can't do any of it, and says so."""


@mutant(
    "control.a_call_may_wait_for_calls_of_its_own_pool",
    says="a call that waits for others of its pool to end",
    also=("control.a_circle_of_waiting_calls_is_broken",),
    deadline=2,
)
class SleepsWhileItWaits(Promising):
    """A worker that waits for a call does nothing else."""

    abilities: ClassVar[dict[str, bool]] = {"runs_in_place": True}


@mutant("control.a_call_can_not_reach_its_own_pool", says="should have failed")
class ArrivesAsSomethingElse(ProcessExecutor, corefutures.Executor):
    """A call that is given its executor gets a str."""

    def __reduce__(self) -> Any:
        return str, ("an executor",)


@mutant(
    "control.kill_is_refused",
    says="was not refused",
    also=(
        "control.a_timeout_is_refused",
        "control.requests_are_refused",
        "control.a_limit_of_waiting_calls_is_refused",
        "control.a_limited_shutdown_is_refused",
        "control.at_exit_is_refused",
        "control.stats_are_refused",
        "control.context_is_refused",
        "control.a_view_runs_calls_in_the_same_pool",  # these two: its `kill` makes it look able
        "control.options_that_make_no_sense_are_refused",
    ),
)
class RefusesNothing(Promising):
    """It takes every option, and does nothing with it."""

    def _cf_begin_limiting(self) -> None: ...  # it can

    def __init__(
        self, max_workers: int = 1, *, max_pending: Any = None, at_exit: Any = None, context: Any = None, **options: Any
    ) -> None:
        super().__init__(max_workers, **options)

    def kill(self, future: Any) -> bool:
        return False

    def request_cancel(self, future: Any) -> bool:
        return False

    def stats(self) -> Any:
        return None

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False, timeout: float | None = None) -> None:
        super().shutdown(wait, cancel_futures=cancel_futures)
