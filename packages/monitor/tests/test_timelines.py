"""What `trace` records, what `corefutures trace` makes of it, and that a person can use the page."""

from __future__ import annotations

import concurrent.futures
import importlib.util
import itertools
import json
import os
import threading
from pathlib import Path
from typing import Any

import pytest
from browser import Browser, browser

import corefutures
from corefutures._observers import flush
from corefutures.cli import main
from corefutures_monitor._timelines.page import page
from corefutures_monitor._timelines.reading import OUTCOMES, Timeline, read_trace

with_processes = pytest.mark.skipif(
    importlib.util.find_spec("corefutures_process") is None, reason="the process backend is not installed here"
)


@pytest.fixture
def recorded(tmp_path: Path) -> Path:
    """A trace of two thread pools and one of processes: calls that return, raise, are cancelled and do not end."""
    file = tmp_path / "run.json"
    gate, begun = threading.Event(), threading.Event()
    late = corefutures.create_executor("thread", max_workers=1, thread_name_prefix="late")
    with corefutures.trace(file) as recording:
        with corefutures.create_executor("thread", max_workers=2, thread_name_prefix="quick") as executor:
            futures = [executor.submit(pow, 2, number) for number in range(20)]
            futures.append(executor.submit(int, "x"))
            concurrent.futures.wait(futures)
        with corefutures.create_executor("process", max_workers=1) as executor:
            executor.submit(len, b"x" * 1000)
        late.submit(_hold, begun, gate)
        waiting = late.submit(pow, 2, 3)
        assert waiting.cancel()
        assert begun.wait(30)
    gate.set()
    late.shutdown()
    assert recording.calls == 24
    return file


def _hold(begun: threading.Event, gate: threading.Event) -> None:
    begun.set()
    gate.wait()


@with_processes
def test_the_file_is_what_perfetto_reads(recorded: Path) -> None:
    events = json.loads(recorded.read_text(encoding="utf-8"))
    assert {event["ph"] for event in events} == {"M", "X", "C", "i", "b", "e"}
    for event in events:
        assert {"name", "ph", "pid", "tid"} <= event.keys()
        assert event["ph"] == "M" or event["ts"] >= 0
    complete = [event for event in events if event["ph"] == "X"]
    assert len(complete) == 23
    assert all(event["dur"] >= 0 and event["args"]["waited"] >= 0 for event in complete)
    by_row: dict[tuple[int, int], list[tuple[float, float]]] = {}
    for event in complete:
        by_row.setdefault((event["pid"], event["tid"]), []).append((event["ts"], event["ts"] + event["dur"]))
    for spans in by_row.values():  # a worker runs one call at a time; times are rounded to a tenth of a microsecond
        spans.sort()
        assert all(end <= start + 0.2 for (_, end), (start, _) in itertools.pairwise(spans))
    counts = [event["args"] for event in events if event["ph"] == "C"]
    assert all(count["running"] >= 0 and count["waiting"] >= 0 for count in counts)


@with_processes
def test_what_was_recorded_is_read_again(recorded: Path) -> None:
    timeline = read_trace(recorded)
    assert timeline.pools == ["quick", "ProcessPoolExecutor-0", "late"] or timeline.pools[0].startswith("quick")
    outcomes = [OUTCOMES[outcome] for outcome in timeline.outcome]
    assert {outcome: outcomes.count(outcome) for outcome in set(outcomes)} == {
        "returned": 21, "raised": 1, "cancelled": 1, "unfinished": 1
    }  # fmt: skip
    assert [timeline.error[call] for call, outcome in enumerate(outcomes) if outcome == "raised"] == ["ValueError"]
    assert timeline.row[outcomes.index("cancelled")] == -1
    sized = [call for call, size in enumerate(timeline.size) if size is not None]
    assert len(sized) == 1
    assert timeline.size[sized[0]] > 1000  # type: ignore[operator]
    assert any(text == "worker started" for _, _, text in timeline.marks)


def test_calls_whose_worker_nobody_knows_are_laid_side_by_side(tmp_path: Path) -> None:
    file = tmp_path / "run.json"
    with corefutures.trace(file), corefutures.adapt(concurrent.futures.ProcessPoolExecutor(1)) as executor:
        list(executor.map(abs, range(5)))
    timeline = read_trace(file)
    assert timeline.waited == [None] * 5
    spans: dict[int, list[tuple[float, float]]] = {}
    for row, start, length in zip(timeline.row, timeline.start, timeline.length, strict=True):
        spans.setdefault(row, []).append((start, start + length))
    for of_row in spans.values():
        of_row.sort()
        assert all(end <= start for (_, end), (start, _) in itertools.pairwise(of_row))


@with_processes
def test_a_file_that_was_cut_off_is_read_up_to_there(recorded: Path) -> None:
    text = recorded.read_text(encoding="utf-8")
    recorded.write_text(text[: len(text) * 2 // 3], encoding="utf-8")
    assert 0 < len(read_trace(recorded).start) < 24


@pytest.mark.parametrize("text", ["", "no json", "[]", "{}", '{"traceEvents": [3]}', '[{"ph": "X"}]', "[\nno"])
def test_what_is_no_trace_is_told_so(text: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "other.json"
    file.write_text(text, encoding="utf-8")
    assert main(["trace", str(file)]) == 2
    assert "no trace of corefutures" in capsys.readouterr().err
    assert not file.with_suffix(".html").exists()


@with_processes
def test_files_that_cannot_be_read_or_written_are_told_of(
    recorded: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["trace", str(tmp_path / "missing.json")]) == 2
    assert main(["trace", str(recorded), "--output", str(tmp_path / "missing" / "run.html")]) == 2
    assert main(["trace", str(recorded), "--output", str(recorded)]) == 2
    assert capsys.readouterr().err.count("corefutures trace: ") == 3
    with pytest.raises(OSError, match="missing"):
        corefutures.trace(tmp_path / "missing" / "run.json").__enter__()


def test_what_a_call_is_named_cannot_break_the_page() -> None:
    timeline = Timeline(began=0.0, pools=["p"], rows=[(0, "w")], names=["</script><b>"])
    columns: dict[str, Any] = {
        "row": 0, "name": 0, "start": 0.0, "length": 1.0, "waited": 0.0, "outcome": 0, "number": 1, "size": None,
        "result_size": None, "error": "",
    }  # fmt: skip
    for column, value in columns.items():
        getattr(timeline, column).append(value)
    drawn = page(timeline, "</title>")
    assert drawn.count("</script>") == 1
    assert "</script><b>" not in drawn


@with_processes
def test_the_page_asks_nobody_for_anything(recorded: Path) -> None:
    assert main(["trace", str(recorded)]) == 0
    text = recorded.with_suffix(".html").read_text(encoding="utf-8")
    assert "http:" not in text
    assert "https:" not in text


@with_processes
@pytest.mark.skipif(browser() is None, reason="there is no Chromium here")
def test_a_person_can_use_the_page(recorded: Path, tmp_path: Path) -> None:
    assert main(["trace", str(recorded), "--output", str(tmp_path / "run.html"), "--title", "A <run>"]) == 0
    with Browser(tmp_path / "profile") as seen:
        seen.open(tmp_path / "run.html")

        def text(selector: str) -> str:
            found: str = seen.evaluate(f"document.querySelector({selector!r}).innerText")
            return found

        def visible() -> list[float]:
            found: list[float] = seen.evaluate("[from, to, end]")
            return found

        assert text("#title") == "A <run>"
        assert "24 calls" in text("#legend")
        assert "1 cancelled" in text("#legend")
        assert "1 unfinished" in text("#legend")
        assert "running share" in text("#shares")
        begin, stop, end = visible()
        assert (begin, stop) == (0, end)
        assert seen.evaluate(INK) > 0  # something is drawn

        seen.click("#zoom-in")
        assert visible() == pytest.approx([end / 4, end * 3 / 4, end])
        seen.click("#zoom-out")
        seen.click("#reset")
        assert visible()[:2] == [0, end]

        # A click on the slowest call leads to it; there it can be pointed at.
        seen.click("#slowest button")
        begin, stop, _ = visible()
        call = seen.evaluate("chosen")
        assert call >= 0
        middle = seen.evaluate("data.start[chosen] + data.length[chosen] / 2")
        assert begin <= middle <= stop
        point = seen.evaluate(
            f"(b => [b.x + at({middle}), b.y + tops[data.row[chosen]] + 10])(canvas.getBoundingClientRect())"
        )
        assert seen.evaluate("document.querySelector('#tip').hidden") is True
        seen.mouse("mouseMoved", *point)
        seen.settle()
        assert "ran" in text("#tip")
        assert text("#range").endswith(f"of {seen.evaluate('time(end)')}")

        # The wheel zooms around the pointer, dragging moves, and so do keys.
        before = visible()
        seen.mouse("mouseWheel", *point, deltaX=0, deltaY=300)
        seen.settle()
        wide = visible()
        assert wide[1] - wide[0] > before[1] - before[0] or wide[:2] == [0, end]
        seen.evaluate("(show(end / 4, end / 2), canvas.focus())")
        seen.mouse("mousePressed", *point)
        seen.mouse("mouseMoved", point[0] + 50, point[1], buttons=1)
        seen.mouse("mouseReleased", point[0] + 50, point[1])
        seen.settle()
        assert visible()[0] < end / 4
        before = visible()
        for kind in ("keyDown", "keyUp"):
            seen.ask("Input.dispatchKeyEvent", type=kind, key="ArrowRight", code="ArrowRight")
        seen.settle()
        assert visible()[0] > before[0]

        # Light and dark.
        colour = "getComputedStyle(document.body).backgroundColor"
        light = seen.evaluate(colour)
        seen.click("#theme")
        assert seen.evaluate(colour) != light
        seen.click("#theme")
        assert seen.evaluate(colour) == light
        assert seen.complaints == []
        assert [url for url in seen.requests if not url.startswith(("file:", "data:"))] == []


#: How many points of the picture have the colour of calls that returned.
INK = """(() => {
  const all = pen.getImageData(0, 0, canvas.width, canvas.height).data;
  const probe = document.createElement("canvas").getContext("2d");
  probe.fillStyle = colours.returned; probe.fillRect(0, 0, 1, 1);
  const [r, g, b] = probe.getImageData(0, 0, 1, 1).data;
  let count = 0;
  for (let i = 0; i < all.length; i += 4) if (all[i] === r && all[i + 1] === g && all[i + 2] === b) count++;
  return count;
})()"""


@pytest.mark.skipif(browser() is None, reason="there is no Chromium here")
def test_the_page_draws_a_hundred_thousand_calls(tmp_path: Path) -> None:
    count = 100_000
    timeline = Timeline(began=0.0, pools=["p"], rows=[(0, f"w{row}") for row in range(4)], names=["f"])
    columns: dict[str, list[Any]] = {
        "row": [call % 4 for call in range(count)], "name": [0] * count,
        "start": [call // 4 * 10.0 for call in range(count)], "length": [8.0] * count, "waited": [5.0] * count,
        "outcome": [0] * count, "number": list(range(count)), "size": [None] * count, "result_size": [None] * count,
        "error": [""] * count,
    }  # fmt: skip
    for name, column in columns.items():
        setattr(timeline, name, column)
    (tmp_path / "run.html").write_text(page(timeline, "many"), encoding="utf-8")
    with Browser(tmp_path / "profile") as seen:
        seen.open(tmp_path / "run.html")
        assert "100000 calls" in seen.evaluate("document.querySelector('#legend').innerText")
        assert seen.evaluate(INK) > 4 * 500 * 16  # four rows, as wide as the picture
        seen.click("#slowest button")
        assert seen.evaluate("to - from") < 100
        assert seen.complaints == []


def test_memory_holds_the_calls_that_have_not_ended_only(tmp_path: Path) -> None:
    with corefutures.trace(tmp_path / "run.json") as recording:
        with corefutures.create_executor("thread", max_workers=2) as executor:
            list(executor.map(abs, range(2000)))
        flush()
        assert len(recording._open) == 0
    assert recording.calls == 2000
    assert len(read_trace(tmp_path / "run.json").start) == 2000
    assert os.path.getsize(tmp_path / "run.json") > 2000
