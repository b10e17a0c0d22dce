"""Chapter "cancelling": what can be cancelled, what cannot, and what waiters see of it."""

from __future__ import annotations

from concurrent.futures import Executor

from corefutures.conformance.worker import calls
from corefutures.conformance.patience import result_of
from corefutures.conformance.worker.gates import Gate


class Cancelling:
    """Rules on `Future.cancel`."""

    def test_cancel_returns_false_once_running(self, executor: Executor, gate: Gate) -> None:
        """cancel() MUST return False for a call that is being executed. (manual: Future.cancel)"""
        future = executor.submit(calls.pass_gate, gate, "ran")
        gate.await_arrivals()
        assert future.cancel() is False, "cancel() did not return False for a running call"
        gate.open()
        assert result_of(future) == "ran", "the call that could not be cancelled lost its result"
