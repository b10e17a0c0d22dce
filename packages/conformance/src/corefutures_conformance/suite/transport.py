"""Chapter "transport": what crosses the boundary to a worker and back, and what becomes of what cannot.

Rules on executors that pickle come with their opposites for executors that share memory. What cannot cross
ends in an error (MUST), of that one call, with the pool usable afterwards (SHOULD).
"""

from __future__ import annotations

import signal
import threading
import traceback
from collections import OrderedDict, defaultdict
from collections.abc import Callable
from concurrent.futures import BrokenExecutor, Executor, Future
from datetime import date
from decimal import Decimal
from fractions import Fraction
from typing import Any

import pytest

from corefutures_conformance.deadlines import Overdue, all_done, brief, error_of, finishes, limit, result_of, until
from corefutures_conformance.fixtures import ExecutorFactory
from corefutures_conformance.rules import patient, requires
from corefutures_conformance.worker import calls, carrying, hostile
from corefutures_conformance.worker.gates import Gate

VALUES: tuple[Any, ...] = (
    None, False, 0, 0.0, "", b"", (), [], {}, set(), frozenset(),
    True, -1, 1 << 4000, 1.5e300, 2j, "ü\ud800\0", b"\0\xff", bytearray(b"ab"), range(3), ...,
    (True, "result", ""), {"future": None, "error": ValueError}, [[[[]]]], {1: {2: {3: (4, {5})}}},
    date(2020, 2, 29), Decimal("1.10"), Fraction(1, 3), int, len, hostile.Adder,
    signal.SIGINT, OrderedDict(b=1, a=2), defaultdict(list, {1: [2]}), hostile.Point(1, 2), hostile.Word("word"),
)  # fmt: skip
"""Values of every kind that pickle carries, also falsy ones and ones like a protocol's own."""

SIZES = tuple(sorted({2**power + step for power in (0, 7, 8, 12, 15, 16, 17, 20) for step in (-1, 0, 1)}))
"""Payload sizes around the limits that buffers, pipes and length fields like to have."""

BUFFERS = (10, 5_000, 40_000, 300_000, 2_000_000)
"""Sizes of buffers, from those that travel with their call to those that go a way of their own."""

TOO_DEEP = 50_000
"""So many lists in one another that pickle gives up; not more, for to say so may take long."""


class Transport:
    """Rules on arguments, results and exceptions on their way."""

    # What arrives

    def test_values_arrive_as_they_are(self, executor: Executor) -> None:
        """A call's arguments MUST arrive, and its result return, with their values. (manual:
        Executor.submit)
        """
        futures = [executor.submit(calls.echo, value) for value in VALUES]
        for value, future in zip(VALUES, futures, strict=True):
            found = result_of(future)
            assert type(found) is type(value), f"{brief(value)} came back as {brief(found)}"
            assert found == value, f"{brief(value)} came back as {brief(found)}"

    def test_exceptions_returned_are_results(self, executor: Executor) -> None:
        """An exception that a call returns MUST be its result, and not be raised. (manual: Future.result)"""
        found = result_of(executor.submit(calls.echo, ValueError("returned")))
        assert isinstance(found, ValueError), f"a returned exception arrived as {brief(found)}"
        assert found.args == ("returned",), f"a returned exception arrived as {brief(found)}"

    def test_cyclic_values_arrive(self, executor: Executor) -> None:
        """A value that contains itself MUST arrive as one. (manual: Executor.submit)"""
        found = result_of(executor.submit(calls.echo, hostile.cyclic()))
        assert isinstance(found, list), f"a list that contains itself arrived as {brief(found)}"
        assert found[-1] is found, f"a list that contains itself arrived as {brief(found)}"

    def test_values_need_no_equality_truth_or_repr(self, executor: Executor) -> None:
        """An executor MUST carry values whose __eq__, __hash__, __bool__ and __repr__ raise. (manual:
        Executor.submit)
        """
        found = result_of(executor.submit(calls.echo, hostile.Uncomparable()))
        assert type(found) is hostile.Uncomparable, f"an uncomparable value arrived as {brief(found)}"

    def test_many_arguments_arrive_in_order(self, executor: Executor) -> None:
        """Hundreds of positional and keyword arguments MUST arrive in their places. (manual:
        Executor.submit)
        """
        keywords = {f"key{number}": number for number in range(300)}
        args, kwargs = result_of(executor.submit(calls.arguments, *range(300), **keywords))
        assert tuple(args) == tuple(range(300)), f"positional arguments arrived as {brief(args)}"
        assert kwargs == keywords, f"keyword arguments arrived as {brief(kwargs)}"

    def test_arguments_of_every_size_arrive_whole(self, executor: Executor) -> None:
        """Arguments of every size MUST arrive whole. (manual: Executor.submit)"""
        futures = [executor.submit(carrying.summary, carrying.payload(size)) for size in SIZES]
        for size, future in zip(SIZES, futures, strict=True):
            found = result_of(future)
            assert found == carrying.summary(carrying.payload(size)), f"an argument of {size} bytes arrived as {found}"

    def test_results_of_every_size_arrive_whole(self, executor: Executor) -> None:
        """Results of every size MUST arrive whole. (manual: Future.result)"""
        futures = [executor.submit(carrying.payload, size) for size in SIZES]
        for size, future in zip(SIZES, futures, strict=True):
            found = result_of(future)
            assert found == carrying.payload(size), f"a result of {size} bytes arrived as {len(found)} bytes"

    @patient(2)
    def test_argument_of_64_megabytes_arrives(self, executor: Executor) -> None:
        """An argument of 64 MB MUST arrive whole. (manual: Executor.submit)"""
        size = 64 << 20
        data = carrying.payload(size)
        found = result_of(executor.submit(carrying.summary, data), "a call with an argument of 64 MB")
        assert found == carrying.summary(data), f"an argument of {size} bytes arrived as {found}"

    @patient(2)
    def test_result_of_64_megabytes_arrives(self, executor: Executor) -> None:
        """A result of 64 MB MUST arrive whole. (manual: Future.result)"""
        size = 64 << 20
        found = result_of(executor.submit(carrying.payload, size), "a result of 64 MB")
        assert len(found) == size, f"a result of {size} bytes arrived as {len(found)} bytes"
        assert found == carrying.payload(size), "a result of 64 MB arrived changed"

    @requires("pickles")
    def test_buffers_arrive_alike_at_every_size(self, executor: Executor) -> None:
        """A PickleBuffer SHOULD arrive as the type that pickle makes of it, bytes or bytearray, however large it is.
        (promise E4)
        """
        for kind in (bytes, bytearray):
            for size in BUFFERS:
                sent: Future[Any] = executor.submit(calls.type_name, carrying.buffer(kind, size))
                if isinstance(error := _outcome(sent), BaseException):
                    if size == BUFFERS[0]:
                        pytest.skip(f"it carries no PickleBuffer: {brief(error)}")
                    raise AssertionError(f"a PickleBuffer of {size} bytes failed, a small one did not") from error
                assert error == kind.__name__, f"a PickleBuffer of {size} {kind.__name__} arrived as {error}"
                found = result_of(executor.submit(carrying.buffer, kind, size))
                assert isinstance(found, kind), (
                    f"a PickleBuffer of {size} {kind.__name__} returned as {type(found).__name__}"
                )
                assert found == kind(carrying.payload(size)), f"a PickleBuffer of {size} bytes came back damaged"

    @requires("pickles")
    def test_arguments_are_taken_at_submit(self, executor: Executor, gate: Gate) -> None:
        """Arguments SHOULD be taken as they are when submit() is called: later changes are not seen.
        (promise E4)
        """
        blocker: Future[None] = executor.submit(calls.pass_gate, gate)
        gate.await_arrivals()
        value = ["as submitted"]
        futures = [executor.submit(calls.echo, value) for _ in range(8)]
        value[0] = "changed later"
        gate.open()
        result_of(blocker)
        found = [result_of(future) for future in futures]
        assert found == [["as submitted"]] * 8, f"a change after submit() was seen by a call: {brief(found)}"

    @requires("shares_memory")
    def test_arguments_are_the_very_objects(self, executor: Executor) -> None:
        """Where memory is shared, arguments and results MUST be the very objects. (manual:
        Executor.submit)
        """
        value = [object()]
        found = result_of(executor.submit(calls.echo, value))
        assert found is value, f"an argument came back as another object: {brief(found)}"

    @requires("shares_memory")
    def test_nothing_needs_pickling(self, executor: Executor) -> None:
        """What pickle refuses MUST work where memory is shared: lambdas, locks, generators. (manual:
        ThreadPoolExecutor)
        """
        lock = threading.Lock()
        assert result_of(executor.submit(lambda: lock)) is lock, "a lambda did not return its lock"
        found = list(result_of(executor.submit(carrying.generator)))
        assert found == [0, 1, 2], f"a generator returned by a call gave {brief(found)}"
        value = hostile.AtPickling(hostile.fail)
        assert result_of(executor.submit(calls.echo, value)) is value, "an object that cannot be pickled changed"

    # Exceptions that arrive

    def test_exceptions_keep_type_and_arguments(self, executor: Executor) -> None:
        """A call's exception MUST arrive with its type and arguments. (manual: Future.exception)"""
        raised: list[tuple[type[BaseException], tuple[Any, ...]]] = [
            (ValueError, ()), (KeyError, ("key",)), (OSError, (2, "none such")), (StopIteration, (5,)),
            (UnicodeDecodeError, ("utf-8", b"\xff", 0, 1, "bad")), (hostile.HostileError, ("text",)),
            (EOFError, ("end",)), (BrokenPipeError, (32, "broken pipe")), (TimeoutError, ("slow",)),
            (RecursionError, ("deep",)), (AssertionError, ("no",)), (ImportError, ("none",)),
        ]  # fmt: skip
        futures = [executor.submit(calls.raise_new, kind, *args) for kind, args in raised]
        for (kind, args), future in zip(raised, futures, strict=True):
            error = error_of(future, f"a call that raises {kind.__name__}")
            expected = kind(*args)
            assert type(error) is type(expected), f"{expected!r} arrived as {brief(error)}"
            assert error.args == expected.args, f"{expected!r} arrived with the arguments {brief(error.args)}"

    def test_memory_error_arrives(self, executor: Executor) -> None:
        """A call's MemoryError MUST arrive, and with that call. (manual: Future.exception)"""
        futures = [executor.submit(calls.raise_new, kind) for kind in (MemoryError, EOFError)]
        found = [type(error_of(future)) for future in futures]
        assert found == [MemoryError, EOFError], f"MemoryError and EOFError arrived as {brief(found)}"

    def test_exception_notes_arrive(self, executor: Executor) -> None:
        """A call's exception SHOULD arrive with its notes. (manual: Future.exception)"""
        error = error_of(executor.submit(carrying.raise_noted, "text", "a note"))
        found = getattr(error, "__notes__", [])
        assert "a note" in found, f"an exception's notes arrived as {brief(found)}"

    def test_exception_groups_arrive(self, executor: Executor) -> None:
        """A group of exceptions MUST arrive with its members. (manual: Future.exception)"""
        error = error_of(executor.submit(carrying.raise_group, "first", "second"))
        assert isinstance(error, ExceptionGroup), f"a group of exceptions arrived as {brief(error)}"
        found = [type(each) for each in error.exceptions]
        assert found == [ValueError, KeyError], f"a group's exceptions arrived as {brief(found)}"

    def test_large_exceptions_arrive(self, executor: Executor) -> None:
        """An exception with a large argument MUST arrive whole. (manual: Future.exception)"""
        error = error_of(executor.submit(carrying.raise_big, 1_000_000), "a call that raises a large exception")
        assert isinstance(error, ValueError), f"a large exception arrived as {brief(error)}"
        assert error.args == (carrying.payload(1_000_000),), "a large exception arrived changed"

    def test_traceback_tells_where_the_call_failed(self, executor: Executor) -> None:
        """The traceback of a call's exception SHOULD show the lines in the worker. (promise E7)"""
        error = error_of(executor.submit(carrying.raise_deep, "effect", "reason"))
        text = "".join(traceback.format_exception(error))
        assert "_raise_from" in text, f"the traceback does not show where the call failed: {brief(text)}"

    def test_traceback_tells_the_cause(self, executor: Executor) -> None:
        """The traceback of a call's exception SHOULD show what caused it. (promise E7)"""
        error = error_of(executor.submit(carrying.raise_deep, "effect", "reason"))
        text = "".join(traceback.format_exception(error))
        assert "KeyError: 'reason'" in text, f"the traceback does not show the exception's cause: {brief(text)}"

    @requires("pickles")
    def test_cause_shows_the_remote_traceback(self, executor: Executor) -> None:
        """The __cause__ of an exception from a worker SHOULD show the remote traceback. (promise E7)"""
        error = error_of(executor.submit(carrying.raise_deep, "effect", "reason"))
        assert error.__cause__ is not None, "an exception from a worker has no __cause__"
        text = str(error.__cause__)
        assert "_raise_from" in text, f"the __cause__ does not show the remote traceback: {brief(text)}"

    # What cannot cross ends in an error

    @requires("pickles")
    def test_unpicklable_argument_is_an_error(self, executor: Executor) -> None:
        """A call whose argument cannot be pickled MUST fail. (manual: ProcessPoolExecutor)"""
        _refused(executor, calls.echo, hostile.AtPickling(hostile.fail))

    @requires("pickles")
    def test_unpicklable_keyword_argument_is_an_error(self, executor: Executor) -> None:
        """A call whose keyword argument cannot be pickled MUST fail. (manual: ProcessPoolExecutor)"""
        try:
            future = finishes(
                lambda: executor.submit(calls.arguments, key=threading.Lock()),
                "submit() of what cannot be pickled",
            )
        except (TypeError, ValueError, RuntimeError):
            return
        error_of(future, "the future of a call that cannot cross the boundary")

    @requires("pickles")
    def test_unpicklable_callable_is_an_error(self, executor: Executor) -> None:
        """A call whose callable cannot be pickled MUST fail. (manual: ProcessPoolExecutor)"""
        _refused(executor, carrying.OddCallable(hostile.fail))

    @requires("pickles")
    def test_lambda_works_or_is_an_error(self, executor: Executor) -> None:
        """A lambda MUST be called rightly, or fail; it never hangs. (manual: ProcessPoolExecutor)"""
        try:
            future = finishes(lambda: executor.submit(lambda number: number + 1, 41), "submit() of a lambda")
            found = result_of(future, "the future of a lambda")
        except AssertionError:
            raise
        except Exception:
            return
        assert found == 42, f"a lambda returned {brief(found)}"

    @requires("pickles")
    def test_argument_that_exits_at_pickling_is_an_error(self, executor: Executor) -> None:
        """A call whose argument raises SystemExit when it is pickled SHOULD fail. (promise E4)"""
        _refused(executor, calls.echo, hostile.AtPickling(hostile.leave))

    @requires("pickles")
    def test_too_deep_argument_works_or_is_an_error(self, executor: Executor) -> None:
        """An argument nested too deeply for pickle MUST arrive or fail. (manual: ProcessPoolExecutor)"""
        try:
            future = finishes(lambda: executor.submit(carrying.take, carrying.nested(TOO_DEEP)), "submit()")
        except AssertionError:
            raise
        except Exception:
            return
        all_done([future], "a call with an argument nested too deeply")

    @requires("pickles")
    def test_unpicklable_result_is_an_error(self, executor: Executor) -> None:
        """A call whose result cannot be pickled MUST fail. (manual: ProcessPoolExecutor)"""
        for fn in (carrying.generator, threading.Lock):
            error_of(executor.submit(fn), "the future of a call whose result cannot be pickled")

    @requires("pickles")
    def test_result_that_fails_at_pickling_is_an_error(self, executor: Executor) -> None:
        """A call whose result raises when it is pickled MUST fail. (manual: ProcessPoolExecutor)"""
        error_of(executor.submit(hostile.make_at_pickling, hostile.fail), "the future of a call whose result fails")

    @requires("pickles")
    def test_unpicklable_exception_is_an_error(self, executor: Executor) -> None:
        """A call whose exception cannot be pickled MUST fail, with that or another exception. (manual:
        ProcessPoolExecutor)
        """
        error_of(
            executor.submit(hostile.raise_at_pickling, hostile.fail),
            "the future of a call whose exception cannot be pickled",
        )

    @requires("pickles")
    def test_argument_that_fails_at_unpickling_is_an_error(self, executor: Executor) -> None:
        """A call whose argument fails when the worker unpickles it MUST fail. (manual:
        ProcessPoolExecutor)
        """
        error_of(
            executor.submit(calls.echo, hostile.AtUnpickling(hostile.fail)),
            "the future of a call whose argument does not unpickle",
        )

    @requires("pickles")
    def test_result_that_fails_at_unpickling_is_an_error(self, executor: Executor) -> None:
        """A call whose result fails when the caller's side unpickles it MUST fail. (manual:
        ProcessPoolExecutor)
        """
        error_of(
            executor.submit(hostile.make_at_unpickling, hostile.fail),
            "the future of a call whose result does not unpickle",
        )

    @requires("pickles")
    def test_result_that_exits_at_unpickling_is_an_error(self, executor: Executor) -> None:
        """A call whose result raises SystemExit when the caller's side unpickles it MUST fail. (manual:
        ProcessPoolExecutor)
        """
        error_of(
            executor.submit(hostile.make_at_unpickling, hostile.leave),
            "the future of a call whose result does not unpickle",
        )

    @requires("pickles")
    def test_exception_that_does_not_unpickle_is_an_error(self, executor: Executor) -> None:
        """A call whose exception cannot be unpickled, as with a custom __init__, MUST fail. (manual:
        ProcessPoolExecutor)
        """
        error_of(
            executor.submit(hostile.raise_clumsy, 7, "clumsy text"),
            "the future of a call whose exception does not unpickle",
        )

    @requires("pickles")
    def test_exception_that_fails_at_unpickling_is_an_error(self, executor: Executor) -> None:
        """A call whose exception carries what fails at unpickling MUST fail. (manual: ProcessPoolExecutor)"""
        error_of(
            executor.submit(hostile.raise_at_unpickling, hostile.fail),
            "the future of a call whose exception does not unpickle",
        )

    # … of that one call, with the cause

    @requires("pickles")
    def test_unpicklable_argument_fails_alone(self, make: ExecutorFactory) -> None:
        """An argument that cannot be pickled SHOULD fail that one future, with the cause. (promise E4)"""
        _tells_why(_fails_alone(make, calls.echo, hostile.AtPickling(hostile.fail)), "hostile object")

    @requires("pickles")
    def test_unpicklable_callable_fails_alone(self, make: ExecutorFactory) -> None:
        """A callable that cannot be pickled SHOULD fail that one future, with the cause. (promise E4)"""
        _tells_why(_fails_alone(make, carrying.OddCallable(hostile.fail)), "hostile object")

    @requires("pickles")
    def test_unpicklable_result_fails_alone(self, make: ExecutorFactory) -> None:
        """A result that cannot be pickled SHOULD fail that one future, with the cause. (promise E4)"""
        _tells_why(_fails_alone(make, hostile.make_at_pickling, hostile.fail), "hostile object")

    @requires("pickles")
    def test_unpicklable_exception_fails_alone(self, make: ExecutorFactory) -> None:
        """An exception that cannot be pickled SHOULD fail that one future, and tell what it was.
        (promise E4)
        """
        _tells_why(_fails_alone(make, hostile.raise_at_pickling, hostile.fail), "hostile object")

    @requires("pickles")
    def test_argument_that_does_not_unpickle_fails_alone(self, make: ExecutorFactory) -> None:
        """An argument that fails at unpickling SHOULD fail that one future, with the cause. (promise E4)"""
        _tells_why(_fails_alone(make, calls.echo, hostile.AtUnpickling(hostile.fail)), "hostile object")

    @requires("pickles")
    def test_argument_that_exits_at_unpickling_fails_alone(self, make: ExecutorFactory) -> None:
        """An argument that raises SystemExit at unpickling SHOULD fail that one future. (promise E4)"""
        _fails_alone(make, calls.echo, hostile.AtUnpickling(hostile.leave))

    @requires("pickles")
    def test_result_that_does_not_unpickle_fails_alone(self, make: ExecutorFactory) -> None:
        """A result that fails at unpickling SHOULD fail that one future, with the cause. (promise E4)"""
        _tells_why(_fails_alone(make, hostile.make_at_unpickling, hostile.fail), "hostile object")

    @requires("pickles")
    def test_result_that_exits_at_unpickling_fails_alone(self, make: ExecutorFactory) -> None:
        """A result that raises SystemExit at unpickling SHOULD fail that one future. (promise E4)"""
        _fails_alone(make, hostile.make_at_unpickling, hostile.leave)

    @requires("pickles")
    def test_exception_that_does_not_unpickle_fails_alone(self, make: ExecutorFactory) -> None:
        """An exception that cannot be unpickled SHOULD fail that one future, and tell what it was.
        (promise E4)
        """
        _tells_why(_fails_alone(make, hostile.raise_clumsy, 7, "clumsy text"), "clumsy text")

    @requires("pickles")
    def test_too_deep_result_fails_alone(self, make: ExecutorFactory) -> None:
        """A result nested too deeply for pickle SHOULD fail that one future. (promise E4)"""
        _fails_alone(make, carrying.nested, TOO_DEEP)

    @requires("pickles")
    def test_workers_outlive_what_cannot_cross(self, executor: Executor) -> None:
        """An executor SHOULD go on after many things that cannot cross, one after another. (promise E4)"""
        bad: list[tuple[Callable[..., Any], Any]] = [
            (calls.echo, hostile.AtPickling(hostile.fail)), (hostile.make_at_pickling, hostile.fail),
            (hostile.raise_at_pickling, hostile.fail), (calls.echo, hostile.AtUnpickling(hostile.fail)),
            (hostile.make_at_unpickling, hostile.fail), (hostile.raise_at_unpickling, hostile.fail),
        ]  # fmt: skip
        for round_number in range(3):
            for fn, argument in bad:
                error_of(executor.submit(fn, argument), "the future of a call that cannot cross the boundary")
            _good(executor.submit(calls.square, round_number), round_number)


def _refused(executor: Executor, fn: Callable[..., Any], *args: object) -> BaseException:
    """Submit what cannot cross: submit() raises or the future fails, as the executor likes."""
    try:
        future = finishes(lambda: executor.submit(fn, *args), "submit() of what cannot be pickled")
    except AssertionError:
        raise
    except (Exception, SystemExit) as error:
        return error
    until(future.done, "the future of a call that cannot cross the boundary", limit() / 4)
    return error_of(future)


def _fails_alone(make: ExecutorFactory, fn: Callable[..., Any], *args: object) -> BaseException:
    """Submit what cannot cross among good calls: it fails in its future, they do not, the pool lives."""
    executor = make(max_workers=2)
    before = [executor.submit(calls.square, number) for number in range(4)]
    bad = finishes(lambda: executor.submit(fn, *args), "submit() of what cannot cross the boundary")
    after: list[Future[int]] = []
    try:
        after += [executor.submit(calls.square, number) for number in range(4)]
        error = error_of(bad, "the future of a call that cannot cross the boundary")
        after.append(executor.submit(calls.square, 4))
    except BrokenExecutor as broken:
        raise AssertionError(f"what cannot cross broke the pool: {brief(broken)}") from broken
    for number, future in enumerate(before):
        _good(future, number)
    for number, future in enumerate(after):
        _good(future, number)
    return error


def _good(future: Future[int], number: int) -> None:
    try:
        found = result_of(future, "a good call beside one that cannot cross")
    except BrokenExecutor as broken:
        raise AssertionError(f"what cannot cross broke the pool: {brief(broken)}") from broken
    assert found == number * number, f"a good call beside one that cannot cross returned {brief(found)}"


def _tells_why(error: BaseException, reason: str) -> None:
    text = "".join(traceback.format_exception(error))
    assert reason in text, f"the error of what cannot cross does not tell {reason!r}: {brief(text)}"


def _outcome(future: Future[Any]) -> Any:
    """The result, or the exception."""
    try:
        return result_of(future)
    except Overdue:
        raise
    except Exception as error:
        return error
