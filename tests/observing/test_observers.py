"""What observers are told, when and in which thread, and that nothing they do disturbs the calls."""

from __future__ import annotations

import concurrent.futures
import importlib.util
import logging
import multiprocessing
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import observed_calls
import pytest

import corefutures
from corefutures._observers import ObserverSpecification, flush
from corefutures.backend import hookimpl
from corefutures_pools.instrumentation import instrumentation

with_processes = pytest.mark.skipif(
    importlib.util.find_spec("corefutures_process") is None, reason="the process backend is not installed here"
)
BACKENDS = [
    "thread",
    pytest.param("process", marks=with_processes),
    pytest.param(
        "interpreter",
        marks=pytest.mark.skipif(sys.version_info < (3, 14), reason="the interpreter backend needs Python 3.14"),
    ),
]


class Diary:
    """Writes down every hook, with what it was given."""

    def __init__(self) -> None:
        self.entries: list[tuple[str, dict[str, Any]]] = []
        self.threads: set[str] = set()

    def _write(self, what: str, **told: Any) -> None:
        self.threads.add(threading.current_thread().name)
        self.entries.append((what, told))

    def corefutures_executor_created(self, executor: Any, name: str, time: float) -> None:
        self._write("created", executor=executor, name=name, time=time)

    def corefutures_executor_shut_down(self, executor: Any, name: str, time: float) -> None:
        self._write("shut down", executor=executor, name=name, time=time)

    def corefutures_worker_started(self, name: str, worker: str, time: float) -> None:
        self._write("worker started", worker=worker, time=time)

    def corefutures_worker_lost(self, name: str, worker: str, error: BaseException, time: float) -> None:
        self._write("worker lost", worker=worker, error=error, time=time)

    def corefutures_call_submitted(self, call: Any, executor: Any, future: Any, time: float) -> None:
        self._write("submitted", call=call, executor=executor, future=future, time=time)

    def corefutures_call_started(self, call: Any, future: Any, worker: str, time: float) -> None:
        self._write("started", call=call, future=future, worker=worker, time=time)

    def corefutures_call_finished(self, call: Any, future: Any, worker: str | None, time: float) -> None:
        self._write("finished", call=call, future=future, worker=worker, time=time)

    def corefutures_call_cancelled(self, call: Any, future: Any, time: float) -> None:
        self._write("cancelled", call=call, future=future, time=time)

    def told(self, what: str) -> list[dict[str, Any]]:
        return [told for kind, told in self.entries if kind == what]

    def way_of(self, call: Any) -> list[str]:
        return [what for what, told in self.entries if told.get("call") is call]


@contextmanager
def observing(observer: Any) -> Iterator[Any]:
    corefutures.add_observer(observer)
    try:
        yield observer
    finally:
        corefutures.remove_observer(observer)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_call_is_followed_from_submission_to_its_end(backend: str) -> None:
    before = perf_counter()
    with observing(Diary()) as diary, corefutures.create_executor(backend, max_workers=1) as executor:
        futures = [executor.submit(pow, 2, 3), executor.submit(int, "x")]
        concurrent.futures.wait(futures)
    after = perf_counter()
    returned, raised = [told["call"] for told in diary.told("submitted")]
    assert diary.way_of(returned) == diary.way_of(raised) == ["submitted", "started", "finished"]
    assert (returned.outcome, returned.error, returned.name) == ("returned", None, "pow")
    assert (raised.outcome, raised.error, raised.name) == ("raised", "ValueError", "int")
    for call in (returned, raised):
        assert before <= call.submitted <= call.started <= call.finished <= after
    assert returned.finished <= raised.started  # one worker
    assert {told["worker"] for told in diary.told("started")} == {
        told["worker"] for told in diary.told("worker started")
    }
    assert [told["executor"] for told in diary.told("created")] == [executor]
    assert [told["executor"] for told in diary.told("shut down")] == [executor]
    assert [told["future"] for told in diary.told("submitted")] == futures
    assert (returned.size is None) == (backend == "thread")
    assert (returned.result_size is None) == (backend == "thread")


@with_processes
@pytest.mark.parametrize("portable", [False, True])
def test_isolated_workers_take_the_times_themselves_whichever_way_they_are_reached(
    portable: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if portable:
        monkeypatch.setenv("COREFUTURES_PORTABLE", "1")
    with observing(Diary()) as diary, corefutures.create_executor("process", max_workers=1) as executor:
        began, ended = executor.submit(_between, 50_000).result()
    call = diary.told("finished")[0]["call"]
    assert call.started <= began <= ended <= call.finished
    assert call.size > 0
    assert call.result_size > 0


def _between(rounds: int) -> tuple[float, float]:
    began = perf_counter()
    for number in range(rounds):
        number.bit_length()
    return began, perf_counter()


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_call_that_is_cancelled_has_not_started(backend: str) -> None:
    with observing(Diary()) as diary:
        executor = corefutures.create_executor(backend, max_workers=1)
        with executor:
            futures = [executor.submit(pow, 3, number) for number in range(200)]
            executor.shutdown(wait=False, cancel_futures=True)
        cancelled = [future for future in futures if future.cancelled()]
    assert {told["future"] for told in diary.told("cancelled")} == set(cancelled)
    assert len(diary.told("cancelled")) == len(cancelled)
    for told in diary.told("cancelled"):
        assert diary.way_of(told["call"]) == ["submitted", "cancelled"]
        assert told["call"].started is None
    assert len(diary.told("finished")) == len(futures) - len(cancelled)
    assert len(diary.told("shut down")) == 1


@with_processes
def test_a_lost_worker_is_told_of_and_its_call_is_lost() -> None:
    with (
        observing(Diary()) as diary,
        corefutures.create_executor(
            "process", max_workers=1, on_worker_loss="replace", mp_context=multiprocessing.get_context("spawn")
        ) as executor,
    ):
        error = executor.submit(os._exit, 3).exception()
        assert executor.submit(pow, 2, 2).result() == 4
    assert isinstance(error, corefutures.WorkerLostError)
    (lost,) = diary.told("worker lost")
    assert lost["worker"] == error.worker
    first, second = [told["call"] for told in diary.told("finished")]
    assert (first.outcome, first.error) == ("lost", "WorkerLostError")
    assert second.outcome == "returned"
    assert len(diary.told("worker started")) == 2


@with_processes
def test_what_cannot_be_sent_is_a_call_that_failed() -> None:
    with observing(Diary()) as diary, corefutures.create_executor("process", max_workers=1) as executor:
        executor.submit(lambda: None).exception()
    (told,) = diary.told("finished")
    assert told["call"].outcome == "raised"
    assert told["call"].started is None


def test_of_an_adapted_executor_all_is_told_but_its_workers() -> None:
    with (
        observing(Diary()) as diary,
        corefutures.adapt(concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="foreign")) as executor,
    ):
        executor.submit(pow, 2, 3)
    (told,) = diary.told("started")
    assert told["worker"].startswith("foreign")
    assert diary.way_of(told["call"]) == ["submitted", "started", "finished"]


def test_calls_that_a_waiting_call_runs_in_its_own_thread_are_told_of() -> None:
    with observing(Diary()) as diary, corefutures.create_executor("thread", max_workers=1) as executor:
        assert executor.submit(lambda: executor.submit(pow, 2, 3).result()).result() == 8
    inner = next(told["call"] for told in diary.told("finished") if told["call"].function == "pow")
    assert diary.way_of(inner) == ["submitted", "started", "finished"]


def test_the_name_of_a_call_is_the_one_it_was_given() -> None:
    with observing(Diary()) as diary, corefutures.create_executor("thread", max_workers=1) as executor:
        executor.options(name="first").submit(pow, 2, 3)
    assert diary.told("finished")[0]["call"].name == "first"


def test_observers_have_a_thread_of_their_own_that_ends_with_the_last_of_them() -> None:
    with (
        observing(Diary()) as diary,
        observing(Diary()) as other,
        corefutures.create_executor("thread", max_workers=2) as executor,
    ):
        list(executor.map(str, range(10)))
    assert diary.threads == other.threads == {"corefutures-observers"}
    assert "corefutures-observers" not in {thread.name for thread in threading.enumerate()}
    assert not instrumentation.enabled


def test_an_observer_that_waits_keeps_no_call_waiting() -> None:
    class Slow:
        def __init__(self) -> None:
            self.gate = threading.Event()
            self.heard = 0

        def corefutures_call_finished(self) -> None:
            self.gate.wait()
            self.heard += 1

    with observing(Slow()) as slow:
        with corefutures.create_executor("thread", max_workers=1) as executor:
            assert list(executor.map(abs, range(5))) == [0, 1, 2, 3, 4]
        assert slow.heard == 0
        slow.gate.set()
    assert slow.heard == 5


def test_an_observer_that_fails_is_logged_once_and_disturbs_nobody(caplog: pytest.LogCaptureFixture) -> None:
    class Failing:
        def corefutures_call_started(self) -> None:
            raise SystemExit("on purpose")

    with (
        caplog.at_level(logging.ERROR, "concurrent.futures"),
        observing(Failing()),
        observing(Diary()) as diary,
        corefutures.create_executor("thread", max_workers=1) as executor,
    ):
        assert list(executor.map(abs, range(5))) == [0, 1, 2, 3, 4]
    assert len(diary.told("started")) == len(diary.told("finished")) == 5
    (record,) = caplog.records
    assert "corefutures_call_started" in record.getMessage()
    assert record.exc_info is not None
    assert record.exc_info[0] is SystemExit


def test_an_observer_may_submit_calls_and_may_take_its_leave() -> None:
    class Leaving:
        def __init__(self, executor: Any) -> None:
            self.executor = executor
            self.calls = 0

        def corefutures_call_finished(self, call: Any) -> None:
            self.calls += 1
            corefutures.remove_observer(self)
            assert self.executor.submit(pow, 2, 5).result() == 32

    with corefutures.create_executor("thread", max_workers=1) as executor:
        leaving = Leaving(executor)
        with observing(Diary()) as diary:
            corefutures.add_observer(leaving)
            list(executor.map(abs, range(5)))
            flush()
            assert leaving.calls == 1
        assert len(diary.told("finished")) == 6
        with pytest.raises(ValueError, match="is no observer"):
            corefutures.remove_observer(leaving)


def test_calls_submitted_before_are_not_told_of() -> None:
    with corefutures.create_executor("thread", max_workers=1) as executor:
        gate = threading.Event()
        first = executor.submit(gate.wait)
        with observing(Diary()) as diary:
            second = executor.submit(pow, 2, 3)
            gate.set()
            first.result()
            second.result()
    assert {told["future"] for _, told in diary.entries if "future" in told} <= {second}
    assert len(diary.told("submitted")) == 1


def test_markers_are_welcome_and_not_needed() -> None:
    class Marked:
        heard: list[str] = []  # noqa: RUF012

        @hookimpl
        def corefutures_call_finished(self, call: Any) -> None:
            self.heard.append(call.function)

    with observing(Marked()) as marked, corefutures.create_executor("thread", max_workers=1) as executor:
        executor.submit(pow, 2, 3)
    assert marked.heard == ["pow"]


class Misspelt:
    def corefutures_call_ended(self, call: Any) -> None: ...


class WrongArgument:
    def corefutures_call_finished(self, cal: Any) -> None: ...


@pytest.mark.parametrize(
    ("observer", "error", "message"),
    [
        (Misspelt(), ValueError, "corefutures_call_ended"),
        (WrongArgument(), ValueError, "cal"),
        (object(), TypeError, "none of the hooks"),
        (Diary, TypeError, "not its class"),
    ],
)
def test_what_cannot_observe_is_told_so(observer: Any, error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        corefutures.add_observer(observer)
    assert not instrumentation.enabled


def test_nobody_observes_twice() -> None:
    with observing(Diary()) as diary, pytest.raises(ValueError, match="already"):
        corefutures.add_observer(diary)


def test_every_hook_is_one_that_executors_know() -> None:
    from corefutures import _instrumentation as _audience

    known = {
        value for name, value in vars(_audience).items() if name.isupper() and str(value).startswith("corefutures_")
    }
    assert known == {name for name in vars(ObserverSpecification) if name.startswith("corefutures_")}


def test_executors_import_pluggy_only_once_there_is_an_observer() -> None:
    program = (
        "import sys, corefutures_thread\n"
        "with corefutures_thread.ThreadPoolExecutor(1) as executor: executor.submit(pow, 2, 3).result()\n"
        "assert 'pluggy' not in sys.modules and 'corefutures._observers' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=50)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_has_no_observers() -> None:
    with observing(Diary()):
        child = os.fork()
        if child == 0:
            os._exit(1 if instrumentation.enabled else 0)
        assert os.waitpid(child, 0)[1] == 0


def test_the_rest_is_heard_at_the_end_of_the_program() -> None:
    program = (
        "import corefutures\n"
        "class Last:\n"
        "    def corefutures_call_finished(self, call): print(call.number, flush=True)\n"
        "corefutures.add_observer(Last())\n"
        "corefutures.create_executor('thread', max_workers=1).submit(pow, 2, 3)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=50)
    assert done.stdout == "1\n"


@pytest.mark.parametrize("backend", ["thread", pytest.param("process", marks=with_processes)])
def test_a_call_that_its_submitter_runs_is_observed(backend: str, tmp_path: Path) -> None:
    executor = corefutures.create_executor(backend, max_workers=1, max_pending=1, when_full="caller_runs")
    with executor, observing(Diary()) as diary:
        held = [executor.submit(observed_calls.come_and_stay, str(tmp_path), "there")]
        while not (tmp_path / "there").exists():  # until then, it may be the call that waits
            assert not held[0].done()
        here = []
        while len(here) < 2:  # until there is no room
            future = executor.submit(threading.get_ident)
            if future.done() and future.result() == threading.get_ident():
                here.append(future)
            else:
                held.append(future)
        (tmp_path / "go").touch()
        assert all(future.exception(timeout=30) is None for future in held)
        flush(30)
    ended = [told["call"] for told in diary.told("finished") if told["future"] in here]
    assert [call.outcome for call in ended] == ["returned"] * 2
    assert {call.worker for call in ended} == {threading.current_thread().name}
    assert all(call.submitted <= call.started <= call.finished for call in ended)
