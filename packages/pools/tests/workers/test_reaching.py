"""A call that wants to submit to its own pool, or to wait for one of its futures, is told that it can't."""

from __future__ import annotations

import copy
import multiprocessing
import pickle
import sys
from typing import Any

import control_calls
import pytest
from races import LIMIT

import corefutures

Make = Any


def test_a_pool_does_not_travel_to_its_calls(make: Make) -> None:
    pool = make(1)
    error = pool.submit(control_calls.submit_to, pool).exception(LIMIT)
    assert "can't reach its pool" in str(error)
    assert "create_executor('thread')" in str(error)
    error = pool.submit(control_calls.wait_for, pool.submit(abs, -1)).exception(LIMIT)
    assert "can't be pickled: wait for it where it was made" in str(error)
    assert pool.submit(abs, -1).result(LIMIT) == 1


@pytest.mark.parametrize("duplicate", [pickle.dumps, copy.copy, copy.deepcopy])
def test_no_pool_or_future_is_duplicated(duplicate: Any) -> None:
    with corefutures.ThreadPoolExecutor(1) as threads, corefutures.ProcessPoolExecutor(1) as processes:
        for thing in (threads, processes, threads.submit(int), corefutures.Future()):
            with pytest.raises(TypeError, match="can't be pickled"):
                duplicate(thing)


@pytest.mark.skipif("fork" not in multiprocessing.get_all_start_methods(), reason="this platform has no fork")
@pytest.mark.filterwarnings("ignore:.*use of fork.. may lead to deadlocks:DeprecationWarning")
@pytest.mark.parametrize("portable", ["0", "1"] if sys.platform == "linux" else ["1"])
def test_an_inherited_pool_refuses_what_its_own_worker_submits(portable: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COREFUTURES_PORTABLE", portable)
    with corefutures.ProcessPoolExecutor(1, multiprocessing.get_context("fork")) as pool:
        control_calls.inherited.append(pool)
        try:
            error = pool.submit(control_calls.submit_to_inherited).exception(LIMIT)
        finally:
            control_calls.inherited.clear()
        assert isinstance(error, RuntimeError)
        assert "a call can't submit to the process pool that runs it" in str(error)
        assert pool.submit(abs, -1).result(LIMIT) == 1
