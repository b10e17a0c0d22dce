"""Context variables that calls take along to processes and interpreters."""

from __future__ import annotations

import contextvars
import threading
from typing import Any

import control_calls
import pytest
from races import LIMIT

from corefutures import ThreadPoolExecutor, UnsupportedError

Make = Any
TENANT, SHADE = "control_calls:tenant", "control_calls:shade"


def at(value: Any, function: Any, *args: Any, **kwargs: Any) -> Any:
    """Calls `function` in a context in which the tenant is `value`."""

    def call() -> Any:
        control_calls.tenant.set(value)
        return function(*args, **kwargs)

    return contextvars.Context().run(call)


def test_calls_see_what_was_named_as_it_was_when_they_were_submitted(make: Make) -> None:
    pool = make(1, context=[TENANT, SHADE])
    calls = [at(value, pool.submit, control_calls.seen) for value in ("first", {"second": 2})]
    assert [call.result(LIMIT) for call in calls] == [("first", "unset"), ({"second": 2}, "unset")]
    assert pool.submit(control_calls.seen).result(LIMIT) == ("nobody", "unset")
    assert at("mapped", lambda: list(pool.map(control_calls.tenant_and, [1, 2]))) == [("mapped", 1), ("mapped", 2)]
    assert at("view", pool.options(name="x").submit, control_calls.seen).result(LIMIT) == ("view", "unset")


def test_nothing_leaks_into_the_next_call(make: Make) -> None:
    pool = make(1, context=(name for name in [TENANT, SHADE]))
    assert at("a", pool.submit, control_calls.change, "changed").result(LIMIT) == ("changed", "changed")
    assert pool.submit(control_calls.seen).result(LIMIT) == ("nobody", "unset")


def test_what_is_named_is_the_submitters_the_rest_the_initializers(make: Make) -> None:
    pool = make(1, initializer=control_calls.change, initargs=("ready",), context=[TENANT])
    assert pool.submit(control_calls.seen).result(LIMIT) == ("nobody", "ready")
    assert at("a", pool.submit, control_calls.seen).result(LIMIT) == ("a", "ready")


def test_a_value_that_can_not_travel_fails_its_call_alone(make: Make) -> None:
    pool = make(1, context=[TENANT, SHADE])
    error = at(threading.Lock(), pool.submit, control_calls.seen).exception(LIMIT)
    assert error is not None
    assert any(TENANT in note and "lock" in note for note in error.__notes__)
    error = at("fine", pool.submit, control_calls.seen, threading.Lock()).exception(LIMIT)
    assert error is not None
    assert not any(TENANT in note for note in getattr(error, "__notes__", ()))
    assert at("fine", pool.submit, control_calls.seen).result(LIMIT) == ("fine", "unset")


def test_errors_are_those_of_the_call(make: Make) -> None:
    pool = make(1, context=[TENANT])
    with pytest.raises(ValueError, match="invalid literal"):
        at("a", pool.submit, int, "x").result(LIMIT)
    assert at("a", pool.submit, dict, [(1, 2)], key="word").result(LIMIT) == {1: 2, "key": "word"}


def test_large_values_travel_too(make: Make) -> None:
    pool = make(1, context=[TENANT])
    large = b"x" * 300_000
    assert at(large, pool.submit, control_calls.seen).result(LIMIT) == (large, "unset")


def test_what_can_not_be_is_refused_at_construction(make: Make) -> None:
    with pytest.raises(UnsupportedError, match=r"name the variables .* create_executor\('thread'\)"):
        make(context="copy")


BAD = [
    ("share", ValueError),
    (7, TypeError),
    ([7], TypeError),
    (["control_calls"], ValueError),
    (["control_calls:nothing"], ValueError),
    (["no_such_module:tenant"], ValueError),
    (["control_calls:seen"], TypeError),
]


@pytest.mark.parametrize(("context", "error"), BAD)
@pytest.mark.parametrize("kind", ["isolated", "thread"])
def test_bad_names_are_refused_at_construction(kind: str, context: Any, error: type[Exception]) -> None:
    from corefutures import ProcessPoolExecutor

    with pytest.raises(error):
        (ProcessPoolExecutor if kind == "isolated" else ThreadPoolExecutor)(1, context=context)


def test_threads_copy_only_what_is_named() -> None:
    other: contextvars.ContextVar[str] = contextvars.ContextVar("other", default="unset")

    def both() -> Any:
        return control_calls.seen()[0], other.get()

    def submit() -> Any:
        other.set("set")
        return pool.submit(both)

    with ThreadPoolExecutor(1, context=[TENANT]) as pool:
        lock = threading.Lock()
        assert at(lock, submit).result(LIMIT) == (lock, "unset")
        assert at(lock, pool.submit, control_calls.change, 1).result(LIMIT) == (1, 1)
        assert pool.submit(control_calls.seen).result(LIMIT) == ("nobody", "unset")
