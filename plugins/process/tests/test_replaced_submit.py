"""Tools may replace the standard library's `submit`: our calls go through it, if what it makes can be pickled."""

import concurrent.futures as standard
import sys
from functools import partial

import pytest

from corefutures import Future

LIMIT = 40

ORIGINAL = standard.ProcessPoolExecutor.submit


def test_a_function_that_replaces_it(make_pool, monkeypatch):
    seen = []

    def submit(self, fn, /, *args, **kwargs):
        seen.append((fn, args, kwargs, self._max_workers, isinstance(self, standard.ProcessPoolExecutor)))
        return ORIGINAL(self, partial(fn, 7), *args, **kwargs)

    pool = make_pool(1)
    assert pool.submit(divmod, 7, 4).result(LIMIT) == (1, 3)
    monkeypatch.setattr(standard.ProcessPoolExecutor, "submit", submit)
    future = pool.submit(divmod, 4)
    assert isinstance(future, Future)
    assert future.result(LIMIT) == (1, 3)
    assert seen == [(divmod, (4,), {}, 1, True)]
    assert list(pool.map(divmod, [4, 5])) == [(1, 3), (1, 2)]
    assert len(seen) == 3
    pool.shutdown()
    with pytest.raises(RuntimeError, match="after shutdown"):
        pool.submit(divmod, 4)
    assert len(seen) == 3


def test_what_cannot_be_pickled_fails_its_call(make_pool, monkeypatch):
    pool = make_pool(1)
    monkeypatch.setattr(
        standard.ProcessPoolExecutor, "submit", lambda self, fn, /, *args: ORIGINAL(self, lambda: fn(*args))
    )
    assert pool.submit(int).exception(LIMIT) is not None
    monkeypatch.undo()
    assert pool.submit(int).result(LIMIT) == 0


def test_our_class_is_in_the_place_of_the_standard_one(make_pool, monkeypatch):
    """A drop-in by assignment, beside a tool that has replaced the standard function before."""
    theirs, pool = standard.ProcessPoolExecutor, make_pool(1)
    monkeypatch.setattr(
        theirs, "submit", lambda self, fn, /, *args, **kwargs: ORIGINAL(self, partial(fn, 7), *args, **kwargs)
    )
    monkeypatch.delitem(sys.modules, "corefutures_process._standard_pool_proxy", raising=False)
    monkeypatch.setattr(standard, "ProcessPoolExecutor", type(pool))
    monkeypatch.setattr(standard.process, "ProcessPoolExecutor", type(pool))
    assert pool.submit(divmod, 4).result(LIMIT) == (1, 3)
