"""Defects in carrying calls, results and exceptions, and in what becomes of those that cannot be carried."""

from __future__ import annotations

import copy
import pickle
import traceback
from concurrent.futures import Future
from typing import Any

from reference import Job, Pool, ProcessExecutor, RemoteTraceback, ThreadExecutor

from mutants import mutant

# Values


@mutant("transport.values_arrive_as_they_are", says="came back as None", also=("transport.too_deep*", "transport.*"))
class FalsyResultIsNone(ThreadExecutor):
    """A result that is false becomes None."""

    @classmethod
    def settle(cls, future: Future[Any], result: Any) -> None:
        try:
            super().settle(future, result or None)
        except Exception:
            super().settle(future, result)


@mutant("transport.exceptions_returned_are_results", says="")
class ReturnedExceptionIsRaised(ThreadExecutor):
    """An exception that a call returns is raised."""

    @classmethod
    def settle(cls, future: Future[Any], result: Any) -> None:
        if isinstance(result, Exception):
            cls.settle_error(future, result)
        else:
            super().settle(future, result)


def _size(value: Any) -> int:
    return 1 + sum(map(_size, value)) if isinstance(value, (list, tuple)) else 1


@mutant("transport.cyclic_values_arrive", says="RecursionError", also=("transport.too_deep_*",))
class MeasuresArguments(ThreadExecutor):
    """submit() walks through the arguments, for ever if they contain themselves."""

    def make_job(self, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Job:
        _size(args)
        return super().make_job(fn, args, kwargs)


@mutant("transport.values_need_no_equality_truth_or_repr", says="no truth")
class AsksResultsForTruth(ThreadExecutor):
    """Each result is asked whether it is true."""

    @classmethod
    def settle(cls, future: Future[Any], result: Any) -> None:
        try:
            super().settle(future, result if result else result)  # noqa: RUF034 - the question is the defect
        except Exception as error:
            super().settle_error(future, error)


@mutant("transport.many_arguments_arrive_in_order", says="positional arguments arrived as")
class TakesAtMost255Arguments(ThreadExecutor):
    """Positional arguments behind the 255th are lost."""

    def make_job(self, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Job:
        return super().make_job(fn, args[:255], kwargs)


@mutant(
    "transport.arguments_are_the_very_objects",
    says="another object",
    also=("transport.nothing_needs_pickling",),
)
class CopiesArguments(ThreadExecutor):
    """Threads get copies of the arguments, and callers copies of the results."""

    @classmethod
    def call(cls, pool: Pool, station: Any, job: Job) -> Any:
        return job.fn(*copy.deepcopy(job.args), **job.kwargs)


@mutant("transport.nothing_needs_pickling", says="", also=("transport.too_deep_*",))
class ThreadsThatPickle(ThreadExecutor):
    """A thread executor that insists on picklable callables."""

    def make_job(self, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Job:
        pickle.dumps(fn)
        return super().make_job(fn, args, kwargs)


# Sizes


@mutant(
    "transport.arguments_of_every_size_arrive_whole",
    says="an argument of",
    also=("transport.argument_of_64_megabytes_arrives",),
)
class CutsArgumentsAt64K(ProcessExecutor):
    """The byte strings among the arguments are cut at 64 K."""

    def pack(self, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        return super().pack(fn, tuple(arg[:65535] if type(arg) is bytes else arg for arg in args), kwargs)


@mutant(
    "transport.results_of_every_size_arrive_whole",
    says="a result of",
    also=("transport.result_of_64_megabytes_arrives",),
)
class CutsResultsAt64K(ProcessExecutor):
    """Byte strings that come back are cut at 64 K."""

    @classmethod
    def settle(cls, future: Future[Any], result: Any) -> None:
        super().settle(future, result[:65535] if type(result) is bytes else result)


@mutant("transport.argument_of_64_megabytes_arrives", says="ValueError", also=("transport.*megabytes*",))
class RefusesLargeArguments(ProcessExecutor):
    """Arguments above 32 MB are refused."""

    def pack(self, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        parcel = super().pack(fn, args, kwargs)
        if len(parcel) > 32 << 20:
            raise ValueError("message too long")
        return parcel


@mutant("transport.result_of_64_megabytes_arrives", says="ValueError")
class RefusesLargeResults(ProcessExecutor):
    """Results above 32 MB are refused."""

    @classmethod
    def unpack(cls, reply: bytes) -> Any:
        if len(reply) > 32 << 20:
            raise ValueError("message too long")
        return super().unpack(reply)


@mutant("transport.arguments_are_taken_at_submit", says="changed later")
class PicklesLate(ProcessExecutor):
    """Arguments are pickled when the call is sent, not when it is submitted."""

    def make_job(self, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Job:
        return Job(self.future_type(), fn, args, kwargs)

    @classmethod
    def perform(cls, pool: Pool, station: Any, job: Job) -> None:
        try:
            job.parcel = pickle.dumps((job.fn, job.args, job.kwargs))
        except BaseException as error:
            cls.settle_error(job.future, error)
            return
        super().perform(pool, station, job)

    @classmethod
    def release(cls, job: Job) -> None:
        job.parcel, job.args = b"", ()


# Exceptions that should arrive


@mutant(
    "transport.exceptions_keep_type_and_arguments",
    says="arrived",
    also=(
        "transport.exception_groups_arrive",
        "transport.large_exceptions_arrive",
        "transport.memory_error_arrives",
        "transport.exception_notes_arrive",
    ),
)
class WrapsExceptions(ThreadExecutor):
    """Every exception arrives wrapped in a RuntimeError."""

    @classmethod
    def settle_error(cls, future: Future[Any], error: BaseException) -> None:
        wrapper = RuntimeError(str(error))
        wrapper.__cause__ = error
        super().settle_error(future, wrapper)


@mutant("transport.exception_notes_arrive", says="notes arrived as")
class LosesNotes(ProcessExecutor):
    """The notes of exceptions stay in the worker."""

    @classmethod
    def settle_error(cls, future: Future[Any], error: BaseException) -> None:
        vars(error).pop("__notes__", None)
        super().settle_error(future, error)


@mutant("transport.memory_error_arrives", says="returned None")
class MemoryErrorIsSwallowed(ThreadExecutor):
    """A call that runs out of memory returns None."""

    @classmethod
    def settle_error(cls, future: Future[Any], error: BaseException) -> None:
        if isinstance(error, MemoryError):
            future.set_result(None)
        else:
            super().settle_error(future, error)


@mutant("transport.exception_groups_arrive", says="arrived as")
class UnwrapsGroups(ThreadExecutor):
    """Of a group of exceptions, only the first arrives."""

    @classmethod
    def settle_error(cls, future: Future[Any], error: BaseException) -> None:
        super().settle_error(future, error.exceptions[0] if isinstance(error, BaseExceptionGroup) else error)


@mutant("transport.large_exceptions_arrive", says="")
class CutsLargeExceptions(ProcessExecutor):
    """Large arguments of exceptions are left out."""

    @classmethod
    def settle_error(cls, future: Future[Any], error: BaseException) -> None:
        error.args = tuple(arg for arg in error.args if not isinstance(arg, bytes) or len(arg) < 1000)
        super().settle_error(future, error)


@mutant(
    "transport.cause_shows_the_remote_traceback",
    says="has no __cause__",
    also=(
        "transport.traceback_tells_where_the_call_failed",
        "transport.traceback_tells_the_cause",
        "transport.*_fails_alone",
    ),
)
class DropsRemoteTracebacks(ProcessExecutor):
    """Exceptions arrive without the worker's traceback."""

    @classmethod
    def settle_error(cls, future: Future[Any], error: BaseException) -> None:
        error.__cause__ = None
        super().settle_error(future, error)


@mutant(
    "transport.traceback_tells_where_the_call_failed",
    says="does not show where",
    also=("transport.traceback_tells_the_cause", "transport.*_fails_alone"),
)
class StripsTracebacks(ThreadExecutor):
    """Exceptions arrive without traceback and cause."""

    @classmethod
    def settle_error(cls, future: Future[Any], error: BaseException) -> None:
        error.__cause__ = error.__context__ = None
        super().settle_error(future, error.with_traceback(None))


@mutant(
    "transport.traceback_tells_the_cause",
    says="does not show the exception's cause",
    also=("transport.*_fails_alone",),
)
class TracebackOfOneLink(ProcessExecutor):
    """The remote traceback leaves out what caused the exception."""

    @classmethod
    def settle_error(cls, future: Future[Any], error: BaseException) -> None:
        if isinstance(error.__cause__, RemoteTraceback):
            error.__cause__ = RemoteTraceback(str(error.__cause__).rpartition("Traceback")[2])
        super().settle_error(future, error)


# What cannot cross: it must be an error


class _Careless(ProcessExecutor):
    """Defects say what becomes of a call that cannot be pickled."""

    def make_job(self, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Job:
        try:
            parcel = self.pack(fn, args, kwargs)
        except BaseException as error:
            return self.refuse(Job(self.future_type(), None, None, None), error)
        return Job(self.future_type(), None, None, None, parcel)

    def refuse(self, job: Job, error: BaseException) -> Job:
        raise NotImplementedError


@mutant(
    "transport.unpicklable_argument_is_an_error",
    says="should have failed",
    also=(
        "transport.unpicklable_keyword_argument_is_an_error",
        "transport.unpicklable_callable_is_an_error",
        "transport.lambda_works_or_is_an_error",
        "transport.argument_that_exits_at_pickling_is_an_error",
        "transport.unpicklable_argument_fails_alone",
        "transport.unpicklable_callable_fails_alone",
        "transport.*",
    ),
)
class UnpicklableCallReturnsNone(_Careless):
    """A call that cannot be pickled returns None."""

    def refuse(self, job: Job, error: BaseException) -> Job:
        job.future.set_result(None)
        return job


@mutant("transport.too_deep_argument_works_or_is_an_error", says="waited", also=("transport.*",), deadline=2.5)
class UnpicklableCallIsForgotten(_Careless):
    """A call that cannot be pickled is not sent, and its future stays pending."""

    def refuse(self, job: Job, error: BaseException) -> Job:
        job.forgotten = True  # type: ignore[attr-defined]
        return job

    def enqueue(self, job: Job) -> None:
        if not hasattr(job, "forgotten"):
            super().enqueue(job)


@mutant(
    "transport.unpicklable_argument_fails_alone",
    says="broke the pool",
    also=("transport.unpicklable_callable_fails_alone", "transport.workers_outlive_what_cannot_cross", "transport.*"),
)
class UnpicklableCallBreaksThePool(_Careless):
    """A call that cannot be pickled breaks the pool."""

    def refuse(self, job: Job, error: BaseException) -> Job:
        self.break_pool(self.pool, error)
        job.future.set_exception(self.broken_error(self.pool))
        return job


def serve_carelessly(connection: Any) -> None:
    """As `serve`, but what cannot be pickled or unpickled becomes a result of None."""
    nothing = pickle.dumps((True, None, ""))
    while True:
        try:
            parcel = connection.recv_bytes()
        except EOFError:
            return
        try:
            fn, args, kwargs = pickle.loads(parcel)
        except BaseException:
            connection.send_bytes(nothing)
            continue
        try:
            succeeded, value = True, fn(*args, **kwargs)
        except BaseException as error:
            succeeded, value = False, error
        try:
            reply = pickle.dumps(
                (succeeded, value, "".join(traceback.format_exception(value)) if not succeeded else "")
            )
            pickle.loads(reply) if not succeeded else None
        except BaseException:
            reply = nothing
        connection.send_bytes(reply)


@mutant(
    "transport.unpicklable_result_is_an_error",
    says="should have failed",
    also=(
        "transport.result_that_fails_at_pickling_is_an_error",
        "transport.unpicklable_exception_is_an_error",
        "transport.argument_that_fails_at_unpickling_is_an_error",
        "transport.exception_that_does_not_unpickle_is_an_error",
        "transport.exception_that_fails_at_unpickling_is_an_error",
        "transport.unpicklable_result_fails_alone",
        "transport.unpicklable_exception_fails_alone",
        "transport.argument_that_does_not_unpickle_fails_alone",
        "transport.too_deep_result_fails_alone",
        "transport.exception_that_does_not_unpickle_fails_alone",
        "transport.*",
    ),
)
class WorkerRepliesNoneToTrouble(ProcessExecutor):
    """What the worker cannot pickle or unpickle becomes None."""

    serve = staticmethod(serve_carelessly)


@mutant(
    "transport.result_that_fails_at_unpickling_is_an_error",
    says="should have failed",
    also=(
        "transport.result_that_exits_at_unpickling_is_an_error",
        "transport.result_that_does_not_unpickle_fails_alone",
        "transport.result_that_exits_at_unpickling_fails_alone",
        "transport.*",
    ),
)
class UnreadableResultIsNone(ProcessExecutor):
    """A result that the caller's side cannot unpickle becomes None."""

    @classmethod
    def unpack(cls, reply: bytes) -> Any:
        try:
            pickle.loads(reply)
        except BaseException:
            return None
        return super().unpack(reply)


@mutant(
    "transport.result_that_exits_at_unpickling_fails_alone",
    says="waited",
    also=(
        "concurrency.*",
        "transport.result_that_exits_at_unpickling_is_an_error",
        "transport.*",
    ),
    deadline=3,
)
class ExitInAResultEndsTheThread(ProcessExecutor):
    """SystemExit while a result is unpickled ends the thread that reads results."""

    @classmethod
    def settle_error(cls, future: Future[Any], error: BaseException) -> None:
        if isinstance(error, SystemExit):
            raise error
        super().settle_error(future, error)


# … and of that one call


def serve_until_trouble(connection: Any) -> None:
    """As `serve`, but what cannot be unpickled or pickled ends the worker."""
    while True:
        try:
            parcel = connection.recv_bytes()
        except EOFError:
            return
        fn, args, kwargs = pickle.loads(parcel)
        try:
            succeeded, value, trace = True, fn(*args, **kwargs), ""
        except BaseException as error:
            succeeded, value, trace = False, error, "".join(traceback.format_exception(error))
        connection.send_bytes(pickle.dumps((succeeded, value, trace)))


@mutant(
    "transport.argument_that_does_not_unpickle_fails_alone",
    says="broke the pool",
    also=(
        "transport.argument_that_exits_at_unpickling_fails_alone",
        "transport.unpicklable_result_fails_alone",
        "transport.unpicklable_exception_fails_alone",
        "transport.too_deep_result_fails_alone",
        "transport.workers_outlive_what_cannot_cross",
        "transport.*",
    ),
)
class TroubleEndsTheWorker(ProcessExecutor):
    """What the worker cannot unpickle or pickle ends it, and with it the pool."""

    serve = staticmethod(serve_until_trouble)


@mutant(
    "transport.result_that_does_not_unpickle_fails_alone",
    says="broke the pool",
    also=("transport.result_that_exits_at_unpickling_fails_alone", "transport.workers_outlive_what_cannot_cross"),
)
class UnreadableResultBreaksThePool(ProcessExecutor):
    """A result that cannot be unpickled breaks the pool."""

    @classmethod
    def unpack(cls, reply: bytes) -> Any:
        try:
            pickle.loads(reply)
        except BaseException as error:
            raise _UnreadableError from error
        return super().unpack(reply)

    @classmethod
    def work(cls, pool: Pool) -> None:
        _pools.append(pool)
        super().work(pool)

    @classmethod
    def settle_error(cls, future: Future[Any], error: BaseException) -> None:
        if isinstance(error, _UnreadableError):
            for pool in _pools:
                cls.break_pool(pool, error)
        super().settle_error(future, error)


class _UnreadableError(Exception):
    """A reply could not be unpickled."""


_pools: list[Pool] = []


@mutant(
    "transport.exception_that_does_not_unpickle_fails_alone",
    says="does not tell",
    also=("transport.unpicklable_exception_fails_alone",),
)
class UntransportableExceptionSaysNothing(ProcessExecutor):
    """An exception that does not arrive is replaced by one that does not say what it was."""

    @classmethod
    def settle_error(cls, future: Future[Any], error: BaseException) -> None:
        if "does not cross" in str(error):
            error = RuntimeError("the call failed")
        super().settle_error(future, error)


@mutant("transport.values_arrive_as_they_are", says="came back as", also=("transport.*",))
class KnowsBasicTypesOnly(ProcessExecutor):
    """What is a kind of number, text or collection arrives as just that."""

    def pack(self, fn: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> bytes:
        return super().pack(fn, tuple(map(self.basic, args)), kwargs)

    @staticmethod
    def basic(value: Any) -> Any:
        for kind in (int, str, tuple, dict):
            if isinstance(value, kind) and not isinstance(value, bool):
                return kind(value)
        return value


@mutant("transport.buffers_arrive_alike_at_every_size", says="returned as memoryview")
class LargeBuffersAreViews(ProcessExecutor):
    """A large buffer that a call returns arrives as a view of the memory that it travelled in."""

    @classmethod
    def unpack(cls, reply: bytes) -> Any:
        value = super().unpack(reply)
        return memoryview(value) if isinstance(value, bytearray) and len(value) > 1 << 15 else value
