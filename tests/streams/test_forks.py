"""Streams and `os.fork`; in a file of its own, because a process in which interpreters live must not fork."""

from __future__ import annotations

import os
from typing import Any

import pytest
import stream_calls
from races import Parking
from subprocesses import in_fork

import corefutures


@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_has_what_had_arrived(make: Any) -> None:
    pool = make(1)
    if "Interpreter" in type(pool).__name__:
        pytest.skip("CPython ends children that are forked beside other interpreters")
    stream = pool.stream(stream_calls.numbers, 10**9, buffer=3)
    Parking.until(lambda: len(stream._items) == 3)

    def check() -> None:
        assert [next(stream) for _ in range(3)] == [0, 1, 2]
        with pytest.raises(corefutures.BrokenExecutor):
            next(stream)
        stream.close()

    in_fork(check)
    assert [next(stream) for _ in range(100)] == list(range(100))
    stream.close()
