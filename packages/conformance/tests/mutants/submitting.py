"""Defects in submitting."""

from __future__ import annotations

import copy
import inspect
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import Future, wait
from typing import Any

from reference import Job, Pool, ProcessExecutor, ThreadExecutor

from mutants import mutant
from mutants.control import Able


@mutant("submitting.a_signal_handler_may_submit", says="not finished", deadline=3)
class LocksOnceAThread(Able):
    """submit() holds a lock that its thread can not take twice."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.guard = threading.Lock()

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        with self.guard:
            return super().submit(fn, *args, **kwargs)


@mutant("submitting.executor_is_an_executor", says="no subclass of Executor")
class IsNoExecutor:
    """It looks like an executor and is none."""

    def __init__(self, max_workers: int, **options: Any) -> None:
        self._executor = ThreadExecutor(max_workers, **options)
        self.submit, self.map, self.shutdown = (
            self._executor.submit,
            self._executor.map,
            self._executor.shutdown,
        )

    def __enter__(self) -> IsNoExecutor:
        return self

    def __exit__(self, *error: object) -> None:
        self.shutdown()


@mutant("submitting.submit_returns_a_future", says="no concurrent.futures.Future", also=("*",), deadline=2)
class ReturnsNoFuture(ThreadExecutor):
    """submit() returns something that is no Future."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Any:
        return vars(super().submit(fn, *args, **kwargs))


@mutant(
    "submitting.each_submit_returns_a_new_future",
    says="two calls got the same future",
    also=("submitting.equal_calls_each_run", "*"),
    deadline=2,
)
class RemembersEqualCalls(ThreadExecutor):
    """Equal calls share one future."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.known: dict[Any, Future[Any]] = {}

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        key = repr((fn, args, sorted(kwargs.items()))) if not any(map(_odd, args)) else object()
        if key not in self.known:
            self.known[key] = super().submit(fn, *args, **kwargs)
        return self.known[key]


def _odd(value: object) -> bool:
    return type(value).__module__ != "builtins" and "journal" not in type(value).__module__


@mutant(
    "submitting.submit_returns_while_the_call_runs",
    says="submit() of a call that blocks",
    also=("*",),
    deadline=1.5,
)
class RunsInSubmit(ThreadExecutor):
    """submit() runs the call itself."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        future = super().submit(fn, *args, **kwargs)
        wait([future])
        return future


@mutant("submitting.calls_run_outside_the_caller", says="in the very thread that submitted it", also=("*",))
class RunsShortCallsInSubmit(ThreadExecutor):
    """Calls without arguments are run by submit() itself."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        if args or kwargs:
            return super().submit(fn, *args, **kwargs)
        self.check_open()
        job = self.make_job(fn, args, kwargs)
        self.begin(job)
        future = job.future
        self.perform(self.pool, None, job)
        return future


@mutant(
    "submitting.submit_accepts_more_calls_than_workers",
    says="submit() beside a busy worker",
    also=("*",),
    deadline=2,
)
class BlocksWhenFull(ThreadExecutor):
    """submit() blocks while twenty calls wait."""

    def enqueue(self, job: Job) -> None:
        while len(self.pool.jobs) > 20 and not self.pool.closed:
            self.pool.changed.wait(0.05)
        super().enqueue(job)


@mutant(
    "submitting.passes_positional_arguments",
    says="the call got",
    also=("submitting.passes_many_arguments", "*"),
    deadline=2,
)
class PassesTwoArguments(ThreadExecutor):
    """The third argument and those behind it are lost."""

    def make_job(self, fn: Any, args: Any, kwargs: Any) -> Job:
        return super().make_job(fn, args[:2], kwargs)


@mutant(
    "submitting.passes_keyword_arguments",
    says="the call got",
    also=(
        "submitting.passes_falsy_arguments",
        "submitting.passes_a_keyword_called_self",
        "submitting.passes_a_keyword_called_fn",
        "submitting.passes_a_keyword_called_timeout",
        "submitting.passes_a_keyword_called_key",
        "submitting.passes_keywords_that_executors_like",
        "submitting.passes_many_arguments",
        "submitting.calls_a_class",
        "*",
    ),
)
class DropsKeywords(ThreadExecutor):
    """Keyword arguments are lost."""

    def make_job(self, fn: Any, args: Any, kwargs: Any) -> Job:
        return super().make_job(fn, args, {})


@mutant("submitting.passes_no_arguments", says="the call got", also=("*",), deadline=2)
class PassesNoneForNothing(ThreadExecutor):
    """A call without arguments gets None."""

    def make_job(self, fn: Any, args: Any, kwargs: Any) -> Job:
        return super().make_job(fn, args if args or kwargs else (None,), kwargs)


@mutant("submitting.passes_falsy_arguments", says="the call got", also=("*",), deadline=2)
class DropsNone(ThreadExecutor):
    """Arguments that are None are lost."""

    def make_job(self, fn: Any, args: Any, kwargs: Any) -> Job:
        return super().make_job(fn, tuple(arg for arg in args if arg is not None), kwargs)


@mutant(
    "submitting.passes_a_keyword_called_timeout",
    says="the keyword timeout=7 reached the call as",
    also=("submitting.passes_a_keyword_called_key", "*"),
)
class KeepsKeywordsToItself(ThreadExecutor):
    """submit() has options of its own."""

    def submit(self, fn: Any, /, *args: Any, timeout: Any = None, key: Any = None, **kwargs: Any) -> Future[Any]:
        return super().submit(fn, *args, **kwargs)


@mutant(
    "submitting.passes_a_keyword_called_self",
    says="TypeError",
    also=("submitting.passes_a_keyword_called_fn", "submitting.callable_is_positional_only", "*"),
)
class TakesItsOwnNames(ThreadExecutor):
    """submit(self, fn, …) without the slash."""

    def submit(self, fn: Any, *args: Any, **kwargs: Any) -> Future[Any]:
        return super().submit(fn, *args, **kwargs)


@mutant(
    "submitting.submit_without_callable_raises_type_error",
    says="submit() without arguments did not raise TypeError",
    also=("submitting.callable_is_positional_only",),
)
class AcceptsNoCallable(ThreadExecutor):
    """submit() without a callable does nothing."""

    def submit(self, fn: Any = list, /, *args: Any, **kwargs: Any) -> Future[Any]:
        return super().submit(fn, *args, **kwargs)


@mutant("submitting.does_not_compare_arguments", says="no equality", also=("*",), deadline=2)
class ComparesArguments(ThreadExecutor):
    """submit() looks for a marker among the arguments."""

    def make_job(self, fn: Any, args: Any, kwargs: Any) -> Job:
        if any(arg == "executor" for arg in args):
            args = (self, *args)
        return super().make_job(fn, args, kwargs)


@mutant("submitting.passes_a_cyclic_argument", says="RecursionError", also=("*",))
class WalksArguments(ThreadExecutor):
    """submit() searches lists for futures."""

    def make_job(self, fn: Any, args: Any, kwargs: Any) -> Job:
        self.search(args)
        return super().make_job(fn, args, kwargs)

    def search(self, value: Any) -> None:
        if type(value) in (list, tuple):
            for each in value:
                self.search(each)


@mutant("submitting.does_not_consume_arguments", says="as first of an untouched iterator", also=("*",))
class PeeksIntoIterators(ThreadExecutor):
    """submit() looks at the first element of an iterator."""

    def make_job(self, fn: Any, args: Any, kwargs: Any) -> Job:
        for arg in args:
            if isinstance(arg, Iterator):
                next(arg, None)
        return super().make_job(fn, args, kwargs)


@mutant("submitting.passes_the_very_arguments", says="copies of its arguments", also=("*",))
class CopiesArguments(ThreadExecutor):
    """The call gets copies."""

    def make_job(self, fn: Any, args: Any, kwargs: Any) -> Job:
        return super().make_job(fn, tuple(map(copy.copy, args)), kwargs)


@mutant(
    "submitting.does_not_resolve_futures_among_arguments",
    says="a future given as argument arrived as",
    also=("*",),
)
class ResolvesFutures(ThreadExecutor):
    """Futures among the arguments are replaced by their results."""

    @classmethod
    def call(cls, pool: Pool, station: Any, job: Job) -> Any:
        return job.fn(*(arg.result() if isinstance(arg, Future) else arg for arg in job.args), **job.kwargs)


@mutant(
    "submitting.serialises_arguments_at_submit",
    says="a change of its argument made after submit()",
    also=("*",),
)
class PicklesLate(ProcessExecutor):
    """Arguments are pickled when a worker takes the call."""

    def make_job(self, fn: Any, args: Any, kwargs: Any) -> Job:
        job = super().make_job(fn, args, kwargs)
        job.fn, job.args, job.kwargs = fn, args, kwargs
        return job

    @classmethod
    def perform(cls, pool: Pool, station: Any, job: Job) -> None:
        import pickle

        job.parcel = pickle.dumps((job.fn, job.args, job.kwargs))
        job.fn = job.args = job.kwargs = None
        super().perform(pool, station, job)


@mutant(
    "submitting.calls_a_builtin",
    says="TypeError",
    also=(
        "submitting.calls_a_class",
        "submitting.calls_a_bound_method",
        "submitting.calls_a_bound_method_of_a_builtin",
        "submitting.calls_a_class_method",
        "submitting.calls_a_partial",
        "submitting.calls_a_callable_object",
        "submitting.calls_a_falsy_callable",
        "*",
    ),
)
class WantsFunctions(ThreadExecutor):
    """Only plain functions are accepted."""

    def make_job(self, fn: Any, args: Any, kwargs: Any) -> Job:
        if not inspect.isfunction(fn):
            raise TypeError(f"{fn} is no function")
        return super().make_job(fn, args, kwargs)


@mutant(
    "submitting.calls_a_lambda",
    says="TypeError",
    also=(
        "submitting.calls_a_closure",
        "submitting.calls_a_static_method",
        "submitting.a_call_may_submit",
        "*",
    ),
)
class WantsModuleLevelFunctions(ThreadExecutor):
    """Functions that are defined inside something are refused."""

    def make_job(self, fn: Any, args: Any, kwargs: Any) -> Job:
        if inspect.isfunction(fn) and "." in fn.__qualname__:
            raise TypeError(f"{fn} is not at module level")
        return super().make_job(fn, args, kwargs)


@mutant(
    "submitting.wrong_arguments_end_in_type_error",
    says="should have failed, but returned None",
    also=("submitting.what_is_not_callable_ends_in_type_error", "*"),
)
class ForgivesTypeErrors(ThreadExecutor):
    """A call that ends in TypeError counts as None."""

    @classmethod
    def call(cls, pool: Pool, station: Any, job: Job) -> Any:
        try:
            return super().call(pool, station, job)
        except TypeError:
            return None


@mutant("submitting.max_workers_must_be_positive", says="max_workers=0 did not raise ValueError", also=("*",))
class AcceptsNoWorkers(ThreadExecutor):
    """max_workers=0 means one."""

    def __init__(self, max_workers: int = 2, **options: Any) -> None:
        super().__init__(max(1, max_workers), **options)


@mutant(
    "submitting.each_call_runs_exactly_once",
    says="of calls 0 to 59 these ran",
    also=("submitting.equal_calls_each_run", "submitting.submit_from_several_threads", "*"),
)
class RunsTwice(ThreadExecutor):
    """Every call is executed twice."""

    @classmethod
    def call(cls, pool: Pool, station: Any, job: Job) -> Any:
        super().call(pool, station, job)
        return super().call(pool, station, job)


@mutant(
    "submitting.calls_run_without_being_asked_for",
    says="a call whose future was dropped to run",
    also=("*",),
)
class ForgetsDroppedFutures(ThreadExecutor):
    """A call whose future nobody refers to is not executed."""

    def make_job(self, fn: Any, args: Any, kwargs: Any) -> Job:
        job = super().make_job(fn, args, kwargs)
        job.future.job = None  # type: ignore[attr-defined]
        return job

    @classmethod
    def begin(cls, job: Job) -> bool:
        return sys.getrefcount(job.future) > 2 and super().begin(job)


@mutant("submitting.calls_start_in_the_order_submitted", says="calls started in the order", also=("*",))
class TakesTheLastFirst(ThreadExecutor):
    """The latest call starts first."""

    @classmethod
    def pick(cls, pool: Pool) -> Job:
        return pool.jobs.pop()


@mutant(
    "submitting.submit_from_several_threads",
    says="100 calls from four threads gave",
    also=("submitting.a_call_may_submit", "*"),
    deadline=2,
)
class BelongsToOneThread(ThreadExecutor):
    """submit() works only in the thread that made the executor."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.owner = threading.get_ident()

    def check_open(self) -> None:
        super().check_open()
        if threading.get_ident() != self.owner:
            raise ValueError("not my thread")


@mutant(
    "submitting.submit_after_shutdown_raises",
    says="submit() after shutdown() did not raise RuntimeError",
    also=("submitting.submit_after_shutdown_without_waiting_raises", "*"),
    deadline=2,
)
class AcceptsCallsAfterShutdown(ThreadExecutor):
    """submit() after shutdown() returns a future that stays pending."""

    def check_open(self) -> None:
        """Say nothing."""


def evaluated(value: Any) -> Any:
    """What a value means as a task graph of Dask's old form."""
    return value[0](*value[1:]) if type(value) is tuple and value and callable(value[0]) else value


@mutant("submitting.does_not_evaluate_arguments", says="the argument (<built-in function len>, 'three') arrived as 5")
class EvaluatesTasks(ThreadExecutor):
    """A tuple that begins with a callable is called on its way."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        return super().submit(fn, *map(evaluated, args), **kwargs)


@mutant("submitting.keyword_arguments_keep_their_order", says="z, a, m arrived as a, m, z")
class SortsKeywords(ThreadExecutor):
    """Keyword arguments are sorted by name."""

    def submit(self, fn: Any, /, *args: Any, **kwargs: Any) -> Future[Any]:
        return super().submit(fn, *args, **dict(sorted(kwargs.items())))
