"""E4, E8: whatever an exception's own methods raise, and whatever logging raises, no call of a pool is left pending."""

from __future__ import annotations

import contextlib
import logging
import sys
from collections.abc import Iterator
from typing import Any

import hostile_calls
import pytest
from races import LIMIT

from corefutures import BrokenExecutor, ThreadPoolExecutor

EACH = pytest.mark.parametrize(
    "kind", range(len(hostile_calls.KINDS)), ids=[type.__repr__(k) for k in hostile_calls.KINDS]
)


@pytest.fixture(autouse=True)
def _silent(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(sys, "excepthook", lambda *_: None)
    logging.disable()
    yield
    logging.disable(logging.NOTSET)


@EACH
def test_an_exception_whose_attributes_can_not_be_read(kind: int) -> None:
    with ThreadPoolExecutor(1) as pool:
        futures: list[Any] = [pool.submit(hostile_calls.fail, kind) for _ in range(3)]
        for future in futures:
            assert type(future.exception(LIMIT)) is hostile_calls.KINDS[kind]
            assert repr(future).endswith(">")
        outer = pool.submit(
            lambda: type(pool.submit(hostile_calls.fail, kind).exception(LIMIT))
        )  # run by the same thread
        assert outer.result(LIMIT) is hostile_calls.KINDS[kind]
        assert pool.submit(abs, -1).result(LIMIT) == 1


@EACH
def test_a_callback_that_raises_a_hostile_exception(kind: int) -> None:
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(abs, -1)
        for _ in range(2):
            with contextlib.suppress(hostile_calls.OwnClassAndNoException):  # raised in a caller's own thread (F4)
                future.add_done_callback(lambda _: hostile_calls.fail(kind))
            assert future.result(LIMIT) == 1
        assert pool.submit(abs, -1).result(LIMIT) == 1


class _Refuses(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        raise hostile_calls.Stop


def test_an_initializer_that_fails_where_logging_fails_too() -> None:
    logger = logging.getLogger("concurrent.futures")
    refuses = _Refuses()
    logger.addFilter(refuses)
    logging.disable(logging.NOTSET)
    try:
        with ThreadPoolExecutor(1, initializer=hostile_calls.fail, initargs=(1,)) as pool:
            assert isinstance(pool.submit(abs, -1).exception(LIMIT), BrokenExecutor)
    finally:
        logger.removeFilter(refuses)
