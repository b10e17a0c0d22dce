"""What crosses between interpreters, how, and what is said of what doesn't."""

from __future__ import annotations

import multiprocessing
import pickle
import time
import weakref
from array import array
from concurrent import interpreters
from concurrent.interpreters import ExecutionFailed, NotShareableError

import interpreter_calls
import pytest

from corefutures_interpreter._failures import FailureReporter, rebuild
from corefutures_interpreter._serialization import make_encoder

BIG = 1 << 21


class HasMethod:
    def method(self):
        return 1


def of_this_module():
    return __name__


def test_functions_that_need_nothing_cross_by_value(pool):
    def nested(a, b):
        inner = [len(part) for part in (a, b)]
        return sum(inner)

    assert pool.submit(nested, "ab", "c").result() == 3
    assert pool.submit(lambda x: x * 2, 4).result() == 8
    assert pool.submit(sorted, [3, 1, 2], key=lambda x: -x).result() == [3, 2, 1]


def test_functions_of_modules_cross_by_name(pool):
    assert pool.submit(interpreter_calls.touch, "there").result() == "there"
    assert pool.submit(interpreter_calls.read_state).result() == "there"
    assert interpreter_calls.read_state() == "untouched"


@pytest.mark.parametrize("what", ["closure", "default", "global", "method"])
def test_functions_that_need_more_do_not(pool, what):
    free = 1
    functions = {
        "closure": lambda: free,
        "default": lambda x=free: x,
        "global": lambda: BIG,
        "method": type("Local", (HasMethod,), {})().method,
    }
    error = pool.submit(functions[what]).exception()
    assert type(error) is NotShareableError
    assert error.__cause__ is not None
    assert pool.submit(interpreter_calls.echo, 1).result() == 1


def test_closures_cross_with_cloudpickle(make_pool):
    pytest.importorskip("cloudpickle")
    free = 40
    executor = make_pool(serializer="cloudpickle")
    assert executor.submit(lambda x: x + free, 2).result() == 42
    content = bytearray(8)
    executor.submit(interpreter_calls.write_into, memoryview(content), 3, 9).result()
    assert content[3] == 9


def test_an_unknown_serializer_is_refused(make_pool):
    with pytest.raises(ValueError, match="serializer must be"):
        make_pool(serializer="marshal")


def test_scripts_are_refused(pool):
    with pytest.raises(TypeError, match="scripts not supported"):
        pool.submit("print(1)")


@pytest.mark.parametrize("size", [3, BIG])
def test_a_memoryview_shows_the_same_memory(pool, size):
    content = bytearray(size)
    pool.submit(interpreter_calls.write_into, memoryview(content), size - 1, 7).result()
    assert content[-1] == 7


def test_a_memoryview_keeps_its_shape_and_its_protection(pool):
    square = memoryview(bytearray(48)).cast("i", [3, 4])
    assert pool.submit(lambda view: (view.shape, view.format, view.readonly), square).result() == ((3, 4), "i", False)
    assert pool.submit(lambda view: view.readonly, memoryview(bytes(4))).result() is True
    assert pool.submit(bytes, memoryview(bytearray(b"abcdef"))[::2]).result() == b"ace"


@pytest.mark.parametrize("size", [3, BIG])
def test_a_memoryview_that_comes_back_outlives_its_interpreter(make_pool, size):
    with make_pool() as executor:
        view = executor.submit(lambda n: memoryview(bytearray(n)), size).result()
        fixed = executor.submit(lambda n: memoryview(bytes(n)), size).result()
    view[0] = 1
    assert len(view) == len(fixed) == size
    assert not view.readonly
    assert fixed.readonly


@pytest.mark.parametrize("size", [3, BIG])
@pytest.mark.parametrize(
    "kind", ["empty", "empty and fixed", "no rows", "ctypes", "other byte order", "no columns", "one number"]
)
def test_a_memoryview_of_any_format_and_shape_comes_back(pool, kind, size):
    view, expected = (
        pool.submit(interpreter_calls.strange_view, kind, size).result(30),
        interpreter_calls.strange_view(kind, size),
    )
    assert (view.format, view.shape, view.readonly) == (expected.format, expected.shape, expected.readonly)
    assert view.tobytes() == expected.tobytes()


def test_a_memoryview_that_can_not_be_copied_fails_its_own_call(pool):
    with pytest.raises(NotShareableError, match="return its bytes"):
        pool.submit(interpreter_calls.strange_view, "structures", 3).result(30)
    assert pool.submit(interpreter_calls.echo, 1).result(30) == 1


@pytest.mark.parametrize("size", [10, 40_000, 70_000, BIG])
@pytest.mark.parametrize("kind", [bytes, bytearray, "str", "array", "list", "ints"])
def test_payloads_of_all_sizes_come_back_as_they_were(pool, kind, size):
    values = {
        bytes: bytes(size), bytearray: bytearray(size), "str": "é" * size, "array": array("d", range(size // 8)),
        "list": [b"x" * size, bytearray(size), "y" * size, 3], "ints": list(range(size // 10)),
    }  # fmt: skip
    value = values[kind]
    future = pool.submit(interpreter_calls.echo, value)
    if kind is bytearray:
        value[0] = 1  # a snapshot was taken
        assert future.result() == bytearray(size)
        return
    assert future.result() == value
    assert type(future.result()) is type(value)


def test_queues_cross(pool):
    queue = interpreters.create_queue()
    pool.submit(queue.put, "from there").result()
    assert queue.get_nowait() == "from there"


def test_what_cannot_be_pickled_fails_its_own_call(pool):
    error = pool.submit(interpreter_calls.echo, interpreter_calls.Undumpable()).exception()
    assert type(error) is NotShareableError
    assert type(error.__cause__) is ValueError
    assert pool.submit(interpreter_calls.echo, 1).result() == 1


@pytest.mark.parametrize("size", [0, BIG])
def test_what_cannot_be_unpickled_there_fails_its_own_call(pool, size):
    error = pool.submit(interpreter_calls.echo, [bytes(size), interpreter_calls.Unloadable()]).exception()
    assert type(error) is NotShareableError
    assert "args not shareable" in str(error)
    assert "not to be unpickled" in str(error.__cause__)
    assert pool.submit(interpreter_calls.echo, 1).result() == 1


def test_a_result_that_cannot_cross_fails_its_own_call(pool):
    for kind in (interpreter_calls.Undumpable, interpreter_calls.Unloadable):
        error = pool.submit(interpreter_calls.make, kind).exception()
        assert type(error) is NotShareableError
        assert error.__cause__ is not None
    assert pool.submit(interpreter_calls.echo, 1).result() == 1


def test_an_exception_arrives_as_it_was_caused_by_its_summary(pool):
    error = pool.submit(interpreter_calls.fail, KeyError, "missing").exception()
    assert type(error) is KeyError
    assert error.args == ("missing",)
    cause = error.__cause__
    assert type(cause) is ExecutionFailed
    assert cause.excinfo.type.__qualname__ == "KeyError"
    assert cause.excinfo.type.__module__ == "builtins"
    assert cause.excinfo.msg == "'missing'"
    assert "in fail" in str(cause)


@pytest.mark.parametrize("kind", [SystemExit, KeyboardInterrupt, GeneratorExit, BaseException])
def test_exceptions_that_end_programs_end_their_call_only(pool, kind):
    error = pool.submit(interpreter_calls.fail, kind, 3).exception()
    assert type(error) is kind
    assert error.args == (3,)
    assert pool.submit(interpreter_calls.echo, 1).result() == 1


def test_an_exception_that_cannot_be_kept_arrives_as_its_summary(pool):
    error = pool.submit(interpreter_calls.raise_local).exception()
    assert type(error) is ExecutionFailed
    assert error.excinfo.type.__name__ == "Local"
    assert error.excinfo.msg == "made in the call"
    error = pool.submit(interpreter_calls.raise_stubborn).exception()
    assert type(error) is ExecutionFailed
    assert error.excinfo.type.__qualname__ == "Stubborn"
    assert error.excinfo.msg == "one two"
    assert "unpickled" in error.__notes__[0]


def test_a_module_that_is_not_there_is_named(pool):
    error = pool.submit(__import__, "no_such_module_anywhere").exception()
    assert type(error) is ModuleNotFoundError
    assert error.name == "no_such_module_anywhere"
    assert not getattr(error, "__notes__", [])


def test_an_extension_module_that_refuses_comes_with_advice(pool):
    error = pool.submit(__import__, "_tracemalloc").exception()
    assert type(error) is ImportError
    assert 'create_executor("process")' in error.__notes__[0]
    assert pool.submit(interpreter_calls.echo, 1).result() == 1


@pytest.mark.parametrize("chunksize", [1, 2])
def test_what_was_refused_is_named_beside_later_errors(pool, chunksize):
    swallowed = pool.submit(interpreter_calls.load_or_do_without, "_tracemalloc").result()
    assert "does not support loading" in swallowed
    later = pool.map(interpreter_calls.fail, [LookupError, NameError], ["far away", "lost"], chunksize=chunksize)
    for kind, start in ((LookupError, "This interpreter could not load"), (NameError, "This may come of")):
        with pytest.raises(kind) as raised:
            next(later)
        (note,) = raised.value.__notes__
        assert note.startswith(start)
        assert "_tracemalloc" in note
        assert 'create_executor("process")' in note


def test_without_a_refusal_errors_have_no_note(pool):
    assert not hasattr(pool.submit(interpreter_calls.fail, LookupError).exception(), "__notes__")


def test_numpy_loads_or_says_what_to_do(pool):
    pytest.importorskip("numpy")
    error = pool.submit(__import__, "numpy").exception()
    # A module object never crosses; what matters is the import.
    assert type(error) in (ImportError, NotShareableError)
    if type(error) is ImportError:
        assert any('create_executor("process")' in note for note in error.__notes__)
    assert pool.submit(interpreter_calls.echo, 1).result() == 1


@pytest.mark.parametrize("size", [100, 40_000, 300_000, 3_000_000])
def test_buffers_have_the_same_types_at_every_size(pool, size):
    expected = [("bytearray", size), ("bytes", size)] * 2
    assert pool.submit(interpreter_calls.types_of, interpreter_calls.buffers(size)).result(30) == expected
    assert interpreter_calls.types_of(pool.submit(interpreter_calls.buffers, size).result(30)) == expected


@pytest.mark.parametrize("serializer", ["pickle", "cloudpickle"])
def test_a_connection_is_refused_before_two_close_its_descriptor(make_pool, serializer):
    if serializer == "cloudpickle":
        pytest.importorskip("cloudpickle")
    executor = make_pool(serializer=serializer)
    connection, far = multiprocessing.Pipe()
    with connection, far:
        for future in executor.submit(interpreter_calls.echo, far), executor.submit(interpreter_calls.open_connection):
            with pytest.raises(NotShareableError, match="Connection"):
                future.result(30)
        far.send_bytes(b"still ours")
        assert connection.recv_bytes() == b"still ours"


@pytest.mark.parametrize(
    "make", [bytes, bytearray, lambda content: array("B", content)], ids=["bytes", "bytearray", "array"]
)
def test_calls_that_wait_share_what_is_equal(make):
    encode = make_encoder("pickle")
    content = make(b"x" * 1_000_000)
    waiting = [encode.call(interpreter_calls.echo, (content, number), {}) for number in range(40)]
    content = {id(view.obj) for payload in waiting for view in payload.to_views()[1:] if view.nbytes >= 1_000_000}
    assert len(content) == 1


def test_what_a_pickle_only_names_is_there_until_the_call_has_ended(pool):
    naps = [pool.submit(time.sleep, 0.2) for _ in range(8)]  # the call below waits, and nobody else has its argument
    file = interpreter_calls.File()
    kept, future = weakref.ref(file), pool.submit(interpreter_calls.exists, file)
    del file
    assert future.result(60)
    assert [nap.result(60) for nap in naps] == [None] * 8
    deadline = time.monotonic() + 30
    while kept() is not None:
        assert time.monotonic() < deadline
        time.sleep(0.01)


@pytest.mark.parametrize("kind", ["cause", "import", "cycle", "class", "unspeakable"])
def test_an_exception_that_cannot_be_described_fails_its_own_call(pool, kind):
    error = pool.submit(interpreter_calls.raise_undescribable, kind).exception(30)
    assert isinstance(error, Exception)
    assert pool.submit(interpreter_calls.echo, 1).result(30) == 1


def test_the_last_resort_of_a_reporter_can_be_read(monkeypatch):
    reporter = FailureReporter(make_encoder("pickle"))

    def no_memory(*_):
        raise MemoryError

    monkeypatch.setattr(pickle, "dumps", no_memory)
    _, body = reporter.error(ValueError("lost"))
    monkeypatch.undo()
    assert isinstance(rebuild(body, pickle.loads), MemoryError)


#: Around the sizes at which a call or a result travels another way.
EDGES = [3_000, 4_100, 32_700, 32_800, 65_000, 66_000, 300_000, 1 << 20, (1 << 20) + 5_000]


def test_results_of_all_sizes_for_arguments_of_all_sizes(make_pool):
    pool = make_pool(2)
    futures = [
        (pool.submit(interpreter_calls.resized, bytes([number]) * there, back), bytes([number]) * back)
        for there in EDGES
        for back in [1, *EDGES]
        for number in range(2)
    ]
    assert all(future.result(50) == expected for future, expected in futures)
    for back in EDGES:  # one by one: the thread that waits reads the result itself
        assert pool.submit(interpreter_calls.resized, b"x" * 70_000, back).result(50) == b"x" * back
        assert pool.submit(interpreter_calls.resized, content=b"x" * back, size=1000).result(50) == b"x" * 1000
