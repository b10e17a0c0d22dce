"""The models: small programs, each of them one hand-off, with its invariant.

A model is given a run and our modules over the explorer's primitives; it spawns threads and returns the final check.
`fault` puts an old fault back into the modules: the proof that the model would have found it.
"""

from __future__ import annotations

import os
import select
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import in_process
from explorer import Run
from world import Thread

Check = Callable[[], object]


@dataclass(frozen=True)
class Fault:
    """A fault that a model must find: a text of a module's source, and the text that stands there with the fault."""

    name: str
    module: str
    right: str
    wrong: str
    changes: int = 2  # of priorities, in the search for it


@dataclass(frozen=True)
class Model:
    """One hand-off.

    Attributes:
        program: Spawns the threads and returns the check.
        promise: The promises that it guards.
        modules: The modules that it uses.
        files: The ends of the names of those files in which threads are switched.
        preemptions: How many are explored by `make explore`.
        quick: How many are by `make test`; None leaves the model to `make explore`.
        delays: Whether delays are bounded rather than preemptions: see `Run`.
        faults: What it must find.
    """

    name: str
    program: Callable[[Run, Any], Check]
    promise: str
    modules: tuple[str, ...]
    files: tuple[str, ...]
    preemptions: int
    quick: int | None = 1
    delays: bool = False
    faults: tuple[Fault, ...] = field(default=())


TASK_QUEUE = "corefutures_pools.workers.shared_queue.task_queue"
FUTURE, ADMISSION = "corefutures._future", "corefutures_pools.admission"

START_LOOKS_FIRST = Fault(
    "the state is read before the lock is taken", FUTURE,
    right="""        started = False
        if self._cf_lock.taken:
            if started := self._state == PENDING:
""",
    wrong="""        started = self._state == PENDING
        if self._cf_lock.taken:
            if started:
""",
)  # fmt: skip
FINISH_LOOKS_FIRST = Fault(
    "the state is read before the lock is taken", FUTURE,
    right="""        finished = False
        if self._cf_lock.taken:
            if finished := self._state not in DONE:
""",
    wrong="""        finished = self._state not in DONE
        if self._cf_lock.taken:
            if finished:
""",
)  # fmt: skip
STATE_FIRST = Fault(
    "the state comes before the outcome", FUTURE,
    right="""                self._result = result
                self._exception = exception
                self._state = FINISHED
""",
    wrong="""                self._state = FINISHED
                self._result = result
                self._exception = exception
""",
)  # fmt: skip
PARKS_BLINDLY = Fault(
    "a thread parks without a look at the state", FUTURE,
    right="if waits := self._state not in DONE:\n                self._cf_watched = True",
    wrong="if waits := True:\n                self._cf_watched = True",
)  # fmt: skip
PARKS_UNLOCKED = Fault(
    "a thread parks by a look at the state and a subscription that are two steps", FUTURE,
    right="""        if self._cf_lock.taken:
            if waits := self._state not in DONE:
                self._cf_watched = True
                if self._cf_parked is None:
                    self._cf_parked = fresh
                self._cf_parked += added
            self._cf_lock.release()
""",
    wrong="""        if waits := self._state not in DONE:
            self._cf_watched = True
            if self._cf_parked is None:
                self._cf_parked = fresh
            self._cf_parked += added
""",
)  # fmt: skip
CALLBACK_BLINDLY = Fault(
    "a callback is added without a look at the state", FUTURE,
    right="if waits := self._state not in DONE:\n                    callbacks += added",
    wrong="if waits := True:\n                    callbacks += added",
)  # fmt: skip
SUBSCRIBES_BLINDLY = Fault(
    "a waiter subscribes without a look at the state", FUTURE,
    right="if waits := self._state not in ENDED:", wrong="if waits := True:",
)  # fmt: skip
COUNTS_FIRST = Fault(
    "of two futures that end at once, neither sees the other", "corefutures._wait",
    right="""        self.ended.append(future)
        if len(self.ended) >= self._wanted:
            self._wake()

    def add_exception""",
    wrong="""        enough = len(self.ended) + 1 >= self._wanted
        self.ended.append(future)
        if enough:
            self._wake()

    def add_exception""",
)  # fmt: skip
TWO_STEPS = Fault(
    "a place moves in two steps", ADMISSION,
    right="self._held.extend(starmap(limiter._tokens.get_nowait, _NO_ARGUMENTS))",
    wrong="self._held.append(limiter._tokens.get_nowait())",
)  # fmt: skip
ONE_IS_ADMITTED = Fault(
    "a limiter that is closed admits one of those that wait", ADMISSION,
    right="if self._held[0] is _CLOSED:\n            self.release()",
    wrong="if self._held[0] is _CLOSED:\n            self._held.clear()",
)  # fmt: skip

REVOKES_IN_STEPS = Fault(
    "what is read back to revoke a task is posted again in a step of its own", TASK_QUEUE,
    right="self._atomically((self._drain_step(), revoke, self._rewrite_step(rewrite)))",
    wrong="""self._atomically((self._drain_step(),))
            self._atomically((revoke,))
            self._atomically((self._rewrite_step(rewrite),))""",
)  # fmt: skip

THREAD_WORKER, INLINE_WAIT = "corefutures_thread._worker", "corefutures_pools.workers.shared_queue.inline_wait"

SLEEPS_AT_ONCE = Fault(
    "a worker that has entered itself into the idle list does not look for a call again", THREAD_WORKER,
    right="see `ThreadPool`\n            try:\n                take()",
    wrong="see `ThreadPool`\n            try:\n                raise IndexError",
)  # fmt: skip
SUBMITS_BLINDLY = Fault(
    "a submitter does not look again whether the pool is closed", "corefutures_thread._executor",
    right="if pool.closed:\n                    pool.withdraw(future)",
    wrong="if False:\n                    pool.withdraw(future)",
)  # fmt: skip
NEVER_REARMS = Fault(
    "a leader that steps down leaves the result thread disarmed", INLINE_WAIT,
    right="        leadership.rearm()\n        if self.closing or", wrong="        if self.closing or",
)  # fmt: skip
MODELS: dict[str, Model] = {}

CORE = ("corefutures._exceptions", "corefutures._future", "corefutures._wait")
POOL = (
    *CORE, "corefutures_pools.helping", "corefutures_pools.admission", "corefutures_thread._executor",
    "corefutures_thread._thread_pool", "corefutures_thread._worker",
)  # fmt: skip


def model(
    promise: str, *, modules: tuple[str, ...] = CORE, files: tuple[str, ...] = ("_future.py", "_wait.py"),
    preemptions: int = 2, quick: int | None = 1, delays: bool = False, faults: tuple[Fault, ...] = (),
) -> Callable[[Callable[[Run, Any], Check]], Callable[[Run, Any], Check]]:  # fmt: skip
    """Makes a function a model."""

    def enter(program: Callable[[Run, Any], Check]) -> Callable[[Run, Any], Check]:
        name = program.__name__
        MODELS[name] = Model(name, program, promise, modules, files, preemptions, quick, delays, faults)
        return program

    return enter


class Answers(dict[str, Any]):
    """What the threads of a model have got; each says so once."""

    def say(self, name: str, action: Callable[[], Any]) -> Callable[[], None]:
        """Returns a function that notes what `action` returns, or the type of what it raises."""

        def do() -> None:
            try:
                answer = action()
            except Exception as error:
                answer = type(error).__name__
                if answer in ("AttributeError", "TypeError", "NameError"):  # nothing that a model is about
                    raise
            assert name not in self
            self[name] = answer

        return do


def expect(got: Any, *possible: Any) -> None:
    """Fails unless the answer is one of those that are right."""
    assert got in possible, f"{got!r} is none of {possible!r}"


# ── a future's four transitions ──────────────────────────────────────────────────────────────────────────────────


@model("F1", faults=(START_LOOKS_FIRST,))
def cancel_against_start(run: Run, our: Any) -> Check:
    future, got = our.future.Future(), Answers()
    run.spawn("canceller", got.say("cancelled", future.cancel))
    run.spawn("worker", got.say("started", future.set_running_or_notify_cancel))
    return lambda: expect((got["cancelled"], got["started"]), (True, False), (False, True))


@model("F1 F2", preemptions=3, faults=(FINISH_LOOKS_FIRST,))
def transitions_against_each_other(run: Run, our: Any) -> Check:
    future, got = our.future.Future(), Answers()
    run.spawn("canceller", got.say("cancel", future.cancel))
    run.spawn("worker", got.say("finish", lambda: future.set_result(1)))
    run.spawn("pool that breaks", got.say("fail", lambda: future.set_exception(OSError())))

    def check() -> None:
        outcomes = got["cancel"], got["finish"], got["fail"]
        expect(
            outcomes,
            (True, "InvalidStateError", "InvalidStateError"),
            (False, None, "InvalidStateError"),
            (False, "InvalidStateError", None),
        )
        assert future.done()

    return check


@model("F2", faults=(STATE_FIRST,))
def the_outcome_is_there_before_the_state(run: Run, our: Any) -> Check:
    future, got = our.future.Future(), Answers()

    def look() -> Any:
        return future.result(0) if future.done() else "pending"

    run.spawn("worker", lambda: future.set_result(7))
    run.spawn("reader", got.say("read", look))
    return lambda: expect(got["read"], 7, "pending")


# ── waiting ──────────────────────────────────────────────────────────────────────────────────────────────────────


@model(
    "F5",
    faults=(
        PARKS_BLINDLY,
        PARKS_UNLOCKED,
    ),
)
def finish_against_result(run: Run, our: Any) -> Check:
    future, got = our.future.Future(), Answers()
    run.spawn("waiter", got.say("result", future.result))
    run.spawn("worker", lambda: future.set_result(7))
    return lambda: expect(got["result"], 7)


@model("F5")
def finish_against_two_waiters(run: Run, our: Any) -> Check:
    future, got = our.future.Future(), Answers()
    run.spawn("first", got.say("first", future.result))
    run.spawn("second", got.say("second", future.exception))
    run.spawn("worker", lambda: future.set_result(7))
    return lambda: expect((got["first"], got["second"]), (7, None))


@model("F5")
def finish_against_result_with_time_limit(run: Run, our: Any) -> Check:
    future, got = our.future.Future(), Answers()
    run.spawn("waiter", got.say("result", lambda: future.result(5)))
    run.spawn("worker", lambda: future.set_result(7))

    def check() -> None:
        expect(got["result"], 7)  # time passes only where nothing else happens
        assert not future._cf_parked

    return check


@model("F5", faults=(PARKS_BLINDLY,))
def cancel_against_result(run: Run, our: Any) -> Check:
    future, got = our.future.Future(), Answers()
    run.spawn("waiter", got.say("result", future.result))
    run.spawn("canceller", got.say("cancelled", future.cancel))
    return lambda: expect((got["result"], got["cancelled"]), ("CancelledError", True))


@model("F5")
def a_time_limit_that_ends_against_finish(run: Run, our: Any) -> Check:
    future, got = our.future.Future(), Answers()
    clock = our.blocking._thread.allocate_lock()

    def late() -> None:
        clock.acquire()
        clock.acquire(True, 5)  # until the same moment
        future.set_result(7)

    run.spawn("waiter", got.say("result", lambda: future.result(5)))
    run.spawn("worker", late)

    def check() -> None:
        expect(got["result"], 7, "TimeoutError")
        assert future.result(0) == 7

    return check


@model("F5 F8")
def a_handler_that_finishes_what_its_thread_waits_for(run: Run, our: Any) -> Check:
    future, got = our.future.Future(), Answers()
    run.spawn("waiter", got.say("result", lambda: future.result(5)), lambda: future.set_result(7))
    return lambda: expect(got["result"], 7, "TimeoutError")


@model("F4", faults=(CALLBACK_BLINDLY,))
def callback_added_against_finish(run: Run, our: Any) -> Check:
    future, called = our.future.Future(), []
    run.spawn("subscriber", lambda: future.add_done_callback(called.append))
    run.spawn("worker", lambda: future.set_result(7))
    return lambda: expect(called, [future])


@model("F4")
def callbacks_added_against_cancel(run: Run, our: Any) -> Check:
    future, called = our.future.Future(), []

    def subscribe() -> None:
        future.add_done_callback(lambda _: called.append(1))
        future.add_done_callback(lambda _: called.append(2))

    run.spawn("subscriber", subscribe)
    run.spawn("canceller", future.cancel)
    # One that is added after the end runs at once, in its own thread: only those before the end are in order.
    return lambda: expect(called, [1, 2], [2, 1])


@model("F4 F8")
def a_callback_that_adds_one_against_another(run: Run, our: Any) -> Check:
    future, called = our.future.Future(), []
    future.add_done_callback(lambda _: future.add_done_callback(lambda _: called.append("inner")))
    run.spawn("subscriber", lambda: future.add_done_callback(lambda _: called.append("outer")))
    run.spawn("worker", lambda: future.set_result(7))

    def check() -> None:
        assert sorted(called) == ["inner", "outer"]

    return check


@model("F5", faults=(SUBSCRIBES_BLINDLY,))
def wait_against_finish(run: Run, our: Any) -> Check:
    first, second, got = our.future.Future(), our.future.Future(), Answers()
    run.spawn("waiter", got.say("wait", lambda: len(our.wait.wait([first, second]).done)))
    run.spawn("worker", lambda: (first.set_result(1), second.set_result(2)))
    return lambda: expect(got["wait"], 2)


@model("F5", faults=(COUNTS_FIRST,))
def wait_for_all_against_two_that_finish(run: Run, our: Any) -> Check:
    first, second, got = our.future.Future(), our.future.Future(), Answers()
    run.spawn("waiter", got.say("wait", lambda: len(our.wait.wait([first, second]).done)))
    run.spawn("one worker", lambda: first.set_result(1))
    run.spawn("another", lambda: second.set_result(2))
    return lambda: expect(got["wait"], 2)


@model("F5")
def wait_for_the_first_against_two_that_finish(run: Run, our: Any) -> Check:
    first, second, got = our.future.Future(), our.future.Future(), Answers()

    def wait() -> int:
        return len(our.wait.wait([first, second], return_when="FIRST_COMPLETED").done)

    run.spawn("waiter", got.say("wait", wait))
    run.spawn("one worker", lambda: first.set_result(1))
    run.spawn("another", lambda: second.set_result(2))

    def check() -> None:
        expect(got["wait"], 1, 2)
        assert not first._waiters
        assert not second._waiters

    return check


@model("F5")
def wait_against_cancel(run: Run, our: Any) -> Check:
    future, got = our.future.Future(), Answers()
    run.spawn("waiter", got.say("wait", lambda: len(our.wait.wait([future]).done)))
    run.spawn("canceller", lambda: (future.cancel(), future.set_running_or_notify_cancel()))
    return lambda: expect(got["wait"], 1)


@model("F5 F6")
def as_completed_against_finish_and_cancel(run: Run, our: Any) -> Check:
    first, second, got = our.future.Future(), our.future.Future(), Answers()
    run.spawn("reader", got.say("done", lambda: sum(1 for _ in our.wait.as_completed([first, second]))))
    run.spawn("worker", lambda: first.set_result(1))
    run.spawn("canceller", lambda: (second.cancel(), second.set_running_or_notify_cancel()))
    return lambda: expect(got["done"], 2)


@model("F5")
def the_standard_wait_against_finish(run: Run, our: Any) -> Check:
    """The standard library's `wait` reads our futures' private parts; its code runs over the explorer's locks."""
    future, got = our.future.Future(), Answers()
    standard = our.standard_base()
    run.spawn("waiter", got.say("wait", lambda: len(standard.wait([future]).done)))
    run.spawn("worker", lambda: future.set_result(7))
    return lambda: expect(got["wait"], 1)


# ── bounded admission ────────────────────────────────────────────────────────────────────────────────────────────


@model("C4", modules=("corefutures_pools.admission",), files=("admission.py",))
def a_place_given_back_against_a_waiter(run: Run, our: Any) -> Check:
    limiter = our.admission.PendingLimiter(1, "block")
    held, got = our.admission.Permit(limiter), Answers()
    held.acquire()

    def submit() -> Any:
        permit = our.admission.Permit(limiter)
        admitted = permit.acquire()
        permit.release()
        return admitted

    run.spawn("submitter", got.say("admitted", submit))
    run.spawn("worker", held.release)

    def check() -> None:
        expect(got["admitted"], True)
        assert limiter._tokens.qsize() == 1

    return check


@model("C4", modules=("corefutures_pools.admission",), files=("admission.py",), faults=(ONE_IS_ADMITTED,))
def waiters_against_a_shutdown(run: Run, our: Any) -> Check:
    limiter = our.admission.PendingLimiter(1, "block")
    our.admission.Permit(limiter).acquire()
    got = Answers()
    for name in ("one", "another"):
        run.spawn(name, got.say(name, our.admission.Permit(limiter).acquire))
    run.spawn("closer", limiter.close)
    return lambda: expect((got["one"], got["another"]), (True, True))


@model("C4 F8", modules=("corefutures_pools.admission",), files=("admission.py",), faults=(TWO_STEPS,))
def an_interrupted_submitter_loses_no_place(run: Run, our: Any) -> Check:
    limiter, got = our.admission.PendingLimiter(1, "block"), Answers()

    class Interrupt(Exception):
        pass

    def interrupt() -> None:
        raise Interrupt

    def submit() -> Any:
        permit = our.admission.Permit(limiter)
        try:
            return permit.acquire()
        finally:
            try:
                permit.release()
            except Interrupt:
                permit.release()  # as often as one likes: it gives back what is held

    run.spawn("submitter", got.say("admitted", submit), interrupt)
    run.spawn("another", got.say("other", submit))

    def check() -> None:
        expect(got["other"], True)
        assert limiter._tokens.qsize() == 1

    return check


# ── the thread pool ──────────────────────────────────────────────────────────────────────────────────────────────

THREADS = ("_thread_pool.py", "_worker.py", "corefutures_thread/_executor.py", "_work_queue.py")


def pool_model(
    promise: str,
    *,
    preemptions: int = 2,
    quick: int | None = 1,
    files: tuple[str, ...] = THREADS,
    faults: tuple[Fault, ...] = (),
) -> Callable[[Callable[[Run, Any], Check]], Callable[[Run, Any], Check]]:
    """Makes a function a model of the thread pool."""
    return model(promise, modules=POOL, files=files, preemptions=preemptions, quick=quick, faults=faults)


@pool_model("E1 E2", faults=(SLEEPS_AT_ONCE,))
def submit_against_the_worker_that_goes_idle(run: Run, our: Any) -> Check:
    got = Answers()

    def main() -> Any:
        pool = our.executor.ThreadPoolExecutor(1)
        first = pool.submit(int, 1)
        second = pool.submit(int, 2)
        return first.result(), second.result()

    run.spawn("main", got.say("results", main))
    run.idle_threads_may_wait = True
    return lambda: expect(got["results"], (1, 2))


def _submit_and_shut_down(run: Run, our: Any, **options: Any) -> Check:
    got = Answers()
    pool = our.executor.ThreadPoolExecutor(1)

    def submit() -> Any:
        try:
            pool.submit(int).result()  # a worker is there now
            future = pool.submit(int, 7)
        except (RuntimeError, our.exceptions.CancelledError):
            return "refused"
        return future.result() if not options.get("cancel_futures") else _outcome(future)

    run.spawn("submitter", got.say("submit", submit))
    run.spawn("closer", lambda: pool.shutdown(**options))
    return lambda: expect(got["submit"], 7, "refused", *(["cancelled"] if options.get("cancel_futures") else []))


def _outcome(future: Any) -> Any:
    try:
        return future.result()
    except BaseException as error:
        return "cancelled" if future.cancelled() else type(error).__name__


@pool_model(
    "E1 E6",
    faults=(SUBMITS_BLINDLY,),
)
def submit_against_shutdown_that_waits(run: Run, our: Any) -> Check:
    return _submit_and_shut_down(run, our, wait=True)


@pool_model("E1 E6")
def submit_against_shutdown_that_does_not_wait(run: Run, our: Any) -> Check:
    return _submit_and_shut_down(run, our, wait=False)


@pool_model("E1 E6")
def submit_against_shutdown_that_cancels(run: Run, our: Any) -> Check:
    return _submit_and_shut_down(run, our, wait=True, cancel_futures=True)


@pool_model("E3 F5")
def cancel_against_the_worker_that_begins(run: Run, our: Any) -> Check:
    got, ran = Answers(), []

    def main() -> Any:
        pool = our.executor.ThreadPoolExecutor(1)
        future = pool.submit(ran.append, 1)
        cancelled = future.cancel()
        outcome = _outcome(future)
        return cancelled, outcome

    run.spawn("main", got.say("cancel", main))
    run.idle_threads_may_wait = True

    def check() -> None:
        expect(got["cancel"], (True, "cancelled"), (False, None))
        assert ran == ([] if got["cancel"][0] else [1])

    return check


@pool_model("C8", files=(*THREADS, "helping.py", "future.py"), preemptions=1, quick=0)
def two_calls_that_wait_for_each_others_calls(run: Run, our: Any) -> Check:
    """Two workers that fall asleep together, each waiting for a call that has not started: one of them runs it."""
    got = Answers()

    def outer(pool: Any, number: int) -> int:
        inner: int = pool.submit(int, number).result()
        return inner

    def main() -> Any:
        pool = our.executor.ThreadPoolExecutor(2)
        futures = [pool.submit(outer, pool, number) for number in (1, 2)]
        return [future.result() for future in futures]

    run.spawn("main", got.say("results", main))
    run.idle_threads_may_wait = True
    return lambda: expect(got["results"], [1, 2])


@pool_model("C8", files=(*THREADS, "helping.py", "future.py"), preemptions=1, quick=0)
def a_cycle_of_calls_raises(run: Run, our: Any) -> Check:
    got, futures = Answers(), {}

    def wait_for(name: str) -> Any:
        return futures[name].result()

    def main() -> Any:
        pool = our.executor.ThreadPoolExecutor(2)
        gate = our.future.Future()

        def first() -> Any:
            gate.result()
            return wait_for("second")

        def second() -> Any:
            gate.result()
            return wait_for("first")

        futures["first"] = pool.submit(first)
        futures["second"] = pool.submit(second)
        gate.set_result(None)
        return sorted(_outcome(future) for future in futures.values())

    run.spawn("main", got.say("outcomes", main))
    run.idle_threads_may_wait = True
    return lambda: expect(got["outcomes"], ["DeadlockError", "DeadlockError"])


# ── the task queue of isolated workers ───────────────────────────────────────────────────────────────────────────
#
# Its pipe is a real one: nothing in it blocks, and what goes through it is one step of the kernel.

QUEUE = (TASK_QUEUE, "corefutures_pools.workers.future")


class Tasks:
    """A task queue with calls that its model submits, and the numbers of those that a worker has claimed."""

    def __init__(self, run: Run, our: Any) -> None:
        self.our = our
        self.queue = our.task_queue.TaskQueue(2, deque())
        self.claimed: list[int] = []
        os.set_blocking(self.queue.reader, False)
        run.closers.append(self.queue.close)

    def submit(self, *numbers: int) -> None:
        """Does what a submitter does."""
        for number in numbers:
            future = self.our.future.CallFuture(None, b"body")
            future._number = number
            self.queue.encode(future)
            self.queue._backlog.append(future)
        self.queue.flush()

    def claim(self) -> bool:
        """Does what a worker does: reads one descriptor, if there is one."""
        size = self.our.task_queue.TASK.size
        try:
            descriptor = os.read(self.queue.reader, size)
        except BlockingIOError:
            return False
        self.claimed.append(self.our.task_queue.TASK.unpack(descriptor)[0])
        return True

    def readable(self) -> bool:
        """Whether a worker that reads would get a descriptor."""
        return bool(select.select([self.queue.reader], [], [], 0)[0])

    def work(self, most: int) -> Callable[[], None]:
        """Returns a worker that claims tasks until it has so many or nothing more happens."""

        def claim_when_there_is_one() -> None:
            for _ in range(most):
                if not self.our.wait_until(self.readable, 1):
                    return
                self.claim()

        return claim_when_there_is_one

    def check(self, *numbers: int) -> None:
        """Fails unless each task was claimed once or revoked, or can still be claimed, in order."""
        self.queue.flush()
        while self.claim():
            pass
        revoked = [number for number in self.queue.revoked if number in numbers]
        assert sorted([*self.claimed, *revoked]) == sorted(numbers), (self.claimed, revoked)
        assert self.claimed == sorted(self.claimed), "out of order"


@model("E1 E3", modules=QUEUE, files=("task_queue.py",))
def a_task_is_claimed_or_revoked(run: Run, our: Any) -> Check:
    tasks = Tasks(run, our)
    tasks.submit(1, 2)
    run.spawn("worker", tasks.work(2))
    run.spawn("canceller", lambda: tasks.queue.revoke(1))
    return lambda: tasks.check(1, 2)


@model("E1 E3", modules=QUEUE, files=("task_queue.py",), faults=(REVOKES_IN_STEPS,))
def post_against_revoke(run: Run, our: Any) -> Check:
    tasks, got = Tasks(run, our), Answers()
    tasks.submit(1)
    run.spawn("submitter", lambda: tasks.submit(2))
    run.spawn("canceller", got.say("revoked", lambda: tasks.queue.revoke(1)))

    def check() -> None:
        assert got["revoked"]  # no worker is there that could have claimed it
        tasks.check(1, 2)

    return check


@model("E1 E3", modules=QUEUE, files=("task_queue.py",), faults=(REVOKES_IN_STEPS,))
def two_that_revoke_behind_each_other(run: Run, our: Any) -> Check:
    tasks, got = Tasks(run, our), Answers()
    tasks.submit(1, 2, 3)
    run.spawn("one", got.say("two", lambda: tasks.queue.revoke(2)))
    run.spawn("another", got.say("three", lambda: tasks.queue.revoke(3)))

    def check() -> None:
        expect((got["two"], got["three"]), (True, True))
        tasks.check(1, 2, 3)

    return check


@model("E1 F8", modules=QUEUE, files=("task_queue.py",))
def a_handler_that_posts_while_its_thread_posts(run: Run, our: Any) -> Check:
    tasks = Tasks(run, our)
    submitted = [1]

    def submit_again() -> None:
        submitted.append(2)
        tasks.submit(2)
        assert tasks.readable()  # it waits for nothing that its own thread was about to do

    run.spawn("submitter", lambda: tasks.submit(1), submit_again)

    def check() -> None:
        while tasks.claim():  # all has been sent: nobody flushes any more
            pass
        expect(sorted(tasks.claimed), submitted)

    return check


@model("E1 E6", modules=QUEUE, files=("task_queue.py",))
def post_and_revoke_against_close(run: Run, our: Any) -> Check:
    tasks = Tasks(run, our)
    tasks.submit(1)
    run.spawn("submitter", lambda: tasks.submit(2))
    run.spawn("canceller", lambda: tasks.queue.revoke(1))
    run.spawn("closer", tasks.queue.close_pool_end)
    return lambda: None  # nothing was raised, and nobody waits


# ── a whole pool of isolated workers ─────────────────────────────────────────────────────────────────────────────
#
# Its workers are threads of the exploration (see `in_process`); pipes, memory and epoll are real.

SHARED_QUEUE = (*CORE, *in_process.MODULES)
READING = ("inline_wait.py", "leader.py", "event_loop.py", "frame_reader.py")
SENDING = (
    "shared_queue/pool.py", "workers/pool.py", "workers/future.py", "call_killer.py", "claims.py", "call_control.py",
    "submission.py", "supervisor.py",
)  # fmt: skip


def queue_model(
    promise: str,
    *,
    files: tuple[str, ...] = READING,
    preemptions: int = 1,
    quick: int | None = 1,
    faults: tuple[Fault, ...] = (),
) -> Callable[[Callable[[Run, Any], Check]], Callable[[Run, Any], Check]]:
    """Makes a function a model of a pool of isolated workers."""
    return model(
        promise, modules=SHARED_QUEUE, files=files, preemptions=preemptions, quick=quick, delays=True, faults=faults
    )


def _pool(run: Run, our: Any, workers: int, main: Callable[[Any, Any], Any], *handlers: Any, **options: Any) -> Answers:
    """Has a thread use a pool and close it, and checks at the end that nothing of it is left."""
    got = Answers()
    before = set(os.listdir("/proc/self/fd"))

    def use() -> Any:
        pool, launcher = in_process.make_pool(run, our, workers, **options)
        try:
            return main(pool, launcher)
        finally:
            pool.close(wait=True)

    run.spawn("main", got.say("main", use), *handlers)

    def check_nothing_is_left() -> None:
        left = set(os.listdir("/proc/self/fd")) - before
        assert len(left) <= 1, left  # the folder that is listed

    run.checks.append(check_nothing_is_left)
    return got


@queue_model("E1 F5", preemptions=2, quick=1)
def a_waiter_that_reads_its_own_result(run: Run, our: Any) -> Check:
    got = _pool(run, our, 1, lambda pool, _: pool.submit(pow, (2, 5), {}).result())
    return lambda: expect(got["main"], 32)


@queue_model("E1 F5", faults=(NEVER_REARMS,))
def the_result_thread_after_a_waiter_that_has_read(run: Run, our: Any) -> Check:
    def main(pool: Any, _: Any) -> Any:
        first = pool.submit(pow, (2, 5), {}).result()
        second = pool.submit(pow, (2, 6), {})
        our.wait.wait([second])
        return first, second.result(0)

    got = _pool(run, our, 1, main)
    return lambda: expect(got["main"], (32, 64))


@queue_model("E1 F5", preemptions=1, quick=None)
def two_waiters_and_the_result_thread(run: Run, our: Any) -> Check:
    second = Answers()

    def main(pool: Any, _: Any) -> Any:
        first, other = pool.submit(pow, (2, 5), {}), pool.submit(pow, (2, 6), {})
        thread = Thread(target=second.say("result", other.result))
        thread.start()
        result = first.result()
        thread.join()
        return result

    got = _pool(run, our, 2, main)
    return lambda: expect((got["main"], second["result"]), (32, 64))


@queue_model("E1 F8", preemptions=2, quick=1)
def a_handler_that_waits_for_a_call_while_its_thread_reads(run: Run, our: Any) -> Check:
    pools, answers = [], []

    def main(pool: Any, _: Any) -> Any:
        pools.append(pool)
        return pool.submit(pow, (2, 5), {}).result()

    def handler() -> None:
        if pools and not pools[0].closed:
            answers.append(pools[0].submit(pow, (2, 6), {}).result())

    got = _pool(run, our, 1, main, handler)

    def check() -> None:
        expect(got["main"], 32)
        expect(answers, [], [64])

    return check


@queue_model("E1 F5", preemptions=2, quick=1)
def a_time_limit_of_a_waiter_that_reads(run: Run, our: Any) -> Check:
    def main(pool: Any, _: Any) -> Any:
        future = pool.submit(pow, (2, 5), {})
        try:
            return future.result(1)
        except TimeoutError:
            return future.result()

    got = _pool(run, our, 1, main)
    return lambda: expect(got["main"], 32)


@queue_model("E3 F5", files=(*READING, *SENDING))
def cancel_against_the_claim_of_a_worker(run: Run, our: Any) -> Check:
    def main(pool: Any, _: Any) -> Any:
        future = pool.submit(pow, (2, 5), {})
        cancelled = future.cancel()
        return cancelled, _outcome(future)

    got = _pool(run, our, 1, main)
    return lambda: expect(got["main"], (True, "cancelled"), (False, 32))


@queue_model("C2 E5", files=(*READING, *SENDING), preemptions=1, quick=None)
def kill_against_finish(run: Run, our: Any) -> Check:
    def main(pool: Any, _: Any) -> Any:
        future = pool.submit(pow, (2, 5), {})
        killed = pool.kill(future)
        other = pool.submit(pow, (2, 6), {})
        return killed, _outcome(future), _outcome(other)

    got = _pool(run, our, 1, main, on_loss="replace")
    return lambda: expect(got["main"], (False, 32, 64), (True, "WorkerLostError", 64), (True, "cancelled", 64))


@queue_model("E1 E5", files=(*READING, *SENDING), preemptions=1, quick=None)
def a_worker_that_dies_at_any_system_call(run: Run, our: Any) -> Check:
    workers: list[Any] = []

    def main(pool: Any, launcher: Any) -> Any:
        workers.append(launcher.workers)
        future, other = pool.submit(pow, (2, 5), {}), pool.submit(pow, (2, 6), {})
        return _outcome(future), _outcome(other)

    def kill() -> None:
        our.wait_until(lambda: bool(workers and workers[0]), 1)
        if workers and workers[0]:
            workers[0][0].kill()

    got = _pool(run, our, 1, main, on_loss="replace")
    run.spawn("killer", kill)
    lost = "WorkerLostError"
    return lambda: expect(got["main"], (32, 64), (lost, 64), (32, lost))


@queue_model("E1 E6", files=(*READING, *SENDING), preemptions=1, quick=None)
def submit_against_the_end_of_an_isolated_pool(run: Run, our: Any) -> Check:
    second = Answers()

    def main(pool: Any, _: Any) -> Any:
        first = pool.submit(pow, (2, 5), {})

        def submit() -> Any:
            try:
                return _outcome(pool.submit(pow, (2, 6), {}))
            except RuntimeError:
                return "refused"

        thread = Thread(target=second.say("result", submit))
        thread.start()
        pool.close(wait=False)
        result = first.result()
        thread.join()
        return result

    got = _pool(run, our, 1, main)
    return lambda: (expect(got["main"], 32), expect(second["result"], 64, "refused"))
