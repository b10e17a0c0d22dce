"""Random histories of submit, release, cancel, wait and shutdown, held against a model; made by Hypothesis.

The model knows of each call only what must be so: whether it was seen running, was cancelled, may go, has ended. The
journal shows that no call was lost or ran twice. The first failure is reported, with what led to it.
"""

from __future__ import annotations

import concurrent.futures
from collections.abc import Mapping
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, Phase, settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

from corefutures_conformance.deadlines import all_done, brief, done, finishes, until
from corefutures_conformance.fixtures import ExecutorFactory, GateFactory
from corefutures_conformance.seeding import seeded
from corefutures_conformance.worker import calls, carrying
from corefutures_conformance.worker.gates import Gate
from corefutures_conformance.worker.journal import Journal


@dataclass(eq=False)
class _Call:
    """What the model knows of one call."""

    name: str
    gate: Gate
    future: Future[str]
    fails: bool
    released: bool = False
    cancelled: bool = False
    called_back: int = 0

    @property
    def seen_running(self) -> bool:
        return bool(self.gate.arrived)


class _History(RuleBasedStateMachine):
    """Random histories of one executor. What it works with is set by `explore`."""

    workers: int
    strict: bool
    shuts_down: bool
    make: ExecutorFactory
    gates: GateFactory
    journal: Journal
    failures: list[tuple[BaseException, list[str]]]
    shared: list[Executor]
    number = 0

    def __init__(self) -> None:
        """Begin a history."""
        super().__init__()
        if self.failures:
            raise self.failures[0][0]
        self.calls: list[_Call] = []
        self.steps: list[str] = []
        self.closed = False
        self.swept = False
        if self.shuts_down or not self.shared:
            self.shared.append(self.make(max_workers=self.workers))
        self.executor = self.shared[-1]

    # Steps

    @rule(kinds=st.lists(st.booleans(), min_size=1, max_size=3))
    def submit(self, kinds: list[bool]) -> None:
        """Submit calls that wait each at a gate of its own, then return their names or fail."""
        for fails in kinds:
            with self._watched():
                self._submit(fails)

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def release(self, data: st.DataObject) -> None:
        """Open a call's gate: when its turn has come, it must end."""
        call = self._choose(data)
        self.steps.append(f"release({call.name})")
        with self._watched():
            call.gate.open()
            call.released = True
            self._look()

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        """Cancel a call: it says False if the call runs or ran, and a cancelled one never runs."""
        call = self._choose(data)
        with self._watched():
            ran = call.seen_running or (call.future.done() and not call.future.cancelled())
            waits = call in self._waiting()
            said = finishes(call.future.cancel, "cancel()")
            self.steps.append(f"cancel({call.name}) -> {said}")
            assert said in (True, False), f"cancel() returned {brief(said)}"
            if call.cancelled:
                assert said is True, "cancel() returned False for a cancelled call"
            if ran:
                assert said is False, "cancel() returned True for a call that runs or ran"
            if self.strict and waits and not call.seen_running:
                assert said is True, "cancel() returned False for a call that had not started"
            call.cancelled = said
            if said:
                assert finishes(call.future.cancel, "cancel()") is True, "cancel() returned False for a cancelled call"
            self._look()

    @precondition(lambda self: self.calls)
    @rule(data=st.data())
    def ask(self, data: st.DataObject) -> None:
        """Ask for a result without waiting: what is said must fit the call's state."""
        call = self._choose(data)
        self.steps.append(f"ask({call.name})")
        with self._watched():
            try:
                finishes(lambda: call.future.result(timeout=0), "result(timeout=0)")
            except CancelledError:
                assert call.cancelled or self.swept, "result() said that a call was cancelled which nobody cancelled"
            except TimeoutError:
                assert not call.cancelled, "result() of a cancelled call timed out"
            except ValueError:
                assert call.fails, "a call raised that returns a value"
                assert call.released, "a call ended before its gate was opened"
            else:
                assert call.released, "a call ended before its gate was opened"

    @precondition(lambda self: self.calls)
    @rule(first=st.booleans())
    def wait(self, first: bool) -> None:
        """Wait for calls that run and may go: it must return, with the right ones."""
        futures = {call.future for call in self.calls if call.released and call.seen_running}
        if not futures:
            return
        self.steps.append(f"wait({len(futures)} calls, {'first' if first else 'all'})")
        with self._watched():
            when = concurrent.futures.FIRST_COMPLETED if first else concurrent.futures.ALL_COMPLETED
            found = finishes(lambda: concurrent.futures.wait(futures, return_when=when), "wait()")
            assert found.done | found.not_done == futures, "wait() lost futures"
            assert found.done if first else not found.not_done, f"wait() returned {brief(found)}"

    @precondition(lambda self: self.shuts_down and not self.closed and len(self.calls) >= 2)
    @rule(cancel_futures=st.booleans())
    def shutdown(self, cancel_futures: bool) -> None:
        """Shut down without waiting: calls are refused from now on, those accepted still end."""
        self.steps.append(f"shutdown(wait=False, cancel_futures={cancel_futures})")
        with self._watched():
            running = [call for call in self.calls if call.seen_running]
            cancelled = [call for call in self.calls if call.cancelled]
            finishes(
                lambda: self.executor.shutdown(wait=False, cancel_futures=cancel_futures),
                "shutdown(wait=False)",
            )
            self.closed = True
            self.swept = cancel_futures
            if cancel_futures:
                for call in self._waiting():
                    until(
                        lambda call=call: call.future.cancelled() or call.future.running() or call.seen_running,  # type: ignore[misc]
                        "waiting calls to be cancelled by shutdown(cancel_futures=True)",
                    )
            for call in running:
                assert not call.future.cancelled(), "shutdown() cancelled a call that ran"
            for call in cancelled:
                assert call.future.cancelled(), "a cancelled call was no longer cancelled after shutdown()"

    def teardown(self) -> None:
        """Open every gate; each call must end as the model says, and the journal agree."""
        if self.failures:
            for call in self.calls:
                call.gate.open()
            return
        self.steps.append("open every gate")
        with self._watched():
            for call in self.calls:
                call.gate.open()
                call.released = True
            all_done([call.future for call in self.calls])
            if self.shuts_down:
                finishes(lambda: self.executor.shutdown(wait=True), "shutdown(wait=True)")
            ran = self.journal.entries
            for call in self.calls:
                self._check_end(call, ran.count(call.name))

    # The model

    def _submit(self, fails: bool) -> None:
        type(self).number += 1
        name, gate = f"call{self.number}", self.gates()
        self.steps.append(f"submit({name}{', fails' if fails else ''})")
        if self.closed:
            try:
                finishes(lambda: self.executor.submit(calls.nothing), "submit() after shutdown()")
            except BrokenExecutor as error:
                raise AssertionError(f"submit() after shutdown() raised {brief(error)}") from error
            except RuntimeError:
                return
            raise AssertionError("submit() after shutdown() was accepted")
        function: Any = carrying.note_gate_fail if fails else calls.note_and_pass_gate
        future: Future[str] = finishes(lambda: self.executor.submit(function, self.journal, name, gate), "submit()")
        call = _Call(name, gate, future, fails)
        future.add_done_callback(lambda future: setattr(call, "called_back", call.called_back + 1))
        self.calls.append(call)
        self._look()

    def _choose(self, data: st.DataObject) -> _Call:
        return self.calls[data.draw(st.integers(0, len(self.calls) - 1), label="call")]

    def _waiting(self) -> list[_Call]:
        """Return the calls that cannot have started: the workers are held by others that cannot have ended."""
        held = [call for call in self.calls if call.seen_running and not call.released]
        if len(held) < self.workers:
            return []
        return [call for call in self.calls if not call.seen_running and not call.cancelled and not call.future.done()]

    def _look(self) -> None:
        """Wait until workers have taken the calls whose turn it is, and released calls have ended."""
        if not self.strict:  # in which order calls start is promised beyond the manual
            return
        going = [call for call in self.calls if not (call.cancelled or call.future.cancelled())]
        held = 0
        for call in going:
            if held == self.workers:
                break
            until(lambda call=call: call.seen_running, f"{call.name} to start: a worker was free")  # type: ignore[misc]
            if call.released:
                done(call.future, f"{call.name} to end: its gate was open")
            else:
                held += 1
                assert not call.future.done(), f"{call.name} ended before its gate was opened"
                until(call.future.running, f"running() to be true for {call.name}, which runs")

    def _check_end(self, call: _Call, times: int) -> None:
        future = call.future
        if future.cancelled():
            assert call.cancelled or self.swept, (
                f"{call.name} was cancelled, though neither cancel() nor shutdown() did it"
            )
            assert times == 0, f"{call.name} was cancelled, and ran"
        else:
            assert not call.cancelled, f"cancel() returned True for {call.name}, but it was not cancelled"
            assert times == 1, f"{call.name} ran {times} times"
            error = future.exception(timeout=0)
            if call.fails:
                assert isinstance(error, ValueError), f"{call.name} failed with {brief(error)} instead of its own error"
                assert error.args == (call.name,), f"{call.name} got the exception of another call: {brief(error)}"
            else:
                assert error is None, f"{call.name} failed with {brief(error)}"
                found = future.result(timeout=0)
                assert found == call.name, f"{call.name} got another result: {brief(found)}"
        until(lambda: call.called_back >= 1, f"the callback of {call.name}")
        assert call.called_back == 1, f"the callback of {call.name} was called {call.called_back} times"

    def _watched(self) -> _Watched:
        return _Watched(self)


class _Watched:
    """Keeps the first failure of a history, with the steps that led to it."""

    def __init__(self, history: _History) -> None:
        self.history = history

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if error is not None and not self.history.failures:
            self.history.failures.append((error, self.history.steps))


_SETTINGS = settings(
    stateful_step_count=15,
    phases=[Phase.generate],
    print_blob=False,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much],
)


def explore(
    make: ExecutorFactory,
    gates: GateFactory,
    journal: Journal,
    capabilities: Mapping[str, bool],
    *,
    workers: int,
    strict: bool = False,
    shuts_down: bool = False,
) -> None:
    """Run random histories, each on an executor of its own if it shuts down; raise the first failure."""
    namespace: dict[str, Any] = {
        "make": make, "gates": gates, "journal": journal, "workers": workers, "strict": strict,
        "shuts_down": shuts_down, "failures": [], "shared": [],
    }  # fmt: skip
    histories = seeded(type("History", (_History,), namespace))
    examples = 5 if shuts_down and not capabilities["shares_memory"] else 15
    try:
        run_state_machine_as_test(
            histories,
            settings=settings(_SETTINGS, max_examples=examples),
        )
    except BaseException:
        if not namespace["failures"]:
            raise
    if namespace["failures"]:
        error, steps = namespace["failures"][0]
        kind = type(error) if isinstance(error, AssertionError) else AssertionError
        raise kind(f"{brief(str(error))}, after: {', '.join(steps[-12:])}") from error
