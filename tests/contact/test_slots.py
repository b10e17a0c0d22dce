"""`slots=`: named resources that calls demand, on thread, process and interpreter pools."""

from __future__ import annotations

import gc
import multiprocessing
import os
import random
import subprocess
import sys
import threading
import time
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

import corefutures
from corefutures import DeadlockError, PoolFullError, UnsupportedError, WorkerLostError
from corefutures_pools.slots import SlotScheduler
from tests.support import slot_calls as calls

pytestmark = [
    pytest.mark.timeout(60),
    pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning"),  # forks beside pytest's
]

KINDS = [
    "thread",
    "process",
    pytest.param(
        "interpreter",
        marks=pytest.mark.skipif(sys.version_info < (3, 14), reason="interpreters need Python 3.14"),
    ),
]
every_kind = pytest.mark.parametrize("kind", KINDS)
LIMIT = 30


def make(kind: str, **options: Any) -> Any:
    options.setdefault("slots", {"gpu": [0, 1], "db": 3})
    return corefutures.create_executor(kind, **options)


class Gate:
    """A file that calls wait for."""

    def __init__(self, folder: Path) -> None:
        self.path = str(folder / "gate")

    def await_begun(self) -> None:
        """Wait until a call has begun to wait."""
        while not os.path.exists(self.path + ".begun"):
            time.sleep(0.002)

    def open(self) -> None:
        """Let the calls go on."""
        Path(self.path).touch()


@pytest.fixture
def gate(tmp_path: Path) -> Any:
    gate = Gate(tmp_path)
    yield gate
    gate.open()


@every_kind
def test_a_call_is_told_its_slots(kind: str) -> None:
    with make(kind, max_workers=2, slots={"gpu": ["a", "b"], "db": 3}) as pool:
        assert pool.options(slots={"gpu": 2, "db": 1}).submit(calls.held).result(LIMIT) == {
            "gpu": ("a", "b"),
            "db": (0,),
        }
        assert pool.submit(calls.held).result(LIMIT) == {}
        assert list(pool.options(slots={"db": 3}).map(calls.held, range(3))) == [{"db": (0, 1, 2)}] * 3
        assert list(pool.options(slots={"db": 3}).map(calls.held, range(6), chunksize=3)) == [{"db": (0, 1, 2)}] * 6
        assert list(pool.options(slots={"gpu": 2}).stream(calls.items, 3)) == [{"gpu": ("a", "b")}] * 3
    assert corefutures.held_slots() == {}


@every_kind
def test_arguments_of_every_size_go_along(kind: str) -> None:
    with make(kind, max_workers=1) as pool:
        view = pool.options(slots={"gpu": 2})
        for size in (10, 100_000, 500_000, 3_000_000):
            for content in (bytes(size), list(range(size // 10)), "ä" * size):
                told = view.submit(calls.length_and_slots, content).result(LIMIT)
                assert told == (len(content), {"gpu": (0, 1)})


@every_kind
def test_slots_go_along_with_context_variables(kind: str) -> None:
    calls.TENANT.set("x" * 500_000)
    names = ["tests.support.slot_calls:TENANT"]
    with make(kind, max_workers=1, context=names) as pool:
        assert pool.options(slots={"gpu": 2}).submit(calls.tenant).result(LIMIT) == (500_000, {"gpu": (0, 1)})


def check_never_oversubscribed(kind: str, number: int, seed: int) -> None:
    """Run so many random calls, and fail if two held the same slot at once."""
    chance = random.Random(seed)
    demands: list[dict[str, int]] = [{}, {"gpu": 1}, {"gpu": 2}, {"db": 1}, {"db": 2, "gpu": 1}, {"db": 3}]
    with make(kind, max_workers=6) as pool:
        views = [pool.options(slots=demand) if demand else pool for demand in demands]
        submitted, window = [], []
        for _ in range(number):
            index = chance.randrange(len(demands))
            action = chance.random()
            if action < 0.05:
                future = views[index].submit(calls.fail)
            else:
                future = views[index].submit(calls.held_while, chance.choice([0, 0, 0.0002]))
                submitted.append((demands[index], future))
            if action > 0.9:
                future.cancel()
            window.append(future)
            if len(window) > 300:
                corefutures.wait(window, LIMIT)
                window.clear()
        told = [(demand, future.result(LIMIT)) for demand, future in submitted if not future.cancelled()]
        assert pool.options(slots={"gpu": 2, "db": 3}).submit(calls.held).result(LIMIT) == {
            "gpu": (0, 1),
            "db": (0, 1, 2),
        }
    uses: dict[tuple[str, int], list[tuple[float, float]]] = {}
    for demand, (begun, ended, slots) in told:
        assert {name: len(ids) for name, ids in slots.items()} == demand
        for name, ids in slots.items():
            for item in ids:
                uses.setdefault((name, item), []).append((begun, ended))
    assert set(uses) == {("gpu", 0), ("gpu", 1), ("db", 0), ("db", 1), ("db", 2)}
    for times in uses.values():
        times.sort()
        assert all(earlier[1] <= later[0] for earlier, later in pairwise(times))


@every_kind
def test_a_slot_is_never_held_twice_at_once(kind: str) -> None:
    check_never_oversubscribed(kind, 2500 if kind == "thread" else 1200, seed=1)


@pytest.mark.chaos_long
@pytest.mark.timeout(1200)
@every_kind
def test_a_slot_is_never_held_twice_at_once_in_100_000_calls(kind: str) -> None:
    check_never_oversubscribed(kind, 100_000, seed=2)


@every_kind
def test_a_call_that_waits_for_slots_holds_up_no_other(kind: str, gate: Gate) -> None:
    with make(kind, max_workers=2) as pool:
        holding = pool.options(slots={"gpu": 2}).submit(calls.await_file, gate.path)
        gate.await_begun()
        waiting = [pool.options(slots={"gpu": 1}, name="waits").submit(calls.held) for _ in range(5)]
        assert pool.submit(calls.held).result(LIMIT) == {}
        assert pool.options(slots={"db": 3}).submit(calls.held).result(LIMIT) == {"db": (0, 1, 2)}
        assert not any(future.running() or future.done() for future in waiting)
        assert pool.stats().waiting == 5
        assert pool.snapshot().waiting == 5
        gate.open()
        assert holding.result(LIMIT) is None
        assert all(future.result(LIMIT)["gpu"][0] in (0, 1) for future in waiting)


@every_kind
def test_order_is_kept_among_calls_with_the_same_demands(kind: str, tmp_path: Path) -> None:
    journal = tmp_path / "journal"
    with make(kind, max_workers=3, slots={"gpu": 1}) as pool:
        for index in range(50):
            pool.options(slots={"gpu": 1}).submit(calls.note, str(journal), str(index))
    assert journal.read_text().split() == [str(index) for index in range(50)]


@every_kind
def test_a_call_that_demands_more_is_not_overtaken_for_ever(kind: str, gate: Gate) -> None:
    with make(kind, max_workers=3) as pool:
        one, both = pool.options(slots={"gpu": 1}), pool.options(slots={"gpu": 2})
        pool.options(slots={"gpu": 1}).submit(calls.await_file, gate.path)
        gate.await_begun()
        late = both.submit(calls.held)
        overtaking: list[Any] = []
        while sum(future.done() for future in overtaking) < 100:
            overtaking.append(one.submit(calls.held))
            corefutures.wait(overtaking[-20:-10], LIMIT)
        waits = [one.submit(calls.held) for _ in range(10)]
        gate.open()
        assert late.result(LIMIT) == {"gpu": (0, 1)}
        corefutures.wait([*overtaking, *waits], LIMIT)


@every_kind
def test_slots_are_free_again_however_a_call_ends(kind: str, gate: Gate) -> None:
    with make(kind, max_workers=2, slots={"gpu": 1}) as pool:
        view = pool.options(slots={"gpu": 1})
        with pytest.raises(LookupError):
            view.submit(calls.fail).result(LIMIT)
        running = view.submit(calls.await_file, gate.path)
        gate.await_begun()
        held, last = view.submit(calls.held), view.submit(calls.held)
        assert held.cancel()
        assert not running.done()
        gate.open()
        assert last.result(LIMIT) == {"gpu": (0,)}
        unsent = view.submit(calls.held, threading.Lock())
        assert unsent.exception(LIMIT) is None or kind != "thread"
        assert view.submit(calls.held).result(LIMIT) == {"gpu": (0,)}


@every_kind
def test_slots_of_a_call_that_is_cancelled_before_it_starts_are_free_again(kind: str, gate: Gate) -> None:
    with make(kind, max_workers=1, slots={"gpu": 1}) as pool:
        pool.submit(calls.await_file, gate.path)
        gate.await_begun()
        queued = pool.options(slots={"gpu": 1}).submit(calls.held)
        while queued in pool_slots(pool).held:
            time.sleep(0.001)
        waiting = pool.options(slots={"gpu": 1}).submit(calls.held)
        assert queued.cancel()
        gate.open()
        assert waiting.result(LIMIT) == {"gpu": (0,)}


def pool_slots(pool: Any) -> Any:
    return getattr(pool._cf_pool, "slots", None) or pool._cf_pool._slots


def test_slots_of_a_call_that_is_stopped_are_free_again(gate: Gate) -> None:
    with make("process", max_workers=1, slots={"gpu": 1}, mp_context="forkserver", on_worker_loss="replace") as pool:
        view = pool.options(slots={"gpu": 1})
        with pytest.raises(TimeoutError):
            pool.options(slots={"gpu": 1}, timeout=0.1).submit(calls.await_file, gate.path).result(LIMIT)
        with pytest.raises(WorkerLostError):
            view.submit(calls.end_worker).result(LIMIT)
        killed = view.submit(calls.await_file, gate.path)
        while not killed.running():
            time.sleep(0.001)
        assert pool.kill(killed)
        assert view.submit(calls.held).result(LIMIT) == {"gpu": (0,)}


@every_kind
def test_a_call_that_is_tried_again_takes_slots_again(kind: str, tmp_path: Path) -> None:
    with make(kind, max_workers=1, slots={"gpu": 1}) as pool:
        view = pool.options(slots={"gpu": 1}, retries=2, retry_on=LookupError, backoff=0)
        assert view.submit(calls.fail_once, str(tmp_path / "tried")).result(LIMIT) == (0,)


@every_kind
def test_shutdown_waits_for_calls_that_wait_for_slots(kind: str) -> None:
    pool = make(kind, max_workers=3, slots={"gpu": 1})
    futures = [pool.options(slots={"gpu": 1}).submit(calls.held_while, 0.002) for _ in range(10)]
    pool.shutdown()
    assert all(future.done() and future.result()[2] == {"gpu": (0,)} for future in futures)
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.options(slots={"gpu": 1}).submit(calls.held)


@every_kind
def test_shutdown_that_cancels_cancels_calls_that_wait_for_slots(kind: str, gate: Gate) -> None:
    pool = make(kind, max_workers=3, slots={"gpu": 1})
    running = pool.options(slots={"gpu": 1}).submit(calls.await_file, gate.path, "ran")
    gate.await_begun()
    waiting = [pool.options(slots={"gpu": 1}).submit(calls.held) for _ in range(10)]
    pool.shutdown(wait=False, cancel_futures=True)
    assert all(future.cancelled() for future in waiting)
    gate.open()
    pool.shutdown()
    assert running.result() == "ran"


@every_kind
def test_a_pool_that_is_dropped_runs_its_calls(kind: str, gate: Gate) -> None:
    pool = make(kind, max_workers=2, slots={"gpu": 1})
    first = pool.options(slots={"gpu": 1}).submit(calls.await_file, gate.path)
    gate.await_begun()
    rest = [pool.options(slots={"gpu": 1}).submit(calls.held) for _ in range(3)]
    del pool
    gc.collect()
    gate.open()
    assert first.result(LIMIT) is None
    assert [future.result(LIMIT) for future in rest] == [{"gpu": (0,)}] * 3


def test_calls_fail_with_a_pool_that_breaks(gate: Gate) -> None:
    with make("process", max_workers=2, slots={"gpu": 1}) as pool:
        view = pool.options(slots={"gpu": 1})
        lost = view.submit(calls.end_worker)
        waiting = view.submit(calls.held)
        for future in (lost, waiting):
            assert isinstance(future.exception(LIMIT), corefutures.BrokenExecutor)


@every_kind
@pytest.mark.parametrize("end", ["shutdown", "break"])
def test_a_pool_that_ends_while_a_call_asks_for_slots(kind: str, end: str, monkeypatch: pytest.MonkeyPatch) -> None:
    submit = SlotScheduler.submit

    def submit_late(scheduler: SlotScheduler, future: Any) -> None:
        ending = threading.Thread(target=ends[end])
        ending.start()
        ending.join()
        submit(scheduler, future)

    with make(kind, max_workers=1) as pool:
        ends = {
            "shutdown": lambda: pool.shutdown(wait=False, cancel_futures=True),
            "break": lambda: pool._cf_pool.mark_broken("broken here", LookupError()),
        }
        assert pool.options(slots={"gpu": 1}).submit(abs, -1).result(LIMIT) == 1
        monkeypatch.setattr(SlotScheduler, "submit", submit_late)
        future = pool.options(slots={"gpu": 1}).submit(abs, -1)
        corefutures.wait([future], LIMIT)
        assert future.cancelled() or isinstance(future.exception(), corefutures.BrokenExecutor)
        assert future.cancelled() == (end == "shutdown")


def test_calls_fail_with_an_initializer_that_fails(gate: Gate) -> None:
    with make("thread", max_workers=1, slots={"gpu": 1}, initializer=calls.fail) as pool:
        future = None
        try:
            future = pool.options(slots={"gpu": 1}).submit(calls.held)
        except corefutures.BrokenExecutor:
            return
        assert isinstance(future.exception(LIMIT), corefutures.BrokenExecutor)


@every_kind
def test_calls_that_wait_for_slots_count_as_waiting(kind: str, gate: Gate) -> None:
    with make(kind, max_workers=1, slots={"gpu": 1}, max_pending=2, when_full="raise") as pool:
        view = pool.options(slots={"gpu": 1})
        running = view.submit(calls.await_file, gate.path)
        gate.await_begun()
        waiting = [view.submit(calls.held) for _ in range(2)]
        others: list[Any] = []
        with pytest.raises(PoolFullError):
            others.extend(pool.submit(calls.held) for _ in range(2))
        gate.open()
        corefutures.wait([running, *waiting, *others], LIMIT)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_has_slots_of_its_own(gate: Gate) -> None:
    with make("thread", max_workers=1, slots={"gpu": 1}) as pool:
        view = pool.options(slots={"gpu": 1})
        running = view.submit(calls.await_file, gate.path)
        gate.await_begun()
        waiting = view.submit(calls.held)
        child = os.fork()
        if not child:
            status = 1
            try:
                lost = waiting.exception(LIMIT)
                told = view.submit(calls.held).result(LIMIT)
                pool.shutdown()
                status = 0 if isinstance(lost, corefutures.BrokenExecutor) and told == {"gpu": (0,)} else 2
            finally:
                os._exit(status)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
        gate.open()
        assert running.result(LIMIT) is None
        assert waiting.result(LIMIT) == {"gpu": (0,)}


MODULE = """\
import time
from corefutures import held_slots

def work(index):
    time.sleep(0.01)
    print(index, held_slots(), flush=True)
"""
PROGRAM = """\
import sys
import corefutures
from the_module import work

if __name__ == "__main__":
    pool = corefutures.create_executor(sys.argv[1], max_workers=2, slots={"gpu": 1})
    for index in range(4):
        pool.options(slots={"gpu": 1}).submit(work, index)
"""


@every_kind
def test_the_program_ends_after_the_calls_that_wait_for_slots(kind: str, tmp_path: Path) -> None:
    program = tmp_path / "program.py"
    program.write_text(PROGRAM)
    (tmp_path / "the_module.py").write_text(MODULE)
    ended = subprocess.run([sys.executable, program, kind], capture_output=True, text=True, timeout=LIMIT, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert ended.stdout.splitlines() == [f"{index} {{'gpu': (0,)}}" for index in range(4)]


# ── threads ──────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("workers", [1, 2])
def test_a_thread_that_waits_runs_the_calls_that_hold_what_it_waits_for(workers: int) -> None:
    with make("thread", max_workers=workers, slots={"gpu": 1}) as pool:
        view = pool.options(slots={"gpu": 1})

        def outer() -> list[Any]:
            return [future.result() for future in [view.submit(calls.held) for _ in range(20)]]

        futures = [pool.submit(outer) for _ in range(2 * workers)]
        assert [future.result(LIMIT) for future in futures] == [[{"gpu": (0,)}] * 20] * len(futures)


def test_a_call_that_waits_for_its_own_slots_fails() -> None:
    with make("thread", max_workers=3) as pool:

        def outer(demand: int) -> Any:
            return pool.options(slots={"gpu": demand}).submit(calls.held).result()

        with pytest.raises(
            DeadlockError,
            match=r"outer holds slots, and waits for a call that can't have its slots before: slots=\{'gpu': 2\}",
        ):
            pool.options(slots={"gpu": 1}).submit(outer, 2).result(LIMIT)
        assert len(pool.options(slots={"gpu": 1}).submit(outer, 1).result(LIMIT)["gpu"]) == 1


def test_a_call_in_place_of_another_one_has_its_own_slots() -> None:
    with make("thread", max_workers=1) as pool:

        def outer() -> Any:
            inner = pool.options(slots={"db": 2}).submit(calls.held).result()
            return inner, corefutures.held_slots()

        assert pool.options(slots={"gpu": 1}).submit(outer).result(LIMIT) == ({"db": (0, 1)}, {"gpu": (0,)})


# ── the environment ──────────────────────────────────────────────────────────────────────────────────────────


def test_cuda_visible_devices_is_set_during_a_call(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "7")
    with make("process", max_workers=1, slots={"gpu": [2, 5]}) as pool:
        assert pool.submit(calls.visible_devices).result(LIMIT) == "7"
        assert pool.options(slots={"gpu": 2}).submit(calls.visible_devices).result(LIMIT) == "2,5"
        assert pool.submit(calls.visible_devices).result(LIMIT) == "7"


def test_cuda_visible_devices_is_not_set_in_threads() -> None:
    with make("thread", max_workers=1, slots={"gpu": [2, 5]}) as pool:
        before = calls.visible_devices()
        assert pool.options(slots={"gpu": 1}).submit(calls.visible_devices).result(LIMIT) == before


# ── bad input ────────────────────────────────────────────────────────────────────────────────────────────────


@every_kind
@pytest.mark.parametrize(
    ("slots", "error", "says"),
    [
        ("gpu", TypeError, "slots must be a dict"),
        ({}, ValueError, "names no slots"),
        ({"": 1}, ValueError, "name of slots is empty"),
        ({1: 1}, TypeError, "the name of slots must be a str"),
        ({"gpu": 0}, ValueError, "must be at least one, not 0"),
        ({"gpu": -1}, ValueError, "must be at least one, not -1"),
        ({"gpu": True}, TypeError, "must be a number or a list of ids, not True"),
        ({"gpu": 1.5}, TypeError, "must be a number or a list of ids, not 1.5"),
        ({"gpu": []}, ValueError, "has no ids"),
        ({"gpu": [0, 0]}, ValueError, "has an id twice"),
        ({"gpu": [None]}, TypeError, "must be an int or a str, not None"),
        ({"gpu": "01"}, TypeError, "must be a number or a list of ids, not '01'"),
    ],
)
def test_slots_that_make_no_sense_are_refused(kind: str, slots: Any, error: type[Exception], says: str) -> None:
    with pytest.raises(error, match=says):
        make(kind, slots=slots)


@every_kind
@pytest.mark.parametrize(
    ("slots", "error", "says"),
    [
        ("gpu", TypeError, "slots must be a dict"),
        ({}, ValueError, "demands nothing"),
        ({"tpu": 1}, ValueError, "this pool has no slots 'tpu'; it has 'gpu', 'db'"),
        ({"gpu": 0}, ValueError, "at least one of the slots 'gpu', not 0"),
        ({"gpu": -2}, ValueError, "at least one of the slots 'gpu', not -2"),
        ({"gpu": True}, TypeError, "a number of slots 'gpu', not True"),
        ({"gpu": [0]}, TypeError, r"a number of slots 'gpu', not \[0\]"),
        ({"gpu": 3}, ValueError, "demands 3 slots 'gpu' could never run: this pool has 2"),
    ],
)
def test_demands_that_make_no_sense_are_refused(kind: str, slots: Any, error: type[Exception], says: str) -> None:
    with make(kind, max_workers=1) as pool, pytest.raises(error, match=says):
        pool.options(slots=slots)


@every_kind
def test_a_pool_without_slots_refuses_demands(kind: str) -> None:
    with corefutures.create_executor(kind, max_workers=1) as pool, pytest.raises(ValueError, match="has no slots"):
        pool.options(slots={"gpu": 1})


def test_slots_and_a_submitter_that_runs_calls_are_incompatible() -> None:
    with pytest.raises(ValueError, match="caller_runs"):
        make("thread", max_pending=1, when_full="caller_runs")


def test_an_executor_that_can_have_no_slots_says_which_can() -> None:
    import concurrent.futures

    with concurrent.futures.ThreadPoolExecutor() as threads:
        adapted = corefutures.adapt(threads)
        with pytest.raises(UnsupportedError, match="grant slots"):
            adapted.options(slots={"gpu": 1})


def test_options_of_a_view_are_kept() -> None:
    with make("thread", max_workers=1) as pool:
        view = pool.options(slots={"gpu": 1}).options(name="named")
        future = view.submit(calls.held)
        assert future.result(LIMIT) == {"gpu": (0,)}
        assert "named" in repr(future)


def test_start_methods_beside_slots(gate: Gate) -> None:
    for method in {"fork", "forkserver", "spawn"}.intersection(multiprocessing.get_all_start_methods()):
        with make("process", max_workers=2, mp_context=method) as pool:
            assert pool.options(slots={"gpu": 2}).submit(calls.held).result(LIMIT) == {"gpu": (0, 1)}
