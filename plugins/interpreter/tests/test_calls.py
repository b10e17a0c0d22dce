"""Calls in interpreters: what runs there, and what comes back."""

from __future__ import annotations

import interpreter_calls
import pytest


def test_a_call_returns_what_its_function_does(pool):
    assert pool.submit(pow, 2, 10).result(timeout=30) == 1024
    assert pool.submit(interpreter_calls.echo, "word").result(timeout=30) == "word"


def test_a_call_raises_what_its_function_does(pool):
    with pytest.raises(ZeroDivisionError):
        pool.submit(divmod, 1, 0).result(timeout=30)


def test_results_come_in_the_order_of_the_input(make_pool):
    assert list(make_pool(2).map(abs, range(-20, 0), timeout=30)) == list(range(20, 0, -1))
