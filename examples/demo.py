"""The main job on real input: parse every module of the standard library on each local backend.

Runs `corefutures map` as a user would, compares each answer with a plain loop's, prints the times. Then runs one
program, log_analysis.py, on each. Exits with status 1 if an answer differs or no backend is there.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import sysconfig
import time
import warnings
from collections.abc import Sequence
from pathlib import Path

from parse_module import summary

import corefutures

HERE = Path(__file__).resolve().parent
JOBS = os.cpu_count() or 1

#: Folders in the standard library's that are not the library: what is installed, and test material.
LEFT_OUT = {"site-packages", "dist-packages", "test", "tests", "idle_test", "__pycache__"}


def main() -> int:
    modules = standard_library()
    version = sys.version.split()[0]
    print(f"Parsing the {len(modules)} modules of the standard library of Python {version}, {JOBS} cores")
    warnings.simplefilter("ignore")  # what the parser thinks of the library's escapes is not the matter here
    started = time.perf_counter()
    expected = [summary(module) for module in modules]
    loop_seconds = time.perf_counter() - started
    rows = [("a plain loop", "", f"{loop_seconds:.2f} s", "", "the measure")]
    names, left_out = local_backends()
    wrong = 0
    for name in names:
        started = time.perf_counter()
        answer, complaint = on_backend(name, modules)
        seconds = time.perf_counter() - started
        right = answer == expected
        wrong += not right
        verdict = "same answer" if right else f"WRONG: {complaint or 'another answer'}"
        rows.append((name, f"-j {JOBS}", f"{seconds:.2f} s", f"{loop_seconds / seconds:.2f}x", verdict))
    show(("executor", "workers", "time", "speed", "result"), rows)
    print("Times of backends include the start of `corefutures map` and of its workers.")
    wrong += one_program(names)
    for line in left_out:
        print(line)
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
    return names, left_out


def on_backend(name: str, modules: list[str]) -> tuple[list[object], str]:
    """The results of `corefutures map` on a backend, and the last line of its complaints."""
    command = [sys.executable, "-m", "corefutures", "map", "-b", name, "-j", str(JOBS), "--json-lines"]
    done = subprocess.run(
        [*command, "parse_module:summary"],
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
    return [json.loads(line) for line in done.stdout.splitlines()], complaint


def one_program(names: list[str]) -> int:
    """Runs log_analysis.py on each backend; how many of them went wrong."""
    wrong = 0
    answers: dict[str, list[str]] = {}
    for name in names:
        print(f"\n$ python examples/log_analysis.py --check --backend {name}")
        command = [sys.executable, str(HERE / "log_analysis.py"), "--check", "--backend", name]
        done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=False)
        *answer, seconds, comparison = done.stdout.splitlines() or ["", "", ""]
        if not answers:
            print(*answer, sep="\n")
        answers[name] = answer
        right = done.returncode == 0 and answer == answers[names[0]]
        wrong += not right
        print(seconds, comparison if right else f"WRONG: {done.stderr or done.stdout}", sep="\n")
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
