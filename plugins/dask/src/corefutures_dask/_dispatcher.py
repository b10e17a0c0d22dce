"""The calls of one pool between `submit` and the cluster: who waits, what leaves together, what came back.

Touches Dask's client and the files beside it. Guarantees: at most as many packs are out as there are workers' threads;
a failure of its own breaks the pool, and leaves no future pending (E8).
"""

from __future__ import annotations

import asyncio
import itertools
import pickle
import secrets
from array import array
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import dask.config
from distributed import CancelledError as DaskCancelledError
from distributed.scheduler import KilledWorker

from corefutures.backend import Lock, clock, copied
from corefutures_dask import _scheduler_plugin as _scheduler, _worker_plugin as _station
from corefutures_dask._completion import Delivery
from corefutures_dask._exceptions import broken, given_up, worker_lost
from corefutures_dask._future import DaskFuture, Pack, never_waits
from corefutures_dask._worker_plugin import CallFailed, Station, Terms

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from corefutures_dask._cluster import Connection
    from corefutures_dask._future import Call

#: A pack is to hold so many times as much work as its way costs, but so many seconds at least and at most.
_WORTH: Final = 10
_LEAST: Final = 0.05
_MOST: Final = 0.2
#: How many times as many calls a pack may hold as the one before, of a function of which little is known.
_GROWTH: Final = 8
#: Bytes that a pack may hold, unless a single call is larger.
_FULL: Final = 1 << 20
#: Bytes from which a pack is stored at a worker beforehand, and not made part of the graph.
SCATTER: Final = 1 << 18
#: Seconds between two looks at the size of the cluster, while there are calls.
_LOOK: Final = 1.0
#: Seconds in which Dask is told to forget a result that was fetched.
_RELEASE: Final = 0.05
#: Seconds until a call whose worker was lost is sent again: by then it shows whether the scheduler was lost as well.
_AGAIN: Final = 0.1
#: So many kinds of calls are remembered.
_KINDS: Final = 10_000


class Wishes(NamedTuple):
    """What Dask is asked for with a call: see `DaskExecutor.options`."""

    resources: tuple[tuple[str, float], ...] = ()
    retries: int = 0
    priority: int = 0
    workers: tuple[str | int, ...] = ()

    @property
    def restricting(self) -> bool:
        """Whether not every worker will do."""
        return bool(self.resources or self.workers)


class NotStored(Exception):
    """A pack could not be stored at a worker beforehand: the worker has ended meanwhile."""


class Window:
    """Counts the packs that are out: in Dask's loop only."""

    __slots__ = ("out",)

    def __init__(self) -> None:
        self.out = 0


class Lane:
    """The calls with the same wishes, oldest first: submitters append, Dask's loop takes."""

    __slots__ = ("calls", "returning", "window", "wishes")

    def __init__(self, wishes: Wishes, window: Window) -> None:
        self.wishes = wishes
        self.window = window
        self.calls: deque[DaskFuture[Any]] = deque()
        self.returning: list[DaskFuture[Any]] = []  # on their way back into `calls`: for a forked child

    def put_back(self, futures: list[DaskFuture[Any]]) -> None:
        """Has calls wait again, in their old places."""
        self.returning = futures
        while futures and self.calls and self.calls[0].number < futures[-1].number:  # put back by others
            futures.append(self.calls[0])
            futures.sort(key=lambda future: future.number)
            self.calls.popleft()
        self.calls.extendleft(reversed(futures))
        self.returning = []

    def head(self) -> DaskFuture[Any] | None:
        """Returns the oldest call that has not ended."""
        try:
            while self.calls[0].done():
                self.calls.popleft()
            return self.calls[0]
        except IndexError:  # there is none, or the pool broke
            return None


class Dispatcher:
    """Brings calls to the cluster and their results back.

    Args:
        connection: To the cluster; closed when the last call has ended.
        limit: How many calls may run at once; None for as many as the cluster has threads.
        preparation: The initializer, pickled; None if there is none.

    Thread safety: `take`, `lane`, `close` and `fail` are for every thread; what is private runs in Dask's loop.
    """

    def __init__(self, connection: Connection, limit: int | None, preparation: bytes | None) -> None:
        self.pool = f"corefutures-{secrets.token_hex(8)}"
        self._connection = connection
        self._client = connection.client
        self._loop: Any = connection.client.loop
        self._limit = limit
        # Guards `_refusal` together with `_lanes` and what is appended to them: no call is taken after the end.
        # Nothing is called under it where the main thread passes, see `Lock`.
        self._lock = Lock()
        self._refusal: Exception | None = None
        self._broken = False
        self._closed = False
        self._ended = False
        self._shared = Window()
        self._lanes: dict[Wishes, Lane] = {}
        self._numbers = itertools.count().__next__
        self._filling: Pack | None = None  # the pack that takes calls out of a lane, until it is out
        self._out: dict[int, Pack] = {}
        self._tasks: set[asyncio.Task[None]] = set()  # asyncio itself keeps none alive
        self._rung = False
        self._pace: dict[int, float] = {}  # kind → seconds that a call took, as measured last
        self._sizes: dict[int, int] = {}  # kind → the largest pack of such calls that has come back
        self._spent: list[Any] = []  # packs that have come back, and that Dask has to be told to forget
        self._way = 0.0  # seconds that a pack's way to the worker and back takes, measured lately
        self._slots = 1
        self._looked = 0.0
        self._allowed_failures: int | None = None  # as the scheduler has it, once that was asked
        self.delivery = Delivery(self.pool, partial(connection.close, self.pool), self._is_lost, self._lose_scheduler)
        # A client that loses its scheduler may find another one at the same address, which knows nothing of us.
        self._link = self._client.scheduler_comm
        try:
            self._client.register_plugin(_scheduler.PoolPlugin(self.pool, self._client.id), name=self.pool)
            self._client.register_plugin(
                Station(self.pool, preparation, connection.cluster is not None), name=self.pool
            )
            self._client.subscribe_topic(self.pool, self._on_split)
            self.slots = sum(self._client.nthreads().values())
            self.delivery.start()
        except BaseException:
            connection.close(self.pool)
            raise

    # ── for every thread ─────────────────────────────────────────────────────────────────────────────────

    @property
    def slots(self) -> int:
        """How many packs may be out."""
        return self._slots

    @slots.setter
    def slots(self, capacity: int) -> None:
        self._slots = max(1, capacity if self._limit is None else min(capacity, self._limit))

    @property
    def refusal(self) -> Exception | None:
        """Why no more calls are taken; None while they are."""
        return self._refusal

    def lane(self, wishes: Wishes) -> Lane:
        """Returns the lane for calls with these wishes."""
        lane = self._lanes.get(wishes)
        if lane is None:
            # Calls that only some workers may run wait in Dask, and must not take the others' places (E2).
            # Where the number of calls is limited, that comes first.
            own = wishes.restricting and self._limit is None
            lane = self._lanes.setdefault(wishes, Lane(wishes, Window() if own else self._shared))
            self._rung = False  # there may be room
        return lane

    def take(self, lane: Lane, call: Call, name: str, kind: int) -> DaskFuture[Any]:
        """Takes a call.

        Raises:
            RuntimeError: No more calls are taken.
        """
        future: DaskFuture[Any] = DaskFuture(call, self._numbers(), name, kind)
        added, taken = (future,), False
        if self._lock.taken:
            if taken := self._refusal is None:
                lane.calls += added
            self._lock.release()
        if not taken:
            raise self.refuse()
        # The loop clears `_rung`, then looks for calls; this appends, then looks at `_rung`: one sees the other.
        if not self._rung:
            self._ring()
        return future

    def refuse(self) -> Exception:
        """Returns an exception of its own for each call that is turned down (E5)."""
        refusal = self._refusal
        assert refusal is not None
        own = type(refusal)(*refusal.args)
        own.__cause__ = refusal.__cause__
        return own

    def check_workers(self, wanted: tuple[str | int, ...]) -> None:
        """Raises ValueError if one of these workers can't exist."""
        self._connection.check_workers(wanted)

    def close(self, refusal: Exception) -> None:
        """Takes no more calls, and ends when those that were taken have."""
        if self._lock.taken:
            if self._refusal is None:
                self._refusal = refusal
            self._closed = True
            self._lock.release()
        self._ring()

    def cancel_waiting(self) -> None:
        """Cancels the calls that have not started; what callbacks raise is raised at the end (F4)."""
        waiting = [future for lane in copied(self._lanes.values()) for future in copied(lane.calls)]
        raised: BaseException | None = None
        for pack in copied(self._out.values()):
            for future in copied(pack.futures):
                future._unwanted = True  # when it is given back
        for future in waiting:
            try:
                future._cancel_waiting()
            except BaseException as exc:
                raised = raised or exc
        self._ring()
        if raised is not None:
            raise raised

    def fail(self, message: str, cause: BaseException | None) -> None:
        """Breaks the pool: all that is pending fails, each with an error of its own, and so does what is submitted."""
        with self._lock:
            first, self._broken = not self._broken, True
            if first:
                self._refusal = broken(message, cause)
            packs = copied(self._out.values())
            pending = [future for pack in packs for future in pack.futures]
            for lane in copied(self._lanes.values()):
                pending += copied(lane.calls)
                lane.calls.clear()
        self.delivery.abandon(pending, self.refuse)
        for pack in packs:
            pack.decided.set()
        self._end()

    def leave_to_parent(self, error: Callable[[], Exception]) -> None:
        """In a forked child (E11): the calls and the connection stay with the parent."""
        self._connection.leave_to_parent()
        packs = [*self._out.values(), *([] if self._filling is None else [self._filling])]
        futures = [future for pack in packs for future in pack.futures]
        futures += [future for lane in self._lanes.values() for future in [*lane.calls, *lane.returning]]
        futures += self.delivery.undelivered()
        for future in futures:
            future._cf_renew_lock()
            future._cf_abandon(error())

    def _is_lost(self) -> bool:
        client = self._client
        return (client.status != "running" or client.scheduler_comm is not self._link) and not self._ended

    def _lose_scheduler(self) -> None:
        self.fail("the connection to Dask's scheduler was lost: the calls that were pending are lost with it", None)

    def _ring(self) -> None:
        try:
            self._rung = True
            self._loop.add_callback(self._dispatch)
        except RuntimeError as exc:  # the loop is closed
            if not self._ended:
                self.fail("Dask's client was closed", exc)
        except BaseException:  # an interrupt: whoever comes next rings
            self._rung = False
            raise

    # ── in Dask's loop ───────────────────────────────────────────────────────────────────────────────────

    def _dispatch(self) -> None:
        """Sends what may be sent."""
        never_waits.yes = True
        try:
            self._rung = False
            if self._is_lost():
                self._lose_scheduler()
            while (lane := self._next_lane()) is not None:
                self._send(self._fill(lane))
            # Who frees a place comes here by himself: until then there is no need to ring.
            self._rung = all(lane.window.out >= self._slots for lane in list(self._lanes.values()))
            if self._out or any(lane.calls for lane in list(self._lanes.values())):
                self._look()
            elif self._closed:
                self._end()
        except BaseException as exc:
            self.fail("the dispatcher failed", exc)
            raise

    def _next_lane(self) -> Lane | None:
        """Returns the lane whose turn it is: by priority, then by age."""
        best, turn = None, (0, 0)
        for lane in list(self._lanes.values()):
            if lane.window.out < self._slots and (head := lane.head()) is not None:
                own = (-lane.wishes.priority, head.number)
                if best is None or own < turn:
                    best, turn = lane, own
        return best

    def _fill(self, lane: Lane) -> Pack:
        """Takes calls that are worth a pack out of a lane; calls of which nothing is known go alone."""
        pack = self._filling = Pack(self._numbers(), lane)
        calls = lane.calls
        most = 1 if lane.wishes.retries else -(-len(calls) // (2 * self._slots))
        worth = min(max(_WORTH * self._way, _LEAST), _MOST)
        expected = size = 0.0
        while calls and len(pack.futures) < most:
            try:
                future = calls[0]
            except IndexError:  # the pool broke
                break
            seconds = self._pace.get(future.kind)
            if pack.futures:
                if seconds is None or future.alone or expected + seconds > worth or size > _FULL:
                    break
                if len(pack.futures) >= _GROWTH * self._sizes.get(future.kind, 1):
                    break
            if future.unwanted:
                self.delivery.cancel([future])
            elif (call := future._leave(pack)) is not None:
                pack.futures.append(future)
                pack.calls.append(call)
                expected += seconds or 0.0
                size += len(call[0])
            try:
                calls.popleft()  # only now: at each moment it is in one place at least
            except IndexError:  # the pool broke
                break
            if pack.futures and (seconds is None or future.alone):
                break
        pack.expected = expected
        return pack

    def _send(self, pack: Pack) -> None:
        if not pack.futures:  # all were cancelled
            return
        pack.futures[0]._start()
        pack.lane.window.out += 1
        with self._lock:
            self._out[pack.number] = pack
            if self._broken:  # while the pack was being filled
                self.delivery.abandon(pack.futures, self.refuse)
        self._filling = None
        self._begin(self._follow(pack))

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _follow(self, pack: Pack) -> None:
        """Has Dask run a pack, and hands on what came of it."""
        try:
            try:
                report = await self._run(pack)
            except KilledWorker as exc:
                self._lose(pack, True, partial(worker_lost, exc))
            except CallFailed as exc:
                self.delivery.settle(pack, 0, [exc.outcome])
            except (DaskCancelledError, NotStored) as exc:
                await self._lose_arguments(pack, exc)
            except asyncio.CancelledError as exc:
                self.fail("Dask has given up the pool's calls: its scheduler or its client has ended", exc)
            except Exception as exc:
                self._refuse_pack(pack, exc)
            else:
                self._accept(pack, report)
        except BaseException as exc:
            self.fail("the dispatcher failed", exc)
            raise
        finally:
            self._out.pop(pack.number, None)
            pack.lane.window.out -= 1
            self._dispatch()

    async def _run(self, pack: Pack) -> bytes:
        client, wishes = self._client, pack.lane.wishes
        bodies = [body for body, _ in pack.calls]
        functions = dict([function for _, function in pack.calls if function is not None])
        plain = len(bodies) == 1 and not functions
        payload: Any = bodies[0] if plain else pickle.dumps((functions, bodies))
        if stored := len(payload) >= SCATTER:
            payload = await self._store(payload)
        terms = Terms(self.pool, pack.number, plain, bool(wishes.retries), pack.expected)
        pack.sent = clock.monotonic()
        future = client.submit(
            _station.run_pack,
            tuple(terms),
            payload,
            key=f"{pack.futures[0].shown}-{self.pool}-{pack.number}",
            pure=False,
            retries=wishes.retries,
            priority=wishes.priority,
            resources=dict(wishes.resources) or None,
            workers=list(wishes.workers) or None,
        )
        self._release()
        try:
            return await client.gather(future, asynchronous=True)  # type: ignore[no-any-return]
        finally:
            # Dask's client sends at most every 10 ms: told at once, this would make the next pack wait.
            self._spent += [future, payload] if stored else [future]
            self._loop.call_later(_RELEASE, self._release)

    async def _store(self, payload: bytes) -> Any:
        """Stores a pack at a worker beforehand, after waiting for one if there is none.

        Raises:
            NotStored: The worker has ended meanwhile.
        """
        while True:
            try:
                return await self._client.scatter(payload, hash=False, asynchronous=True)
            except TimeoutError as exc:
                if self._is_lost():
                    raise NotStored("the scheduler was lost") from exc
            except (OSError, KeyError) as exc:  # it broke off; or the scheduler does not know the worker any more
                raise NotStored(f"{type(exc).__name__}: {exc}") from exc

    def _release(self) -> None:
        """Has Dask forget the packs that have come back."""
        spent, self._spent = self._spent, []
        for future in spent:
            future.release()

    def _accept(self, pack: Pack, report: bytes) -> None:
        fault, first, outcomes, taken = pickle.loads(report)
        if fault is not None:
            from corefutures_dask._wire import outcome  # a failing initializer is rare

            _, error, text = outcome(fault)
            self.fail(f"an initializer failed, the pool is not usable any more\n{text}", error)
            return
        seconds = array("f")
        seconds.frombytes(taken)
        way = clock.monotonic() - pack.sent - sum(seconds)
        self._way = way if not self._way else min(0.8 * self._way + 0.2 * way, 2 * self._way)
        self._note(pack, seconds)
        self.delivery.settle(pack, first, outcomes)

    def _note(self, pack: Pack, seconds: array[float]) -> None:
        """Remembers how long the calls took, by kind."""
        if len(self._pace) > _KINDS:
            self._pace.clear()
            self._sizes.clear()
        kinds: dict[int, tuple[float, int]] = {}
        for future, took in zip(pack.futures, seconds, strict=False):
            total, count = kinds.get(future.kind, (0.0, 0))
            kinds[future.kind] = total + took, count + 1
        for kind, (total, count) in kinds.items():
            self._pace[kind] = total / count
            self._sizes[kind] = max(count, self._sizes.get(kind, 1))

    def _lose(self, pack: Pack, final: bool, error: Callable[[], Exception]) -> None:
        """Has the calls of a pack sent again whose worker died.

        Args:
            pack: The pack.
            final: Whether that has happened too often: the call fails. Of several, which one it is shows when each
                runs alone.
            error: What it fails with.
        """
        if final and len(pack.futures) == 1:
            self.delivery.abandon(pack.futures, error)
            return
        for future in pack.futures:
            future.losses = 1 if final else future.losses + 1
            future.alone = future.alone or final
        self._take_back(pack, 0)

    async def _lose_arguments(self, pack: Pack, error: Exception) -> None:
        """Has a pack sent again of which Dask has nothing any more.

        What is stored at a worker ends with it, and Dask then cancels the task for which it was: the calls are still
        here. So are they when somebody else has Dask cancel all it has (`Client.restart`).
        """
        await asyncio.sleep(_AGAIN)
        if self._is_lost():
            self._lose_scheduler()
            return
        allowed = self._allowed_failures
        if allowed is None:
            try:
                allowed = await self._client.run_on_scheduler(_scheduler.allowed_failures)
            except Exception:  # it is being lost as well, or does not let itself be asked
                allowed = int(dask.config.get("distributed.scheduler.allowed-failures"))
            self._allowed_failures = allowed
        runs = 1 + max((future.losses for future in pack.futures), default=0)
        self._lose(pack, runs > allowed, partial(given_up, runs, error))

    def _refuse_pack(self, pack: Pack, error: Exception) -> None:
        """Fails the calls of a pack that Dask could not run at all."""

        def own() -> Exception:
            wrapped = RuntimeError(f"Dask could not run the call: {type(error).__name__}: {error}")
            wrapped.__cause__ = error
            return wrapped

        self.delivery.abandon(pack.futures, own)

    def _on_split(self, event: tuple[float, Any]) -> None:
        """A worker tells that a call takes long: those behind it have not started, and wait again."""
        try:
            message = event[1]
            pack = self._out.get(message["pack"])
            if pack is None:
                return
            kept: int = message["kept"]
            if len(pack.futures) > kept:
                self._take_back(pack, kept)
            for future in pack.futures:
                future._start()
            pack.decided.set()
            slow = pack.futures[-1].kind
            self._pace[slow] = max(_MOST, self._pace.get(slow, 0.0))
            if kept > 1:
                self._begin(self._fetch(pack, message["worker"]))
            self._dispatch()
        except Exception as exc:
            self.fail("the dispatcher failed", exc)

    def _take_back(self, pack: Pack, kept: int) -> None:
        """Puts the calls from `kept` on to the front of their lane again."""
        wanted: list[DaskFuture[Any]] = []
        unwanted: list[DaskFuture[Any]] = []
        with self._lock:
            returned = pack.futures[kept:]
            for future, call in zip(returned, pack.calls[kept:], strict=True):
                future._return(call)
                (unwanted if future.unwanted else wanted).append(future)
            self.delivery.cancel(unwanted)
            if self._broken:
                self.delivery.abandon(returned, self.refuse)
            else:
                pack.lane.put_back(wanted)
            del pack.futures[kept:], pack.calls[kept:]
        pack.decided.set()

    async def _fetch(self, pack: Pack, worker: str) -> None:
        """Fetches the results that a pack has while one of its calls takes long; what is lost comes with its end."""
        delivered = 0
        while True:
            try:
                found = await self._client.run(_station.fetch, self.pool, pack.number, delivered, workers=[worker])
            except Exception:  # the worker is gone, and what becomes of the pack is for Dask to say
                return
            outcomes = found.get(worker)
            if not outcomes:  # that was all, or the pack has ended
                return
            self.delivery.settle(pack, delivered, outcomes)
            delivered += len(outcomes)

    def _look(self) -> None:
        """Sees now and then, while there are calls, how large the cluster is."""
        now = clock.monotonic()
        if now - self._looked >= _LOOK and not self._ended:
            self._looked = now
            self._begin(self._count_threads())

    async def _count_threads(self) -> None:
        try:
            before = self._slots
            self.slots = capacity = sum((await self._client.nthreads()).values())
        except Exception:  # told by other means
            return
        if not capacity and not self._ended and self._connection.is_deserted:
            self.fail("the workers of the pool's cluster have ended, and Dask starts no others", None)
            return
        if self._slots > before:
            self._dispatch()
        else:
            await asyncio.sleep(_LOOK)
            self._dispatch()

    def _end(self) -> None:
        """Lets go: everything has ended."""
        ended = False
        if self._lock.taken:
            ended, self._ended = self._ended, True
            self._lock.release()
        if ended:
            return
        try:
            self._loop.add_callback(self._cancel_tasks)
        except RuntimeError:  # the loop is closed, and they are gone
            pass
        self.delivery.end()

    def _cancel_tasks(self) -> None:
        for task in list(self._tasks):
            task.cancel()
