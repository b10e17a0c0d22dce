"""Scopes in scopes, under errors, kills, deadlines and interrupts, while a journal is kept that knows nothing of them.

The journal is a file. Calls write the number of their block; the thread of the block writes that it has ended. So the
order of the lines alone shows whether a call wrote after the end of its block.
"""

from __future__ import annotations

import concurrent.futures as standard
import random
import sys
import threading
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import scoped_calls as calls
from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, precondition, rule, run_state_machine_as_test

import corefutures
from corefutures_structured import Scope, retrying, scope

#: What a block may raise in its group; anything else is a fault.
EXPECTED = (ValueError, LookupError, TimeoutError, corefutures.CancelledError, standard.BrokenExecutor)


class Driver(threading.Thread):
    """Opens one scope after the other, and writes down when their blocks have ended."""

    def __init__(self, number: int, seed: int, scopes: int, pools: list[Any], folder: Path) -> None:
        super().__init__(daemon=True)
        self.random = random.Random(seed)
        self.path = str(folder / f"journal-{number}")
        self.prefix = str(number)
        self.left = scopes
        self.opened = 0
        self.pools = pools
        self.failure: BaseException | None = None
        self.ends: dict[str, int] = {}

    def run(self) -> None:
        try:
            while self.opened < self.left:
                self.open(3)
        except BaseException as error:
            self.failure = error

    def open(self, depth: int) -> None:
        self.opened += 1
        block = f"{self.prefix}.{self.opened}"
        deadline = self.random.choice([None, None, None, 0.001, 0.005, 60])
        until: Any = self.random.choice(["all", "all", "first_success", "all_settled", lambda _: False])
        made = scope(self.random.choice(self.pools), deadline=deadline, until=until)
        ending = "left"
        try:
            with made:
                self.fill(made, block, depth)
        except* EXPECTED:
            ending = "failed"
        calls.write_line(self.path, f"{block} has ended")
        self.ends[ending] = self.ends.get(ending, 0) + 1
        assert all(future.done() for future in made.futures), f"{block} ended before its calls"

    def fill(self, made: Scope, block: str, depth: int) -> None:
        """The body of a block."""
        for _ in range(self.random.randrange(4)):
            self.call(made, block)
        if depth > 1 and self.random.random() < 0.5:
            self.open(depth - 1)
        deed = self.random.random()
        if deed < 0.1:
            raise LookupError(block)
        if deed < 0.15:
            made.stop()
        elif deed < 0.25 and made.futures:
            self.random.choice(made.futures).cancel()
        elif deed < 0.35 and made.futures:
            made.futures[-1].exception()

    def call(self, made: Scope, block: str) -> None:
        pool = self.random.choice(self.pools)
        kinds = ["ok"] * 12 + ["fail", "slow"]
        if getattr(pool, "chaos_kills", False):
            kinds.append("die")
        try:
            made.submit(calls.chaotic, self.path, block, self.random.choice(kinds), on=pool)
        except RuntimeError as error:  # the standard library's process pool has broken
            raise LookupError("the pool is broken") from error

    def check(self) -> int:
        """Look at the journal; return the number of its lines."""
        ended: set[str] = set()
        lines = Path(self.path).read_text().splitlines()
        for line in lines:
            block, _, end = line.partition(" ")
            assert block not in ended, f"a call of block {block} wrote a line after the block had ended"
            if end:
                ended.add(block)
        assert len(ended) == self.opened
        return len(lines)


def chaos(scopes: int, drivers: int, seed: int, folder: Path, *, kills: bool) -> None:
    with ExitStack() as stack:

        def make(kind: str, **options: Any) -> Any:
            return stack.enter_context(corefutures.create_executor(kind, max_workers=2, **options))

        threads = make("thread")
        pools = [threads, make("concurrent.futures:ThreadPoolExecutor"), threads.options(name="a view")]
        pools += [retrying(threads, retries=1, retry_on=ValueError), threads, threads, threads]
        if sys.version_info >= (3, 14):
            pools.append(make("interpreter"))
        if kills:
            method = "spawn" if sys.platform == "win32" else "forkserver"
            processes = make("process", on_worker_loss="replace", mp_context=method)
            processes.chaos_kills = True
            pools.append(processes)
        running = [Driver(number, seed * 1000 + number, scopes // drivers, pools, folder) for number in range(drivers)]
        for driver in running:
            driver.start()
        for driver in running:
            driver.join()
            if driver.failure is not None:
                raise driver.failure
        lines = sum(driver.check() for driver in running)
        assert sum(driver.opened for driver in running) >= scopes
        assert lines > scopes
        assert all(driver.ends.get("left") and driver.ends.get("failed") for driver in running), "the dice were bad"


def test_no_call_writes_after_its_block(tmp_path: Path) -> None:
    chaos(200, 2, 1, tmp_path, kills=False)


def test_no_call_writes_after_its_block_under_kills(tmp_path: Path) -> None:
    chaos(60, 2, 2, tmp_path, kills=True)


@pytest.mark.chaos_long
@pytest.mark.timeout(3600)
@pytest.mark.parametrize("part", range(10))
def test_ten_thousand_scopes_ten_times(part: int, tmp_path: Path) -> None:
    chaos(10_000, 4, 100 + part, tmp_path, kills=True)


# ── a state machine ──────────────────────────────────────────────────────────────────────────────────────


class Model:
    """A scope of the machine and what is known of it."""

    def __init__(self, made: Scope, until: str) -> None:
        self.scope = made
        self.until = until
        self.calls: list[tuple[threading.Event, bool, standard.Future[Any]]] = []
        self.stopped = False


class Scopes(RuleBasedStateMachine):
    """Scopes in scopes, calls that end when they are told to, and what must come of it."""

    def __init__(self) -> None:
        super().__init__()
        self.pool = corefutures.create_executor("thread", max_workers=2)
        self.open: list[Model] = []

    def teardown(self) -> None:
        while self.open:
            self.close()
        self.pool.shutdown()

    @precondition(lambda self: len(self.open) < 3)
    @rule(until=st.sampled_from(["all", "first_success", "all_settled"]))
    def enter(self, until: Any) -> None:
        model = Model(scope(self.pool, until=until), until)
        model.scope.__enter__()
        model.stopped = bool(self.open) and self.open[-1].stopped
        self.open.append(model)

    @precondition(lambda self: self.open)
    @rule(data=st.data(), fails=st.booleans())
    def submit(self, data: st.DataObject, fails: bool) -> None:
        model = data.draw(st.sampled_from(self.open))
        gate = threading.Event()

        def call() -> str:
            while not gate.wait(0.001):
                if corefutures.cancel_requested():
                    return "asked"
            if fails:
                raise ValueError
            return "ok"

        model.calls.append((gate, fails, model.scope.submit(call)))

    @precondition(lambda self: any(model.calls for model in self.open))
    @rule(data=st.data())
    def end_a_call(self, data: st.DataObject) -> None:
        model = data.draw(st.sampled_from([model for model in self.open if model.calls]))
        data.draw(st.sampled_from(model.calls))[0].set()

    @precondition(lambda self: any(model.calls for model in self.open))
    @rule(data=st.data())
    def cancel_a_call(self, data: st.DataObject) -> None:
        model = data.draw(st.sampled_from([model for model in self.open if model.calls]))
        future = data.draw(st.sampled_from(model.calls))[2]
        if future.cancel():
            assert future.cancelled()

    @precondition(lambda self: self.open)
    @rule(data=st.data())
    def stop(self, data: st.DataObject) -> None:
        index = data.draw(st.integers(0, len(self.open) - 1))
        self.open[index].scope.stop()
        for model in self.open[index:]:
            model.stopped = True

    @precondition(lambda self: self.open)
    @rule()
    def close(self) -> None:
        model = self.open.pop()
        for around in [*self.open, model]:  # theirs may have both workers
            for gate, _, _ in around.calls:
                gate.set()
        raised: BaseException | None = None
        try:
            model.scope.__exit__(None, None, None)
        except BaseExceptionGroup as group:
            raised = group
        futures = [future for _, _, future in model.calls]
        assert all(future.done() for future in futures)
        assert model.scope.futures == tuple(futures)
        failed = [future for future in futures if not future.cancelled() and future.exception() is not None]
        returned = [future.result() for future in futures if not future.cancelled() and future not in failed]
        assert model.scope.results() == returned
        errors = list(raised.exceptions) if isinstance(raised, BaseExceptionGroup) else []
        assert all(isinstance(error, (ValueError, corefutures.CancelledError)) for error in errors)
        wrong = [error for error in errors if isinstance(error, ValueError)]
        if model.until == "all" or (model.until == "first_success" and not returned):
            assert len(wrong) == len(failed)
        else:
            assert not wrong
        if model.until == "all_settled" and not model.stopped:
            assert not any(future.cancelled() and not gate.is_set() for gate, _, future in model.calls)


def test_scopes_keep_their_promises_in_any_order() -> None:
    run_state_machine_as_test(  # type: ignore[no-untyped-call]
        Scopes, settings=settings(max_examples=40, stateful_step_count=25)
    )


# ── whoever leaves is told ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", ["thread", "concurrent.futures:ThreadPoolExecutor"])
def test_submitters_of_other_threads_and_the_end_of_the_block(
    kind: str, executors: Callable[..., standard.Executor]
) -> None:
    """A submit that races with the end of the block is refused, or its call is waited for."""
    pool = executors(kind, 2)
    for _ in range(100):
        futures: list[standard.Future[Any]] = []
        started = threading.Event()

        def submit(s: Scope, futures: list[Any] = futures, started: threading.Event = started) -> None:
            started.set()
            try:
                for _ in range(50):
                    futures.append(s.submit(calls.echo, 1))  # noqa: PERF401
            except RuntimeError:
                pass

        with scope(pool) as s:
            threads = [threading.Thread(target=submit, args=(s,)) for _ in range(2)]
            for thread in threads:
                thread.start()
            started.wait()
            s.stop()
        left = [future for future in s.futures if not future.done()]
        for thread in threads:
            thread.join()
        assert not left
        assert set(futures) <= set(s.futures)
