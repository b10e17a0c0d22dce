"""F1, F2: the states of a future, against a model that hypothesis drives; what is said in each state."""

from __future__ import annotations

import ast
import threading
from pathlib import Path

import pytest
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from races import LIMIT, elsewhere, together

import corefutures
from corefutures import CancelledError, Future, InvalidStateError
from corefutures_pools.future import PoolFuture

STATES = ("PENDING", "RUNNING", "CANCELLED", "CANCELLED_AND_NOTIFIED", "FINISHED", "FAILED")
ERROR = OSError("it failed")
KINDS = (Future, lambda: PoolFuture(print, (), None))


def in_state(state: str) -> Future[int]:
    future: Future[int] = Future()
    if state in ("CANCELLED", "CANCELLED_AND_NOTIFIED"):
        assert future.cancel()
    if state in ("RUNNING", "CANCELLED_AND_NOTIFIED"):
        future.set_running_or_notify_cancel()
    if state == "FINISHED":
        future.set_result(42)
    if state == "FAILED":
        future.set_exception(ERROR)
    return future


class Arrows(RuleBasedStateMachine):
    """F1: whatever is called in whatever order, the future moves along the arrows of the design only."""

    def __init__(self) -> None:
        super().__init__()
        self.future: Future[int] = Future()
        self.notices_at_once = False
        self.state = "PENDING"
        self.outcome: object = None
        self.expected: list[int] = []
        self.called: list[int] = []
        self.added = 0

    @initialize(pool=st.booleans())
    def make(self, pool: bool) -> None:
        if pool:
            self.future = PoolFuture(len, ((),), None)
            self.notices_at_once = True

    @rule()
    def cancel(self) -> None:
        expected = self.state in ("PENDING", "CANCELLED", "CANCELLED_AND_NOTIFIED")
        assert self.future.cancel() is expected
        if self.state == "PENDING":
            self.state = "CANCELLED_AND_NOTIFIED" if self.notices_at_once else "CANCELLED"

    @rule()
    def start(self) -> None:
        if self.state == "PENDING":
            assert self.future.set_running_or_notify_cancel() is True
            self.state = "RUNNING"
        elif self.state == "CANCELLED":
            assert self.future.set_running_or_notify_cancel() is False
            self.state = "CANCELLED_AND_NOTIFIED"
        else:
            with pytest.raises(RuntimeError):
                self.future.set_running_or_notify_cancel()

    @rule(value=st.integers())
    def set_result(self, value: int) -> None:
        if self.state in ("PENDING", "RUNNING"):
            self.future.set_result(value)
            self.state, self.outcome = "FINISHED", value
        else:
            with pytest.raises(InvalidStateError):
                self.future.set_result(value)

    @rule(error=st.sampled_from([ValueError, KeyboardInterrupt, TimeoutError, CancelledError]))
    def set_exception(self, error: type[BaseException]) -> None:
        raised = error("on purpose")
        if self.state in ("PENDING", "RUNNING"):
            self.future.set_exception(raised)
            self.state, self.outcome = "FAILED", raised
        else:
            with pytest.raises(InvalidStateError):
                self.future.set_exception(raised)

    @rule()
    def add_callback(self) -> None:
        number = self.added
        self.added += 1
        self.expected.append(number)
        self.future.add_done_callback(lambda _: self.called.append(number))

    @precondition(lambda self: self.state in ("PENDING", "RUNNING"))
    @rule()
    def wait_in_vain(self) -> None:
        with pytest.raises(TimeoutError):
            self.future.result(0)
        with pytest.raises(TimeoutError):
            self.future.exception(timeout=0)

    @invariant()
    def tells_its_state(self) -> None:
        future, state = self.future, self.state
        done = state not in ("PENDING", "RUNNING")
        cancelled = state.startswith("CANCELLED")
        assert future._state == ("FINISHED" if state == "FAILED" else state)
        assert future.running() is (state == "RUNNING")
        assert future.done() is done
        assert future.cancelled() is cancelled
        assert self.called == (self.expected if done else [])
        result = self.outcome if state == "FINISHED" else None
        error = self.outcome if state == "FAILED" else None
        assert future._get_snapshot() == (done, cancelled, result, error)
        if cancelled:
            with pytest.raises(CancelledError):
                future.result()
            with pytest.raises(CancelledError):
                future.exception(0)
        elif state == "FINISHED":
            assert future.result() == result
            assert future.exception() is None
        elif state == "FAILED":
            assert future.exception(0) is error
            with pytest.raises(type(error)) as caught:  # type: ignore[arg-type]
                future.result(0)
            assert caught.value is error


Arrows.TestCase.settings = settings(max_examples=150, stateful_step_count=12)
TestArrows = Arrows.TestCase


@pytest.mark.parametrize(
    ("state", "text"),
    [
        ("PENDING", "state=pending>"),
        ("RUNNING", "state=running>"),
        ("CANCELLED", "state=cancelled>"),
        ("CANCELLED_AND_NOTIFIED", "state=cancelled>"),
        ("FINISHED", "state=finished returned int>"),
        ("FAILED", "state=finished raised OSError>"),
    ],
)
def test_repr_shows_the_state(state: str, text: str) -> None:
    future = in_state(state)
    assert repr(future) == f"<Future at {id(future):#x} {text}"


@pytest.mark.parametrize("state", STATES)
def test_a_second_outcome_is_refused_and_named(state: str) -> None:
    """F1: InvalidStateError tells the state, and the first outcome stays."""
    future = in_state(state)
    if not future.done():
        future.set_result(42)
    state = future._state
    for attempt in (lambda: future.set_result(1), lambda: future.set_exception(KeyError())):
        with pytest.raises(InvalidStateError, match=state):
            attempt()
    assert future._state == state


def test_an_unexpected_start_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    future = in_state("FINISHED")
    with pytest.raises(RuntimeError, match="FINISHED"):
        future.set_running_or_notify_cancel()
    assert [record.levelname for record in caplog.records] == ["CRITICAL"]


@pytest.mark.parametrize("timeout", ["1", {}, [1]], ids=repr)
def test_a_timeout_must_be_a_number(timeout: object) -> None:
    for method in (Future().result, Future().exception):
        with pytest.raises(TypeError):
            method(timeout)


@pytest.mark.parametrize("timeout", [0, -1, 0.0, -1e300, float("-inf")])
def test_a_timeout_of_zero_or_less_does_not_wait(timeout: float) -> None:
    with pytest.raises(TimeoutError):
        Future().result(timeout)


@pytest.mark.parametrize("timeout", [1e300, float("inf"), threading.TIMEOUT_MAX * 2])
def test_a_timeout_beyond_the_limit_of_the_system_is_no_limit(timeout: float) -> None:
    future: Future[int] = Future()

    def end() -> None:
        while future._cf_parked is None:
            pass
        future.set_result(1)

    assert together(lambda: future.result(timeout), end)[0] == 1


def test_the_outcome_is_stored_before_the_final_state() -> None:
    """F2, F7: who sees the final state sees the outcome, without any lock."""
    for number in range(1, 400):
        future: Future[int] = Future()

        def watch(future: Future[int] = future) -> object:
            while not future.done():
                pass
            return future._result

        watched = together(watch, lambda future=future, number=number: future.set_result(number))
        assert watched[0] == number


@pytest.mark.parametrize("kind", KINDS, ids=["bare", "pool"])
def test_of_concurrent_transitions_one_succeeds(kind: object) -> None:
    """F1: of cancel, set_result and set_exception at the same moment one wins, and the other callers are told so."""
    for _ in range(200):
        future: Future[object] = kind()  # type: ignore[operator]
        outcomes: list[object] = []
        future.add_done_callback(outcomes.append)

        def attempt(end: object) -> bool:
            try:
                return end() is not False  # type: ignore[operator]
            except InvalidStateError:
                return False

        won = together(
            lambda future=future: attempt(future.cancel),
            lambda future=future: attempt(lambda: future.set_result(1)),
            lambda future=future: attempt(lambda: future.set_exception(ERROR)),
        )
        assert won.count(True) == 1
        assert outcomes == [future]
        assert future.cancelled() is won[0]
        assert future.cancelled() or future.exception(LIMIT) is (ERROR if won[2] else None)


def test_every_name_of_the_core_is_in_dir() -> None:
    assert set(corefutures.__all__) <= set(dir(corefutures))
    assert elsewhere(lambda: Future().cancel()) is True


#: The one copy of the transitions: compared with them by `plugins/thread/tests/test_inlined_transitions.py`.
INLINED = {"plugins/thread/src/corefutures_thread/_worker.py": ["_run_calls", "_run_calls"]}


def test_only_the_transitions_of_future_write_its_state() -> None:
    """F1, F2: one class has the arrows, so that each of its obligations stands in one place."""
    root = Path(__file__).parents[2]
    sources = [
        *root.glob("corefutures/**/*.py"),
        *root.glob("packages/*/src/**/*.py"),
        *root.glob("plugins/*/src/**/*.py"),
    ]
    writers: dict[str, list[str]] = {}
    for path in sources:
        for function in ast.walk(ast.parse(path.read_text())):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef) and function.name != "__init__":
                writers.setdefault(path.relative_to(root).as_posix(), []).extend(
                    function.name
                    for node in ast.walk(function)
                    if isinstance(node, ast.Attribute) and node.attr == "_state" and isinstance(node.ctx, ast.Store)
                )
    found = {path: names for path, names in writers.items() if names}
    transitions = found.pop("corefutures/_future.py")
    assert transitions == ["_cf_try_start", "_cf_try_end"]
    assert found == INLINED


def test_a_timeout_while_the_future_ends_disturbs_no_other_waiter() -> None:
    """F5, F7: of two waiters one times out at the moment of the end; the other one wakes all the same."""
    for number in range(300):
        future: Future[int] = Future()

        def give_up(future: Future[int] = future) -> int:
            for _ in range(20):
                try:
                    return future.result(1e-6)
                except TimeoutError:
                    continue
            return future.result()

        def end(future: Future[int] = future, number: int = number) -> int:
            while future._cf_parked is None:
                pass
            future.set_result(number)
            return number

        assert together(give_up, future.result, give_up, end) == [number] * 4
