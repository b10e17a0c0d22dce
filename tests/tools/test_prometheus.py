"""`examples/metrics`: the metrics in the text format of Prometheus, and the page that shows them, in a browser.

`COREFUTURES_PICTURES` names a folder in which the pictures of the page are kept.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
from browser import Browser, browser

pytest.importorskip("opentelemetry.exporter.prometheus", reason="opentelemetry-exporter-prometheus is not installed")

pytestmark = pytest.mark.timeout(120)
SERVE = Path(__file__).resolve().parents[2] / "examples" / "metrics" / "serve.py"


def samples(text: str, name: str) -> dict[str, float]:
    """The values of a metric, by the labels that tell them apart."""
    found = re.findall(rf"^{name}\{{(.*)\}} (\S+)$", text, re.M)
    return {labels: float(value) for labels, value in found}


def test_the_server_answers_with_the_text_and_the_page() -> None:
    with subprocess.Popen([sys.executable, SERVE, "--port", "0"], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            address = server.stdout.readline().strip()
            text = ""
            while 'code_function_name="digest"' not in text:
                with urllib.request.urlopen(f"{address}metrics", timeout=30) as answer:
                    text = answer.read().decode()
            with urllib.request.urlopen(address, timeout=30) as answer:
                assert "<title>Pools</title>" in answer.read().decode()
        finally:
            server.send_signal(signal.SIGINT) if sys.platform != "win32" else server.terminate()
            server.wait(60)
    assert set(samples(text, "corefutures_executor_worker_max").values()) == {8.0, 2.0}
    assert "# TYPE corefutures_executor_task_duration_seconds histogram" in text
    assert "# TYPE corefutures_executor_queue_size gauge" in text
    assert any(
        'code_function_name="fetch"' in labels for labels in samples(text, "corefutures_executor_task_ended_total")
    )


@pytest.mark.skipif(browser() is None, reason="there is no Chromium here")
def test_the_page_shows_the_pools_in_light_and_dark(tmp_path: Path) -> None:
    file = tmp_path / "pools.html"
    subprocess.run([sys.executable, SERVE, "--page", file], check=True, timeout=100)
    with Browser(tmp_path / "profile", width=1200, height=680) as seen:
        seen.open(file)
        assert seen.evaluate("[...document.querySelectorAll('h2')].map(e => e.textContent)") == [
            "ProcessPoolExecutor-0", "network",
        ]  # fmt: skip
        numbers = (
            "[...document.querySelectorAll('section')].map(s => [...s.querySelectorAll('dd')].map(e => e.innerText))"
        )
        assert seen.evaluate(numbers) == [["0", "0", "2", "2", "1"], ["0", "0", "8", "8", "0"]]
        headlines = seen.evaluate("[...document.querySelectorAll('h3')].map(e => e.innerText)")
        assert headlines[0].startswith("151 calls")
        assert any(
            re.fullmatch(r"Running: half within [\d.]+ (µs|ms|s), 95 % within [\d.]+ (µs|ms|s)", h) for h in headlines
        )
        functions = seen.evaluate("[...document.querySelectorAll('td:first-child')].map(e => e.innerText)")
        assert functions == ["compress", "digest", "run_out_of_memory", "fetch"]
        assert seen.evaluate("document.querySelectorAll('svg rect').length") > 8
        widths = seen.evaluate(
            "[...document.querySelectorAll('svg')].map(e => e.viewBox.baseVal.width - e.clientWidth)"
        )
        assert max(map(abs, widths)) < 1  # else the text is stretched
        grounds = []
        for theme in ("light", "dark"):
            seen.evaluate(f"paint({theme!r})")
            seen.settle()
            grounds.append(seen.evaluate("getComputedStyle(document.body).backgroundColor"))
            picture = tmp_path / f"pools-{theme}.png"
            seen.picture(picture)
            assert picture.stat().st_size > 10_000
            if kept := os.environ.get("COREFUTURES_PICTURES"):
                shutil.copy(picture, kept)
        assert grounds[0] != grounds[1]
        assert seen.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert seen.complaints == []
        assert [url for url in seen.requests if not url.startswith(("file:", "data:"))] == []
