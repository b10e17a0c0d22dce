"""`python -m benchmarks [SUITE ...] [--json FILE] [--rounds N] [--loaded]`: measures, prints tables, writes JSON."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import pkgutil
import platform
import statistics
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import benchmarks
from benchmarks.measuring import Figures, Sheet, measure


def suites() -> list[str]:
    """The modules here that measure something: those that nothing else here is made of."""
    return [
        module.name
        for module in pkgutil.iter_modules(benchmarks.__path__)
        if module.name not in {"__main__", "choosing", "measuring", "tiny"}
    ]


def sheets_of(suite: str) -> Iterator[Sheet]:
    found: Iterator[Sheet] = importlib.import_module(f"benchmarks.{suite}").sheets()
    return found


def processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextmanager
def busy_loops(count: int) -> Iterator[None]:
    """Has so many other programs compute without a pause."""
    loops = [subprocess.Popen([sys.executable, "-S", "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for loop in loops:
            loop.kill()
            loop.wait()


def surroundings(loaded: bool = False) -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "python": platform.python_version(),
        "implementation": platform.python_implementation(),
        "free_threaded": bool(sysconfig.get_config_var("Py_GIL_DISABLED")),
        "system": platform.system(),
        "machine": platform.machine(),
        "cpus": processors(),
        "busy_loops": processors() if loaded else 0,
    }


def short(figure: float) -> str:
    return f"{figure:,.0f}" if figure >= 100 else f"{figure:.2f}" if figure < 10 else f"{figure:.1f}"


def line(figures: Figures) -> str:
    row = figures.row
    cells = [f"  {row.what:<52} {short(statistics.median(figures.ours)):>9}"]
    if row.against is None:
        cells.append(f"{'':>9} {'':>7}")
    else:
        assert figures.ratio is not None
        cells.append(f"{short(statistics.median(figures.against)):>9} {figures.ratio:>6.2f}x")
    promise = ""
    if row.at_least is not None:
        promise = f"≥ {row.at_least:g}x"
    elif row.at_most is not None:
        assert figures.excess is not None
        promise = f"{short(figures.excess)} more, ≤ {row.at_most:g}"
    cells.append(f"{promise:<18}")
    cells.append({True: "  ", False: "✗ ", None: "  "}[figures.kept] + row.unit)
    text = " ".join(cells).rstrip()
    for name, costs in figures.others.items():
        text += f"\n    {name:<50} {'':>9} {short(statistics.median(costs)):>9}"
    return text


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("suite", nargs="*", help="one of: " + ", ".join(suites()))
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures there as well")
    parser.add_argument("--rounds", type=int, default=9, help="how often each row is measured (9)")
    parser.add_argument("--loaded", action="store_true", help="with a busy loop on each processor meanwhile")
    options = parser.parse_args()
    if unknown := set(options.suite) - set(suites()):
        parser.error(f"no such suite: {', '.join(sorted(unknown))} (there are: {', '.join(suites())})")
    if options.rounds < 1:
        parser.error("--rounds must be positive")

    around = surroundings(options.loaded)
    print(", ".join(f"{name} {value}" for name, value in around.items()))
    report: list[dict[str, object]] = []
    broken = 0
    with busy_loops(around["busy_loops"]):
        for suite in options.suite or suites():
            for sheet in sheets_of(suite):
                print(f"\n{sheet.title}")
                print(f"  {'':<52} {'ours':>9} {'against':>9} {'ratio':>7} {'promised':<18}   unit")
                rows = []
                for row in sheet.rows():
                    figures = measure(row, options.rounds)
                    broken += figures.kept is False
                    print(line(figures), flush=True)
                    rows.append(figures.as_json())
                report.append({"suite": suite, "title": sheet.title, "rows": rows})
    if options.json is not None:
        document = {"surroundings": around, "rounds": options.rounds, "sheets": report}
        options.json.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    if broken:
        print(f"\n{broken} promised figures were not reached (✗)")
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
