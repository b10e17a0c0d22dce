"""Chapter "exceptions": calls that raise, whatever they raise, and who sees it."""

from __future__ import annotations

import asyncio
import pickle
import queue
import threading
import traceback
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, InvalidStateError
from typing import Any

import pytest

from corefutures_conformance.deadlines import all_done, brief, done, error_of, joined, result_of
from corefutures_conformance.expectations import FALSY_EXCEPTIONS
from corefutures_conformance.fixtures import ExecutorFactory
from corefutures_conformance.rules import only_where, requires
from corefutures_conformance.worker import calls, hostile
from corefutures_conformance.worker.gates import Gate

_MET_INSIDE: tuple[type[Exception], ...] = (
    EOFError,
    OSError,
    BrokenPipeError,
    ConnectionResetError,
    queue.Empty,
    queue.Full,
    pickle.PicklingError,
    AttributeError,
    InvalidStateError,
    RuntimeError,
)


class Exceptions:
    """Rules on the outcome of calls that raise."""

    def test_result_raises_what_the_call_raised(self, executor: Executor) -> None:
        """result() MUST raise the exception that the call raised. (manual: Future.result)"""
        future = executor.submit(calls.raise_new, ValueError, "what happened", 42)
        error = self._raised_by(lambda: result_of(future), "result() of a call that raised")
        assert type(error) is ValueError, f"the call raised a ValueError, result() {brief(error)}"
        assert error.args == ("what happened", 42), f"the exception arrived with args {brief(error.args)}"

    def test_exception_returns_what_the_call_raised(self, executor: Executor) -> None:
        """exception() MUST return the exception that the call raised. (manual: Future.exception)"""
        error = error_of(executor.submit(calls.raise_new, KeyError, "missing"))
        assert type(error) is KeyError and error.args == ("missing",), f"exception() returned {brief(error)}"

    def test_exception_can_be_asked_again(self, executor: Executor) -> None:
        """The exception of a call MUST be there each time that it is asked for. (manual: Future.exception)"""
        future = executor.submit(calls.raise_new, ValueError, "again")
        for _ in range(3):
            assert type(error_of(future)) is ValueError, "exception() lost the exception when asked again"
            error = self._raised_by(lambda: result_of(future), "result(), asked again,")
            assert type(error) is ValueError, f"result(), asked again, raised {brief(error)}"

    def test_submit_does_not_raise_for_the_call(self, executor: Executor) -> None:
        """What a call raises MUST be kept in its future, and not come out of submit(). (manual:
        Future.result)
        """
        try:
            future = executor.submit(calls.raise_new, ValueError, "of the call")
        except ValueError:
            pytest.fail("submit() raised the exception of the call")
        error_of(future)

    @requires("shares_memory")
    def test_exception_is_the_very_object(self, executor: Executor) -> None:
        """Where memory is shared, result() MUST raise the very exception that the call raised. (manual:
        Future.result)
        """
        given = ValueError("this one")
        future = executor.submit(calls.raise_error, given)
        assert error_of(future) is given, "exception() returned another object than the call raised"
        assert self._raised_by(lambda: result_of(future), "result()") is given, "result() raised another object"

    def test_raised_exception_of_own_class_arrives(self, executor: Executor) -> None:
        """An exception of a user's own class MUST arrive as that class. (manual: Future.result)"""
        error = error_of(executor.submit(calls.raise_new, hostile.HostileError, "own", 1))
        assert type(error) is hostile.HostileError, f"a HostileError arrived as {brief(error)}"
        assert error.args == ("own", 1), f"its args arrived as {brief(error.args)}"

    def test_raised_os_error_keeps_its_fields(self, executor: Executor) -> None:
        """The same exception MUST arrive, with the fields that its class derives from args. (manual:
        Future.result)
        """
        error = error_of(executor.submit(calls.raise_new, OSError, 2, "gone", "the file"))
        assert isinstance(error, FileNotFoundError), f"OSError(2, …) arrived as {brief(error)}"
        assert (error.errno, error.filename) == (2, "the file"), f"fields: {brief((error.errno, error.filename))}"

    def test_raised_exception_keeps_its_attributes(self, executor: Executor) -> None:
        """The same exception MUST arrive, with the attributes that the call gave it. (manual: Future.result)"""
        error = error_of(executor.submit(calls.raise_with_attribute, "detail", [1, 2]))
        assert getattr(error, "detail", None) == [1, 2], f"the attribute set by the call is {brief(vars(error))}"

    def test_raised_unicode_error_arrives(self, executor: Executor) -> None:
        """An exception whose class takes many arguments MUST arrive. (manual: Future.result)"""
        error = error_of(executor.submit(bytes.decode, b"\xff", "utf-8"))
        assert isinstance(error, UnicodeDecodeError), f"a UnicodeDecodeError arrived as {brief(error)}"
        assert error.object == b"\xff", f"its object arrived as {brief(error.object)}"

    def test_raised_group_arrives(self, executor: Executor) -> None:
        """An exception group MUST arrive with its members. (manual: Future.result)"""
        error = error_of(executor.submit(calls.raise_group, "one", "two"))
        assert isinstance(error, ExceptionGroup), f"an ExceptionGroup arrived as {brief(error)}"
        texts = [str(member) for member in error.exceptions]
        assert texts == ["one", "two"], f"its members arrived as {texts}"

    def test_raised_recursion_error_arrives(self, executor: Executor) -> None:
        """A call that recurses too deeply MUST end in RecursionError. (manual: Future.result)"""
        error = error_of(executor.submit(calls.recurse))
        assert isinstance(error, RecursionError), f"an endless recursion ended in {brief(error)}"

    def test_raised_stop_iteration_arrives(self, executor: Executor) -> None:
        """A StopIteration that the call raised MUST arrive as such. (manual: Future.result)"""
        error = error_of(executor.submit(calls.raise_new, StopIteration, 42))
        assert type(error) is StopIteration and error.value == 42, f"StopIteration(42) arrived as {brief(error)}"

    def test_raised_timeout_error_arrives(self, executor: Executor) -> None:
        """A TimeoutError that the call raised MUST be its outcome. (manual: Future.result)"""
        future = executor.submit(calls.raise_new, TimeoutError, "of the call")
        done(future)
        error = self._raised_by(lambda: future.result(timeout=0), "result() of a call that raised TimeoutError")
        assert type(error) is TimeoutError and error.args == ("of the call",), f"it arrived as {brief(error)}"

    def test_raised_cancelled_error_is_no_cancellation(self, executor: Executor) -> None:
        """A CancelledError that the call raised MUST be its exception; cancelled() stays False. (manual:
        Future.cancelled)
        """
        future = executor.submit(calls.raise_new, CancelledError, "of the call")
        done(future)
        assert future.cancelled() is False, "a call that raised CancelledError counts as cancelled"
        error = self._raised_by(lambda: future.result(timeout=0), "result() of a call that raised CancelledError")
        assert isinstance(error, CancelledError), f"CancelledError arrived as {brief(error)}"

    def test_raised_cancellation_of_asyncio_is_no_cancellation(self, executor: Executor) -> None:
        """An asyncio.CancelledError that the call raised MUST be its exception; cancelled() stays False. (manual:
        Future.cancelled)
        """
        future = executor.submit(calls.raise_new, asyncio.CancelledError, "of the call")
        done(future)
        assert future.cancelled() is False, "a call that raised asyncio.CancelledError counts as cancelled"
        error = self._raised_by(lambda: future.result(timeout=0), "result() of a call that raised CancelledError")
        assert isinstance(error, asyncio.CancelledError), f"asyncio.CancelledError arrived as {brief(error)}"

    def test_raised_broken_executor_breaks_nothing(self, executor: Executor) -> None:
        """A BrokenExecutor that the call raised MUST be its exception, and other calls still be executed. (manual:
        Future.result)
        """
        error = error_of(executor.submit(calls.raise_new, BrokenExecutor, "of the call"))
        assert type(error) is BrokenExecutor, f"a BrokenExecutor arrived as {brief(error)}"
        got = result_of(executor.submit(calls.echo, 42), "a call after one that raised BrokenExecutor")
        assert got == 42, f"a call after one that raised BrokenExecutor gave {brief(got)}"

    def test_raised_errors_that_executors_catch_arrive(self, executor: Executor) -> None:
        """An exception of a kind that executors meet inside, EOFError or queue.Empty say, MUST arrive when a call
        raises it. (manual: Future.result)
        """
        for kind in _MET_INSIDE:
            error = error_of(executor.submit(calls.raise_new, kind, "of the call"), f"a call that raised {kind}")
            assert type(error) is kind and error.args == ("of the call",), f"{kind} arrived as {brief(error)}"
        got = result_of(executor.submit(calls.echo, 42), "a call after those")
        assert got == 42, f"a call after those gave {brief(got)}"

    @only_where(FALSY_EXCEPTIONS.here, FALSY_EXCEPTIONS.absence)
    def test_raised_falsy_exception_arrives(self, executor: Executor) -> None:
        """An exception that is false MUST be raised like any other. (manual: Future.result)"""
        future = executor.submit(hostile.raise_falsy)
        error = self._raised_by(lambda: result_of(future), "result() of a call that raised a falsy exception")
        assert type(error) is hostile.FalsyError, f"a FalsyError arrived as {brief(error)}"

    @only_where(FALSY_EXCEPTIONS.here, FALSY_EXCEPTIONS.absence)
    def test_raised_empty_exception_arrives(self, executor: Executor) -> None:
        """An exception of length 0 MUST be raised like any other. (manual: Future.result)"""
        future = executor.submit(hostile.raise_empty)
        error = self._raised_by(lambda: result_of(future), "result() of a call that raised an empty exception")
        assert type(error) is hostile.EmptyError, f"an EmptyError arrived as {brief(error)}"

    def test_raised_exception_is_not_compared(self, executor: Executor) -> None:
        """An exception that claims to equal everything MUST be raised like any other. (manual: Future.result)"""
        future = executor.submit(calls.raise_new, hostile.EqualToAllError, "equal")
        error = self._raised_by(lambda: result_of(future), "result()")
        assert type(error) is hostile.EqualToAllError, f"an EqualToAllError arrived as a {type(error).__name__}"

    def test_raised_exception_is_not_shown(self, executor: Executor) -> None:
        """An exception whose repr and str fail MUST be raised like any other. (manual: Future.result)"""
        future = executor.submit(calls.raise_new, hostile.NoReprError, "unspeakable")
        error = error_of(future)
        assert type(error) is hostile.NoReprError, f"a NoReprError arrived as a {type(error).__name__}"
        assert result_of(executor.submit(calls.echo, 1)) == 1, "the executor did not go on after an odd exception"

    # What is no Exception

    def test_raised_system_exit_arrives(self, executor: Executor) -> None:
        """A SystemExit that the call raised MUST be its outcome. (manual: Future.result)"""
        error = error_of(executor.submit(calls.raise_new, SystemExit, 3))
        assert isinstance(error, SystemExit) and error.code == 3, f"SystemExit(3) arrived as {brief(error)}"

    def test_raised_keyboard_interrupt_arrives(self, executor: Executor) -> None:
        """A KeyboardInterrupt that the call raised MUST be its outcome. (manual: Future.result)"""
        error = error_of(executor.submit(calls.raise_new, KeyboardInterrupt, "of the call"))
        assert isinstance(error, KeyboardInterrupt), f"a KeyboardInterrupt arrived as {brief(error)}"

    def test_raised_base_exception_arrives(self, executor: Executor) -> None:
        """A BaseException that the call raised MUST be its outcome. (manual: Future.result)"""
        error = error_of(executor.submit(calls.raise_new, GeneratorExit, "of the call"))
        assert isinstance(error, GeneratorExit), f"a GeneratorExit arrived as {brief(error)}"

    def test_workers_outlive_base_exceptions(self, executor: Executor) -> None:
        """After calls that raised SystemExit or KeyboardInterrupt, others MUST still be executed. (manual:
        Executor.submit)
        """
        ended = [executor.submit(calls.raise_new, kind, "x") for kind in (SystemExit, KeyboardInterrupt, GeneratorExit)]
        all_done(ended)
        got = result_of(executor.submit(calls.echo, 42), "a call after one that raised SystemExit")
        assert got == 42, f"a call after one that raised SystemExit gave {brief(got)}"

    def test_waiting_calls_outlive_base_exceptions(self, executor: Executor, gate: Gate) -> None:
        """Calls that wait behind one that raises SystemExit or KeyboardInterrupt MUST be executed. (manual:
        Executor.submit)
        """
        executor.submit(calls.pass_gate, gate)
        gate.await_arrivals()
        for kind in (SystemExit, KeyboardInterrupt, GeneratorExit):
            executor.submit(calls.raise_new, kind, "x")
        behind = [executor.submit(calls.echo, number) for number in range(3)]
        gate.open()
        all_done(behind, "calls behind one that raised KeyboardInterrupt")
        lost = sum(future.cancelled() or future.exception() is not None for future in behind)
        assert not lost, f"{lost} of 3 calls behind one that raised KeyboardInterrupt were not executed"

    # Beside the exception

    def test_workers_outlive_exceptions(self, executor: Executor) -> None:
        """After calls that raised, others MUST still be executed. (manual: Executor.submit)"""
        all_done([executor.submit(calls.raise_new, ValueError, number) for number in range(20)])
        got = result_of(executor.submit(calls.echo, 42), "a call after 20 that raised")
        assert got == 42, f"a call after 20 that raised gave {brief(got)}"

    def test_exceptions_do_not_touch_neighbours(self, make: ExecutorFactory) -> None:
        """A call that raises MUST have no effect on the outcome of others. (manual: Future.result)"""
        executor = make(max_workers=2)
        futures: list[Future[Any]] = [
            executor.submit(calls.raise_new, ValueError, number)
            if number % 3 == 0
            else executor.submit(calls.echo, number)
            for number in range(45)
        ]
        for number, future in enumerate(futures):
            if number % 3 == 0:
                args = error_of(future).args
                assert args == (number,), f"call {number} raised ValueError({number}), but {brief(args)} arrived"
            else:
                assert result_of(future) == number, f"call {number}, beside calls that raised, lost its result"

    def test_states_after_an_exception(self, executor: Executor) -> None:
        """After a call raised, done() MUST be True, running() and cancelled() False. (manual: Future.done)"""
        future = executor.submit(calls.raise_new, ValueError, "x")
        done(future)
        states = (future.done(), future.running(), future.cancelled())
        assert states == (True, False, False), f"done, running, cancelled after an exception: {states}"

    def test_waiting_threads_get_the_exception(self, executor: Executor, gate: Gate) -> None:
        """Every thread that waits in result() or exception() MUST get the exception. (manual:
        Future.exception)
        """
        future = executor.submit(calls.pass_gate_and_raise, gate, ValueError("for all"))
        got: list[Any] = []

        def in_result() -> None:
            try:
                result_of(future)
            except ValueError as error:
                got.append(error.args)

        threads = [threading.Thread(target=in_result, daemon=True) for _ in range(2)]
        threads += [threading.Thread(target=lambda: got.append(error_of(future).args), daemon=True) for _ in range(2)]
        for thread in threads:
            thread.start()
        gate.await_arrivals()
        gate.open()
        joined(threads, "result() and exception() in four threads")
        assert got == [("for all",)] * 4, f"four waiting threads got {brief(got)}"

    def test_traceback_shows_where_the_call_raised(self, executor: Executor) -> None:
        """The traceback of the exception SHOULD show where in the call it was raised. (promise E7)"""
        error = error_of(executor.submit(calls.raise_deeply, 2, "deep down"))
        text = "".join(traceback.format_exception(error))
        assert "raise_deeply" in text, f"the printed exception does not show the function that raised: {brief(text)}"

    def test_cause_of_an_exception_is_shown(self, executor: Executor) -> None:
        """The exception that a call's exception was raised from SHOULD be shown with it. (promise E7)"""
        error = error_of(executor.submit(calls.raise_with_cause, "outer", "the inner cause"))
        assert isinstance(error, ValueError), f"a ValueError arrived as {brief(error)}"
        text = "".join(traceback.format_exception(error))
        assert "the inner cause" in text, f"the printed exception does not show its cause: {brief(text)}"

    def _raised_by(self, call: Any, what: str) -> BaseException:
        try:
            got = call()
        except BaseException as error:
            return error
        pytest.fail(f"{what} raised nothing but returned {brief(got)}")
