"""Cancelling and fairness: the order of calls, what was sent ahead, 1 long call among 1,000 short ones (E2, E3)."""

from __future__ import annotations

import threading

import process_calls
import pytest


def test_running_is_true_for_what_runs_and_for_nothing_else(make_pool, gate, tmp_path):
    pool = make_pool(1)
    started = str(tmp_path / "started")
    futures = [pool.submit(process_calls.start_and_pass, started, str(gate), n) for n in range(6)]
    process_calls.until(lambda: process_calls.lines(started))
    assert [future.running() for future in futures] == [True] + [False] * 5
    gate.touch()
    assert [future.result(30) for future in futures] == list(range(6))
    assert not any(future.running() for future in futures)


def test_every_waiting_call_can_be_cancelled(make_pool, gate, tmp_path):
    pool = make_pool(2)
    started, journal = str(tmp_path / "started"), str(tmp_path / "journal")
    for future in [pool.submit(process_calls.square, n) for n in range(500)]:  # warm, so that calls are sent ahead
        future.result(30)
    busy = [pool.submit(process_calls.start_and_pass, started, str(gate), n) for n in range(2)]
    process_calls.until(lambda: len(process_calls.lines(started)) == 2)
    waiting = [pool.submit(process_calls.note_and_return, journal, n) for n in range(300)]
    assert not any(future.cancel() for future in busy)
    cancelled = waiting[::2]
    assert all(future.cancel() for future in cancelled)
    assert all(future.cancelled() and future.done() and not future.running() for future in cancelled)
    gate.touch()
    assert [future.result(30) for future in waiting[1::2]] == list(range(1, 300, 2))
    assert [future.result(30) for future in busy] == [0, 1]
    pool.shutdown()
    assert sorted(map(int, process_calls.lines(journal))) == list(range(1, 300, 2))


def test_calls_start_in_the_order_submitted(make_pool, gate, tmp_path):
    """Also with a second worker that has no time: what it might have been sent ahead must not be late."""
    pool = make_pool(2)
    started, journal = str(tmp_path / "started"), str(tmp_path / "journal")
    for future in [pool.submit(process_calls.square, n) for n in range(500)]:
        future.result(30)
    long = pool.submit(process_calls.start_and_pass, started, str(gate))
    process_calls.until(lambda: process_calls.lines(started))
    for future in [pool.submit(process_calls.note_and_return, journal, n) for n in range(1000)]:
        future.result(30)
    assert process_calls.lines(journal) == [str(n) for n in range(1000)]
    gate.touch()
    long.result(30)


@pytest.mark.parametrize("position", [0, 1, 2, 31, 32, 500, 999, 1000])
@pytest.mark.parametrize("warm", [False, True])
def test_short_calls_never_wait_for_a_long_one(make_pool, gate, position, warm):
    pool = make_pool(2)
    if warm:
        assert sum(pool.map(process_calls.echo, range(300))) == 44850
    short = [pool.submit(process_calls.echo, n) for n in range(position)]
    long = pool.submit(process_calls.pass_gate, str(gate))
    short += [pool.submit(process_calls.echo, n) for n in range(position, 1000)]
    assert [future.result(30) for future in short] == list(range(1000))
    assert not long.done()
    gate.touch()
    long.result(30)


def test_short_calls_never_wait_for_long_ones_in_chunks(make_pool, gate):
    pool = make_pool(3)
    long = [pool.submit(process_calls.pass_gate, str(gate)) for _ in range(2)]
    assert list(pool.map(process_calls.echo, range(1000), chunksize=7)) == list(range(1000))
    assert list(pool.map(process_calls.echo, range(1000), chunksize="auto")) == list(range(1000))
    gate.touch()
    for future in long:
        future.result(30)


def test_all_workers_run_at_once_and_never_more(make_pool, gate, tmp_path):
    pool = make_pool(4)
    started = str(tmp_path / "started")
    futures = [pool.submit(process_calls.start_and_pass, started, str(gate), n) for n in range(12)]
    process_calls.until(lambda: len(process_calls.lines(started)) == 4)
    assert sum(future.running() for future in futures) == 4
    gate.touch()
    assert [future.result(30) for future in futures] == list(range(12))
    assert len(set(process_calls.lines(started))) == 4


def test_cancelling_races_with_starting(make_pool, tmp_path):
    """Each call either ran, once, and has its result, or was cancelled, and never ran."""
    pool = make_pool(2)
    journal = str(tmp_path / "journal")
    futures = []
    told = []
    done = threading.Event()

    def cancel_some():
        position = 0
        while not done.is_set() or position < len(futures):
            if position < len(futures):
                if position % 3 == 0:
                    told.append((futures[position], futures[position].cancel()))
                position += 1

    cancellers = [threading.Thread(target=cancel_some) for _ in range(2)]
    for thread in cancellers:
        thread.start()
    for n in range(3000):
        futures.append(pool.submit(process_calls.note_and_return, journal, n))  # noqa: PERF401 - read while it grows
    done.set()
    for thread in cancellers:
        thread.join()
    pool.shutdown()
    ran = list(map(int, process_calls.lines(journal)))
    assert len(ran) == len(set(ran))
    assert set(ran) == {n for n, future in enumerate(futures) if not future.cancelled()}
    for n, future in enumerate(futures):
        assert future.cancelled() or future.result(0) == n
    for future, answer in told:
        assert answer == future.cancelled()


def test_cancelling_wakes_and_calls_back_at_once(make_pool, gate):
    pool = make_pool(1)
    first = pool.submit(process_calls.pass_gate, str(gate))
    process_calls.until(first.running)
    future = pool.submit(process_calls.square, 2)
    called = []
    future.add_done_callback(called.append)
    assert future.cancel()
    assert future.cancel()
    assert called == [future]
    gate.touch()
    first.result(30)


def test_cancelled_futures_free_their_arguments_and_their_place(make_pool, gate):
    pool = make_pool(1)
    first = pool.submit(process_calls.pass_gate, str(gate))
    process_calls.until(first.running)
    for _ in range(20):  # many times what may be sent ahead
        for future in [pool.submit(process_calls.echo, n) for n in range(500)]:
            assert future.cancel()
            assert future._body is None
    big = [pool.submit(len, bytearray(1_000_000)) for _ in range(5)]
    assert all(future.cancel() for future in big)
    gate.touch()
    first.result(30)
    assert pool.submit(process_calls.square, 5).result(30) == 25
    assert not pool._cf_pool.calls
