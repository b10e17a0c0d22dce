"""What a pool has at each of Dask's workers: its initializer, and the packs of calls that run there.

Runs in the workers. Guarantees: the initializer ran before the first call; a pack in which a call takes long gives
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
from corefutures_dask._wire import Function, current
from corefutures_pools.blocking import clock

if TYPE_CHECKING:
    from distributed import Worker

#: Seconds by which a pack may take longer than expected before it gives back the calls that have not started.
PATIENCE: Final = 0.1

#: So many functions of maps are kept besides those of the packs that run, and for so many seconds.
_FUNCTIONS: Final = 2
_IDLE: Final = 1.0


class Terms(NamedTuple):
    """What a worker has to know of a pack: plain values, since it travels with each."""

    pool: str
    number: int
    plain: bool  # the payload is the only call
    retried: bool  # Dask is to try it again if it fails
    expected: float  # seconds that it will take


class CallFailed(Exception):
    """Raised to Dask for a call that Dask is to try again (`retries`).

    Args:
        outcome: Of the call. No part of the text: Dask replaces the arguments of exceptions with a long one.
    """

    def __init__(self, outcome: bytes) -> None:
        super().__init__("the call raised an exception")
        self.outcome = outcome

    def __reduce__(self) -> tuple[Any, ...]:
        return CallFailed, (self.outcome,)


class Pack:
    """Calls that came together, to be run one after the other.

    Args:
        key: Of Dask's task.
        bodies: The calls. The first one has begun; the others wait.
    """

    def __init__(self, key: str, bodies: list[bytes]) -> None:
        self.key = key
        self.size = len(bodies)
        # The next call is taken from the left by the thread that runs them, what is given back from the right by
        # the worker's loop: each call goes one way only.
        self.waiting = deque(bodies[1:])
        self.outcomes: list[bytes] = []
        self.delivered = 0  # so many of them have arrived at the pool


class Station(WorkerPlugin):
    """A pool's outpost at one worker; Dask takes it to each, also to those that join later.

    Args:
        pool: The pool's name: of this plugin, and of the topic for what has to be told to the pool.
        preparation: The initializer as a call, pickled; None if there is none.
        own: Whether the workers were started for the pool.
    """

    def __init__(self, pool: str, preparation: bytes | None, own: bool) -> None:
        self.name = pool
        self._preparation = preparation
        self._own = own

    def setup(self, worker: Worker) -> None:
        """Called by Dask, in the worker, before it takes calls."""
        self._worker = worker
        self._fault: bytes | None = None
        self._packs: dict[int, Pack] = {}
        self._functions: dict[str, tuple[Function, float]] = {}  # of maps, and when each was used last, oldest first
        # Guards `_packs`, the packs' results and `_functions`: the loop fetches what the thread that runs the calls
        # has gathered.
        self._lock = threading.Lock()
        # Held while the initializer runs: a call that comes meanwhile waits for it.
        self._preparing = threading.Lock()
        process = self._own and getattr(worker, "nanny", None) is not None
        if process and threading.current_thread() is threading.main_thread():
            # Ctrl-C goes to the whole foreground group: the pool's process alone decides what it means. It is a
            # handler, since programs that calls start would inherit SIG_IGN.
            signal.signal(signal.SIGINT, _do_nothing)

    def run(self, terms: Terms, key: str, functions: dict[str, bytes], bodies: list[bytes]) -> bytes:
        """Runs a pack's calls; returns what came of those that were neither given back nor have arrived."""
        number = terms.number
        with self._preparing:
            self._prepare()
        if self._fault is not None:
            return pickle.dumps((self._fault, 0, [], b""))
        pack = Pack(key, bodies)
        body = bodies[0]
        del bodies[:]
        with self._lock:
            self._packs[number] = pack
        loop = self._worker.loop
        if pack.size > 1:
            loop.add_callback(loop.call_later, terms.expected + PATIENCE, self._split, number)
        seconds = array("f")
        current.pool = self.name
        current.functions = self._use(functions)
        try:
            while True:
                began = clock.perf_counter()
                outcome = _wire.run(body)
                del body
                seconds.append(clock.perf_counter() - began)
                if terms.retried and outcome[:1] == _wire.ERROR:
                    raise CallFailed(outcome)
                pack.outcomes.append(outcome)
                del outcome
                try:
                    body = pack.waiting.popleft()
                except IndexError:  # that was the last, or the others were given back
                    break
        finally:
            current.pool = current.functions = None
            with self._lock:
                self._packs.pop(number, None)
            if self._functions:
                loop.add_callback(loop.call_later, _IDLE, self._forget)
        return pickle.dumps((None, pack.delivered, pack.outcomes[pack.delivered :], seconds.tobytes()))

    def fetch(self, number: int, delivered: int) -> list[bytes] | None:
        """Returns the results that a pack has up to now, without those that have arrived; None if it has ended.

        What was fetched stays here until it is known to have arrived: the next fetch says so, and without one the
        pack's end brings it again.
        """
        with self._lock:
            pack = self._packs.get(number)
            if pack is None:
                return None
            first, pack.delivered = pack.delivered, min(delivered, len(pack.outcomes))
            pack.outcomes[first : pack.delivered] = [b""] * (pack.delivered - first)
            return pack.outcomes[pack.delivered :]

    def _use(self, functions: dict[str, bytes]) -> dict[str, Function]:
        """Returns the functions of the maps that a pack's calls are of."""
        now = clock.monotonic()
        used = {}
        with self._lock:
            for token, body in functions.items():
                known = self._functions.pop(token, None)
                used[token] = Function(body) if known is None else known[0]
                self._functions[token] = used[token], now
            for token in list(self._functions)[:-_FUNCTIONS]:
                del self._functions[token]
        return used

    def _forget(self) -> None:
        """In the worker's loop: lets go of the functions of maps that seem to be over."""
        due = clock.monotonic() - _IDLE
        with self._lock:
            if not self._packs:  # or else the end of one has this asked again
                self._functions = {token: kept for token, kept in self._functions.items() if kept[1] > due}

    def _prepare(self) -> None:
        preparation, self._preparation = self._preparation, None
        if preparation is None:
            return
        try:
            initializer, initargs = pickle.loads(preparation)
            initializer(*initargs)
        except BaseException as exc:
            logging.getLogger("concurrent.futures").critical("Exception in initializer:", exc_info=True)
            self._fault = _wire.failure(exc)

    def _split(self, number: int) -> None:
        """In the worker's loop: has a pack that takes long give back what has not started."""
        with self._lock:
            pack = self._packs.get(number)
        if pack is None:
            return
        returned = 0
        while pack.waiting:
            try:
                pack.waiting.pop()
            except IndexError:  # it has started
                break
            returned += 1
        kept = pack.size - returned
        self._worker.log_event(
            self.name, {"pack": number, "key": pack.key, "kept": kept, "worker": self._worker.address}
        )


def run_pack(terms: tuple[Any, ...], payload: bytes) -> bytes:
    """The task that Dask runs: the calls of a pack, in one payload."""
    known = Terms(*terms)
    worker: Any = get_worker()
    key = worker.get_current_task()
    station: Any = worker.plugins[known.pool]
    if known.plain:
        functions, bodies = {}, [payload]
    else:
        functions, bodies = pickle.loads(payload)
        task = worker.state.tasks.get(key)
        del bodies[(getattr(task, "annotations", None) or {}).get(KEPT, len(bodies)) :]
    del payload
    return station.run(known, key, functions, bodies)  # type: ignore[no-any-return]


def fetch(pool: str, number: int, delivered: int, dask_worker: Any) -> list[bytes] | None:
    """Returns what `Station.fetch` returns, for `Client.run`."""
    station = dask_worker.plugins.get(pool)
    return None if station is None else station.fetch(number, delivered)


def _do_nothing(*_: object) -> None:
    pass
