"""`map` whose iterator is dropped: what was called for its effects runs, what nobody wants is cancelled."""

from __future__ import annotations

import gc
import threading

import corefutures


def test_untouched_iterator_lets_its_calls_run() -> None:
    gate = threading.Event()
    ran: list[int] = []
    with corefutures.ThreadPoolExecutor(1) as pool:
        pool.submit(gate.wait)
        pool.map(ran.append, range(5))
        gc.collect()
        gate.set()

    assert ran == [0, 1, 2, 3, 4]


def test_iterator_dropped_between_results_cancels_the_rest() -> None:
    gate = threading.Event()
    ran: list[int] = []

    def call(item: int) -> None:
        if item == 1:
            gate.wait()
        ran.append(item)

    with corefutures.ThreadPoolExecutor(1) as pool:
        results = pool.map(call, range(5))
        next(results)
        del results
        gc.collect()
        gate.set()

    assert ran in ([0], [0, 1])
