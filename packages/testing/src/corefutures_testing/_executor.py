"""`SimulatedExecutor`: the interface of a `Simulation`.

Touches the toolkit. Guarantees: a call runs when a thread waits for one of the simulation's calls, by any
function of corefutures, `concurrent.futures` or asyncio; the program sees an executor that keeps the contract.
"""

from __future__ import annotations

import random
import threading
import weakref
from collections.abc import Callable, Iterable
from typing import Any, ParamSpec, TypeVar

from corefutures import BrokenExecutor, Future, WorkerLostError
from corefutures_pools.executor import PoolExecutor, register_pool, unreachable
from corefutures_pools.foreign_code import for_each
from corefutures_pools.future import PoolFuture, ask_to_stop, fail_after_fork
from corefutures_pools.instrumentation import instrumentation
from corefutures_pools.lifecycle import Lifecycle
from corefutures_pools.options import check_count, check_flag, check_seconds, not_callable, shown
from corefutures_pools.results import ResultIterator, check_buffersize, check_chunksize, check_iterables
from corefutures_testing._choices import Choices, from_text, to_text
from corefutures_testing._future import SimulatedFuture
from corefutures_testing._simulation import Simulation, running_call
from corefutures_testing._waits import MapDeadline

_P = ParamSpec("_P")
_T = TypeVar("_T")

#: The living executors: at exit their calls run.
_executors = Lifecycle(
    close=lambda executor: executor._cf_pool.close(),
    join=lambda executor: executor._cf_join_at_exit(),
    after_fork=lambda executor: executor._cf_after_fork_in_child(),
    outlive_main=lambda executor: not executor._cf_pool.closed,
)


class SimulatedExecutor(PoolExecutor):
    """An executor that runs one call at a time, in an order that a seed decides, by a clock of its own.

    A call runs when the program waits: for a result, in `wait`, `as_completed` or `shutdown`, at `await` in asyncio, or
    by `sleep`. A call that waits in the same ways gives way to others. The same seed gives the same run.

    Args:
        max_workers: How many calls may have started and not ended, besides calls that they wait for.
        seed: Decides the order, and the faults; None for a random one.
        replay: The decisions of an earlier run, in place of a seed: its `schedule`.
        cancellations: How many of the waiting calls are cancelled, at most, as if by another thread.
        losses: How many calls lose their worker, at most: before they run, or when they have run.
        delays: How many times the clock moves on although calls could run, at most: time limits end.
        patience: Real seconds after which a call that blocks in something unknown is left to itself.

    Raises:
        TypeError: An option is of the wrong type.
        ValueError: An option makes no sense.

    Thread safety: every method may be called from any thread. A run repeats itself only if one thread of the program
    uses the executor.
    """

    def __init__(
        self,
        max_workers: int | None = None,
        *,
        seed: int | str | None = None,
        replay: str | None = None,
        cancellations: int = 0,
        losses: int = 0,
        delays: int = 0,
        patience: float = 5.0,
    ) -> None:
        check_seconds("patience", patience, positive=True)
        for name, number in {"cancellations": cancellations, "losses": losses, "delays": delays}.items():
            check_count(name, number, optional=False, least=0)
        if seed is not None and (isinstance(seed, bool) or not isinstance(seed, int | str)):
            raise TypeError(f"seed must be an int, a text or None, not {shown(seed)}")
        decisions = None if replay is None else from_text(replay)
        if seed is None and replay is None:
            seed = random.SystemRandom().randrange(1_000_000_000)
        self.seed = seed
        simulation = Simulation(
            Choices(seed, decisions), patience=patience, cancellations=cancellations, losses=losses, delays=delays
        )
        self._cf_begin(simulation, max_workers)

    def _cf_begin(self, simulation: Simulation, max_workers: int | None) -> None:
        check_count("max_workers", max_workers)
        self._max_workers = 4 if max_workers is None else max_workers
        self._cf_pool = simulation.make_pool(self._max_workers)
        weakref.finalize(self, self._cf_pool.close).atexit = False
        if _executors.exiting:
            self._cf_pool.close()
        _executors.add(self)
        register_pool(self)
        if instrumentation.enabled:
            instrumentation.executor_created(self)

    # ── as of every executor ─────────────────────────────────────────────────────────────────────────────

    def submit(self, fn: Callable[_P, _T], /, *args: _P.args, **kwargs: _P.kwargs) -> Future[_T]:
        """Have `fn(*args, **kwargs)` run by the simulation; see `Executor.submit`."""
        return self._cf_submit_with(None, None, fn, args, kwargs)

    def _cf_submit_with(
        self,
        timeout: float | None,
        name: str | None,
        fn: Callable[..., _T],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
    ) -> Future[_T]:
        if not callable(fn):
            raise not_callable("submit", fn)
        pool = self._cf_pool
        if pool.closed:
            raise RuntimeError("cannot schedule new futures after shutdown")
        future = SimulatedFuture(pool, fn, args, kwargs or None)
        future._cf_timeout, future._cf_name = timeout, name
        if instrumentation.enabled:
            instrumentation.track_call(self, fn, future)
        pool.simulation.submit(pool, future)
        return future

    def _cf_begin_limiting(self) -> None: ...  # calls can be stopped where they wait

    def _cf_map(
        self,
        submit: Callable[..., Future[Any]],
        fn: Callable[..., _T],
        iterables: tuple[Iterable[Any], ...],
        timeout: float | None,
        chunksize: int | str,
        buffersize: int | None,
        /,
    ) -> ResultIterator[_T]:
        check_iterables(iterables)
        check_seconds("timeout", timeout)
        check_chunksize(chunksize)
        check_buffersize(buffersize)
        simulation = self._cf_pool.simulation
        deadline = None if timeout is None else MapDeadline(simulation, simulation.now + timeout)
        submissions = (submit(fn, *items) for items in zip(*iterables, strict=False))
        return ResultIterator(submissions, deadline, buffersize)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Take no more calls, and let those that there are run; see `Executor.shutdown`."""
        check_flag("wait", wait)
        check_flag("cancel_futures", cancel_futures)
        pool = self._cf_pool
        if instrumentation.enabled:
            instrumentation.executor_shut_down(self)
        pool.close()
        if cancel_futures:
            for_each(SimulatedFuture.cancel, list(pool.waiting))
        running = running_call()
        if wait and (running is None or running._cf_pool is not pool):
            try:
                pool.simulation.run_until(lambda: not pool.has_calls())
            except KeyboardInterrupt:
                self._cf_interrupt()
                raise
            for thread in pool.simulation.end_idle():
                thread.join()
        elif not pool.has_calls():
            pool.simulation.end_idle()

    def _cf_interrupt(self) -> None:
        super()._cf_interrupt()
        for task in list(self._cf_pool.tasks):
            ask_to_stop(task.future)

    def kill(self, future: Future[Any]) -> bool:
        """Stop a call where it waits; one that computes or blocks in something unknown goes on, to no effect."""
        if not isinstance(future, SimulatedFuture):
            raise TypeError(f"kill() takes a future that submit() of this executor returned, not {shown(future)}")
        if PoolFuture.done(future):
            return False
        if future.cancel():
            return True
        stopped: bool = self._cf_pool.simulation.stop(future, WorkerLostError("the call was killed"))
        return stopped

    def request_cancel(self, future: Future[Any]) -> bool:
        """See `PoolExecutor.request_cancel`."""
        if not isinstance(future, SimulatedFuture):
            raise TypeError(
                f"request_cancel() takes a future that submit() of this executor returned, not {shown(future)}"
            )
        if PoolFuture.done(future):
            return False
        if not future.cancel():
            if PoolFuture.done(future):
                return False
            ask_to_stop(future)
        return True

    def __reduce__(self) -> Any:
        raise unreachable(self)

    # ── of the simulation ────────────────────────────────────────────────────────────────────────────────

    def time(self) -> float:
        """Return the seconds by the simulation's clock; it begins with 0 and moves only while the program waits."""
        now: float = self._cf_pool.simulation.now
        return now

    def sleep(self, seconds: float) -> None:
        """Wait by the simulation's clock, in place of `time.sleep`: in the program or in a call."""
        check_seconds("seconds", seconds, least=0)
        self._cf_pool.simulation.sleep(seconds)

    def wait_until(self, predicate: Callable[[], object], timeout: float | None = None) -> bool:
        """Wait, in the program or in a call, until `predicate()` is true: other calls may make it so.

        Args:
            predicate: Asked often, by any thread; it must not wait itself.
            timeout: Seconds by the simulation's clock; None for no limit.

        Returns:
            Whether it is true.

        Raises:
            DeadlockError: Nothing can make it true.
        """
        check_seconds("timeout", timeout)
        simulation = self._cf_pool.simulation
        deadline = None if timeout is None else simulation.now + timeout
        simulation.run_until(lambda: bool(predicate()), deadline)
        return bool(predicate())

    def make_executor(self, max_workers: int | None = None, thread_name_prefix: str = "") -> SimulatedExecutor:
        """Return another executor of the same simulation: for code that makes pools of its own.

        Args:
            max_workers: As of this class.
            thread_name_prefix: Without effect: so that the method can take the place of `ThreadPoolExecutor`.
        """
        made = SimulatedExecutor.__new__(SimulatedExecutor)
        made.seed = self.seed
        made._cf_begin(self._cf_pool.simulation, max_workers)
        return made

    @property
    def schedule(self) -> str:
        """The decisions so far, for `replay`."""
        return to_text(self._cf_pool.simulation.choices.taken)

    @property
    def events(self) -> list[str]:
        """What happened so far, a line each: which call was submitted, started, waited, returned."""
        return list(self._cf_pool.simulation.events)

    @property
    def notes(self) -> list[str]:
        """Why a replay may differ: calls, or the program, blocked in something that the simulation doesn't know."""
        return list(self._cf_pool.simulation.notes)

    # ── at the end, and after a fork ─────────────────────────────────────────────────────────────────────

    def _cf_close(self) -> None:
        """Cancel and stop all calls of the simulation, and end its threads."""
        simulation = self._cf_pool.simulation
        simulation.close()
        for thread in simulation.end_idle():
            if thread is not threading.current_thread():
                thread.join(1)

    def _cf_join_at_exit(self) -> None:
        pool = self._cf_pool
        pool.simulation.run_until(lambda: not pool.has_calls(), raises=False)

    def _cf_after_fork_in_child(self) -> None:
        pool = self._cf_pool
        pool.simulation.abandon_threads()
        lost = [*pool.waiting, *(task.future for task in pool.tasks)]
        pool.waiting.clear()
        pool.tasks.clear()
        for future in lost:
            fail_after_fork(future, BrokenExecutor("this process was forked: the parent runs the call"))
