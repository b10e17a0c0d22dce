"""`profile`: where workers spend their time, by calls and by functions, and the page that shows it."""

from __future__ import annotations

import concurrent.futures
import importlib.util
import os
import shutil
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from browser import Browser, browser

import corefutures
from corefutures import profile
from corefutures_monitor import Profile

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


def compute(gate: str, data: bytes) -> int:
    """Computes until the gate opens."""
    while not os.path.exists(gate):
        add_up(data)
    return len(data)


def add_up(data: bytes) -> int:
    total = 0
    for _ in range(200):
        total += len(data)
    return total


def fail() -> None:
    raise LookupError("not here")


def frames(taken: Profile) -> set[tuple[str, ...]]:
    """The stacks, without files."""
    return {tuple(function for _, function in stack) for stack in list(taken.stacks)}


@pytest.mark.parametrize("backend", BACKENDS)
def test_samples_are_joined_with_calls(backend: str, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    with corefutures.create_executor(backend, max_workers=2) as executor:
        with profile(executor, interval=0.002) as taken:
            future = executor.submit(compute, str(gate), bytes(1000))
            while ("compute", "compute", "add_up") not in frames(taken):
                threading.Event().wait(0.01)
            gate.touch()
            assert future.result(timeout=30) == 1000
            with pytest.raises(LookupError):
                executor.submit(fail).result(timeout=30)
            assert list(executor.map(abs, range(8), chunksize=4)) == list(range(8))
        after = taken.samples
        found = {function.function: function for function in taken.functions}
        executor.submit(abs, -1).result(timeout=30)
    assert taken.samples == after > 0
    assert taken.seconds > 0
    assert (found["compute"].calls, found["compute"].failed) == (1, 0)
    assert (found["fail"].calls, found["fail"].failed) == (1, 1)
    assert found["abs"].calls == (8 if backend == "thread" else 2)  # chunks travel as one call
    assert found["compute"].ran > 0
    assert found["compute"].waited >= 0
    if backend == "thread":
        assert (found["compute"].pickled, found["compute"].size) == (0, 0)
    else:
        assert found["compute"].pickled > 0
        assert found["compute"].size > 1000
        assert found["compute"].result_size > 0
    seconds = sum(taken.stacks.values()) + taken.idle
    assert 0 < seconds <= 2 * taken.seconds + 1e-6
    assert "compute" in str(taken)
    assert "samples in" in str(taken)
    assert any(
        line.startswith("compute;compute (test_profile.py);add_up (test_profile.py) ")
        for line in taken.collapsed().splitlines()
    )


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_function_of_c_has_no_frames_of_its_worker(backend: str) -> None:
    with corefutures.create_executor(backend, max_workers=1) as executor, profile(executor, interval=0.002) as taken:
        while ("sleep", "a function of C, or its pickling") not in frames(taken):
            executor.submit(time.sleep, 0.1).result(timeout=30)
    assert not [stack for stack in frames(taken) if stack[0] == "sleep" and "serve_shared_queue" in stack]


def test_only_the_calls_of_this_pool_are_counted() -> None:
    with corefutures.create_executor("thread") as executor, corefutures.create_executor("thread") as other:
        with profile(executor.options(name="named")) as taken:  # type: ignore[attr-defined]
            executor.submit(abs, -1).result(timeout=30)
            other.submit(fail).exception(timeout=30)
        assert [function.function for function in taken.functions] == ["abs"]
        with taken, pytest.raises(RuntimeError, match="already"):
            taken.__enter__()


def test_what_has_no_workers_is_refused() -> None:
    with pytest.raises(TypeError, match="profile\\(\\) takes a pool of corefutures"):
        profile(concurrent.futures.ThreadPoolExecutor(1))  # type: ignore[arg-type]
    with corefutures.create_executor("thread") as executor:
        with pytest.raises(ValueError, match="interval"):
            profile(executor, interval=0)
        adapted: Any = corefutures.adapt(concurrent.futures.ThreadPoolExecutor(1))
        with adapted, pytest.raises(corefutures.UnsupportedError), profile(adapted):
            pass


def test_a_pool_may_be_shut_down_inside() -> None:
    executor: Any = corefutures.create_executor("thread", max_workers=1)
    with profile(executor, interval=0.001) as taken:
        executor.submit(abs, -1).result(timeout=30)
        executor.shutdown()
        samples = taken.samples
        while taken.samples < samples + 3:
            threading.Event().wait(0.005)
    assert taken.functions[0].calls == 1


def made_up() -> Profile:
    executor: Any = corefutures.create_executor("thread", max_workers=1, thread_name_prefix="<made up>")
    taken = profile(executor)
    executor.shutdown()
    taken.samples, taken.seconds, taken.idle = 700, 7.0, 2.5
    taken.stacks.update({
        (("", "render"), ("/srv/app/pages.py", "render"), ("/srv/app/pages.py", "fill_in")): 5.0,
        (("", "render"), ("/srv/app/pages.py", "render"), ("/srv/app/text.py", "escape")): 1.5,
        (("", "render"), ("/srv/app/pages.py", "render")): 1.0,
        (("", "resize"), ("/srv/app/images.py", "resize"), ("/srv/lib/filters.py", "convolve")): 3.0,
        (("", "resize"), ("", "a function of C, or its pickling")): 1.0,
    })  # fmt: skip
    taken._functions.update({
        "render": [700, 3, 2.1, 0.04, 7.5, 120_000, 2_300_000],
        "resize": [40, 0, 1.1, 0.4, 4.0, 48_000_000, 9_000_000],
    })  # fmt: skip
    return taken


def test_the_page_is_safe_from_its_data(tmp_path: Path) -> None:
    taken = made_up()
    taken.stacks[("", "</script><b>"), ("/a\u2028b.py", "f")] = 1.0
    taken.write(tmp_path / "page.html", title="</script>")
    text = (tmp_path / "page.html").read_text(encoding="utf-8")
    assert text.count("</script>") == 1
    assert "\u2028" not in text


@pytest.mark.skipif(browser() is None, reason="there is no Chromium here")
def test_the_page_shows_a_flame_graph(tmp_path: Path) -> None:
    taken = made_up()
    taken.write(tmp_path / "profile.html")
    with Browser(tmp_path / "profile", width=1100, height=560) as seen:
        seen.open(tmp_path / "profile.html")
        shown = "Object.fromEntries([...document.querySelectorAll('.frame')].map(e => [e.textContent, e.offsetWidth]))"
        widths = seen.evaluate(shown)
        assert widths["all calls"] == seen.evaluate("document.querySelector('#graph').clientWidth")
        assert abs(widths["fill_in"] / widths["all calls"] - 5 / 11.5) < 0.01
        assert abs(widths["convolve"] / widths["all calls"] - 3 / 11.5) < 0.01
        assert "700 samples in 7 s: workers ran calls for 11.5 s, idle for 2.5 s" in seen.evaluate(
            "document.body.innerText"
        )
        assert seen.evaluate("document.querySelector('h1').textContent") == "<made up>"
        rows = seen.evaluate(
            "[...document.querySelectorAll('tr')].map(r => r.innerText.split('\\t').map(s => s.trim()))"
        )
        assert rows[1] == ["render", "700", "3", "3 ms", "57.1 µs", "10.7 ms", "7.5 s", "120.0 kB", "2300.0 kB"]
        grounds = []
        for theme in ("light", "dark"):
            seen.evaluate(f"paint({theme!r})")
            seen.settle()
            grounds.append(seen.evaluate("getComputedStyle(document.body).backgroundColor"))
            picture = tmp_path / f"profile-{theme}.png"
            seen.picture(picture)
            assert picture.stat().st_size > 10_000
            if kept := os.environ.get("COREFUTURES_PICTURES"):
                shutil.copy(picture, kept)
        assert grounds[0] != grounds[1]
        seen.evaluate("[...document.querySelectorAll('.call')].find(e => e.textContent === 'resize').id = 'resize'")
        seen.click("#resize")
        widths = seen.evaluate(shown)
        assert abs(widths["convolve"] / widths["all calls"] - 0.75) < 0.01
        assert "fill_in" not in widths
        seen.click("#reset")
        assert "fill_in" in seen.evaluate(shown)
        seen.evaluate("document.querySelector('#search').value = 'pages.py'; draw()")
        assert "found in 65.2 %" in seen.evaluate("document.querySelector('#summary').innerText")
        assert seen.complaints == []
        assert [url for url in seen.requests if not url.startswith(("file:", "data:"))] == []
