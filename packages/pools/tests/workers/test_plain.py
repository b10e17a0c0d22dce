"""Plain calls and results arrive as they would have arrived pickled."""

from __future__ import annotations

import functools
import pickle
import sys
import types
from functools import partial

import pytest
from hypothesis import given, strategies as st

from corefutures_pools.workers.marshalled import SHORT, CallReader, marshalled_call, marshalled_result
from corefutures_pools.workers.messages import INLINE_LIMIT
from corefutures_pools.workers.serialization import Encoder

VALUES = st.one_of(
    st.integers(),
    st.floats(),
    st.booleans(),
    st.complex_numbers(),
    st.none(),
    st.text(st.characters(categories=["L", "N", "Cs"])),
    st.binary(),
)


@pytest.fixture
def module():
    """A module that can be imported by its name, and has one function."""
    made = types.ModuleType("made_for_plain_calls")
    exec("def work(*args):\n    return args", made.__dict__)
    sys.modules[made.__name__] = made
    yield made
    sys.modules.pop(made.__name__, None)


class Number(int):
    pass


def encoded(fn, *args, **kwargs):
    return marshalled_call(fn, args, kwargs, INLINE_LIMIT)


def sent(fn, args, kwargs=None):
    body = encoded(fn, *args, **(kwargs or {}))
    assert body is not None
    return CallReader(pickle.loads)(body)


@given(st.lists(VALUES, max_size=5))
def test_a_call_arrives_as_if_it_were_pickled(values):
    fn, args = sent(pytest.approx, tuple(values))
    assert fn is pytest.approx
    assert [(type(arg), repr(arg)) for arg in args] == [(type(value), repr(value)) for value in values]


@given(VALUES, st.dictionaries(st.text(max_size=9), VALUES, min_size=1, max_size=5))
def test_keywords_arrive_as_if_they_were_pickled(value, keywords):
    body = marshalled_call(pytest.approx, (value,), keywords, INLINE_LIMIT)
    assert body is not None
    fn, args, kwargs = CallReader(pickle.loads)(body)
    assert fn is pytest.approx
    assert repr((args, kwargs)) == repr(((value,), keywords))
    assert [type(arg) for arg in kwargs.values()] == [type(arg) for arg in keywords.values()]


class Text(str):
    __slots__ = ()


@pytest.mark.parametrize("keywords", [{"a": Number(1)}, {"a": []}, {"a": "x" * (SHORT + 1)}, {Text("a"): 1}])
def test_other_keywords_are_left_to_picklers(keywords):
    assert marshalled_call(pytest.approx, (), keywords, INLINE_LIMIT) is None


def test_what_a_partial_has_is_put_before_the_arguments():
    def arrived(fn, *args, **kwargs):
        return CallReader(pickle.loads)(Encoder().call(fn, args, kwargs))

    call = partial(pytest.approx, 1, rel=2, abs=3)
    assert arrived(call, 4, rel=5) == (pytest.approx, (1, 4), {"rel": 5, "abs": 3})
    assert arrived(call, [4]) == (pytest.approx, (1, [4]), {"rel": 2, "abs": 3})
    assert (call.args, call.keywords) == ((1,), {"rel": 2, "abs": 3})
    assert arrived(partial(pytest.approx, 1)) == (pytest.approx, (1,))

    assert type(arrived(Partial(pytest.approx, 1))[0]) is Partial


class Partial(partial):
    """A subclass may call what it wants."""


@pytest.mark.skipif(not hasattr(functools, "Placeholder"), reason="needs Python 3.14")
def test_a_partial_with_placeholders_is_left_to_picklers():
    fn, args = CallReader(pickle.loads)(Encoder().call(partial(pow, functools.Placeholder, 2), (3,), {}))
    assert type(fn) is partial
    assert fn(*args) == 9


@given(VALUES)
def test_a_result_arrives_as_if_it_were_pickled(value):
    import marshal

    arrived = marshal.loads(marshalled_result(value))
    assert (type(arrived), repr(arrived)) == (type(value), repr(value))


@pytest.mark.parametrize("arg", [Number(1), [], (), "x" * (SHORT + 1), b"x" * (SHORT + 1)])
def test_anything_else_is_left_to_picklers(arg):
    assert marshalled_result(arg) is None
    assert encoded(pytest.approx, arg) is None


def test_a_body_is_no_larger_than_its_limit():
    args = tuple(chr(number) * SHORT for number in range(65, 68))
    assert encoded(pytest.approx, *args) is None


def test_a_function_that_its_name_does_not_lead_to_is_left_to_picklers(module):
    work = module.work
    assert sent(work, (1,)) == (work, (1,))
    module.work = None  # after it was sent once
    assert encoded(work, 1) is None
    with pytest.raises(pickle.PicklingError):
        Encoder().call(work, (1,), {})
    work.__module__ = ["no name"]
    assert encoded(work, 1) is None


def test_a_worker_looks_a_function_up_each_time(module):
    read = CallReader(pickle.loads)
    body = encoded(module.work, 1)
    assert read(body)[0] is module.work
    module.work = test_a_worker_looks_a_function_up_each_time
    assert read(body)[0] is test_a_worker_looks_a_function_up_each_time
    del module.work
    with pytest.raises(AttributeError, match="work"):
        read(body)
    del sys.modules[module.__name__]
    with pytest.raises(ModuleNotFoundError, match=module.__name__):
        read(body)


def test_a_name_that_only_python_2_had_is_not_translated():
    made = types.ModuleType("commands")  # what protocols below 3 take for `subprocess`
    exec("def work():\n    pass", made.__dict__)
    sys.modules[made.__name__] = made
    try:
        assert sent(made.work, ())[0] is made.work
    finally:
        del sys.modules[made.__name__]
