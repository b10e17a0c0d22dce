"""`use` and `default_executor`: the program chooses, library code asks."""

from __future__ import annotations

import contextvars
import os
import subprocess
import sys
import threading

import pytest

import corefutures
from corefutures_structured import default_executor, use


def program(code: str, **environment: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", code],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_there_is_one_for_the_program() -> None:
    first = default_executor()
    found: list[object] = []
    threads = [threading.Thread(target=lambda: found.append(default_executor())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert all(each is first for each in found)
    assert first.submit(abs, -1).result() == 1


def test_threads_that_ask_at_once_get_the_same_one() -> None:
    code = """
import threading
from corefutures_structured import default_executor
start, found = threading.Barrier(8), []
def ask():
    start.wait()
    found.append(default_executor())
threads = [threading.Thread(target=ask) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len({id(executor) for executor in found}), type(found[0]).__name__)
"""
    assert program(code, COREFUTURES_BACKEND="") == "1 ThreadPoolExecutor\n"


def test_the_environment_names_its_backend() -> None:
    code = "from corefutures_structured import default_executor as default; print(type(default()).__name__)"
    assert program(code, COREFUTURES_BACKEND="process") == "ProcessPoolExecutor\n"


def test_a_wrong_name_in_the_environment_is_told_with_the_variable() -> None:
    code = """
import corefutures
from corefutures_structured import default_executor
try:
    default_executor()
except corefutures.BackendNotFoundError as error:
    print("proces" in str(error), error.__notes__)
"""
    told = program(code, COREFUTURES_BACKEND="proces")
    assert told == "True ['the name is that in the environment variable COREFUTURES_BACKEND']\n"


def test_it_ends_with_the_program() -> None:
    code = """
import time
from corefutures_structured import default_executor
default_executor().submit(lambda: (time.sleep(0.2), print("ran")))
print("end")
"""
    assert program(code) == "end\nran\n"


def test_a_block_has_its_own() -> None:
    outside = default_executor()
    with use("thread", max_workers=1) as executor:
        assert default_executor() is executor is not outside
        with use("thread") as inner:
            assert default_executor() is inner
        assert default_executor() is executor
    assert default_executor() is outside
    with pytest.raises(RuntimeError, match="shutdown"):
        executor.submit(abs, 1)


def test_a_block_ends_with_an_error_too() -> None:
    with pytest.raises(KeyError), use("thread") as executor:
        raise KeyError
    assert default_executor() is not executor


def test_the_choice_is_context_local() -> None:
    outside = default_executor()
    with use("thread") as executor:
        seen: list[object] = []
        thread = threading.Thread(target=contextvars.Context().run, args=(lambda: seen.append(default_executor()),))
        thread.start()
        thread.join()
        with_context = threading.Thread(
            target=contextvars.copy_context().run, args=(lambda: seen.append(default_executor()),)
        )
        with_context.start()
        with_context.join()
    assert seen == [outside, executor]


def test_anything_that_create_executor_takes_will_do() -> None:
    with use("concurrent.futures:ThreadPoolExecutor", max_workers=1) as executor:
        assert default_executor() is executor


@pytest.mark.parametrize(
    ("name", "options", "error", "text"),
    [
        ("nonsense", {}, corefutures.BackendNotFoundError, "backend 'nonsense' not found"),
        (5, {}, TypeError, "5"),
        ("thread", {"max_workers": 0}, ValueError, "max_workers must be greater than 0, not 0"),
        ("thread", {"max_worker": 4}, TypeError, "max_worker"),
    ],
)
def test_a_wrong_choice_is_told_by_the_call(
    name: str, options: dict[str, int], error: type[Exception], text: str
) -> None:
    with pytest.raises(error, match=text):
        use(name, **options)


def test_a_choice_is_for_one_block() -> None:
    choice = use("thread")
    with choice:
        pass
    with pytest.raises(RuntimeError, match="one block"):
        choice.__enter__()


@pytest.mark.parametrize("value", [":", "nonsense", "builtins:int"])
def test_what_is_wrong_in_the_environment_is_told_with_its_name(value: str) -> None:
    code = """
from corefutures_structured import default_executor
try:
    default_executor()
except Exception as error:
    print(error.__notes__)
"""
    assert "COREFUTURES_BACKEND" in program(code, COREFUTURES_BACKEND=value)
