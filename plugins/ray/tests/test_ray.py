"""The Ray backend with a real Ray: one program, because Ray takes seconds to start."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from typing import Any

import pytest
from engine_programs import CALLS

from corefutures import BackendUnavailableError, create_executor, get_backend

HAS_RAY = importlib.util.find_spec("ray") is not None

needs_ray = pytest.mark.skipif(
    not HAS_RAY or importlib.util.find_spec("psutil") is None,
    reason="needs the capability to run Ray (of the dependency group tools, on Pythons older than 3.15), and psutil",
)

PROGRAM = (
    CALLS
    + """

import ray


def refuse(**_):
    raise ConnectionError("refused")


def note(number):
    with open(NOTES, "a") as file:
        print(number, file=file)


NOTES = os.path.abspath("notes")

if __name__ == "__main__":
    init, ray.init = ray.init, refuse  # Ray itself tries for a minute
    try:
        create_executor("ray", address="127.0.0.1:1")
        raise AssertionError("there is no such cluster")
    except BackendUnavailableError as error:
        assert "there is no Ray at 127.0.0.1:1: ConnectionError: refused" in str(error), error
    ray.init = init
    outer = create_executor("ray", max_workers=2, init={"log_to_driver": False})
    assert outer.submit(abs, -1).result() == 1
    with create_executor("ray", max_workers=2, initializer=prepare, initargs=("yes",)) as executor:
        check_calls(executor)
        error = executor.submit(kill).exception()
        assert type(error) is WorkerLostError and "Ray lost the worker" in str(error), error
        assert executor.submit(prepared).result() == "yes"
        pid = os.fork()
        if pid == 0:
            try:
                create_executor("ray")
            except BackendUnavailableError as error:
                os._exit("the process was forked" not in str(error))
            os._exit(2)
        assert os.waitpid(pid, 0)[1] == 0
    failing = create_executor("ray", max_workers=2, initializer=fail)
    error = failing.submit(abs, 1).exception()
    assert type(error) is BrokenExecutor and type(error.__cause__) is LookupError
    failing.shutdown()
    try:
        create_executor("ray", init={"num_cpus": 3})
        raise AssertionError("it has no effect")
    except ValueError as error:
        assert "connected to Ray already" in str(error)
    assert ray.is_initialized()
    outer.shutdown()
    assert not ray.is_initialized()
    ray.init("local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    with create_executor("ray") as executor:
        assert executor.submit(abs, -1).result() == 1
    assert ray.is_initialized()  # it is the program's
    left = create_executor("ray")
    for number in range(5):
        left.submit(note, number)
"""
)


@needs_ray
@pytest.mark.timeout(150)
def test_calls_are_tasks_and_nothing_is_left(tmp_path: Path) -> None:
    from leftovers import run_alone

    path = tmp_path / "program.py"
    path.write_text(PROGRAM)
    done = run_alone(tmp_path, sys.executable, "-W", "ignore", path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert sorted((tmp_path / "notes").read_text().split()) == list("01234")  # those that were pending at the end


def test_without_ray_it_is_unavailable_and_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    told = "no release for Python 3.15" if sys.version_info >= (3, 15) else "not installed here: pip install ray"
    with pytest.raises(BackendUnavailableError, match=f"the package ray is .*{told}"):
        create_executor("ray")


@pytest.mark.skipif(not HAS_RAY, reason="needs the capability to import Ray")
@pytest.mark.parametrize(
    ("options", "error", "phrase"),
    [
        ({"max_workers": 0}, ValueError, "max_workers must be greater than 0, not 0"),
        ({"address": 6379}, TypeError, "address must be a str"),
        ({"cpus": "2"}, TypeError, "cpus must be a number or None, not '2'"),
        ({"gpus": -1}, ValueError, "gpus must be >= 0, not -1"),
        ({"resources": ["licence"]}, TypeError, "resources must be a mapping or None"),
        ({"runtime_env": "x"}, TypeError, "runtime_env must be a mapping or None"),
        ({"init": 3}, TypeError, "init must be a mapping or None, not 3"),
        ({"num_cpus": 3}, TypeError, "has no option 'num_cpus'; did you mean 'cpus'"),
        ({"partition": "gpu"}, TypeError, "it is an option of 'slurm'"),
    ],
)
def test_options_that_make_no_sense_are_refused_before_ray_starts(
    options: dict[str, Any], error: type[Exception], phrase: str
) -> None:
    assert get_backend("ray").capabilities.survives_worker_loss
    with pytest.raises(error, match=phrase):
        create_executor("ray", **options)
    assert "ray" not in sys.modules


@pytest.mark.skipif(not HAS_RAY, reason="needs the capability to import Ray")
@pytest.mark.timeout(60)
def test_a_handler_that_interrupts_the_connection_does_not_wait_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from corefutures_ray import _engine

    connection, calls, refusals = _engine.Connection(), [], []

    def interrupted(name: str) -> None:
        calls.append(name)
        connected = name == "init"
        monkeypatch.setattr(_engine.ray, "is_initialized", lambda: connected)
        if connected:
            with pytest.raises(BackendUnavailableError, match="which is connecting Ray") as refusal:
                connection.enter(None, 2, {})
            refusals.append(refusal)
        connection.leave()  # by an executor that a finaliser ends

    monkeypatch.setattr(_engine.ray, "is_initialized", lambda: False)
    monkeypatch.setattr(_engine.ray, "init", lambda **_: interrupted("init"))
    monkeypatch.setattr(_engine.ray, "shutdown", lambda: interrupted("shutdown"))
    assert connection.enter(None, 2, {})
    assert connection.enter(None, 2, {})
    connection.leave()
    assert calls == ["init"]
    connection.leave()
    assert calls == ["init", "shutdown"]
    assert len(refusals) == 1
    assert connection.enter(None, 2, {})
    connection.leave()
    assert calls == ["init", "shutdown"] * 2
