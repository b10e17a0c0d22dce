"""Plain calls and results arrive as they would have arrived pickled."""

from __future__ import annotations

import pickle
import sys
import types

import pytest
from hypothesis import given, strategies as st

from corefutures_pools.workers.marshalled import SHORT, CallReader, marshalled_call, marshalled_result
from corefutures_pools.workers.serialization import INLINE_LIMIT, Encoder

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


def sent(fn, args):
    body = marshalled_call(fn, args, INLINE_LIMIT)
    assert body is not None
    return CallReader(pickle.loads)(body)


@given(st.lists(VALUES, max_size=5))
def test_a_call_arrives_as_if_it_were_pickled(values):
    fn, args = sent(pytest.approx, tuple(values))
    assert fn is pytest.approx
    assert [(type(arg), repr(arg)) for arg in args] == [(type(value), repr(value)) for value in values]


@given(VALUES)
def test_a_result_arrives_as_if_it_were_pickled(value):
    import marshal

    arrived = marshal.loads(marshalled_result(value))
    assert (type(arrived), repr(arrived)) == (type(value), repr(value))


class Number(int):
    pass


@pytest.mark.parametrize("arg", [Number(1), [], (), "x" * (SHORT + 1), b"x" * (SHORT + 1)])
def test_anything_else_is_left_to_picklers(arg):
    assert marshalled_result(arg) is None
    assert marshalled_call(pytest.approx, (arg,), INLINE_LIMIT) is None


def test_a_body_is_no_larger_than_its_limit():
    args = tuple(chr(number) * SHORT for number in range(65, 85))
    assert marshalled_call(pytest.approx, args, INLINE_LIMIT) is None


def test_a_function_that_its_name_does_not_lead_to_is_left_to_picklers(module):
    work = module.work
    assert sent(work, (1,)) == (work, (1,))
    module.work = None  # after it was sent once
    assert marshalled_call(work, (1,), INLINE_LIMIT) is None
    with pytest.raises(pickle.PicklingError):
        Encoder().call(work, (1,), {})
    work.__module__ = ["no name"]
    assert marshalled_call(work, (1,), INLINE_LIMIT) is None


def test_a_worker_looks_a_function_up_each_time(module):
    read = CallReader(pickle.loads)
    body = marshalled_call(module.work, (1,), INLINE_LIMIT)
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
