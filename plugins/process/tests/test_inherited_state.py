"""A worker has what the program has when it is started: environment, umask, processors, whatever its start method."""

from __future__ import annotations

import multiprocessing
import os
import sys
import time

import pytest

from corefutures import ProcessPoolExecutor

LIMIT = 30.0

METHODS = [method for method in ("forkserver", "spawn") if method in multiprocessing.get_all_start_methods()]


def look() -> tuple[str | None, str | None, int, set[int], str]:
    mask = os.umask(0)
    os.umask(mask)
    processors = os.sched_getaffinity(0) if sys.platform == "linux" else set()
    zone = time.strftime("%H", time.localtime(0)) if os.environ.get("TZ") else ""
    return os.environ.get("LATE"), os.environ.get("SECRET"), mask, processors, zone


def first_look(method: str) -> tuple[str | None, str | None, int, set[int], str]:
    with ProcessPoolExecutor(1, method) as executor:
        return executor.submit(look).result(LIMIT)


@pytest.fixture
def umask():
    before = os.umask(0o022)
    yield
    os.umask(before)


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("transport", ["fast", "portable"])
def test_it_is_as_it_is_now(method: str, transport: str, monkeypatch: pytest.MonkeyPatch, umask: None) -> None:
    monkeypatch.setenv("COREFUTURES_PORTABLE", "1" if transport == "portable" else "")
    monkeypatch.setenv("SECRET", "1")
    monkeypatch.setenv("TZ", "UTC0")
    processors = look()[3]
    assert first_look(method) == (None, "1", 0o022, processors, "00")  # a fork server is there from now on
    monkeypatch.setenv("LATE", "ünusual")
    monkeypatch.delenv("SECRET")
    monkeypatch.setenv("TZ", "XXX-5")
    os.umask(0o077)
    zone = "05" if hasattr(time, "tzset") else look()[4]
    assert first_look(method) == ("ünusual", None, 0o077, processors, zone)


@pytest.mark.skipif(sys.platform != "linux", reason="needs a choice of processors (Linux)")
def test_processors_are_those_that_it_may_use_now() -> None:
    before = os.sched_getaffinity(0)
    if len(before) < 2:
        pytest.skip("needs two processors")
    assert first_look("forkserver")[3] == before
    try:
        os.sched_setaffinity(0, {min(before)})
        assert first_look("forkserver")[3] == {min(before)}
    finally:
        os.sched_setaffinity(0, before)
    assert first_look("forkserver")[3] == before
