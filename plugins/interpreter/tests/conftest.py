"""Fixtures of the interpreter backend's tests: pools over both transports, and a check that nothing is left behind."""

from __future__ import annotations

import gc
import os
import sys
import threading
import time

import pytest

sys.path.insert(0, os.path.dirname(__file__))  # workers import `interpreter_calls` from there

HERE = sys.version_info >= (3, 14)
TRANSPORTS = ["shared_queue", "pipes"] if sys.platform.startswith("linux") else ["pipes"]
#: The only module whose tests run on every Python.
EVERYWHERE = "test_availability.py"

TESTS = [name for name in os.listdir(os.path.dirname(__file__)) if name.startswith("test_")]
collect_ignore = [] if HERE else [name for name in TESTS if name != EVERYWHERE]


def pytest_generate_tests(metafunc):
    if "transport" in metafunc.fixturenames:
        metafunc.parametrize("transport", TRANSPORTS)


@pytest.fixture
def make_pool(transport, monkeypatch):
    """Return a function that makes executors over one transport; they end with the test."""
    from corefutures_interpreter import InterpreterPoolExecutor

    monkeypatch.setenv("COREFUTURES_PORTABLE", "1" if transport == "pipes" else "0")
    made = []

    def make(max_workers=1, *args, **options):
        executor = InterpreterPoolExecutor(max_workers, *args, **options)
        made.append(executor)
        return executor

    yield make
    for executor in made:
        executor.shutdown(cancel_futures=True)


@pytest.fixture
def pool(make_pool):
    return make_pool(1)


def descriptors() -> set[str]:
    """Returns the open descriptors of the kinds that pools have: pipes, sockets, memfds, epolls."""
    found = set()
    for name in os.listdir("/proc/self/fd"):
        try:
            target = os.readlink(f"/proc/self/fd/{name}")
        except OSError:
            continue
        if target.startswith(("pipe:", "socket:", "anon_inode:", "/memfd:")):
            found.add(f"{name} {target}")
    return found


@pytest.fixture(autouse=True)
def nothing_left():
    """Fails a test that leaves an interpreter, a thread or a descriptor behind."""
    if not HERE or not sys.platform.startswith("linux"):
        yield
        return
    from concurrent import interpreters

    threads = set(threading.enumerate())
    before = descriptors()
    yield
    deadline = time.monotonic() + 10
    while True:
        living = interpreters.list_all()[1:]
        left = [t for t in threading.enumerate() if t not in threads and t.is_alive()]
        more = descriptors() - before
        if not (living or left or more):
            return
        if time.monotonic() > deadline:
            pytest.fail(f"left behind: interpreters {living}, threads {left}, descriptors {more}")
        gc.collect()  # here: in a run of all tests it takes a quarter of a second, and most leave nothing to collect
        time.sleep(0.01)
