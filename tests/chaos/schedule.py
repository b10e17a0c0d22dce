"""One schedule of a chaos, a program: pools live and end while several threads use them, and faults fire.

Everything that a schedule decides follows from its seed; what the threads and processes make of it is up to the
system. Ends with 0 if every call ended as it may, the journal agrees, and nothing is left.
"""

from __future__ import annotations

import concurrent.futures as standard
import contextlib
import faulthandler
import gc
import importlib
import itertools
import json
import multiprocessing
import os
import pkgutil
import random
import signal
import sys
import threading
import time
import traceback
import warnings
from collections import Counter, deque
from collections.abc import Callable
from concurrent.futures import CancelledError, as_completed, wait
from functools import partial
from multiprocessing import forkserver, resource_tracker
from typing import Any

import calls
from calls import BEGUN, ENDED, SETTLED, TAKEN, Buffered, Planned
from faults import faults
from signals import Interruption

import corefutures
from corefutures import WorkerLostError
from corefutures_pools import adapt
from corefutures_pools.workers.supervisor import WorkerSupervisor

#: Seconds after which something hangs, also on a machine with much else to do.
LIMIT = 120.0
#: Numbers of calls that each forked child may use.
_FORKED = 1 << 40


#: What a pool raises that is closed, broken or full, or that lacks something.
REFUSALS: tuple[type[Exception], ...] = (RuntimeError, OSError, MemoryError)
NOT_SHAREABLE: tuple[type[Exception], ...] = ()
if sys.version_info >= (3, 14):
    from concurrent.interpreters import InterpreterError, NotShareableError

    REFUSALS += (InterpreterError,)
    NOT_SHAREABLE += (NotShareableError,)


#: What a call fails with.
EXPECTED = (*REFUSALS, Planned, SystemExit, TimeoutError, *NOT_SHAREABLE)


#: The backends that are our own: they can be asked more, and at any step of them.
OWN = ("thread", "process", "interpreter")
#: The backends whose calls share the memory of the program.
SHARING = ("thread", "adapted thread", "dask")


def new_pool(backend: str, workers: int, **options: Any) -> Any:
    """Return a pool."""
    if backend == "dask":
        from corefutures_dask import DaskExecutor

        return DaskExecutor(workers, processes=False, **options)
    if backend == "adapted thread":
        return adapt(standard.ThreadPoolExecutor(workers, **options))
    if backend == "adapted process":
        options.setdefault("mp_context", multiprocessing.get_context("forkserver"))
        return adapt(standard.ProcessPoolExecutor(workers, **options))
    makers = {"thread": corefutures.ThreadPoolExecutor, "process": corefutures.ProcessPoolExecutor}
    return (makers.get(backend) or corefutures.InterpreterPoolExecutor)(workers, **options)


class Interrupted(BaseException):
    """What a signal handler raises."""


class Hang(Exception):
    """Something did not end."""


class Record:
    """What is known of a call that was submitted."""

    __slots__ = ("attempts", "callbacks", "cancelled", "future", "kind", "number")

    def __init__(self, number: int, kind: str, future: Any, attempts: int = 1) -> None:
        self.number = number
        self.kind = kind
        self.future = future
        self.attempts = attempts
        self.callbacks: list[int] | None = None
        self.cancelled = False  # `cancel()` has returned True


class Life:
    """One pool from its beginning to its end, with the threads that use it.

    Args:
        schedule: The schedule.
        number: Which life of it.
        size: How many calls, about.
        backend: "thread", "process", "interpreter", "dask", "adapted thread" or "adapted process".
    """

    def __init__(self, schedule: Schedule, number: int, size: int, backend: str) -> None:
        self.schedule = schedule
        self.chance = random.Random(f"{schedule.seed} {number}")
        self.size = size
        self.backend = backend
        self.is_own = backend in OWN
        self.journal = os.path.join(schedule.folder, f"journal {number}")
        self.records: deque[Record] = deque()
        self.refused: deque[int] = deque()  # `submit` raised
        self.interrupted: deque[int] = deque()  # `submit` was interrupted
        self.items: deque[int] = deque()  # of maps
        self.stopping = threading.Event()
        self.failures = schedule.failures
        self.counts = schedule.counts
        self.pool: Any = None
        self.portable = backend in ("process", "interpreter") and self.chance.random() < 0.35
        self.method = ""
        self.replaces = True
        self.children: list[int] = []
        self.tolerated = 0
        self.options: dict[str, Any] = {}
        if backend == "dask":  # where a call takes more time
            self.size //= 8

    # ── the pool ─────────────────────────────────────────────────────────────────────────────────────────

    def make_pool(self) -> None:
        """Make the pool."""
        chance = self.chance
        options = self.options
        if self.is_own and chance.random() < 0.3:
            options["max_pending"] = chance.choice([1, 3, 20])
            options["when_full"] = chance.choice(["block", "block", "raise", "caller_runs"])
        if chance.random() < 0.3:
            options["initializer"] = calls.prepare
        if self.backend == "process":
            self.method = chance.choices(["forkserver", "spawn", "fork"], [6, 1, 3])[0]
            self.replaces = self.method != "fork" and chance.random() < 0.8
            options["on_worker_loss"] = "replace" if self.replaces else "break"
            if self.method != "fork" and chance.random() < 0.3:
                options["max_tasks_per_child"] = limit = chance.choice([1, 7, 50])
                self.size = min(self.size, 25 * limit)  # to start a worker takes longer than many calls
            options["mp_context"] = multiprocessing.get_context(self.method)
        self.at_exit = "wait"
        if self.is_own:
            ways = ["wait", "cancel", "kill"] if self.backend == "process" else ["wait", "cancel"]
            options["at_exit"] = self.at_exit = chance.choice(ways)
        os.environ["COREFUTURES_PORTABLE"] = "1" if self.portable else "0"
        self.caller_runs = options.get("when_full") == "caller_runs"
        self.pool = new_pool(self.backend, chance.randint(1, 4), **options)
        self.what = " ".join(filter(None, [self.backend, self.method, "portable" if self.portable else ""]))
        self.counts[f"pool: {self.what}"] += 1

    # ── submitting ───────────────────────────────────────────────────────────────────────────────────────

    def kind(self, chance: random.Random) -> str:
        """Choose a kind of call."""
        kinds = {"tiny": 700, "slow": 60, "large": 25, "echo": 25, "raise": 30, "long": 4, "unpicklable": 10}
        if self.caller_runs or self.backend in SHARING:
            del kinds["unpicklable"]
        if self.backend == "process" and not self.caller_runs:
            kinds |= {"fork": 3, "system exit": 5}
            if self.replaces:
                kinds |= {"crash": 3, "exit": 3}
        return chance.choices(list(kinds), list(kinds.values()))[0]

    def submit(self, chance: random.Random, executor: Any = None, kind: str = "", attempts: int = 1) -> Record | None:
        """Submit a call; return None if the pool refuses it."""
        kind = kind or self.kind(chance)
        number = next(self.schedule.numbers)
        content = Buffered(bytes(1 << chance.randint(8, 22))) if kind == "echo" else None
        arguments = [calls.work, self.journal, number, kind, *([content] if content is not None else [])]
        try:
            future = (executor or self.pool).submit(*arguments)
        except REFUSALS as exc:  # closed, broken, full; or a fault
            self.refused.append(number)
            self.counts[f"submit raises {type(exc).__name__}"] += 1
            if self.stopping.is_set() or getattr(self.pool, "_broken", False):
                raise Over from None
            if type(exc) is RuntimeError and "shutdown" in str(exc):
                raise Over from None
            self.tolerated += 1
            if self.tolerated > 200:
                raise Over from None
            return None
        except BaseException:
            self.interrupted.append(number)
            raise
        record = Record(number, kind, future, attempts)
        self.records.append(record)
        return record

    def recent(self, chance: random.Random) -> Record | None:
        """Return one of the last calls."""
        try:
            return self.records[-chance.randint(1, min(30, len(self.records)))]
        except (IndexError, ValueError):
            return None

    def ended(self, future: Any, limit: float = LIMIT) -> None:
        """Wait for the end of a call."""
        with contextlib.suppress(Exception, CancelledError):
            future.exception(limit)
        if not future.done():
            raise Hang(f"a call does not end: {future!r}")

    # ── what threads do ──────────────────────────────────────────────────────────────────────────────────

    def step(self, chance: random.Random) -> None:
        """Do one thing with the pool."""
        name = chance.choices(*_STEPS)[0]
        getattr(self, f"step_{name}")(chance)
        self.counts[f"step: {name}"] += 1

    def step_submit(self, chance: random.Random) -> None:
        for _ in range(self.burst(chance, 1, 1, 1, 5, 40, 150, 600)):
            self.submit(chance)

    def burst(self, chance: random.Random, *sizes: int) -> int:
        """Choose how many calls, less where that takes long."""
        if sys.gettrace() or "max_tasks_per_child" in self.options:
            sizes = sizes[:3]
        return chance.choice(sizes)

    def step_result(self, chance: random.Random) -> None:
        record = self.submit(chance) or self.recent(chance)
        if record is not None:
            self.ended(record.future)

    def step_impatient(self, chance: random.Random) -> None:
        record = self.recent(chance)
        if record is not None:
            with contextlib.suppress(BaseException):
                record.future.result(chance.choice([0, 0.0001, 0.002]))

    def step_cancel(self, chance: random.Random) -> None:
        burst = [self.submit(chance) for _ in range(chance.choice([0, 1, 6]))]
        for record in [*burst, self.recent(chance)]:
            if record is not None and record.future.cancel():
                record.cancelled = True
                self.counts["cancel() is True"] += 1

    def step_map(self, chance: random.Random) -> None:
        first = next(self.schedule.numbers)
        numbers = [first, *itertools.islice(self.schedule.numbers, self.burst(chance, 3, 9, 30, 200, 1000, 4000))]
        self.items.extend(numbers)
        size = chance.choice([1, 1, 7, 50])
        options = {"buffersize": chance.choice([1, 16])} if chance.random() < 0.3 else {}
        try:
            results = self.pool.map(
                partial(calls.item, self.journal), numbers, chunksize=size, timeout=LIMIT, **options
            )
            early = chance.random() < 0.2
            for index, result in enumerate(results):
                if result != numbers[index]:
                    self.failures.append(f"map gave {result} in place of {numbers[index]}")
                if early and index == len(numbers) // 2:
                    results.close()
                    break
        except TimeoutError as exc:
            if getattr(exc, "__cause__", None) is None and not self.stopping.is_set():
                raise Hang("a map does not end") from exc
        except (*REFUSALS, CancelledError) as exc:
            self.counts[f"map raises {type(exc).__name__}"] += 1
        self.schedule.add(len(numbers))

    def step_wait(self, chance: random.Random) -> None:
        """Wait for several calls, in the main thread with our own functions alone.

        The standard library's take the locks of all their futures, one after the other. A signal handler that raises
        meanwhile leaves the locks taken for ever, and one that waits for a call waits for a worker that needs them.
        """
        ours = threading.current_thread() is threading.main_thread()
        records = [record for _ in range(chance.randint(1, 12)) if (record := self.submit(chance)) is not None]
        futures = [record.future for record in records]
        if chance.random() < 0.5:
            first = chance.choice(["FIRST_COMPLETED", "ALL_COMPLETED", "FIRST_EXCEPTION"])
            chosen: Any = corefutures.wait if ours else chance.choice([wait, corefutures.wait])
            done, pending = chosen(futures, LIMIT, first)
            if (futures and not done) or (first == "ALL_COMPLETED" and pending):
                raise Hang("wait() does not end")
        else:
            chosen = corefutures.as_completed if ours else chance.choice([as_completed, corefutures.as_completed])
            try:
                count = len(list(chosen(futures, LIMIT)))
            except TimeoutError:
                raise Hang("as_completed() does not end") from None
            if count != len(set(futures)):
                self.failures.append(f"as_completed gave {count} of {len(futures)}")

    def step_callback(self, chance: random.Random) -> None:
        record = self.submit(chance)
        if record is None:
            return
        ran: list[int] = []
        again = chance.random() < 0.3 and not self.caller_runs

        def callback(future: Any) -> None:
            ran.append(1)
            if again:
                with contextlib.suppress(Over):
                    self.submit(random.Random(record.number), kind="tiny")

        record.future.add_done_callback(callback)
        record.callbacks = ran

    def step_kill(self, chance: random.Random) -> None:
        if not self.is_own:
            return
        record = self.submit(chance, kind=chance.choice(["tiny", "slow", "long"]))
        if record is None:
            return
        if chance.random() < 0.7:
            time.sleep(chance.choice([0, 0.0005, 0.005]))
        if self.backend == "process" and self.method != "fork":
            killed = self.pool.kill(record.future)
            self.counts[f"kill() is {killed}"] += 1
        else:
            self.pool.request_cancel(record.future)

    def step_ask(self, chance: random.Random) -> None:
        if not self.is_own:
            return
        record = self.submit(chance, kind=chance.choice(["long", "tiny", "echo"]))
        if record is not None:
            time.sleep(chance.choice([0, 0.0001, 0.0005]))  # a large argument may be on its way
            self.pool.request_cancel(record.future)

    def step_limit(self, chance: random.Random) -> None:
        if self.backend != "process" or self.method == "fork":
            return
        limited = self.pool.options(timeout=chance.choice([0.001, 0.02, 1.0]), name="limited")
        for _ in range(3):
            self.submit(chance, limited, kind=chance.choice(["tiny", "long", "slow"]))

    def step_look(self, chance: random.Random) -> None:
        if not self.is_own:
            return
        self.pool.stats()
        if chance.random() < 0.1:
            self.pool.snapshot(timeout=0.05)

    def step_scope(self, chance: random.Random) -> None:
        until = chance.choice(["all", "first_success", "all_settled"])
        deadline = chance.choice([None, None, 0.01, 1.0])
        if self.caller_runs:
            deadline = None
        around = None
        try:
            with corefutures.scope(self.pool, deadline=deadline, until=until) as around:
                for _ in range(chance.randint(1, 8)):
                    self.submit(chance, around)
        except (Exception, BaseExceptionGroup, CancelledError) as exc:
            if isinstance(exc, (Over, Hang)):
                raise
            self.counts["scope raises"] += 1
        for future in around.futures if around is not None else ():
            if not future.done():
                raise Hang(f"a scope has left a call behind: {future!r}")

    def step_retry(self, chance: random.Random) -> None:
        again = corefutures.retrying(
            self.pool, retries=2, retry_on=(Planned, WorkerLostError, OSError), backoff=chance.choice([0, 0.001])
        )
        for _ in range(chance.randint(1, 5)):
            self.submit(chance, again, kind=chance.choice(["raise", "tiny", "slow"]), attempts=3)

    def step_nested(self, chance: random.Random) -> None:
        """In threads, calls wait for calls of their pool."""
        if self.backend != "thread" or self.caller_runs or self.pool._cf_pool.limiter is not None:
            return
        future = None

        def outer(depth: int) -> None:
            inner = self.submit(random.Random(depth), kind="tiny")
            if inner is not None:
                self.ended(inner.future)

        try:
            future = self.pool.submit(outer, 1)
        except REFUSALS:
            return
        self.ended(future)
        error = None if future.cancelled() else future.exception()
        if isinstance(error, Hang):
            raise error

    # ── in the main thread ───────────────────────────────────────────────────────────────────────────────

    def step_interrupted(self, chance: random.Random) -> None:
        """Do something, and be interrupted by a signal handler at any step of it."""
        what = chance.choice(_INTERRUPTED)
        raises = chance.random() < 0.3
        interruption = self.interruption(chance, raises)
        record = self.recent(chance)
        if what == "await":
            record, what = self.submit(chance, kind="slow"), "result"
        elif what == "alone":
            record, raises, interruption = self.prepare_alone(chance)
        try:
            with interruption:
                if what not in ("result", "alone"):
                    getattr(self, f"step_{what}")(chance)
                elif record is not None:
                    with contextlib.suppress(Exception, SystemExit, CancelledError):
                        record.future.result(LIMIT)
        except Interrupted:
            self.counts["an interrupt has come through"] += 1
        if interruption.happened:
            faults.note(f"fault|a signal within {what}{' that raises' if raises else ''}|main|0")

    def interruption(self, chance: random.Random, raises: bool) -> Interruption:
        """Return what calls a signal handler at some step of ours."""
        modules = [module for name, module in sys.modules.items() if name.startswith("corefutures")]
        handler = self.raising if raises else partial(self.handle, chance)
        steps = int(chance.paretovariate(0.4)) - 1
        return Interruption(steps, handler, *filter(_is_file, modules), raises=raises)

    def prepare_alone(self, chance: random.Random) -> tuple[Record | None, bool, Interruption]:
        """Submit the only call there is, as far as possible, and prepare an interrupt of the wait for it.

        The handler raises, or waits for another thread that needs the pool.
        """
        for record in list(self.records)[-40:]:
            self.ended(record.future)
        raises = self.method == "fork" or chance.random() < 0.6
        modules = [module for name, module in sys.modules.items() if name.startswith("corefutures")]
        handler = self.raising if raises else partial(self.await_another, chance.random())
        only = self.submit(chance, kind="slow")
        return only, raises, Interruption(chance.randrange(120), handler, *filter(_is_file, modules), raises=raises)

    def await_another(self, seed: float) -> None:
        """Be a signal handler that waits for another thread, which uses the pool."""

        if starts_workers():
            return

        def use() -> None:
            with contextlib.suppress(Over):
                record = self.submit(random.Random(seed), kind="tiny")
                if record is not None:
                    self.ended(record.future)

        thread = threading.Thread(target=use, name="needed by a handler")
        thread.start()
        thread.join(LIMIT)
        if thread.is_alive():
            raise Hang("a thread that a signal handler waits for does not end")

    def raising(self) -> None:
        """Be a signal handler that raises."""
        raise Interrupted

    def handle(self, chance: random.Random) -> None:
        """Be a signal handler that uses the pool."""
        what = chance.choice(["nothing", "submit", "result", "cancel", "stats", "pause"])
        if what in ("submit", "result"):
            with contextlib.suppress(Over):
                record = self.submit(chance, kind="tiny")
                if what == "result" and record is not None and self.method != "fork" and not starts_workers():
                    self.ended(record.future)
        elif what == "cancel":
            record = self.recent(chance)
            if record is not None:
                record.cancelled |= record.future.cancel()
        elif what == "stats":
            self.pool.stats()
        elif what == "pause" and chance.random() < 0.3:
            time.sleep(0.12)  # the others have to go on meanwhile

    def step_fork(self, chance: random.Random) -> None:
        """Fork, and use the pool in the child."""
        if self.backend == "interpreter":
            return
        record = self.submit(chance)
        first = next(self.schedule.forked) * _FORKED
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            pid = os.fork()
        if not pid:
            self.in_child(record, first)
        self.children.append(pid)
        self.counts["forked children"] += 1

    def in_child(self, record: Record | None, first: int) -> None:
        """Be a forked child: what is inherited has ended, what is new works, or says why not."""
        code = 9
        try:
            signal.setitimer(signal.ITIMER_REAL, 0)
            faulthandler.dump_traceback_later(LIMIT, exit=True)
            if record is not None:
                self.ended(record.future, 10)
            futures = []
            for number in range(first, first + 5):
                try:
                    futures.append(self.pool.submit(calls.work, self.journal, number, "tiny"))
                except REFUSALS:
                    continue
            for future in futures:
                self.ended(future)
            self.pool.shutdown()
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)

    # ── other threads ────────────────────────────────────────────────────────────────────────────────────

    def use(self, chance: random.Random, share: int) -> None:
        """Use the pool until so many calls were submitted: a thread."""
        try:
            while not self.stopping.is_set() and self.schedule.issued(self.records) < share:
                self.step(chance)
        except Over:
            pass
        except Hang as exc:
            self.failures.append(f"hang: {exc}")
            self.schedule.dump()
        except BaseException as exc:
            self.failures.append(f"{self.what}: {type(exc).__name__}: {exc}\n{traceback.format_exc()}")

    def torment(self, chance: random.Random) -> None:
        """Kill and stop worker processes, each time after a call has begun: or else none ever would."""
        written = 0
        while not self.stopping.wait(chance.random() * 0.1):
            pids = list(self.pool._processes or ())
            size = os.path.getsize(self.journal) if os.path.exists(self.journal) else 0
            if not pids or size == written:
                continue
            written = size
            pid = chance.choice(pids)
            with contextlib.suppress(ProcessLookupError):
                if chance.random() < 0.4:
                    os.kill(pid, signal.SIGSTOP)
                    self.stopping.wait(0.01)
                    os.kill(pid, signal.SIGCONT)
                else:
                    os.kill(pid, chance.choice([signal.SIGKILL, signal.SIGSEGV, signal.SIGTERM]))
                self.counts["workers tormented"] += 1

    def prod(self, chance: random.Random) -> None:
        """Interrupt the system calls of all threads: EINTR."""
        while not self.stopping.wait(chance.random() * 0.02):
            with contextlib.suppress(ProcessLookupError, IndexError):
                thread = chance.choice(threading.enumerate())
                if thread.ident is not None and thread.is_alive():
                    signal.pthread_kill(thread.ident, signal.SIGUSR2)
                    self.schedule.prods += 1

    # ── the end ──────────────────────────────────────────────────────────────────────────────────────────

    def run(self, *, last: str = "") -> None:
        """Live."""
        chance = self.chance
        try:
            self.make_pool()
        except (OSError, RuntimeError, MemoryError) as exc:
            self.counts[f"pool raises {type(exc).__name__}"] += 1
            return
        threads = [
            threading.Thread(target=self.use, args=(random.Random(chance.random()), self.size), name=f"user {index}")
            for index in range(chance.choice([0, 1, 1, 3]))
        ]
        if self.backend == "process" and self.replaces and chance.random() < 0.4:
            threads.append(
                threading.Thread(target=self.torment, args=(random.Random(chance.random()),), name="tormentor")
            )
        if chance.random() < 0.3:
            threads.append(threading.Thread(target=self.prod, args=(random.Random(chance.random()),), name="prodder"))
        alarms = self.is_own and chance.random() < 0.3  # other libraries' locks are not for handlers
        for thread in threads:
            thread.start()
        if alarms:
            self.begin_alarms(chance)
        middle = chance.random() < 0.3  # the pool ends while threads use it
        share = self.size // 2 if middle else self.size
        own = random.Random(chance.random())
        try:
            while self.schedule.issued(self.records) < share and not self.failures:
                if own.random() < 0.05:
                    self.step_interrupted(own)
                elif own.random() < 0.003:
                    self.step_fork(own)
                else:
                    self.step(own)
        except Over:
            pass
        except Hang as exc:
            self.failures.append(f"hang: {exc}")
            self.schedule.dump()
        except BaseException as exc:
            self.failures.append(f"{self.what}: {type(exc).__name__}: {exc}\n{traceback.format_exc()}")
        if not middle:
            self.stopping.set()
            self.join(threads)
        if alarms:
            signal.setitimer(signal.ITIMER_REAL, 0)
        if last and not self.failures:
            self.leave(last)
            return
        self.end_pool(chance)
        self.stopping.set()
        self.join(threads)
        self.check()

    def begin_alarms(self, chance: random.Random) -> None:
        """Have a signal handler use the pool, wherever the main thread is."""
        own = random.Random(chance.random())

        def handler(*_: object) -> None:
            self.schedule.alarms += 1
            self.handle(own)
            if not self.stopping.is_set():
                signal.setitimer(signal.ITIMER_REAL, 0.001 + own.random() * 0.02)

        signal.signal(signal.SIGALRM, handler)
        signal.setitimer(signal.ITIMER_REAL, 0.001)

    def join(self, threads: list[threading.Thread]) -> None:
        """Wait for the threads that use the pool."""
        deadline = time.monotonic() + 2 * LIMIT
        for thread in threads:
            thread.join(max(0, deadline - time.monotonic()))
            if thread.is_alive():
                self.schedule.dump()
                self.schedule.give_up(f"hang: {thread.name} does not end ({self.what})")

    def end_pool(self, chance: random.Random) -> None:
        """End the pool in some way, and make sure that it has ended."""
        pool = self.pool
        how = chance.choice(
            [
                "wait",
                "wait",
                "cancel",
                "no wait",
                "limited",
                "block",
                "callback",
                "interrupted",
                "collected",
                "kill",
                "thread",
            ]
        )
        if how == "kill" and not (self.backend == "process" and sys.version_info >= (3, 14)):
            how = "wait"
        if how == "limited" and not self.is_own:
            how = "wait"
        self.counts[f"end: {how}"] += 1
        try:
            if how == "cancel":
                pool.shutdown(cancel_futures=True)
            elif how == "no wait":
                pool.shutdown(wait=False, cancel_futures=chance.random() < 0.5)
            elif how == "limited":
                with contextlib.suppress(TimeoutError):
                    pool.shutdown(timeout=0.001)
            elif how == "block":
                with contextlib.suppress(Planned), pool:
                    raise Planned
            elif how == "callback":
                record = self.submit(chance)
                if record is not None:
                    record.future.add_done_callback(lambda _: pool.shutdown(cancel_futures=True))
                    self.ended(record.future)
            elif how == "interrupted":
                raises = chance.random() < 0.5
                interruption = self.interruption(chance, raises)
                with contextlib.suppress(Interrupted), interruption:
                    pool.shutdown(cancel_futures=chance.random() < 0.5)
                if interruption.happened:
                    faults.note(f"fault|a signal within shutdown{' that raises' if raises else ''}|main|0")
            elif how == "kill":
                chance.choice([pool.kill_workers, pool.terminate_workers])()
            elif how == "thread":
                threading.Thread(target=pool.shutdown, daemon=True).start()
            if how == "collected":
                del pool
                self.stopping.set()
                self.schedule.collected.append(self)
                return
            self.finish(partial(pool.shutdown, wait=True))
        except Over:
            self.finish(partial(pool.shutdown, wait=True))
        except REFUSALS as exc:  # a thread can't start, for a shutdown with a time limit
            self.counts[f"shutdown raises {type(exc).__name__}"] += 1
            self.finish(partial(pool.shutdown, wait=True))

    def finish(self, call: Callable[[], object]) -> None:
        """Call something that has to end."""
        faulthandler.dump_traceback_later(1.5 * LIMIT, exit=True)
        for _ in range(3):
            try:
                call()
                break
            except REFUSALS as exc:
                self.counts[f"shutdown raises {type(exc).__name__}"] += 1
        faulthandler.cancel_dump_traceback_later()

    def leave(self, how: str) -> None:
        """Leave the pool to the end of the program: the driver looks at the journal."""
        self.stopping.set()
        for record in list(self.records):
            for _ in range(record.attempts):  # it may run so many times
                calls.note(self.journal, record.number, TAKEN)
            record.future.add_done_callback(partial(_settled, self.journal, record.number))
        self.schedule.left = self.pool
        self.schedule.left_journal = self.journal
        self.counts[f"exit: {how}, {self.at_exit}"] += 1

    def check(self) -> None:
        """Compare futures and journal."""
        collected = self in self.schedule.collected
        if collected:
            self.pool = None
            gc.collect()
        for pid in self.children:
            self.await_child(pid)
        for record in self.records:
            if collected or record.attempts > 1:  # the end of the pool may come between two attempts
                self.ended(record.future)
            if not record.future.done():
                self.failures.append(
                    f"pending after shutdown: call {record.number} ({record.kind}), {self.what}: {record.future!r}"
                )
                self.schedule.dump()
        journal = calls.read_journal(self.journal)
        for record in self.records:
            problem = self.problem(record, journal.get(record.number, [0, 0, 0, 0]))
            if problem:
                self.failures.append(f"call {record.number} ({record.kind}) {problem}; {self.what}: {record.future!r}")
        for number in self.refused:
            if journal.get(number, [0])[0]:
                self.failures.append(f"call {number} was refused, and ran; {self.what}")
        for number in [*self.items, *self.interrupted, *(number for number in journal if number >= _FORKED)]:
            if journal.get(number, [0])[0] > 1:
                self.failures.append(
                    f"call {number} ran twice; {self.what}; these never ran: {self.never_ran(journal)}"
                )
        self.schedule.add(len(self.records))
        if (
            self.caller_runs
        ):  # the traceback of an error leads to `submit`, in which the call ran, and so to the executor
            self.records.clear()
        os.unlink(self.journal) if os.path.exists(self.journal) and not self.failures else None

    def never_ran(self, journal: dict[int, list[int]]) -> str:
        """Return the calls that never began, but for those that were cancelled."""
        told = [f"{record.number} {record.future!r} {record.kind}" for record in self.records
                if record.number not in journal and not record.future.cancelled()]  # fmt: skip
        told += [f"{number}, refused" for number in self.refused if number not in journal]
        told += [f"{number}, interrupted" for number in self.interrupted if number not in journal]
        told += [f"{number}, of a map" for number in self.items if number not in journal]
        return "; ".join(told)

    def await_child(self, pid: int) -> None:
        """Wait for a forked child."""
        deadline = time.monotonic() + 2 * LIMIT
        while time.monotonic() < deadline:
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                if status:
                    self.failures.append(f"a forked child ended with {status}; {self.what}")
                return
            time.sleep(0.01)
        self.failures.append(f"hang: a forked child does not end; {self.what}")
        os.kill(pid, signal.SIGABRT)

    def problem(self, record: Record, entries: list[int]) -> str:
        """Return what is wrong with a call; nothing if all is right."""
        begun, ended = entries[BEGUN], entries[ENDED]
        future, counts = record.future, self.counts
        if begun > record.attempts:
            return f"ran {begun} times"
        if record.callbacks is not None and len(record.callbacks) != 1:
            return f"has called back {len(record.callbacks)} times"
        if future.cancelled():
            counts["cancelled"] += 1
            return f"is cancelled, and ran {begun} times" if begun and record.attempts == 1 else ""
        if record.cancelled:
            return "was cancelled, and is not"
        error = future.exception()
        if error is None:
            counts["value"] += 1
            value = future.result()
            if not begun or not ended:
                return "has a result, and did not run"
            if record.kind == "large":
                return "" if bytes(value.content[:8]) == b"%08d" % (record.number % 10**8) else "has a wrong result"
            if record.kind == "echo":
                return "" if value & (value - 1) == 0 else f"has a wrong result: {value}"
            return "" if value == record.number else f"has a wrong result: {value}"
        counts[type(error).__name__] += 1
        if isinstance(error, Planned) and record.kind == "raise" and error.args != (record.number,):
            return f"has another's error: {error}"
        if not isinstance(error, EXPECTED):
            return f"has failed unexpectedly: {''.join(traceback.format_exception(error))}"
        return ""


class Over(Exception):
    """The pool has ended."""


_WEIGHTS = {
    "submit": 300, "result": 300, "impatient": 60, "cancel": 120, "map": 40, "wait": 60, "callback": 60, "kill": 12,
    "ask": 24, "limit": 8, "look": 20, "scope": 15, "retry": 15, "nested": 30,
}  # fmt: skip
_STEPS = list(_WEIGHTS), list(_WEIGHTS.values())
#: What the main thread does while it is interrupted.
_INTERRUPTED = (
    *("submit", "submit", "result", "await", "await", "cancel", "kill", "wait", "callback", "limit", "map"),
    *("alone", "alone", "alone", "alone"),
)


def import_all() -> None:
    """Import what is imported late: a handler that interrupts an import can't import the same module."""
    importlib.import_module("ctypes")  # libffi opens what it keeps open
    for name in (
        "corefutures",
        "corefutures_pools",
        "corefutures_process",
        "corefutures_structured",
        "corefutures_thread",
    ):
        for module in pkgutil.walk_packages(importlib.import_module(name).__path__, f"{name}."):
            if "__main__" not in module.name and "_bundling" not in module.name:
                importlib.import_module(module.name)


def starts_workers() -> bool:
    """Return whether this thread starts workers itself, as no other could be started: they don't while it waits."""
    frame = sys._getframe()
    while frame is not None and frame.f_code is not WorkerSupervisor._run.__code__:
        frame = frame.f_back  # type: ignore[assignment]
    return frame is not None


def _is_file(module: Any) -> bool:
    return getattr(module, "__file__", None) is not None


def _described(thing: object) -> str:
    return f"{type(thing).__name__} {str(thing)[:300]}"


def _settled(journal: str, number: int, _: object) -> None:
    calls.note(journal, number, SETTLED)


class Schedule:
    """All lives of one program.

    Args:
        seed: The seed.
        size: How many calls, about.
        folder: Where the journals are.
        backends: Those that are used.
    """

    def __init__(self, seed: str, size: int, folder: str, backends: list[str]) -> None:
        self.seed = seed
        self.size = size // 8 if "dask" in backends else size
        self.folder = folder
        self.chance = random.Random(seed)
        self.backends = backends
        self.numbers = itertools.count(1)
        self.forked = itertools.count(1)
        self.failures: list[str] = []
        self.counts: Counter[str] = Counter()
        self.collected: list[Life] = []
        self.alarms = self.prods = self.done = 0
        self.services: set[threading.Thread] = set()  # the main thread, and those that stay
        self.left: Any = None
        self.left_journal = ""

    @staticmethod
    def issued(records: deque[Record]) -> int:
        """Return how many calls of a life there are."""
        return len(records)

    def add(self, count: int) -> None:
        """Count calls that have ended."""
        self.done += count

    def run(self) -> int:
        """Run the schedule; return the exit status."""
        faults.enabled = False
        import_all()
        if {"process", "adapted process"} & set(self.backends):  # what starts here stays
            resource_tracker.ensure_running()
            forkserver.ensure_running()
        for backend in sorted(set(self.backends)):
            with contextlib.suppress(*EXPECTED), new_pool(backend, 1) as pool:  # its worker may die
                pool.submit(abs, 1).result()
                if backend in OWN:
                    pool.snapshot()
            del pool
        signal.signal(signal.SIGUSR1, self.dump)  # the driver asks for it when the program hangs
        signal.signal(signal.SIGUSR2, lambda *_: None)
        before, self.services = self.descriptors(), set(threading.enumerate())
        faults.enabled = True
        last = self.chance.choice(["", "", "", "exit", "killed"])
        number = 0
        while self.done < self.size and not self.failures:
            life = Life(self, number, self.chance.randint(100, 3000), self.chance.choice(self.backends))
            is_last = self.done + life.size >= self.size
            # A standard pool's workers outlive a program that is killed.
            life.run(last=last if is_last and (life.backend, last) != ("adapted process", "killed") else "")
            number += 1
            self.collected.clear()
            if self.left is not None:
                break
            life.pool = None
            if number > 200:
                break
        faults.enabled = False
        if self.left is None and not self.failures:
            self.look_for_leaks(before)
        self.write()
        if self.failures:
            print("\n".join(self.failures[:20]), file=sys.stderr, flush=True)
            sys.stderr.flush()
            os._exit(1)
        if self.left is not None and last == "killed":
            os.kill(os.getpid(), signal.SIGKILL)
        faults.enabled = True
        return 0

    def descriptors(self) -> dict[int, str]:
        """Return what is open."""
        found = {}
        for name in os.listdir("/proc/self/fd"):
            with contextlib.suppress(OSError):
                found[int(name)] = os.readlink(f"/proc/self/fd/{name}")
        return {number: target for number, target in found.items() if not target.startswith((self.folder, "/proc/"))}

    def look_for_leaks(self, before: dict[int, str]) -> None:
        """Wait until nothing of the pools is left; what does not go is a failure."""
        gc.collect()
        deadline = time.monotonic() + LIMIT / 2
        while True:
            threads = [thread.name for thread in threading.enumerate() if thread not in self.services]
            threads = [name for name in threads if name not in ("corefutures timer", "QueueFeederThread")]
            tasks = len(os.listdir("/proc/self/task")) - len(self.services)
            timers = sum(thread.name == "corefutures timer" for thread in threading.enumerate())
            opened = self.descriptors()
            more = [target for number, target in opened.items() if number not in before]
            fewer = [target for number, target in before.items() if number not in opened]
            left = [*threads, *(["a thread"] if tasks > timers else []), *(more if len(more) > len(fewer) else [])]
            if not left:
                return
            if time.monotonic() > deadline:
                self.failures.append(f"left: {left}")
                self.dump()
                for found in gc.get_objects():
                    if isinstance(found, corefutures.Executor):
                        users = [user for user in gc.get_referrers(found) if user is not sys._getframe()]
                        print("an executor is left:", found, *map(_described, users), sep="\n    ", file=sys.stderr)
                return
            time.sleep(0.05)

    def dump(self, *_: object) -> None:
        """Show what all threads do, and the state of each pool that is there."""
        faulthandler.dump_traceback(all_threads=True)
        for found in gc.get_objects():
            pool = getattr(found, "_cf_pool", None) if isinstance(found, corefutures.Executor) else None
            for name in dir(pool) if pool is not None else ():
                value = getattr(pool, name, None)
                if not (name.startswith("__") or callable(value)):
                    print(f"    {name}: {str(value)[:500]}", file=sys.stderr)
            for inner in ("supervisor", "connections", "queue", "leadership", "claims", "watchdog"):
                for name, value in getattr(getattr(pool, inner, None), "__dict__", {}).items():
                    print(f"    {inner}.{name}: {str(value)[:300]}", file=sys.stderr)
            for connection in list(getattr(pool, "_connections", None) or getattr(pool, "connections", None) or ()):
                print(
                    "    connection",
                    {name: str(value)[:80] for name, value in vars(connection).items()},
                    file=sys.stderr,
                )
        sys.stderr.flush()

    def give_up(self, why: str) -> None:
        """End the program at once."""
        self.failures.append(why)
        self.write()
        print("\n".join(self.failures[:20]), file=sys.stderr, flush=True)
        os._exit(1)

    def write(self) -> None:
        """Write down what happened, for the driver."""
        report = {
            "calls": self.done, "counts": dict(self.counts), "failures": self.failures, "alarms": self.alarms,
            "prods": self.prods, "left": self.left_journal,
        }  # fmt: skip
        with open(os.path.join(self.folder, "report.json"), "w", encoding="utf-8") as file:
            json.dump(report, file)


def main() -> int:
    seed, size, folder, *backends = sys.argv[1:]
    faulthandler.enable()
    import logging

    logging.disable(logging.CRITICAL)
    return Schedule(seed, int(size), folder, backends).run()
