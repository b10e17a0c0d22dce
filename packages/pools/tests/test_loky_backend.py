"""The backend "loky": loky's pool behind `adapt`, chosen by name."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
from importlib import metadata

import pytest
from races import LIMIT

import corefutures
from corefutures import BackendUnavailableError, BrokenExecutor
from corefutures_pools.adapters import _loky_plugin

pytestmark = pytest.mark.timeout(120)

needs_loky = pytest.mark.skipif(
    importlib.util.find_spec("loky") is None,
    reason="needs the capability to import loky (of the dependency group test)",
)
needs_entry_point = pytest.mark.skipif(
    "loky" not in metadata.entry_points(group="corefutures.backends").names,
    reason="needs the capability to find the backend by its entry point: an installation of this version",
)


class FailsToUnpickle:
    def __reduce__(self):
        return int, ("x",)


@pytest.fixture(scope="module")
def executor():
    from corefutures_pools.adapters.loky import make_executor

    with make_executor(2, context="spawn") as executor:
        yield executor


@needs_loky
def test_functions_without_a_name_and_every_keyword_reach_the_call(executor):
    assert executor.submit(lambda *args, fn, self: (args, fn, self), 1, fn=2, self=3).result(LIMIT) == ((1,), 2, 3)
    assert executor.submit(os.getpid).result(LIMIT) != os.getpid()


@needs_loky
def test_a_result_that_does_not_unpickle_fails_alone(executor):
    assert isinstance(executor.submit(FailsToUnpickle).exception(LIMIT), ValueError)
    assert executor.submit(int, "7").result(LIMIT) == 7


@needs_loky
def test_calls_that_wait_can_be_cancelled_and_map_is_bounded(executor, tmp_path):
    gate = tmp_path / "gate"

    def hold(path):
        import pathlib
        import time

        while not pathlib.Path(path).exists():
            time.sleep(0.01)

    held = [executor.submit(hold, str(gate)) for _ in range(2)]
    waiting = [executor.submit(int) for _ in range(4)]
    assert all(future.running() for future in held)
    assert all(future.cancel() for future in waiting)
    gate.touch()
    assert [future.result(LIMIT) for future in held] == [None, None]
    drawn = []
    results = executor.map(abs, (drawn.append(n) or -n for n in range(100)), buffersize=3)
    assert next(results) == 0
    assert len(drawn) < 10
    results.close()


@needs_loky
def test_an_initializer_that_fails_breaks_the_executor():
    from corefutures_pools.adapters.loky import make_executor

    def fail():
        raise ZeroDivisionError("not today")

    with make_executor(1, fail, context="spawn") as executor:
        error = executor.submit(int).exception(LIMIT)
        assert isinstance(error, BrokenExecutor)
        assert isinstance(error.__cause__, ZeroDivisionError)


@needs_loky
@needs_entry_point
def test_it_is_created_by_name():
    with corefutures.create_executor("loky", max_workers=1, context="spawn") as executor:
        assert executor.submit(lambda: 7).result(LIMIT) == 7
    backend = corefutures.get_backend("loky")
    assert backend.capabilities.pickles
    assert backend.contract is None, "it declares the manual, not what we promise beyond it"


def test_without_loky_one_sentence_says_so(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "loky" else find(name, *rest))
    backend = _loky_plugin.corefutures_backend()
    registry = corefutures.backend.Backend  # what the registry is told
    assert isinstance(backend, registry)
    assert backend.unavailable_reason() == "the package loky is not installed here: pip install loky"


@needs_entry_point
def test_without_loky_the_registry_says_so(monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name == "loky" else find(name, *rest))
    with pytest.raises(BackendUnavailableError, match="loky is not installed here: pip install loky") as told:
        corefutures.create_executor("loky")
    assert str(told.value).count("\n") == 0


def test_the_description_imports_neither_loky_nor_the_adapter():
    script = (
        "import sys, corefutures_pools.adapters._loky_plugin as plugin; plugin.corefutures_backend();"
        "print(sorted(name for name in sys.modules if name.partition('.')[0] in ('loky', 'cloudpickle') or"
        " name.startswith('corefutures_pools.adapter.')))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=LIMIT, check=True)
    assert done.stdout.strip() == "[]"
