"""What `progress` and `track` show, where, and that the program they watch does not notice."""

from __future__ import annotations

import importlib.util
import io
import re
import sys
import threading
from concurrent.futures import ThreadPoolExecutor as StandardPool
from pathlib import Path
from typing import Any

import pytest

import corefutures
from corefutures._observers import flush
from corefutures_monitor import ProgressCounts
from corefutures_monitor._progress import display
from corefutures_monitor._progress.counts import format_duration
from corefutures_monitor._progress.renderers import LogRenderer, NotebookRenderer

pytestmark = pytest.mark.skipif(importlib.util.find_spec("rich") is None, reason="rich is not installed here")


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "xterm")
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("COLUMNS", "140")


def counted(counts: ProgressCounts) -> dict[str, int | None]:
    return {name: getattr(counts, name) for name in ("submitted", "done", "failed", "cancelled", "running", "waiting")}


def test_every_call_of_the_block_is_counted() -> None:
    log = io.StringIO()
    with corefutures.create_executor("thread", max_workers=1) as executor:
        gate = threading.Event()
        executor.submit(pow, 2, 2)  # before the block
        with corefutures.progress(executor, description="work", file=log) as shown:
            executor.submit(gate.wait)
            last = [executor.submit(int, "x"), executor.submit(pow, 2, 3), executor.submit(pow, 2, 4)]
            assert last[1].cancel()
            gate.set()
            last[2].result()
    assert counted(shown.counts) == {
        "submitted": 4, "done": 2, "failed": 1, "cancelled": 1, "running": 0, "waiting": 0
    }  # fmt: skip
    assert re.fullmatch(r"work: 4 of 4 done, 1 failed, 1 cancelled, [\d.,e+]+/s, [\d.]+ s\n", log.getvalue())


def test_what_runs_and_what_waits_is_told_apart() -> None:
    with corefutures.create_executor("thread", max_workers=1) as executor:
        gate, begun = threading.Event(), threading.Event()
        with corefutures.progress(executor, total=10, file=io.StringIO()) as shown:
            executor.submit(_hold, begun, gate)
            executor.submit(pow, 2, 3)
            assert begun.wait(30)
            flush()
            assert (shown.counts.running, shown.counts.waiting, shown.counts.total) == (1, 1, 10)
            assert shown.counts.numbers() == "0 of 10 done, 1 running, 1 waiting"
            gate.set()


def _hold(begun: threading.Event, gate: threading.Event) -> None:
    begun.set()
    gate.wait()


def test_several_executors_are_shown_at_once_each_with_its_own_calls() -> None:
    terminal = Terminal()
    with (
        corefutures.create_executor("thread", max_workers=1) as one,
        corefutures.create_executor("thread", max_workers=1) as two,
        corefutures.progress(one, description="first", file=terminal) as first,
        corefutures.progress(two, description="second", file=terminal) as second,
    ):
        list(one.map(abs, range(3)))
        list(two.map(abs, range(5)))
    assert (first.counts.done, second.counts.done) == (3, 5)
    drawn = terminal.getvalue()
    assert "first" in drawn
    assert "3 of 3 done" in drawn
    assert "5 of 5 done" in drawn
    assert not [thread for thread in threading.enumerate() if thread.name == "corefutures-progress"]


@pytest.mark.parametrize("broken", ["write", "flush"])
def test_a_place_that_cannot_be_drawn_on_disturbs_nobody(broken: str) -> None:
    class Broken(io.StringIO):
        pass

    def fail(*_: Any) -> None:
        raise OSError("no space left")

    log = Broken()
    setattr(log, broken, fail)
    with (
        corefutures.create_executor("thread", max_workers=1) as executor,
        corefutures.progress(executor, file=log) as shown,
    ):
        assert list(executor.map(abs, range(3))) == [0, 1, 2]
    assert shown.counts.done == 3


def test_an_error_in_the_block_is_passed_on() -> None:
    with (
        corefutures.create_executor("thread", max_workers=1) as executor,
        pytest.raises(KeyError),
        corefutures.progress(executor, file=io.StringIO()),
    ):
        raise KeyError


def test_the_iterator_of_a_map_goes_on_after_an_error() -> None:
    log = io.StringIO()
    with corefutures.create_executor("thread", max_workers=2) as executor:
        results = corefutures.track(executor.map(int, ["1", "x", "3"]), description="numbers", file=log)
        assert next(results) == 1
        with pytest.raises(ValueError, match="invalid literal"):
            next(results)
        assert list(results) == [3]
    assert log.getvalue().startswith("numbers: 3 of 3 done, 1 failed, ")


def test_futures_are_passed_on_as_they_end() -> None:
    gate = threading.Event()
    log = io.StringIO()
    with corefutures.create_executor("thread", max_workers=2) as executor:
        slow, quick, bad = executor.submit(gate.wait), executor.submit(pow, 2, 3), executor.submit(int, "x")
        tracked = corefutures.track([slow, quick, bad], file=log)
        assert {next(tracked), next(tracked)} == {quick, bad}
        gate.set()
        assert next(tracked) is slow
        assert next(tracked, None) is None
    assert counted(tracked.counts) | {"submitted": 0} == {
        "submitted": 0, "done": 2, "failed": 1, "cancelled": 0, "running": 0, "waiting": None
    }  # fmt: skip


def test_any_iterator_can_be_tracked_and_closed() -> None:
    log = io.StringIO()
    tracked = corefutures.track(iter(range(10)), total=10, file=log)
    assert [next(tracked), next(tracked)] == [0, 1]
    tracked.close()
    assert log.getvalue().startswith("calls: 2 of 10 done, ")
    dropped = corefutures.track(iter(range(10)), file=log)
    next(dropped)
    del dropped
    assert not [thread for thread in threading.enumerate() if thread.name == "corefutures-progress"]


def test_a_log_gets_a_line_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
    class Log(io.StringIO):
        lines = threading.Semaphore(0)

        def write(self, text: str) -> int:
            self.lines.release()
            return super().write(text)

    monkeypatch.setattr(LogRenderer, "pause", 0.01)
    log = Log()
    with (
        corefutures.create_executor("thread", max_workers=1) as executor,
        corefutures.progress(executor, file=log),
    ):
        executor.submit(pow, 2, 3).result()
        for _ in range(3):
            assert log.lines.acquire(timeout=30)
    assert "\r" not in log.getvalue()
    assert "\x1b" not in log.getvalue()


def test_a_notebook_gets_html_that_replaces_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[dict[str, str]] = []

    class Output:
        def update(self, picture: dict[str, str], *, raw: bool) -> None:
            assert raw
            shown.append(picture)

    class Display:
        @staticmethod
        def display(picture: dict[str, str], *, raw: bool, display_id: bool) -> Output:
            return Output()

    monkeypatch.setitem(sys.modules, "IPython.display", Display)
    monkeypatch.setattr(display, "renderer_for", lambda file: NotebookRenderer())
    with (
        corefutures.create_executor("thread", max_workers=1) as executor,
        corefutures.progress(executor, description="<b>"),
    ):
        executor.submit(pow, 2, 3)
        executor.submit(pow, 2, 3).result()
    assert "&lt;b&gt;: 2 of 2 done" in shown[-1]["text/html"]
    assert "max=2" in shown[-1]["text/html"]


def test_without_rich_the_error_names_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with (
        corefutures.create_executor("thread", max_workers=1) as executor,
        pytest.raises(ImportError, match="pip install rich"),
    ):
        corefutures.progress(executor)
    with pytest.raises(ImportError, match="pip install rich"):
        corefutures.track([])


def test_bad_input_is_told_at_the_call() -> None:
    with StandardPool(1) as pool, pytest.raises(TypeError, match="adapt"):
        corefutures.progress(pool)  # type: ignore[arg-type]
    with corefutures.create_executor("thread", max_workers=1) as executor:
        for total, error in (("3", TypeError), (True, TypeError), (-1, ValueError)):
            with pytest.raises(error, match="total"):
                corefutures.progress(executor, total=total)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match="file"):
            corefutures.progress(executor, file=Path("x"))  # type: ignore[arg-type]
    with pytest.raises(TypeError, match="another iterable, not 3"):
        corefutures.track(3)  # type: ignore[arg-type]


def test_rate_and_time_left() -> None:
    counts = ProgressCounts("x", 100)
    counts.done = 50
    counts._past[0] = (counts.began - 10, 0)
    rate, left = counts.rate()
    assert rate == pytest.approx(5, rel=0.2)
    assert left == pytest.approx(10, rel=0.2)
    assert [format_duration(seconds) for seconds in (0.25, 42, 61.5, 3600)] == ["0.2 s", "42 s", "1:02", "1:00:00"]
