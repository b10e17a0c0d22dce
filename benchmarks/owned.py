"""What workers own: an object that is sent to each of them once, beside the ways in which programs do that today.

The object is an array of 64 MB: one of NumPy where that is installed, which joblib needs. Two workers; a call tells the
size of the object. And what a new worker costs, with a template (`warm`), with a spare, and without.
"""

from __future__ import annotations

import concurrent.futures as standard
import importlib
import importlib.util
import multiprocessing
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import corefutures
from benchmarks.measuring import Row, Sheet, seconds

BYTES = 64_000_000
WORKERS = 2
CALLS = 1_000
#: Milliseconds that a second send of the object may cost.
SECOND_SEND = 0.5
#: How much longer calls with the object may take than calls with a small integer, and how much longer a thousand calls
#: for which it is shared may take than one for which it is.
SLOWDOWN = 1.3
#: The memory limit of a worker, and in how many milliseconds a call that exceeds it is to be stopped.
MEMORY = 512 << 20
STOP = 200.0

#: How much longer the first result of a warm pool may take than that of a pool whose call needs no import.
WARM = 1.3
#: Milliseconds from the loss of a worker to the first result of another one: from a template, and of a spare.
REPLACED, REPLACED_BY_SPARE = 20, 3
#: A module whose import takes long.
HEAVY = "numpy" if importlib.util.find_spec("numpy") is not None else "asyncio"

#: The object of a worker, for the idiom of an initializer and a global.
_owned: Any = None

KILL = getattr(signal, "SIGKILL", signal.SIGTERM)  # Windows ends a process by any of them


def big() -> Any:
    if importlib.util.find_spec("numpy") is None:
        return memoryview(bytes(BYTES))
    return importlib.import_module("numpy").zeros(BYTES, "B")


def own(owned: Any) -> None:
    global _owned
    _owned = owned


def size_of_own(number: int) -> int:
    return len(_owned) + number


def size_of(owned: Any, number: int) -> int:
    return (owned if type(owned) is int else len(owned)) + number


def make(workers: int = WORKERS) -> Any:
    return corefutures.create_executor("process", max_workers=workers, mp_context="forkserver")


def make_standard(workers: int = WORKERS, owned: Any = None) -> Any:
    context = multiprocessing.get_context("forkserver")
    return standard.ProcessPoolExecutor(workers, context, initializer=own, initargs=(owned,))


def _all(futures: list[Any]) -> None:
    for future in futures:
        future.result()


# ── a second send ────────────────────────────────────────────────────────────────────────────────────────────


def second_call() -> float:
    """Milliseconds of a call with the object, of a worker that has it."""
    with make(1) as pool, pool.share(big()) as shared:
        return _second(partial(pool.submit, size_of, shared, 1))


def second_call_of_global() -> float:
    """The same by an initializer and a global."""
    owned = bytes(BYTES)  # no initializer gets a memoryview
    with make_standard(1, owned) as pool:
        return _second(partial(pool.submit, size_of_own, 1))


def second_call_sent_again() -> float:
    """The same, and the object is an argument."""
    owned = bytes(BYTES)
    with make_standard(1) as pool:
        return _second(partial(pool.submit, size_of, owned, 1))


def _second(submit: Callable[[], Any]) -> float:
    submit().result()
    return min(seconds(lambda: submit().result()) for _ in range(20)) * 1e3


# ── many calls ───────────────────────────────────────────────────────────────────────────────────────────────


def calls_with(shares: bool) -> float:
    """Microseconds of a call, of many, with the shared object or with an integer."""
    with make() as pool:
        argument = pool.share(big()) if shares else BYTES

        def run(count: int) -> None:
            _all([pool.submit(size_of, argument, number) for number in range(count)])

        return _many(run)


def calls_with_global() -> float:
    with make_standard(owned=bytes(BYTES)) as pool:
        return _many(lambda count: _all([pool.submit(size_of_own, number) for number in range(count)]))


def calls_of_mpire(way: str) -> float:
    """mpire: its `shared_objects`, or its `worker_init` with a state for each worker."""
    library: Any = importlib.import_module("mpire")
    owned = big()
    options = {"shared_objects": owned} if way == "shared_objects" else {"use_worker_state": True}
    with library.WorkerPool(WORKERS, start_method="fork", keep_alive=True, **options) as pool:
        if way == "shared_objects":
            return _many(lambda count: pool.map(size_of, range(count), iterable_len=count, chunk_size=1))
        return _many(
            lambda count: pool.map(
                _size_in_state, range(count), iterable_len=count, chunk_size=1, worker_init=_make_state
            )
        )


def _make_state(state: dict[str, Any]) -> None:
    state["owned"] = big()


def _size_in_state(state: dict[str, Any], number: int) -> int:
    return size_of(state["owned"], number)


def calls_of_joblib() -> float:
    """joblib: arrays of NumPy become memory maps."""
    library: Any = importlib.import_module("joblib")
    owned = big()
    with library.Parallel(n_jobs=WORKERS) as parallel:
        return _many(lambda count: parallel(library.delayed(size_of)(owned, number) for number in range(count)))


def _many(run: Callable[[int], object]) -> float:
    """Microseconds of a call: the quickest of several runs, as all workers have started and have the object then."""
    run(50)
    return min(seconds(lambda: run(CALLS)) for _ in range(5)) / CALLS * 1e6


def shared_and_used(calls: int) -> float:
    """Milliseconds from the object to the last result of so many calls with it, in a pool that runs."""
    with make() as pool:
        _all([pool.submit(size_of, 1, number) for number in range(50)])
        owned = big()

        def run() -> None:
            with pool.share(owned) as shared:
                _all([pool.submit(size_of, shared, number) for number in range(calls)])

        return min(seconds(run) for _ in range(5)) * 1e3


# ── values that workers make ─────────────────────────────────────────────────────────────────────────────────

local: Any = corefutures.worker_local(int, 7)


def add_to_local(number: int) -> int:
    return int(local.get()) + number


def add_to_own(number: int) -> int:
    return int(_owned) + number


def _add_to_state(state: dict[str, Any], number: int) -> int:
    return int(state["owned"]) + number


def _make_small_state(state: dict[str, Any]) -> None:
    state["owned"] = 7


def calls_of(pool: Any, call: Callable[[int], int]) -> float:
    """Microseconds of a call, of many, that adds a number to what its worker owns."""
    with pool:
        return _many(lambda count: _all([pool.submit(call, number) for number in range(count)]))


def calls_with_local() -> float:
    return calls_of(make(), add_to_local)


def calls_with_own() -> float:
    """The same by an initializer and a global."""
    pool = corefutures.create_executor(
        "process", max_workers=WORKERS, mp_context="forkserver", initializer=own, initargs=(7,)
    )
    return calls_of(pool, add_to_own)


def calls_with_own_of_standard() -> float:
    return calls_of(make_standard(owned=7), add_to_own)


def calls_with_state_of_mpire() -> float:
    library: Any = importlib.import_module("mpire")
    with library.WorkerPool(WORKERS, start_method="fork", keep_alive=True, use_worker_state=True) as pool:
        return _many(
            lambda count: pool.map(
                _add_to_state, range(count), iterable_len=count, chunk_size=1, worker_init=_make_small_state
            )
        )


def owning() -> Iterator[Row]:
    peers: dict[str, Callable[[], float]] = {"standard_global_of_initializer": calls_with_own_of_standard}
    if _has_mpire():
        peers["mpire_worker_init"] = calls_with_state_of_mpire
    yield Row(
        what="one of 1,000 calls with a worker-local value, beside one with a global of an initializer",
        unit="µs a call",
        ours=calls_with_local,
        against=calls_with_own,
        others=peers,
    )


def _has_mpire() -> bool:
    return importlib.util.find_spec("mpire") is not None and "fork" in multiprocessing.get_all_start_methods()


# ── the first use ────────────────────────────────────────────────────────────────────────────────────────────


def first_use() -> float:
    """Milliseconds from the object to the first result with it, in a pool that runs."""
    with make(1) as pool:
        pool.submit(size_of, 1, 1).result()
        owned = big()

        def run() -> None:
            with pool.share(owned) as shared:
                pool.submit(size_of, shared, 1).result()

        return min(seconds(run) for _ in range(3)) * 1e3


def first_use_as_argument() -> float:
    """The same, and the object is an argument."""
    owned = bytes(BYTES)
    with make_standard(1) as pool:
        pool.submit(size_of, 1, 1).result()
        return min(seconds(lambda: pool.submit(size_of, owned, 1).result()) for _ in range(3)) * 1e3


def sharing() -> Iterator[Row]:
    yield Row(
        what="a second send of 64 MB, beside a global",
        unit="ms",
        ours=second_call,
        against=second_call_of_global,
        at_most=SECOND_SEND,
        others={"sent_again": second_call_sent_again},
    )
    peers: dict[str, Callable[[], float]] = {"global_of_initializer": calls_with_global}
    if _has_mpire():
        peers["mpire_shared_objects"] = partial(calls_of_mpire, "shared_objects")
        peers["mpire_worker_init"] = partial(calls_of_mpire, "worker_init")
    if all(importlib.util.find_spec(name) is not None for name in ("joblib", "numpy")):
        peers["joblib_memmap"] = calls_of_joblib
    yield Row(
        what="one of 1,000 calls with a shared object of 64 MB, which the workers have, beside one with an integer",
        unit="µs a call",
        ours=partial(calls_with, True),
        against=partial(calls_with, False),
        at_least=1 / SLOWDOWN,
        others=peers,
    )
    yield Row(
        what="64 MB are shared and 1,000 calls use them, beside 64 MB that are shared for one call",
        unit="ms",
        ours=partial(shared_and_used, CALLS),
        against=partial(shared_and_used, 1),
        at_least=1 / SLOWDOWN,
    )
    yield Row(
        what="64 MB to a worker for the first time, beside an argument",
        unit="ms",
        ours=first_use,
        against=first_use_as_argument,
    )


# ── new workers ──────────────────────────────────────────────────────────────────────────────────────────────


def use(module: str) -> bool:
    """Need a module, as a call does."""
    return importlib.import_module(module).__name__ in sys.modules


def first_result(module: str, **options: Any) -> float:
    """Milliseconds from making a pool to the result of a call that needs the module."""
    start = time.perf_counter()
    with corefutures.create_executor("process", max_workers=1, mp_context="forkserver", **options) as pool:
        pool.submit(use, module).result()
        return (time.perf_counter() - start) * 1e3


def first_result_of_running_template() -> float:
    with corefutures.create_executor("process", max_workers=1, warm=[HEAVY]):
        return first_result(HEAVY, warm=[HEAVY])


def first_result_of_new_template() -> float:
    importlib.import_module("corefutures_process._template").close_all()
    return first_result(HEAVY, warm=[HEAVY])


def first_result_of_standard(module: str) -> float:
    start = time.perf_counter()
    with make_standard(1) as pool:
        pool.submit(use, module).result()
        return (time.perf_counter() - start) * 1e3


def replacement(method: str = "forkserver", call: Callable[..., Any] = use, **options: Any) -> float:
    """Milliseconds from the loss of a worker to the first result of the next one: by default it needs the module.

    The next worker also imports the module of the function, unless that is among those of `warm`.
    """
    costs = []
    pool: Any = corefutures.create_executor(
        "process", max_workers=1, mp_context=method, on_worker_loss="replace", **options
    )
    args = (HEAVY,) if call is use else ()
    with pool:
        pool.submit(call, *args).result()
        for _ in range(5):
            victim = pool.submit(os.getpid).result()
            while sum(worker.state == "spare" for worker in pool.snapshot().workers) < options.get("spares", 0):
                time.sleep(0.01)
            start = time.perf_counter()
            os.kill(victim, KILL)
            while pool.submit(call, *args).exception() is not None:  # the lost worker has claimed it as its last call
                pass
            costs.append((time.perf_counter() - start) * 1e3)
    return statistics.median(costs)


def replacement_of_standard() -> float:
    """The same by another pool, because the pool is broken."""
    with make_standard(1) as pool:
        victim = pool.submit(os.getpid).result()
        start = time.perf_counter()
        os.kill(victim, KILL)
        try:
            pool.submit(use, HEAVY).result()
        except standard.BrokenExecutor:
            pass
        with make_standard(1) as other:
            other.submit(use, HEAVY).result()
            return (time.perf_counter() - start) * 1e3


def _nothing() -> float:
    return 0.0


def starting() -> Iterator[Row]:
    yield Row(
        what=f"first result of a new pool, warm=[{HEAVY!r}], beside a pool whose call imports nothing",
        unit="ms",
        ours=first_result_of_running_template,
        against=partial(first_result, "os"),
        at_least=1 / WARM,
        others={
            "template_starts_as_well": first_result_of_new_template,
            "without_warm": partial(first_result, HEAVY),
            "standard": partial(first_result_of_standard, HEAVY),
        },
    )
    warm = [HEAVY, __name__]
    yield Row(
        what=f"a lost worker is replaced, warm={warm!r}: milliseconds to the first result that needs both",
        unit="ms",
        ours=partial(replacement, warm=warm),
        against=_nothing,
        at_most=REPLACED,
        others={
            "call_needs_nothing": partial(replacement, call=os.getpid, warm=warm),
            "without_warm": replacement,
            "standard_another_pool": replacement_of_standard,
        },
    )
    yield Row(
        what=f"a lost worker is replaced, warm={warm!r}, spares=1: milliseconds to the first result that needs both",
        unit="ms",
        ours=partial(replacement, warm=warm, spares=1),
        against=_nothing,
        at_most=REPLACED_BY_SPARE,
        others={
            "call_needs_nothing": partial(replacement, call=os.getpid, warm=warm, spares=1),
            "spare_of_spawn_with_initializer": partial(
                replacement, "spawn", spares=1, initializer=use, initargs=(HEAVY,)
            ),
            "spawn_without_spare": partial(replacement, "spawn"),
        },
    )


# ── slots and memory ─────────────────────────────────────────────────────────────────────────────────────────


def calls_with_slots(demand: dict[str, int] | None, **options: Any) -> float:
    """Microseconds of a call, of many, each with slots or without."""
    pool: Any = corefutures.create_executor("process", max_workers=WORKERS, mp_context="forkserver", **options)
    with pool:
        view = pool if demand is None else pool.options(slots=demand)
        return _many(lambda count: _all([view.submit(size_of, 1, number) for number in range(count)]))


def _grow(path: str) -> None:
    """Take memory until this worker is killed; write down when it exceeds the limit."""
    kept = []
    while True:
        kept.append(bytearray(b"\1") * (1 << 22))
        if len(kept) == (MEMORY >> 22) - 4:  # the rest is what the worker had before
            with open(path, "w") as file:
                file.write(repr(time.monotonic()))


def until_stopped() -> float:
    """Milliseconds from the moment in which a call exceeds the limit to its error."""
    with (
        tempfile.TemporaryDirectory() as folder,
        corefutures.create_executor("process", max_workers=1, mp_context="forkserver", memory=MEMORY) as pool,
    ):
        path = os.path.join(folder, "exceeded")
        pool.submit(_grow, path).exception()
        ended = time.monotonic()
        with open(path) as file:
            return (ended - float(file.read())) * 1e3


def limiting() -> Iterator[Row]:
    slots = {"gpu": [0, 1], "db": 3}
    yield Row(
        what="1,000 calls with a slot each, beside calls of a pool without slots",
        unit="µs a call",
        ours=partial(calls_with_slots, {"gpu": 1}, slots=slots),
        against=partial(calls_with_slots, None),
        others={"without_demand": partial(calls_with_slots, None, slots=slots)},
    )
    yield Row(
        what="1,000 calls of a pool with a memory limit, beside one without",
        unit="µs a call",
        ours=partial(calls_with_slots, None, memory="4 GiB"),
        against=partial(calls_with_slots, None),
    )
    yield Row(
        what="from 512 MiB exceeded to the error",
        unit="ms",
        ours=until_stopped,
        against=lambda: 0.0,
        at_most=STOP,
    )


def sheets() -> Iterator[Sheet]:
    yield Sheet(title="Values that workers make", rows=owning)
    yield Sheet(title="Objects that are shared with workers", rows=sharing)
    if "forkserver" in multiprocessing.get_all_start_methods():
        yield Sheet(title="What a new worker costs", rows=starting)
    yield Sheet(title="Slots and memory limits of workers", rows=limiting)
