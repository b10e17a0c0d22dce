"""`Arena`: a slot has one owner, is given back, and survives an interruption at every point (F8)."""

from __future__ import annotations

import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the shared queue needs Linux")

if sys.platform == "linux":
    from signals import everywhere

    from corefutures_pools.workers.shared_queue import arena as module
    from corefutures_pools.workers.shared_queue.arena import LARGE, SMALL, Arena


@pytest.fixture
def arena():
    arena = Arena(4096, 3, 2)
    yield arena
    arena.close()


@pytest.mark.parametrize("size", [0, 1, SMALL, SMALL + 1, LARGE])
def test_a_body_is_where_the_offset_says(arena, size):
    body = bytes([7]) * size
    offset = arena.store(1, body)
    assert offset >= arena.reserved
    assert arena.map[offset : offset + size] == body
    assert (arena.beginning(1) or b"")[:size] == body


def test_slots_do_not_overlap(arena):
    small, large = range(1, 4), range(4, 6)
    for number in small:
        arena.store(number, bytes([number]) * SMALL)
    for number in large:
        arena.store(number, bytes([number]) * LARGE)
    for number in small:
        assert arena.beginning(number) == bytes([number]) * SMALL
    for number in large:
        assert arena.beginning(number) == bytes([number]) * LARGE
    assert max(arena.slots.values()) + LARGE <= arena.size


@pytest.mark.parametrize(("size", "count"), [(10, 3), (SMALL + 1, 2)])
def test_no_more_calls_than_slots(arena, size, count):
    for number in range(1, count + 1):
        arena.store(number, bytes(size))
    with pytest.raises(IndexError):
        arena.store(count + 1, bytes(size))
    assert count + 1 not in arena.slots
    assert arena.free(2)
    arena.store(count + 1, bytes(size))


def test_a_slot_is_given_back_once(arena):
    arena.store(1, b"body")
    assert arena.free(1)
    assert not arena.free(1)
    assert len(arena._free_small) == 3


def test_slots_without_memory_are_limited_too(arena):
    arena.reserve(1)
    arena.reserve(2)
    with pytest.raises(IndexError):
        arena.reserve(3)
    assert arena.beginning(1) is None
    assert arena.free(1)
    arena.reserve(3)


def test_closed(arena):
    closed = Arena(4096, 1, 1)
    closed.close()
    with pytest.raises(ValueError, match="closed"):
        closed.store(1, b"body")
    assert closed.free(1)
    assert closed.beginning(1) is None


def test_an_interruption_leaves_no_slot_without_an_owner(arena):
    class Raised(BaseException):
        pass

    def handler() -> None:
        raise Raised

    def scenario(interrupt) -> None:
        try:
            with interrupt(handler):
                arena.store(1, b"body")
                arena.reserve(2)
                arena.free(1)
                arena.free(2)
        except Raised:
            pass
        arena.free(1)
        arena.free(2)
        assert (len(arena._free_small), len(arena._free_large), len(arena._free_without_memory)) == (3, 2, 2)

    assert everywhere(scenario, module, raises=True) > 8
