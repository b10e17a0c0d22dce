"""What the programs of the engines' tests have in common: text, as they run alone and send functions of their own."""

from __future__ import annotations

CALLS = """
import os

from corefutures import BackendUnavailableError, BrokenExecutor, WorkerLostError, create_executor


def place(number):
    return number, os.getpid()


def fail():
    raise LookupError("here")


def prepare(name):
    os.environ["PREPARED"] = name


def prepared():
    return os.environ["PREPARED"]


def kill():
    os.kill(os.getpid(), 9)


def check_calls(executor):
    # It was made with initializer=prepare, initargs=("yes",).
    places = list(executor.map(place, range(20)))
    assert [number for number, _ in places] == list(range(20))
    assert os.getpid() not in {pid for _, pid in places}
    error = executor.submit(fail).exception()
    assert type(error) is LookupError and "in fail" in str(error.__cause__), error.__cause__
    assert list(executor.map(abs, range(-3000, 0), chunksize="auto")) == list(range(3000, 0, -1))
    assert executor.submit(lambda: 6 * 7).result() == 42
    assert executor.submit(prepared).result() == "yes"
    assert executor.submit(bytes, 10_000_000).result() == bytes(10_000_000)
"""
