"""The thread that watches time limits may fail to start, or meet an error: no limit is forgotten."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import control_errands as errands
import pytest

from corefutures._isolated.pool import Pool

Make = Callable[..., Any]

LIMIT = 30.0


@pytest.fixture
def pool(make: Make) -> Any:
    if not hasattr(make(1), "kill_workers"):
        pytest.skip("interpreters can't be killed")
    return make(1, on_worker_loss="replace")


def test_a_call_is_refused_whose_limit_nobody_would_keep(pool: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    pool.submit(int).result(LIMIT)
    start = threading.Thread.start

    def fail(thread: threading.Thread) -> None:
        if "limits" in thread.name:
            raise RuntimeError("can't start new thread")
        start(thread)

    before = pool.stats().submitted
    monkeypatch.setattr(threading.Thread, "start", fail)
    with pytest.raises(RuntimeError, match="can't start new thread"):
        pool.options(timeout=0.1).submit(errands.until_asked)
    assert pool.stats().submitted == before
    monkeypatch.undo()
    assert isinstance(pool.options(timeout=0.1).submit(errands.until_asked).exception(LIMIT), TimeoutError)


def test_an_error_while_a_limit_is_kept_is_tried_again(
    pool: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    kind: Any = type(pool._cf_pool)
    condemn, failed = kind.condemn, []

    def fail_once(self: Pool, *args: Any) -> bool:
        if not failed:
            failed.append(True)
            raise MemoryError
        result: bool = condemn(self, *args)
        return result

    monkeypatch.setattr(kind, "condemn", fail_once)
    limited = pool.options(timeout=0.1)
    assert isinstance(limited.submit(errands.until_asked).exception(LIMIT), TimeoutError)
    assert failed
    assert "could not be kept yet" in caplog.text
    assert isinstance(limited.submit(errands.until_asked).exception(LIMIT), TimeoutError)
