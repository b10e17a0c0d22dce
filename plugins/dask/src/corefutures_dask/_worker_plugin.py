"""The plugin of a pool at each of Dask's workers: prepares the worker and runs the batches of the pool.

Runs in the workers. Guarantees: the initializer runs before the first call; a batch in which a call takes long gives
back the calls behind it (E2, E3), and the results before it can be fetched.
"""

from __future__ import annotations

import logging
import pickle
import signal
import threading
from array import array
from collections import deque
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from distributed import get_worker
from distributed.diagnostics.plugin import WorkerPlugin

from corefutures_dask import _wire
from corefutures_dask._scheduler_plugin import KEPT
from corefutures_dask._wire import LazyFunction, current
from corefutures_pools.blocking import clock

if TYPE_CHECKING:
    from distributed import Worker

#: Seconds by which a batch may take longer than expected before it gives back the calls that have not started.
_SPLIT_DELAY: Final = 0.1

#: The number of functions of maps that are kept when no batch uses them, and the seconds for which they are kept.
_IDLE_FUNCTIONS: Final = 2
_IDLE_TIME: Final = 1.0


class BatchHeader(NamedTuple):
    """The facts on a batch that its worker needs: plain values, because the header travels with each batch."""

    pool: str
    number: int
    single: bool  # the payload is the only call
    retried: bool  # Dask is to try a call again that fails
    expected: float  # seconds that the calls are expected to take


class CallFailed(Exception):
    """Raised to Dask for a call that Dask is to try again (`retries`).

    Args:
        outcome: The outcome of the call. It is no part of the text, because Dask replaces long ones.
    """

    def __init__(self, outcome: bytes) -> None:
        super().__init__("the call raised an exception")
        self.outcome = outcome

    def __reduce__(self) -> tuple[Any, ...]:
        return CallFailed, (self.outcome,)


class RunningBatch:
    """Calls that came together and run one after the other; the first one has begun."""

    def __init__(self, key: str, bodies: list[bytes]) -> None:
        self.key = key  # of Dask's task
        self.size = len(bodies)
        # The thread that runs the calls takes the next one from the left; the worker's loop takes calls that are given
        # back from the right. So each call goes one way only.
        self.waiting = deque(bodies[1:])
        self.outcomes: list[bytes] = []
        self.delivered = 0  # the number of outcomes that have arrived at the pool


class PoolWorkerPlugin(WorkerPlugin):
    """A pool's plugin at a worker; Dask installs it in each worker, also in those that join later.

    Args:
        pool: The name of the pool, of the plugin, and of the topic of messages to the pool.
        initializer: The initializer as a pickled call; None if there is none.
        owned: Whether the workers were started for the pool.
    """

    def __init__(self, pool: str, initializer: bytes | None, owned: bool) -> None:
        self.name = pool
        self._initializer = initializer
        self._owned = owned

    def setup(self, worker: Worker) -> None:
        """Prepare the plugin; Dask calls this method in the worker, before the worker takes calls."""
        self._worker = worker
        self._fault: bytes | None = None  # the outcome of an initializer that failed
        self._batches: dict[int, RunningBatch] = {}
        self._functions: dict[str, tuple[LazyFunction, float]] = {}  # key → function and time of last use, oldest first
        # Guards `_batches`, their outcomes and `_functions`: the loop fetches outcomes that the thread that runs the
        # calls has added.
        self._lock = threading.Lock()
        # Held while the initializer runs: a call that comes meanwhile waits for the end of the initializer.
        self._initializing = threading.Lock()
        is_process = self._owned and getattr(worker, "nanny", None) is not None
        if is_process and threading.current_thread() is threading.main_thread():
            # Ctrl-C goes to the whole foreground group, but only the pool's process handles it. This is a function,
            # because programs that calls start would inherit SIG_IGN.
            signal.signal(signal.SIGINT, _do_nothing)

    def run(self, header: BatchHeader, key: str, functions: dict[str, bytes], bodies: list[bytes]) -> bytes:
        """Run the calls of a batch.

        Returns:
            A pickled report: the outcome of an initializer that failed, or None; the index of the first outcome that
            has not been fetched; the outcomes from there on; the seconds that each call took.
        """
        number = header.number
        with self._initializing:
            self._initialize()
        if self._fault is not None:
            return pickle.dumps((self._fault, 0, [], b""))
        batch = RunningBatch(key, bodies)
        body = bodies[0]
        del bodies[:]
        with self._lock:
            self._batches[number] = batch
        loop = self._worker.loop
        if batch.size > 1:
            loop.add_callback(loop.call_later, header.expected + _SPLIT_DELAY, self._split, number)
        seconds = array("f")
        current.pool = self.name
        current.functions = self._use(functions)
        try:
            while True:
                began = clock.perf_counter()
                outcome = _wire.run_call(body)
                del body
                seconds.append(clock.perf_counter() - began)
                if header.retried and outcome[:1] == _wire.ERROR:
                    raise CallFailed(outcome)
                batch.outcomes.append(outcome)
                del outcome
                try:
                    body = batch.waiting.popleft()
                except IndexError:  # that was the last call, or the others were given back
                    break
        finally:
            current.pool = current.functions = None
            with self._lock:
                self._batches.pop(number, None)
            if self._functions:
                loop.add_callback(loop.call_later, _IDLE_TIME, self._discard_functions)
        return pickle.dumps((None, batch.delivered, batch.outcomes[batch.delivered :], seconds.tobytes()))

    def fetch(self, number: int, delivered: int) -> list[bytes] | None:
        """Return the outcomes that a batch has up to now, without those that have arrived; None if the batch has ended.

        Outcomes stay here until they are known to have arrived: the next fetch says so, and without one the report of
        the batch brings them again.
        """
        with self._lock:
            batch = self._batches.get(number)
            if batch is None:
                return None
            first, batch.delivered = batch.delivered, min(delivered, len(batch.outcomes))
            batch.outcomes[first : batch.delivered] = [b""] * (batch.delivered - first)
            return batch.outcomes[batch.delivered :]

    def _use(self, functions: dict[str, bytes]) -> dict[str, LazyFunction]:
        """Return the functions that the calls of a batch refer to."""
        now = clock.monotonic()
        used = {}
        with self._lock:
            for key, body in functions.items():
                known = self._functions.pop(key, None)
                used[key] = LazyFunction(body) if known is None else known[0]
                self._functions[key] = used[key], now
            for key in list(self._functions)[:-_IDLE_FUNCTIONS]:
                del self._functions[key]
        return used

    def _discard_functions(self) -> None:
        """In the worker's loop: discard the functions of maps that seem to be over."""
        due = clock.monotonic() - _IDLE_TIME
        with self._lock:
            if not self._batches:  # otherwise the end of a batch calls this method again
                self._functions = {key: kept for key, kept in self._functions.items() if kept[1] > due}

    def _initialize(self) -> None:
        body, self._initializer = self._initializer, None
        if body is None:
            return
        try:
            initializer, initargs = pickle.loads(body)
            initializer(*initargs)
        except BaseException as exc:
            logging.getLogger("concurrent.futures").critical("Exception in initializer:", exc_info=True)
            self._fault = _wire.dump_error(exc)

    def _split(self, number: int) -> None:
        """In the worker's loop: have a batch that takes long give back the calls that have not started."""
        with self._lock:
            batch = self._batches.get(number)
        if batch is None:
            return
        returned = 0
        while batch.waiting:
            try:
                batch.waiting.pop()
            except IndexError:  # the last one has just started
                break
            returned += 1
        kept = batch.size - returned
        self._worker.log_event(
            self.name, {"batch": number, "key": batch.key, "kept": kept, "worker": self._worker.address}
        )


def run_batch(header: tuple[Any, ...], payload: bytes) -> bytes:
    """Run the calls of a batch, in one payload: the task that Dask has."""
    known = BatchHeader(*header)
    worker: Any = get_worker()
    key = worker.get_current_task()
    plugin: Any = worker.plugins[known.pool]
    if known.single:
        functions, bodies = {}, [payload]
    else:
        functions, bodies = pickle.loads(payload)
        task = worker.state.tasks.get(key)
        del bodies[(getattr(task, "annotations", None) or {}).get(KEPT, len(bodies)) :]
    del payload
    return plugin.run(known, key, functions, bodies)  # type: ignore[no-any-return]


def fetch_outcomes(pool: str, number: int, delivered: int, dask_worker: Any) -> list[bytes] | None:
    """Return the result of `PoolWorkerPlugin.fetch`, for `Client.run`."""
    plugin = dask_worker.plugins.get(pool)
    return None if plugin is None else plugin.fetch(number, delivered)


def _do_nothing(*_: object) -> None:
    pass
