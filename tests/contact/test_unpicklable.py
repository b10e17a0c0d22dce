"""What is said of calls that can't be pickled, or that workers can't find: which part, why, what helps."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import traceback

import pytest

import corefutures

ISOLATED = ["process"] + ["interpreter"] * (sys.version_info >= (3, 14))
LIMIT = 30.0

pytestmark = pytest.mark.timeout(120)


@pytest.fixture(params=[(backend, way) for backend in ISOLATED for way in ("fast", "portable")], ids="-".join)
def pool(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch):
    backend, way = request.param
    monkeypatch.setenv("COREFUTURES_PORTABLE", "1" if way == "portable" else "")
    with corefutures.create_executor(backend, max_workers=1) as executor:
        yield executor


@pytest.fixture(params=ISOLATED)
def narrow_pool(request: pytest.FixtureRequest):
    with corefutures.create_executor(request.param, max_workers=1, max_pending=1) as executor:
        yield executor


class Rebellious:
    def __reduce__(self):
        return complain()


def complain():
    raise RuntimeError("it won't")


def told_of(error: BaseException | None) -> str:
    """The message, of an error with no frame of ours in its traceback or its causes'."""
    assert error is not None
    shown = "".join(traceback.format_exception(error))
    assert os.sep + "corefutures" not in shown
    assert "\n" not in str(error)
    return str(error)


def test_a_closure_is_named_with_cloudpickle(pool) -> None:
    number = 3
    told = told_of(pool.submit(lambda: number).exception(LIMIT))
    assert "the function, <function test_a_closure" in told
    assert "define it at the top level of a module" in told
    assert "serializer='cloudpickle'" in told
    told = told_of(pool.submit(max, [1], key=lambda item: item + number).exception(LIMIT))
    assert "argument 'key' of max(), <function" in told
    assert "serializer='cloudpickle'" in told


def test_what_no_serializer_can_send_is_named_without(pool) -> None:
    told = told_of(pool.submit(print, 1, [threading.Lock()]).exception(LIMIT))
    assert "argument 2 of print(), [<unlocked _thread.lock" in told
    assert "have the call make what it needs itself" in told
    assert "cloudpickle" not in told


def test_an_item_of_a_chunk_is_named(pool) -> None:
    results = pool.map(str, [1, threading.Lock(), 3], chunksize=3)
    with pytest.raises(Exception, match="an item, <unlocked "):
        next(results)


def test_it_is_named_as_well_by_a_pool_with_few_places(narrow_pool) -> None:
    told = told_of(narrow_pool.submit(print, threading.Lock()).exception(LIMIT))
    assert "argument 1 of print(), <unlocked _thread.lock" in told
    assert narrow_pool.submit(abs, -1).result(LIMIT) == 1


def test_what_an_objects_own_code_raises_keeps_its_traceback(pool) -> None:
    error = pool.submit(str, Rebellious()).exception(LIMIT)
    shown = "".join(traceback.format_exception(error))
    assert "in complain" in shown
    assert "it won't" in shown
    assert "_isolated" not in shown


def test_a_result_that_can_not_be_sent_back_is_named(pool) -> None:
    assert "it is in the result of the call, <unlocked _thread.lock" in told_of(
        pool.submit(threading.Lock).exception(LIMIT)
    )


PROGRAM = """
import corefutures
number = 3
def of_the_session(): return number
if __name__ == "__main__":
    with corefutures.create_executor({backend!r}, max_workers=1, **{options!r}) as pool:
        error = pool.submit(of_the_session).exception(30)
        print(type(error).__name__, error, error.__cause__)

"""


@pytest.mark.parametrize("backend", ISOLATED)
@pytest.mark.parametrize("how", ["-c", "-i"])
def test_functions_of_a_session_are_named_with_what_helps(backend: str, how: str) -> None:
    options = {"mp_context": "spawn"} if backend == "process" else {}
    program = PROGRAM.format(backend=backend, options=options)
    if how == "-i":
        program = program.replace("\nif ", "\n\nif ")  # a blank line ends a block
    done = subprocess.run(
        [sys.executable, "-c", program] if how == "-c" else [sys.executable, "-q", how],
        input=None if how == "-c" else program,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
    )
    told = done.stdout
    assert "of_the_session was defined where workers can't import it, in an interactive session" in told, done.stderr
    assert "put it into a module, or make the pool with serializer='cloudpickle'" in told
    assert told.rstrip().endswith("None"), told
