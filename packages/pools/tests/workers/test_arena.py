"""`Arena`: a slot has one owner, is given back, and survives an interruption at every point (F8)."""

from __future__ import annotations

import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the shared queue needs Linux")

if sys.platform == "linux":
    from signals import everywhere

    from corefutures_pools.workers.payload import Payload, Segment
    from corefutures_pools.workers.shared_queue import arena as module
    from corefutures_pools.workers.shared_queue.arena import HUGE, LARGE, SMALL, Arena


@pytest.fixture
def arena():
    arena = Arena(4096, 3, 2, 2)
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


def payload_of(body: bytes) -> Payload:
    return Payload([Segment([body], memfds=False)], [])


def test_a_payload_has_a_slot_of_its_own(arena):
    for number in (1, 2):
        arena.store_payload(number, payload_of(bytes([number]) * HUGE))
    arena.store(3, bytes([3]) * LARGE)
    with pytest.raises(IndexError):
        arena.store_payload(4, payload_of(b"body"))
    for number in (1, 2):
        assert arena.copy(number, HUGE) == bytes([number]) * HUGE
    assert max(arena.slots.values()) + HUGE <= arena.size
    assert arena.free(1)
    arena.store_payload(4, payload_of(b"body"))
    assert arena.copy(2, HUGE) == b"\2" * HUGE


@pytest.mark.parametrize(("size", "room"), [(10, 0), (SMALL + 1, LARGE), (LARGE, LARGE)])
def test_the_room_for_a_result_is_that_of_the_slot(arena, size, room):
    arena.store(1, bytes(size))
    assert (arena.copy(1, room) is not None) == bool(room)
    assert arena.copy(1, room + 1) is None
    assert arena.view(1, room + 1) is None
    arena.free(1)
    assert arena.copy(1, room) is None
    assert arena.view(1, room) is None


def test_a_view_that_is_in_use_does_not_keep_the_arena_from_closing():
    arena = Arena(4096, 1, 1, 1)
    arena.store(1, b"a" * LARGE)
    view = arena.view(1, LARGE)
    assert view is not None
    arena.close()
    assert view[:2] == b"aa"
    view.release()


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
    closed = Arena(4096, 1, 1, 1)
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
                arena.store_payload(3, payload_of(b"body"))
                for number in (1, 2, 3):
                    arena.free(number)
        except Raised:
            pass
        for number in (1, 2, 3):
            arena.free(number)
        free = arena._free_small, arena._free_large, arena._free_huge, arena._free_without_memory
        assert [len(each) for each in free] == [3, 2, 2, 2]

    assert everywhere(scenario, module, raises=True) > 8
