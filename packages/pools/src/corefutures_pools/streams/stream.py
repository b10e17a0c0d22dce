"""`Stream`: the items of a generator that runs in a pool, for the thread or task that takes them.

Touches the core's blocking seam, and futures by their public methods. Guarantees: an item that was sent before the call
ended is delivered; the generator is at most `buffer` items ahead; a stream that is closed or dropped has its generator
closed in the worker.
"""

from __future__ import annotations

from collections import deque
from contextlib import contextmanager
from contextvars import copy_context
from itertools import count
from operator import call
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from corefutures._blocking import Parker, _thread, current_workers, run_nested_loop, spin_until, threading
from corefutures._exceptions import CancelledError
from corefutures._future import Future
from corefutures_pools.streams.producing import Unstarted, opening, start

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable, Iterator
    from typing import Self

    from corefutures_pools.helping import WorkerThread

_T = TypeVar("_T")


class ItemBuffer:
    """The items of a stream between the thread that receives or produces them and the one that takes them.

    No lost wake-up:

    1. A thread that waits for items enters itself into `waiting`, then looks for an item or the end again, then parks.
    2. A thread that brings an item appends it to `items`, then takes all threads out of `waiting` and unparks them. The
       end of the call does the same, after the future is done.

    So either the waiting thread sees the item, or the other thread sees the waiting one. The thread that takes an entry
    out of `waiting` calls it. Assumption, as in `ThreadPool`: append, pop and remove of a list or deque are atomic and
    ordered, with and without the GIL. `grant` and `ending` meet in the same way, in `receive` and `end`.

    Attributes:
        items: Entries: a kind (see `WorkerPool.take_item`) and a body.
        waiting: What is called at the next item or the end, once.
        grant: Lets the worker send so many more items; None until the first item has told which worker that is.
        ending: No more items are to be produced than there is room for already.
        consumer: The ident of the thread that has opened the stream or, later, has taken items.
    """

    __slots__ = ("_told", "consumer", "ending", "grant", "items", "waiting")

    def __init__(self) -> None:
        self.items: deque[tuple[int, Any]] = deque()
        self.waiting: list[Callable[[], object]] = []
        self.grant: Callable[[int], object] | None = None
        self.ending = False
        self.consumer = 0
        self._told = False

    def receive(self, kind: int, body: Any) -> None:
        """Take in an item, for the thread that receives items."""
        self.items.append((kind, body))
        if self.waiting:
            self.wake()
        if self.ending and not self._told:
            self.end()

    def wake(self) -> None:
        """Wake all that wait: there is an item, or the end."""
        waiting = self.waiting
        while waiting:
            try:  # taken out and called in one step of the interpreter: see `Future._cf_release_parked`
                deque(map(call, iter(waiting.pop, None)), 0)
            except (IndexError, RuntimeError):  # RuntimeError: the event loop of a task is closed
                pass

    def end(self) -> None:
        """Have the producer stop as soon as it has no room, also if it waits for room now."""
        self.ending = True
        grant = self.grant
        if grant is not None:
            self._told = True
            grant(0)

    def on_call_ended(self, _: object) -> None:
        """Wake all that wait, for there will be no more items; the callback of the call's future."""
        self.grant = None  # it refers to the pool
        self.wake()


class Stream(Generic[_T]):
    """The items of a generator that runs in a pool; made by `stream` of an executor.

    An iterator, an asynchronous iterator, and a context manager of both kinds. Its items come in the order in which the
    generator yields them. After the last one, the exception of the generator is raised, if there was one, and
    StopIteration with the generator's value otherwise, so that `value = yield from stream` works. A stream that is
    closed, left by `with`, or no longer referred to has its generator closed: the `finally` blocks run in the worker.

    Args:
        future: The future of the call.
        buffer: Where its items arrive.
        room: Tells the producer that so many items have been taken: once for each `lot`, and 0 before a thread sleeps.
        lot: How many.
        decode: Makes an item of an entry's kind and body.
        ask: Cancels the call, or asks it to stop.
        adopt: Takes the call, if it has not started, for this thread, which is that worker; None otherwise.
        local: The generator, if the thread that takes its items has to run it.

    Attributes:
        future: The future of the call, whose result is the generator's value. It ends when all items have been sent.
            That of a stream that was closed early fails with CancelledError, or with what the generator raised then.

    Thread safety: every method may be called from any thread; each item goes to one of them.
    """

    future: Future[Any]
    executor: Any = None  # lives as long as its stream: at exit it ends the streams that nobody can read any more

    def __init__(
        self,
        future: Future[Any],
        buffer: ItemBuffer,
        *,
        room: Callable[[int], object],
        lot: int,
        decode: Callable[[int, Any], _T],
        ask: Callable[[Any], object],
        adopt: Callable[[WorkerThread, Any], Unstarted | None] | None = None,
        local: LocalGenerator | None = None,
    ) -> None:
        self.future = future
        self._over = False  # the end has been delivered, or is not to be
        self._closed = False  # no items are delivered, also those that a thread has taken out of the buffer
        self._buffer = buffer
        self._items = buffer.items
        self._number = count(1).__next__  # of the items taken
        self._lot = lot
        self._room = room
        self._decode = decode
        self._ask = ask
        self._adopting = adopt
        self._local = local
        buffer.consumer = _thread.get_ident()
        future.add_done_callback(buffer.on_call_ended)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self.future!r}>"

    # ── taking items ─────────────────────────────────────────────────────────────────────────────────────

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> _T:
        entry = None
        try:
            entry = self._items.popleft()
        except IndexError:
            pass
        try:
            return self._take(entry or self._await_entry())
        except BaseException:
            del self  # no cycle from the exception's traceback to this frame (F6)
            raise

    def _take(self, entry: tuple[int, Any]) -> _T:
        if self._closed:
            raise StopIteration
        if not self._number() % self._lot:
            self._buffer.consumer = _thread.get_ident()
            if not self.future.done():
                self._room(self._lot)
        try:
            return self._decode(*entry)
        except BaseException:
            self._stop()
            raise

    def _await_entry(self) -> tuple[int, Any]:
        """Return the next entry once there is one.

        Raises:
            StopIteration: There is none, and the generator has returned; with its value.
            BaseException: The exception of the generator, or of its call.
        """
        try:
            while not self._over:
                if self._local is not None:
                    return 0, (self._step(self._local), None)
                ended = self.future.done()  # before the last look: whatever was sent has arrived then
                try:
                    return self._items.popleft()
                except IndexError:
                    pass
                if ended:
                    self._over = True
                    raise StopIteration(self.future.result())
                self._buffer.consumer = _thread.get_ident()
                self._room(0)
                self._block()
            raise StopIteration
        finally:
            del self  # as above

    def _is_ready(self) -> bool:
        return bool(self._items) or self._over or self.future.done()

    def _block(self) -> None:
        """Sleep until there is an item or the end, or adopt the generator."""
        if spin_until(self._is_ready):
            return
        worker = current_workers.get(_thread.get_ident())
        if worker is not None and self._adopt(worker):
            return
        run_nested_loop(self._is_ready, None)
        parker = Parker()
        waiting = self._buffer.waiting
        waiting.append(parker.unpark)
        try:
            if worker is not None:
                worker.begin_blocking((self.future,), needs_all=True)
            if not self._is_ready():
                parker.park()
        finally:
            if worker is not None:
                worker.end_blocking()
            try:
                waiting.remove(parker.unpark)
            except ValueError:
                pass

    # ── a generator in the thread that takes its items ───────────────────────────────────────────────────

    def _adopt(self, worker: WorkerThread) -> bool:
        """Run the generator in this thread, which is a worker of its pool, step by step, if it has not started.

        Otherwise it could wait for this thread, and this one for it.
        """
        unstarted = None if self._adopting is None else self._adopting(worker, self.future)
        if unstarted is not None:
            self._local = LocalGenerator(unstarted, worker)
        return unstarted is not None

    def _step(self, local: LocalGenerator) -> Any:
        """Return the next item of a generator that runs in this thread."""
        try:
            return local.next(self.future)
        except StopIteration as end:
            self._over = True
            self._local = None
            local.end(self.future, end.value, None)
            raise
        except BaseException as exc:
            self._over = True
            self._local = None
            local.end(self.future, None, exc)
            raise

    # ── the end ──────────────────────────────────────────────────────────────────────────────────────────

    def close(self) -> None:
        """Close the generator in its worker, and wait until that has ended; drop the items that were not taken.

        A generator that is computing its next item is closed when it yields that. Whatever its `finally` blocks raise
        is the exception of `future`. Does nothing if the stream has ended.
        """
        if self._stop():
            try:
                self.future.exception()
            except CancelledError:
                pass

    def _stop(self) -> bool:
        """Have the generator closed; return whether that has to be waited for."""
        self._over = self._closed = True
        self._items.clear()
        local, self._local = self._local, None
        if local is not None:
            local.close(self.future)
        if self.future.done():
            return False
        self._ask(self.future)
        self._buffer.wake()
        return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __del__(self) -> None:
        try:
            if not self._over:
                self._stop()
        except Exception:  # the construction has failed, or the interpreter ends
            pass

    # ── tasks of asyncio ─────────────────────────────────────────────────────────────────────────────────

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> _T:
        try:
            while self._local is None and not self._is_ready():
                await self._arrival(self._is_ready)
            return self.__next__()
        except StopIteration:
            raise StopAsyncIteration from None

    async def aclose(self) -> None:
        """Do as `close`, in a task."""
        if self._stop():
            while not self.future.done():
                await self._arrival(self.future.done)

    async def _arrival(self, ready: Callable[[], bool]) -> None:
        from asyncio import get_running_loop  # few programs need it

        loop = get_running_loop()
        arrival = loop.create_future()

        def wake() -> None:
            loop.call_soon_threadsafe(_arrive, arrival)

        waiting = self._buffer.waiting
        waiting.append(wake)
        try:
            self._buffer.consumer = _thread.get_ident()
            if not ready():
                await arrival
        finally:
            try:
                waiting.remove(wake)
            except ValueError:
                pass

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        await self.aclose()


def _arrive(arrival: asyncio.Future[None]) -> None:
    if not arrival.done():
        arrival.set_result(None)


class LocalGenerator:
    """A generator that runs in the thread that takes its items.

    Args:
        unstarted: The generator.
        worker: The worker thread that has adopted it; None if the thread that submitted it runs it.
    """

    def __init__(self, unstarted: Unstarted, worker: WorkerThread | None) -> None:
        self._unstarted: Unstarted | None = unstarted
        self._worker = worker
        self._context = copy_context()
        self._items: Any = None

    def next(self, future: Future[Any]) -> Any:
        """Return the next item; raise StopIteration with the generator's value, or whatever it raises."""
        worker = current_workers.get(_thread.get_ident())
        if worker is not None:
            worker.calls.append(future)
        try:
            if (unstarted := self._unstarted) is not None:
                self._unstarted = None
                self._items = self._context.run(start, unstarted.fn, unstarted.args, unstarted.kwargs)
            return self._context.run(next, self._items)
        finally:
            if worker is not None and worker.calls and worker.calls[-1] is future:
                worker.calls.pop()

    def close(self, future: Future[Any]) -> None:
        """Close the generator, and end its future."""
        error: BaseException | None = CancelledError("the stream was closed before its end")
        try:
            close = getattr(self._items, "close", None)
            if close is not None:
                self._context.run(close)
        except BaseException as exc:
            error = exc
        try:
            self.end(future, None, error)
        finally:
            del error  # no cycle from its traceback to this frame

    def end(self, future: Future[Any], value: Any, error: BaseException | None) -> None:
        """End the future."""
        worker, self._worker = self._worker, None
        if worker is not None:
            try:
                worker.calls.remove(future)
            except ValueError:  # the call that adopted it has ended
                pass
            if error is None:
                worker.finished += 1
            else:
                worker.failed += 1
        if error is None:
            future.set_result(value)
        else:
            future.set_exception(error)


# ── opening streams ──────────────────────────────────────────────────────────────────────────────────────────


@contextmanager
def here() -> Iterator[None]:
    """Have the call of a stream return `Unstarted` if this thread runs it."""
    ident = _thread.get_ident()
    mine = ident not in opening
    opening.add(ident)
    try:
        yield
    finally:
        if mine:
            opening.discard(ident)


def submit_stream(
    submit: Callable[..., Future[Any]], stream_call: Any, args: tuple[Any, ...], kwargs: dict[str, Any]
) -> tuple[Future[Any], LocalGenerator | None]:
    """Submit the call of a stream; return its future, and the generator if the submitter has to run it."""
    with here():
        future = submit(stream_call, *args, **kwargs)
    if future.done() and not future.cancelled() and future.exception() is None:
        result = future.result()
        if type(result) is Unstarted:
            future = Future()
            future.set_running_or_notify_cancel()
            return future, LocalGenerator(result, None)
    return future, None


def end_unread_streams(futures: Iterable[Any]) -> None:
    """End the streams among the calls of a pool whose items nobody can take while this thread waits for the pool.

    These are the streams of this thread, and of threads that have ended or are daemons.
    """
    # The main thread is among them, also once it has ended.
    living = [thread for thread in threading.enumerate() if thread.is_alive() and not thread.daemon]
    reading = {thread.ident for thread in living} - {_thread.get_ident()}
    for future in futures:
        buffer = getattr(future, "_stream", None) or getattr(future, "_cf_stream", None)
        if buffer is not None and buffer.consumer not in reading:
            buffer.end()
