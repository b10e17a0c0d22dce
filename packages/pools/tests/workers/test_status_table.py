"""`StatusTable`: what workers enter is what the pool reads; it needs no pipe, and no worker."""

from __future__ import annotations

import time

import pytest

from corefutures_pools.workers.shared_queue.status_table import StatusTable

PAGE = 4096


@pytest.fixture
def memory():
    return bytearray(StatusTable.size_for(3, PAGE))


@pytest.fixture
def table(memory):
    return StatusTable(memoryview(memory), 3)


def enter(memory: bytearray, index: int, number: int, when: int = 0) -> None:
    """Do what a worker does when it has claimed a call: see `SharedQueueTransport.claims`."""
    columns = memoryview(memory).cast("Q")
    columns[len(columns) // 4 + index] = when
    columns[index] = number


@pytest.mark.parametrize("workers", [1, 3, 128, 129, 500])
def test_every_worker_has_a_row_of_its_own(workers):
    memory = bytearray(StatusTable.size_for(workers, PAGE))
    assert len(memory) % PAGE == 0
    table = StatusTable(memoryview(memory), workers)
    for index in range(workers):
        enter(memory, index, index + 1, index + 2)
    for index in range(workers):
        assert table.request_stop(index + 1)
    assert [table.current_task(index) for index in range(workers)] == list(range(1, workers + 1))
    assert table.current_task_since(workers - 1) == (workers, (workers + 1) / 1e9)


def test_a_task_is_claimed_once_its_worker_has_entered_it(table, memory):
    assert not table.is_claimed(7)
    before = time.monotonic()
    enter(memory, 1, 7, time.monotonic_ns())
    assert table.is_claimed(7)
    assert table.current_task(1) == 7
    number, since = table.current_task_since(1)
    assert number == 7
    assert before <= since <= time.monotonic()


def test_a_request_to_stop_is_for_the_call_that_is_meant(table, memory):
    enter(memory, 0, 5)
    enter(memory, 2, 7)
    assert not table.request_stop(6)
    assert table.request_stop(7)
    columns = memoryview(memory).cast("Q")
    asked = columns[len(columns) // 2 :]
    assert (asked[0], asked[2]) == (0, 7)


def test_a_cleared_row_says_nothing_of_the_worker_before(table, memory):
    enter(memory, 1, 7)
    table.request_stop(7)
    table.clear(1)
    assert table.current_task(1) == 0
    assert not table.is_claimed(7)
    columns = memoryview(memory).cast("Q")
    assert columns[len(columns) // 2 + 1] == 0


def test_a_closed_table_answers(table, memory):
    enter(memory, 1, 7)
    table.close()
    assert not table.is_claimed(7)
    assert not table.request_stop(7)
    assert table.current_task_since(1) == (0, 0.0)
    memory.clear()  # nothing refers to it any more
