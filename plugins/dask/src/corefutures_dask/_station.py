"""What a pool has at each of Dask's workers: its initializer, and the packs of calls that run there.

Runs in the workers. Guarantees: the initializer ran before the first call; a pack in which a call takes long gives
back the calls behind it (E2, E3), and the results before it can be fetched.
"""

from __future__ import annotations

import logging
import pickle
import threading
import time
from array import array
from collections import deque
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from distributed import get_client, get_worker
from distributed.diagnostics.plugin import WorkerPlugin

from corefutures_dask import _wire

if TYPE_CHECKING:
    from distributed import Worker

#: Seconds by which a pack may take longer than expected before it gives back the calls that have not started.
PATIENCE: Final = 0.1

#: Seconds after which a pack is not taken for new: Dask may have run it before, at a worker that died. The clocks of
#: two machines may differ by as much.
_FRESH: Final = 1.0

#: `pool`: whose call this thread runs, for pools whose workers are threads of the same process.
current = threading.local()


class Terms(NamedTuple):
    """What a worker has to know of a pack: plain values, since it travels with each."""

    pool: str
    number: int
    calls: int
    retried: bool  # Dask is to try it again if it fails
    sent: float  # when, by the sender's clock
    expected: float  # seconds that it will take


class CallFailed(Exception):
    """Raised to Dask, with the outcome, for a call that Dask is to try again (`retries`)."""


class Pack:
    """Calls that came together, to be run one after the other."""

    def __init__(self, bodies: list[bytes]) -> None:
        self.size = len(bodies)
        # The next call is taken from the left by the thread that runs them, what is given back from the right by
        # the worker's loop: each call goes one way only.
        self.waiting = deque(bodies)
        self.outcomes: list[bytes] = []
        self.fetched = 0


class Station(WorkerPlugin):
    """A pool's outpost at one worker; Dask takes it to each, also to those that join later.

    Args:
        pool: The pool's name: of this plugin, and of the topic for what has to be told to the pool.
        preparation: The initializer as a call, pickled; None if there is none.
    """

    def __init__(self, pool: str, preparation: bytes | None) -> None:
        self.name = pool
        self._preparation = preparation

    def setup(self, worker: Worker) -> None:
        """Called by Dask, in the worker, before it takes calls."""
        self._worker = worker
        self._fault: bytes | None = None
        self._packs: dict[int, Pack] = {}
        # Guards `_packs` and the packs' results: the loop fetches what the thread that runs the calls has gathered.
        self._lock = threading.Lock()
        # Held while the initializer runs: a call that comes meanwhile waits for it.
        self._preparing = threading.Lock()

    def run(self, terms: Terms, bodies: list[bytes]) -> bytes:
        """Runs a pack's calls; returns what came of those that were neither given back nor fetched."""
        number = terms.number
        if len(bodies) > 1 and time.time() - terms.sent > _FRESH:
            del bodies[self._kept(number, len(bodies)) :]
        with self._preparing:
            self._prepare()
        if self._fault is not None:
            return pickle.dumps((self._fault, 0, [], b""))
        pack = Pack(bodies)
        del bodies[:]
        with self._lock:
            self._packs[number] = pack
        if pack.size > 1:
            loop = self._worker.loop
            loop.add_callback(loop.call_later, terms.expected + PATIENCE, self._split, number)
        seconds = array("f")
        current.pool = self.name
        try:
            while pack.waiting:
                began = time.perf_counter()
                try:
                    body = pack.waiting.popleft()
                except IndexError:  # given back
                    break
                outcome = _wire.run(body)
                del body
                seconds.append(time.perf_counter() - began)
                if terms.retried and outcome[:1] == _wire.ERROR:
                    raise CallFailed(outcome)
                pack.outcomes.append(outcome)
                del outcome
        finally:
            current.pool = None
            with self._lock:
                self._packs.pop(number, None)
        return pickle.dumps((None, pack.fetched, pack.outcomes[pack.fetched :], seconds.tobytes()))

    def fetch(self, number: int) -> tuple[int, list[bytes]] | None:
        """Returns the results that a pack has up to now, and the index of the first; None if it has ended."""
        with self._lock:
            pack = self._packs.get(number)
            if pack is None:
                return None
            first, pack.fetched = pack.fetched, len(pack.outcomes)
            found = pack.outcomes[first : pack.fetched]
            pack.outcomes[first : pack.fetched] = [b""] * len(found)
            return first, found

    def _kept(self, number: int, size: int) -> int:
        """Returns how many calls of a pack were not given back by a worker that had it before, and died."""
        told: Any = get_client().get_events(self.name)
        return min([size, *(int(message["kept"]) for _, message in told if message["pack"] == number)])

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
        self._worker.log_event(
            self.name, {"pack": number, "kept": pack.size - returned, "worker": self._worker.address}
        )


def run_pack(terms: tuple[Any, ...], payload: bytes) -> bytes:
    """The task that Dask runs: the calls of a pack, in one payload."""
    known = Terms(*terms)
    station: Any = get_worker().plugins[known.pool]
    bodies = [payload] if known.calls == 1 else pickle.loads(payload)
    del payload
    return station.run(known, bodies)  # type: ignore[no-any-return]


def fetch(pool: str, number: int, dask_worker: Any) -> tuple[int, list[bytes]] | None:
    """Returns what `Station.fetch` returns, for `Client.run`."""
    station = dask_worker.plugins.get(pool)
    return None if station is None else station.fetch(number)
