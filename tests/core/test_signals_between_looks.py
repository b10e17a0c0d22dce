"""A signal that does not end what blocks the main thread: it came just before, or another thread got it.

Here another thread gets it, because the main thread has blocked it; then CPython only notes that there was a signal.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import FIRST_COMPLETED
from pathlib import Path
from typing import Any

import pytest

import corefutures
from corefutures import Executor, _blocking
from tests.support import slot_calls as calls

pytestmark = pytest.mark.skipif(not hasattr(signal, "pthread_sigmask"), reason="Windows has no signals of threads")

KINDS = [
    pytest.param(("thread", "0"), id="thread"),
    pytest.param(("process", "0"), id="process"),
    pytest.param(("process", "1"), id="process-portable"),
    pytest.param(
        ("interpreter", "0"),
        marks=pytest.mark.skipif(sys.version_info < (3, 14), reason="interpreters need Python 3.14"),
        id="interpreter",
    ),
]


class Interrupted(Exception):
    """Raised by the signal handler."""


def interrupt(*_: object) -> None:
    raise Interrupted


@pytest.fixture(params=KINDS)
def executor(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Executor]:
    kind, portable = request.param
    monkeypatch.setenv("COREFUTURES_PORTABLE", portable)
    monkeypatch.setattr(_blocking, "SIGNAL_INTERVAL", 0.1)
    with corefutures.create_executor(kind, max_workers=1, max_pending=1) as executor:
        yield executor  # ends before the folder of the gate is removed


def interrupted(executor: Executor, gate: Path, act: Callable[[Any], object]) -> None:
    """Check that a signal comes out of `act(future)`, which waits for a call, though it does not end the wait."""
    over = threading.Event()

    def send() -> None:
        until = time.monotonic() + 30
        while not os.path.exists(f"{gate}.begun") and time.monotonic() < until:
            time.sleep(0.002)
        blocks.wait(30)
        time.sleep(0.05)  # likely asleep by now; if it isn't, the test is an easier one
        os.kill(os.getpid(), signal.SIGUSR1)
        over.wait(20)
        gate.touch()

    blocks = threading.Event()
    before = signal.signal(signal.SIGUSR1, interrupt)
    sender = threading.Thread(target=send)
    sender.start()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
    try:
        future = executor.submit(calls.await_file, str(gate))
        blocks.set()
        with pytest.raises(Interrupted):
            act(future)
        assert not gate.exists(), "the signal was noticed only when the call had ended"
    finally:
        over.set()
        sender.join()
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        signal.signal(signal.SIGUSR1, before)


WAITS: dict[str, Callable[[Executor, Any], object]] = {
    "result": lambda executor, future: future.result(),
    "result with a time limit": lambda executor, future: future.result(600),
    "wait": lambda executor, future: corefutures.wait([future], None, FIRST_COMPLETED),
    "as_completed": lambda executor, future: list(corefutures.as_completed([future])),
    "map": lambda executor, future: list(executor.map(abs, [1])),
    "submit to a full pool": lambda executor, future: [executor.submit(abs, -1) for _ in range(3)],
    "shutdown": lambda executor, future: executor.shutdown(),
}


@pytest.mark.parametrize("wait", WAITS)
def test_it_is_noticed_while_the_main_thread_waits(executor: Executor, tmp_path: Path, wait: str) -> None:
    interrupted(executor, tmp_path / "gate", lambda future: WAITS[wait](executor, future))
