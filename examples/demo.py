"""What is gained: the same work on a plain loop, on `concurrent.futures` and on corefutures.

The work is real: the modules of the standard library, parsed whole (long calls) and function by function (short calls).
Before that, a command line and a program that run on any backend. Each answer is compared with the loop's. Exits with
status 1 if one differs or no backend is there. COREFUTURES_DEMO_EVERY=8 takes each eighth module only.
"""

from __future__ import annotations

import concurrent.futures
import json
import os
import subprocess
import sys
import sysconfig
import time
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from parse_module import fingerprint, functions, summary

import corefutures

HERE = Path(__file__).resolve().parent
JOBS = os.cpu_count() or 1

#: Folders in the standard library's that are not the library: what is installed, and test material.
LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}

#: Which modules: each, each second, …
EVERY = int(os.environ.get("COREFUTURES_DEMO_EVERY") or 1)

#: How many functions there are to parse at most.
MOST = 20_000

#: The standard library's executor of the same kind.
STANDARD = {name: getattr(concurrent.futures, f"{name.title()}PoolExecutor", None) for name in
            ("thread", "process", "interpreter")}  # fmt: skip


def main() -> int:
    warnings.simplefilter("ignore")  # what the parser thinks of the library's escapes is not the matter here
    names, left_out = local_backends()
    modules = standard_library()[::EVERY]
    sources = [source for module in modules for source in functions(module)][:MOST]
    print(f"Python {sys.version.split()[0]}, {JOBS} cores. Times include the start of the workers.")
    for line in left_out:
        print(line)
    wrong = command_line(names, modules)
    wrong += one_program(names)
    wrong += compared("modules, parsed whole", summary, modules, names)
    wrong += compared("functions, parsed one by one", fingerprint, sources, names)
    if not names:
        print("No local backend is available.", file=sys.stderr)
    return 1 if wrong or not names else 0


def standard_library() -> list[str]:
    root = Path(sysconfig.get_path("stdlib"))
    return sorted(
        str(path)
        for path in root.rglob("*.py")
        if path.is_file() and LEFT_OUT.isdisjoint(path.relative_to(root).parts[:-1])
    )


def local_backends() -> tuple[list[str], list[str]]:
    """The names of the backends that can run on this machine, and a line for each of the others."""
    names, left_out = [], []
    for name in corefutures.backends():
        try:
            if corefutures.get_backend(name).capabilities.remote:
                left_out.append(f"Not run: {name}, which works on other machines.")
            else:
                names.append(name)
        except corefutures.BackendError as error:
            left_out.append(f"Not run: {error}.")
    return sorted(names, key=["thread", "process", "interpreter", *names].index), left_out


def compared(what: str, function: Callable[[str], Any], items: list[str], names: list[str]) -> int:
    """Shows how long `executor.map(function, items)` takes on each executor; how many answers were wrong."""
    started = time.perf_counter()
    expected = [function(item) for item in items]
    loop = time.perf_counter() - started
    print(f"\n{len(items):,} {what}, {loop / len(items) * 1e3:.2g} ms each; a plain loop: {loop:.2f} s")
    rows, wrong = [], 0
    for name in names:
        theirs, ours = (
            timed(make, function, items, expected)
            for make in (
                STANDARD.get(name),
                lambda workers, name=name: corefutures.create_executor(name, max_workers=workers),
            )
        )
        if ours is None:
            wrong += 1
            print(f"WRONG: {name} gave another answer")
        gain = f"{theirs / ours:.1f} x" if theirs and ours else ""
        rows.append((f"{name} pool", told(theirs, loop), told(ours, loop), gain))
    show(("", "concurrent.futures", "corefutures", "gain"), rows)
    return wrong


def timed(make: Any, function: Callable[[str], Any], items: list[str], expected: list[Any]) -> float | None:
    """Seconds that an executor takes; None if there is none or its answer is wrong."""
    if make is None:
        return None
    started = time.perf_counter()
    try:
        with make(JOBS) as executor:
            answer = list(executor.map(function, items))
    except Exception as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return None
    return time.perf_counter() - started if answer == expected else None


def told(seconds: float | None, loop: float) -> str:
    if seconds is None:
        return "-"
    return f"{seconds:.2f} s, {loop / seconds:.1f} x the loop"


def command_line(names: list[str], modules: list[str]) -> int:
    """Runs `corefutures map` as a user would, on the backend that computes in parallel; whether it went wrong."""
    if not names:
        return 0
    name = next((each for each in ("process", "interpreter") if each in names), names[0])
    print(f"\n$ ls modules | corefutures map -b {name} -j {JOBS} --json-lines parse_module.py:summary")
    started = time.perf_counter()
    answer, complaint = on_backend(name, modules)
    seconds = time.perf_counter() - started
    right = answer == [summary(module) for module in modules]
    print(f"{len(modules)} lines in {seconds:.2f} s: {'the same answer' if right else f'WRONG: {complaint}'}")
    return not right


def on_backend(name: str, modules: list[str]) -> tuple[list[object], str]:
    """The results of `corefutures map` on a backend, and the last line of its complaints."""
    command = [sys.executable, "-m", "corefutures", "map", "-b", name, "-j", str(JOBS), "--json-lines"]
    done = subprocess.run(
        [*command, "parse_module.py:summary"],
        cwd=HERE,
        env={**os.environ, "PYTHONWARNINGS": "ignore"},
        input="".join(f"{json.dumps(module)}\n" for module in modules),
        capture_output=True,
        text=True,
        check=False,
    )
    complaint = (done.stderr.strip().splitlines() or [""])[-1]
    if done.returncode != 0:
        return [], complaint or f"exit status {done.returncode}"
    return [json.loads(line) for line in done.stdout.splitlines()], complaint or "another answer"


def one_program(names: list[str]) -> int:
    """Runs log_analysis.py on each backend; how many of them went wrong."""
    wrong = 0
    first: list[str] | None = None
    for name in names:
        print(f"\n$ COREFUTURES_BACKEND={name} python examples/log_analysis.py --lines 10000 --check")
        command = [sys.executable, str(HERE / "log_analysis.py"), "--lines", "10000", "--check"]
        environment = {**os.environ, "COREFUTURES_BACKEND": name}
        done = subprocess.run(command, env=environment, capture_output=True, text=True, encoding="utf-8", check=False)
        *answer, seconds, comparison = done.stdout.splitlines() or ["", "", ""]
        first = answer if first is None else first
        right = done.returncode == 0 and answer == first
        wrong += not right
        print(f"{seconds}; {comparison}" if right else f"WRONG: {done.stderr or done.stdout}")
    return wrong


def show(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> None:
    try:
        from rich.console import Console
        from rich.table import Table
    except ImportError:
        widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]
        for row in (head, *rows):
            print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
        return
    table = Table(*head)
    for row in rows:
        table.add_row(*row)
    Console().print(table)


if __name__ == "__main__":
    sys.exit(main())
