"""Fixtures of the process backend's tests: pools of each kind, and a look at what they leave behind."""

from __future__ import annotations

import gc
import importlib
import multiprocessing
import os
import sys
import threading
import time

import pytest

try:
    import numpy as np  # noqa: F401 - opens what it keeps open before we look at what is left open
except ImportError:
    pass

sys.path.insert(0, os.path.dirname(__file__))  # workers import `process_calls` from there

QUICK = ["forkserver", "spawn", "fork"] if sys.platform != "win32" else ["spawn"]
#: Where it matters how a worker was started; elsewhere, spawn comes with COREFUTURES_TEST_START_METHOD only.
SLOW_TOO = {"test_ending", "test_limits", "test_lost_channels"}
METHODS = os.environ.get("COREFUTURES_TEST_START_METHOD", "").split(",")
METHODS = [m for m in (METHODS if METHODS != [""] else QUICK) if m in multiprocessing.get_all_start_methods()]
HAS_GIL = getattr(sys, "_is_gil_enabled", lambda: True)()
TRANSPORTS = ["shared_queue", "pipes"] if sys.platform.startswith("linux") and HAS_GIL else ["pipes"]


def pytest_generate_tests(metafunc):
    """Run a test for each start method and transport; with `any_method`, only where workers can be replaced,
    and with `one_method`, for one such start method.

    Over pipes one start method is enough: the transport is the same with all of them.
    """
    if "make_pool" not in metafunc.fixturenames:
        return
    methods = METHODS
    if "COREFUTURES_TEST_START_METHOD" not in os.environ and metafunc.module.__name__.split(".")[-1] not in SLOW_TOO:
        methods = [m for m in METHODS if m != "spawn"] or METHODS
    if "any_method" in metafunc.fixturenames:
        methods = [m for m in methods if m != "fork"] or ["spawn"]
    if "one_method" in metafunc.fixturenames:
        methods = [m for m in methods if m != "fork"][:1] or ["spawn"]
    kinds = [(method, "shared_queue") for method in methods if "shared_queue" in TRANSPORTS]
    kinds += [(method, "pipes") for method in methods[:1]]
    metafunc.parametrize(("method", "transport"), kinds)


def pytest_collection_modifyitems(items):
    for item in items:
        # The tests' time limit is a thread, so a fork here always is one of a process with threads.
        item.add_marker(pytest.mark.filterwarnings("ignore:.*use of fork.. may lead to deadlocks:DeprecationWarning"))


@pytest.fixture
def any_method(method):
    return method


@pytest.fixture
def one_method(method):
    return method


@pytest.fixture
def make_pool(method, transport, monkeypatch):
    """Return a function that makes executors of one start method and transport; they end with the test."""
    from corefutures_process import ProcessPoolExecutor

    if transport == "pipes":
        monkeypatch.setenv("COREFUTURES_PORTABLE", "1")
    else:
        monkeypatch.delenv("COREFUTURES_PORTABLE", raising=False)
    made = []

    def make(max_workers=2, **options):
        executor = ProcessPoolExecutor(max_workers, multiprocessing.get_context(method), **options)
        made.append(executor)
        return executor

    yield make
    for executor in made:
        executor.kill_workers()
        executor.shutdown()


@pytest.fixture
def pool(make_pool):
    return make_pool(2)


@pytest.fixture
def gate(tmp_path):
    """A gate's path; opened at the end of the test, so that no call waits for ever."""
    path = tmp_path / "gate"
    yield path
    path.touch()


def descriptors() -> set[str]:
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            found.add(f"{name} {os.readlink(f'/proc/self/fd/{name}')}")
        except OSError:
            pass
    return found


@pytest.fixture(autouse=True)
def nothing_left(request):
    """Fails a test that leaves a thread, a child or a descriptor behind."""
    if not sys.platform.startswith("linux"):
        yield
        return
    from multiprocessing import forkserver, resource_tracker

    forkserver.ensure_running()
    resource_tracker.ensure_running()
    if "loky" in sys.modules:
        importlib.import_module("loky.backend.resource_tracker").ensure_running()
    threads = set(threading.enumerate())
    before = descriptors()
    yield
    deadline = time.monotonic() + 10
    while True:
        left = [t for t in threading.enumerate() if t not in threads and t.is_alive()]
        children = multiprocessing.active_children()
        more = {d for d in descriptors() - before if "/dev/null" not in d}
        if not (left or children or more):
            return
        if time.monotonic() > deadline:
            pytest.fail(f"left behind: threads {left}, children {children}, descriptors {more}")
        gc.collect()  # here: in a run of all tests it takes a quarter of a second, and most leave nothing to collect
        time.sleep(0.01)
