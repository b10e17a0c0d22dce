"""Items of a map that travel to an interpreter together."""

from __future__ import annotations

import interpreter_calls
import pytest

ITEMS = list(range(100))


@pytest.mark.parametrize("chunksize", [7, 1000, "auto"])
@pytest.mark.parametrize("buffersize", [None, 2])
def test_results_come_one_by_one_in_the_order_of_the_input(make_pool, chunksize, buffersize):
    results = make_pool(2).map(pow, ITEMS, [2] * 100, chunksize=chunksize, buffersize=buffersize, timeout=30)
    assert list(results) == [number**2 for number in ITEMS]


def test_a_chunk_is_one_call(pool):
    assert list(pool.map(abs, ITEMS, chunksize=50)) == ITEMS
    assert pool.stats().submitted == 2


def test_through_a_view_as_well(pool):
    assert list(pool.options(name="many").map(abs, ITEMS, chunksize=25)) == ITEMS
    assert pool.stats().submitted == 4


def test_an_item_that_fails_leaves_the_others_their_results_and_tells_where(pool):
    from concurrent.interpreters import ExecutionFailed

    results = pool.map(int, ["1", "x", "3"], chunksize=3)
    assert next(results) == 1
    with pytest.raises(ValueError, match="invalid literal") as caught:
        next(results)
    assert isinstance(caught.value.__cause__, ExecutionFailed)
    assert "ValueError" in str(caught.value.__cause__)
    assert next(results) == 3


def test_functions_without_a_name_and_shared_memory_cross_in_chunks_too(pool):
    shared = bytearray(4)
    views = [memoryview(shared)[index : index + 1] for index in range(4)]
    list(pool.map(interpreter_calls.write_into, views, [0] * 4, range(1, 5), chunksize=2))
    assert shared == bytes([1, 2, 3, 4])
    assert list(pool.map(lambda item: item + 1, ITEMS, chunksize=10)) == [number + 1 for number in ITEMS]


@pytest.mark.parametrize(
    ("chunksize", "error", "text"),
    [(0, ValueError, "chunksize must be >= 1, not 0"), ("all", ValueError, "'auto'"), (1.5, TypeError, "1.5")],
)
def test_sizes_that_make_no_sense_are_refused(pool, chunksize, error, text):
    with pytest.raises(error, match=text):
        pool.map(abs, ITEMS, chunksize=chunksize)
