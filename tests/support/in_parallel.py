"""A plugin of pytest for `make races`: each test runs in eight threads at once, which switch as often as they can.

The threads are those of pytest-run-parallel. A test that can't run beside itself is marked `thread_unsafe`, with the
reason; for what a fixture changes in the whole process the reason is here.
"""

from __future__ import annotations

import multiprocessing
import sys

import pytest

#: Fixture → why a test that uses it runs in one thread. pytest-run-parallel knows `monkeypatch` and `capsys` itself.
UNSAFE_FIXTURES = {
    "caplog": "it collects the records of all threads",
    "manual": "the test runs its calls by hand, in order",
    "system": "the test writes its files",
}


def pytest_configure() -> None:
    sys.setswitchinterval(1e-6)
    if sys.platform != "win32":
        # What other threads have locked at that moment, such as a dictionary of Python's own, stays locked in a child
        # that is forked: without the GIL that is always so.
        multiprocessing.set_start_method("forkserver")


@pytest.hookimpl(tryfirst=True)
def pytest_itemcollected(item: pytest.Item) -> None:
    for fixture in getattr(item, "fixturenames", ()):
        if fixture in UNSAFE_FIXTURES:
            item.add_marker(pytest.mark.thread_unsafe(reason=f"{fixture}: {UNSAFE_FIXTURES[fixture]}"))
