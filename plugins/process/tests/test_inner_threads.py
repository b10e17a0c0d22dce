"""`inner_threads`: what BLAS and OpenMP find in workers, however these were started."""

from __future__ import annotations

import importlib.util
import os
import pickle
import sys

import inner_calls
import pytest

import corefutures
from corefutures import ProcessPoolExecutor, ThreadPoolExecutor, UnsupportedError
from corefutures_process._inherited_state import StatefulName, inherited_state
from corefutures_process._inner_threads import VARIABLES

LIMIT = 30.0


def test_a_worker_has_the_limits_before_it_imports_anything(make_pool, method):
    before = dict(os.environ)
    pool = make_pool(1, inner_threads=3, initializer=inner_calls.note, initargs=("noted",))
    now, at_import, noted = pool.submit(inner_calls.limits).result(LIMIT)
    assert now == ["3"] * len(VARIABLES)
    assert noted == "noted"
    if method == "spawn":  # the others may have what was imported here
        assert at_import == ["3"] * len(VARIABLES)
    assert pool.submit(inner_calls.name_of_process).result(LIMIT) == next(iter(pool._processes.values())).name
    assert type(next(iter(pool._processes.values())).name) is str
    assert dict(os.environ) == before


def test_without_it_nothing_is_set(make_pool, monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    pool = make_pool(1)
    assert pool.submit(inner_calls.limits).result(LIMIT)[0] == [None] * len(VARIABLES)


@pytest.mark.skipif(
    not (importlib.util.find_spec("numpy") and importlib.util.find_spec("threadpoolctl")),
    reason="NumPy or threadpoolctl is not installed",
)
def test_numpy_keeps_to_it(make_pool):
    pool = make_pool(1, inner_threads=1)
    assert set(pool.submit(inner_calls.blas_threads).result(LIMIT)) <= {1}


def test_the_name_sets_limits_where_it_arrives(monkeypatch):
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    name = StatefulName("it's", inherited_state(2))
    assert name == "it's"
    data = pickle.dumps(name)
    expected = {**os.environ, **dict.fromkeys(VARIABLES, "2")}
    monkeypatch.setattr(os, "environ", {"SECRET": "removed meanwhile"})
    arrived = pickle.loads(data)
    assert (arrived, type(arrived)) == ("it's", str)
    assert os.environ == expected


@pytest.mark.parametrize(("value", "error"), [(0, ValueError), (-1, ValueError), (True, TypeError), ("1", TypeError)])
def test_bad_numbers_are_refused(value, error):
    with pytest.raises(error, match="inner_threads"):
        ProcessPoolExecutor(1, inner_threads=value)


def test_pools_in_one_process_refuse_it():
    with pytest.raises(UnsupportedError, match="process"):
        ThreadPoolExecutor(1, inner_threads=1)
    if corefutures.backends()["interpreter"].state in ("available", "installed") and sys.version_info >= (3, 14):
        with pytest.raises(UnsupportedError, match="process"):
            corefutures.InterpreterPoolExecutor(1, inner_threads=1)
