"""The picture of docs/choose.md: measured on the three backends, drawn from the JSON.

`python -m benchmarks.choosing measure FILE.json` and `python -m benchmarks.choosing draw FILE.json FILE.svg`.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

import corefutures
from benchmarks import tiny
from benchmarks.measuring import seconds
from corefutures_tools._comparing.picture import COLOURS, STYLE

BACKENDS = ("thread", "process", "interpreter")
ROUNDS = 5
PAYLOAD = 16 << 20


def workers(name: str, count: int = 2) -> Executor:
    """Returns an executor whose workers have all started and imported the calls."""
    executor: Executor = corefutures.create_executor(name, max_workers=count)
    for _ in range(2):
        for future in [executor.submit(tiny.pause, 0.05) for _ in range(count)]:
            future.result()
    return executor


def start(name: str) -> float:
    def run() -> None:
        with corefutures.create_executor(name, max_workers=2) as executor:
            executor.submit(tiny.nothing).result()

    return seconds(run) * 1e3


def call(name: str) -> float:
    def run() -> None:
        for future in [executor.submit(tiny.nothing) for _ in range(2_000)]:
            future.result()

    with workers(name) as executor:
        return seconds(run) / 2_000 * 1e6


def payload(name: str) -> float:
    content = bytes(PAYLOAD)
    with workers(name) as executor:
        return seconds(lambda: executor.submit(tiny.echo, content).result()) * 1e3


def compute(name: str) -> float:
    def run() -> None:
        for future in [executor.submit(tiny.compute, 5_000_000) for _ in range(4)]:
            future.result()

    with workers(name) as executor:
        return seconds(run) * 1e3


def digest(name: str) -> float:
    content = bytes(PAYLOAD)

    def run() -> None:
        for future in [executor.submit(tiny.digest, content) for _ in range(8)]:
            future.result()

    with workers(name) as executor:
        return seconds(run) * 1e3


def wait(name: str) -> float:
    def run() -> None:
        with corefutures.create_executor(name, max_workers=50) as executor:
            for future in [executor.submit(tiny.pause, 0.05) for _ in range(200)]:
                future.result()

    return seconds(run) * 1e3


MEASURES: list[tuple[str, str, Callable[[str], float]]] = [
    ("start the pool, one call, stop it", "ms", start),
    ("one of many tiny calls", "µs", call),
    ("send 16 MB of bytes there and back", "ms", payload),
    ("four calls that compute in Python, two workers", "ms", compute),
    ("eight calls that digest 16 MB each in C, two workers", "ms", digest),
    ("200 calls that wait 50 ms, 50 workers, with their start", "ms", wait),
]


def measured() -> dict[str, Any]:
    """Returns the best of each measure on each backend, and what it depends on: a busy machine spoils all but that."""
    from benchmarks.__main__ import surroundings

    panels = []
    for title, unit, measure in MEASURES:
        costs: dict[str, list[float]] = {name: [] for name in BACKENDS}
        for number in range(ROUNDS):  # in turn, so that what drifts falls on all alike
            for name in BACKENDS[:: 1 if number % 2 == 0 else -1]:
                costs[name].append(measure(name))
        best = {name: min(found) for name, found in costs.items()}
        print(title, best, file=sys.stderr, flush=True)
        panels.append({"title": title, "unit": unit, "best": best})
    return {"surroundings": surroundings(), "rounds": ROUNDS, "panels": panels}


def figure(value: float) -> str:
    return f"{value:,.0f}" if value >= 20 else f"{value:.1f}"


def drawn(document: dict[str, Any]) -> str:
    """Returns the SVG: a panel for each measure, a bar for each backend, shorter is better."""
    return "\n".join(lines(document)) + "\n"


def lines(document: dict[str, Any]) -> Iterator[str]:
    panels = document["panels"]
    height = 44 + 96 * len(panels) + 24
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 640 {height}" font-family="sans-serif"'
        ' font-size="13" role="img" aria-label="What threads, processes and interpreters cost; shorter is better">'
    )
    yield STYLE
    yield '<text x="16" y="26" font-size="15">What each backend takes (shorter is better)</text>'
    top = 44
    for panel in panels:
        longest = max(panel["best"].values())
        yield f'<text x="16" y="{top + 16}">{escape(panel["title"])}, {escape(panel["unit"])}</text>'
        for row, (name, value) in enumerate(panel["best"].items()):
            y = top + 24 + 21 * row
            width = max(1.0, 420 * value / longest)
            yield f'<text x="100" y="{y + 13}" text-anchor="end" class="quiet">{escape(name)}</text>'
            yield f'<rect x="108" y="{y}" width="{width:.1f}" height="16" fill="{COLOURS[name]}"/>'
            yield f'<text x="{114 + width:.1f}" y="{y + 13}">{figure(value)}</text>'
        top += 96
    around = document["surroundings"]
    caption = f"{around['implementation']} {around['python']}, {around['system']}, {around['cpus']} CPUs"
    caption += f", the best of {document['rounds']} rounds"
    yield f'<text x="16" y="{top + 12}" font-size="11" class="quiet">{escape(caption)}</text>'
    yield "</svg>"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.choosing", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    measuring = commands.add_parser("measure")
    measuring.add_argument("json", type=Path)
    drawing = commands.add_parser("draw")
    drawing.add_argument("json", type=Path)
    drawing.add_argument("svg", type=Path)
    options = parser.parse_args()
    if options.command == "measure":
        text = json.dumps(measured(), indent=1, ensure_ascii=False) + "\n"
        options.json.write_text(text, encoding="utf-8")
    else:
        options.svg.write_text(drawn(json.loads(options.json.read_text(encoding="utf-8"))), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
