"""`WakeupEvent`: it is readable while it is set, never blocks, and is closed once nobody refers to it."""

from __future__ import annotations

import os
import sys
import threading
from multiprocessing.connection import wait

import pytest

from corefutures_pools import wakeup
from corefutures_pools.wakeup import WakeupEvent


@pytest.fixture(params=["of this platform", "self-pipe"])
def event(request, monkeypatch):
    if request.param == "self-pipe":
        if sys.platform == "win32":
            pytest.skip("Windows waits for connections")
        monkeypatch.setattr(wakeup.sys, "platform", "darwin")
    event = WakeupEvent()
    monkeypatch.undo()
    yield event
    event.close()


def is_set(event: WakeupEvent) -> bool:
    return bool(wait([event.waitable], 0))


def test_it_is_readable_while_it_is_set(event):
    assert not is_set(event)
    event.set()
    assert is_set(event)
    event.set()
    event.clear()
    assert not is_set(event)
    event.clear()
    event.set()
    assert is_set(event)


def test_setting_it_often_never_blocks(event):
    for _ in range(100_000):
        event.set()
    event.clear()
    assert not is_set(event)


def test_it_wakes_another_thread(event):
    woken = threading.Event()

    def sleep() -> None:
        wait([event.waitable], 30)
        woken.set()

    thread = threading.Thread(target=sleep)
    thread.start()
    event.set()
    thread.join(30)
    assert woken.is_set()


def test_closed(event):
    event.close()
    event.set()
    event.close()


@pytest.mark.skipif(not os.path.isdir("/dev/fd"), reason="nothing lists the open descriptors")
def test_nothing_is_left_open(event):
    before = len(os.listdir("/dev/fd"))
    WakeupEvent().set()
    assert len(os.listdir("/dev/fd")) == before
