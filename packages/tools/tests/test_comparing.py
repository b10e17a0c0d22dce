"""`corefutures.compare`: what each kind of function looks like in the result, and that none of them breaks it."""

from __future__ import annotations

import dataclasses
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as ET

import pytest

import corefutures
from corefutures import BackendStatus, Comparison, Trial, compare

sys.path.append(str(Path(__file__).parent))  # the trials' processes find the functions where this one does

import sampled

pytestmark = pytest.mark.timeout(150)  # each comparison starts several processes

QUICK: dict[str, Any] = {"max_workers": 2, "seconds": 0.01, "timeout": 50.0, "backends": ["thread"]}
HANGS: dict[str, Any] = QUICK | {"timeout": 1.0}

needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows: processes can't be forked")


def only(comparison: Comparison) -> Trial:
    (trial,) = comparison.trials
    return trial


def test_a_sample_runs_on_the_loop_and_on_every_backend_asked_for() -> None:
    backends = ["process", "thread", "concurrent.futures:ThreadPoolExecutor"]
    found = compare(sampled.double, range(10), **QUICK | {"backends": backends})
    assert (found.function, found.calls, found.max_workers) == ("double", 10, 2)
    assert [trial.backend for trial in found.trials] == backends
    for trial in (found.loop, *found.trials):
        assert (trial.error, trial.failed, trial.agrees) == (None, 0, True), trial
        assert trial.seconds is not None
        assert trial.seconds > 0
        assert trial.speedup is not None
    assert found.loop.speedup == 1
    assert all(trial.startup and trial.transport for trial in found.trials)
    assert found.unpicklable == {}
    assert found.pickled_bytes is not None
    assert 5 < found.pickled_bytes < 100
    assert found.recommended in ("loop", *backends)
    if sys.platform != "win32":
        assert all(trial.memory and trial.memory > 1e6 for trial in (found.loop, *found.trials))


def test_every_installed_backend_is_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    from corefutures_tools._comparing import compare as module

    statuses = {name: BackendStatus(name, "installed", "corefutures", "1") for name in ("thread", "no_such_backend")}
    monkeypatch.setattr(module, "installed", lambda: statuses)
    found = compare(sampled.double, [1, 2], max_workers=1, seconds=0.01)
    assert [trial.backend for trial in found.trials] == ["thread", "no_such_backend"]
    assert "not found" in str(found.trials[1].error)


def test_calls_that_raise_are_counted_and_compared() -> None:
    found = compare(sampled.refuse_odd, range(10), **QUICK)
    trial = only(found)
    assert (found.loop.failed, trial.failed, trial.agrees) == (5, 5, True)
    assert found.loop.failure == "ValueError: no 1"
    assert "5 raised" in str(found)


def test_nothing_is_recommended_if_every_call_raises() -> None:
    found = compare(sampled.refuse, range(4), **QUICK)
    assert (found.loop.failed, found.recommended) == (4, None)
    assert "ValueError: no 0" in found.reason


def test_a_call_that_hangs_ends_with_the_time_limit() -> None:
    found = compare(sampled.hang, range(4), **HANGS)
    assert found.loop.error == "no end within 1 s"
    assert "not tried" in str(only(found).error)
    assert found.recommended is None
    assert "no end" in str(found)


def test_a_call_that_ends_the_process_is_told() -> None:
    found = compare(sampled.crash, range(4), **QUICK | {"backends": ["thread", "process"]})
    threads, processes = found.trials
    assert found.loop.error == threads.error == "its process ended with exit status 7"
    assert "a worker was lost" in str(processes.error)
    assert found.recommended is None


def test_what_survives_where_the_loop_crashes_is_recommended() -> None:
    found = compare(sampled.crash_outside_a_worker_thread, range(4), **QUICK)
    assert found.loop.seconds is None
    assert only(found).error is None
    assert found.recommended == "thread"
    assert "could not run" in found.reason


def test_a_function_with_a_state_disagrees_with_itself() -> None:
    found = compare(sampled.count_on, range(10), **QUICK | {"seconds": 0.3})
    assert found.loop.agrees is False
    assert found.recommended is not None


def test_values_that_equal_nothing_agree_by_their_pickles() -> None:
    assert only(compare(sampled.peculiar, range(3), **QUICK | {"backends": ["process"]})).agrees is True


def test_arrays_are_compared() -> None:
    numpy = pytest.importorskip("numpy", reason="NumPy is not in the free-threaded dependency group")
    found = compare(sampled.double, [numpy.arange(5)], **QUICK | {"backends": ["process"]})
    assert only(found).agrees is True


def test_a_call_that_changes_its_argument_gets_a_fresh_one_each_round() -> None:
    found = compare(sampled.grow, [[1], [1, 2]], **QUICK | {"seconds": 0.3})
    assert (found.loop.agrees, only(found).agrees) == (True, True)


def test_results_that_cannot_be_pickled_are_told() -> None:
    found = compare(sampled.nested, range(4), **QUICK | {"backends": ["thread", "process"]})
    threads, processes = found.trials
    assert set(found.unpicklable) == {"results"}
    assert found.pickled_bytes is None
    assert (threads.failed, processes.failed) == (0, 4)
    assert "pickle" in str(processes.failure).lower()


@needs_fork
def test_a_function_that_cannot_be_pickled_runs_in_forked_trials() -> None:
    offset = 3
    found = compare(lambda number: number + offset, range(4), **QUICK | {"backends": ["thread", "process"]})
    threads, processes = found.trials
    assert set(found.unpicklable) == {"function"}
    assert (threads.error, threads.failed, threads.agrees) == (None, 0, True)
    assert (processes.error, processes.failed) == (None, 4)


def test_without_fork_a_function_that_cannot_be_pickled_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "fork", raising=False)
    with pytest.raises(TypeError, match="define the function in a module"):
        compare(lambda number: number, range(4), **QUICK)


def test_an_item_that_hangs_the_process_that_loads_it_ends_with_the_time_limit() -> None:
    found = compare(sampled.double, [sampled.Slow()], **HANGS)
    assert found.loop.error == "no end within 1 s"


def test_a_backend_registered_by_hand_is_tried_in_the_trial_too(monkeypatch: pytest.MonkeyPatch) -> None:
    from corefutures.backend import Backend
    from corefutures.registry._registry import REGISTRY

    monkeypatch.setattr(REGISTRY, "_loaded", dict(REGISTRY._loaded))
    corefutures.register_backend(Backend(name="by_hand", factory="corefutures_thread:ThreadPoolExecutor"))
    trial = only(compare(sampled.double, range(4), **QUICK | {"backends": ["by_hand"]}))
    assert (trial.backend, trial.error) == ("by_hand", None)


def test_a_script_without_a_guard_is_told_what_it_lacks(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import corefutures\n"
        "def double(number): return number * 2\n"
        "print(corefutures.compare(double, [1, 2], backends=['thread'], seconds=0.01).loop.error)\n"
    )
    done = subprocess.run([sys.executable, script], capture_output=True, text=True, timeout=50, check=False)
    assert "needs `if __name__ == '__main__':`" in done.stdout


@pytest.mark.skipif(sys.platform == "win32", reason="the processor's clock of Windows ticks every 16 ms")
def test_calls_that_sleep_for_a_moment_are_not_said_to_compute() -> None:
    found = compare(sampled.nap, range(4), **QUICK | {"max_workers": 2})
    assert found.waiting is not None
    assert found.waiting > 0.5
    assert "compute" not in found.reason


@pytest.mark.skipif(sys.version_info < (3, 14), reason="interpreter pools need Python 3.14")
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_what_would_fork_beside_interpreters_is_refused_and_not_blamed_on_the_function() -> None:
    with corefutures.create_executor("interpreter", max_workers=1) as executor:
        executor.submit(abs, 1).result(30)
        with pytest.raises(corefutures.UnsupportedError, match=r"can't be pickled.*other interpreters.*shut that pool"):
            compare(lambda number: number, range(4), **QUICK)
        assert compare(sampled.double, range(4), **QUICK).loop.error is None


def test_nothing_is_left_of_a_trial_that_was_ended() -> None:
    """The hanging calls run in worker processes: their connection ends when they do."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        for timeout in (2.0, 8.0, 30.0):  # a slow machine may need long to start the workers
            found = compare(
                sampled.hold_the_line, [port, port], **QUICK | {"backends": ["process"], "timeout": timeout}
            )
            listener.settimeout(1.0)
            try:
                line, _ = listener.accept()
                break
            except TimeoutError:
                continue
        assert only(found).error == f"no end within {timeout:g} s"
        with line:
            line.settimeout(40)
            try:
                assert line.recv(1) == b""
            except ConnectionResetError:
                pass


BAD: dict[str, tuple[type[Exception], str, dict[str, Any]]] = {
    "no function": (TypeError, "callable", {"fn": 3}),
    "no items": (ValueError, "no items", {"items": []}),
    "no workers": (ValueError, "max_workers must be greater than 0", {"max_workers": 0}),
    "half a worker": (TypeError, "max_workers must be an integer", {"max_workers": "2"}),
    "no time": (ValueError, "timeout must be greater than 0", {"timeout": 0}),
    "endless": (ValueError, "seconds must be a limited number", {"seconds": float("inf")}),
    "no sample": (ValueError, "sample must be greater than 0", {"sample": 0}),
    "no backend": (ValueError, "no backend", {"backends": []}),
    "a backend's name alone": (TypeError, "several names", {"backends": "thread"}),
    "no name": (TypeError, "must be a str", {"backends": [3]}),
}


@pytest.mark.parametrize(("kind", "phrase", "change"), BAD.values(), ids=BAD)
def test_bad_input_is_refused_at_the_call(kind: type[Exception], phrase: str, change: dict[str, Any]) -> None:
    arguments: dict[str, Any] = {"fn": sampled.double, "items": [1]} | change
    with pytest.raises(kind, match=phrase):
        compare(**arguments)


def test_a_coroutine_function_is_refused() -> None:
    async def later(_: int) -> None: ...

    with pytest.raises(TypeError, match="coroutine"):
        compare(later, [1])


def test_the_result_is_immutable_and_can_be_shown() -> None:
    found = compare(sampled.double, range(3), **QUICK)
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.reason = ""  # type: ignore[misc]
    assert found.as_dict()["loop"]["backend"] == "loop"
    assert found.as_dict()["trials"][0]["backend"] == "thread"
    picture = ET.fromstring(found.as_svg())
    texts = "".join(picture.itertext())
    assert "thread" in texts
    assert "recommended" in texts
